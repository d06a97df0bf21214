from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import text

from biomarkers.errors import StoreError, TemporarilyUnavailableError
from biomarkers.store import database as module
from biomarkers.store.database import Database, sqlite_url


class Server(Protocol):
    def url(self, database: str, *, user: str = "postgres") -> str: ...


def test_creating_twice_opens_what_is_there(empty_url: str) -> None:
    with Database.create(empty_url) as first:
        revision = first.revision()
    with Database.create(empty_url) as second:
        assert second.revision() == revision == "0001"


def test_a_missing_file_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Database.open(sqlite_url(tmp_path / "lab.db"))
    assert caught.value.what == "There is no database."
    assert not (tmp_path / "lab.db").exists()


def test_a_database_without_a_laboratory_is_refused(empty_url: str, tmp_path: Path) -> None:
    if empty_url.startswith("sqlite"):
        sqlite3.connect(tmp_path / "lab.db").close()
    with pytest.raises(StoreError) as caught:
        Database.open(empty_url)
    assert caught.value.what in {"The database holds no laboratory.", "There is no database."}


@pytest.mark.parametrize("revision", ["0002", "9999"])
def test_a_newer_database_is_refused_with_its_version(url: str, revision: str) -> None:
    with Database.open(url) as database, database.write() as transaction:
        transaction.connection.execute(text("UPDATE alembic_version SET version_num = :new"), {"new": revision})
    for way in (Database.open, Database.create):
        with pytest.raises(StoreError) as caught:
            way(url)
        assert f"'{revision}', which this program does not know" in caught.value.what
        assert caught.value.remedy.startswith("A newer version of biomarkers has written it.")


def insert_and_fail(database: Database) -> None:
    with database.write() as transaction:
        transaction.connection.execute(text("INSERT INTO alignment_set (recorded_at, digest) VALUES ('now', 'd')"))
        raise ZeroDivisionError


def test_a_raising_block_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        insert_and_fail(database)
    with database.read() as reading:
        assert reading.connection.execute(text("SELECT count(*) FROM alignment_set")).scalar_one() == 0


def test_nothing_is_written_through_a_reading(database: Database) -> None:
    with pytest.raises(StoreError, match=r"read-?only"), database.read() as reading:
        reading.connection.execute(text("INSERT INTO alignment_set (recorded_at, digest) VALUES ('now', 'd')"))


def test_a_database_opened_for_reading_refuses_to_write(url: str) -> None:
    with Database.open(url, read_only=True) as database, pytest.raises(StoreError) as caught, database.write():
        pass
    assert caught.value.what == "The database was opened for reading only."


def test_a_reading_sees_one_moment_while_others_write(url: str) -> None:
    count = text("SELECT count(*) FROM alignment_set")
    with Database.open(url) as database, Database.open(url) as other, database.read() as reading:
        before = reading.connection.execute(count).scalar_one()
        with other.write() as transaction:
            transaction.connection.execute(text("INSERT INTO alignment_set (recorded_at, digest) VALUES ('now', 'd')"))
        assert reading.connection.execute(count).scalar_one() == before == 0


def test_sqlite_is_opened_with_the_settings_that_keep_data(migrated_file: Path) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
        "trusted_schema": 0,
        "recursive_triggers": 1,
        "query_only": 0,
    }
    with Database.open(sqlite_url(migrated_file)) as database:
        with database.write() as transaction:
            for name, value in wanted.items():
                assert transaction.connection.execute(text(f"PRAGMA {name}")).scalar_one() == value, name
        with database.read() as reading:
            assert reading.connection.execute(text("PRAGMA query_only")).scalar_one() == 1
            strict = reading.connection.execute(text("SELECT name, strict FROM pragma_table_list WHERE type = 'table'"))
            loose = {name for name, is_strict in strict if not is_strict}
    assert loose == {"sqlite_schema", "sqlite_temp_schema", "alembic_version"}


def test_a_locked_file_is_worth_another_try(tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0)
    path = tmp_path / "lab.db"
    path.write_bytes(migrated_file.read_bytes())
    with (
        Database.open(sqlite_url(path)) as one,
        Database.open(sqlite_url(path)) as other,
        one.write(),
        pytest.raises(TemporarilyUnavailableError) as caught,
        other.write(),
    ):
        pass
    assert caught.value.is_transient
    assert caught.value.what == "The database is busy or away: database is locked."


def use_a_connection_that_is_cut(one: Database, other: Database) -> None:
    with one.write() as transaction:
        pid = transaction.connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with other.write() as killer:
            killer.connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        transaction.connection.execute(text("SELECT 1"))


@pytest.mark.postgres
def test_a_lost_connection_is_worth_another_try(migrated_database: str, postgres_server: Server) -> None:
    server_url = postgres_server.url(migrated_database)
    with Database.open(server_url) as one, Database.open(server_url) as other:
        with pytest.raises(TemporarilyUnavailableError):
            use_a_connection_that_is_cut(one, other)
        with one.read() as reading:
            assert reading.connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_server_that_is_away_is_worth_another_try_and_its_password_is_not_told() -> None:
    with pytest.raises(TemporarilyUnavailableError) as caught:
        Database.open("postgresql://technician:geheim@127.0.0.1:1/lab")
    assert "geheim" not in str(caught.value)
    assert "technician:***@127.0.0.1" in caught.value.where


@pytest.mark.parametrize("url", ["mysql://host/lab", "nonsense", "sqlite://"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Database.open(url)
    assert caught.value.remedy


def test_a_full_contradiction_names_the_constraint(database: Database) -> None:
    with (
        pytest.raises(StoreError, match=r"(?s)The database refused:.*ck_study_list_kind") as caught,
        database.write() as writing,
    ):
        writing.connection.execute(text("INSERT INTO study_list (kind, sha256, recorded_at) VALUES ('arms', 'x', 'y')"))
    assert not caught.value.is_transient


def test_writers_in_threads_wait_for_each_other(url: str) -> None:
    with Database.open(url) as database:

        def write() -> None:
            for _ in range(5):
                with database.write() as transaction:
                    transaction.connection.execute(text("INSERT INTO alignment_set (recorded_at, digest) VALUES ('n', 'd')"))

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.read() as reading:
            assert reading.connection.execute(text("SELECT count(*) FROM alignment_set")).scalar_one() == 20
