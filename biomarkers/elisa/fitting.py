"""Weighted least squares for the calibration curves: starting values, the descent, and the covariance at its end.

Knows arithmetic alone: arrays in, a curve out. Must not know wells, levels, limits or what makes a curve acceptable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from biomarkers.elisa import batch_fitting
from biomarkers.elisa.least_squares import Minimum, minimise, spread
from biomarkers.elisa.logistic import Curve, FivePL, FloatArray, FourPL, LogLogLine, StraightLine
from biomarkers.elisa.weighting import (
    WEIGHT_FLOOR_FRACTION,
    Weights,
    fitted_weights,
    huber_inflation,
    huber_pull,
    observed_weights,
    robust_scale,
    weight_floor,
)

__all__ = ["ASYMMETRY_BOUNDS", "WEIGHT_FLOOR_FRACTION", "CurveModel", "Fit", "Weights", "fit", "weight_floor"]

CurveModel: TypeAlias = Literal["4pl", "5pl", "linear", "loglog"]

ASYMMETRY_BOUNDS = (0.1, 10.0)
"""Outside these the fifth parameter only trades against slope and inflection; eight levels cannot tell the difference."""

_STARTS_FOLLOWED = 3
_STEPS = 100
_BENDS = (0.4, 1.0, 2.5)
_ROUNDS = 120
_SWINGING_AFTER = 20
_SETTLED = 1e-10
_AGREED = 1e-4
_LARGEST_LOGARITHM = 230.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A curve with what is known of its uncertainty.

    Attributes
    ----------
    weight
        What each point's squared residual counted for in the end.
    pull
        Share of its pull that a point was left, 1 unless the fit is robust and the point lies far out.
    covariance
        s2 (J'WJ)^-1, parameters in the order of ``curve.names``; not finite where the data do not tell the parameters apart.
    rss
        Weighted sum of squared residuals.
    condition
        Condition number of the weighted Jacobian with columns scaled to length 1; large where parameters trade off.
    settled
        Whether weights and curve agreed with each other in the end.
    """

    curve: Curve
    weight: FloatArray
    pull: FloatArray
    covariance: FloatArray
    rss: float
    residual_sd: float
    degrees_of_freedom: int
    condition: float
    settled: bool


def fit(
    concentration: FloatArray,
    response: FloatArray,
    *,
    model: CurveModel,
    weights: Weights,
    variance_power: float = 2.0,
    robust: bool = False,
) -> Fit:
    """Fit a curve by weighted least squares.

    Parameters
    ----------
    concentration, response
        One entry a point; responses as measured. There must be more points than parameters.
    weights
        What multiplies the squared residuals: 1, 1/response, 1/response squared, or a power of the fitted response, iterated
        until curve and weights agree. On the log-log scale equal weights already treat errors as relative, and "fitted" means
        those.
    variance_power
        For "fitted": the power of the response with which a well's variance grows; 2 where the coefficient of variation is the
        same everywhere.
    robust
        Let points farther out than 1.345 standard deviations pull as if they lay there (Huber). The standard deviation comes
        from the median residual then, and the covariance is Huber's.

    Notes
    -----
    The fitted response, not the observed one, is used in "fitted" because a well that happens to read low would otherwise count
    for more than its neighbour that reads high, and pull the whole curve down.
    """
    shape = _SHAPES[model]
    ground = weight_floor(response)
    given = observed_weights(response, ground, weights)
    follows = weights == "fitted" and model != "loglog"

    def weigh(curve: Curve) -> _Weighed:
        by_response = fitted_weights(curve.response(concentration), ground, variance_power) if follows else given
        if not robust:
            return _Weighed(by_response=by_response, pull=np.ones_like(response))
        standardised = np.sqrt(by_response) * _residual(curve, concentration, response)
        return _Weighed(by_response=by_response, pull=huber_pull(standardised, len(curve.names)))

    curve = shape(concentration, response, given, None)
    settled = True
    if follows or robust:
        curve, settled = _reweighted(shape, concentration, response, curve, weigh)
    return _described(curve, concentration, response, weigh(curve), robust=robust, settled=settled)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Weighed:
    """Weights by the noise supposed at each response, and the share of its pull that an outlying point is left."""

    by_response: FloatArray
    pull: FloatArray

    @property
    def weight(self) -> FloatArray:
        return self.by_response * self.pull


