"""The work to be done: one job a drop, held by lease while somebody does it.

Knows the states a drop goes through and who may move it. Must not know what the work is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from sqlalchemy import ColumnElement, Row, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from biomarkers.errors import BiomarkersError, StoreError
from biomarkers.provenance import content_digest
from biomarkers.store import audit
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.schema import job


class JobState(StrEnum):
    """What became of a drop.

    ``WAITING`` needs another file, ``QUEUED`` may be claimed, ``RUNNING`` is leased; the other three are outcomes.
    """

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    RECORDED = "recorded"
    SEEN = "seen"
    QUARANTINED = "quarantined"


OUTCOMES = (JobState.RECORDED, JobState.SEEN, JobState.QUARANTINED)


class LeaseLostError(StoreError):
    """The job is no longer held by this owner: the lease ran out and another took it, or it is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One dropped file and what became of it.

    Attributes
    ----------
    drop_id
        Names the drop by inbox, name, size and time; see :func:`drop_identity`. Unique among drops not yet acknowledged.
    assay
        The inbox: an assay's name or ``"study"``.
    name
        The file's name below its inbox, with the instrument's subfolder where there is one.
    what, where, remedy
        Why it waits or was quarantined; empty otherwise.
    error_kind
        The class of the error behind it, such as ``"UnknownAccessionError"``; decides what is tried again and when.
    attempts
        How often it was claimed; a file that kills its process keeps its count.
    acknowledged_at, settled_name
        When the dropped file was moved out of the inbox, and to which name below ``done`` or ``quarantine``; or
        :data:`LEFT_IN_PLACE`.
    """

    id: int
    drop_id: str
    assay: str
    name: str
    sha256: str | None
    size: int
    mtime_ns: int
    state: JobState
    what: str
    where: str
    remedy: str
    error_kind: str
    owner: str
    lease_until: datetime | None
    attempts: int
    received_at: datetime
    finished_at: datetime | None
    acknowledged_at: datetime | None
    settled_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a job waits or was quarantined, in the three parts every message has."""

    what: str = ""
    where: str = ""
    remedy: str = ""
    error_kind: str = ""

    @classmethod
    def of(cls, error: BiomarkersError) -> Self:
        """Take an error's parts."""
        return cls(what=error.what, where=error.where, remedy=error.remedy, error_kind=type(error).__name__)


NO_REASON = Reason()


LEFT_IN_PLACE = "."
"""In place of a name below ``done`` or ``quarantine``: the file could not be moved, and stays where it was dropped."""


def drop_identity(*, assay: str, name: str, size: int, mtime_ns: int) -> str:
    """Name a drop so that every scan, and every watcher, gives the same file in the inbox the same name."""
    return f"d-{content_digest([assay, name, size, mtime_ns])[:20]}"


def enqueue(
    transaction: Transaction,
    *,
    assay: str,
    name: str,
    size: int,
    mtime_ns: int,
    received_at: datetime,
    sha256: str | None = None,
) -> Job:
    """Make a job of a dropped file, or return the one it already has while it lies in the inbox."""
    transaction.serialise()
    drop_id = drop_identity(assay=assay, name=name, size=size, mtime_ns=mtime_ns)
    open_drop = select(job).where(job.c.drop_id == drop_id, job.c.acknowledged_at.is_(None))
    found = transaction.connection.execute(open_drop).first()
    if found is None:
        transaction.connection.execute(
            insert(job).values(
                drop_id=drop_id,
                assay=assay,
                name=name,
                sha256=sha256,
                size=size,
                mtime_ns=mtime_ns,
                state=JobState.QUEUED.value,
                what="",
                where_="",
                remedy="",
                error_kind="",
                owner="",
                attempts=0,
                received_at=received_at,
                settled_name="",
            )
        )
        found = transaction.connection.execute(open_drop).one()
    return _job(found)


def claim(transaction: Transaction, *, job_id: int, owner: str, now: datetime, lease: timedelta) -> Job | None:
    """Take a job for as long as the lease runs; None where another holds it or it is finished.

    A queued or waiting job may be taken, and a running one whose lease has run out. The number of rows the update changed
    decides, so that of any number of claimants one succeeds.
    """
    taken = transaction.connection.execute(
        update(job)
        .where(job.c.id == job_id, _claimable(now))
        .values(
            state=JobState.RUNNING.value,
            owner=owner,
            lease_until=now + lease,
            attempts=job.c.attempts + 1,
            what="",
            where_="",
            remedy="",
            error_kind="",
        )
    )
    return get(transaction, job_id=job_id) if taken.rowcount == 1 else None


