"""Quantiles and geometric means of quantities of which some are only known to lie between two ends.

Knows intervals, Turnbull's estimate and a normal likelihood on the log scale. Must not know measurands, visits or arms. No
bound is ever replaced by a number: neither by 0, nor by the limit, nor by half of it.

References
----------
Turnbull BW. The empirical distribution function with arbitrarily grouped, censored and truncated data. Journal of the Royal
Statistical Society B 1976;38:290-295.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import binom

SAME_SHARE = 1e-6
"""Shares of a distribution closer than this are one; far below one observation's share, far above the iteration's error."""

_SETTLED = 1e-10

LARGEST_CENSORED_SHARE = 0.7
FEWEST_DETECTED = 5
"""Beyond these a geometric mean would rest on the assumed shape alone."""

_LARGEST_ROUNDS = 20_000
_NORMAL_LOG_HEIGHT = -0.5 * math.log(2.0 * math.pi)


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
    lows = [(one.low, int(one.open_low)) for one in known]
    highs = [(one.high, -int(one.open_high)) for one in known]
    places = _innermost(lows, highs)
    # Row by observation, column by place: may the observation lie there?
    may = np.array([[low <= place[0] and place[1] <= high for place in places] for low, high in zip(lows, highs, strict=True)])
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


def geometric_mean(known: Sequence[Known]) -> float | None:
    """Return the geometric mean by maximum likelihood, the logarithms taken as normal and bounds as bounds.

    Without bounds it is the plain geometric mean, whatever the shape. None where an exact value is not above 0, where more
    than 70 % are bounds, or where there are bounds and fewer than five values are exact.
    """
    exact = np.array([one.low for one in known if one.is_exact])
    bounds = [one for one in known if not one.is_exact]
    if exact.size == 0 or float(exact.min()) <= 0.0 or any(one.high <= 0.0 for one in bounds):
        return None
    if not bounds:
        return math.exp(float(np.log(exact).mean()))
    if exact.size < FEWEST_DETECTED or len(bounds) > LARGEST_CENSORED_SHARE * len(known):
        return None
    below = np.log(np.array([one.high for one in bounds if math.isfinite(one.high)]))
    above = np.log(np.array([one.low for one in bounds if not math.isfinite(one.high)]))
    mean = _normal_mean(np.log(exact), below, above)
    return None if mean is None else math.exp(mean)


def _normal_mean(exact: NDArray[np.float64], below: NDArray[np.float64], above: NDArray[np.float64]) -> float | None:
    """Maximise the likelihood of a normal sample with bounds on either side, by expectation and maximisation."""
    count = exact.size + below.size + above.size
    mean, sd = float(exact.mean()), float(exact.std())
    if sd == 0.0:
        return None
    for _ in range(_LARGEST_ROUNDS):
        under, over = (below - mean) / sd, (above - mean) / sd
        # Means and squares of a normal quantity known to lie beyond a limit, by the ratio of its density and its tail.
        under_ratio = np.exp(_NORMAL_LOG_HEIGHT - under**2 / 2.0 - log_ndtr(under))
        over_ratio = np.exp(_NORMAL_LOG_HEIGHT - over**2 / 2.0 - log_ndtr(-over))
        centred = float((exact - mean).sum() - sd * under_ratio.sum() + sd * over_ratio.sum()) / count
        squares = float(((exact - mean) ** 2).sum())
        squares += sd**2 * float((1.0 - under * under_ratio).sum() + (1.0 + over * over_ratio).sum())
        updated_sd = math.sqrt(max(squares / count - centred**2, 0.0))
        moved = abs(centred) + abs(updated_sd - sd)
        mean, sd = mean + centred, updated_sd
        if sd == 0.0:
            return None
        if moved < _SETTLED:
            break
    return mean
