"""What one plate tells of the noise of its wells: the calibrators around their curve, and replicates of anything else.

Knows residuals, replicate groups and a prior. Must not know wells by name, concentrations or files.

Some sixteen calibrator wells cannot tell the constant part of the noise from the proportional one. Specimens and controls in
replicates can: each pair is a degree of freedom, at whatever response it lies, and needs no curve. Where there are none, what
readers are known to do is brought in as a prior; what remains in doubt widens the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomarkers.elisa.logistic import FloatArray
from biomarkers.elisa.noise import Noise, constant_part, variance_shape
from biomarkers.elisa.variance_function import replicate_group

USUAL_CONSTANT_SHARE = 0.0016
"""Constant noise of a well as a share of the plate's largest response: 0.004 to 0.006 optical density of reader and plastic
where the top reads 2.5 to 3.5, an assumption. It is a prior: a declared crossover replaces it, and the replicates of a full
plate outweigh it."""

CONSTANT_SHARE_SPREAD = 1.2
"""Standard deviation of that share's natural logarithm: a factor of three either way is nothing unusual. The replicates of nine
real plates of two assays put it between less than 0.0002 and 0.005."""

STRAY_SHARE = 0.01
"""Share of replicate groups supposed to hold a stray well, a bubble or a wrong pipette, which tells nothing of the others."""

STRAY_FACTOR = 10.0
"""How many times wider a stray group is supposed to scatter. One of normal scatter is mistaken for it once in some 5000."""

FARTHEST_RESPONSE = 1.25
"""Replicates above this multiple of the calibrators' largest response are not asked: readers become noisy in another way."""

OTHER_POWER = 1.2
"""Power of the response with which the variance may grow instead of the declared one. Replicates of six runs of one real assay
say 1.2 (0.9 to 1.5), those of three plates of another 1.9 to 2.4."""

OTHER_POWER_BELIEF = 0.1

_CROSSOVERS = np.geomspace(0.002, 2.0, 16)
"""Where both parts are equal, as a share of the largest response: from a constant part that never shows to one that rules."""

_SCALES = np.linspace(-2.2, 2.8, 29)[:, None]
_TINY = float(np.finfo(np.float64).tiny)
_LARGEST_LOGARITHM = 700.0
_CHI_SQUARED_MEDIAN = 0.4549364231195724
_WILD = 9.0

_EXCESS = np.array([1.0, 0.25, 0.5, 2.0, 4.0, 16.0, 64.0])[:, None, None]
_EXCESS_BELIEF = np.array([0.7, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])[:, None, None]
"""Variance of the calibrators around their curve over that of replicates, and the belief in each. Where the curve has another
shape than declared, or calibrators were diluted worse than specimens are pipetted, the curve is less certain than replicates
make it look: on three real plates the calibrators' own triplicates scatter 1.5 to 11 times as much."""

_FARTHEST_APART = 1e-3
"""The scale is looked for no further below what the calibrators say, or the replicates: equal numbers do not scatter at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplicateEvidence:
    """Replicate groups off the curve: squared deviations of their wells, degrees of freedom, and mean responses."""

    squares: FloatArray
    freedom: FloatArray
    response: FloatArray


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
    others
        Replicates of specimens and controls.
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
    others: ReplicateEvidence


def replicate_evidence(replicates: Sequence[Sequence[float]], *, top: float) -> ReplicateEvidence:
    """Summarise the replicates of specimens and controls that lie where the noise is to be learnt.

    Parameters
    ----------
    replicates
        Responses of wells that hold the same, one entry a material and dilution; lone wells tell nothing.
    top
        The largest response of the calibrators.
    """
    groups = [group for group in map(replicate_group, replicates) if group is not None]
    near = [group for group in groups if group.mean <= FARTHEST_RESPONSE * top]
    return ReplicateEvidence(
        squares=np.array([group.variance * group.degrees_of_freedom for group in near], dtype=np.float64),
        freedom=np.array([group.degrees_of_freedom for group in near], dtype=np.float64),
        response=np.array([group.mean for group in near], dtype=np.float64),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Shapes of noise that are possible, one entry each, with the logarithm of the belief in its power."""

    power: FloatArray
    crossover: FloatArray
    log_belief: FloatArray

    @property
    def constant(self) -> FloatArray:
        return constant_part(self.power, self.crossover)