def claim_next(
    transaction: Transaction, *, owner: str, now: datetime, lease: timedelta, assay: str | None = None
) -> Job | None:
    """Take the oldest queued job, or one whose lease has run out; None where there is none to take."""
    ready = or_(job.c.state == JobState.QUEUED.value, _expired(now))
    query = select(job.c.id).where(ready).order_by(job.c.id)
    if assay is not None:
        query = query.where(job.c.assay == assay)
    for job_id in transaction.connection.execute(query).scalars().all():
        taken = claim(transaction, job_id=job_id, owner=owner, now=now, lease=lease)
        if taken is not None:
            return taken
    return None


def extend(transaction: Transaction, *, job_id: int, owner: str, now: datetime, lease: timedelta) -> None:
    """Hold a job for longer; raises LeaseLostError where it is no longer held."""
    changed = transaction.connection.execute(update(job).where(_held(job_id, owner)).values(lease_until=now + lease))
    _require_held(changed.rowcount, job_id, owner)


def wait(transaction: Transaction, *, job_id: int, owner: str, reason: Reason, sha256: str | None = None) -> None:
    """Give a job back because it needs another file; it may be claimed again at any time, and has not failed."""
    values: dict[str, object] = {
        "state": JobState.WAITING.value,
        "owner": "",
        "lease_until": None,
        "attempts": job.c.attempts - 1,
        **_parts(reason),
    }
    if sha256 is not None:
        values["sha256"] = sha256
    changed = transaction.connection.execute(update(job).where(_held(job_id, owner)).values(**values))
    _require_held(changed.rowcount, job_id, owner)


def release(transaction: Transaction, *, job_id: int, owner: str) -> None:
    """Give a job back undone; somebody else may take it at once."""
    changed = transaction.connection.execute(
        update(job).where(_held(job_id, owner)).values(state=JobState.QUEUED.value, owner="", lease_until=None)
    )
    _require_held(changed.rowcount, job_id, owner)


def release_expired(transaction: Transaction, *, now: datetime) -> int:
    """Queue again whatever a dead owner left behind; return how many."""
    changed = transaction.connection.execute(
        update(job).where(_expired(now)).values(state=JobState.QUEUED.value, owner="", lease_until=None)
    )
    return changed.rowcount


def release_of_owner(transaction: Transaction, *, owner: str) -> int:
    """Queue again what an owner known to be dead still holds, without waiting for its leases; return how many."""
    changed = transaction.connection.execute(
        update(job)
        .where(job.c.state == JobState.RUNNING.value, job.c.owner == owner)
        .values(state=JobState.QUEUED.value, owner="", lease_until=None)
    )
    return changed.rowcount


def finish(
    transaction: Transaction,
    *,
    job_id: int,
    owner: str,
    state: JobState,
    finished_at: datetime,
    sha256: str | None = None,
    reason: Reason = NO_REASON,
    actor: str = audit.PROGRAM,
) -> Job:
    """Write down the outcome of a job its owner holds, with an entry in the audit trail.

    Called in the transaction that records the results: if the lease was lost, the error takes the results back with it.
    """
    if state not in OUTCOMES:
        raise ValueError(f"'{state}' is no outcome")
    values: dict[str, object] = {
        "state": state.value,
        "owner": "",
        "lease_until": None,
        "finished_at": finished_at,
        **_parts(reason),
    }
    if sha256 is not None:
        values["sha256"] = sha256
    changed = transaction.connection.execute(update(job).where(_held(job_id, owner)).values(**values))
    _require_held(changed.rowcount, job_id, owner)
    finished = get(transaction, job_id=job_id)
    audit.append(
        transaction,
        at=finished_at,
        actor=actor,
        action=f"file.{state.value}",
        entity=f"{finished.assay}/{finished.name}",
        detail={"job": job_id, "sha256": finished.sha256},
        reason=reason.what,
    )
    return finished


def acknowledge(transaction: Transaction, *, job_id: int, settled_name: str, acknowledged_at: datetime) -> None:
    """Note that the dropped file has left the inbox; a second call changes nothing."""
    transaction.connection.execute(
        update(job)
        .where(job.c.id == job_id, job.c.acknowledged_at.is_(None), job.c.finished_at.is_not(None))
        .values(acknowledged_at=acknowledged_at, settled_name=settled_name)
    )


def requeue(transaction: Transaction, *, job_id: int, at: datetime, reason: str, actor: str = audit.PROGRAM) -> Job:
    """Try a quarantined drop again, as after a study file brought the accession it named.

    The dropped file must lie in the inbox again under the job's name.
    """
    transaction.serialise()
    try:
        changed = transaction.connection.execute(
            update(job)
            .where(job.c.id == job_id, job.c.state == JobState.QUARANTINED.value)
            .values(
                state=JobState.QUEUED.value,
                finished_at=None,
                acknowledged_at=None,
                settled_name="",
                attempts=0,
                **_parts(NO_REASON),
            )
        )
    except IntegrityError as error:
        raise StoreError(
            what="The file was dropped again in the meantime.",
            where=f"Job {job_id}.",
            remedy="Nothing to do: the newer drop is worked on.",
        ) from error
    if changed.rowcount != 1:
        raise StoreError(
            what="Only a quarantined file can be tried again.",
            where=f"Job {job_id}.",
            remedy="Look at its state with `biomarkers status`.",
        )
    queued = get(transaction, job_id=job_id)
    audit.append(
        transaction,
        at=at,
        actor=actor,
        action="file.requeued",
        entity=f"{queued.assay}/{queued.name}",
        detail={"job": job_id, "sha256": queued.sha256},
        reason=reason,
    )
    return queued


