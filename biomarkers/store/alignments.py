"""Which visit each specimen belongs to and what is due, as found whenever roster, visits or specimens changed.

Knows that the newest set counts and that older ones stay. Must not know the rules that decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, insert, select

from biomarkers.errors import StoreError
from biomarkers.provenance import JsonValue, content_digest
from biomarkers.results import Assay
from biomarkers.store import audit, timepoint_rows
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.records import plain
from biomarkers.store.schema import alignment, alignment_set, due_cell
from biomarkers.study.declaration import Material
from biomarkers.study.visits import Alignment
from biomarkers.timepoints.due import DueCell


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlignment:
    """A specimen's place in the trial as recorded; findings are kept as their codes joined by ``;``."""

    accession_id: str
    subject_id: str
    material: Material
    visit: str | None
    visit_number: int | None
    rule: str
    study_day: int | None
    days_from_target: int | None
    in_window: bool | None
    chosen: bool
    finding_codes: str
    collected_on: date
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentSet:
    """Everything found at one time: the places of all specimens, and all cells that are due."""

    recorded_at: datetime
    alignments: tuple[StoredAlignment, ...]
    due: tuple[DueCell, ...]


def record(
    transaction: Transaction,
    *,
    alignments: Iterable[Alignment],
    due: Iterable[DueCell],
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record a set; return False where the current one says the same already."""
    places, cells = tuple(alignments), tuple(due)
    specimen_rows = [_alignment_row(item) for item in places]
    due_rows = [_due_row(item) for item in cells]
    comparable: JsonValue = [[plain(row) for row in specimen_rows], [plain(row) for row in due_rows]]
    digest = content_digest(comparable)
    transaction.serialise()
    newest = transaction.connection.execute(
        select(alignment_set.c.digest).order_by(alignment_set.c.id.desc()).limit(1)
    ).scalar_one_or_none()
    if newest == digest:
        return False
    key = transaction.connection.execute(
        insert(alignment_set).values(recorded_at=recorded_at, digest=digest)
    ).inserted_primary_key
    if key is None:
        raise StoreError(what="The set was given no number.", where="Alignment of specimens.", remedy="Report this.")
    for table, rows in ((alignment, specimen_rows), (due_cell, due_rows)):
        if rows:
            transaction.connection.execute(insert(table), [{"set_id": key[0], **row} for row in rows])
    timepoint_rows.refresh_subjects(transaction, _changed_subjects(transaction, int(key[0])))
    audit.append(
        transaction,
        at=recorded_at,
        actor=actor,
        action="alignment.recorded",
        entity=digest,
        detail={"specimens": len(specimen_rows), "due": len(due_rows)},
    )
    return True


def _changed_subjects(transaction: Transaction, set_id: int) -> set[str]:
    """Return of whom a set says other than the one before: those alone have other timepoints."""
    changed: set[str] = set()
    earlier = select(func.max(alignment_set.c.id)).where(alignment_set.c.id < set_id).scalar_subquery()
    for table in (alignment, due_cell):
        said = [column for column in table.columns if column is not table.c.set_id]
        now, before = select(*said).where(table.c.set_id == set_id), select(*said).where(table.c.set_id == earlier)
        for differing in (now.except_(before), before.except_(now)):
            changed.update(transaction.connection.execute(select(differing.subquery().c.subject_id).distinct()).scalars())
    return changed


def current(reading: Reading) -> AlignmentSet | None:
    """Return the newest set; None where none was recorded."""
    newest = reading.connection.execute(select(alignment_set).order_by(alignment_set.c.id.desc()).limit(1)).first()
    if newest is None:
        return None
    places = reading.connection.execute(select(alignment).where(alignment.c.set_id == newest.id)).all()
    cells = reading.connection.execute(select(due_cell).where(due_cell.c.set_id == newest.id)).all()
    stored = [
        StoredAlignment(
            accession_id=row.accession_id,
            subject_id=row.subject_id,
            material=Material(row.material),
            visit=row.visit,
            visit_number=row.visit_number,
            rule=row.rule,
            study_day=row.study_day,
            days_from_target=row.days_from_target,
            in_window=None if row.in_window is None else bool(row.in_window),
            chosen=bool(row.chosen),
            finding_codes=row.finding_codes,
            collected_on=row.collected_on,
            note=row.note,
        )
        for row in places
    ]
    due = [
        DueCell(
            subject_id=row.subject_id,
            visit=row.visit,
            visit_number=row.visit_number,
            assay=Assay(row.assay),
            measurand=row.measurand,
            unit=row.unit,
            materials=tuple(Material(material) for material in row.materials.split(";")),
            window_first=row.window_first,
            window_last=row.window_last,
            target_date=row.target_date,
            not_expected_from=row.not_expected_from,
            not_expected_reason=row.not_expected_reason,
            hidden=bool(row.hidden),
        )
        for row in cells
    ]
    return AlignmentSet(
        recorded_at=newest.recorded_at,
        alignments=tuple(sorted(stored, key=lambda item: item.accession_id)),
        due=tuple(sorted(due, key=lambda cell: (cell.subject_id, cell.visit_number, cell.assay, cell.measurand))),
    )


def _alignment_row(item: Alignment) -> dict[str, object]:
    return {
        "accession_id": item.accession_id,
        "subject_id": item.subject_id,
        "material": item.material.value,
        "visit": item.visit,
        "visit_number": item.visit_number,
        "rule": str(item.rule),
        "study_day": item.study_day,
        "days_from_target": item.days_from_target,
        "in_window": None if item.in_window is None else int(item.in_window),
        "chosen": int(item.chosen),
        "finding_codes": item.finding_codes,
        "collected_on": item.collected_on,
        "note": item.note,
    }


def _due_row(cell: DueCell) -> dict[str, object]:
    return {
        "subject_id": cell.subject_id,
        "visit": cell.visit,
        "visit_number": cell.visit_number,
        "assay": cell.assay.value,
        "measurand": cell.measurand,
        "unit": cell.unit,
        "materials": ";".join(material.value for material in cell.materials),
        "window_first": cell.window_first,
        "window_last": cell.window_last,
        "target_date": cell.target_date,
        "not_expected_from": cell.not_expected_from,
        "not_expected_reason": cell.not_expected_reason,
        "hidden": int(cell.hidden),
    }
