"""What is refused as no curve, and what is doubtful about one: flat, turning, too few levels, parameters not told apart.

Knows level means and the fit's own uncertainty. Must not know files, specimens or limits of quantification.
"""

from __future__ import annotations

import numpy as np
from scipy.special import fdtrc

from biomarkers.elisa.fitting import ASYMMETRY_BOUNDS, CurveModel, Fit
from biomarkers.elisa.logistic import FivePL, FloatArray, FourPL
from biomarkers.errors import CurveFitError
from biomarkers.results import Finding, Severity

PARAMETER_COUNT: dict[CurveModel, int] = {"4pl": 4, "5pl": 5, "linear": 2, "loglog": 2}

FLAT_SIGNIFICANCE = 0.01
"""A curve must explain more than a constant would, by an F test at this level; a working assay passes at 1e-10 and beyond."""

LARGEST_REVERSAL_FRACTION = 0.25
"""Largest step of level means against the curve's direction, as a share of their span. Noise of working assays stays under a
tenth; a hook or two swapped calibrators do not."""

SURE_REVERSAL = 5.0
"""Standard deviations of the difference of two level means that a step back must exceed besides: on the flat end of a curve
read with a coefficient of variation of 10 % a quarter of the span is nothing unusual."""

LARGEST_CONDITION = 1e6
"""Condition number of the scaled Jacobian beyond which parameters cannot be told apart; working curves lie below 1000."""

FARTHEST_INFLECTION = 100.0
"""How many times above the highest or below the lowest calibrator the inflection may lie before it is only extrapolated."""


def require_levels(levels: int, model: CurveModel, where: str) -> None:
    """Refuse fewer levels than the model's parameters and one."""
    needed = PARAMETER_COUNT[model] + 1
    if levels < needed:
        raise CurveFitError(
            what=f"{levels} calibrator levels have a usable reading; the model '{model}' needs at least {needed}.",
            where=where,
            remedy="Check the masks and the layout, or repeat the plate with more calibrators.",
        )


def require_monotone(levels: FloatArray, means: FloatArray, replicate_cv: FloatArray, where: str) -> None:
    """Refuse level means that turn back further than the scatter of their replicates explains.

    Parameters
    ----------
    levels, means
        Concentrations, ascending, and the mean response of each.
    replicate_cv
        Coefficient of variation of each mean as the plate's replicates tell it; 0 where there are none.
    """
    span = float(np.ptp(means))
    direction = 1.0 if means[-1] >= means[0] else -1.0
    climbed = np.maximum.accumulate(direction * means)
    fall = climbed - direction * means
    noise = np.hypot(replicate_cv * np.abs(means), np.maximum.accumulate(replicate_cv * np.abs(means)))
    beyond = np.where(fall > SURE_REVERSAL * noise, fall, 0.0)
    worst = int(np.argmax(beyond))
    if span > 0 and beyond[worst] > LARGEST_REVERSAL_FRACTION * span:
        raise CurveFitError(
            what=(
                f"The calibrators do not rise or fall throughout: the level {levels[worst]:g} turns back by "
                f"{fall[worst]:.3g} of a span of {span:.3g} in response."
            ),
            where=where,
            remedy="Look for swapped or badly pipetted calibrators, or a hook at the top; mask the wells or repeat the plate.",
        )


def require_signal(fitted: Fit, y: FloatArray, model: CurveModel, where: str) -> None:
    """Refuse a curve that explains no more than a constant would."""
    scaled = fitted.curve.scale(y)
    total = float(np.sum(fitted.weight * (scaled - np.average(scaled, weights=fitted.weight)) ** 2))
    parameters = PARAMETER_COUNT[model]
    explained = (total - fitted.rss) / (parameters - 1)
    noise = fitted.rss / fitted.degrees_of_freedom
    nothing = 1e-20 * float(np.sum(fitted.weight * scaled**2))  # rounding of equal numbers
    if total > nothing and noise <= np.finfo(np.float64).eps * explained:
        return
    # fdtrc is the upper tail of the F distribution.
    chance = (
        1.0
        if explained <= 0 or total <= nothing
        else float(fdtrc(parameters - 1, fitted.degrees_of_freedom, explained / noise))
    )
    if chance > FLAT_SIGNIFICANCE:
        raise CurveFitError(
            what="The calibrators' response does not follow their concentration; the curve is flat within its noise.",
            where=where,
            remedy="Check that the layout names the right wells and wavelength; repeat the plate if they are right.",
        )


def require_identifiable(fitted: Fit, x: FloatArray, where: str) -> None:
    """Refuse a curve whose parameters these calibrators do not tell apart."""
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
    if not fitted.settled and isinstance(curve, FourPL | FivePL):
        raise CurveFitError(
            what="Weights and curve do not come to rest: the model does not suit these calibrators.",
            where=where,
            remedy="Declare another model for this analyte, or weights that do not follow the curve.",
        )
    if not fitted.condition < LARGEST_CONDITION or not np.all(np.isfinite(fitted.covariance)):
        raise CurveFitError(
            what="The calibrators do not determine the curve: several sets of parameters fit them equally well.",
            where=where,
            remedy=remedy,
        )


def doubts(fitted: Fit, where: str) -> tuple[Finding, ...]:
    """Tell parameters that these calibrators hardly determine."""
    curve = fitted.curve
    error = dict(zip(curve.names, np.sqrt(np.diag(fitted.covariance)), strict=True))
    found = []
    if isinstance(curve, FourPL | FivePL):
        uncertain = [name for name in ("slope", "inflection") if error[name] >= curve.parameters[name]]
        if uncertain:
            told = ", ".join(f"{name} {curve.parameters[name]:.3g} (standard error {error[name]:.2g})" for name in uncertain)
            found.append(
                Finding(
                    code="CURVE_UNCERTAIN",
                    severity=Severity.WARNING,
                    where=where,
                    message=f"The calibrators hardly determine the curve: {told}.",
                    remedy="Use calibrators that reach both ends of the curve; look at the intervals before using the numbers.",
                )
            )
    if isinstance(curve, FivePL):
        low, high = ASYMMETRY_BOUNDS
        if not (1.01 * low < curve.asymmetry < 0.99 * high and error["asymmetry"] < curve.asymmetry):
            found.append(
                Finding(
                    code="ASYMMETRY_UNCERTAIN",
                    severity=Severity.WARNING,
                    where=where,
                    message=(
                        f"The asymmetry {curve.asymmetry:.3g} (standard error {error['asymmetry']:.2g}) is not determined by "
                        f"these calibrators."
                    ),
                    remedy="Declare the four-parameter model unless validation has shown the need for the fifth.",
                )
            )
    if not fitted.settled:
        found.append(
            Finding(
                code="WEIGHTS_UNSETTLED",
                severity=Severity.WARNING,
                where=where,
                message="Weights and line do not come to rest: these calibrators do not lie on a line.",
                remedy="Declare a logistic for this analyte, or weights that do not follow the curve.",
            )
        )
    held_back = int(np.sum(fitted.pull < 0.5))
    if held_back:
        found.append(
            Finding(
                code="CALIBRATOR_HELD_BACK",
                severity=Severity.WARNING,
                where=where,
                message=f"{held_back} calibrator points lie so far off the curve that the robust fit hardly follows them.",
                remedy="Look at these wells; mask them with a reason or repeat the plate.",
            )
        )
    return tuple(found)
