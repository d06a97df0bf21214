"""Quantiles and medians of quantities of which some are only known to lie between two ends.

Knows intervals, Turnbull's estimate and estimates by ranks. Must not know measurands, visits or arms. No bound is ever replaced
by a number: neither by 0, nor by the limit, nor by half of it.

References
----------
Hodges JL, Lehmann EL. Estimates of location based on rank tests. Annals of Mathematical Statistics 1963;34:598-611.
Turnbull BW. The empirical distribution function with arbitrarily grouped, censored and truncated data. Journal of the Royal
Statistical Society B 1976;38:290-295.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

SAME_SHARE = 1e-6
"""Shares of a distribution closer than this are one; far below one observation's share, far above the iteration's error."""

_SETTLED = 1e-10

LARGEST_SHARE_BEHIND_A_MEDIAN = 0.5
"""With more bounds than this a median is itself only a bound."""

LARGEST_EXACT_SIGNED_RANK = 60
"""Up to so many quantities the signed ranks' distribution is counted out; its normal approximation serves beyond."""

_LARGEST_ROUNDS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one quantity: it lies between two ends, which may be infinite or, when both are equal, exact.

    ``open_low`` and ``open_high`` tell that the end itself is excluded, as the limit is in ``<3.1``.
    """

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether the quantity is a number."""
        return self.low == self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A place where the estimated distribution has weight; within it nothing tells where."""

    low: float
    high: float
    share: float


def turnbull(known: Sequence[Known]) -> tuple[Step, ...]:
    """Estimate the distribution of quantities known only between ends, without assuming its shape.

    Parameters
    ----------
    known
        Left-, right- and interval-censored and exact quantities in any mixture; at least one.

    Returns
    -------
    tuple of Step
        In ascending order; the shares add up to 1. Without bounds these are the sorted values, each with its share.
    """
    if all(one.is_exact for one in known):
        return _plain_steps([one.low for one in known])
    lows = [(one.low, int(one.open_low)) for one in known]
    highs = [(one.high, -int(one.open_high)) for one in known]
    places = _innermost(lows, highs)
    # Row by observation, column by place: may the observation lie there? Ends are put in order once, and compared by rank.
    rank = {end: at for at, end in enumerate(sorted({*lows, *highs}))}
    low_ranks = np.array([rank[low] for low in lows])[:, None]
    high_ranks = np.array([rank[high] for high in highs])[:, None]
    may = (low_ranks <= [rank[low] for low, _ in places]) & ([rank[high] for _, high in places] <= high_ranks)
    counts = may.astype(np.float64)
    shares = np.full(len(places), 1.0 / len(places))
    for _ in range(_LARGEST_ROUNDS):
        expected = counts * shares
        updated = (expected / expected.sum(axis=1, keepdims=True)).mean(axis=0)
        done = float(np.abs(updated - shares).max()) < _SETTLED
        shares = updated
        if done:
            break
    return tuple(
        Step(low=low[0], high=high[0], share=float(share))
        for (low, high), share in zip(places, shares, strict=True)
        if share > SAME_SHARE
    )


def _plain_steps(values: Sequence[float]) -> tuple[Step, ...]:
    """Return the distribution of plain numbers."""
    places, counts = np.unique(np.array(values), return_counts=True)
    shares = (counts / len(values)).tolist()
    return tuple(Step(low=value, high=value, share=share) for value, share in zip(places.tolist(), shares, strict=True))


def _innermost(
    lows: Sequence[tuple[float, int]], highs: Sequence[tuple[float, int]]
) -> list[tuple[tuple[float, int], tuple[float, int]]]:
    """Return the intervals from a lower end to the next upper end with no other end between: only there can weight lie."""
    # At equal places a lower end comes before an upper one, so that an exact value is a place of its own.
    ends = sorted({(low, 0) for low in lows} | {(high, 1) for high in highs})
    return [(one, other) for (one, kind), (other, next_kind) in pairwise(ends) if kind == 0 and next_kind == 1]


def quantile(steps: Sequence[Step], share: float) -> Step:
    """Return between which ends a quantile lies; equal ends are a number.

    Where the share falls on the edge of two steps the two are averaged, as in the usual median of an even number (type 2 of
    Hyndman and Fan, the default of SAS).
    """
    reached = 0.0
    for step, following in pairwise([*steps, steps[-1]]):
        reached += step.share
        if reached > share + SAME_SHARE:
            return step
        if abs(reached - share) <= SAME_SHARE:
            return Step(low=_middle(step.low, following.low), high=_middle(step.high, following.high), share=step.share)
    return steps[-1]


def _middle(one: float, other: float) -> float:
    return one if one == other else one / 2.0 + other / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Confidence limits; None where there are too few data, or the limit is beyond what is known."""

    lower: float | None
    upper: float | None


