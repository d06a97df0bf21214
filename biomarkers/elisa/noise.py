"""How a well's noise grows with its response, and how sure one plate's calibrators can be of it.

Knows variances of responses on the scale of the fit. Must not know concentrations, wells or files.

The noise of a well has two parts: one in proportion to the response, from pipetting and washing, and a constant one, from the
reader and the plastic. Weights of 1/fitted squared know only the first. At the low end of a sandwich curve the second is the
larger one, and intervals that leave it out are too narrow there and too wide elsewhere. How both are learnt from a plate is the
business of :mod:`biomarkers.elisa.noise_learning`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import digamma, polygamma
from scipy.stats import t as t_distribution

from biomarkers.elisa.logistic import FloatArray

_FREEDOMS = np.geomspace(0.5, 5000.0, 600)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """What is believed of the noise of one plate's wells, over a grid of powers and crossovers.

    Attributes
    ----------
    floor
        Smallest response the growing part tells apart.
    power
        Powers of the response with which the growing part of the variance grows: 2 where it is in proportion. One entry a grid
        point, like all that follow.
    crossover
        Responses at which both parts are equal; 0 where there is no constant part.
    chance
        Belief in each; they sum to 1.
    log_scale, log_scale_square
        Expected logarithm of the scale, and of its square, at each: the scale times ``response**power + crossover**power`` is
        the variance of a well.
    covariance
        Of the curve's parameters at each, for a scale of 1; shape (grid, parameters, parameters).
    degrees_of_freedom
        Where the crossover is given, Student's degrees of freedom for the scale; None where it is only believed.
    """

    floor: float
    power: FloatArray
    crossover: FloatArray
    chance: FloatArray
    log_scale: FloatArray
    log_scale_square: FloatArray
    covariance: FloatArray
    degrees_of_freedom: int | None

    def half_width(self, response: FloatArray, jacobian: FloatArray, replicates: FloatArray, confidence: float) -> FloatArray:
        """Half the width of the band around the curve that holds a new mean of some wells with the given confidence.

        Parameters
        ----------
        response
            Where the curve is, before any logarithm.
        jacobian
            Derivatives of the scaled response by the parameters there, one row a place.
        replicates
            Wells behind the new mean, at each place.
        """
        relative = self._well(response) / replicates[:, None] + self._curve(jacobian)
        logs = np.log(np.maximum(relative, np.finfo(np.float64).tiny))
        if self.degrees_of_freedom is not None:
            exact = _t_quantile(0.5 + confidence / 2, self.degrees_of_freedom)
            return np.asarray(exact * np.exp(0.5 * (logs[:, 0] + self.log_scale[0])), dtype=np.float64)
        # The variance is believed to be scaled inverse chi-squared; mean and variance of its logarithm say with how many
        # degrees of freedom and around which value.
        mean = _rows(logs, self.chance) + self.chance @ self.log_scale
        cross = _rows(logs, self.chance * self.log_scale)
        square = _rows(logs * logs, self.chance) + 2.0 * cross + self.chance @ self.log_scale_square
        freedom = np.interp(-np.maximum(square - mean**2, 1e-9), *_freedom_table())
        centre = mean - np.log(freedom / 2.0) + digamma(freedom / 2.0)
        t = np.interp(np.log(freedom), np.log(_FREEDOMS), _t_table(0.5 + confidence / 2))
        return np.asarray(t * np.exp(0.5 * centre), dtype=np.float64)

    def well_variance(self, response: FloatArray) -> FloatArray:
        """Variance of a single well where the curve gives that response, averaged over what is believed."""
        return np.asarray(self._well(response) @ (self.chance * np.exp(self.log_scale)), dtype=np.float64)

    def curve_variance(self, jacobian: FloatArray) -> FloatArray:
        """Variance of the curve itself, averaged over what is believed."""
        return np.asarray(self._curve(jacobian) @ (self.chance * np.exp(self.log_scale)), dtype=np.float64)

    @property
    def proportional_sd(self) -> float:
        """Standard deviation of a well whose response is 1, less the constant part: for power 2 a coefficient of variation."""
        return float(np.sqrt(self.chance @ np.exp(self.log_scale)))

    @property
    def constant_sd(self) -> float:
        """Standard deviation of a well that hardly responds."""
        return float(np.sqrt((self.chance * np.exp(self.log_scale)) @ constant_part(self.power, self.crossover)))

    def _well(self, response: FloatArray) -> FloatArray:
        return variance_shape(response, self.floor, self.power, self.crossover)

    def _curve(self, jacobian: FloatArray) -> FloatArray:
        points, parameters = jacobian.shape
        squares = (jacobian[:, :, None] * jacobian[:, None, :]).reshape(points, parameters * parameters)
        covariance = self.covariance.reshape(-1, parameters * parameters)
        return np.asarray(np.einsum("np,kp->nk", squares, covariance), dtype=np.float64)


def _rows(table: FloatArray, by: FloatArray) -> FloatArray:
    """Each row's product with a vector; unlike a library's matrix product it does not depend on the other rows by a digit."""
    return np.asarray(np.einsum("nk,k->n", table, by), dtype=np.float64)


def constant_part(power: FloatArray, crossover: FloatArray) -> FloatArray:
    """Constant part of a well's variance for a scale of 1; none where the variance does not grow at all."""
    return np.asarray(np.where(power > 0, crossover**power, 0.0), dtype=np.float64)


def variance_shape(response: FloatArray, floor: float, power: FloatArray, crossover: FloatArray) -> FloatArray:
    """Variance of a well for a scale of 1: one row a response, one column a power with its crossover."""
    height = np.maximum(response, floor)
    different, which = np.unique(power, return_inverse=True)
    growing = np.stack([height**one for one in different], axis=1)
    return np.asarray(growing[:, which] + constant_part(power, crossover), dtype=np.float64)


def supposed_noise(*, scale: float, power: float, floor: float, covariance: FloatArray, degrees_of_freedom: int) -> Noise:
    """Noise exactly as the weights suppose it: without a constant part, its scale from the weighted residuals.

    Parameters
    ----------
    scale
        Variance of a single well whose response is 1.
    covariance
        Of the curve's parameters, as reported with the fit.
    """
    return Noise(
        floor=floor,
        power=np.array([power]),
        crossover=np.zeros(1),
        chance=np.ones(1),
        log_scale=np.log(np.maximum([scale], np.finfo(np.float64).tiny)),
        log_scale_square=np.zeros(1),
        covariance=covariance[None] / max(scale, float(np.finfo(np.float64).tiny)),
        degrees_of_freedom=degrees_of_freedom,
    )


@cache
def _freedom_table() -> tuple[FloatArray, FloatArray]:
    """Degrees of freedom by (minus) the variance of the logarithm of a scaled inverse chi-squared."""
    return -np.asarray(polygamma(1, _FREEDOMS / 2.0), dtype=np.float64), _FREEDOMS


@cache
def _t_table(probability: float) -> FloatArray:
    return np.asarray(t_distribution.ppf(probability, _FREEDOMS), dtype=np.float64)


@cache
def _t_quantile(probability: float, freedom: int) -> float:
    return float(t_distribution.ppf(probability, freedom))
