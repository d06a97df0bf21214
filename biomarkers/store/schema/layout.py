"""How tables are laid out: their names, keys and columns, the same on SQLite and PostgreSQL.

Knows the kinds of columns every table is made of. Must not know any table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, MetaData, Table, Text
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
metadata = MetaData(naming_convention=NAMES)

ASSAYS = ("elisa", "cytometry", "ihc")
INBOXES = (*ASSAYS, "study")
JOB_STATES = ("waiting", "queued", "running", "recorded", "seen", "quarantined")
LIST_KINDS = ("roster", "specimens", "visits", "lots", "haematology", "pathology", "shipments")
DEFINITION_KINDS = ("study", "layout", "panel", "stain_protocol")


T = TypeVar("T")


def table(name: str, *items: SchemaItem) -> Table:
    """Make a table of the laboratory, strict on SQLite."""
    return Table(name, metadata, *items, sqlite_strict=True)


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Let a column hold these words alone."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def yes_or_no(column: str) -> CheckConstraint:
    """Let a column hold 0 or 1 alone."""
    return CheckConstraint(f"{column} IN (0, 1)", name=column)


def words(name: str) -> Column[str]:
    """Make a column of text, empty where there is nothing to say."""
    return Column(name, Text, nullable=False)


def needed(name: str, kind: TypeEngine[T] | type[TypeEngine[T]]) -> Column[T]:
    """Make a column that is never empty."""
    return Column(name, kind, nullable=False)


def maybe(name: str, kind: TypeEngine[T] | type[TypeEngine[T]]) -> Column[T]:
    """Make a column that may be empty."""
    return Column(name, kind, nullable=True)


def number() -> Column[int]:
    """Make the column that numbers the rows."""
    return Column("id", Integer, primary_key=True)


def of_analysis() -> Column[str]:
    """Make the column that names the analysis a row belongs to."""
    return Column("analysis_id", Text, ForeignKey("analysis.analysis_id"), primary_key=True)


def of_list() -> Column[int]:
    """Make the column that names the study list a row belongs to."""
    return Column("list_id", Integer, ForeignKey("study_list.id"), primary_key=True, autoincrement=False)


def of_set() -> Column[int]:
    """Make the column that names the alignment set a row belongs to."""
    return Column("set_id", Integer, ForeignKey("alignment_set.id"), primary_key=True, autoincrement=False)


def key(name: str) -> Column[str]:
    """Make a column of text that is part of the key."""
    return Column(name, Text, primary_key=True)


def place(name: str = "ordinal") -> Column[int]:
    """Make a counted column that is part of the key."""
    return Column(name, Integer, primary_key=True, autoincrement=False)
