"""Copies of a laboratory's database: made while it is in use, proven readable, and put back.

Knows how SQLite and PostgreSQL copy themselves. Must not know what the tables mean, nor where copies are kept.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL

from biomarkers.errors import StoreError
from biomarkers.store.database import parsed_url, place, translated_errors

SQLITE_COPY = "lab.db"
POSTGRESQL_COPY = "lab.pgdump"


def copy_database(url: str, target: Path) -> Path:
    """Copy a database into a folder as it is at one moment, while others go on using it; return the copy.

    Raises
    ------
    StoreError
        It cannot be copied, or the copy is not sound.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() == "sqlite":
        return copy_sqlite(Path(str(parsed.database)), target / SQLITE_COPY)
    return _dump(parsed, target / POSTGRESQL_COPY)


def copy_sqlite(source: Path, target: Path) -> Path:
    """Copy a SQLite file by its own VACUUM INTO and check the copy's integrity."""
    with translated_errors(URL.create("sqlite", database=str(source))):
        connection = sqlite3.connect(f"file:{quote(os.fspath(source))}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("VACUUM INTO ?", (os.fspath(target),))
        except sqlite3.Error as error:
            raise _not_copied(f"Database '{source}'.", str(error)) from error
        finally:
            connection.close()
    require_sound(target)
    return target


def require_sound(path: Path) -> None:
    """Raise unless SQLite finds its file whole and every reference in it kept.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro", uri=True)
        try:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
            loose = connection.execute("PRAGMA foreign_key_check").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        found, loose = [str(error)], None
    if found != ["ok"] or loose is not None:
        said = "; ".join(found) if found != ["ok"] else f"a row of '{loose[0]}' refers to nothing"
        raise StoreError(
            what=f"The database is damaged: {said}.",
            where=f"File '{path}'.",
            remedy="Stop the laboratory and restore the latest backup with 'biomarkers restore'.",
        )


def restore_database(copy: Path, url: str) -> None:
    """Put a copy where a database URL points to, which must be empty.

    Raises
    ------
    StoreError
        Something is there already, or the copy cannot be put back.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() == "sqlite":
        target = Path(str(parsed.database))
        if copy.name != SQLITE_COPY:
            raise _other_kind(copy)
        if target.exists():
            raise StoreError(
                what="There is a database already, and it is not overwritten.",
                where=f"File '{target}'.",
                remedy="Restore into a new folder.",
            )
        shutil.copyfile(copy, target)
        require_sound(target)
        return
    if copy.name != POSTGRESQL_COPY:
        raise _other_kind(copy)
    words = [_program("pg_restore"), "--exit-on-error", "--single-transaction", "--no-owner"]
    _run([*words, f"--dbname={_libpq(parsed)}", os.fspath(copy)], parsed)


def _dump(url: URL, target: Path) -> Path:
    _run([_program("pg_dump"), "--format=custom", f"--file={target}", f"--dbname={_libpq(url)}"], url)
    _run([_program("pg_restore"), "--list", os.fspath(target)], url)
    return target


def _run(words: list[str], url: URL) -> None:
    done = subprocess.run(  # noqa: S603  - PostgreSQL's own program, no shell
        words,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})},
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise _not_copied(place(url), said[-1])


def _libpq(url: URL) -> str:
    """Spell the URL as PostgreSQL's own programs read it, without the password, which would show in the process list."""
    return url.set(drivername="postgresql", password=None).render_as_string()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = os.fspath(versions[-1]) if versions else None
    if found is None:
        raise StoreError(
            what=f"PostgreSQL's program '{name}' is not on this machine, so its database cannot be copied from here.",
            where="The programs' search path.",
            remedy="Install PostgreSQL's client programs, of the server's version or newer.",
        )
    return found


def _not_copied(where: str, said: str) -> StoreError:
    return StoreError(
        what=f"The database could not be copied: {said}.",
        where=where,
        remedy="Check rights and free space, then try again.",
    )


def _other_kind(copy: Path) -> StoreError:
    return StoreError(
        what="The backup holds another kind of database than the one to restore into.",
        where=f"File '{copy}'.",
        remedy="A backup of SQLite is restored as SQLite, one of PostgreSQL into PostgreSQL: name its URL.",
    )
