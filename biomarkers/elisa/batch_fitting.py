"""Four-parameter logistics of many plates at once, by variable projection.

At a given slope and inflection the two doses follow from a straight line in the bend of the curve, so only two parameters are
searched for; every plate of a batch takes its step in the same array operations. Knows arithmetic alone: arrays in, parameters
out. Must not know wells, levels' roles or what makes a fit acceptable.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import expit

from biomarkers.elisa.logistic import FloatArray
from biomarkers.elisa.weighting import Weights, fitted_weights, observed_weights, weight_floor

_START_SLOPES = (0.6, 1.0, 1.6, 2.5)
_START_QUANTILES = (0.2, 0.4, 0.6, 0.8, 1.0)
_BEYOND_THE_TOP = np.log(3.0)
_NO_ANALYTE = -1e300
"""Logarithm of a concentration of 0: below any other, and a finite number, so that no product with it becomes undefined."""

FIRST_DAMPING = 1e-3
_LARGEST_DAMPING = 1e10
_LARGEST_STEP = 1.5
_LARGEST_SLOPE = 50.0
_FARTHEST = 1e4
"""Nothing is looked for beyond these: a steeper curve is a step between two levels, and one whose inflection lies further from
the calibrators is a power of the concentration. Neither has parameters to speak of."""

_SETTLED = 1e-9
_STEPS = 80
_ROUNDS = 60
STEPS_A_ROUND = 2
_CHUNK = 512
"""Plates in one set of arrays: few enough for the processor's cache, enough to spread the cost of a call."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchFit:
    """Four-parameter logistics of many plates, one entry a plate.

    Attributes
    ----------
    rss
        Weighted sum of squared residuals over the points.
    settled
        Whether the descent came to rest, and weights agreed with the curve where they follow it.
    """

    zero_dose: FloatArray
    slope: FloatArray
    inflection: FloatArray
    infinite_dose: FloatArray
    rss: FloatArray
    settled: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def response(self, concentration: FloatArray) -> FloatArray:
        """Response at each concentration, one row a plate."""
        with np.errstate(divide="ignore"):
            left = expit(-self.slope[:, None] * (np.log(concentration)[None, :] - np.log(self.inflection)[:, None]))
        return np.asarray(self.infinite_dose[:, None] + (self.zero_dose - self.infinite_dose)[:, None] * left)


def fit_many(
    concentration: FloatArray, response: FloatArray, *, weights: Weights = "fitted", variance_power: float = 2.0
) -> BatchFit:
    """Fit the same calibrators on many plates.

    Parameters
    ----------
    concentration
        Nominal, one entry a well; shared by all plates.
    response
        One row a plate, one column a well; NaN where a plate has no usable reading.
    weights, variance_power
        As in :func:`biomarkers.elisa.fitting.fit`.

    Notes
    -----
    The answers equal those of single fits to the digits to which either settles. Nothing is refused here: whoever uses one of
    these curves for a specimen fits it through :func:`biomarkers.elisa.calibration.fit_calibration`.
    """
    wells = np.ascontiguousarray(response.T)
    parts = [
        _fit_chunk(concentration, wells[:, start : start + _CHUNK], weights, variance_power)
        for start in range(0, wells.shape[1], _CHUNK)
    ]
    return BatchFit(
        zero_dose=np.concatenate([part.zero_dose for part in parts]),
        slope=np.concatenate([part.slope for part in parts]),
        inflection=np.concatenate([part.inflection for part in parts]),
        infinite_dose=np.concatenate([part.infinite_dose for part in parts]),
        rss=np.concatenate([part.rss for part in parts]),
        settled=np.concatenate([part.settled for part in parts]),
    )


def _fit_chunk(concentration: FloatArray, wells: FloatArray, weights: Weights, power: float) -> BatchFit:
    known = np.isfinite(wells)
    filled = np.where(known, wells, 0.0)
    floor = weight_floor(filled)
    weight = observed_weights(filled, floor, weights) * known
    levels, index = np.unique(concentration, return_inverse=True)
    gather = (index[None, :] == np.arange(len(levels))[:, None]).astype(np.float64)
    log_x = log_levels(levels)
    # Wells of one level share their place on the curve: their weighted mean carries all that the fit can learn from them.
    level_weight = gather @ weight
    mean = (gather @ (weight * filled)) / np.where(level_weight > 0, level_weight, 1.0)
    shape = _grid_start(log_x, mean, level_weight)
    shape, settled = descend(log_x, mean, level_weight, shape, steps=_STEPS)
    if weights == "fitted":
        shape, level_weight, settled = _reweighted(log_x, mean, gather @ known, shape, floor, power)
        weight = (gather.T @ (level_weight / np.maximum(gather @ known, 1.0))) * known
    at = curves(log_x, mean, level_weight, shape)
    return BatchFit(
        zero_dose=at.zero_dose,
        slope=np.exp(shape[0]),
        inflection=np.exp(shape[1]),
        infinite_dose=at.zero_dose + at.span,
        rss=np.asarray((weight * (filled - at.fitted[index]) ** 2).sum(axis=0)),
        settled=settled,
    )


