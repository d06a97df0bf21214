"""Results aligned to subjects and visits: the rows of the timepoint table as of a date.

Knows alignments of specimens, due cells and results, and what a cell's status is. Must not know how any of them was found or
stored, nor an arm. The database's ``timepoint`` view gives the same rows; change both together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias

from biomarkers.results import Assay, Comparator
from biomarkers.study.declaration import Material
from biomarkers.study.definition import BASELINE_VISIT
from biomarkers.timepoints.change import Change, Observation, change_from_baseline
from biomarkers.timepoints.due import DueCell

Decision: TypeAlias = Literal["", "reportable", "repeated", "excluded"]


class Status(StrEnum):
    """What is known of a cell, or why it is empty."""

    MEASURED = "measured"
    BELOW_RANGE = "below_range"
    ABOVE_RANGE = "above_range"
    PENDING = "pending"
    MISSING = "missing"
    NOT_YET_DUE = "not_yet_due"
    NOT_EXPECTED = "not_expected"
    NOT_EVALUABLE = "not_evaluable"


class AlignedSpecimen(Protocol):
    """What the table needs of a specimen's place in the trial.

    :class:`~biomarkers.study.visits.Alignment` has it, and so has whatever the store reads back of one.
    """

    @property
    def accession_id(self) -> str:
        """The specimen's accession id."""

    @property
    def subject_id(self) -> str:
        """Whose specimen it is."""

    @property
    def material(self) -> Material:
        """What it is made of."""

    @property
    def visit(self) -> str | None:
        """The visit it belongs to; None while it waits."""

    @property
    def visit_number(self) -> int | None:
        """The visit's number; None where the visit is not planned."""

    @property
    def study_day(self) -> int | None:
        """The study day of collection."""

    @property
    def days_from_target(self) -> int | None:
        """Calendar days after the visit's target date."""

    @property
    def in_window(self) -> bool | None:
        """Whether it was collected within the visit's window."""

    @property
    def chosen(self) -> bool:
        """Whether its results enter the table."""

    @property
    def finding_codes(self) -> str:
        """Codes of its findings, joined by ``;``."""

    @property
    def collected_on(self) -> date:
        """The day of collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedInput:
    """A current result as the table takes it in.

    Attributes
    ----------
    finding_codes, source_sha256s
        Joined by ``;``, the instrument's file first.
    order
        Place of the result's run in the order of first recording: the first one stays reportable, and a recomputation does
        not move a run behind its repeat.
    disposition
        The latest decision on the result; empty when nobody decided.
    """

    accession_id: str
    assay: Assay
    measurand: str
    value: float | None
    comparator: Comparator
    unit: str
    lower: float | None
    upper: float | None
    denominator: str
    n_replicates: int | None
    evaluable: bool
    finding_codes: str
    run_id: str
    result_id: str
    source_sha256s: str
    order: int
    disposition: Decision = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimepointRow:
    """One subject, visit and measurand; the fields are the table's columns in their order, None is an empty cell.

    Attributes
    ----------
    days_from_target
        Calendar days after the visit's target date.
    value
        The bound itself where ``comparator`` is ``<`` or ``>``.
    baseline
        Empty at the baseline visit, where the baseline is only a bound, and where the two cannot be compared.
    change_bound_lower, change_bound_upper
        The possible changes where a value is only a bound; an open end is empty.
    findings
        Codes joined by ``;``, each once, in alphabetical order; empty text when there are none.
    """

    study_id: str
    subject_id: str
    visit: str
    visit_number: int | None
    study_day: int | None
    days_from_target: int | None
    in_window: bool | None
    assay: str
    measurand: str
    status: str
    value: float | None
    comparator: str | None
    unit: str | None
    lower: float | None
    upper: float | None
    denominator: str | None
    baseline: float | None
    change: float | None
    percent_change: float | None
    change_bound_lower: float | None
    change_bound_upper: float | None
    n_replicates: int | None
    findings: str
    accession_id: str | None
    run_id: str | None
    baseline_run_id: str | None
    result_id: str | None
    source_sha256: str | None


class _Key(NamedTuple):
    """What a row stands for; an unplanned visit can come more than once, so its specimen tells the rows apart."""

    subject_id: str
    visit: str
    unplanned_specimen: str
    measurand: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """A row before it is compared with its baseline."""

    key: _Key
    visit_number: int | None
    assay: Assay
    unit: str | None
    status: Status
    specimen: AlignedSpecimen | None = None
    result: AlignedInput | None = None

    @property
    def observation(self) -> Observation | None:
        """The reported value, if there is one."""
        specimen, result = self.specimen, self.result
        if specimen is None or result is None or result.value is None or not result.evaluable:
            return None
        return Observation(
            value=result.value,
            comparator=result.comparator,
            unit=result.unit,
            material=specimen.material,
            collected_on=specimen.collected_on,
            run_id=result.run_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    specimen: AlignedSpecimen
    result: AlignedInput


def timepoint_rows(
    study_id: str,
    alignments: Iterable[AlignedSpecimen],
    due: Sequence[DueCell],
    results: Iterable[AlignedInput],
    *,
    as_of: date,
) -> tuple[TimepointRow, ...]:
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
    tuple of TimepointRow
        What is due, and what was measured without being due, by subject, visit number (unplanned visits last), assay and
        measurand.
    """
    withdrawn = {cell.subject_id for cell in due if cell.hidden}
    specimens = [
        specimen
        for specimen in alignments
        if specimen.chosen and specimen.collected_on <= as_of and specimen.subject_id not in withdrawn
    ]
    measured = _reportable(results, {specimen.accession_id: specimen for specimen in specimens})
    received = _received(specimens)
    cells = [_due_cell(cell, measured, received, as_of) for cell in due]
    due_keys = {cell.key for cell in cells}
    cells += [_measured_cell(key, found, due_unit=None) for key, found in measured.items() if key not in due_keys]
    cells.sort(key=_place)
    baselines = {
        (cell.key.subject_id, cell.key.measurand): cell.observation for cell in cells if cell.key.visit == BASELINE_VISIT
    }
    return tuple(_row(study_id, cell, baselines.get((cell.key.subject_id, cell.key.measurand))) for cell in cells)


