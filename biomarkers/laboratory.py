"""One laboratory: its store, folders and study behind one typed face.

Knows which pieces answer which question. Must not compute, parse a file itself, or know SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from getpass import getuser
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd

from biomarkers.errors import BiomarkersError, Fault
from biomarkers.lab.folders import LabFolder, LabSettings, create_lab, existing_lab
from biomarkers.lab.inbox import DroppedFile, scan
from biomarkers.provenance import bytes_digest, canonical_json, utc_now
from biomarkers.readers.declarations import read_declaration
from biomarkers.readers.panels import read_panel
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study_text, read_arms, read_study
from biomarkers.store import alignments, audit, jobs
from biomarkers.store.arms import ArmStore
from biomarkers.store.audit import AuditHead, AuditVerdict
from biomarkers.store.database import Database, Transaction
from biomarkers.store.definitions import DefinitionKind, record_definition
from biomarkers.store.jobs import Job, JobState
from biomarkers.store.results import Decision, aligned_inputs, dispose
from biomarkers.store.study_lists import current_roster
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.visits import Rule, align_specimens
from biomarkers.timepoints.alignment import TimepointRow, timepoint_rows
from biomarkers.timepoints.due import due_cells
from biomarkers.timepoints.summary import SummaryRow, summarise
from biomarkers.timepoints.table import rows_with_arms, timepoint_table, wide_table

SUMMARY_COLUMNS = tuple(field.name for field in fields(SummaryRow))


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
    """What became of every file, and what is due."""

    files: tuple[FileStatus, ...]
    due: tuple[DueStatus, ...]
    waiting_specimens: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was checked, all that is wrong, and what the laboratory assumes."""

    checked: tuple[str, ...]
    faults: tuple[Fault, ...]
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """A laboratory that is open; close it, or use it in a ``with`` block."""

    folder: LabFolder
    settings: LabSettings
    definition: StudyDefinition
    database: Database

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def dropped_files(self) -> tuple[DroppedFile, ...]:
        """List what lies in the inboxes now."""
        return scan(self.folder, self.settings)

    def note_definition(self) -> None:
        """Record the study's definition if it is new, and align the specimens by it."""
        with self.database.write() as transaction:
            new = record_definition(
                transaction,
                kind=DefinitionKind.STUDY,
                name=self.definition.study.id,
                sha256=self.definition.digest(),
                content=canonical_json(self.definition.model_dump(mode="json")),
                recorded_at=utc_now(),
            )
            if new:
                self.realign(transaction)

    def realign(self, transaction: Transaction) -> None:
        """Record to which visit every specimen belongs and what is due, by the lists and the definition as they stand."""
        roster = current_roster(transaction)
        alignments.record(
            transaction,
            alignments=align_specimens(self.definition, roster),
            due=due_cells(self.definition, roster),
            recorded_at=utc_now(),
        )

    def rows(self, *, as_of: date | None = None) -> tuple[TimepointRow, ...]:
        """Return the timepoint table as of a date, by default today in UTC."""
        with self.database.read() as reading:
            aligned = alignments.current(reading)
            results = aligned_inputs(reading)
        if aligned is None:
            return ()
        return timepoint_rows(
            self.definition.study.id,
            aligned.alignments,
            aligned.due,
            results,
            as_of=as_of or utc_now().date(),
        )

    def timepoints(
        self,
        *,
        measurand: str | Collection[str] = (),
        visit: str | Collection[str] = (),
        subject: str | Collection[str] = (),
        wide: bool = False,
        arm: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Return the timepoint table.

        Parameters
        ----------
        measurand, visit, subject
            Only these; all of them unless said.
        wide
            One row per subject and visit and a column for each measurand's value, a bound as text such as ``<3.1``.
        arm
            Add the column ``arm`` after ``subject_id``; needs the right to allocations.
        as_of
            The date the statuses hold for; by default today in UTC.

        Raises
        ------
        StoreError
            Allocations were asked for and cannot be read.

        Examples
        --------
        >>> import biomarkers
        >>> lab = biomarkers.open_lab("LAB")  # doctest: +SKIP
        >>> lab.timepoints(measurand="IL6", visit="C2D1")  # doctest: +SKIP
        """
        rows = self._chosen(measurand, visit, subject, as_of)
        assignments = self.arms() if arm else None
        if wide:
            return wide_table(rows, assignments)
        return timepoint_table(rows) if assignments is None else rows_with_arms(rows, assignments)

    def summary(
        self,
        *,
        measurand: str | Collection[str] = (),
        visit: str | Collection[str] = (),
        subject: str | Collection[str] = (),
        arm: bool = False,
        as_of: date | None = None,
    ) -> pd.DataFrame:
        """Return the summary per visit and measurand, and per arm where asked for; arms stand side by side, untested."""
        with self.database.read() as reading:
            roster = current_roster(reading)
        assignments = self.arms() if arm else None
        day = as_of or utc_now().date()
        rows = summarise(self._chosen(measurand, visit, subject, as_of), roster, assignments, as_of=day)
        table = pd.DataFrame([[getattr(row, name) for name in SUMMARY_COLUMNS] for row in rows], columns=list(SUMMARY_COLUMNS))
        return table if arm else table.drop(columns="arm")

    def _chosen(
        self, measurand: str | Collection[str], visit: str | Collection[str], subject: str | Collection[str], as_of: date | None
    ) -> list[TimepointRow]:
        measurands, visits, subjects = _names(measurand), _names(visit), _names(subject)
        return [
            row
            for row in self.rows(as_of=as_of)
            if (not measurands or row.measurand in measurands)
            and (not visits or row.visit in visits)
            and (not subjects or row.subject_id in subjects)
        ]

    def status(self, *, as_of: date | None = None) -> LabStatus:
        """Tell what became of every file, and what is due and missing."""
        with self.database.read() as reading:
            known = jobs.all_jobs(reading)
            aligned = alignments.current(reading)
        open_names = {(job.assay, job.name) for job in known if job.acknowledged_at is None}
        new = [file for file in self.dropped_files() if (file.kind, _inbox_name(file)) not in open_names]
        waiting = () if aligned is None else aligned.alignments
        return LabStatus(
            files=(*(_file_status(job) for job in known), *(_untaken(file) for file in new)),
            due=tuple(_due_statuses(self.rows(as_of=as_of))),
            waiting_specimens=tuple(
                f"{item.accession_id}: {item.note or 'its visit is not known'}" for item in waiting if item.rule == Rule.WAITING
            ),
        )

    def dispose(self, result_id: str, *, decision: str, reason: str) -> None:
        """Record which run counts: the result becomes ``reportable``, ``repeated`` or ``excluded``, with the reason and who."""
        with self.database.write() as transaction:
            dispose(
                transaction,
                result_id=result_id,
                decision=Decision(decision),
                reason=reason,
                decided_by=getuser(),
                decided_at=utc_now(),
            )

    def load_arms(self, path: Path) -> int:
        """Put allocations into their own store; return for how many subjects."""
        assignments = read_arms(path, self.definition)
        with ArmStore.create(self._arms_url()) as store, self.database.write() as transaction:
            store.load(
                assignments,
                sha256=bytes_digest(path.read_bytes()),
                loaded_by=getuser(),
                loaded_at=utc_now(),
                reason="Allocations were loaded.",
                laboratory=transaction,
            )
        return len(assignments.arm_by_subject)

    def arms(self) -> ArmAssignments:
        """Return the allocations, for those who may read their store."""
        with ArmStore.open(self._arms_url()) as store:
            return store.read()

    def _arms_url(self) -> str:
        return self.settings.database_url or f"sqlite:///{self.folder.arms_file}"

    def verify_audit(self, *, expected_head: AuditHead | None = None) -> AuditVerdict:
        """Walk along the audit chain from its first entry."""
        with self.database.read() as reading:
            return audit.verify(reading, expected_head=expected_head)


def open_lab(path: Path | str) -> Laboratory:
    """Open a laboratory.

    Raises
    ------
    LabFolderError
        The folder is not a laboratory.
    StudyDefinitionError
        lab.toml or study.toml is wrong.
    StoreError
        The database is missing, or of another version.
    """
    folder = existing_lab(Path(path))
    settings = read_declaration(folder.settings_file, LabSettings)
    definition = read_study(folder.study_file)
    # Creating is repeatable, and makes the tables of a laboratory whose settings now name another database.
    database = Database.create(folder.database_url(settings))
    return Laboratory(folder=folder, settings=settings, definition=definition, database=database)


def create_laboratory(path: Path, *, study: Path | None = None) -> Laboratory:
    """Make a laboratory from the packaged study, or from another study.toml, and open it.

    Raises
    ------
    LabFolderError
        Something is already there.
    StudyDefinitionError
        The study's definition is wrong; nothing is made then.
    """
    if study is None:
        text = packaged_study_text()
    else:
        read_study(study)
        text = study.read_text(encoding="utf-8-sig")
    create_lab(path, study=text, layouts=_packaged_layouts(), panels=_packaged_panels())
    laboratory = open_lab(path)
    laboratory.note_definition()
    return laboratory


def _packaged_layouts() -> dict[str, str]:
    return _texts(resources.files("plate_layouts"), ".csv")


def _packaged_panels() -> dict[str, str]:
    return _texts(resources.files("biomarkers.cytometry") / "panels", ".toml")


def _texts(folder: Traversable, ending: str) -> dict[str, str]:
    return {place.name: place.read_text(encoding="utf-8") for place in folder.iterdir() if place.name.endswith(ending)}


def check_declarations(target: Path) -> CheckReport:
    """Read every declaration of a laboratory, or the one file named, and gather all that is wrong.

    Raises
    ------
    LabFolderError
        The folder is not a laboratory.
    """
    if target.is_dir():
        folder = existing_lab(target)
        files = [folder.settings_file, folder.study_file, *sorted(folder.layouts.glob("*.csv"))]
        files += sorted(folder.panels.glob("*.toml"))
    else:
        files = [target]
    checked: list[str] = []
    faults: list[Fault] = []
    assumptions: list[str] = []
    for path in files:
        checked.append(path.name if path.parent == target else f"{path.parent.name}/{path.name}")
        try:
            declared = _read_any(path)
        except BiomarkersError as error:
            faults += error.faults
        else:
            if isinstance(declared, StudyDefinition):
                assumptions += declared.assumptions()
    return CheckReport(checked=tuple(checked), faults=tuple(faults), assumptions=tuple(assumptions))


def _read_any(path: Path) -> object:
    if path.name == "lab.toml":
        return read_declaration(path, LabSettings)
    if path.suffix == ".csv":
        return read_layout(path)
    if path.parent.name == "panels":
        return read_panel(path)
    return read_study(path)


def _names(given: str | Collection[str]) -> frozenset[str]:
    return frozenset([given]) if isinstance(given, str) else frozenset(given)


def _inbox_name(file: DroppedFile) -> str:
    return f"{file.instrument}/{file.name}" if file.instrument else file.name


def _file_status(job: Job) -> FileStatus:
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


def _untaken(file: DroppedFile) -> FileStatus:
    return FileStatus(
        name=_inbox_name(file),
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


def _due_statuses(rows: Sequence[TimepointRow]) -> Iterator[DueStatus]:
    groups: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        groups.setdefault((row.subject_id, row.visit, row.assay), set()).add(row.status)
    for (subject_id, visit, assay), found in groups.items():
        status = next(candidate for candidate in STATUS_ORDER if candidate in found)
        if status in {"below_range", "above_range"}:
            status = "measured"
        yield DueStatus(subject_id=subject_id, visit=visit, assay=assay, status=status)
