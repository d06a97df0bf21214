from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from biomarkers.errors import StoreError
from biomarkers.store import audit
from biomarkers.store.audit import AuditHead
from biomarkers.store.database import Database, Transaction
from biomarkers.store.jobs import enqueue


def write_events(database: Database, now: datetime, count: int = 5) -> AuditHead:
    head = AuditHead(number=0, hash=audit.GENESIS)
    for number in range(1, count + 1):
        with database.write() as transaction:
            head = audit.append(
                transaction,
                at=now + timedelta(seconds=number),
                actor="Müller",
                action="plate.masked",
                entity=f"P{number}",
                detail={"before": None, "after": ["A01", 0.5]},
                reason="a bubble, 3 %",
            )
    return head


def disarm(transaction: Transaction) -> None:
    """Do what a database's owner can do: take the triggers away."""
    if transaction.connection.dialect.name == "sqlite":
        transaction.connection.execute(text("DROP TRIGGER audit_event_refuses_update"))
        transaction.connection.execute(text("DROP TRIGGER audit_event_refuses_delete"))
    else:
        transaction.connection.execute(text("ALTER TABLE audit_event DISABLE TRIGGER USER"))


def tamper(database: Database, statement: str) -> None:
    with database.write() as transaction:
        disarm(transaction)
        transaction.connection.execute(text(statement))


def test_an_untouched_chain_is_whole_and_reads_back_what_was_written(database: Database, now: datetime) -> None:
    head = write_events(database, now)
    with database.read() as reading:
        verdict = audit.verify(reading, expected_head=head)
        events = list(audit.events(reading))
        assert audit.head(reading) == head
        assert [event.number for event in audit.events(reading, entity="P3")] == [3]
    assert verdict.is_whole
    assert verdict.entries == 5
    assert verdict.head == head
    assert [event.number for event in events] == [1, 2, 3, 4, 5]
    assert events[0].previous_hash == audit.GENESIS
    assert all(later.previous_hash == earlier.hash for earlier, later in itertools.pairwise(events))
    assert events[2].detail == {"before": None, "after": ["A01", 0.5]}
    assert events[2].at == now + timedelta(seconds=3)


def test_an_empty_chain_is_whole(database: Database) -> None:
    with database.read() as reading:
        assert audit.verify(reading, expected_head=AuditHead(number=0, hash=audit.GENESIS)).is_whole


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'somebody'",
        "action = 'plate.unmasked'",
        "entity = 'P9'",
        "reason = ''",
        "at = '2026-03-02T08:30:04.000125Z'",
        "at = 'no time at all'",
        "detail = '{}'",
        "detail = 'no JSON at all'",
        "hash = 'f'",
    ],
)
def test_the_first_changed_entry_is_named_whatever_was_changed(database: Database, now: datetime, change: str) -> None:
    head = write_events(database, now)
    tamper(database, f"UPDATE audit_event SET {change} WHERE id = 3")  # noqa: S608  - the test's own words
    with database.read() as reading:
        verdict = audit.verify(reading, expected_head=head)
    assert verdict.broken is not None
    assert verdict.broken.number == 3
    assert verdict.head.number == 2


def test_an_entry_taken_out_of_the_middle_is_named(database: Database, now: datetime) -> None:
    write_events(database, now)
    tamper(database, "DELETE FROM audit_event WHERE id = 2")
    with database.read() as reading:
        verdict = audit.verify(reading)
    assert verdict.broken is not None
    assert verdict.broken.number == 2
    assert verdict.broken.what == "it is missing: entry 3 follows entry 1"


def test_a_tail_cut_off_shows_against_a_head_kept_outside_and_only_then(database: Database, now: datetime) -> None:
    head = write_events(database, now)
    tamper(database, "DELETE FROM audit_event WHERE id > 3")
    with database.read() as reading:
        assert audit.verify(reading).is_whole
        verdict = audit.verify(reading, expected_head=head)
    assert verdict.broken is not None
    assert verdict.broken.number == 4
    assert verdict.broken.what == "it is missing: the chain ends at 3, and was known to reach 5"


def test_a_chain_rewritten_as_a_whole_shows_against_a_head_kept_outside(
    database: Database, url_beside: str, now: datetime
) -> None:
    head = write_events(database, now)
    with Database.create(url_beside) as other:
        write_events(other, now + timedelta(hours=1), count=6)
        with other.read() as reading:
            assert audit.verify(reading).is_whole
            verdict = audit.verify(reading, expected_head=head)
    assert verdict.broken is not None
    assert verdict.broken.number == 5


def test_a_head_of_earlier_still_holds_after_the_chain_has_grown(database: Database, now: datetime) -> None:
    early = write_events(database, now, count=2)
    write_events(database, now, count=3)
    with database.read() as reading:
        assert audit.verify(reading, expected_head=early).is_whole


@pytest.mark.parametrize("statement", ["UPDATE audit_event SET actor = 'x'", "DELETE FROM audit_event WHERE id = 2"])
def test_the_trail_refuses_update_and_delete(database: Database, now: datetime, statement: str) -> None:
    write_events(database, now)
    with pytest.raises(StoreError, match="table audit_event is append-only"), database.write() as transaction:
        transaction.connection.execute(text(statement))


def test_the_trail_refuses_replacement_on_sqlite_and_truncation_on_postgresql(database: Database, now: datetime) -> None:
    write_events(database, now)
    sqlite = database.where.startswith("Database 'sqlite")
    statement = (
        "REPLACE INTO audit_event SELECT id, at, 'x', action, entity, detail, reason, previous_hash, hash FROM audit_event"
        if sqlite
        else "TRUNCATE audit_event"
    )
    with pytest.raises(StoreError, match="table audit_event is append-only"), database.write() as transaction:
        transaction.connection.execute(text(statement))


def test_writers_at_once_make_one_chain(database: Database, now: datetime) -> None:
    def write(name: str) -> None:
        for number in range(5):
            with database.write() as transaction:
                enqueue(transaction, assay="elisa", name=f"{name}{number}", size=1, mtime_ns=1, received_at=now)
                audit.append(transaction, at=now, actor=name, action="chain.grown", entity=str(number))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as reading:
        verdict = audit.verify(reading)
    assert verdict.is_whole
    assert verdict.entries == 20


def test_moments_are_kept_in_utc_and_naive_ones_refused(database: Database) -> None:
    summer = datetime(2026, 7, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    with database.write() as transaction:
        audit.append(transaction, at=summer, actor="a", action="b.c", entity="d")
    with database.read() as reading:
        (event,) = audit.events(reading)
    assert event.at == summer
    assert event.at.isoformat() == "2026-06-30T23:00:00+00:00"
    with pytest.raises(ValueError, match="needs a time zone"), database.write() as transaction:
        audit.append(transaction, at=summer.astimezone(UTC).replace(tzinfo=None), actor="a", action="b.c", entity="d")
