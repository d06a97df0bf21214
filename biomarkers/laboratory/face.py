"""The laboratory as one typed face over its folder, study and store.

Knows which pieces answer which question. Must not compute, parse a file itself, or know SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from getpass import getuser
from pathlib import Path
from types import TracebackType
from typing import Self

from biomarkers.elisa.control_charts import ControlSeries
from biomarkers.errors import StoreError
from biomarkers.lab.folders import INBOXES, LabFolder, LabSettings
from biomarkers.lab.inbox import DroppedFile, scan
from biomarkers.laboratory.controls import control_series
from biomarkers.laboratory.plates import plate_named, runs_named
from biomarkers.laboratory.staleness import stale_runs
from biomarkers.laboratory.standing import HeldStanding
from biomarkers.laboratory.status import LabStatus, due_statuses, file_status, inbox_name, untaken
from biomarkers.laboratory.tables import TimepointTables
from biomarkers.provenance import bytes_digest, canonical_json, utc_now
from biomarkers.readers.study_files import read_arms
from biomarkers.store import alignments, audit, jobs
from biomarkers.store.arms import ArmStore
from biomarkers.store.audit import AuditHead, AuditVerdict
from biomarkers.store.controls import plate_positions
from biomarkers.store.database import Database, Transaction
from biomarkers.store.decisions import Decision, dispose, mask_wells
from biomarkers.store.definitions import DefinitionKind, record_definition
from biomarkers.store.proposals import Answer, Proposal, decide_proposal, standing_proposals
from biomarkers.store.results import RecordedRun
from biomarkers.store.study_lists import current_roster
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.visits import Rule, align_specimens
from biomarkers.timepoints.due import due_cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory(TimepointTables):
    """A laboratory that is open; close it, or use it in a ``with`` block."""

    folder: LabFolder
    settings: LabSettings
    definition: StudyDefinition
    database: Database
    held: HeldStanding = field(default_factory=HeldStanding, repr=False, compare=False)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def dropped_files(self, inboxes: Collection[str] = INBOXES) -> tuple[DroppedFile, ...]:
        """List what lies in the inboxes now, but for what is done with and lies on a share that may only be read."""
        found = scan(self.folder, self.settings, inboxes)
        if not found:
            return found
        with self.database.read() as reading:
            left = jobs.left_in_place(reading)
        if not left:
            return found
        return tuple(
            file
            for file in found
            if jobs.drop_identity(assay=file.kind, name=inbox_name(file), size=file.size, mtime_ns=file.mtime_ns) not in left
        )

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

    def status(self, *, as_of: date | None = None) -> LabStatus:
        """Tell what became of every file, and what is due and missing."""
        with self.database.read() as reading:
            known = jobs.all_jobs(reading)
            aligned = alignments.current(reading)
            stale = stale_runs(reading, self.folder, self.definition)
        open_names = {(job.assay, job.name) for job in known if job.acknowledged_at is None}
        new = [file for file in self.dropped_files() if (file.kind, inbox_name(file)) not in open_names]
        waiting = () if aligned is None else aligned.alignments
        return LabStatus(
            files=(*(file_status(job) for job in known), *(untaken(file) for file in new)),
            due=tuple(due_statuses(self.rows(as_of=as_of))),
            waiting_specimens=tuple(
                f"{item.accession_id}: {item.note or 'its visit is not known'}" for item in waiting if item.rule == Rule.WAITING
            ),
            stale=stale,
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

    def mask(self, plate: str, wells: Sequence[str], *, reason: str, masked: bool) -> RecordedRun:
        """Write down that wells of a recorded plate are left out, or taken back in; return the plate, to be computed again.

        Raises
        ------
        StoreError
            The plate or a well is not there, or the well stands as asked already.
        """
        with self.database.write() as transaction:
            run = plate_named(transaction, plate)
            there = plate_positions(transaction, analysis_id=run.analysis_id)
            unknown = [well for well in wells if well not in there]
            if unknown:
                raise StoreError(
                    what=f"The plate has no well {', '.join(repr(well) for well in unknown)}.",
                    where=f"Plate '{run.name}'.",
                    remedy="Write wells as the quality page does, with two digits: A01, H12.",
                )
            mask_wells(
                transaction,
                run_id=run.run_id,
                positions=wells,
                masked=masked,
                reason=reason,
                decided_by=getuser(),
                decided_at=utc_now(),
            )
        return run

    def proposals(self) -> tuple[Proposal, ...]:
        """Return what recomputations would change in signed runs, as far as nobody has decided, the oldest first."""
        with self.database.read() as reading:
            return standing_proposals(reading)

    def decide_proposal(self, number: int, *, accepted: bool, reason: str, decided_by: str = "") -> Proposal:
        """Accept or refuse a proposal, as the named person or who is logged in; compute the run again once it is accepted."""
        with self.database.write() as transaction:
            return decide_proposal(
                transaction,
                proposal_id=number,
                answer=Answer.ACCEPTED if accepted else Answer.REFUSED,
                reason=reason,
                decided_by=decided_by or getuser(),
                decided_at=utc_now(),
            )

    def run_ids(self, named: Sequence[str]) -> tuple[str, ...]:
        """Find recorded runs by run_id or name.

        Raises
        ------
        StoreError
            There is none of that name.
        """
        with self.database.read() as reading:
            return tuple(run_id for one in named for run_id in runs_named(reading, one))

    def controls(self, *, analyte: str | None = None) -> tuple[ControlSeries, ...]:
        """Return the Levey-Jennings series of every analyte, control level and lot, or of one analyte's."""
        with self.database.read() as reading:
            return control_series(reading, analyte=analyte)

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
