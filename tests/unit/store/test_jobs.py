from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from biomarkers.errors import SourceFileError, StoreError, UnknownAccessionError
from biomarkers.store import audit, jobs
from biomarkers.store.database import Database
from biomarkers.store.jobs import Job, JobState, LeaseLostError, Reason

LEASE = timedelta(minutes=10)
DIGEST = "a" * 64


def dropped(database: Database, now: datetime, name: str = "P1.txt", *, mtime_ns: int = 1_760_000_000_123_456_789) -> Job:
    with database.write() as transaction:
        return jobs.enqueue(transaction, assay="elisa", name=name, size=6_000_000_000, mtime_ns=mtime_ns, received_at=now)


def claimed(database: Database, now: datetime, owner: str = "one", *, job_id: int = 1) -> Job | None:
    with database.write() as transaction:
        return jobs.claim(transaction, job_id=job_id, owner=owner, now=now, lease=LEASE)


def finished(database: Database, now: datetime, state: JobState, *, reason: Reason = jobs.NO_REASON) -> Job:
    with database.write() as transaction:
        return jobs.finish(transaction, job_id=1, owner="one", state=state, finished_at=now, sha256=DIGEST, reason=reason)


def test_a_drop_seen_by_several_scans_is_one_job(database: Database, now: datetime) -> None:
    first = dropped(database, now)
    again = dropped(database, now + timedelta(seconds=5))
    assert first == again
    assert (first.state, first.size, first.mtime_ns) == (JobState.QUEUED, 6_000_000_000, 1_760_000_000_123_456_789)


def test_a_file_changed_in_the_inbox_is_another_drop(database: Database, now: datetime) -> None:
    assert dropped(database, now).id != dropped(database, now, mtime_ns=2).id


def test_a_file_dropped_again_after_it_left_the_inbox_is_another_drop(database: Database, now: datetime) -> None:
    first = dropped(database, now)
    claimed(database, now)
    finished(database, now, JobState.RECORDED)
    assert dropped(database, now).id == first.id
    with database.write() as transaction:
        jobs.acknowledge(transaction, job_id=1, settled_name="2026/03/P1.txt", acknowledged_at=now)
    assert dropped(database, now).id != first.id
    with database.read() as reading:
        assert jobs.get(reading, job_id=1).settled_name == "2026/03/P1.txt"


def test_a_job_is_held_by_one_owner_until_its_lease_runs_out(database: Database, now: datetime) -> None:
    dropped(database, now)
    first = claimed(database, now)
    assert first is not None
    assert (first.owner, first.attempts, first.lease_until) == ("one", 1, now + LEASE)
    assert claimed(database, now + LEASE, "two") is None
    second = claimed(database, now + LEASE + timedelta(microseconds=1), "two")
    assert second is not None
    assert (second.owner, second.attempts) == ("two", 2)
    with pytest.raises(LeaseLostError):
        finished(database, now, JobState.RECORDED)


def test_an_extended_lease_holds_longer(database: Database, now: datetime) -> None:
    dropped(database, now)
    claimed(database, now)
    with database.write() as transaction:
        jobs.extend(transaction, job_id=1, owner="one", now=now + LEASE, lease=LEASE)
    assert claimed(database, now + LEASE + timedelta(seconds=1), "two") is None
    with pytest.raises(LeaseLostError), database.write() as transaction:
        jobs.extend(transaction, job_id=1, owner="two", now=now, lease=LEASE)


def test_what_a_dead_owner_held_is_queued_again(database: Database, now: datetime) -> None:
    dropped(database, now)
    claimed(database, now)
    with database.write() as transaction:
        assert jobs.release_expired(transaction, now=now + LEASE) == 0
        assert jobs.release_expired(transaction, now=now + 2 * LEASE) == 1
        assert jobs.get(transaction, job_id=1).state is JobState.QUEUED
    claimed(database, now, "known to be dead")
    with database.write() as transaction:
        assert jobs.release_of_owner(transaction, owner="another") == 0
        assert jobs.release_of_owner(transaction, owner="known to be dead") == 1
        released = jobs.get(transaction, job_id=1)
    assert (released.state, released.attempts, released.lease_until) == (JobState.QUEUED, 2, None)


def test_waiting_keeps_its_reason_and_is_no_failed_attempt(database: Database, now: datetime) -> None:
    dropped(database, now)
    claimed(database, now)
    reason = Reason(what="The plate map is missing.", where="File 'P1.txt'.", remedy="Drop P1.map.csv.", error_kind="W")
    with database.write() as transaction:
        jobs.wait(transaction, job_id=1, owner="one", reason=reason)
        (waiting,) = jobs.in_state(transaction, state=JobState.WAITING)
    assert (waiting.what, waiting.where, waiting.remedy) == (reason.what, reason.where, reason.remedy)
    assert waiting.attempts == 0
    with database.write() as transaction:
        assert jobs.claim_next(transaction, owner="two", now=now, lease=LEASE) is None
    taken = claimed(database, now, "two")
    assert taken is not None
    assert taken.what == ""


