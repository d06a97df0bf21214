"""Results aligned to subjects and visits: the rows of the timepoint table as of a date.

Works column by column: a trial's table is tens of thousands of rows, and an object for each step of each row would take most of
the time. Knows alignments of specimens, due cells and results, and what a cell's status is.
Must not know how any of them was found or stored, nor an arm. The database's ``timepoint`` view gives the same rows; change
both together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from biomarkers.study.declaration import Material
from biomarkers.study.definition import BASELINE_VISIT
from biomarkers.timepoints.change import MATRIX_CHANGED, UNIT_CHANGED, Changes, Observations, changes_from_baseline
from biomarkers.timepoints.due import DueCell
from biomarkers.timepoints.rows import AlignedInput, AlignedSpecimen, Decision, Status, TimepointColumns, TimepointRow

__all__ = [
    "AlignedInput",
    "AlignedSpecimen",
    "Decision",
    "Status",
    "TimepointColumns",
    "TimepointRow",
    "timepoint_columns",
    "timepoint_rows",
]


class _Place(NamedTuple):
    """Subject and visit in the order of the table; an unplanned visit can come more than once, so its specimen tells apart."""

    subject_id: str
    is_unplanned: bool
    visit_number: int
    visit: str
    unplanned_specimen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tube:
    """A chosen specimen; its attributes are read once, because each stands behind many results."""

    place: _Place
    accession_id: str
    material: Material | None
    visit_number: int | None
    study_day: int | None
    days_from_target: int | None
    in_window: bool | None
    finding_codes: str
    day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoTube:
    accession_id: None = None
    material: None = None
    visit_number: None = None
    study_day: None = None
    days_from_target: None = None
    in_window: None = None
    finding_codes: str = ""
    day: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoResult:
    value: None = None
    comparator: None = None
    lower: None = None
    upper: None = None
    denominator: None = None
    n_replicates: None = None
    evaluable: bool = False
    finding_codes: str = ""
    run_id: None = None
    result_id: None = None
    source_sha256s: None = None


_NO_TUBE, _NO_RESULT = _NoTube(), _NoResult()

_Results: TypeAlias = dict[_Place, dict[str, AlignedInput]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """The cells of one place in parallel lists: a tuple for each cell would keep the garbage collector busy."""

    assay: list[str] = field(default_factory=list)
    measurand: list[str] = field(default_factory=list)
    tube: list[_Tube | _NoTube] = field(default_factory=list)
    result: list[AlignedInput | _NoResult] = field(default_factory=list)
    unit: list[str | None] = field(default_factory=list)
    status: list[str] = field(default_factory=list)

    def add(self, measurand: str, result: AlignedInput, tube: _Tube, *, due_unit: str | None) -> None:
        """Add a measured cell."""
        self.assay.append(result.assay.value)
        self.measurand.append(measurand)
        self.tube.append(tube)
        self.result.append(result)
        self.unit.append(result.unit or due_unit)
        self.status.append(
            _STATUS_BY_COMPARATOR[result.comparator] if result.evaluable else _NOT_EVALUABLE,
        )

    def add_empty(self, cell: DueCell, tube: _Tube | None, as_of: date) -> None:
        """Add a cell without a result."""
        self.assay.append(cell.assay.value)
        self.measurand.append(cell.measurand)
        self.tube.append(tube or _NO_TUBE)
        self.result.append(_NO_RESULT)
        self.unit.append(cell.unit)
        self.status.append(_empty_status(cell, as_of, is_received=tube is not None).value)

    def extend(self, other: _Cells) -> None:
        """Add another place's cells in the order of the table."""
        keys = [f"{assay}\0{measurand}" for assay, measurand in zip(other.assay, other.measurand, strict=True)]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self.assay.extend([other.assay[at] for at in order])
        self.measurand.extend([other.measurand[at] for at in order])
        self.tube.extend([other.tube[at] for at in order])
        self.result.extend([other.result[at] for at in order])
        self.unit.extend([other.unit[at] for at in order])
        self.status.extend([other.status[at] for at in order])


def timepoint_rows(
    study_id: str,
    alignments: Iterable[AlignedSpecimen],
    due: Sequence[DueCell],
    results: Iterable[AlignedInput],
    *,
    as_of: date,
) -> tuple[TimepointRow, ...]:
    """Make the timepoint table row by row: the rows of :func:`timepoint_columns`."""
    return timepoint_columns(study_id, alignments, due, results, as_of=as_of).rows()