def _grid(power: float, top: float) -> _Grid:
    powers = (power, OTHER_POWER)
    beliefs = (1.0 - OTHER_POWER_BELIEF, OTHER_POWER_BELIEF)
    return _Grid(
        power=np.repeat(powers, len(_CROSSOVERS)),
        crossover=np.tile(_CROSSOVERS * top, len(powers)),
        log_belief=np.repeat(np.log(beliefs), len(_CROSSOVERS)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Calibrators:
    """What the calibrators leave under each shape: squares, logarithms of variances, and the curve's covariance."""

    squares: FloatArray
    logs: FloatArray
    freedom: int
    covariance: FloatArray

    def log_likelihood(self, log_scale: FloatArray, excess: FloatArray | float) -> FloatArray:
        """Log likelihood under scales, times an excess of the calibrators' scatter."""
        told = self.logs + self.freedom * (log_scale + np.log(excess)) + self.squares * np.exp(-log_scale) / excess
        return np.asarray(-0.5 * told, dtype=np.float64)


def believed_noise(evidence: Evidence, *, power: float, floor: float, crossover: float | None) -> Noise:
    """Learn the noise from the calibrators around their curve and from the replicates of everything else.

    Parameters
    ----------
    power
        Declared power of the response with which the variance grows.
    crossover
        Response at which constant and growing part are equal, where validation has measured it; power and crossover are taken
        as they are declared then. None lets the plate decide, with the prior of :data:`USUAL_CONSTANT_SHARE`.

    Notes
    -----
    For every shape of a grid the likelihood of the residuals is that of restricted maximum likelihood; the scale is integrated
    over with the prior on the constant part. Replicates of specimens and controls multiply their own likelihood, in which a
    group may be a stray one, and in which the calibrators may scatter more or less than they do. The curve itself stays the one
    fitted: its covariance is that of its own weights under each supposed noise (a sandwich).
    """
    if crossover is None:
        grid = _grid(power, evidence.top)
    else:
        grid = _Grid(power=np.array([power]), crossover=np.array([crossover]), log_belief=np.zeros(1))
    calibrators = _calibrators(evidence, grid, floor)
    if crossover is not None and not evidence.others.freedom.size:
        return Noise(
            floor=floor,
            power=grid.power,
            crossover=grid.crossover,
            chance=np.ones(1),
            log_scale=np.log(np.maximum(calibrators.squares / calibrators.freedom, _TINY)),
            log_scale_square=np.zeros(1),
            covariance=calibrators.covariance,
            degrees_of_freedom=calibrators.freedom,
        )
    scales, excess, belief = _belief(evidence, grid, calibrators, floor, has_prior=crossover is None)
    chance = belief.sum(axis=0)
    held = np.maximum(chance, _TINY)
    return Noise(
        floor=floor,
        power=grid.power,
        crossover=grid.crossover,
        chance=chance,
        log_scale=(belief * scales).sum(axis=0) / held,
        log_scale_square=(belief * scales**2).sum(axis=0) / held,
        covariance=calibrators.covariance * excess[:, None, None],
        degrees_of_freedom=None,
    )


def _belief(
    evidence: Evidence, grid: _Grid, calibrators: _Calibrators, floor: float, *, has_prior: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Logarithms of scales to be believed, the expected excess of the calibrators' scatter, and the belief in each scale.

    One row a scale, one column a shape; the beliefs sum to 1.
    """
    others = evidence.others
    apart = variance_shape(others.response, floor, grid.power, grid.crossover)
    told = float(np.sum(others.freedom))
    middle, other = calibrators.squares / calibrators.freedom, _winsorised_scale(others, apart)
    if told > calibrators.freedom:
        middle, other = other, middle
    middle = np.maximum(middle, np.maximum(_FARTHEST_APART * other, _TINY))
    scales = np.log(middle) + _SCALES * np.sqrt(12.0 / max(told, float(calibrators.freedom)))
    prior = np.zeros_like(scales)
    if has_prior:
        share = 0.5 * (np.log(np.maximum(grid.constant, _TINY)) + scales) - np.log(evidence.top)
        prior = grid.log_belief - 0.5 * ((share - np.log(USUAL_CONSTANT_SHARE)) / CONSTANT_SHARE_SPREAD) ** 2
    if not others.freedom.size:
        belief = np.exp(_from_the_top(prior + calibrators.log_likelihood(scales, 1.0)))
        return scales, np.ones(len(grid.power)), belief / np.sum(belief)
    together = prior + _replicates_log_likelihood(others, apart, scales)
    by_excess = np.exp(_from_the_top(together + calibrators.log_likelihood(scales, _EXCESS) + np.log(_EXCESS_BELIEF)))
    belief = by_excess.sum(axis=0)
    of_shape = belief.sum(axis=0)
    excess = (_EXCESS * by_excess).sum(axis=(0, 1)) / np.maximum(of_shape, _TINY)
    return scales, np.where(of_shape > 0, excess, 1.0), belief / np.sum(belief)


def _from_the_top(logs: FloatArray) -> FloatArray:
    return np.asarray(logs - np.max(logs), dtype=np.float64)


def _winsorised_scale(others: ReplicateEvidence, apart: FloatArray) -> FloatArray:
    """Scale of the replicates under each shape, groups far beyond the usual brought in; where to look, not what to find."""
    if not others.freedom.size:
        return np.zeros(apart.shape[1])
    each = others.squares[:, None] / (others.freedom[:, None] * apart)
    usual = np.median(each, axis=0) / _CHI_SQUARED_MEDIAN
    near = np.where(usual > 0, np.minimum(each, _WILD * usual), each)
    return np.asarray(others.freedom @ near / np.sum(others.freedom), dtype=np.float64)


def _replicates_log_likelihood(others: ReplicateEvidence, apart: FloatArray, scales: FloatArray) -> FloatArray:
    """Log likelihood of the replicate groups under each scale and shape, each group stray or not."""
    squares = (others.squares[:, None] / apart)[:, None, :] * np.exp(-scales)
    plain = -0.5 * (others.freedom @ np.log(apart) + np.sum(others.freedom) * scales + squares.sum(axis=0))
    narrower = 0.5 * (1.0 - STRAY_FACTOR**-2)
    odds = np.exp(np.minimum(narrower * squares - others.freedom[:, None, None] * np.log(STRAY_FACTOR), _LARGEST_LOGARITHM))
    return np.asarray(plain + np.log1p(STRAY_SHARE * (odds - 1.0)).sum(axis=0), dtype=np.float64)


def _calibrators(evidence: Evidence, grid: _Grid, floor: float) -> _Calibrators:
    variance = variance_shape(evidence.fitted, floor, grid.power, grid.crossover).T / evidence.wells
    within = variance_shape(evidence.replicate_response, floor, grid.power, grid.crossover).T
    squares, log_information = _restricted(evidence, variance)
    freedom = len(evidence.fitted) - evidence.jacobian.shape[1] + int(np.sum(evidence.replicate_freedom))
    return _Calibrators(
        squares=squares + np.sum(evidence.replicate_squares / within, axis=1),
        logs=np.log(variance).sum(axis=1) + np.log(within) @ evidence.replicate_freedom + log_information,
        freedom=freedom,
        covariance=_sandwich(evidence, variance),
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
