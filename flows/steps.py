"""What becomes of a held file: recorded, waiting or quarantined, put away, and tried again.

Knows what follows an outcome, and that every step is safe to repeat after a crash. Must not compute, parse or know SQL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from biomarkers.errors import BiomarkersError, LabFolderError, StoreError, UnknownAccessionError, WaitingForFileError
from biomarkers.lab import archive
from biomarkers.lab.drafts import living_processes
from biomarkers.lab.inbox import DroppedFile
from biomarkers.laboratory.quarantine import bring_back, dropped_path, is_as_dropped, resting_path
from biomarkers.provenance import utc_now
from biomarkers.store import jobs
from biomarkers.store.database import Transaction
from biomarkers.store.jobs import NO_REASON, Job, JobState, Reason
from biomarkers.store.results import record_analysis
from biomarkers.store.study_lists import current_roster, last_list
from flows.bench import ProgramFaultError, bench, is_dead
from flows.work import Analysed, Analysis, Outcome, Refused, Specimens, WorkFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A dropped file whose lease this worker holds and whose bytes are in the archive.

    ``noted`` is what was noticed at the door of a file that was let through; it stands beside the file once it is recorded.
    """

    file: DroppedFile
    job: Job
    sha256: str
    noted: Reason = NO_REASON


def mend() -> None:
    """Finish what a killed sweep left: leases of the dead, files committed but not moved, half-copied bytes."""
    at = bench()
    database, folder = at.laboratory.database, at.laboratory.folder
    with database.write() as transaction:
        for owner in {job.owner for job in jobs.in_state(transaction, state=JobState.RUNNING)}:
            if is_dead(owner):
                jobs.release_of_owner(transaction, owner=owner)
        jobs.release_expired(transaction, now=utc_now())
        left = jobs.unacknowledged(transaction)
    for job in left:
        put_away(job.id)
    archive.remove_leftovers(folder, is_alive=living_processes())


def dropped_files() -> tuple[DroppedFile, ...]:
    """Scan the inboxes."""
    return bench().laboratory.dropped_files()


def finished(
    held: Sequence[Held],
    state: JobState,
    *,
    write: Callable[[Transaction], None] | None = None,
    reason: Reason | None = None,
    why: BiomarkersError | None = None,
) -> None:
    """Commit what became of files in one transaction with what they led to, then move them out of the inbox.

    ``why`` is the error behind a quarantine, whose note tells each of its faults with place and remedy.
    """
    at = bench()
    now = utc_now()
    with at.laboratory.database.write() as transaction:
        if write is not None:
            write(transaction)
        for one in held:
            jobs.finish(
                transaction,
                job_id=one.job.id,
                owner=at.owner,
                state=state,
                finished_at=now,
                sha256=one.sha256,
                reason=reason or one.noted,
            )
    for one in held:
        put_away(one.job.id, why)
        at.count(one.file, state, reason or one.noted, sha256=one.sha256)


def seen(one: Held, what: str) -> None:
    """Note another sighting of bytes whose result is recorded; nothing else changes."""
    finished([one], JobState.SEEN, reason=Reason(what=what, where=f"File '{one.file.name}'.", remedy="Nothing to do."))


def quarantine(one: Held, error: BiomarkersError) -> None:
    """Put a file into quarantine with the note beside it."""
    finished([one], JobState.QUARANTINED, reason=Reason.of(error), why=error)
    if _is_judged_too_soon(error):
        # The list came while the file was put away, and whoever took it may have looked for the file before it lay there.
        bench().judged_too_soon += retry(UnknownAccessionError.__name__, "A new list of the study was recorded meanwhile.")


def _is_judged_too_soon(outcome: Outcome | BiomarkersError) -> bool:
    """Whether an accession is unknown to the specimens this sweep knows, and another process recorded a list since."""
    error = outcome.error if isinstance(outcome, Refused) else outcome
    if not isinstance(error, UnknownAccessionError):
        return False
    at = bench()
    with at.laboratory.database.read() as reading:
        return at.specimens is not None and last_list(reading) != at.specimens_list


def _judge_again(held: Sequence[Held]) -> None:
    """Leave files in their inbox, to be taken once more by this sweep, or by whoever comes first."""
    at = bench()
    for one in held:
        reason = Reason(
            what="A new list of the study was recorded while the file was read.",
            where=f"File '{one.file.name}'.",
            remedy="Nothing to do; it is read once more.",
        )
        with at.laboratory.database.write() as transaction:
            jobs.wait(transaction, job_id=one.job.id, owner=at.owner, reason=reason, sha256=one.sha256)
        at.judged_too_soon.append(one.file)


def judged_too_soon() -> tuple[DroppedFile, ...]:
    """Return the files to be taken once more, each once, and judge from now on by the specimen list as it stands."""
    at = bench()
    files = tuple(at.judged_too_soon)
    at.judged_too_soon.clear()
    if files:
        forget_specimens()
    return files


def waiting(one: Held, error: BiomarkersError) -> None:
    """Leave a file in its inbox until what it needs is there."""
    at = bench()
    with at.laboratory.database.write() as transaction:
        jobs.wait(transaction, job_id=one.job.id, owner=at.owner, reason=Reason.of(error), sha256=one.sha256)
    at.count(one.file, JobState.WAITING, Reason.of(error), sha256=one.sha256)