_Shape: TypeAlias = Callable[[FloatArray, FloatArray, FloatArray, Curve | None], Curve]


def _residual(curve: Curve, concentration: FloatArray, response: FloatArray) -> FloatArray:
    return curve.scale(response) - curve.scale(curve.response(concentration))


def _reweighted(
    shape: _Shape, concentration: FloatArray, response: FloatArray, curve: Curve, weigh: Callable[[Curve], _Weighed]
) -> tuple[Curve, bool]:
    """Alternate curve and weights until the fitted responses stand still."""
    fitted = curve.response(concentration)
    ground = weight_floor(response)
    moved = np.inf
    weight = weigh(curve).weight
    for number in range(_ROUNDS):
        new = weigh(curve).weight
        # Where the shape does not suit the points, weights may swing between two sides; ever smaller steps bring them to rest.
        share = min(1.0, _SWINGING_AFTER / (2.0 * number + 1.0))
        weight = weight ** (1.0 - share) * new**share if share < 1.0 else new
        curve = shape(concentration, response, weight, curve)
        previous, fitted = fitted, curve.response(concentration)
        moved = float(np.max(np.abs(fitted - previous) / np.maximum(np.abs(previous), ground)))
        if moved < _SETTLED:
            break
    return curve, moved < _AGREED


def _described(
    curve: Curve, concentration: FloatArray, response: FloatArray, weighed: _Weighed, *, robust: bool, settled: bool
) -> Fit:
    residual = _residual(curve, concentration, response)
    root = np.sqrt(weighed.by_response)
    found = spread(root * weighed.pull * residual, root[:, None] * curve.jacobian(concentration))
    scale, covariance = found.residual_sd, found.covariance
    if robust:
        scale = robust_scale(root * residual, len(curve.names))
        covariance = covariance * huber_inflation(weighed.pull, len(curve.names))
    return Fit(
        curve=curve,
        weight=weighed.weight,
        pull=weighed.pull,
        covariance=covariance,
        rss=float(np.sum(weighed.weight * residual**2)),
        residual_sd=scale,
        degrees_of_freedom=found.degrees_of_freedom,
        condition=found.condition,
        settled=settled,
    )


def _straight_line(concentration: FloatArray, response: FloatArray, weight: FloatArray, _start: Curve | None) -> StraightLine:
    slope, intercept = _weighted_line(concentration, response, weight)
    return StraightLine(slope=slope, intercept=intercept)


def _log_log_line(concentration: FloatArray, response: FloatArray, weight: FloatArray, _start: Curve | None) -> LogLogLine:
    slope, intercept = _weighted_line(np.log10(concentration), np.log10(response), weight)
    return LogLogLine(slope=slope, intercept=intercept)


