"""Weighted least squares for the calibration curves: starting values, the descent, and the covariance at its end.

Knows arithmetic alone: arrays in, a curve out. Must not know wells, levels, limits or what makes a curve acceptable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from biomarkers.elisa.logistic import Curve, FivePL, FloatArray, FourPL, LogLogLine, StraightLine

CurveModel: TypeAlias = Literal["4pl", "5pl", "linear", "loglog"]
Weights: TypeAlias = Literal["none", "1/y", "1/y2", "fitted"]

ASYMMETRY_BOUNDS = (0.1, 10.0)
"""Outside these the fifth parameter only trades against slope and inflection; eight levels cannot tell the difference."""

WEIGHT_FLOOR_FRACTION = 0.004
"""No weight treats a response as smaller than this share of the largest one: 0.01 optical density where the top reads 2.5.
Below it reader noise, not pipetting, decides, and 1/y2 would let a blank calibrator rule the curve."""

_START_SLOPES = (0.6, 1.0, 1.6, 2.5)
_START_QUANTILES = (0.2, 0.4, 0.6, 0.8, 1.0)
_STARTS_FOLLOWED = 3
_ROUNDS = 60
_SETTLED = 1e-10
_TOLERANCE = 1e-15
_POLISHING_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A curve with what is known of its uncertainty.

    Attributes
    ----------
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
    covariance: FloatArray
    rss: float
    residual_sd: float
    degrees_of_freedom: int
    condition: float
    settled: bool


def fit(concentration: FloatArray, response: FloatArray, *, model: CurveModel, weights: Weights) -> Fit:
    """Fit a curve by weighted least squares.

    Parameters
    ----------
    concentration, response
        One entry a point; responses as measured. There must be more points than parameters.
    weights
        What multiplies the squared residuals: 1, 1/response, 1/response squared, or 1/fitted squared, iterated until curve and
        weights agree. On the log-log scale equal weights already treat errors as relative, and "fitted" means those.

    Notes
    -----
    The fitted response, not the observed one, is used in "fitted" because a well that happens to read low would otherwise count
    for more than its neighbour that reads high, and pull the whole curve down.
    """
    shape = _SHAPES[model]
    settled = True
    weight = _fixed_weights(response, weights)
    curve = shape(concentration, response, weight, None)
    if weights == "fitted" and model != "loglog":
        curve, weight, settled = _reweighted(shape, concentration, response, curve)
    return _described(curve, concentration, response, weight, settled=settled)


def weight_floor(response: FloatArray) -> float:
    """Smallest response that weights are computed from, see :data:`WEIGHT_FLOOR_FRACTION`."""
    return WEIGHT_FLOOR_FRACTION * float(np.max(np.abs(response)))


def _fixed_weights(response: FloatArray, weights: Weights) -> FloatArray:
    floored = np.maximum(response, weight_floor(response))
    if weights == "1/y":
        return 1.0 / floored
    if weights == "1/y2":
        return 1.0 / floored**2
    return np.ones_like(response)


_Shape: TypeAlias = Callable[[FloatArray, FloatArray, FloatArray, Curve | None], Curve]


def _reweighted(shape: _Shape, concentration: FloatArray, response: FloatArray, curve: Curve) -> tuple[Curve, FloatArray, bool]:
    """Alternate curve and weights until the fitted responses stand still."""
    floor = weight_floor(response)
    fitted = np.maximum(curve.response(concentration), floor)
    for _ in range(_ROUNDS):
        curve = shape(concentration, response, 1.0 / fitted**2, curve)
        previous, fitted = fitted, np.maximum(curve.response(concentration), floor)
        if np.max(np.abs(fitted / previous - 1.0)) < _SETTLED:
            break
    moved = float(np.max(np.abs(fitted / previous - 1.0)))
    return curve, 1.0 / fitted**2, moved < 1e-4


def _described(curve: Curve, concentration: FloatArray, response: FloatArray, weight: FloatArray, *, settled: bool) -> Fit:
    root = np.sqrt(weight)
    residual = root * (curve.scale(response) - curve.scale(curve.response(concentration)))
    jacobian = root[:, None] * curve.jacobian(concentration)
    freedom = len(response) - len(curve.names)
    rss = float(residual @ residual)
    variance = rss / freedom
    length = np.linalg.norm(jacobian, axis=0)
    if not (np.all(np.isfinite(jacobian)) and np.all(length > 0)):
        unknown = np.full((len(curve.names), len(curve.names)), np.nan)
        condition, covariance = float(np.inf), unknown
    else:
        # The QR factor of the scaled Jacobian keeps the digits that the normal equations would lose.
        triangle = np.linalg.qr(jacobian / length, mode="r")
        condition = float(np.linalg.cond(triangle))
        inverse = np.linalg.pinv(triangle)
        covariance = variance * (inverse @ inverse.T) / np.outer(length, length)
    return Fit(
        curve=curve,
        covariance=covariance,
        rss=rss,
        residual_sd=float(np.sqrt(variance)),
        degrees_of_freedom=freedom,
        condition=condition,
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
    begins = [_encoded(start)] if isinstance(start, FourPL) else _starts(concentration, response, weight)
    return _four_from(_best(concentration, response, weight, begins, _four_from, asymmetric=False))


def _five_pl(concentration: FloatArray, response: FloatArray, weight: FloatArray, start: Curve | None) -> FivePL:
    if isinstance(start, FivePL):
        begins = [_encoded(start)]
    else:
        # Every good symmetric start, bent either way: the sum of squares of a 5PL has several hollows.
        bends = np.log((0.4, 1.0, 2.5))
        begins = [np.append(begin, bend) for begin, bend in product(_starts(concentration, response, weight), bends)]
    return _five_from(_best(concentration, response, weight, begins, _five_from, asymmetric=True))


def _encoded(curve: FourPL | FivePL) -> FloatArray:
    values = [curve.zero_dose, np.log(curve.slope), np.log(curve.inflection), curve.infinite_dose]
    if isinstance(curve, FivePL):
        values.append(float(np.clip(np.log(curve.asymmetry), *(0.999 * np.log(ASYMMETRY_BOUNDS)))))
    return np.array(values, dtype=np.float64)


# Slope and inflection are kept apart from 0 and from overflow by their logarithms' range; no assay comes near it.
_LARGEST_LOGARITHM = 230.0


def _positive(logarithm: float) -> float:
    return float(np.exp(np.clip(logarithm, -_LARGEST_LOGARITHM, _LARGEST_LOGARITHM)))


def _four_from(theta: FloatArray) -> FourPL:
    return FourPL(
        zero_dose=float(theta[0]),
        slope=_positive(theta[1]),
        inflection=_positive(theta[2]),
        infinite_dose=float(theta[3]),
    )


def _five_from(theta: FloatArray) -> FivePL:
    return FivePL(
        zero_dose=float(theta[0]),
        slope=_positive(theta[1]),
        inflection=_positive(theta[2]),
        infinite_dose=float(theta[3]),
        asymmetry=_positive(theta[4]),
    )


def _starts(concentration: FloatArray, response: FloatArray, weight: FloatArray) -> list[FloatArray]:
    """Best points of a grid over slope and inflection, the two doses solved exactly at each."""
    logs = np.log(concentration[concentration > 0])
    inflections = [*np.quantile(logs, _START_QUANTILES), float(np.max(logs)) + np.log(3.0)]
    with np.errstate(divide="ignore"):
        all_logs = np.log(concentration)
    found: list[tuple[float, FloatArray]] = []
    root = np.sqrt(weight)
    for slope, inflection in product(_START_SLOPES, inflections):
        left = expit(-slope * (all_logs - inflection))
        design = root[:, None] * np.column_stack((left, 1.0 - left))
        doses = np.linalg.lstsq(design, root * response, rcond=None)[0]
        misfit = float(np.sum((design @ doses - root * response) ** 2))
        found.append((misfit, np.array([doses[0], np.log(slope), inflection, doses[1]], dtype=np.float64)))
    found.sort(key=lambda start: start[0])
    return [theta for _, theta in found[:_STARTS_FOLLOWED]]


def _best(
    concentration: FloatArray,
    response: FloatArray,
    weight: FloatArray,
    begins: list[FloatArray],
    curve_from: Callable[[FloatArray], FourPL | FivePL],
    *,
    asymmetric: bool,
) -> FloatArray:
    """Descend from every start and keep the lowest end."""
    root = np.sqrt(weight)

    def residual(theta: FloatArray) -> FloatArray:
        return root * (curve_from(theta).response(concentration) - response)

    def jacobian(theta: FloatArray) -> FloatArray:
        curve = curve_from(theta)
        columns = root[:, None] * curve.jacobian(concentration)
        columns[:, 1] *= curve.slope
        columns[:, 2] *= curve.inflection
        if isinstance(curve, FivePL):
            columns[:, 4] *= curve.asymmetry
        return columns

    lower, upper = np.log(ASYMMETRY_BOUNDS)
    ends: list[tuple[float, FloatArray]] = []
    for begin in begins:
        if asymmetric:
            bounds = ([-np.inf] * 4 + [lower], [np.inf] * 4 + [upper])
            end = least_squares(
                residual, begin, jac=jacobian, bounds=bounds, method="trf", x_scale="jac",
                xtol=_TOLERANCE, ftol=_TOLERANCE, gtol=_TOLERANCE, max_nfev=2000,
            )  # fmt: skip
        else:
            end = least_squares(
                residual, begin, jac=jacobian, method="lm", x_scale="jac",
                xtol=_TOLERANCE, ftol=_TOLERANCE, gtol=_TOLERANCE, max_nfev=2000,
            )  # fmt: skip
        ends.append((float(end.cost), np.asarray(end.x, dtype=np.float64)))
    lowest = min(ends, key=lambda end: end[0])[1]
    return lowest if asymmetric else _polished(lowest, residual, jacobian)


def _polished(
    theta: FloatArray, residual: Callable[[FloatArray], FloatArray], jacobian: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Take full Gauss-Newton steps from the descent's end.

    The descent stops where the sum of squares no longer changes, half the digits short of where its slope is zero.
    """
    for _ in range(_POLISHING_STEPS):
        here = residual(theta)
        step = np.linalg.lstsq(jacobian(theta), -here, rcond=None)[0]
        there = residual(theta + step)
        if not there @ there <= (1.0 + 1e-12) * (here @ here):
            break
        theta = theta + step
    return theta


_SHAPES: dict[CurveModel, _Shape] = {
    "4pl": _four_pl,
    "5pl": _five_pl,
    "linear": _straight_line,
    "loglog": _log_log_line,
}
