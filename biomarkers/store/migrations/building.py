"""What revisions build tables of, the same on both engines.

Knows columns, keys and the names constraints are given. Must not know any table; released revisions rely on it as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
BIG: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def create(name: str, *items: sa.schema.SchemaItem) -> None:
    """Make a table, strict on SQLite."""
    op.create_table(name, *items, sqlite_strict=True)


def text_column(name: str, *, nullable: bool = False) -> sa.Column[str]:
    """Describe a column of text."""
    return sa.Column(name, sa.Text(), nullable=nullable)


def text_columns(*names: str) -> tuple[sa.Column[str], ...]:
    """Describe columns of text that are never empty."""
    return tuple(text_column(name) for name in names)


def number_columns(*names: str) -> tuple[sa.Column[float], ...]:
    """Describe columns of numbers that may be missing."""
    return tuple(sa.Column(name, REAL, nullable=True) for name in names)


def count_columns(*names: str) -> tuple[sa.Column[int], ...]:
    """Describe columns of whole numbers that are never empty."""
    return tuple(sa.Column(name, sa.Integer(), nullable=False) for name in names)


def primary_key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    """Describe the key of a table."""
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def refers(table: str, columns: tuple[str, ...], other: str, keys: tuple[str, ...]) -> sa.ForeignKeyConstraint:
    """Describe a reference to another table."""
    return sa.ForeignKeyConstraint(columns, [f"{other}.{key}" for key in keys], name=op.f(f"fk_{table}_{'_'.join(columns)}"))


def unique(table: str, *columns: str) -> sa.UniqueConstraint:
    """Describe what may stand once."""
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    """Describe what must hold of a row."""
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def index(table: str, *columns: str) -> None:
    """Make an index."""
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))
