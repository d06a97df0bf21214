"""Levey-Jennings series and the Westgard rules: is the assay drifting, is a run out of line with its sisters.

Knows controls over runs, per analyte, level and kit lot. Must not know plates, curves or files. Until enough accepted runs
of a lot have set its limits the rules only warn; what decides about a run then is the control's own range.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from typing import Literal, TypeAlias

from biomarkers.elisa.records import ControlRecord
from biomarkers.results import Finding, Severity

RUNS_THAT_SET_LIMITS = 20
"""Accepted runs of a lot behind its mean and standard deviation, as is usual for control charts (CLSI C24)."""

FEWEST_RUNS = 3
"""Below, no standard deviation is worth holding a run against, not even for a warning."""

WestgardRule: TypeAlias = Literal["1-2s", "1-3s", "2-2s", "R-4s", "3-1s", "4-1s", "7-T", "10-x"]

WESTGARD_RULES: tuple[WestgardRule, ...] = ("1-2s", "1-3s", "2-2s", "R-4s", "3-1s", "4-1s", "7-T", "10-x")

_MEANING: dict[WestgardRule, str] = {
    "1-2s": "one control lies more than 2 standard deviations from its mean",
    "1-3s": "one control lies more than 3 standard deviations from its mean",
    "2-2s": "two controls running lie more than 2 standard deviations out on the same side",
    "R-4s": "two controls of one run lie more than 2 standard deviations out on opposite sides",
    "3-1s": "three controls running lie more than 1 standard deviation out on the same side",
    "4-1s": "four controls running lie more than 1 standard deviation out on the same side",
    "7-T": "seven controls running each lie further in the same direction than the one before",
    "10-x": "ten controls running lie on the same side of the mean",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPoint:
    """A control's mean concentration in one run.

    Attributes
    ----------
    level
        The control's slot, as the layout names it.
    measured_at
        Puts runs in order; ISO 8601, so that it sorts.
    is_accepted
        Whether the run was accepted; only such runs set limits.
    """

    run_id: str
    measured_at: str
    analyte: str
    level: str
    kit_lot: str
    value: float
    is_accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartPoint:
    """A point of a Levey-Jennings chart.

    Attributes
    ----------
    z
        Standard deviations from the mean; None as long as there are no limits.
    violated
        Westgard rules that this point completes.
    """

    point: ControlPoint
    z: float | None
    violated: tuple[WestgardRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSeries:
    """One control level of one lot over its runs, in their order.

    Attributes
    ----------
    mean, sd
        Of the runs that set the limits: the first :data:`RUNS_THAT_SET_LIMITS` accepted ones, or all accepted so far; None
        for fewer than :data:`FEWEST_RUNS`.
    is_established
        Whether enough accepted runs have set the limits. Until then the rules warn.
    """

    analyte: str
    level: str
    kit_lot: str
    mean: float | None
    sd: float | None
    runs_behind_limits: int
    is_established: bool
    points: tuple[ChartPoint, ...]

    @property
    def cv_percent(self) -> float | None:
        """Coefficient of variation between the runs behind the limits."""
        return None if self.mean is None or self.sd is None or self.mean == 0 else 100.0 * self.sd / abs(self.mean)


def levey_jennings(points: Sequence[ControlPoint]) -> tuple[ControlSeries, ...]:
    """Make the series of every analyte, control level and lot, with the rules each point violates.

    Parameters
    ----------
    points
        Controls of all runs, in any order; runs are put in order by time, then id.
    """
    grouped: dict[tuple[str, str, str], list[ControlPoint]] = defaultdict(list)
    for point in sorted(points, key=lambda one: (one.measured_at, one.run_id)):
        grouped[point.analyte, point.kit_lot, point.level].append(point)
    bare = {key: _limits(members) for key, members in grouped.items()}
    opposite = _opposite_runs(grouped, bare)
    return tuple(
        ControlSeries(
            analyte=analyte,
            level=level,
            kit_lot=kit_lot,
            mean=limits.mean,
            sd=limits.sd,
            runs_behind_limits=limits.runs,
            is_established=limits.runs >= RUNS_THAT_SET_LIMITS,
            points=_chart(grouped[analyte, kit_lot, level], limits, opposite),
        )
        for (analyte, kit_lot, level), limits in sorted(bare.items())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    mean: float | None
    sd: float | None
    runs: int

    def z(self, value: float) -> float | None:
        return None if self.mean is None or not self.sd else (value - self.mean) / self.sd


def _limits(points: Sequence[ControlPoint]) -> _Limits:
    behind = [point.value for point in points if point.is_accepted][:RUNS_THAT_SET_LIMITS]
    if len(behind) < FEWEST_RUNS:
        return _Limits(mean=None, sd=None, runs=len(behind))
    return _Limits(mean=fmean(behind), sd=stdev(behind), runs=len(behind))


def _opposite_runs(
    grouped: dict[tuple[str, str, str], list[ControlPoint]], bare: dict[tuple[str, str, str], _Limits]
) -> set[tuple[str, str, str]]:
    """Find runs, by analyte and lot, in which one level lies above 2 and another below -2 standard deviations."""
    seen: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for (analyte, kit_lot, level), points in grouped.items():
        for point in points:
            z = bare[analyte, kit_lot, level].z(point.value)
            if z is not None:
                seen[analyte, kit_lot, point.run_id].append(z)
    return {run for run, distances in seen.items() if max(distances) > 2.0 and min(distances) < -2.0}


def _chart(points: Sequence[ControlPoint], limits: _Limits, opposite: set[tuple[str, str, str]]) -> tuple[ChartPoint, ...]:
    distances = [limits.z(point.value) for point in points]
    known = [z for z in distances if z is not None]
    if len(known) < len(points):
        return tuple(ChartPoint(point=point, z=None, violated=()) for point in points)
    return tuple(
        ChartPoint(
            point=point,
            z=known[index],
            violated=violated_rules(known[: index + 1], is_opposite=(point.analyte, point.kit_lot, point.run_id) in opposite),
        )
        for index, point in enumerate(points)
    )


def violated_rules(distances: Sequence[float], *, is_opposite: bool = False) -> tuple[WestgardRule, ...]:
    """Name the Westgard rules that the last of some controls completes.

    Parameters
    ----------
    distances
        Standard deviations from the mean, oldest first.
    is_opposite
        Whether another level of the same run lies out on the other side (R-4s), which one series cannot tell.

    Examples
    --------
    >>> violated_rules([0.3, -0.2, 3.4])
    ('1-2s', '1-3s')
    >>> violated_rules([1.2, 1.4, 1.1, 1.3])
    ('3-1s', '4-1s')
    """
    last = distances[-1]
    holds: dict[WestgardRule, bool] = {
        "1-2s": abs(last) > 2.0,
        "1-3s": abs(last) > 3.0,
        "2-2s": _same_side(distances, 2, 2.0),
        "R-4s": is_opposite,
        "3-1s": _same_side(distances, 3, 1.0),
        "4-1s": _same_side(distances, 4, 1.0),
        "7-T": _trend(distances, 7),
        "10-x": _same_side(distances, 10, 0.0),
    }
    return tuple(rule for rule in WESTGARD_RULES if holds[rule])


def _same_side(distances: Sequence[float], count: int, beyond: float) -> bool:
    tail = distances[-count:]
    return len(tail) == count and (all(z > beyond for z in tail) or all(z < -beyond for z in tail))


def _trend(distances: Sequence[float], count: int) -> bool:
    tail = distances[-count:]
    steps = [later - earlier for earlier, later in pairwise(tail)]
    return len(tail) == count and (all(step > 0 for step in steps) or all(step < 0 for step in steps))


def westgard_findings(series: ControlSeries) -> tuple[Finding, ...]:
    """Tell the rules that the last run of a series violates.

    A warning in any case: limits that are not set yet cannot reject a run, and whether set ones do is for a person to decide.
    """
    if not series.points or not series.points[-1].violated:
        return ()
    last = series.points[-1]
    standing = (
        f"limits set by {series.runs_behind_limits} accepted runs"
        if series.is_established
        else f"limits preliminary: {series.runs_behind_limits} of {RUNS_THAT_SET_LIMITS} accepted runs"
    )
    return tuple(
        Finding(
            code=f"WESTGARD_{rule.replace('-', '_').upper()}",
            severity=Severity.NOTE if rule == "1-2s" else Severity.WARNING,
            where=f"Analyte '{series.analyte}', control '{series.level}', lot '{series.kit_lot}', run '{last.point.run_id}'.",
            message=f"Westgard {rule}: {_MEANING[rule]} ({standing}).",
            remedy="Look at the chart; find what changed in lot, reagents, washer or reader before the next run.",
        )
        for rule in last.violated
    )


def out_of_family(residual_sd: float, sisters: Sequence[float], *, where: str) -> tuple[Finding, ...]:
    """Tell a curve that scatters far more around its calibrators than those of earlier accepted runs.

    Parameters
    ----------
    residual_sd, sisters
        Weighted residual standard deviations of this curve and of earlier ones, fitted by the same method.
    """
    if len(sisters) < FEWEST_RUNS:
        return ()
    ordered = sorted(sisters)
    middle = ordered[len(ordered) // 2]
    # Residual variances of a dozen points scatter by a factor of three between plates of one quality, rarely by nine.
    if residual_sd <= 3.0 * middle:
        return ()
    return (
        Finding(
            code="RESIDUALS_OUT_OF_FAMILY",
            severity=Severity.WARNING,
            where=where,
            message=(
                f"The calibrators scatter around their curve by {residual_sd:.3g}, {residual_sd / middle:.1f} times the median "
                f"of {len(sisters)} earlier runs."
            ),
            remedy="Look at the calibrators' wells and residuals; repeat the plate if a cause is found.",
        ),
    )


def sigma_metric(*, allowed_error_percent: float, bias_percent: float, cv_percent: float) -> float:
    """How many standard deviations of the assay fit between its bias and the total error allowed.

    Examples
    --------
    >>> sigma_metric(allowed_error_percent=30.0, bias_percent=-4.0, cv_percent=6.5)
    4.0
    """
    return (allowed_error_percent - abs(bias_percent)) / cv_percent


def control_point(record: ControlRecord, *, run_id: str, measured_at: str, is_accepted: bool) -> ControlPoint | None:
    """Make a point of a plate's control; None where the curve gave its wells no concentration."""
    if record.mean is None:
        return None
    return ControlPoint(
        run_id=run_id,
        measured_at=measured_at,
        analyte=record.analyte,
        level=record.slot,
        kit_lot=record.kit_lot,
        value=record.mean,
        is_accepted=is_accepted,
    )
