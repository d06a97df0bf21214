"""Least squares for any smooth model: the descent, its last digits, and what the data say of the uncertainty.

Knows residuals and their derivatives as functions of parameters. Must not know curves, weights or plates: whoever weights its
residuals multiplies them, and their derivatives, by the square root of the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.optimize import least_squares

from biomarkers.elisa.logistic import FloatArray

OfParameters: TypeAlias = Callable[[FloatArray], FloatArray]

_TOLERANCE = 1e-15
_LARGEST_EVALUATIONS = 2000
_POLISHING_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """What is known of the parameters at the end of a descent.

    Attributes
    ----------
    covariance
        s2 (J'J)^-1 of the weighted Jacobian; NaN where the data do not tell the parameters apart at all.
    condition
        Condition number of the Jacobian with columns scaled to length 1; large where parameters trade off.
    """

    covariance: FloatArray
    rss: float
    residual_sd: float
    degrees_of_freedom: int
    condition: float

    def standard_errors(self) -> FloatArray:
        """Return the standard errors of the parameters."""
        return np.asarray(np.sqrt(np.diag(self.covariance)), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Minimum:
    """Where a descent ended."""

    parameters: FloatArray
    spread: Spread


def minimise(
    residual: OfParameters, jacobian: OfParameters, start: FloatArray, *, bounds: tuple[FloatArray, FloatArray] | None = None
) -> Minimum:
    """Find the parameters with the least sum of squared residuals that a descent from a start reaches.

    Parameters
    ----------
    residual
        Weighted residuals at given parameters, one a point.
    jacobian
        Their derivatives, one row a point, one column a parameter.
    bounds
        Lowest and highest value of each parameter. With bounds the descent may end at one, and is not polished.

    Notes
    -----
    A descent stops where the sum of squares no longer changes, half the digits short of where its slope is zero; full
    Gauss-Newton steps from there bring the other half.
    """
    if bounds is None:
        end = least_squares(
            residual, start, jac=jacobian, method="lm", x_scale="jac",
            xtol=_TOLERANCE, ftol=_TOLERANCE, gtol=_TOLERANCE, max_nfev=_LARGEST_EVALUATIONS,
        )  # fmt: skip
        found = _polished(np.asarray(end.x, dtype=np.float64), residual, jacobian)
    else:
        end = least_squares(
            residual, start, jac=jacobian, bounds=bounds, method="trf", x_scale="jac",
            xtol=_TOLERANCE, ftol=_TOLERANCE, gtol=_TOLERANCE, max_nfev=_LARGEST_EVALUATIONS,
        )  # fmt: skip
        found = np.asarray(end.x, dtype=np.float64)
    return Minimum(parameters=found, spread=spread(residual(found), jacobian(found)))


def spread(residual: FloatArray, jacobian: FloatArray) -> Spread:
    """Covariance of the parameters from weighted residuals and Jacobian at the minimum."""
    points, parameters = jacobian.shape
    freedom = points - parameters
    rss = float(residual @ residual)
    variance = rss / freedom
    length = np.sqrt(np.einsum("ij,ij->j", jacobian, jacobian))
    if not (np.all(np.isfinite(jacobian)) and np.all(length > 0)):
        unknown = np.full((parameters, parameters), np.nan)
        return Spread(
            covariance=unknown, rss=rss, residual_sd=variance**0.5, degrees_of_freedom=freedom, condition=float(np.inf)
        )
    # The singular values of the scaled Jacobian keep the digits that the normal equations would lose.
    _, values, directions = np.linalg.svd(jacobian / length, full_matrices=False)
    condition = float(values[0] / values[-1]) if values[-1] > 0 else float(np.inf)
    inverse = directions.T / np.maximum(values, np.finfo(np.float64).eps * values[0])
    return Spread(
        covariance=variance * (inverse @ inverse.T) / np.outer(length, length),
        rss=rss,
        residual_sd=variance**0.5,
        degrees_of_freedom=freedom,
        condition=condition,
    )


def _polished(parameters: FloatArray, residual: OfParameters, jacobian: OfParameters) -> FloatArray:
    """Take full Gauss-Newton steps from the descent's end, as long as they do not climb."""
    here = residual(parameters)
    for _ in range(_POLISHING_STEPS):
        step = np.linalg.lstsq(jacobian(parameters), -here, rcond=None)[0]
        there = residual(parameters + step)
        if not there @ there <= (1.0 + 1e-12) * (here @ here):
            break
        parameters, here = parameters + step, there
    return parameters
