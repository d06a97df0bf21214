"""What a squared residual counts for: weights from responses as measured, or as fitted.

Knows arithmetic alone. Must not know curves, wells or plates.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from biomarkers.elisa.logistic import FloatArray

Weights: TypeAlias = Literal["none", "1/y", "1/y2", "fitted"]

WEIGHT_FLOOR_FRACTION = 0.004
"""No weight treats a response as smaller than this share of the largest one: 0.01 optical density where the top reads 2.5.
Below it reader noise, not pipetting, decides, and 1/y2 would let a blank calibrator rule the curve."""


def weight_floor(response: FloatArray) -> FloatArray:
    """Smallest response that weights are computed from; of each column where there are several."""
    top = np.max(np.abs(response), axis=0)
    # Wells that all read 0 weigh alike, whatever the number.
    return np.asarray(np.where(top > 0, WEIGHT_FLOOR_FRACTION * top, 1.0), dtype=np.float64)


def observed_weights(response: FloatArray, floor: FloatArray, weights: Weights) -> FloatArray:
    """Weights that need no curve: 1, 1/response, 1/response squared; equal ones to begin with where the curve will decide."""
    if weights in ("none", "fitted"):
        return np.ones_like(response)
    floored = np.maximum(response, floor)
    return np.asarray(1.0 / floored if weights == "1/y" else 1.0 / floored**2, dtype=np.float64)


def fitted_weights(fitted: FloatArray, floor: FloatArray, power: float) -> FloatArray:
    """Weights from the fitted response raised to the power with which the variance grows."""
    return np.asarray(np.maximum(fitted, floor) ** -power, dtype=np.float64)


HUBER_BEND = 1.345
"""Standard deviations beyond which a point's pull no longer grows; keeps 95 % of the efficiency where there is no outlier."""


def robust_scale(residual: FloatArray, parameters: int) -> float:
    """Estimate a standard deviation from the median residual, the smallest ones set aside, one a parameter.

    A curve passes close to about as many points as it has parameters; counting them would make the noise look smaller.
    """
    left = np.sort(np.abs(residual))[parameters:] if len(residual) > parameters else np.abs(residual)
    return float(np.median(left) / 0.6744897501960817)  # the median of |z| for a normal z


def huber_pull(residual: FloatArray, parameters: int) -> FloatArray:
    """Share of its pull that each standardised residual is left."""
    bend = HUBER_BEND * robust_scale(residual, parameters)
    return np.asarray(np.minimum(1.0, bend / np.maximum(np.abs(residual), np.finfo(np.float64).tiny)), dtype=np.float64)


def huber_inflation(pull: FloatArray, parameters: int) -> float:
    """Factor on the covariance of winsorised residuals (Huber 1981, Robust Statistics, section 7.6)."""
    free = float(np.mean(pull >= 1.0))
    if free <= 0:
        return float(np.inf)
    return (1.0 + parameters / len(pull) * (1.0 - free) / free) ** 2 / free**2
