"""A dropped file's way from its inbox to a worker: claimed, looked at for identifying data, its bytes copied into the archive.

Knows who may take a file and what becomes of one that cannot be taken in. Must not compute, parse or know SQL.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from biomarkers.errors import BiomarkersError
from biomarkers.lab import archive
from biomarkers.lab.inbox import DroppedFile
from biomarkers.laboratory import door
from biomarkers.laboratory.quarantine import finish_bringing_back
from biomarkers.laboratory.status import inbox_name
from biomarkers.provenance import utc_now
from biomarkers.store import jobs, sources
from biomarkers.store.jobs import Job, JobState, Reason
from biomarkers.study.identifying import Identifying
from flows import steps
from flows.bench import ProgramFaultError, attempt, bench
from flows.door_work import DoorWork, look
from flows.leases import LEASE
from flows.steps import Held


async def hold(groups: Iterable[Iterable[DroppedFile]]) -> tuple[tuple[Held, ...], ...]:
    """Take the lease of each file, look at it, and copy its bytes into the archive; files others hold are passed over.

    A file that cannot be taken in stays where it is if the reason may pass, and is quarantined otherwise.
    """
    claimed = [[(file, job) for file in files if (job := _claim(file)) is not None] for files in groups]
    looks = await asyncio.gather(*(_looked_at(file) for group in claimed for file, _ in group))
    written = dict(zip((job.id for group in claimed for _, job in group), looks, strict=True))
    return tuple(
        tuple(held for file, job in group if (held := _taken_in(file, job, written[job.id])) is not None) for group in claimed
    )


async def _looked_at(file: DroppedFile) -> tuple[Identifying, ...] | BiomarkersError:
    """Look into a file for what tells who a subject is; one whose own name did so is not opened."""
    laboratory = bench().laboratory
    if door.is_withheld(file):
        return ()
    work = DoorWork(path=file.path, policy=laboratory.settings.identifying, identifiers=laboratory.definition.identifiers)
    try:
        return await attempt(look, work)
    except BiomarkersError as error:
        return error


def _taken_in(file: DroppedFile, job: Job, written: tuple[Identifying, ...] | BiomarkersError) -> Held | None:
    at = bench()
    try:
        if isinstance(written, BiomarkersError):
            raise written
        noted = door.judge(at.laboratory, file, written)
        admitted = archive.admit(at.laboratory.folder, file.path)
    except BiomarkersError as error:
        _not_admitted(file, job, error)
        return None
    with at.laboratory.database.write() as transaction:
        sources.register(
            transaction,
            sha256=admitted.sha256,
            size=admitted.size,
            assay=file.kind,
            kind="dropped",
            name=file.name,
            received_at=job.received_at,
        )
    return Held(file=file, job=job, sha256=admitted.sha256, noted=noted)


def _claim(file: DroppedFile) -> Job | None:
    at = bench()
    now = utc_now()
    with at.laboratory.database.write() as transaction:
        transaction.serialise()
        # Another watcher may have taken it since the scan; what it finished it has moved away, or left and noted.
        status = _status(file)
        if status is None or jobs.is_left_in_place(transaction, drop_id=_drop_id(file)):
            return None
        if status.st_nlink > 1:
            finish_bringing_back(at.laboratory, transaction, drop_id=_drop_id(file))
        job = jobs.enqueue(
            transaction,
            assay=file.kind,
            name=inbox_name(file),
            size=file.size,
            mtime_ns=file.mtime_ns,
            received_at=now,
        )
        claimed = jobs.claim(transaction, job_id=job.id, owner=at.owner, now=now, lease=LEASE)
    if claimed is not None:
        at.claimed.add(claimed.id)
    return claimed


def _status(file: DroppedFile) -> os.stat_result | None:
    """Return the state of the file that was scanned; None where it is gone, or another is there."""
    try:
        status = file.path.lstat()
    except OSError:
        return None
    return status if (status.st_size, status.st_mtime_ns, status.st_ino) == file.state else None


def _drop_id(file: DroppedFile) -> str:
    return jobs.drop_identity(assay=file.kind, name=inbox_name(file), size=file.size, mtime_ns=file.mtime_ns)


def _not_admitted(file: DroppedFile, job: Job, error: BiomarkersError) -> None:
    """Let a file wait whose trouble may pass or is our own; quarantine any other, which has no bytes in the archive."""
    at = bench()
    waits = error.is_transient or isinstance(error, ProgramFaultError)
    with at.laboratory.database.write() as transaction:
        if waits:
            jobs.wait(transaction, job_id=job.id, owner=at.owner, reason=Reason.of(error))
        else:
            jobs.finish(
                transaction,
                job_id=job.id,
                owner=at.owner,
                state=JobState.QUARANTINED,
                finished_at=utc_now(),
                reason=Reason.of(error),
            )
    if not error.is_transient:
        if not waits:
            steps.put_away(job.id, error)
        at.count(file, JobState.WAITING if waits else JobState.QUARANTINED, Reason.of(error))
    elif _status(file) is not None:  # else another worker has just finished it and moved it away
        at.postponed.append(error)
