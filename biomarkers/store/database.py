"""A laboratory's database: engines, transactions, and which version of the tables it holds.

Knows SQLite and PostgreSQL as engines and translates their errors. Must not know what any table means.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from biomarkers.errors import BiomarkersError, StoreError, TemporarilyUnavailableError
from biomarkers.store.migrations import HEAD, KNOWN

Name = TypeVar("Name")

BUSY_SECONDS = 30
"""How long a writer waits for another writer of the same SQLite file before the attempt counts as failed."""

SERIAL_LOCK = 0x62696F6D
"""Key of PostgreSQL's advisory lock under which everything that must happen one after another happens."""


class Reading:
    """A snapshot of the database: everything read through it is of one moment.

    ``connection`` is for the modules of the store alone; neither rows nor SQL leave the package.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection


class Transaction(Reading):
    """A unit of work that is committed whole or not at all."""

    __slots__ = ()

    def serialise(self) -> None:
        """Let no other writer append to chains and histories until this transaction ends.

        SQLite has one writer at a time anyway. On PostgreSQL two writers that both read the end of a chain before either
        appends would fork it.
        """
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SERIAL_LOCK})


class Database:
    """One laboratory's database, opened.

    Use :meth:`create` for a new one and :meth:`open` for one that exists.
    """

    def __init__(self, *, url: URL, writer: Engine | None, reader: Engine) -> None:
        self._url = url
        self._writer = writer
        self._reader = reader

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Self:
        """Open an existing database whose tables are of this program's version.

        Parameters
        ----------
        url
            ``sqlite:///lab.db`` (see :func:`sqlite_url`) or ``postgresql://user@host/name``.
        read_only
            Refuse :meth:`write`; on SQLite the file itself is then opened for reading only.

        Raises
        ------
        StoreError
            If there is no database, or its tables are older or newer than this program.
        """
        database = cls._connected(url, read_only=read_only, make=False)
        try:
            database.require_current()
        except BiomarkersError:
            database.close()
            raise
        return database

    @classmethod
    def create(cls, url: str) -> Self:
        """Make the tables where there are none, bring older ones to this version, and open the database.

        An existing database of this version is opened unchanged, so that an interrupted creation can be repeated.
        """
        database = cls._connected(url, read_only=False, make=True)
        try:
            database.migrate()
        except BiomarkersError:
            database.close()
            raise
        return database

    @classmethod
    def _connected(cls, url: str, *, read_only: bool, make: bool) -> Self:
        parsed = parsed_url(url)
        if parsed.get_backend_name() == "sqlite":
            path = _sqlite_path(parsed)
            if not make and not path.is_file():
                raise StoreError(
                    what="There is no database.",
                    where=f"File '{path}'.",
                    remedy="Check the path, or make a laboratory with `biomarkers init`.",
                )
            writer = None if read_only else sqlite_engine(path, mode="rwc" if make else "rw")
            return cls(url=parsed, writer=writer, reader=sqlite_engine(path, mode="ro"))
        engine = postgresql_engine(parsed)
        return cls(
            url=parsed,
            writer=None if read_only else engine,
            reader=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        )

    @property
    def where(self) -> str:
        """The database in words for messages, without its password."""
        return place(self._url)

    def close(self) -> None:
        """Give the connections back to the operating system."""
        self._reader.dispose()
        if self._writer is not None:
            self._writer.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """Read a snapshot; nothing can be written through it."""
        with translated_errors(self._url), self._reader.begin() as connection:
            yield Reading(connection)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Write in one transaction, committed at the end of the block and rolled back if it raises."""
        if self._writer is None:
            raise StoreError(
                what="The database was opened for reading only.",
                where=self.where,
                remedy="Open it without read_only to change it.",
            )
        with translated_errors(self._url), self._writer.begin() as connection:
            yield Transaction(connection)

    def revision(self) -> str | None:
        """Return the version of the tables; None while there are none."""
        with translated_errors(self._url), (self._writer or self._reader).connect() as connection:
            return _revision(connection)

    def require_current(self) -> None:
        """Raise unless the tables are of this program's version."""
        found = self.revision()
        if found == HEAD:
            return
        if found is None:
            raise StoreError(
                what="The database holds no laboratory.",
                where=self.where,
                remedy="Make a laboratory with `biomarkers init`, or correct the database URL in lab.toml.",
            )
        self._refuse_newer(found)
        raise StoreError(
            what=f"The database is of version '{found}', older than this program's '{HEAD}'.",
            where=self.where,
            remedy="Make a backup, then bring the database up to date.",
        )

    def migrate(self) -> None:
        """Bring the tables forward to this program's version, all in one transaction; there is no way back."""
        from alembic import command  # noqa: PLC0415  - a quarter of a second that only a migration needs
        from alembic.config import Config  # noqa: PLC0415  - as above

        with self.write() as transaction:
            transaction.serialise()
            found = _revision(transaction.connection)
            if found == HEAD:
                return
            if found is not None:
                self._refuse_newer(found)
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes["connection"] = transaction.connection
            command.upgrade(config, "head")

    def _refuse_newer(self, found: str) -> None:
        if found not in KNOWN:
            raise StoreError(
                what=f"The database is of version '{found}', which this program does not know; it knows up to '{HEAD}'.",
                where=self.where,
                remedy="A newer version of biomarkers has written it. Install that version or a later one.",
            )