def timepoint_columns(
    study_id: str,
    alignments: Iterable[AlignedSpecimen],
    due: Sequence[DueCell],
    results: Iterable[AlignedInput],
    *,
    as_of: date,
) -> TimepointColumns:
    """Make the timepoint table.

    Parameters
    ----------
    alignments, due
        What :func:`~biomarkers.study.visits.align_specimens` and :func:`~biomarkers.timepoints.due.due_cells` found.
    results
        All that are current, that is not superseded, with their dispositions.
    as_of
        The day the table holds for: specimens collected later are not shown, and cells are judged as on that day.

    Returns
    -------
    TimepointColumns
        What is due, and what was measured without being due, by subject, visit number (unplanned visits last), assay and
        measurand.
    """
    withdrawn = {cell.subject_id for cell in due if cell.hidden}
    tubes = {
        specimen.accession_id: _tube(specimen, specimen.visit)
        for specimen in alignments
        if specimen.chosen
        and specimen.visit is not None
        and specimen.collected_on <= as_of
        and specimen.subject_id not in withdrawn
    }
    measured = _reportable(results, tubes)
    cells = _due(due, measured, tubes, as_of)
    for place, found in measured.items():
        here = cells.setdefault(place, _Cells())
        due_here = set(here.measurand)
        for measurand, result in found.items():
            if measurand not in due_here:
                here.add(measurand, result, tubes[result.accession_id], due_unit=None)
    return _columns(study_id, cells)


def _tube(specimen: AlignedSpecimen, visit: str) -> _Tube:
    number = specimen.visit_number
    unplanned = "" if number is not None else f"{specimen.collected_on} {specimen.accession_id}"
    return _Tube(
        place=_Place(specimen.subject_id, number is None, number or 0, visit, unplanned),
        accession_id=specimen.accession_id,
        material=specimen.material,
        visit_number=number,
        study_day=specimen.study_day,
        days_from_target=specimen.days_from_target,
        in_window=specimen.in_window,
        finding_codes=specimen.finding_codes,
        day=specimen.collected_on.toordinal(),
    )


def _reportable(results: Iterable[AlignedInput], tubes: Mapping[str, _Tube]) -> _Results:
    """Choose the result that counts: one declared reportable, else the first evaluable, else the first."""
    best: _Results = {}
    of_tube = {accession_id: best.setdefault(tube.place, {}) for accession_id, tube in tubes.items()}
    for result in results:
        found = of_tube.get(result.accession_id)
        if found is None or result.disposition in {"repeated", "excluded"}:
            continue
        rival = found.get(result.measurand)
        if rival is None or _rank(result) < _rank(rival):
            found[result.measurand] = result
    return best


def _rank(result: AlignedInput) -> tuple[bool, bool, int, str]:
    return result.disposition != "reportable", not result.evaluable, result.order, result.result_id


def _due(due: Iterable[DueCell], measured: _Results, tubes: Mapping[str, _Tube], as_of: date) -> dict[_Place, _Cells]:
    received = _received(tubes.values())
    cells: dict[_Place, _Cells] = {}
    place = _Place("", is_unplanned=False, visit_number=0, visit="", unplanned_specimen="")
    here, found = _Cells(), measured.get(place, {})
    for cell in due:
        if cell.visit != place.visit or cell.subject_id != place.subject_id:
            place = _Place(
                cell.subject_id, is_unplanned=False, visit_number=cell.visit_number, visit=cell.visit, unplanned_specimen=""
            )
            here, found = cells.setdefault(place, _Cells()), measured.get(place, {})
        result = found.get(cell.measurand)
        if result is not None:
            here.add(cell.measurand, result, tubes[result.accession_id], due_unit=cell.unit)
        else:
            there = [received[place, material] for material in cell.materials if (place, material) in received]
            here.add_empty(cell, min(there, key=lambda one: one.accession_id, default=None), as_of)
    return cells


def _received(tubes: Iterable[_Tube]) -> Mapping[tuple[_Place, Material | None], _Tube]:
    """Find the chosen specimen of each subject, visit and material; of several tubes the first accession."""
    return {(tube.place, tube.material): tube for tube in sorted(tubes, key=lambda one: one.accession_id, reverse=True)}


def _empty_status(cell: DueCell, as_of: date, *, is_received: bool) -> Status:
    if cell.hidden:
        return Status.NOT_EXPECTED
    if is_received:
        return Status.PENDING
    if cell.not_expected_from is not None and cell.not_expected_from <= as_of:
        return Status.NOT_EXPECTED
    if cell.window_last is None or as_of <= cell.window_last:
        return Status.NOT_YET_DUE
    return Status.MISSING


_STATUS_BY_COMPARATOR: Mapping[str, str] = {
    "": Status.MEASURED.value,
    "<": Status.BELOW_RANGE.value,
    ">": Status.ABOVE_RANGE.value,
}