def _reportable(results: Iterable[AlignedInput], specimens: Mapping[str, AlignedSpecimen]) -> Mapping[_Key, _Measured]:
    """Choose the result that counts: one declared reportable, else the first evaluable, else the first."""
    best: dict[_Key, _Measured] = {}
    for result in results:
        specimen = specimens.get(result.accession_id)
        if specimen is None or specimen.visit is None or result.disposition in {"repeated", "excluded"}:
            continue
        unplanned = "" if specimen.visit_number is not None else f"{specimen.collected_on} {specimen.accession_id}"
        key = _Key(specimen.subject_id, specimen.visit, unplanned, result.measurand)
        if key not in best or _rank(result) < _rank(best[key].result):
            best[key] = _Measured(specimen=specimen, result=result)
    return best


def _rank(result: AlignedInput) -> tuple[bool, bool, int, str]:
    return result.disposition != "reportable", not result.evaluable, result.order, result.result_id


def _received(specimens: Iterable[AlignedSpecimen]) -> Mapping[tuple[str, str, Material], AlignedSpecimen]:
    """Find the chosen specimen of each subject, visit and material; of several tubes the first accession."""
    received: dict[tuple[str, str, Material], AlignedSpecimen] = {}
    for specimen in sorted(specimens, key=lambda one: one.accession_id, reverse=True):
        if specimen.visit is not None:
            received[specimen.subject_id, specimen.visit, specimen.material] = specimen
    return received


