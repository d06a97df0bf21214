"""From calibrator wells to a curve that may be used: fit it, learn its noise, back-calculate the calibrators.

Knows levels, replicates and what the declared method does with them. Must not know files, specimens or limits of
quantification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from biomarkers.elisa.fitting import CurveModel, Fit, Weights, fit
from biomarkers.elisa.logistic import Curve, FloatArray, LogLogLine
from biomarkers.elisa.noise import Noise, supposed_noise
from biomarkers.elisa.noise_learning import Evidence, ReplicateEvidence, believed_noise, replicate_evidence
from biomarkers.elisa.refusals import doubts, require_identifiable, require_levels, require_monotone, require_signal
from biomarkers.elisa.weighting import weight_floor
from biomarkers.results import Finding, Severity

Replicates: TypeAlias = Literal["wells", "mean"]

_POWER: dict[Weights, float] = {"none": 0.0, "1/y": 1.0, "1/y2": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratorLevel:
    """One level as it went into the fit and as it came back.

    Attributes
    ----------
    nominal
        Concentration the calibrator should hold.
    back_calculated
        What the curve says of the mean response; None where the curve never gives it.
    recovery_percent
        Back-calculated over nominal; None for the zero calibrator.
    """

    nominal: float
    mean_response: float
    n_wells: int
    back_calculated: float | None
    recovery_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationCurve:
    """A fitted curve with its uncertainty, fit for reading concentrations from.

    Attributes
    ----------
    covariance, rss, residual_sd, degrees_of_freedom
        Of the fit with its own weights, s2 (J'WJ)^-1: what other software reports.
    noise
        What intervals rest on: the noise of a new well, and of the curve under that noise.
    wells_per_point
        Wells behind one point of the fit: 1 when wells were fitted, the harmonic mean of the replicates when means were.
    floor
        Smallest response that the weights tell apart.
    levels
        From the lowest concentration to the highest.
    """

    model: CurveModel
    weights: Weights
    replicates: Replicates
    curve: Curve
    covariance: FloatArray
    rss: float
    residual_sd: float
    degrees_of_freedom: int
    wells_per_point: float
    floor: float
    levels: tuple[CalibratorLevel, ...]
    findings: tuple[Finding, ...]
    noise: Noise

    @property
    def is_rising(self) -> bool:
        """Whether more analyte gives more response."""
        return self.curve.infinite_response > self.curve.zero_response

    @property
    def lowest_nominal(self) -> float:
        """Lowest calibrator above 0 in the fit."""
        return min(level.nominal for level in self.levels if level.nominal > 0)

    @property
    def highest_nominal(self) -> float:
        """Highest calibrator in the fit."""
        return max(level.nominal for level in self.levels)

    def standard_errors(self) -> FloatArray:
        """Return the standard errors of the parameters, in the order of ``curve.names``."""
        return np.asarray(np.sqrt(np.diag(self.covariance)), dtype=np.float64)

    def well_variance(self, concentration: FloatArray) -> FloatArray:
        """Variance of a single well's response, on the scale of the fit, at each concentration."""
        return self.noise.well_variance(self.curve.response(concentration))

    def half_width(self, concentration: FloatArray, replicates: FloatArray, confidence: float) -> FloatArray:
        """Half the width, on the scale of the fit, of the band that holds a new mean of some wells at each concentration."""
        response, jacobian = self.curve.response(concentration), self.curve.jacobian(concentration)
        return self.noise.half_width(response, jacobian, replicates, confidence)


def fit_calibration(
    concentration: FloatArray,
    response: FloatArray,
    *,
    model: CurveModel,
    weights: Weights,
    replicates: Replicates,
    where: str,
    variance_power: float = 2.0,
    robust: bool = False,
    zero_calibrator: bool = True,
    noise_crossover: float | None = None,
    replicate_responses: Sequence[Sequence[float]] = (),
) -> CalibrationCurve:
    """Fit the calibrators of one analyte on one plate.

    Parameters
    ----------
    concentration, response
        One entry a usable well; masked wells and such without a number are left out by the caller. Concentrations are nominal,
        in the analyte's unit; the zero calibrator is 0.
    weights, variance_power, robust
        As in :func:`biomarkers.elisa.fitting.fit`.
    replicates
        ``"wells"`` fits every well, ``"mean"`` the mean of each level, as plate-reader software does.
    where
        Place for messages: plate and analyte.
    zero_calibrator
        Whether calibrators of concentration 0 take part in the fit.
    noise_crossover
        Response at which the constant part of a well's noise equals the proportional one, where validation has measured it;
        without it the plate and a prior decide. Used with "fitted" weights; other weights, and a robust fit, suppose the noise
        they stand for.
    replicate_responses
        Responses of specimens and controls in replicates, one entry a material and dilution: what else the plate tells of its
        noise. They change intervals alone, never the curve.

    Raises
    ------
    CurveFitError
        There are too few levels, the response is flat or turns round, or the data do not tell the parameters apart.
    """
    findings: list[Finding] = []
    order = np.lexsort((response, concentration))
    # Sorted, so that the order of wells cannot change the last digit of any sum.
    x, y = concentration[order], response[order]
    if not zero_calibrator:
        x, y = x[x > 0], y[x > 0]
    if model == "loglog":
        x, y = _above_zero(x, y, findings, where)
    by_level = _by_level(x, y)
    require_levels(len(by_level.levels), model, where)
    points_x, points_y = (x, y) if replicates == "wells" else (by_level.levels, by_level.means)
    fitted = fit(points_x, points_y, model=model, weights=weights, variance_power=variance_power, robust=robust)
    require_signal(fitted, points_y, model, where)
    require_monotone(by_level.levels, by_level.means, by_level.replicate_cv(), where)
    require_identifiable(fitted, x, where)
    findings.extend(doubts(fitted, where))
    wells_per_point = 1.0 if replicates == "wells" else float(len(by_level.counts) / np.sum(1.0 / by_level.counts))
    floor = float(weight_floor(points_y))
    power = variance_power if weights == "fitted" else _POWER[weights]
    if isinstance(fitted.curve, LogLogLine):
        power = 0.0 if weights == "fitted" else power
    if weights == "fitted" and power > 0 and not robust:
        others = replicate_evidence(replicate_responses, top=float(np.max(y)))
        means_of = by_level if replicates == "mean" else None
        evidence = _evidence(fitted, points_x, points_y, means_of, others=others, top=float(np.max(y)))
        noise = believed_noise(evidence, power=power, floor=floor, crossover=noise_crossover)
    else:
        noise = supposed_noise(
            scale=fitted.residual_sd**2 * wells_per_point,
            power=power,
            floor=floor,
            covariance=fitted.covariance,
            degrees_of_freedom=fitted.degrees_of_freedom,
        )
    return CalibrationCurve(
        model=model,
        weights=weights,
        replicates=replicates,
        curve=fitted.curve,
        covariance=fitted.covariance,
        rss=fitted.rss,
        residual_sd=fitted.residual_sd,
        degrees_of_freedom=fitted.degrees_of_freedom,
        wells_per_point=wells_per_point,
        floor=floor,
        levels=_levels(by_level, fitted.curve),
        findings=tuple(findings),
        noise=noise,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ByLevel:
    levels: FloatArray
    means: FloatArray
    counts: FloatArray
    squares: FloatArray

    def replicate_cv(self) -> FloatArray:
        """Coefficient of variation of each level's mean, from the replicates of all levels together; 0 without replicates."""
        known = (self.counts > 1) & (self.means != 0)
        freedom = float(np.sum(self.counts[known] - 1.0))
        if not freedom:
            return np.zeros_like(self.means)
        pooled = float(np.sum(self.squares[known] / self.means[known] ** 2)) / freedom
        return np.asarray(np.sqrt(pooled / self.counts), dtype=np.float64)


def _by_level(x: FloatArray, y: FloatArray) -> _ByLevel:
    levels, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(index, weights=y) / counts
    return _ByLevel(
        levels=levels,
        means=means,
        counts=counts.astype(np.float64),
        squares=np.asarray(np.bincount(index, weights=(y - means[index]) ** 2), dtype=np.float64),
    )


def _evidence(
    fitted: Fit, x: FloatArray, y: FloatArray, means_of: _ByLevel | None, *, others: ReplicateEvidence, top: float
) -> Evidence:
    """Gather what the points, and the wells behind them where they are means, say of the noise."""
    at = fitted.curve.response(x)
    nothing = np.zeros(0)
    return Evidence(
        fitted=at,
        residual=y - at,
        jacobian=fitted.curve.jacobian(x),
        weight=fitted.weight,
        wells=np.ones(len(x)) if means_of is None else means_of.counts,
        replicate_squares=nothing if means_of is None else means_of.squares,
        replicate_freedom=nothing if means_of is None else means_of.counts - 1.0,
        replicate_response=nothing if means_of is None else at,
        top=top,
        others=others,
    )


def _above_zero(x: FloatArray, y: FloatArray, findings: list[Finding], where: str) -> tuple[FloatArray, FloatArray]:
    usable = (x > 0) & (y > 0)
    if not np.all(usable):
        findings.append(
            Finding(
                code="ZERO_CALIBRATOR_UNUSED",
                severity=Severity.NOTE,
                where=where,
                message=f"{int(np.sum(~usable))} calibrator points at or below 0 have no logarithm and are not in the fit.",
                remedy="Use a four-parameter logistic to keep them.",
            )
        )
    return x[usable], y[usable]


def _levels(by_level: _ByLevel, curve: Curve) -> tuple[CalibratorLevel, ...]:
    found = curve.concentration(by_level.means)
    return tuple(
        CalibratorLevel(
            nominal=float(nominal),
            mean_response=float(mean),
            n_wells=int(count),
            back_calculated=float(back) if np.isfinite(back) else None,
            recovery_percent=float(100.0 * back / nominal) if nominal > 0 and np.isfinite(back) else None,
        )
        for nominal, mean, count, back in zip(by_level.levels, by_level.means, by_level.counts, found, strict=True)
    )