def test_the_oldest_queued_drop_of_an_inbox_comes_first(database: Database, now: datetime) -> None:
    dropped(database, now, "P1.txt")
    dropped(database, now, "P2.txt")
    with database.write() as transaction:
        assert jobs.claim_next(transaction, owner="one", now=now, lease=LEASE, assay="ihc") is None
        names = [jobs.claim_next(transaction, owner="one", now=now, lease=LEASE, assay="elisa") for _ in range(3)]
    assert [taken.name if taken else None for taken in names] == ["P1.txt", "P2.txt", None]


def test_a_quarantined_drop_says_why_and_can_be_tried_again(database: Database, now: datetime) -> None:
    dropped(database, now)
    claimed(database, now)
    error = UnknownAccessionError(what="Unknown 'ATR-9'.", where="Well A01.", remedy="Drop a new specimens.csv.")
    done = finished(database, now, JobState.QUARANTINED, reason=Reason.of(error))
    assert (done.state, done.error_kind, done.what) == (JobState.QUARANTINED, "UnknownAccessionError", "Unknown 'ATR-9'.")
    with database.write() as transaction:
        assert [job.id for job in jobs.unacknowledged(transaction)] == [1]
        jobs.acknowledge(transaction, job_id=1, settled_name="elisa/P1.txt", acknowledged_at=now)
        jobs.acknowledge(transaction, job_id=1, settled_name="another", acknowledged_at=now)
        assert jobs.unacknowledged(transaction) == ()
        again = jobs.requeue(transaction, job_id=1, at=now, reason="a new specimen list")
    assert (again.state, again.attempts, again.what, again.settled_name) == (JobState.QUEUED, 0, "", "")
    with database.read() as reading:
        assert [event.action for event in audit.events(reading)] == ["file.quarantined", "file.requeued"]


def test_only_what_lies_in_quarantine_is_tried_again(database: Database, now: datetime) -> None:
    dropped(database, now)
    with pytest.raises(StoreError, match="Only a quarantined file"), database.write() as transaction:
        jobs.requeue(transaction, job_id=1, at=now, reason="x")
    claimed(database, now)
    finished(database, now, JobState.QUARANTINED, reason=Reason.of(SourceFileError(what="Cut off.")))
    with database.write() as transaction:
        jobs.acknowledge(transaction, job_id=1, settled_name="P1.txt", acknowledged_at=now)
    dropped(database, now)
    with pytest.raises(StoreError, match="dropped again in the meantime"), database.write() as transaction:
        jobs.requeue(transaction, job_id=1, at=now, reason="x")


def record_and_finish(database: Database, now: datetime) -> None:
    with database.write() as transaction:
        audit.append(transaction, at=now, actor="one", action="analysis.recorded", entity="r")
        jobs.finish(transaction, job_id=1, owner="one", state=JobState.RECORDED, finished_at=now)


def test_a_lost_lease_takes_everything_of_its_transaction_back(database: Database, now: datetime) -> None:
    dropped(database, now)
    claimed(database, now)
    claimed(database, now + 2 * LEASE, "two")
    with pytest.raises(LeaseLostError):
        record_and_finish(database, now)
    with database.read() as reading:
        assert audit.head(reading).number == 0


CLAIMANT = """
import sys
from datetime import UTC, datetime, timedelta
from biomarkers.store import jobs
from biomarkers.store.database import Database

url, owner = sys.argv[1:]
with Database.open(url) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        now = datetime.now(UTC)
        with database.write() as transaction:
            job = jobs.claim_next(transaction, owner=owner, now=now, lease=timedelta(minutes=10))
        if job is None:
            break
        print(job.id, flush=True)
"""


def test_of_four_processes_each_job_goes_to_exactly_one(database: Database, url: str, now: datetime) -> None:
    count = 40
    with database.write() as transaction:
        for number in range(count):
            jobs.enqueue(transaction, assay="elisa", name=f"{number}", size=1, mtime_ns=1, received_at=now)
    claimants = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMANT, url, f"owner {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    # All are let go at once, after the last has started: the first would otherwise find no rival.
    for claimant in claimants:
        assert claimant.stdout is not None
        assert claimant.stdout.readline() == "ready\n"
    for claimant in claimants:
        assert claimant.stdin is not None
        claimant.stdin.write("go\n")
        claimant.stdin.flush()
    outputs = [claimant.communicate(timeout=120)[0] for claimant in claimants]
    assert [claimant.returncode for claimant in claimants] == [0, 0, 0, 0]
    taken = [int(line) for output in outputs for line in output.split()]
    assert sorted(taken) == list(range(1, count + 1))
