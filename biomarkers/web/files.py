"""What became of every file, and what needs a person, as pages and API tell it.

Knows jobs, inboxes and the quarantine folder. Must not know how a line is shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from biomarkers.errors import StoreError
from biomarkers.lab.drafts import RECEIVING, own_name
from biomarkers.lab.inbox import stem
from biomarkers.laboratory import Laboratory, quarantine
from biomarkers.laboratory.status import inbox_name, untaken
from biomarkers.provenance import utc_now
from biomarkers.readers.sign_offs import sign_off_text
from biomarkers.reports.page import by_weight
from biomarkers.store import alignments, audit, jobs, lookups, study_lists
from biomarkers.store.jobs import Job, JobState
from biomarkers.store.results import read_analysis
from biomarkers.study.visits import Rule
from biomarkers.timepoints.alignment import Status, TimepointRow
from biomarkers.web.templates_made import ASSAY_WORDS

EXPIRY_DAYS = 30

REASONS_READ = 20
"""Runs whose findings are read for the sentence a technician sees; further ones are told by the codes of theirs."""

_ORDER = {"quarantined": 0, "waiting": 0, "specimen": 1, "repeat": 2, "arrival": 3, "lot": 4}

_ACCEPTING = re.compile(r"'biomarkers (plates|slides) accept'")
"""A file waits for a person's word where its remedy names the command that gives one."""

