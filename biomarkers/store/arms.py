"""The allocation of subjects to arms, in a store of its own.

Knows where allocations lie and who may read them: on SQLite a file that its owner alone can read, on PostgreSQL a schema that
a role of its own owns. Must not know the laboratory's tables; nothing here is ever joined with them in SQL.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from sqlalchemy import Column, Connection, Engine, ForeignKey, Integer, MetaData, Table, Text, insert, inspect, select, text

from biomarkers.errors import StoreError
from biomarkers.store import audit
from biomarkers.store.append_only import REFUSAL_FUNCTION, refusal_statements
from biomarkers.store.columns import UtcText
from biomarkers.store.database import Transaction, parsed_url, place, postgresql_engine, sqlite_engine, translated_errors
from biomarkers.store.schema.layout import NAMES
from biomarkers.study.arms import ArmAssignments

SCHEMA = "allocation"
"""The schema on PostgreSQL; on SQLite the tables lie in a file of their own and need none."""

metadata = MetaData(naming_convention=NAMES, schema=SCHEMA)

allocation_list = Table(
    "allocation_list",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("loaded_by", Text, nullable=False),
    Column("loaded_at", UtcText, nullable=False),
    sqlite_strict=True,
)
allocation = Table(
    "allocation",
    metadata,
    Column("list_id", Integer, ForeignKey("allocation.allocation_list.id"), primary_key=True, autoincrement=False),
    Column("subject_id", Text, primary_key=True),
    Column("arm", Text, nullable=False),
    sqlite_strict=True,
)


class ArmsForbiddenError(StoreError):
    """Whoever asks has no right to arms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmStore:
    """The store of allocations, opened by someone who has the right to it. Its printed form tells no arm."""

    engine: Engine
    where: str

    @classmethod
    def create(cls, url: str) -> Self:
        """Make the store where it is absent, and open it.

        On PostgreSQL this makes the schema ``allocation`` and a role named after the database, ``NAME_allocation``, which
        owns it; grant that role to whoever has the right to arms. The login that creates needs the right to make roles.
        """
        parsed = parsed_url(url)
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database or "")
            if not path.exists():
                _make_private(path)
            store = cls._on_file(path)
            with translated_errors(parsed), store.engine.begin() as connection:
                _make_tables(connection)
            return store
        store = cls(engine=postgresql_engine(parsed), where=place(parsed))
        with translated_errors(parsed), store.engine.begin() as connection:
            _make_role(connection)
            _make_tables(connection)
        return store

    @classmethod
    def open(cls, url: str) -> Self:
        """Open an existing store."""
        parsed = parsed_url(url)
        if parsed.get_backend_name() != "sqlite":
            return cls(engine=postgresql_engine(parsed), where=place(parsed))
        path = Path(parsed.database or "")
        if not path.is_file():
            raise _nothing_loaded(f"File '{path}'.")
        return cls._on_file(path)

    @classmethod
    def _on_file(cls, path: Path) -> Self:
        where = f"File '{path}'."
        if not os.access(path, os.R_OK):
            raise _forbidden(where)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StoreError(
                what="Others than its owner can read the store of allocations.",
                where=where,
                remedy=f"Find out who could have read it, then run: chmod 600 '{path}'.",
            )
        return cls(engine=sqlite_engine(path, mode="rw").execution_options(schema_translate_map={SCHEMA: None}), where=where)

    def close(self) -> None:
        """Give the connections back to the operating system."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def load(
        self,
        assignments: ArmAssignments,
        *,
        sha256: str,
        loaded_by: str,
        loaded_at: datetime,
        reason: str,
        laboratory: Transaction,
    ) -> bool:
        """Keep a full list of allocations; return False where the current one came from these bytes already.

        Parameters
        ----------
        sha256
            Digest of the file's bytes. It stays in this store: few subjects have few possible allocations, and trying them
            all against a digest would tell the true one.
        laboratory
            The laboratory's own transaction, into whose audit trail goes that allocations were loaded, by whom and for how
            many subjects, and no arm.
        """
        with self._begin() as connection:
            newest = connection.execute(
                select(allocation_list.c.sha256).order_by(allocation_list.c.id.desc()).limit(1)
            ).scalar_one_or_none()
            if newest == sha256:
                return False
            key = connection.execute(
                insert(allocation_list).values(sha256=sha256, loaded_by=loaded_by, loaded_at=loaded_at)
            ).inserted_primary_key
            if key is None:
                raise StoreError(what="The list was given no number.", where=self.where, remedy="Report this.")
            rows = [
                {"list_id": key[0], "subject_id": subject_id, "arm": arm}
                for subject_id, arm in sorted(assignments.arm_by_subject.items())
            ]
            if rows:
                connection.execute(insert(allocation), rows)
            # Before this store commits: an allocation must not become readable without its entry in the trail.
            audit.append(
                laboratory,
                at=loaded_at,
                actor=loaded_by,
                action="arms.loaded",
                entity="arms",
                detail={"subjects": len(rows)},
                reason=reason,
            )
        return True

    def read(self) -> ArmAssignments:
        """Return the current allocation.

        Raises
        ------
        ArmsForbiddenError
            If whoever asks has no right to it.
        StoreError
            If none was loaded.
        """
        with self._begin() as connection:
            newest = select(allocation_list.c.id).order_by(allocation_list.c.id.desc()).limit(1).scalar_subquery()
            rows = connection.execute(select(allocation).where(allocation.c.list_id == newest)).all()
        if not rows:
            raise _nothing_loaded(self.where)
        return ArmAssignments(arm_by_subject=MappingProxyType({row.subject_id: row.arm for row in rows}))

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with translated_errors(self.engine.url), self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                _take_role(connection, self.where)
            yield connection


def _make_private(path: Path) -> None:
    """Make an empty file that nobody else can read even for a moment; SQLite gives its side files the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(
            what=f"The store of allocations cannot be made: {error.strerror}.",
            where=f"File '{path}'.",
            remedy="Check that the laboratory's folder exists and can be written.",
        ) from error


