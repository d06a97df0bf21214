"""How a well's noise grows with its response, and how sure one plate's calibrators can be of it.

Knows variances of responses on the scale of the fit. Must not know concentrations, wells or files.

The noise of a well has two parts: one in proportion to the response, from pipetting and washing, and a constant one, from the
reader and the plastic. Weights of 1/fitted squared know only the first. At the low end of a sandwich curve the second is the
larger one, and intervals that leave it out are too narrow there and too wide elsewhere. Some sixteen wells cannot tell the
parts apart, so what readers are known to do is brought in as a prior, and the doubt that remains widens the intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import digamma, polygamma
from scipy.stats import t as t_distribution

from biomarkers.elisa.logistic import FloatArray

USUAL_CONSTANT_SHARE = 0.0016
"""Constant noise of a well as a share of the plate's largest response: 0.004 to 0.006 optical density of reader and plastic
where the top reads 2.5 to 3.5, an assumption. The zero
calibrators of three real plates scatter by 0.0006 to 0.0026 of the top. It is a prior: a declared crossover replaces it."""

CONSTANT_SHARE_SPREAD = 0.7
"""Standard deviation of that share's natural logarithm: a factor of two either way is nothing unusual."""

_CROSSOVERS = np.geomspace(0.002, 0.6, 25)
"""Where both parts are equal, as a share of the largest response: from a constant part that never shows to one that rules."""

_SCALES = np.linspace(-2.0, 2.6, 33)[:, None]
_FREEDOMS = np.geomspace(0.5, 5000.0, 600)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """What is believed of the noise of one plate's wells, over a grid of crossovers.

    Attributes
    ----------
    power
        Power of the response with which the proportional part of the variance grows.
    floor
        Smallest response the proportional part tells apart.
    crossover
        Responses at which both parts are equal; 0 where there is no constant part. One entry a grid point.
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

    power: float
    floor: float
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
        mean = logs @ self.chance + self.chance @ self.log_scale
        square = (
            (logs * logs) @ self.chance + 2.0 * (logs @ (self.chance * self.log_scale)) + self.chance @ self.log_scale_square
        )
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
        return float(np.sqrt((self.chance * np.exp(self.log_scale)) @ self.crossover**self.power)) if self.power else 0.0

    def _well(self, response: FloatArray) -> FloatArray:
        constant = self.crossover**self.power if self.power else np.zeros_like(self.crossover)
        return np.asarray((np.maximum(response, self.floor) ** self.power)[:, None] + constant[None, :], dtype=np.float64)

    def _curve(self, jacobian: FloatArray) -> FloatArray:
        points, parameters = jacobian.shape
        squares = (jacobian[:, :, None] * jacobian[:, None, :]).reshape(points, parameters * parameters)
        return np.asarray(squares @ self.covariance.reshape(-1, parameters * parameters).T, dtype=np.float64)


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
        power=power,
        floor=floor,
        crossover=np.zeros(1),
        chance=np.ones(1),
        log_scale=np.log(np.maximum([scale], np.finfo(np.float64).tiny)),
        log_scale_square=np.zeros(1),
        covariance=covariance[None] / max(scale, float(np.finfo(np.float64).tiny)),
        degrees_of_freedom=degrees_of_freedom,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What a fitted curve leaves to learn the noise from.

    Attributes
    ----------
    fitted, residual, jacobian, weight
        Of the points of the fit: the curve's response, what the point lies off it, derivatives, and the weight it was given.
    wells
        Wells behind each point.
    replicate_squares, replicate_freedom, replicate_response
        For points that are means: squared deviations of their wells, the degrees of freedom, and the curve's response there.
    top
        The largest response of the calibrators.
    """

    fitted: FloatArray
    residual: FloatArray
    jacobian: FloatArray
    weight: FloatArray
    wells: FloatArray
    replicate_squares: FloatArray
    replicate_freedom: FloatArray
    replicate_response: FloatArray
    top: float