def get(reading: Reading, *, job_id: int) -> Job:
    """Return a job by its number."""
    row = reading.connection.execute(select(job).where(job.c.id == job_id)).first()
    if row is None:
        raise StoreError(what="There is no such job.", where=f"Job {job_id}.", remedy="Look at `biomarkers status`.")
    return _job(row)


def all_jobs(reading: Reading, *, assay: str | None = None) -> tuple[Job, ...]:
    """Return every drop in the order of arrival, of all inboxes or of one."""
    query = select(job).order_by(job.c.id)
    if assay is not None:
        query = query.where(job.c.assay == assay)
    return tuple(_job(row) for row in reading.connection.execute(query))


def in_state(reading: Reading, *, state: JobState) -> tuple[Job, ...]:
    """Return the drops in one state in the order of arrival."""
    query = select(job).where(job.c.state == state.value).order_by(job.c.id)
    return tuple(_job(row) for row in reading.connection.execute(query))


def quarantined_drops(reading: Reading, *, drop_id: str) -> tuple[Job, ...]:
    """Return what was dropped as ``drop_id`` and has left the inbox for quarantine, the newest first."""
    query = (
        select(job)
        .where(job.c.drop_id == drop_id, job.c.state == JobState.QUARANTINED.value, job.c.acknowledged_at.is_not(None))
        .order_by(job.c.id.desc())
    )
    return tuple(_job(row) for row in reading.connection.execute(query))


def left_in_place(reading: Reading) -> frozenset[str]:
    """Return the drops, by ``drop_id``, that are done with and lie where they were, as on a share that may only be read."""
    query = select(job.c.drop_id).where(job.c.settled_name == LEFT_IN_PLACE, job.c.acknowledged_at.is_not(None))
    return frozenset(reading.connection.execute(query).scalars())


def is_left_in_place(reading: Reading, *, drop_id: str) -> bool:
    """Whether a drop is done with and lies where it was."""
    query = select(job.c.id).where(
        job.c.drop_id == drop_id, job.c.settled_name == LEFT_IN_PLACE, job.c.acknowledged_at.is_not(None)
    )
    return reading.connection.execute(query).first() is not None


def unacknowledged(reading: Reading) -> tuple[Job, ...]:
    """Return finished drops that were not yet seen to leave the inbox, as after a crash between the two."""
    query = select(job).where(job.c.finished_at.is_not(None), job.c.acknowledged_at.is_(None)).order_by(job.c.id)
    return tuple(_job(row) for row in reading.connection.execute(query))


def _expired(now: datetime) -> ColumnElement[bool]:
    return and_(job.c.state == JobState.RUNNING.value, job.c.lease_until < now)


def _claimable(now: datetime) -> ColumnElement[bool]:
    return or_(job.c.state.in_([JobState.QUEUED.value, JobState.WAITING.value]), _expired(now))


def _held(job_id: int, owner: str) -> ColumnElement[bool]:
    return and_(job.c.id == job_id, job.c.owner == owner, job.c.state == JobState.RUNNING.value)


def _require_held(rowcount: int, job_id: int, owner: str) -> None:
    if rowcount != 1:
        raise LeaseLostError(
            what=f"'{owner}' no longer holds the job.",
            where=f"Job {job_id}.",
            remedy="Its lease ran out and another took it; nothing was written here.",
        )


def _parts(reason: Reason) -> dict[str, str]:
    return {"what": reason.what, "where_": reason.where, "remedy": reason.remedy, "error_kind": reason.error_kind}


def _job(row: Row[tuple[object, ...]]) -> Job:
    return Job(
        id=row.id,
        drop_id=row.drop_id,
        assay=row.assay,
        name=row.name,
        sha256=row.sha256,
        size=row.size,
        mtime_ns=row.mtime_ns,
        state=JobState(row.state),
        what=row.what,
        where=row.where_,
        remedy=row.remedy,
        error_kind=row.error_kind,
        owner=row.owner,
        lease_until=row.lease_until,
        attempts=row.attempts,
        received_at=row.received_at,
        finished_at=row.finished_at,
        acknowledged_at=row.acknowledged_at,
        settled_name=row.settled_name,
    )
