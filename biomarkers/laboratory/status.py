"""What became of every file, and what is due, put into words.

Knows how jobs and rows of the table become lines of a status. Must not ask the store itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from biomarkers.lab.inbox import DroppedFile
from biomarkers.laboratory.plates import StaleRun
from biomarkers.store.jobs import Job, JobState
from biomarkers.timepoints.alignment import TimepointRow


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatus:
    """What became of one dropped file; ``sha256`` is None until its bytes were taken in."""

    name: str
    assay: str
    state: str
    what: str
    where: str
    remedy: str
    sha256: str | None
    received_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueStatus:
    """What is known of one assay at one visit of one subject, over all its measurands."""

    subject_id: str
    visit: str
    assay: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabStatus:
    """What became of every file, what is due, and which results were made from what no longer stands."""

    files: tuple[FileStatus, ...]
    due: tuple[DueStatus, ...]
    waiting_specimens: tuple[str, ...]
    stale: tuple[StaleRun, ...] = ()


def inbox_name(file: DroppedFile) -> str:
    """Name a file below its inbox, with the instrument's subfolder."""
    return f"{file.instrument}/{file.name}" if file.instrument else file.name


def file_status(job: Job) -> FileStatus:
    """Tell what became of a drop."""
    return FileStatus(
        name=job.name,
        assay=job.assay,
        state=JobState.WAITING.value if job.state is JobState.QUEUED else job.state.value,
        what=job.what,
        where=job.where,
        remedy=job.remedy,
        sha256=job.sha256,
        received_at=job.received_at,
    )


def untaken(file: DroppedFile) -> FileStatus:
    """Tell of a file that lies in its inbox and was never taken."""
    return FileStatus(
        name=inbox_name(file),
        assay=file.kind,
        state=JobState.WAITING.value,
        what="The file lies in its inbox and was not taken yet.",
        where=f"File '{file.name}'.",
        remedy="It is taken by the next sweep after it has settled.",
        sha256=None,
        received_at=None,
    )


STATUS_ORDER = (
    "missing",
    "pending",
    "not_evaluable",
    "not_yet_due",
    "not_expected",
    "measured",
    "below_range",
    "above_range",
)
"""Which status speaks for an assay when its measurands differ: the one that asks for most attention."""


def due_statuses(rows: Sequence[TimepointRow]) -> Iterator[DueStatus]:
    """Sum up the rows of each assay at each visit of each subject."""
    groups: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        groups.setdefault((row.subject_id, row.visit, row.assay), set()).add(row.status)
    for (subject_id, visit, assay), found in groups.items():
        status = next(candidate for candidate in STATUS_ORDER if candidate in found)
        if status in {"below_range", "above_range"}:
            status = "measured"
        yield DueStatus(subject_id=subject_id, visit=visit, assay=assay, status=status)