_NOT_EVALUABLE = Status.NOT_EVALUABLE.value


def _columns(study_id: str, cells: Mapping[_Place, _Cells]) -> TimepointColumns:
    subject_id: list[str] = []
    visit: list[str] = []
    number: list[int | None] = []
    flat = _Cells()
    for place in sorted(cells):
        count = len(cells[place].measurand)
        flat.extend(cells[place])
        subject_id += [place.subject_id] * count
        visit += [place.visit] * count
        number += [None if place.is_unplanned else place.visit_number] * count
    measurand, tubes, results, unit = flat.measurand, flat.tube, flat.result, flat.unit
    value = [result.value if result.evaluable else None for result in results]
    comparator = [result.comparator if result.evaluable else None for result in results]
    baselines = _baseline_places(subject_id, visit, measurand)
    now = _observations(value, comparator, unit, tubes)
    changes = changes_from_baseline(now, now.taken(baselines))
    run_id = [result.run_id for result in results]
    return TimepointColumns(
        study_id=[study_id] * len(subject_id),
        subject_id=subject_id,
        visit=visit,
        visit_number=number,
        study_day=[tube.study_day for tube in tubes],
        days_from_target=[tube.days_from_target for tube in tubes],
        in_window=[tube.in_window for tube in tubes],
        assay=flat.assay,
        measurand=measurand,
        status=flat.status,
        value=value,
        comparator=comparator,
        unit=unit,
        lower=[result.lower if result.evaluable else None for result in results],
        upper=[result.upper if result.evaluable else None for result in results],
        denominator=[result.denominator for result in results],
        baseline=_numbers(changes.baseline),
        change=_numbers(changes.change),
        percent_change=_numbers(changes.percent),
        change_bound_lower=_numbers(changes.lower),
        change_bound_upper=_numbers(changes.upper),
        n_replicates=[result.n_replicates for result in results],
        findings=_codes(tubes, results, changes),
        accession_id=[tube.accession_id for tube in tubes],
        run_id=run_id,
        baseline_run_id=[
            run_id[place] if compared else None
            for place, compared in zip(baselines.tolist(), changes.is_compared.tolist(), strict=True)
        ],
        result_id=[result.result_id for result in results],
        source_sha256=[result.source_sha256s for result in results],
    )


def _baseline_places(subject_id: Sequence[str], visit: Sequence[str], measurand: Sequence[str]) -> NDArray[np.intp]:
    """Return where each row's baseline stands; -1 at the baseline itself and where there is none."""
    baselines: dict[str, dict[str, int]] = {}
    for place, name in enumerate(visit):
        if name == BASELINE_VISIT:
            baselines.setdefault(subject_id[place], {})[measurand[place]] = place
    places = np.full(len(subject_id), -1, dtype=np.intp)
    nothing: dict[str, int] = {}
    here, of_subject = nothing, None
    for place, (subject, name, code) in enumerate(zip(subject_id, visit, measurand, strict=True)):
        if subject != of_subject:
            here, of_subject = baselines.get(subject, nothing), subject
        if name != BASELINE_VISIT:
            places[place] = here.get(code, -1)
    return places


def _observations(
    value: Sequence[float | None],
    comparator: Sequence[str | None],
    unit: Sequence[str | None],
    tubes: Sequence[_Tube | _NoTube],
) -> Observations:
    return Observations(
        value=np.array(value, dtype=np.float64),
        comparator=_texts(comparator),
        unit=_texts(unit),
        material=_texts([tube.material for tube in tubes]),
        day=np.array([tube.day for tube in tubes], dtype=np.int64),
    )


def _texts(values: Sequence[str | None]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    """Return numbers with None for what is not one."""
    listed: list[float | None] = values.tolist()
    for place in np.flatnonzero(np.isnan(values)).tolist():
        listed[place] = None
    return listed


def _codes(tubes: Sequence[_Tube | _NoTube], results: Sequence[AlignedInput | _NoResult], changes: Changes) -> list[str]:
    """Join all codes of each row, each once, in alphabetical order."""
    joined: dict[tuple[str, str], str] = {}
    codes: list[str] = []
    for tube, result in zip(tubes, results, strict=True):
        key = tube.finding_codes, result.finding_codes
        merged = joined.get(key)
        if merged is None:
            joined[key] = merged = _merged(*key)
        codes.append(merged)
    for code, changed in ((MATRIX_CHANGED, changes.matrix_changed), (UNIT_CHANGED, changes.unit_changed)):
        for place in np.flatnonzero(changed).tolist():
            codes[place] = _merged(codes[place], code)
    return codes


def _merged(*codes: str) -> str:
    return ";".join(sorted({code for joined in codes for code in joined.split(";")} - {""}))
