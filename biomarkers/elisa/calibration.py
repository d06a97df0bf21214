"""From calibrator wells to a curve that may be used: fit it, back-calculate the calibrators, refuse what is no curve.

Knows levels, replicates and what makes a fit untrustworthy. Must not know files, specimens or limits of quantification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.stats import f as f_distribution

from biomarkers.elisa.fitting import ASYMMETRY_BOUNDS, CurveModel, Fit, Weights, fit, weight_floor
from biomarkers.elisa.logistic import Curve, FivePL, FloatArray, FourPL, LogLogLine
from biomarkers.errors import CurveFitError
from biomarkers.results import Finding, Severity

Replicates: TypeAlias = Literal["wells", "mean"]

PARAMETER_COUNT: dict[CurveModel, int] = {"4pl": 4, "5pl": 5, "linear": 2, "loglog": 2}

FLAT_SIGNIFICANCE = 0.01
"""A curve must explain more than a constant would, by an F test at this level; a working assay passes at 1e-10 and beyond."""

LARGEST_REVERSAL_FRACTION = 0.25
"""Largest step of level means against the curve's direction, as a share of their span. Noise of working assays stays under a
tenth; a hook or two swapped calibrators do not."""

LARGEST_CONDITION = 1e6
"""Condition number of the scaled Jacobian beyond which parameters cannot be told apart; working curves lie below 1000."""

FARTHEST_INFLECTION = 100.0
"""How many times above the highest or below the lowest calibrator the inflection may lie before it is only extrapolated."""


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

    def well_variance(self, scaled_response: FloatArray) -> FloatArray:
        """Variance of a single well's response, on the scale of the fit, where the curve gives that response.

        This is the variance that the weights suppose: constant, or growing with the response or its square.
        """
        per_point = self.residual_sd**2 * self.wells_per_point
        if isinstance(self.curve, LogLogLine):
            floored = np.maximum(10.0**scaled_response, self.floor)
            power = {"none": 0, "1/y": 1, "1/y2": 2, "fitted": 0}[self.weights]
        else:
            floored = np.maximum(scaled_response, self.floor)
            power = {"none": 0, "1/y": 1, "1/y2": 2, "fitted": 2}[self.weights]
        return np.asarray(per_point * floored**power, dtype=np.float64)


def fit_calibration(
    concentration: FloatArray,
    response: FloatArray,
    *,
    model: CurveModel,
    weights: Weights,
    replicates: Replicates,
    where: str,
) -> CalibrationCurve:
    """Fit the calibrators of one analyte on one plate.

    Parameters
    ----------
    concentration, response
        One entry a usable well; masked wells and such without a number are left out by the caller. Concentrations are nominal,
        in the analyte's unit; the zero calibrator is 0.
    replicates
        ``"wells"`` fits every well, ``"mean"`` the mean of each level, as plate-reader software does.
    where
        Place for messages: plate and analyte.

    Raises
    ------
    CurveFitError
        There are too few levels, the response is flat or turns round, or the data do not tell the parameters apart.
    """
    findings: list[Finding] = []
    order = np.lexsort((response, concentration))
    # Sorted, so that the order of wells cannot change the last digit of any sum.
    x, y = concentration[order], response[order]
    if model == "loglog":
        x, y = _above_zero(x, y, findings, where)
    _require_levels(x, model, where)
    points_x, points_y, wells_per_point = (x, y, 1.0) if replicates == "wells" else _level_means(x, y)
    _require_signal(fit(points_x, points_y, model=model, weights="none"), points_y, model, where)
    _require_monotone(x, y, where)
    fitted = fit(points_x, points_y, model=model, weights=weights)
    _require_identifiable(fitted, x, where)
    findings.extend(_doubts(fitted, where))
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
        floor=weight_floor(points_y),
        levels=_levels(x, y, fitted.curve),
        findings=tuple(findings),
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


def _require_levels(x: FloatArray, model: CurveModel, where: str) -> None:
    needed = PARAMETER_COUNT[model] + 1
    levels = len(np.unique(x))
    if levels < needed:
        raise CurveFitError(
            what=f"{levels} calibrator levels have a usable reading; the model '{model}' needs at least {needed}.",
            where=where,
            remedy="Check the masks and the layout, or repeat the plate with more calibrators.",
        )


def _level_means(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    levels, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(index, weights=y) / counts
    return levels, means, float(len(counts) / np.sum(1.0 / counts))


def _require_monotone(x: FloatArray, y: FloatArray, where: str) -> None:
    levels, means, _ = _level_means(x, y)
    span = float(np.ptp(means))
    direction = 1.0 if means[int(np.argmax(levels))] >= means[0] else -1.0
    climbed = np.maximum.accumulate(direction * means)
    fall = climbed - direction * means
    worst = int(np.argmax(fall))
    if span > 0 and fall[worst] > LARGEST_REVERSAL_FRACTION * span:
        raise CurveFitError(
            what=(
                f"The calibrators do not rise or fall throughout: the level {levels[worst]:g} turns back by "
                f"{fall[worst]:.3g} of a span of {span:.3g} in response."
            ),
            where=where,
            remedy="Look for swapped or badly pipetted calibrators, or a hook at the top; mask the wells or repeat the plate.",
        )


def _require_signal(unweighted: Fit, y: FloatArray, model: CurveModel, where: str) -> None:
    scaled = unweighted.curve.scale(y)
    total = float(np.sum((scaled - np.mean(scaled)) ** 2))
    parameters = PARAMETER_COUNT[model]
    explained = (total - unweighted.rss) / (parameters - 1)
    noise = unweighted.rss / unweighted.degrees_of_freedom
    if total > 0 and noise <= np.finfo(np.float64).eps * explained:
        return
    chance = (
        1.0 if explained <= 0 else float(f_distribution.sf(explained / noise, parameters - 1, unweighted.degrees_of_freedom))
    )
    if chance > FLAT_SIGNIFICANCE:
        raise CurveFitError(
            what="The calibrators' response does not follow their concentration; the curve is flat within its noise.",
            where=where,
            remedy="Check that the layout names the right wells and wavelength; repeat the plate if they are right.",
        )


def _require_identifiable(fitted: Fit, x: FloatArray, where: str) -> None:
    curve = fitted.curve
    remedy = "Use calibrators that reach both ends of the curve, or declare a simpler model for this analyte."
    if isinstance(curve, FourPL | FivePL):
        lowest, highest = float(np.min(x[x > 0])), float(np.max(x))
        if not lowest / FARTHEST_INFLECTION <= curve.inflection <= highest * FARTHEST_INFLECTION:
            raise CurveFitError(
                what=(
                    f"The inflection of the fitted curve, {curve.inflection:.3g}, lies far outside the calibrators "
                    f"{lowest:g} to {highest:g}."
                ),
                where=where,
                remedy=remedy,
            )
    if not fitted.settled or not fitted.condition < LARGEST_CONDITION or not np.all(np.isfinite(fitted.covariance)):
        raise CurveFitError(
            what="The calibrators do not determine the curve: several sets of parameters fit them equally well.",
            where=where,
            remedy=remedy,
        )


def _doubts(fitted: Fit, where: str) -> tuple[Finding, ...]:
    curve = fitted.curve
    if not isinstance(curve, FivePL):
        return ()
    error = float(np.sqrt(fitted.covariance[-1, -1]))
    low, high = ASYMMETRY_BOUNDS
    if 1.01 * low < curve.asymmetry < 0.99 * high and error < curve.asymmetry:
        return ()
    return (
        Finding(
            code="ASYMMETRY_UNCERTAIN",
            severity=Severity.WARNING,
            where=where,
            message=f"The asymmetry {curve.asymmetry:.3g} (standard error {error:.2g}) is not determined by these calibrators.",
            remedy="Declare the four-parameter model unless validation has shown the need for the fifth.",
        ),
    )


def _levels(x: FloatArray, y: FloatArray, curve: Curve) -> tuple[CalibratorLevel, ...]:
    levels, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(index, weights=y) / counts
    found = curve.concentration(means)
    return tuple(
        CalibratorLevel(
            nominal=float(nominal),
            mean_response=float(mean),
            n_wells=int(count),
            back_calculated=float(back) if np.isfinite(back) else None,
            recovery_percent=float(100.0 * back / nominal) if nominal > 0 and np.isfinite(back) else None,
        )
        for nominal, mean, count, back in zip(levels, means, counts, found, strict=True)
    )
