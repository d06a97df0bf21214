"""Everything that can be said of a change: absolute, percent, fold, its interval, and across which limit it went.

Knows the scale a measurand is declared on and the variance between runs and lots that controls show. Must not know how rows
were aligned, nor an arm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from biomarkers.results import Comparator
from biomarkers.study.declaration import Scale
from biomarkers.study.definition import BASELINE_VISIT, StudyDefinition
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.change import PossibleValues, possible_values

WITHIN_RUN_ONLY = "WITHIN_RUN_ONLY"

NORMAL_95 = 1.959963984540054
"""Standard deviations to either side that hold 95 % of a normal distribution."""

FEWEST_CONTROL_DEGREES_OF_FREEDOM = 5
"""Control values less lots and levels behind a variance between runs; below, the variance is not worth adding."""


class Place(StrEnum):
    """Where a value lies against the range of its assay."""

    BELOW = "below"
    WITHIN = "within"
    ABOVE = "above"


class IntervalBasis(StrEnum):
    """Which variances an interval of a change holds."""

    SAME_RUN = "SAME_RUN"
    WITHIN_RUN_ONLY = "WITHIN_RUN_ONLY"
    BETWEEN_RUNS = "BETWEEN_RUNS"
    BETWEEN_RUNS_AND_LOTS = "BETWEEN_RUNS_AND_LOTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlValue:
    """A control's value in one run; ``level`` and ``lot`` name what should give the same value again."""

    measurand: str
    level: str
    lot: str
    run_id: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVariance:
    """How far the same material lies apart in different runs, and in different lots, on the measurand's own scale.

    Attributes
    ----------
    between_runs
        Variance of a control between runs of one lot. It holds the noise within a run as well, and is the larger for it.
    between_lots
        What lots add to it; None where there are too few to say.
    degrees_of_freedom
        Behind ``between_runs``.
    """

    between_runs: float
    between_lots: float | None
    degrees_of_freedom: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One value against its baseline; the fields are columns.

    Attributes
    ----------
    scale
        ``log``: the measurand's change is its fold. ``linear``: it is the difference.
    change_unit
        Unit of the difference; percentage points where the measurand is a percentage.
    change, percent_change, fold_change
        None where either end is a bound; percent and fold also where the baseline is 0.
    change_bound_lower to fold_bound_upper
        With a bounded end, the possible differences and folds; no confidence limits, and an open end is empty.
    interval_lower, interval_upper
        95 % limits of the change on the measurand's scale: of the fold where it is ``log``, else of the difference.
    interval_basis
        Which variances the interval holds; empty where there is none.
    transition
        Such as ``below to within``; equal words mean that nothing was crossed.
    is_same_run
        Whether both ends were measured in one run, so that what differs between runs cancels.
    findings
        Of the value, and of how its interval was made.
    """

    subject_id: str
    visit: str
    visit_number: int | None
    assay: str
    measurand: str
    scale: str
    value: float
    comparator: str
    baseline: float
    baseline_comparator: str
    change_unit: str
    change: float | None
    percent_change: float | None
    fold_change: float | None
    change_bound_lower: float | None
    change_bound_upper: float | None
    fold_bound_lower: float | None
    fold_bound_upper: float | None
    interval_lower: float | None
    interval_upper: float | None
    interval_basis: str
    transition: str
    is_same_run: bool
    findings: str
    accession_id: str | None
    baseline_accession_id: str | None
    run_id: str | None
    baseline_run_id: str


def run_variances(controls: Iterable[ControlValue], scales: Mapping[str, Scale]) -> Mapping[str, RunVariance]:
    """Estimate from controls how far apart runs, and lots, lie, by measurand.

    Values are pooled over levels on the measurand's scale, each lot and level about its own mean. On a linear scale levels of
    very different height should not be pooled; declare such measurands as ``log``.
    """
    by_measurand: dict[str, dict[tuple[str, str], list[float]]] = {}
    for control in controls:
        scale = scales.get(control.measurand)
        if scale is None or (scale == "log" and control.value <= 0):
            continue
        value = math.log(control.value) if scale == "log" else control.value
        by_measurand.setdefault(control.measurand, {}).setdefault((control.level, control.lot), []).append(value)
    found = {measurand: _variance(groups) for measurand, groups in by_measurand.items()}
    return {measurand: variance for measurand, variance in found.items() if variance is not None}


def _variance(groups: Mapping[tuple[str, str], Sequence[float]]) -> RunVariance | None:
    freedom = sum(len(values) - 1 for values in groups.values())
    if freedom < FEWEST_CONTROL_DEGREES_OF_FREEDOM:
        return None
    means = {key: math.fsum(values) / len(values) for key, values in groups.items()}
    squares = math.fsum((value - means[key]) ** 2 for key, values in groups.items() for value in values)
    between_runs = squares / freedom
    return RunVariance(
        between_runs=between_runs,
        between_lots=_between_lots(groups, means, between_runs),
        degrees_of_freedom=freedom,
    )


def _between_lots(
    groups: Mapping[tuple[str, str], Sequence[float]], means: Mapping[tuple[str, str], float], between_runs: float
) -> float | None:
    """Variance of the lots' means about their level's, less what runs put into those means."""
    levels = {level for level, _ in groups}
    squares, expected, freedom = 0.0, 0.0, 0
    for level in levels:
        here = [key for key in groups if key[0] == level]
        if len(here) < 2:
            continue
        middle = math.fsum(means[key] for key in here) / len(here)
        squares += math.fsum((means[key] - middle) ** 2 for key in here)
        expected += (len(here) - 1) / len(here) * math.fsum(between_runs / len(groups[key]) for key in here)
        freedom += len(here) - 1
    return None if freedom == 0 else max(0.0, (squares - expected) / freedom)


def change_rows(
    rows: Iterable[TimepointRow],
    definition: StudyDefinition,
    variances: Mapping[str, RunVariance] | None = None,
    lot_by_run: Mapping[str, str] | None = None,
) -> tuple[ChangeRow, ...]:
    """Say of every value with a baseline how it changed.

    Parameters
    ----------
    rows
        The timepoint table with its baselines; what was not compared there is not compared here.
    variances
        By measurand, from :func:`run_variances`. Without one, an interval over two runs says ``WITHIN_RUN_ONLY``.
    lot_by_run
        Lets the variance between lots be left out where both runs used one lot.
    """
    listed = list(rows)
    scales = {measurand.code: measurand.scale for measurand in definition.measurands}
    baselines = {
        (row.subject_id, row.measurand): row for row in listed if row.visit == BASELINE_VISIT and row.value is not None
    }
    found = []
    for row in listed:
        baseline = baselines.get((row.subject_id, row.measurand))
        if baseline is not None and row.value is not None and row.baseline_run_id is not None:
            scale = scales.get(row.measurand, "linear")
            found.append(_change_row(row, baseline, scale, (variances or {}).get(row.measurand), lot_by_run or {}))
    return tuple(found)


def _change_row(
    row: TimepointRow, baseline: TimepointRow, scale: Scale, variance: RunVariance | None, lot_by_run: Mapping[str, str]
) -> ChangeRow:
    value, before = row.value or 0.0, baseline.value or 0.0
    is_exact = not row.comparator and not baseline.comparator
    folds = _folds(row, baseline)
    basis = _basis(row, variance, lot_by_run)
    interval = _interval(row, baseline, scale, variance, basis) if is_exact else None
    code = WITHIN_RUN_ONLY if interval is not None and basis is IntervalBasis.WITHIN_RUN_ONLY else ""
    return ChangeRow(
        subject_id=row.subject_id,
        visit=row.visit,
        visit_number=row.visit_number,
        assay=row.assay,
        measurand=row.measurand,
        scale=scale,
        value=value,
        comparator=row.comparator or "",
        baseline=before,
        baseline_comparator=baseline.comparator or "",
        change_unit="percentage points" if row.unit == "%" else row.unit or "",
        change=row.change,
        percent_change=row.percent_change,
        fold_change=value / before if is_exact and before > 0 else None,
        change_bound_lower=row.change_bound_lower,
        change_bound_upper=row.change_bound_upper,
        fold_bound_lower=None if folds is None else folds.least,
        fold_bound_upper=None if folds is None else folds.greatest,
        interval_lower=None if interval is None else interval.least,
        interval_upper=None if interval is None else interval.greatest,
        interval_basis="" if interval is None else basis.value,
        transition=f"{_place(baseline)} to {_place(row)}",
        is_same_run=row.run_id == row.baseline_run_id,
        findings=";".join(sorted({*row.findings.split(";"), code} - {""})),
        accession_id=row.accession_id,
        baseline_accession_id=baseline.accession_id,
        run_id=row.run_id,
        baseline_run_id=row.baseline_run_id or "",
    )


def _place(row: TimepointRow) -> Place:
    return {"<": Place.BELOW, ">": Place.ABOVE}.get(row.comparator or "", Place.WITHIN)


def _folds(row: TimepointRow, baseline: TimepointRow) -> PossibleValues | None:
    """Return the possible folds where either end is a bound; None where both are numbers."""
    if not row.comparator and not baseline.comparator:
        return None
    now = possible_values(row.value or 0.0, _comparator(row))
    before = possible_values(baseline.value or 0.0, _comparator(baseline))
    return PossibleValues(
        least=None if now.least is None or not before.greatest else now.least / before.greatest,
        greatest=None if now.greatest is None or not before.least else now.greatest / before.least,
    )


def _comparator(row: TimepointRow) -> Comparator:
    return "<" if row.comparator == "<" else ">" if row.comparator == ">" else ""


def _basis(row: TimepointRow, variance: RunVariance | None, lot_by_run: Mapping[str, str]) -> IntervalBasis:
    if row.run_id == row.baseline_run_id:
        return IntervalBasis.SAME_RUN
    if variance is None:
        return IntervalBasis.WITHIN_RUN_ONLY
    one, other = lot_by_run.get(row.run_id or ""), lot_by_run.get(row.baseline_run_id or "")
    if variance.between_lots is None or (one is not None and one == other):
        return IntervalBasis.BETWEEN_RUNS
    return IntervalBasis.BETWEEN_RUNS_AND_LOTS


def _interval(
    row: TimepointRow, baseline: TimepointRow, scale: Scale, variance: RunVariance | None, basis: IntervalBasis
) -> PossibleValues | None:
    """Return 95 % limits of a change, on the logarithm where it is declared so; None where an end has no interval."""
    if row.value is None or baseline.value is None:
        return None
    now, before = _standard_error(row, scale), _standard_error(baseline, scale)
    if now is None or before is None:
        return None
    total = now**2 + before**2
    if variance is not None and basis in {IntervalBasis.BETWEEN_RUNS, IntervalBasis.BETWEEN_RUNS_AND_LOTS}:
        # Each of the two runs lies off by its own amount.
        total += 2.0 * variance.between_runs
        if basis is IntervalBasis.BETWEEN_RUNS_AND_LOTS:
            total += 2.0 * (variance.between_lots or 0.0)
    half = NORMAL_95 * math.sqrt(total)
    if scale == "log":
        middle = math.log(row.value / baseline.value)
        return PossibleValues(least=math.exp(middle - half), greatest=math.exp(middle + half))
    return PossibleValues(least=row.value - baseline.value - half, greatest=row.value - baseline.value + half)


def _standard_error(row: TimepointRow, scale: Scale) -> float | None:
    if row.lower is None or row.upper is None:
        return None
    if scale == "linear":
        return (row.upper - row.lower) / (2.0 * NORMAL_95)
    if row.lower <= 0 or row.value is None or row.value <= 0:
        return None
    return (math.log(row.upper) - math.log(row.lower)) / (2.0 * NORMAL_95)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionCount:
    """How many subjects of a visit and measurand went from one place against the range to another, and who."""

    visit: str
    measurand: str
    transition: str
    subject_ids: tuple[str, ...]


def transitions(changes: Iterable[ChangeRow]) -> tuple[TransitionCount, ...]:
    """Count who crossed a limit of the range, per planned visit and measurand, and who did not."""
    grouped: dict[tuple[int, str, str, str], list[str]] = {}
    for one in changes:
        if one.visit_number is not None:
            grouped.setdefault((one.visit_number, one.visit, one.measurand, one.transition), []).append(one.subject_id)
    return tuple(
        TransitionCount(visit=key[1], measurand=key[2], transition=key[3], subject_ids=tuple(sorted(grouped[key])))
        for key in sorted(grouped)
    )