def put_away(job_id: int, why: BiomarkersError | None = None) -> None:
    """Move a finished drop out of the inbox, and note that it left; safe to repeat.

    After a crash ``why`` is not at hand, and what the job says of it is noted instead.
    """
    laboratory = bench().laboratory
    with laboratory.database.read() as reading:
        job = jobs.get(reading, job_id=job_id)
    dropped = dropped_path(laboratory, job)
    settled = job.settled_name
    if is_as_dropped(dropped, job):
        error = why or BiomarkersError(what=job.what, where=job.where, remedy=job.remedy)
        moved = archive.put_away(
            laboratory.folder, dropped, _target(job), why=error if job.state is JobState.QUARANTINED else None
        )
        settled = jobs.LEFT_IN_PLACE if moved is None else moved
    with laboratory.database.write() as transaction:
        jobs.acknowledge(transaction, job_id=job.id, settled_name=settled, acknowledged_at=utc_now())


def _target(job: Job) -> Path:
    folder = bench().laboratory.folder
    if job.state is JobState.QUARANTINED:
        return folder.quarantine(job.assay)
    finished_at: datetime = job.finished_at or job.received_at
    return folder.done / f"{finished_at:%Y}" / f"{finished_at:%m}"


def retry(error_kind: str, why: str) -> tuple[DroppedFile, ...]:
    """Put quarantined files whose reason may be gone back into their inbox; return them as they lie there."""
    laboratory = bench().laboratory
    with laboratory.database.read() as reading:
        candidates = [job for job in jobs.in_state(reading, state=JobState.QUARANTINED) if job.error_kind == error_kind]
    back_again: set[Path] = set()
    for job in candidates:
        if not is_as_dropped(resting_path(laboratory, job), job):
            continue
        with contextlib.suppress(StoreError, LabFolderError):  # another was quicker, or it stays where its note tells of it
            bring_back(laboratory, job_id=job.id, reason=why)
            back_again.add(dropped_path(laboratory, job))
    return tuple(file for file in dropped_files() if file.path in back_again)


def now() -> datetime:
    """Return the moment that results computed now are stamped with."""
    return utc_now()


def specimens() -> Specimens:
    """Return what the analysis of a file may know of the specimen list as it stands; read once until it changes."""
    at = bench()
    if at.specimens is None:
        with at.laboratory.database.read() as reading:
            # The number first: of a list that comes between the two, a file is judged once more for nothing, never too soon.
            at.specimens_list = last_list(reading)
            roster = current_roster(reading)
        at.specimens = Specimens(material_by_accession={name: found.material for name, found in roster.specimens.items()})
    return at.specimens


def forget_specimens() -> None:
    """Read the specimen list again when it is next asked for."""
    bench().specimens = None


def settle(
    held: Sequence[Held],
    outcome: Outcome | BiomarkersError,
    *,
    reason: str,
    also: Callable[[Transaction], None] | None = None,
) -> tuple[Analysis, ...]:
    """Commit an outcome: results and files together, or quarantine for the files at fault and waiting for the others.

    Returns the analyses now on record, so that their evidence can be made.

    Parameters
    ----------
    also
        What else is written in the transaction of the results, after them.
    """
    if isinstance(outcome, Analysed):

        def write(transaction: Transaction) -> None:
            _record(transaction, outcome, reason)
            if also is not None:
                also(transaction)

        finished(held, JobState.RECORDED, write=write)
        return outcome.analyses
    if _is_judged_too_soon(outcome):
        _judge_again(held)
        return ()
    for one_file in held:
        if isinstance(outcome, ProgramFaultError):
            waiting(one_file, outcome)
        elif isinstance(outcome, BiomarkersError):
            quarantine(one_file, outcome)
        elif one_file.file.name in outcome.files:
            quarantine(one_file, outcome.error)
        else:
            waiting(one_file, _waits_for_the_other(one_file, outcome))
    return ()


def _record(transaction: Transaction, outcome: Analysed, reason: str) -> None:
    for analysis in outcome.analyses:
        record_analysis(transaction, analysis, reason=reason, recorded_at=utc_now())


def _waits_for_the_other(one_file: Held, outcome: Refused) -> BiomarkersError:
    names = ", ".join(f"'{name}'" for name in outcome.files)
    return WaitingForFileError(
        what=f"The file is sound, but {names}, which belongs to it, was quarantined.",
        where=f"File '{one_file.file.name}'.",
        remedy=f"Mend {names} and drop it again.",
    )


def work_file(one: Held) -> WorkFile:
    """Say to a child process which bytes to read under which name."""
    return WorkFile(name=one.file.name, sha256=one.sha256)


def wait_for_a_person(several: Sequence[Held], held: Iterable[Held], what: str) -> None:
    """Leave files in their inbox of which several claim to be the same thing; nothing is guessed."""
    names = ", ".join(f"'{one.file.name}'" for one in several)
    for one in held:
        waiting(
            one,
            WaitingForFileError(
                what=f"Several files claim to be the same {what}: {names}.",
                where=f"File '{one.file.name}'.",
                remedy=f"Take away all but one, or give each {what} a name of its own.",
            ),
        )