def median_limits(known: Sequence[Known], level: float = 0.95) -> Limits:
    """Return distribution-free confidence limits of a median by order statistics, as of the sign test.

    The lower limit is the order statistic of the lower ends, the upper one that of the upper ends: the k-th smallest of the
    quantities lies between the k-th smallest of either, so bounds can only widen the interval, never void its confidence.
    Fewer than six quantities give no interval of 95 %.
    """
    count = len(known)
    # With this many or more observations on one side of the median, that side's tail would exceed its half of the error.
    beyond = int(binom.ppf((1.0 - level) / 2.0, count, 0.5)) if count else 0
    if beyond < 1:
        return Limits(lower=None, upper=None)
    lower = sorted(one.low for one in known)[beyond - 1]
    upper = sorted(one.high for one in known)[count - beyond]
    return Limits(lower=lower if math.isfinite(lower) else None, upper=upper if math.isfinite(upper) else None)


def median(known: Sequence[Known]) -> Step | None:
    """Return between which ends the median lies; equal ends are a number; None where nothing is known.

    It is the median of Turnbull's estimate. Where more than half are bounds, that estimate would hang on the few exact values;
    then the median lies between the medians of the lower and of the upper ends, and is shown as the bound it is.
    """
    if not known:
        return None
    if sum(not one.is_exact for one in known) <= LARGEST_SHARE_BEHIND_A_MEDIAN * len(known):
        return quantile(turnbull(known), 0.5)
    low, high = (_plain_median([getattr(one, end) for one in known]) for end in ("low", "high"))
    return Step(low=low, high=high, share=1.0)


def _plain_median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return _middle(ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2])


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoMedian:
    """A pseudo-median between its ends, equal where it is a number, with its Hodges-Lehmann limits."""

    low: float
    high: float
    limits: Limits


def pseudo_median(known: Sequence[Known], level: float = 0.95) -> PseudoMedian | None:
    """Return the Hodges-Lehmann estimate, the median of all means of two, with limits by inverting the signed-rank test.

    It is the median of a symmetric distribution, and of no other; its limits belong to it alone. Bounds enter with both their
    ends, which can only widen the limits. Fewer than six quantities give no limits of 95 %; None where nothing is known.
    """
    if not known:
        return None
    first, second = np.triu_indices(len(known))
    means_low = _means_of_two(np.array([one.low for one in known]), first, second)
    means_high = _means_of_two(np.array([one.high for one in known]), first, second)
    beyond = _signed_rank_quantile(len(known), (1.0 - level) / 2.0)
    lower = float(means_low[beyond - 1]) if beyond else -math.inf
    upper = float(means_high[means_high.size - beyond]) if beyond else math.inf
    return PseudoMedian(
        low=_plain_median(means_low.tolist()),
        high=_plain_median(means_high.tolist()),
        limits=Limits(lower=lower if math.isfinite(lower) else None, upper=upper if math.isfinite(upper) else None),
    )


def _means_of_two(ends: NDArray[np.float64], first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.sort(ends[first] / 2.0 + ends[second] / 2.0)


@lru_cache(maxsize=256)
def _signed_rank_quantile(count: int, tail: float) -> int:
    """Return how many of the smallest means of two lie outside limits that leave out no more than ``tail``."""
    total = count * (count + 1) // 2
    if count > LARGEST_EXACT_SIGNED_RANK:
        sd = math.sqrt(count * (count + 1) * (2 * count + 1) / 24.0)
        return max(0, math.floor(total / 2.0 + sd * float(norm.ppf(tail))))
    ways = np.zeros(total + 1)
    ways[0] = 1.0
    for rank in range(1, count + 1):
        ways[rank:] = ways[rank:] + ways[:-rank]
    return int(np.searchsorted(np.cumsum(ways) / 2.0**count, tail, side="right"))
