"""The way of a quarantined file back into its inbox.

Knows that the file and its job go together, whoever else looks at them. Must not know why a file is tried again.
"""

from __future__ import annotations

from pathlib import Path

from biomarkers.errors import LabFolderError, StoreError
from biomarkers.lab import archive
from biomarkers.laboratory.face import Laboratory
from biomarkers.provenance import utc_now
from biomarkers.store import audit, jobs
from biomarkers.store.database import Transaction
from biomarkers.store.jobs import Job, JobState


def dropped_path(laboratory: Laboratory, job: Job) -> Path:
    """Return where a file was dropped."""
    return laboratory.folder.inbox(job.assay) / job.name


def resting_path(laboratory: Laboratory, job: Job) -> Path:
    """Return where a quarantined file lies: in quarantine, or where it was dropped if it could not be moved."""
    if job.settled_name == jobs.LEFT_IN_PLACE:
        return dropped_path(laboratory, job)
    return laboratory.folder.quarantine(job.assay) / (job.settled_name or Path(job.name).name)


def is_as_dropped(path: Path, job: Job) -> bool:
    """Whether the file at a path is the one the job is about, and neither mended nor another of its name."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (status.st_size, status.st_mtime_ns) == (job.size, job.mtime_ns)


def bring_back(laboratory: Laboratory, *, job_id: int, reason: str, actor: str = audit.PROGRAM) -> Job:
    """Put a quarantined file, mended or not, back where it was dropped; the next sweep finds it. Its note is taken away.

    A file that was not mended keeps its job. The job is changed and the file moved within one transaction, in which nobody
    else takes files: no watcher finds the file and makes a second job of it, and of two that bring it back one does.

    Raises
    ------
    StoreError
        It is not in quarantine, not yet or not any more, or a file of its name lies in the inbox.
    LabFolderError
        It may not be moved.
    """
    with laboratory.database.write() as transaction:
        transaction.serialise()
        job = jobs.get(transaction, job_id=job_id)
        resting, back = resting_path(laboratory, job), dropped_path(laboratory, job)
        if job.state is not JobState.QUARANTINED or not resting.is_file() or resting.is_symlink():
            raise StoreError(
                what="The file does not lie in quarantine any more.", where=_where(job), remedy="Look at the board."
            )
        if job.acknowledged_at is None:
            raise StoreError(
                what="The file is just being put into quarantine.", where=_where(job), remedy="Try again in a moment."
            )
        if is_as_dropped(resting, job):
            job = jobs.requeue(transaction, job_id=job_id, at=utc_now(), reason=reason, actor=actor)
        if resting != back:
            # Before the commit: killed between the two, the file is a new drop, and its old job has ended.
            _move(resting, back, job)
        _remove_note(laboratory, job, resting)
    return job


def finish_bringing_back(laboratory: Laboratory, transaction: Transaction, *, drop_id: str) -> None:
    """Do what is left of bringing a file back that a kill interrupted between its two names, of which one is left then."""
    for job in jobs.quarantined_drops(transaction, drop_id=drop_id):
        resting, back = resting_path(laboratory, job), dropped_path(laboratory, job)
        if resting != back and resting.exists() and back.samefile(resting):
            reason = "It was being brought back when the program was killed."
            jobs.requeue(transaction, job_id=job.id, at=utc_now(), reason=reason)
            resting.unlink()
            _remove_note(laboratory, job, resting)
            return


def _remove_note(laboratory: Laboratory, job: Job, resting: Path) -> None:
    (laboratory.folder.quarantine(job.assay) / f"{resting.name}.reason.txt").unlink(missing_ok=True)


def _move(resting: Path, back: Path, job: Job) -> None:
    try:
        back.parent.mkdir(parents=True, exist_ok=True)
        is_free = archive.moved_to(resting, back)
    except OSError as error:
        raise LabFolderError(
            what=f"The file cannot be brought back from quarantine: {error.strerror}.",
            where=_where(job),
            remedy="Check the rights of the inbox and of the folder 'quarantine', then try again.",
        ) from error
    if not is_free:
        raise StoreError(
            what="A file of this name lies in the inbox already.",
            where=_where(job),
            remedy="Wait until it is taken, then try again.",
        )


def _where(job: Job) -> str:
    return f"File '{job.assay}/{job.name}'."
