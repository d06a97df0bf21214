"""Change from baseline, and what can be said of it when one of the two values is only a bound.

Knows observations of one measurand in one subject, pair by pair. Must not know visits, rosters or statuses. The rule is written
once, for arrays, because a table holds tens of thousands of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from biomarkers.results import Comparator
from biomarkers.study.declaration import Material

MATRIX_CHANGED = "MATRIX_CHANGED"
UNIT_CHANGED = "UNIT_CHANGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A reported value with what must be equal for a change to mean anything.

    ``comparator`` ``"<"`` or ``">"`` makes ``value`` a bound. Nothing this package reports is ever below 0.
    """

    value: float
    comparator: Comparator
    unit: str
    material: Material
    collected_on: date
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleValues:
    """The least and greatest value a quantity can have; None where there is no end."""

    least: float | None
    greatest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How far a value lies from its baseline.

    Attributes
    ----------
    baseline
        None where the baseline is only a bound: nobody should subtract it by mistake.
    change, percent_change
        None where either value is only a bound; the percentage also where the baseline is 0.
    bounds
        With a bounded value, the possible changes; these are no confidence limits.
    baseline_run_id
        The run of the baseline the value was compared with; None when there was nothing to compare.
    finding_codes
        Why two values that are there were not compared.
    """

    baseline: float | None = None
    change: float | None = None
    percent_change: float | None = None
    bounds: PossibleValues | None = None
    baseline_run_id: str | None = None
    finding_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Observations side by side; ``value`` is NaN where there is none.

    Attributes
    ----------
    comparator, unit, material
        Arrays of text.
    day
        Day of collection as its ordinal.
    """

    value: NDArray[np.float64]
    comparator: NDArray[np.object_]
    unit: NDArray[np.object_]
    material: NDArray[np.object_]
    day: NDArray[np.int64]

    def taken(self, places: NDArray[np.intp]) -> Observations:
        """Return the observations at some places; a negative place is no observation."""
        return Observations(
            value=np.where(places < 0, np.nan, self.value[places]),
            comparator=self.comparator[places],
            unit=self.unit[places],
            material=self.material[places],
            day=self.day[places],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Changes side by side; NaN is what :class:`Change` has as None.

    Attributes
    ----------
    is_compared
        Where there is a change, be it a number or only its bounds.
    lower, upper
        The possible changes where either value is a bound; NaN also where there is no end.
    matrix_changed, unit_changed
        Why two values that are there were not compared.
    """

    is_compared: NDArray[np.bool_]
    baseline: NDArray[np.float64]
    change: NDArray[np.float64]
    percent: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    matrix_changed: NDArray[np.bool_]
    unit_changed: NDArray[np.bool_]


def possible_values(value: float, comparator: Comparator) -> PossibleValues:
    """Return the ends between which a reported quantity lies.

    Examples
    --------
    >>> possible_values(3.1, "<")
    PossibleValues(least=0.0, greatest=3.1)
    """
    return PossibleValues(
        least=0.0 if comparator == "<" else value,
        greatest=None if comparator == ">" else value,
    )


def changes_from_baseline(current: Observations, baseline: Observations) -> Changes:
    """Compare values with their baselines, place by place.

    Without a baseline, or with one collected after the value, nothing is compared. Different materials or units are not
    compared either.
    """
    now, before = current.value, baseline.value
    met = np.isfinite(now) & np.isfinite(before) & (baseline.day <= current.day)
    matrix_changed = met & np.asarray(current.material != baseline.material, dtype=bool)
    unit_changed = met & np.asarray(current.unit != baseline.unit, dtype=bool)
    compared = met & ~matrix_changed & ~unit_changed
    baseline_exact = baseline.comparator == ""
    exact = compared & (current.comparator == "") & baseline_exact
    bounded = compared & ~exact
    change = np.where(exact, now - before, np.nan)
    # In this order of operations, because the view in the database computes the same bits.
    percent = np.divide(100.0 * change, before, out=np.full(change.shape, np.nan), where=exact & (before > 0))
    least, greatest = _ends(current)
    baseline_least, baseline_greatest = _ends(baseline)
    return Changes(
        is_compared=compared,
        baseline=np.where(compared & baseline_exact, before, np.nan),
        change=change,
        percent=percent,
        lower=np.where(bounded, least - baseline_greatest, np.nan),
        upper=np.where(bounded, greatest - baseline_least, np.nan),
        matrix_changed=matrix_changed,
        unit_changed=unit_changed,
    )


def _ends(observed: Observations) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and greatest possible values; a value without an upper end has NaN there."""
    return (
        np.where(observed.comparator == "<", 0.0, observed.value),
        np.where(observed.comparator == ">", np.nan, observed.value),
    )


def change_from_baseline(current: Observation, baseline: Observation | None) -> Change:
    """Compare one value with its baseline, as :func:`changes_from_baseline` does; a finding says why it did not.

    Examples
    --------
    >>> from datetime import date
    >>> before = Observation(
    ...     value=4.0, comparator="", unit="pg/mL", material=Material.PLASMA, collected_on=date(2025, 1, 6), run_id="a"
    ... )
    >>> after = Observation(
    ...     value=3.1, comparator="<", unit="pg/mL", material=Material.PLASMA, collected_on=date(2025, 2, 3), run_id="b"
    ... )
    >>> change_from_baseline(after, before).bounds
    PossibleValues(least=-4.0, greatest=-0.8999999999999999)
    """
    if baseline is None:
        return Change()
    found = changes_from_baseline(_single(current), _single(baseline))
    codes = (*((MATRIX_CHANGED,) if found.matrix_changed[0] else ()), *((UNIT_CHANGED,) if found.unit_changed[0] else ()))
    if not found.is_compared[0]:
        return Change(finding_codes=codes)
    change = _number(found.change)
    return Change(
        baseline=_number(found.baseline),
        change=change,
        percent_change=_number(found.percent),
        bounds=PossibleValues(least=_number(found.lower), greatest=_number(found.upper)) if change is None else None,
        baseline_run_id=baseline.run_id,
    )


def _single(one: Observation) -> Observations:
    return Observations(
        value=np.array([one.value]),
        comparator=np.array([one.comparator], dtype=object),
        unit=np.array([one.unit], dtype=object),
        material=np.array([one.material], dtype=object),
        day=np.array([one.collected_on.toordinal()]),
    )


def _number(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])