NEXT_STEP = {
    JobState.RECORDED: "Nothing to do.",
    JobState.SEEN: "Nothing to do: these bytes were recorded before.",
    JobState.QUEUED: "Nothing to do: it is read by the next sweep.",
    JobState.RUNNING: "Nothing to do: it is being read.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLink:
    """A run made from a file."""

    run_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """One drop and what became of it.

    Attributes
    ----------
    job_id
        None for a file that lies in its inbox and was not taken yet.
    can_retry
        It lies in quarantine still.
    needs_word
        It is sound, and waits for a person to answer for it.
    """

    job_id: int | None
    name: str
    assay: str
    state: str
    what: str
    where: str
    next_step: str
    sha256: str | None
    received_at: datetime | None
    finished_at: datetime | None
    runs: tuple[RunLink, ...]
    can_retry: bool
    needs_word: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that waits for a person: since when, what, why in one sentence, and where to go."""

    since: datetime | None
    kind: str
    subject: str
    sentence: str
    remedy: str
    address: str
    retry_job: int | None = None


def file_lines(laboratory: Laboratory) -> tuple[FileLine, ...]:
    """Return every drop, the newest first, and before them what lies in the inboxes untaken."""
    with laboratory.database.read() as reading:
        known = jobs.all_jobs(reading)
        runs = _runs_by_instrument(lookups.current_analyses(reading))
    open_names = {(job.assay, job.name) for job in known if job.acknowledged_at is None}
    new = [untaken(file) for file in laboratory.dropped_files() if (file.kind, inbox_name(file)) not in open_names]
    lines = [
        FileLine(
            job_id=None,
            name=one.name,
            assay=one.assay,
            state=one.state,
            what=one.what,
            where="",
            next_step=one.remedy,
            sha256=None,
            received_at=None,
            finished_at=None,
            runs=(),
            can_retry=False,
        )
        for one in new
    ]
    return (*lines, *(_line(laboratory, job, runs.get(job.sha256 or "", ())) for job in reversed(known)))


def todays(laboratory: Laboratory, lines: Sequence[FileLine]) -> tuple[FileLine, ...]:
    """Return the lines of today in the laboratory's time zone, with all that is unfinished whenever it came."""
    zone = ZoneInfo(laboratory.settings.time_zone)
    today = utc_now().astimezone(zone).date()
    return tuple(
        line
        for line in lines
        if line.received_at is None
        or line.received_at.astimezone(zone).date() == today
        or line.state in {"waiting", "running"}
        or line.can_retry
    )


def _line(laboratory: Laboratory, job: Job, runs: tuple[RunLink, ...]) -> FileLine:
    return FileLine(
        job_id=job.id,
        name=job.name,
        assay=job.assay,
        state=JobState.WAITING.value if job.state is JobState.QUEUED else job.state.value,
        what=job.what,
        where=job.where,
        next_step=job.remedy or NEXT_STEP.get(job.state, ""),
        sha256=job.sha256,
        received_at=job.received_at,
        finished_at=job.finished_at,
        runs=runs,
        can_retry=job.state is JobState.QUARANTINED and quarantine.resting_path(laboratory, job).is_file(),
        needs_word=job.state is JobState.WAITING and _ACCEPTING.search(job.remedy) is not None,
    )


def _runs_by_instrument(entries: Sequence[lookups.AnalysisEntry]) -> Mapping[str, tuple[RunLink, ...]]:
    found: dict[str, list[RunLink]] = {}
    for entry in entries:
        if not entry.step:
            found.setdefault(entry.instrument_sha256, []).append(RunLink(run_id=entry.run_id, name=entry.name))
    return {sha256: tuple(runs) for sha256, runs in found.items()}


def answer(laboratory: Laboratory, *, job_id: int, by: str, actor: str, reason: str, replaces: bool) -> Job:
    """Write a person's word for a file that waits for one beside it; the next sweep takes both in.

    Parameters
    ----------
    by, actor
        Who answers, as the sidecar says it and as the audit trail does.
    replaces
        A second read counts in place of the first.

    Raises
    ------
    StoreError
        The file does not wait for a word, or has a sidecar already.
    """
    with laboratory.database.read() as reading:
        job = jobs.get(reading, job_id=job_id)
    waits = laboratory.folder.inbox(job.assay) / job.name
    sidecar = waits.with_name(f"{stem(waits.name)}.toml")
    where = f"File '{job.assay}/{job.name}'."
    if job.state is not JobState.WAITING or _ACCEPTING.search(job.remedy) is None or not waits.is_file():
        raise StoreError(what="The file does not wait for a person's word.", where=where, remedy="Look at the board.")
    draft = sidecar.with_name(f"{RECEIVING}{own_name()}")
    draft.write_text(sign_off_text(by=by, reason=reason, replaces=replaces), encoding="utf-8")
    try:
        with laboratory.database.write() as transaction:
            audit.append(
                transaction,
                at=utc_now(),
                actor=actor,
                action="file.answered_for",
                entity=f"{job.assay}/{job.name}",
                detail={"replaces": replaces},
                reason=reason,
            )
            os.link(draft, sidecar)  # refuses where a rename would replace
    except FileExistsError as error:
        raise StoreError(
            what=f"The file has a sidecar already, '{sidecar.name}'.",
            where=where,
            remedy="Write by and reason into it, and drop it again.",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return job


def needs(laboratory: Laboratory, lines: Sequence[FileLine], rows: Sequence[TimepointRow]) -> list[Need]:
    """Gather what waits for a person: files and specimens first, then repeats, arrivals and lots, each the oldest first."""
    found = [
        *_files_in_need(lines),
        *_specimens(laboratory),
        *_repeats(laboratory, rows),
        *_arrivals(laboratory, rows),
        *_lots(laboratory),
    ]
    now = utc_now()
    return sorted(found, key=lambda need: (_ORDER[need.kind], need.since is None, need.since or now, need.subject))


def _files_in_need(lines: Sequence[FileLine]) -> Iterator[Need]:
    for line in lines:
        if line.can_retry or line.state == "waiting":
            yield Need(
                since=line.received_at,
                kind="quarantined" if line.can_retry else "waiting",
                subject=f"{line.assay}/{line.name}",
                sentence=line.what,
                remedy=line.next_step,
                address="/waiting",
                retry_job=line.job_id if line.can_retry else None,
            )


def _specimens(laboratory: Laboratory) -> Iterator[Need]:
    with laboratory.database.read() as reading:
        aligned = alignments.current(reading)
    for place in () if aligned is None else aligned.alignments:
        if place.rule != Rule.WAITING:
            continue
        yield Need(
            since=None,
            kind="specimen",
            subject=place.accession_id,
            sentence=place.note or "Its visit is not known.",
            remedy="Complete specimens.csv and drop it again.",
            address="/completeness",
        )


def _repeats(laboratory: Laboratory, rows: Sequence[TimepointRow]) -> Iterator[Need]:
    grouped: dict[str, list[TimepointRow]] = {}
    for row in rows:
        if row.status == Status.NOT_EVALUABLE and row.run_id:
            grouped.setdefault(row.run_id, []).append(row)
    for number, (run_id, several) in enumerate(grouped.items()):
        accessions = sorted({row.accession_id or "" for row in several})
        since, reason = _reason(laboratory, run_id) if number < REASONS_READ else (None, "")
        codes = sorted({code for row in several for code in row.findings.split(";") if code})
        yield Need(
            since=since,
            kind="repeat",
            subject=", ".join(accessions[:4]) + (f" and {len(accessions) - 4} more" if len(accessions) > 4 else ""),
            sentence=f"{len(several)} result{'s' if len(several) > 1 else ''} cannot be given. {reason or ', '.join(codes)}",
            remedy="Look at the run, then repeat or dispose.",
            address=f"/runs/{run_id}",
        )


def _reason(laboratory: Laboratory, run_id: str) -> tuple[datetime | None, str]:
    """Tell when a run was recorded, and the weightiest of what keeps its results from being given, in its own sentence."""
    with laboratory.database.read() as reading:
        entry = lookups.current_analysis(reading, run_id=run_id)
        if entry is None:
            return None, ""
        run = read_analysis(reading, analysis_id=entry.analysis_id).run
    withheld = [finding for one in run.results if one.quantity is None for finding in one.findings]
    found = by_weight([*run.findings, *withheld])
    return entry.recorded_at, found[0].message if found else ""


def _arrivals(laboratory: Laboratory, rows: Sequence[TimepointRow]) -> Iterator[Need]:
    grouped: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.status == Status.PENDING and row.accession_id:
            key = row.accession_id, row.assay
            grouped[key] = grouped.get(key, 0) + 1
    with laboratory.database.read() as reading:
        specimens = study_lists.current_roster(reading).specimens
    for (accession, assay), count in grouped.items():
        specimen = specimens.get(accession)
        arrived = None if specimen is None else (specimen.received_at or specimen.collected_at)
        told = f"{count} {ASSAY_WORDS.get(assay, assay)} measurand{'s have' if count > 1 else ' has'} no result yet"
        yield Need(
            since=None if arrived is None else datetime.combine(arrived.day, datetime.min.time(), utc_now().tzinfo),
            kind="arrival",
            subject=accession,
            sentence=f"Received, and {told}.",
            remedy="Measure it.",
            address="/completeness",
        )


def _lots(laboratory: Laboratory) -> Iterator[Need]:
    today: date = utc_now().date()
    with laboratory.database.read() as reading:
        lots = study_lists.current_lots(reading)
    for lot in lots:
        if lot.expires_on is not None and lot.expires_on <= today + timedelta(days=EXPIRY_DAYS):
            expired = lot.expires_on < today
            yield Need(
                since=None,
                kind="lot",
                subject=f"{lot.analyte} {lot.kit_lot}",
                sentence=f"The kit lot {'expired' if expired else 'expires'} on {lot.expires_on.isoformat()}.",
                remedy="Use another lot." if expired else "Order the next lot.",
                address="/charts",
            )