def _reweighted(  # noqa: PLR0917  - arrays of one batch, in the order of their making
    log_x: FloatArray, mean: FloatArray, counts: FloatArray, shape: FloatArray, floor: FloatArray, power: float
) -> tuple[FloatArray, FloatArray, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Alternate weights and a step of the curve until both stand still."""
    shape = shape.copy()
    still = np.zeros(mean.shape[1], dtype=bool)
    weight = counts.copy()
    moving = np.arange(mean.shape[1])
    fitted = curves(log_x, mean, counts, shape).fitted
    for _ in range(_ROUNDS):
        round_weight = counts[:, moving] * fitted_weights(fitted, floor[moving], power)
        moved, _ = descend(log_x, mean[:, moving], round_weight, shape[:, moving], steps=STEPS_A_ROUND, damping=0.0)
        previous, fitted = fitted, curves(log_x, mean[:, moving], round_weight, moved).fitted
        shape[:, moving], weight[:, moving] = moved, round_weight
        ground = np.maximum(np.abs(previous), floor[moving])
        rests = np.max(np.abs(fitted - previous) / ground, axis=0) < _SETTLED
        still[moving[rests]] = True
        moving, fitted = moving[~rests], fitted[:, ~rests]
        if not moving.size:
            break
    return shape, weight, still


def log_levels(concentration: FloatArray) -> FloatArray:
    """Logarithms of concentrations as a column; far below any other for the zero calibrator."""
    above = concentration > 0
    return np.asarray(np.where(above, np.log(np.where(above, concentration, 1.0)), _NO_ANALYTE)[:, None], dtype=np.float64)


def grid_starts(log_x: FloatArray, mean: FloatArray, weight: FloatArray, count: int) -> FloatArray:
    """Give one plate the best few points of the grid, one column a start."""
    grid = _grid(log_x[:, 0])
    gain = _explained(grid, log_x, mean, weight)[:, 0]
    return np.ascontiguousarray(grid[np.argsort(-gain, kind="stable")[:count]].T)


def _grid_start(log_x: FloatArray, mean: FloatArray, weight: FloatArray) -> FloatArray:
    """Give each plate the best point of the grid: logarithms of slope and inflection, one column a plate."""
    grid = _grid(log_x[:, 0])
    return np.ascontiguousarray(grid[np.argmax(_explained(grid, log_x, mean, weight), axis=0)].T)


def _grid(log_x: FloatArray) -> FloatArray:
    """Pairs of logarithms of slope and inflection to start from, spread over the calibrators."""
    logs = log_x[log_x > _NO_ANALYTE]
    inflections = [*np.quantile(logs, _START_QUANTILES), float(np.max(logs)) + _BEYOND_THE_TOP]
    return np.array([(np.log(slope), place) for slope, place in product(_START_SLOPES, inflections)], dtype=np.float64)


def _explained(grid: FloatArray, log_x: FloatArray, mean: FloatArray, weight: FloatArray) -> FloatArray:
    """Sum of squares that the curve of each grid point explains, the doses solved for: one row a point, one column a plate."""
    bends = expit(np.exp(grid[:, :1]) * (log_x.T - grid[:, 1:]))
    total = weight.sum(axis=0)
    pulled = weight * mean
    covered = bends @ weight
    along = bends @ pulled - covered * (pulled.sum(axis=0) / total)
    spread = (bends * bends) @ weight - covered**2 / total
    # A grid point at which all levels share one bend explains nothing.
    return np.asarray(np.where(spread > 1e-9 * total, along**2 / np.where(spread > 0, spread, 1.0), 0.0), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """The best curve of a slope and inflection: doses solved for, bends centred, residuals left."""

    bend: FloatArray
    centred: FloatArray
    weighted: FloatArray
    spread: FloatArray
    span: FloatArray
    zero_dose: FloatArray
    residual: FloatArray
    rss: FloatArray
    fitted: FloatArray


def curves(log_x: FloatArray, mean: FloatArray, weight: FloatArray, shape: FloatArray) -> Projection:
    """Solve for the doses at given logarithms of slope and inflection; arguments as in :func:`descend`."""
    total = weight.sum(axis=0)
    bend = expit(np.exp(shape[0]) * (log_x - shape[1]))
    middle = (weight * bend).sum(axis=0) / total
    level = (weight * mean).sum(axis=0) / total
    centred = bend - middle
    weighted = weight * centred
    spread = (weighted * centred).sum(axis=0)
    spread = np.where(spread > 0, spread, 1.0)  # all levels on one bend: the span stays 0
    offset = mean - level
    span = (weighted * offset).sum(axis=0) / spread
    residual = offset - span * centred
    return Projection(
        bend=bend,
        centred=centred,
        weighted=weighted,
        spread=spread,
        span=span,
        zero_dose=level - span * middle,
        residual=residual,
        rss=(weight * residual * residual).sum(axis=0),
        fitted=mean - residual,
    )


def descend(
    log_x: FloatArray, mean: FloatArray, weight: FloatArray, start: FloatArray, *, steps: int, damping: float = FIRST_DAMPING
) -> tuple[FloatArray, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Go down the weighted sum of squares in slope and inflection (Levenberg and Marquardt, Kaufman's Jacobian).

    Parameters
    ----------
    log_x
        Logarithms of the levels' concentrations, a column.
    mean, weight
        One row a level, one column a plate.
    start
        Logarithms of slope and inflection, one column a plate.

    Returns
    -------
    tuple
        The logarithms where the descent came to rest, and whether it did.
    """
    shape = start.copy()
    resting = np.zeros(mean.shape[1], dtype=bool)
    walking = np.arange(mean.shape[1])
    here, w, y = shape, weight, mean
    at = curves(log_x, y, w, here)
    damped = np.full(mean.shape[1], damping)
    lowest, highest = _region(log_x)
    for _ in range(steps):
        step = _step(log_x, w, here, at, damped)
        there = np.clip(here + step, lowest, highest)
        beyond = curves(log_x, y, w, there)
        better = beyond.rss <= at.rss * (1.0 + 1e-14)
        before, here = here, np.where(better, there, here)
        damped = np.where(better, 0.1 * damped, np.maximum(10.0 * damped, FIRST_DAMPING))
        rests = (np.abs(there - before).max(axis=0) < _SETTLED) | (damped > _LARGEST_DAMPING)
        at = beyond if better.all() else curves(log_x, y, w, here)
        shape[:, walking] = here
        resting[walking] = rests
        if rests.all():
            break
        if 2 * np.count_nonzero(rests) > len(rests):
            keep = ~rests
            walking, here, damped, w, y = walking[keep], here[:, keep], damped[keep], w[:, keep], y[:, keep]
            at = curves(log_x, y, w, here)
    return shape, resting


def _region(log_x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest logarithms of slope and inflection, as columns."""
    logs = log_x[log_x > _NO_ANALYTE]
    far, steep = np.log(_FARTHEST), np.log(_LARGEST_SLOPE)
    return np.array([[-steep], [np.min(logs) - far]]), np.array([[steep], [np.max(logs) + far]])


def _step(log_x: FloatArray, weight: FloatArray, shape: FloatArray, at: Projection, damping: FloatArray) -> FloatArray:
    """Solve the two damped normal equations of every plate."""
    bending = at.span * at.bend * (1.0 - at.bend) * np.exp(shape[0])
    total = weight.sum(axis=0)
    by_slope = _without_line(bending * (log_x - shape[1]), weight, total, at)
    by_place = _without_line(-bending, weight, total, at)
    pulled, placed = weight * by_slope, weight * by_place
    one, other = (pulled * by_slope).sum(axis=0), (placed * by_place).sum(axis=0)
    both = (pulled * by_place).sum(axis=0)
    tiny = np.finfo(np.float64).tiny
    one, other = one * (1.0 + damping) + tiny, other * (1.0 + damping) + tiny
    determinant = one * other - both * both
    determinant = np.where(determinant > 1e-14 * one * other, determinant, np.inf)  # not told apart: no step
    down, along = (pulled * at.residual).sum(axis=0), (placed * at.residual).sum(axis=0)
    step = np.stack(((other * down - both * along) / determinant, (one * along - both * down) / determinant))
    return np.asarray(np.clip(step, -_LARGEST_STEP, _LARGEST_STEP), dtype=np.float64)


def _without_line(direction: FloatArray, weight: FloatArray, total: FloatArray, at: Projection) -> FloatArray:
    """Remove from a direction what the two doses would take up."""
    direction = direction - (weight * direction).sum(axis=0) / total
    left = direction - at.centred * ((at.weighted * direction).sum(axis=0) / at.spread)
    return np.asarray(left, dtype=np.float64)
