"""What is to be measured next: specimens due and repeats with their reason, and how they go onto plates.

Knows what is pending and what must be measured again. Must not know how a plate map is written, nor an arm. All visits of a
subject go onto one plate, so that a change is not made of two plates' differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from biomarkers.elisa.plate import PlateLayout, WellRole
from biomarkers.errors import AssayError
from biomarkers.results import Assay
from biomarkers.study.roster import Roster
from biomarkers.timepoints.alignment import AlignedInput, Status, TimepointRow

Reason = Literal["due", "repeat"]

NEXT_DILUTION = 10.0
"""By so much further a specimen above the range is diluted when it is measured again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One measurand to be measured in one specimen.

    Attributes
    ----------
    reason, why
        ``repeat`` with what was wrong, or ``due``.
    dilution_factor
        Other than the layout's; None where the layout's serves.
    volume_left_ul
        As listed, less what earlier runs took; None where no volume is listed.
    earlier_runs
        Runs of this measurand in this specimen so far.
    """

    subject_id: str
    visit: str
    visit_number: int | None
    accession_id: str
    material: str
    measurand: str
    reason: Reason
    why: str
    dilution_factor: float | None
    volume_left_ul: float | None
    earlier_runs: int


def work_items(
    assay: Assay,
    rows: Iterable[TimepointRow],
    roster: Roster,
    results: Iterable[AlignedInput],
    *,
    volume_per_run_ul: float = 0.0,
    dilution_by_result: Mapping[str, float] | None = None,
) -> tuple[WorkItem, ...]:
    """List what is to be measured in an assay.

    Parameters
    ----------
    rows
        The timepoint table as of today; nothing of subjects who withdrew their consent is in it.
    results
        All current ones with their dispositions.
    volume_per_run_ul
        What one run takes of a specimen.
    dilution_by_result
        The factor a result was measured at, by result id, so that one above the range is diluted further.

    Returns
    -------
    tuple of WorkItem
        By subject, visit, accession and measurand.
    """
    of_specimen: dict[tuple[str, str], list[AlignedInput]] = {}
    runs_of_accession: dict[str, set[str]] = {}
    for result in results:
        of_specimen.setdefault((result.accession_id, result.measurand), []).append(result)
        runs_of_accession.setdefault(result.accession_id, set()).add(result.run_id)
    items = []
    for row in rows:
        if row.assay != assay.value or row.accession_id is None:
            continue
        earlier = of_specimen.get((row.accession_id, row.measurand), [])
        why = _why(row, earlier)
        if why is None:
            continue
        specimen = roster.specimens.get(row.accession_id)
        listed = None if specimen is None else specimen.volume_ul
        used = volume_per_run_ul * len(runs_of_accession.get(row.accession_id, ()))
        items.append(
            WorkItem(
                subject_id=row.subject_id,
                visit=row.visit,
                visit_number=row.visit_number,
                accession_id=row.accession_id,
                material="" if specimen is None else specimen.material.value,
                measurand=row.measurand,
                reason="repeat" if earlier else "due",
                why=why,
                dilution_factor=_dilution(row, dilution_by_result or {}),
                volume_left_ul=None if listed is None else max(0.0, listed - used),
                earlier_runs=len({result.run_id for result in earlier}),
            )
        )
    return tuple(sorted(items, key=_order))


def _order(item: WorkItem) -> tuple[str, bool, int, str, str]:
    return item.subject_id, item.visit_number is None, item.visit_number or 0, item.accession_id, item.measurand


def _why(row: TimepointRow, earlier: Sequence[AlignedInput]) -> str | None:
    """Say why a cell is to be measured; None where it is not."""
    if row.status == Status.PENDING:
        if not earlier:
            return "received, not measured yet"
        decided = ", ".join(sorted({result.disposition for result in earlier if result.disposition}))
        return f"its results so far are {decided or 'not current'}"
    if row.status == Status.NOT_EVALUABLE:
        return f"not evaluable: {row.findings or 'no finding'}"
    if row.status == Status.ABOVE_RANGE:
        return f"above the range (>{row.value:.6g} {row.unit or ''})".replace(" )", ")")
    return None


def _dilution(row: TimepointRow, dilution_by_result: Mapping[str, float]) -> float | None:
    if row.status != Status.ABOVE_RANGE or row.result_id is None or row.result_id not in dilution_by_result:
        return None
    return dilution_by_result[row.result_id] * NEXT_DILUTION


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRow:
    """A row of a plate map ready to fill; its fields are the map's columns. An empty kit lot is filled at the bench."""

    plate_id: str
    layout: str
    analyte: str
    slot: str
    accession_id: str
    dilution_factor: float | None
    kit_lot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPlate:
    """One plate: its map, and the specimens in the order of its slots for the bench sheet."""

    plate_id: str
    layout: str
    analyte: str
    rows: tuple[MapRow, ...]
    items: tuple[WorkItem, ...]
    free_slots: int


def plan_plates(
    items: Iterable[WorkItem], layout: PlateLayout, *, analyte: str, plate_prefix: str = "PLAN"
) -> tuple[PlannedPlate, ...]:
    """Put the specimens of one analyte onto plates, all visits of a subject onto the same.

    Subjects with most specimens are placed first, each onto the first plate that still has room for all of them.

    Raises
    ------
    AssayError
        A subject has more specimens than a plate has slots.
    """
    slots = sorted(layout.slots(WellRole.SAMPLE, analyte), key=lambda slot: (len(slot), slot))
    by_subject: dict[str, list[WorkItem]] = {}
    for item in items:
        if item.measurand == analyte:
            by_subject.setdefault(item.subject_id, []).append(item)
    plates: list[list[WorkItem]] = []
    for subject_id in sorted(by_subject, key=lambda one: (-len(by_subject[one]), one)):
        own = sorted(by_subject[subject_id], key=_order)
        if len(own) > len(slots):
            raise AssayError(
                what=f"Subject '{subject_id}' has {len(own)} specimens for '{analyte}'; a plate has {len(slots)} slots.",
                where=f"Layout '{layout.name}'.",
                remedy="Choose a larger layout, or leave some of the specimens for another plate.",
            )
        room = next((plate for plate in plates if len(plate) + len(own) <= len(slots)), None)
        if room is None:
            plates.append(room := [])
        room += own
    return tuple(
        _planned(sorted(plate, key=_order), layout, slots, analyte, f"{plate_prefix}-{analyte}-{number}")
        for number, plate in enumerate(plates, start=1)
    )


def _planned(items: Sequence[WorkItem], layout: PlateLayout, slots: Sequence[str], analyte: str, plate_id: str) -> PlannedPlate:
    return PlannedPlate(
        plate_id=plate_id,
        layout=layout.name,
        analyte=analyte,
        rows=tuple(
            MapRow(
                plate_id=plate_id,
                layout=layout.name,
                analyte=analyte,
                slot=slot,
                accession_id=item.accession_id,
                dilution_factor=item.dilution_factor,
            )
            for slot, item in zip(slots, items, strict=False)
        ),
        items=tuple(items),
        free_slots=len(slots) - len(items),
    )
