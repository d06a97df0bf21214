"""Which curve model the calibrators of one plate would favour: advice for validation, never a switch.

Knows several fits of the same points. Must not know analytes: the model an analyte is measured with is declared beforehand, and
no plate changes its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomarkers.elisa.fitting import CurveModel, Weights, fit
from biomarkers.elisa.logistic import Curve, FloatArray, LogLogLine
from biomarkers.elisa.refusals import PARAMETER_COUNT


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAdvice:
    """How well one model describes the points.

    Attributes
    ----------
    aicc
        Akaike's criterion corrected for few points: smaller is better, differences below 2 mean nothing.
    above_best
        Its distance from the best of the models compared.
    largest_recovery_error_percent
        Farthest any calibrator above 0 is read back from its nominal; None where one cannot be read back at all.
    """

    model: CurveModel
    aicc: float
    above_best: float
    largest_recovery_error_percent: float | None


def compare_models(
    concentration: FloatArray,
    response: FloatArray,
    *,
    weights: Weights,
    models: Sequence[CurveModel] = ("4pl", "5pl", "linear", "loglog"),
) -> tuple[ModelAdvice, ...]:
    """Fit each model to the same points and rank them by AICc, best first.

    Parameters
    ----------
    concentration, response
        One entry a calibrator well. All models are compared on the points above 0 where the line through logarithms is among
        them, since it can use no others.

    Notes
    -----
    R squared is not among the criteria: weighting lowers it while recovery improves. Look at the recoveries over several plates
    before declaring a model; one plate's AICc is noise.
    """
    usable = (concentration > 0) & (response > 0) if "loglog" in models else np.ones(len(response), dtype=bool)
    x, y = concentration[usable], response[usable]
    found = [
        (model, *_judged(model, x, y, weights)) for model in models if len(y) > PARAMETER_COUNT[model] + 2 and np.ptp(x) > 0
    ]
    best = min((aicc for _, aicc, _ in found), default=0.0)
    ranked = sorted(found, key=lambda one: one[1])
    return tuple(
        ModelAdvice(model=model, aicc=aicc, above_best=aicc - best, largest_recovery_error_percent=worst)
        for model, aicc, worst in ranked
    )


def _judged(model: CurveModel, x: FloatArray, y: FloatArray, weights: Weights) -> tuple[float, float | None]:
    fitted = fit(x, y, model=model, weights=weights)
    points, parameters = len(y), PARAMETER_COUNT[model] + 1  # the scale of the noise is estimated too
    variance = max(fitted.rss / points, np.finfo(np.float64).tiny)
    twice = points * (np.log(2.0 * np.pi * variance) + 1.0) - float(np.sum(np.log(fitted.weight)))
    if isinstance(fitted.curve, LogLogLine):
        # From the density of the logarithm to that of the response, on which the others are judged.
        twice += 2.0 * float(np.sum(np.log(y * np.log(10.0))))
    aicc = twice + 2.0 * parameters + 2.0 * parameters * (parameters + 1) / (points - parameters - 1)
    return float(aicc), _worst_recovery(fitted.curve, x, y)


def _worst_recovery(curve: Curve, x: FloatArray, y: FloatArray) -> float | None:
    levels = np.unique(x[x > 0])
    means = np.array([np.mean(y[x == level]) for level in levels])
    back = curve.concentration(means)
    return float(100.0 * np.max(np.abs(back / levels - 1.0))) if np.all(np.isfinite(back)) else None