def _make_tables(connection: Connection) -> None:
    schema = SCHEMA if connection.dialect.name == "postgresql" else None
    if inspect(connection).has_table(allocation.name, schema=schema):
        return
    metadata.create_all(connection)
    if schema is not None:
        connection.execute(text(f"SET LOCAL search_path TO {SCHEMA}"))
        connection.execute(text(REFUSAL_FUNCTION))
    for table in (allocation_list.name, allocation.name):
        for statement in refusal_statements(table, connection.dialect.name):
            connection.execute(text(statement))


def _make_role(connection: Connection) -> None:
    role = _role(connection)
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first()
    if known is None:
        connection.execute(text(f"CREATE ROLE {quoted} NOLOGIN"))
        connection.execute(text(f"GRANT {quoted} TO CURRENT_USER"))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA} AUTHORIZATION {quoted}"))
    connection.execute(text(f"REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC"))
    connection.execute(text(f"SET LOCAL ROLE {quoted}"))


def _take_role(connection: Connection, where: str) -> None:
    """Act as the role that owns the allocations, for this transaction; that role can reach nothing else."""
    role = _role(connection)
    query = "SELECT pg_has_role(rolname, 'MEMBER') FROM pg_roles WHERE rolname = :role"
    member = connection.execute(text(query), {"role": role}).scalar_one_or_none()
    if member is None:
        raise _nothing_loaded(where)
    if not member:
        raise _forbidden(where)
    connection.execute(text(f"SET LOCAL ROLE {connection.dialect.identifier_preparer.quote_identifier(role)}"))


def _role(connection: Connection) -> str:
    return f"{connection.execute(text('SELECT current_database()')).scalar_one()}_allocation"


def _forbidden(where: str) -> ArmsForbiddenError:
    return ArmsForbiddenError(
        what="You have no right to arms.",
        where=where,
        remedy="Leave --arm out, or ask whoever keeps the allocation.",
    )


def _nothing_loaded(where: str) -> StoreError:
    return StoreError(
        what="No allocation to arms was loaded.",
        where=where,
        remedy="Load one with `biomarkers arms load LAB FILE`.",
    )