def _weighted_line(x: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[float, float]:
    # Centred on the weighted means, so that no large intercept cancels digits.
    x_mean, y_mean = float(np.average(x, weights=weight)), float(np.average(y, weights=weight))
    slope = float(np.sum(weight * (x - x_mean) * (y - y_mean)) / np.sum(weight * (x - x_mean) ** 2))
    return slope, y_mean - slope * x_mean


def _four_pl(concentration: FloatArray, response: FloatArray, weight: FloatArray, start: Curve | None) -> FourPL:
    """Descend in slope and inflection alone, the doses solved for at each step."""
    log_x = batch_fitting.log_levels(concentration)
    steps, damping = _STEPS, batch_fitting.FIRST_DAMPING
    if isinstance(start, FourPL):
        # Weights follow the curve and the curve its weights: a step or two a round are enough, the rounds settle both.
        begins, steps, damping = np.log(np.array([[start.slope], [start.inflection]])), batch_fitting.STEPS_A_ROUND, 0.0
    else:
        begins = batch_fitting.grid_starts(log_x, response[:, None], weight[:, None], _STARTS_FOLLOWED)
    together = (
        log_x,
        np.repeat(response[:, None], begins.shape[1], axis=1),
        np.repeat(weight[:, None], begins.shape[1], axis=1),
    )
    ends, _ = batch_fitting.descend(*together, begins, steps=steps, damping=damping)
    found = batch_fitting.curves(*together, ends)
    best = int(np.argmin(found.rss))
    return FourPL(
        zero_dose=float(found.zero_dose[best]),
        slope=float(np.exp(ends[0, best])),
        inflection=float(np.exp(ends[1, best])),
        infinite_dose=float(found.zero_dose[best] + found.span[best]),
    )


def _five_pl(concentration: FloatArray, response: FloatArray, weight: FloatArray, start: Curve | None) -> FivePL:
    if isinstance(start, FivePL):
        begins: Sequence[FloatArray] = [_encoded(start)]
    else:
        # The symmetric curve, bent either way: the sum of squares of a 5PL has several hollows.
        symmetric = _four_pl(concentration, response, weight, None)
        begins = [_bent(symmetric, bend) for bend in _BENDS]
    root = np.sqrt(weight)

    def residual(theta: FloatArray) -> FloatArray:
        return root * (_five_from(theta).response(concentration) - response)

    def jacobian(theta: FloatArray) -> FloatArray:
        curve = _five_from(theta)
        columns = root[:, None] * curve.jacobian(concentration)
        columns[:, 1] *= curve.slope
        columns[:, 2] *= curve.inflection
        columns[:, 4] *= curve.asymmetry
        return columns

    free = np.full(4, np.inf)
    bounds = (np.append(-free, np.log(ASYMMETRY_BOUNDS[0])), np.append(free, np.log(ASYMMETRY_BOUNDS[1])))
    ends: list[Minimum] = [minimise(residual, jacobian, begin, bounds=bounds) for begin in begins]
    return _five_from(min(ends, key=lambda end: end.spread.rss).parameters)


def _bent(curve: FourPL, asymmetry: float) -> FloatArray:
    """Bend a symmetric curve; the inflection moves so that the response halfway stays where it was."""
    shift = np.log(np.expm1(np.log(2.0) / asymmetry)) / curve.slope
    values = [curve.zero_dose, np.log(curve.slope), np.log(curve.inflection) - shift, curve.infinite_dose, np.log(asymmetry)]
    return np.array(values, dtype=np.float64)


def _encoded(curve: FivePL) -> FloatArray:
    bend = float(np.clip(np.log(curve.asymmetry), *(0.999 * np.log(ASYMMETRY_BOUNDS))))
    values = [curve.zero_dose, np.log(curve.slope), np.log(curve.inflection), curve.infinite_dose, bend]
    return np.array(values, dtype=np.float64)


def _five_from(theta: FloatArray) -> FivePL:
    return FivePL(
        zero_dose=float(theta[0]),
        slope=_positive(theta[1]),
        inflection=_positive(theta[2]),
        infinite_dose=float(theta[3]),
        asymmetry=_positive(theta[4]),
    )


def _positive(logarithm: float) -> float:
    """Keep slope and inflection apart from 0 and from overflow; no assay comes near that range."""
    return float(np.exp(np.clip(logarithm, -_LARGEST_LOGARITHM, _LARGEST_LOGARITHM)))


_SHAPES: dict[CurveModel, _Shape] = {
    "4pl": _four_pl,
    "5pl": _five_pl,
    "linear": _straight_line,
    "loglog": _log_log_line,
}
