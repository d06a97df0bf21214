"""How the variance of replicate wells grows with their mean, learnt over many plates.

Knows replicate groups as mean, variance and degrees of freedom. Must not know curves, plates or files. One plate cannot tell a
power from another, or where reader noise takes over from pipetting; replicates of some twenty plates can. What is found here is
declared for the analyte before study plates are run (``variance_power``, ``noise_crossover``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from biomarkers.elisa.logistic import FloatArray
from biomarkers.errors import AssayError
from biomarkers.results import Interval

FEWEST_DEGREES_OF_FREEDOM = 60
"""Some ten plates' calibrators in duplicate; below, a power is known to no better than 0.3 either way."""

_HALF_WIDTH_95 = 1.92
"""Half the 95 % quantile of chi-squared with one degree of freedom: how far the log likelihood falls within an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicateGroup:
    """Replicate wells of one slot on one plate: mean response, variance, degrees of freedom (wells less one)."""

    mean: float
    variance: float
    degrees_of_freedom: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariancePower:
    """Variance = scale times mean to the power, with the interval within which the power lies 95 times in 100."""

    power: float
    interval: Interval
    scale: float
    degrees_of_freedom: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseCrossover:
    """Variance = scale times (mean squared plus crossover squared), with the crossover's 95 % interval.

    ``cv_percent`` is that of wells far above the crossover, ``constant_sd`` that of wells far below.
    """

    crossover: float
    interval: Interval
    cv_percent: float
    constant_sd: float
    degrees_of_freedom: int


def replicate_group(responses: Sequence[float]) -> ReplicateGroup | None:
    """Summarise replicate wells; None for fewer than two."""
    if len(responses) < 2:
        return None
    values = np.array(responses, dtype=np.float64)
    return ReplicateGroup(
        mean=float(np.mean(values)), variance=float(np.var(values, ddof=1)), degrees_of_freedom=len(values) - 1
    )


def estimate_variance_power(groups: Sequence[ReplicateGroup]) -> VariancePower:
    """Estimate the power of the mean with which the variance grows (maximum likelihood of scaled chi-squared variances).

    Groups whose mean is not above 0 are left out: a power says nothing there.

    Raises
    ------
    AssayError
        The groups have fewer than :data:`FEWEST_DEGREES_OF_FREEDOM` degrees of freedom, or all have one mean.
    """
    mean, variance, freedom = _arrays([group for group in groups if group.mean > 0])
    logs = np.log(mean)
    if np.ptp(logs) < np.log(2.0):
        raise AssayError(
            what="The replicates' means span less than a factor of two; no power can be told from them.",
            remedy="Pool plates over the whole range of the calibrators.",
        )

    def deviance(power: float) -> float:
        return _deviance(power * logs, variance, freedom)

    best = float(minimize_scalar(deviance, bounds=(-1.0, 5.0), method="bounded", options={"xatol": 1e-8}).x)
    scale = float(np.sum(freedom * variance / mean**best) / np.sum(freedom))
    return VariancePower(
        power=best,
        interval=_profile(deviance, best, np.linspace(-1.0, 5.0, 1201)),
        scale=scale,
        degrees_of_freedom=int(np.sum(freedom)),
    )


def estimate_noise_crossover(groups: Sequence[ReplicateGroup]) -> NoiseCrossover:
    """Estimate where the constant part of the variance equals the proportional one.

    Raises
    ------
    AssayError
        The groups have fewer than :data:`FEWEST_DEGREES_OF_FREEDOM` degrees of freedom.
    """
    mean, variance, freedom = _arrays(groups)
    top = float(np.max(np.abs(mean)))

    def deviance(log_crossover: float) -> float:
        return _deviance(np.log(mean**2 + np.exp(2.0 * log_crossover)), variance, freedom)

    low, high = np.log(1e-4 * top), np.log(10.0 * top)
    start = np.linspace(low, high, 41)
    nearest = start[int(np.argmin([deviance(float(one)) for one in start]))]
    step = start[1] - start[0]
    best = float(
        minimize_scalar(deviance, bounds=(nearest - step, nearest + step), method="bounded", options={"xatol": 1e-8}).x
    )
    around = _profile(deviance, best, np.linspace(low, high, 1201))
    crossover = float(np.exp(best))
    scale = float(np.sum(freedom * variance / (mean**2 + crossover**2)) / np.sum(freedom))
    return NoiseCrossover(
        crossover=crossover,
        interval=Interval(
            lower=0.0 if around.lower is None else float(np.exp(around.lower)),
            upper=None if around.upper is None else float(np.exp(around.upper)),
        ),
        cv_percent=100.0 * scale**0.5,
        constant_sd=scale**0.5 * crossover,
        degrees_of_freedom=int(np.sum(freedom)),
    )


def _arrays(groups: Sequence[ReplicateGroup]) -> tuple[FloatArray, FloatArray, FloatArray]:
    freedom = np.array([group.degrees_of_freedom for group in groups], dtype=np.float64)
    if np.sum(freedom) < FEWEST_DEGREES_OF_FREEDOM:
        raise AssayError(
            what=f"{np.sum(freedom):.0f} degrees of freedom are too few to learn the noise from.",
            remedy=f"Pool the replicates of more plates, until there are {FEWEST_DEGREES_OF_FREEDOM}.",
        )
    mean = np.array([group.mean for group in groups], dtype=np.float64)
    variance = np.array([group.variance for group in groups], dtype=np.float64)
    return mean, variance, freedom


def _deviance(log_shape: FloatArray, variance: FloatArray, freedom: FloatArray) -> float:
    """Minus the log likelihood at the best scale, up to a constant; equal readings have variance 0, which is no trouble."""
    total = float(np.sum(freedom))
    scale = float(np.sum(freedom * variance * np.exp(-log_shape))) / total
    return 0.5 * (float(freedom @ log_shape) + total * float(np.log(max(scale, np.finfo(np.float64).tiny))))


def _profile(deviance: Callable[[float], float], best: float, grid: FloatArray) -> Interval:
    """Profile likelihood interval; a side the grid does not close is None."""
    limit = deviance(best) + _HALF_WIDTH_95
    inside = [float(one) for one in grid if deviance(float(one)) <= limit] or [best]
    lower, upper = min(*inside, best), max(*inside, best)
    return Interval(
        lower=None if lower <= float(grid[0]) else lower,
        upper=None if upper >= float(grid[-1]) else upper,
    )