def believed_noise(evidence: Evidence, *, power: float, floor: float, crossover: float | None) -> Noise:
    """Learn the noise from the calibrators around their curve.

    Parameters
    ----------
    crossover
        Response at which constant and proportional part are equal, where validation has measured it; None lets the plate and
        the prior of :data:`USUAL_CONSTANT_SHARE` decide.

    Notes
    -----
    For every crossover of a grid the likelihood of the residuals is that of restricted maximum likelihood; the scale is
    integrated over with the prior on the constant part, which is crossover times scale. The curve itself stays the one fitted:
    its covariance is that of its own weights under each supposed noise (a sandwich).
    """
    grid = _CROSSOVERS * evidence.top if crossover is None else np.array([crossover])
    ground = np.maximum(evidence.fitted, floor) ** power
    constant = grid**power if power else np.zeros_like(grid)
    variance = (ground[None, :] + constant[:, None]) / evidence.wells
    pairs = np.maximum(evidence.replicate_response, floor) ** power + constant[:, None]
    freedom = len(evidence.fitted) - evidence.jacobian.shape[1] + int(np.sum(evidence.replicate_freedom))
    squares, log_information = _restricted(evidence, variance)
    squares = squares + np.sum(evidence.replicate_squares / pairs, axis=1)
    covariance = _sandwich(evidence, variance)
    tiny = float(np.finfo(np.float64).tiny)
    if crossover is not None:
        return Noise(
            power=power,
            floor=floor,
            crossover=grid,
            chance=np.ones(1),
            log_scale=np.log(np.maximum(squares / freedom, tiny)),
            log_scale_square=np.zeros(1),
            covariance=covariance,
            degrees_of_freedom=freedom,
        )
    logs = np.log(variance).sum(axis=1) + (evidence.replicate_freedom * np.log(pairs)).sum(axis=1) + log_information
    scales = np.log(np.maximum(squares / freedom, tiny)) + _SCALES * np.sqrt(12.0 / freedom)
    share = 0.5 * (np.log(np.maximum(constant, tiny)) + scales) - np.log(evidence.top) if power else np.zeros_like(scales)
    prior = -0.5 * ((share - np.log(USUAL_CONSTANT_SHARE)) / CONSTANT_SHARE_SPREAD) ** 2
    belief = -0.5 * (logs + freedom * scales + squares * np.exp(-scales)) + prior
    belief = np.exp(belief - np.max(belief))
    belief /= np.sum(belief)
    chance = belief.sum(axis=0)
    known = np.maximum(chance, tiny)
    return Noise(
        power=power,
        floor=floor,
        crossover=grid,
        chance=chance,
        log_scale=(belief * scales).sum(axis=0) / known,
        log_scale_square=(belief * scales**2).sum(axis=0) / known,
        covariance=covariance,
        degrees_of_freedom=None,
    )


def _restricted(evidence: Evidence, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sum of squares left by a refit under each variance, and the logarithm of its information: one entry a crossover."""
    root = 1.0 / np.sqrt(variance)
    length = np.sqrt(np.einsum("ij,ij->j", evidence.jacobian, evidence.jacobian))
    scaled = root[:, :, None] * (evidence.jacobian / length)
    left = root * evidence.residual
    basis, triangle = np.linalg.qr(scaled)
    explained = np.einsum("kij,ki->kj", basis, left)
    squares = np.einsum("ki,ki->k", left, left) - np.einsum("kj,kj->k", explained, explained)
    diagonal = np.abs(np.diagonal(triangle, axis1=1, axis2=2))
    return np.maximum(squares, 0.0), 2.0 * np.log(np.maximum(diagonal, np.finfo(np.float64).tiny)).sum(axis=1)


def _sandwich(evidence: Evidence, variance: FloatArray) -> FloatArray:
    """Covariance of the curve as it was fitted, under each supposed variance of its points."""
    length = np.sqrt(np.einsum("ij,ij->j", evidence.jacobian, evidence.jacobian))
    scaled = evidence.jacobian / length
    root = np.sqrt(evidence.weight)
    influence = np.linalg.pinv(root[:, None] * scaled) * root / length[:, None]
    return np.asarray(np.einsum("pi,ki,qi->kpq", influence, variance, influence), dtype=np.float64)


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