def at_a_time(names: Iterable[Name], count: int) -> Iterator[list[Name]]:
    """Give so many of something at a time, so that no more is held."""
    waiting = iter(names)
    while some := list(islice(waiting, count)):
        yield some


def sqlite_url(path: Path) -> str:
    """Return the URL of a database file."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


def parsed_url(url: str) -> URL:
    """Take a database URL apart; both spellings of PostgreSQL mean the psycopg driver."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(
            what="The database URL cannot be read.",
            where="Setting 'database'.",
            remedy="Write sqlite:///lab.db or postgresql://user@host/name.",
        ) from error
    kind = parsed.get_backend_name()
    if kind in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise StoreError(
            what=f"'{kind}' is no kind of database this program can use.",
            where="Setting 'database'.",
            remedy="Write sqlite:///lab.db or postgresql://user@host/name.",
        )
    return parsed


def place(url: URL) -> str:
    """Name a database in a message, never with its password."""
    return f"Database '{url.render_as_string(hide_password=True)}'."


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise StoreError(
            what="A database in memory is lost with the process.",
            where="Setting 'database'.",
            remedy="Name a file: sqlite:///lab.db.",
        )
    return Path(url.database)


def sqlite_engine(path: Path, *, mode: str) -> Engine:
    """Make an engine for a SQLite file; ``mode`` is ``"ro"``, ``"rw"`` or ``"rwc"`` (make the file if absent)."""
    uri = f"file:{quote(os.fspath(path.absolute()))}?mode={mode}"
    read_only = mode == "ro"

    def connect() -> sqlite3.Connection:
        # isolation_level None: the driver would otherwise begin transactions late and leave DDL outside of them.
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        # Without it INSERT OR REPLACE would delete append-only rows without asking their triggers.
        connection.execute("PRAGMA recursive_triggers=ON")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes its lock at once: one that upgrades later cannot wait for another and fails instead.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def postgresql_engine(url: URL) -> Engine:
    """Make an engine for a PostgreSQL database."""
    try:
        return create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StoreError(
            what="The driver for PostgreSQL is not installed.",
            where=place(url),
            remedy="Install it with: pip install 'biomarkers[postgres]'.",
        ) from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


FINAL_STATES = ("28", "3D", "42", "53100", "25006")
"""Beginnings of PostgreSQL's codes that waiting does not mend: rights, no such database, disk full, a read-only server."""

FINAL_WORDS = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
"""What a refused connection says; the driver gives no code before the connection stands."""


@contextmanager
def translated_errors(url: URL) -> Iterator[None]:
    """Turn the engines' errors into the store's own: worth another try, or not."""
    try:
        yield
    except PoolTimeoutError as error:
        raise _busy("All connections to the database are in use.", url) from error
    except DBAPIError as error:
        original = error.orig
        said = str(original).strip().splitlines()[0] if str(original).strip() else type(error).__name__
        if _passes_by_itself(error):
            raise _busy(f"The database is busy or away: {said}.", url) from error
        raise StoreError(
            what=f"The database refused: {said}.",
            where=place(url),
            remedy="Nothing was written. The message above says what contradicts; it needs an operator.",
        ) from error
    except SQLAlchemyError as error:
        raise StoreError(
            what=f"The database could not be used: {error}.",
            where=place(url),
            remedy="Nothing was written. This needs an operator.",
        ) from error


def _busy(what: str, url: URL) -> TemporarilyUnavailableError:
    return TemporarilyUnavailableError(what=what, where=place(url), remedy="Nothing was written. It is tried again by itself.")


def _passes_by_itself(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError):
        return False
    original = error.orig
    if isinstance(original, sqlite3.Error):
        # The low byte is the family: extended codes tell which lock it was.
        code = getattr(original, "sqlite_errorcode", None)
        return isinstance(code, int) and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    state = getattr(original, "sqlstate", None)
    if isinstance(state, str):
        return not state.startswith(FINAL_STATES)
    return not any(word in str(original) for word in FINAL_WORDS)
