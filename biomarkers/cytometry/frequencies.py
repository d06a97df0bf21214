"""How uncertain a frequency or a ratio of counts is.

Knows counting statistics and how a cut that could lie elsewhere adds to them. Must not know measurands or findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from biomarkers.cytometry.gating import Gating
from biomarkers.results import Interval

NORMAL_95 = 1.959963984540054
"""Two-sided 95 % point of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One step of a frequency: a population within its parent.

    Attributes
    ----------
    count, parent_count
        Events.
    cut_variance
        Variance of count / parent_count that comes from where the cuts lie.
    """

    count: int
    parent_count: int
    cut_variance: float


def spread_of(gated: Gating, name: str) -> Spread:
    """Count a population within its parent and see how the count moves when each cut is drawn again."""
    population = gated.populations[name]
    parent = gated.parent_membership(name)
    parent_count = int(np.count_nonzero(parent))
    variance = 0.0
    if parent_count:
        for cut in population.cuts:
            if cut.draws.size == 0 or cut.marker not in gated.scaled:
                continue
            # Only events between the outermost draws can change sides; those kept by all other gates are counted there.
            column = gated.scaled[cut.marker]
            low, high = float(min(cut.draws.min(), cut.value)), float(max(cut.draws.max(), cut.value))
            moving = parent & (column > np.float32(low)) & (column <= np.float32(high))
            for other in population.cuts:
                if other is not cut and other.marker in gated.scaled:
                    moving &= other.keeps(gated.scaled[other.marker])
            places = np.sort(column[moving])
            moved = np.searchsorted(places, cut.draws.astype(np.float32), side="right")
            variance += float(np.var(moved, ddof=1)) / parent_count**2
    return Spread(count=population.count, parent_count=parent_count, cut_variance=variance)


def frequency_interval(steps: Sequence[Spread]) -> Interval:
    """Give 95 % limits, in percent, of a population's frequency in one above it.

    Wilson's interval at the number of events a plain binomial frequency of the same variance would have: with certain cuts it
    is Wilson's own, and it never leaves 0 to 100.

    Examples
    --------
    >>> limits = frequency_interval([Spread(count=50, parent_count=100, cut_variance=0.0)])
    >>> round(limits.lower or 0.0, 1), round(limits.upper or 0.0, 1)
    (40.4, 59.6)
    """
    top, bottom = steps[0].count, steps[-1].parent_count
    if bottom == 0:
        raise ValueError("a frequency needs events in its denominator")
    share = top / bottom
    cut_variance = share**2 * sum(_relative_cut_variance(step) for step in steps)
    counting = share * (1 - share) / bottom
    effective = bottom * counting / (counting + cut_variance) if counting > 0 else float(bottom)
    z2 = NORMAL_95**2
    centre = (share + z2 / (2 * effective)) / (1 + z2 / effective)
    half = NORMAL_95 / (1 + z2 / effective) * sqrt(share * (1 - share) / effective + z2 / (4 * effective**2))
    return Interval(lower=100.0 * max(0.0, centre - half), upper=100.0 * min(1.0, centre + half))


def ratio_interval(top: Sequence[Spread], bottom: Sequence[Spread], factor: float = 1.0) -> Interval:
    """Give 95 % limits of the ratio of two counts, on the logarithm: variance 1/a + 1/b and what the cuts add.

    Parameters
    ----------
    top, bottom
        Steps from each population up to the one both lie in; their first counts are the ratio's.
    factor
        What the ratio is multiplied by: 100 where it is given in percent.
    """
    above, below = _count(top), _count(bottom)
    variance = 1 / above + 1 / below + sum(_relative_cut_variance(step) for step in (*top, *bottom))
    half = NORMAL_95 * sqrt(variance)
    middle = log(above / below)
    return Interval(lower=factor * exp(middle - half), upper=factor * exp(middle + half))


def _count(steps: Sequence[Spread]) -> int:
    if not steps or steps[0].count == 0:
        raise ValueError("a ratio needs events in both populations")
    return steps[0].count


def _relative_cut_variance(step: Spread) -> float:
    return step.cut_variance * step.parent_count**2 / step.count**2 if step.count else 0.0
