from __future__ import annotations

import shutil
import stat
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from biomarkers.errors import StoreError
from biomarkers.store import audit
from biomarkers.store.arms import ArmsForbiddenError, ArmStore
from biomarkers.store.database import Database, sqlite_url
from biomarkers.study.arms import ArmAssignments

ASSIGNMENTS = ArmAssignments(arm_by_subject={"S0001": "ARM-CANARY-A", "S0002": "ARM-CANARY-B"})


class Server(Protocol):
    def url(self, database: str, *, user: str = "postgres") -> str: ...

    def execute(self, statement: str, *, database: str = "postgres") -> None: ...


@pytest.fixture
def arms_url(url: str, tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "arms.db") if url.startswith("sqlite") else url


def load(arms_url: str, database: Database, now: datetime, given: ArmAssignments = ASSIGNMENTS, sha256: str = "a") -> bool:
    with ArmStore.create(arms_url) as store, database.write() as laboratory:
        return store.load(
            given, sha256=sha256, loaded_by="statistician", loaded_at=now, reason="allocation list 1", laboratory=laboratory
        )


def test_allocations_are_read_back_and_told_by_no_printed_form(database: Database, arms_url: str, now: datetime) -> None:
    assert load(arms_url, database, now)
    with ArmStore.open(arms_url) as store:
        assert store.read() == ASSIGNMENTS
        assert "CANARY" not in f"{store.read()!r} {store!r}"


def test_the_trail_tells_that_arms_were_loaded_and_no_arm_nor_a_digest_of_them(
    database: Database, arms_url: str, now: datetime
) -> None:
    load(arms_url, database, now, sha256="d1ge57")
    with database.read() as reading:
        (event,) = audit.events(reading)
    assert (event.action, event.actor, event.detail) == ("arms.loaded", "statistician", {"subjects": 2})
    assert "CANARY" not in repr(event)
    assert "d1ge57" not in repr(event)


def test_no_table_of_the_laboratory_holds_an_arm(database: Database, arms_url: str, now: datetime, tmp_path: Path) -> None:
    load(arms_url, database, now)
    if arms_url.startswith("sqlite"):
        assert not any(b"CANARY" in path.read_bytes() for path in tmp_path.glob("lab.db*"))
        return
    with database.read() as reading:
        tables = reading.connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
        for table in tables.all():
            rows = reading.connection.execute(text(f'SELECT * FROM "{table}"'))  # noqa: S608  - names the server gave
            assert "CANARY" not in str(rows.all()), table


def test_a_later_list_replaces_the_earlier_and_equal_bytes_change_nothing(
    database: Database, arms_url: str, now: datetime
) -> None:
    later = ArmAssignments(arm_by_subject={"S0003": "A"})
    assert [load(arms_url, database, now), load(arms_url, database, now)] == [True, False]
    assert load(arms_url, database, now, later, "b")
    with ArmStore.open(arms_url) as store:
        assert store.read() == later
    with database.read() as reading:
        assert audit.head(reading).number == 2


def test_what_the_trail_does_not_take_is_not_loaded(database: Database, arms_url: str, now: datetime) -> None:
    with ArmStore.create(arms_url) as store:
        with pytest.raises(ValueError, match="who acted"), database.write() as laboratory:
            store.load(ASSIGNMENTS, sha256="a", loaded_by="", loaded_at=now, reason="", laboratory=laboratory)
        with pytest.raises(StoreError, match="No allocation to arms was loaded"):
            store.read()


@pytest.mark.parametrize("statement", ["UPDATE {table} SET arm = 'x'", "DELETE FROM {table}"])
def test_allocations_refuse_update_and_delete(database: Database, arms_url: str, now: datetime, statement: str) -> None:
    load(arms_url, database, now)
    sqlite = arms_url.startswith("sqlite")
    changed = statement.format(table="allocation" if sqlite else "allocation.allocation")
    refused = pytest.raises(DBAPIError, match="table allocation is append-only")
    with ArmStore.open(arms_url) as store, store.engine.connect() as connection, refused:
        connection.execute(text(changed))


def test_without_a_store_of_arms_the_answer_says_how_to_load_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        ArmStore.open(sqlite_url(tmp_path / "arms.db"))
    assert caught.value.remedy == "Load one with `biomarkers arms load LAB FILE`."


def test_the_file_and_all_beside_it_can_be_read_by_the_owner_alone(tmp_path: Path, migrated_file: Path, now: datetime) -> None:
    shutil.copyfile(migrated_file, tmp_path / "lab.db")
    with ArmStore.create(sqlite_url(tmp_path / "arms.db")) as store:
        with Database.open(sqlite_url(tmp_path / "lab.db")) as database, database.write() as laboratory:
            store.load(ASSIGNMENTS, sha256="z", loaded_by="s", loaded_at=now, reason="", laboratory=laboratory)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("arms.db*")}
    assert modes == {"arms.db": 0o600, "arms.db-wal": 0o600, "arms.db-shm": 0o600}


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arms.db"
    ArmStore.create(sqlite_url(path)).close()
    path.chmod(0o640)
    with pytest.raises(StoreError) as caught:
        ArmStore.open(sqlite_url(path))
    assert caught.value.what == "Others than its owner can read the store of allocations."


@pytest.mark.postgres
def test_on_postgresql_only_members_of_the_role_read_arms(
    postgres_server: Server, migrated_database: str, now: datetime
) -> None:
    name = "lab_with_arms"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_database}")
    for login in ("technician", "unblinded"):
        postgres_server.execute(f"CREATE ROLE {login} LOGIN")
    with Database.open(postgres_server.url(name)) as database:
        assert load(postgres_server.url(name), database, now)
    postgres_server.execute(f"GRANT {name}_allocation TO unblinded")
    with ArmStore.open(postgres_server.url(name, user="unblinded")) as store:
        assert store.read() == ASSIGNMENTS
    technician = ArmStore.open(postgres_server.url(name, user="technician"))
    with technician:
        with pytest.raises(ArmsForbiddenError, match="You have no right to arms"):
            technician.read()
        with technician.engine.connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("SELECT * FROM allocation.allocation"))
