"""Geometric means of quantities of which some are only bounds, by the likelihood of log-normal values.

Knows a normal likelihood on the log scale with censoring on either side, and its profile. Must not know measurands, visits or
arms. No bound is ever replaced by a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import log_ndtr
from scipy.stats import t

from biomarkers.timepoints.censored import Known, Limits

LARGEST_CENSORED_SHARE = 0.7
FEWEST_DETECTED = 5
"""Beyond these a geometric mean would rest on the assumed shape alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometricMean:
    """A geometric mean with its confidence limits."""

    value: float
    limits: Limits


def geometric_mean(known: Sequence[Known], level: float = 0.95) -> GeometricMean | None:
    """Return the geometric mean by maximum likelihood, the logarithms taken as normal and bounds as bounds.

    Without bounds it is the plain geometric mean with Student's limits. With bounds the limits are those of the profile
    likelihood, cut where it would be cut without bounds if only the exact values had been seen. None where an exact value is
    not above 0, where more than 70 % are bounds, or where fewer than five values are exact.
    """
    exact = np.array([one.low for one in known if one.is_exact])
    bounds = [one for one in known if not one.is_exact]
    if exact.size < FEWEST_DETECTED or len(bounds) > LARGEST_CENSORED_SHARE * len(known):
        return None
    if float(exact.min()) <= 0.0 or any(one.high <= 0.0 for one in bounds):
        return None
    low = np.array([math.log(one.low) if one.low > 0 else -math.inf for one in bounds])
    high = np.array([math.log(one.high) for one in bounds])
    sample = _LogSample(exact=np.log(exact), low=low, high=high)
    if not bounds:
        return _plain_geometric_mean(sample.exact, level)
    best = _most_likely(sample)
    if best is None:
        return None
    limits = _profile_limits(sample, best, level)
    return GeometricMean(
        value=math.exp(best.mean),
        limits=Limits(
            lower=None if limits.lower is None else math.exp(limits.lower),
            upper=None if limits.upper is None else math.exp(limits.upper),
        ),
    )


def _plain_geometric_mean(logs: NDArray[np.float64], level: float) -> GeometricMean:
    mean, error = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(logs.size)
    half = float(t.ppf(0.5 + level / 2.0, logs.size - 1)) * error
    return GeometricMean(value=math.exp(mean), limits=Limits(lower=math.exp(mean - half), upper=math.exp(mean + half)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LogSample:
    """Logarithms of exact values, and the ends of the logarithms of bounds."""

    exact: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def log_likelihood(self, mean: float, log_sd: float) -> float:
        """Of a normal distribution, but for a constant."""
        sd = math.exp(log_sd)
        scaled = (self.exact - mean) / sd
        inside = _log_between((self.low - mean) / sd, (self.high - mean) / sd)
        return float(-scaled.size * log_sd - 0.5 * float(scaled @ scaled) + float(inside.sum()))


def _log_between(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of a standard normal's probability between two ends, computed on the side where it is not lost."""
    flipped = low > 0
    under, over = np.where(flipped, -high, low), np.where(flipped, -low, high)
    whole, part = log_ndtr(over), log_ndtr(under)
    logs: NDArray[np.float64] = whole + np.log1p(-np.exp(np.minimum(part - whole, -1e-300)))
    return logs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peak:
    mean: float
    log_sd: float
    height: float


def _most_likely(sample: _LogSample) -> _Peak | None:
    """Maximise the likelihood over mean and spread; None without spread."""
    if float(sample.exact.std()) == 0.0:
        return None
    # The exact values lie too high or too low, but not by orders of magnitude: a simplex from there finds the one peak.
    start = np.array([float(sample.exact.mean()), math.log(float(sample.exact.std()))])

    def fall(at: NDArray[np.float64]) -> float:
        return -sample.log_likelihood(float(at[0]), float(at[1]))

    found = minimize(fall, start, method="Nelder-Mead", tol=1e-7)
    return _Peak(mean=float(found.x[0]), log_sd=float(found.x[1]), height=-float(found.fun))


def _profile(sample: _LogSample, mean: float, log_sd: float) -> _Peak:
    """Return the highest likelihood of a mean over all spreads, looked for about a spread that is likely."""
    # The height is flat at its peak: a spread off by 1e-4 costs about 1e-8 of it.
    found = minimize_scalar(
        lambda at: -sample.log_likelihood(mean, at),
        bounds=(log_sd - 0.5, log_sd + 2.5),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return _Peak(mean=mean, log_sd=float(found.x), height=-float(found.fun))


def _profile_limits(sample: _LogSample, best: _Peak, level: float) -> Limits:
    """Return where the profile likelihood has fallen by as much as at Student's limits of the exact values alone."""
    count = sample.exact.size
    quantile_t = float(t.ppf(0.5 + level / 2.0, count - 1))
    fall = 0.5 * count * math.log1p(quantile_t**2 / (count - 1))

    def missing(mean: float) -> float:
        return _profile(sample, mean, best.log_sd).height - best.height + fall

    step = math.exp(best.log_sd)
    ends: list[float | None] = []
    for direction in (-1.0, 1.0):
        outer = best.mean + direction * step
        for _ in range(12):
            if missing(outer) < 0:
                ends.append(float(brentq(missing, best.mean, outer, xtol=1e-5)))
                break
            outer = best.mean + 2.0 * (outer - best.mean)
        else:
            ends.append(None)
    return Limits(lower=ends[0], upper=ends[1])