def _due_cell(
    cell: DueCell,
    measured: Mapping[_Key, _Measured],
    received: Mapping[tuple[str, str, Material], AlignedSpecimen],
    as_of: date,
) -> _Cell:
    key = _Key(cell.subject_id, cell.visit, "", cell.measurand)
    if key in measured:
        return _measured_cell(key, measured[key], due_unit=cell.unit)
    tubes = [received[place] for material in cell.materials if (place := (cell.subject_id, cell.visit, material)) in received]
    specimen = min(tubes, key=lambda one: one.accession_id, default=None)
    return _Cell(
        key=key,
        visit_number=cell.visit_number,
        assay=cell.assay,
        unit=cell.unit,
        status=_empty_status(cell, specimen, as_of),
        specimen=specimen,
    )


def _empty_status(cell: DueCell, specimen: AlignedSpecimen | None, as_of: date) -> Status:
    if cell.hidden:
        return Status.NOT_EXPECTED
    if specimen is not None:
        return Status.PENDING
    if cell.not_expected_from is not None and cell.not_expected_from <= as_of:
        return Status.NOT_EXPECTED
    if cell.window_last is None or as_of <= cell.window_last:
        return Status.NOT_YET_DUE
    return Status.MISSING


def _measured_cell(key: _Key, found: _Measured, *, due_unit: str | None) -> _Cell:
    return _Cell(
        key=key,
        visit_number=found.specimen.visit_number,
        assay=found.result.assay,
        unit=found.result.unit or due_unit,
        status=_measured_status(found.result),
        specimen=found.specimen,
        result=found.result,
    )


def _measured_status(result: AlignedInput) -> Status:
    if not result.evaluable:
        return Status.NOT_EVALUABLE
    return {"<": Status.BELOW_RANGE, ">": Status.ABOVE_RANGE}.get(result.comparator, Status.MEASURED)


def _place(cell: _Cell) -> tuple[str, bool, int, str, str, str, str]:
    key, number = cell.key, cell.visit_number
    return key.subject_id, number is None, number or 0, key.visit, key.unplanned_specimen, cell.assay, key.measurand


_NO_CHANGE = Change()


def _row(study_id: str, cell: _Cell, baseline: Observation | None) -> TimepointRow:
    specimen, result, observation = cell.specimen, cell.result, cell.observation
    is_compared = observation is not None and cell.key.visit != BASELINE_VISIT
    change = change_from_baseline(observation, baseline) if observation is not None and is_compared else _NO_CHANGE
    return TimepointRow(
        study_id=study_id,
        subject_id=cell.key.subject_id,
        visit=cell.key.visit,
        visit_number=cell.visit_number,
        study_day=None if specimen is None else specimen.study_day,
        days_from_target=None if specimen is None else specimen.days_from_target,
        in_window=None if specimen is None else specimen.in_window,
        assay=cell.assay.value,
        measurand=cell.key.measurand,
        status=cell.status.value,
        value=None if observation is None else observation.value,
        comparator=None if observation is None else observation.comparator,
        unit=cell.unit,
        lower=None if observation is None or result is None else result.lower,
        upper=None if observation is None or result is None else result.upper,
        denominator=None if result is None else result.denominator,
        baseline=change.baseline,
        change=change.change,
        percent_change=change.percent_change,
        change_bound_lower=None if change.bounds is None else change.bounds.least,
        change_bound_upper=None if change.bounds is None else change.bounds.greatest,
        n_replicates=None if result is None else result.n_replicates,
        findings=_codes(specimen, result, change),
        accession_id=None if specimen is None else specimen.accession_id,
        run_id=None if result is None else result.run_id,
        baseline_run_id=change.baseline_run_id,
        result_id=None if result is None else result.result_id,
        source_sha256=None if result is None else result.source_sha256s,
    )


def _codes(specimen: AlignedSpecimen | None, result: AlignedInput | None, change: Change) -> str:
    """Join all codes, each once, in alphabetical order."""
    of_specimen = "" if specimen is None else specimen.finding_codes
    of_result = "" if result is None else result.finding_codes
    if not of_specimen and not of_result and not change.finding_codes:
        return ""
    codes = {*of_specimen.split(";"), *of_result.split(";"), *change.finding_codes}
    return ";".join(sorted(codes - {""}))
