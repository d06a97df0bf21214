"""Change from baseline, and what can be said of it when one of the two values is only a bound.

Knows two observations of one measurand in one subject. Must not know visits, rosters or statuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

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


def change_from_baseline(current: Observation, baseline: Observation | None) -> Change:
    """Compare a value with its baseline.

    Without a baseline, or with one collected after the value, nothing is compared. Different materials or units are not
    compared either, and a finding says so.

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
    if baseline is None or current.collected_on < baseline.collected_on:
        return Change()
    differences = (
        *((MATRIX_CHANGED,) if current.material != baseline.material else ()),
        *((UNIT_CHANGED,) if current.unit != baseline.unit else ()),
    )
    if differences:
        return Change(finding_codes=differences)
    exact_baseline = None if baseline.comparator else baseline.value
    if current.comparator or exact_baseline is None:
        bounds = _possible_changes(current, baseline)
        return Change(baseline=exact_baseline, bounds=bounds, baseline_run_id=baseline.run_id)
    change = current.value - exact_baseline
    return Change(
        baseline=exact_baseline,
        change=change,
        # In this order of operations, because the view in the database computes the same bits.
        percent_change=100.0 * change / exact_baseline if exact_baseline > 0 else None,
        baseline_run_id=baseline.run_id,
    )


def _possible_changes(current: Observation, baseline: Observation) -> PossibleValues:
    now, before = possible_values(current.value, current.comparator), possible_values(baseline.value, baseline.comparator)
    return PossibleValues(
        least=None if now.least is None or before.greatest is None else now.least - before.greatest,
        greatest=None if now.greatest is None or before.least is None else now.greatest - before.least,
    )
