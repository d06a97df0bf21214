"""What an assay can do over many plates: its precision profile, functional limits, limit of blank and limit of detection.

Knows repeated measurements of levels and of blanks. Must not know plates or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.stats import norm

from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.logistic import Curve
from biomarkers.errors import AssayError

FUNCTIONAL_CV_PERCENT = 20.0
"""Total imprecision up to which a number serves its purpose; ICH M10 allows as much within the range, 25 % at its ends."""

FEWEST_BLANKS = 20
"""Readings that a limit of blank should rest on at least; CLSI EP17 asks for 60 to set one up and 20 to verify one."""

_BETA = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionPoint:
    """Imprecision and bias at one level over several runs.

    Attributes
    ----------
    nominal
        What the level holds; None where only its mean is known.
    repeatability_cv_percent, total_cv_percent
        Within runs, and between single readings of different runs.
    """

    level: str
    nominal: float | None
    mean: float
    runs: int
    readings: int
    repeatability_cv_percent: float
    total_cv_percent: float
    bias_percent: float | None


def precision_point(level: str, by_run: Mapping[str, Sequence[float]], *, nominal: float | None = None) -> PrecisionPoint:
    """Take the readings of one level apart into scatter within and between runs (analysis of variance).

    Raises
    ------
    AssayError
        There are fewer than two runs, or no run has two readings.
    """
    runs = [np.array(values, dtype=np.float64) for values in by_run.values() if len(values)]
    count = sum(len(values) for values in runs)
    if len(runs) < 2 or count <= len(runs):
        raise AssayError(
            what=f"The level '{level}' was read {count} times in {len(runs)} runs; two runs with replicates are needed.",
            remedy="Measure the level in replicates on more plates.",
        )
    everything = np.concatenate(runs)
    mean = float(np.mean(everything))
    within = sum(float(np.sum((values - np.mean(values)) ** 2)) for values in runs) / (count - len(runs))
    between = sum(len(values) * float(np.mean(values) - mean) ** 2 for values in runs) / (len(runs) - 1)
    # Readings a run where their numbers differ, as in any unbalanced one-way layout.
    usual = (count - sum(len(values) ** 2 for values in runs) / count) / (len(runs) - 1)
    total = within + max(0.0, (between - within) / usual)
    return PrecisionPoint(
        level=level,
        nominal=nominal,
        mean=mean,
        runs=len(runs),
        readings=count,
        repeatability_cv_percent=100.0 * math.sqrt(within) / abs(mean),
        total_cv_percent=100.0 * math.sqrt(total) / abs(mean),
        bias_percent=None if nominal is None or nominal <= 0 else 100.0 * (mean / nominal - 1.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionalLimits:
    """Between which concentrations the precision profile stays below a coefficient of variation.

    Attributes
    ----------
    lower
        Where the profile falls below it; the lowest level where it already is; None where it never does.
    upper
        The highest level measured up to which it stays below; nothing is claimed beyond.
    constant_sd, cv_percent
        Of the profile: variance = constant_sd**2 + (cv * mean)**2.
    is_lower_extrapolated
        The profile crosses below the lowest level, where nothing was measured; ``lower`` is that level then.
    """

    lower: float | None
    upper: float | None
    constant_sd: float
    cv_percent: float
    is_lower_extrapolated: bool


def functional_limits(points: Sequence[PrecisionPoint], *, cv_limit_percent: float = FUNCTIONAL_CV_PERCENT) -> FunctionalLimits:
    """Fit a precision profile through the levels and read the limits off it.

    Notes
    -----
    The variance is fitted as a constant part and one in proportion to the square of the concentration, both at least 0, with
    weights that make relative errors of the variances count alike.

    Raises
    ------
    AssayError
        There are fewer than three levels.
    """
    levels = sorted((point for point in points if point.mean > 0), key=lambda point: point.mean)
    if len(levels) < 3:
        raise AssayError(
            what=f"{len(levels)} levels make no precision profile; three are needed.",
            remedy="Measure more levels, close to the expected limits, in every run.",
        )
    mean = np.array([point.mean for point in levels])
    variance = (np.array([point.total_cv_percent for point in levels]) / 100.0 * mean) ** 2
    freedom = np.sqrt(np.array([max(point.runs - 1, 1) for point in levels], dtype=np.float64))
    weight = freedom / np.maximum(variance, np.finfo(np.float64).tiny)
    parts = np.zeros(2)
    for _ in range(50):
        parts = nnls(weight[:, None] * np.column_stack((np.ones_like(mean), mean**2)), weight * variance)[0]
        fitted = parts[0] + parts[1] * mean**2
        weight = freedom / np.maximum(fitted, np.finfo(np.float64).tiny)
    limit = cv_limit_percent / 100.0
    crossing = math.sqrt(parts[0] / (limit**2 - parts[1])) if parts[1] < limit**2 else None
    below = [point.mean for point in levels if point.total_cv_percent <= cv_limit_percent]
    lowest = levels[0].mean
    lower = None if crossing is None or not below or crossing > levels[-1].mean else max(crossing, lowest)
    upper = None
    for point in levels:
        if lower is not None and point.mean >= lower * (1 - 1e-9):
            if point.total_cv_percent > cv_limit_percent:
                break
            upper = point.mean
    return FunctionalLimits(
        lower=lower,
        upper=upper,
        constant_sd=math.sqrt(parts[0]),
        cv_percent=100.0 * math.sqrt(parts[1]),
        is_lower_extrapolated=crossing is not None and crossing < lowest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionLimits:
    """Limit of blank and limit of detection after CLSI EP17, as responses and as concentrations.

    Attributes
    ----------
    blank_response, detection_response
        On a falling curve both lie below the blank's mean.
    limit_of_blank, limit_of_detection
        Their concentrations, before dilution; the limit of blank is 0 where its response lies beyond the curve's zero dose;
        None where the curve never gives the response.
    """

    blank_response: float
    detection_response: float
    limit_of_blank: float | None
    limit_of_detection: float | None
    blanks: int
    low_readings: int


def detection_limits(curve: CalibrationCurve, blanks: Sequence[float], low: Mapping[str, Sequence[float]]) -> DetectionLimits:
    """Find the limit of blank and of detection from responses, and read them off the curve.

    Parameters
    ----------
    blanks
        Responses of specimens without analyte.
    low
        Responses of specimens with little of it, several readings each, by specimen.

    Notes
    -----
    LoB lies 1.645 standard deviations of the blanks from their mean, LoD 1.645 pooled standard deviations of the low specimens
    beyond it, each on the side on which the curve runs: upwards on a rising, downwards on a falling one. The factor of the low
    specimens is corrected for their degrees of freedom. A maker's "sensitivity", two or three standard deviations of the zero
    calibrator, is neither.

    Raises
    ------
    AssayError
        Fewer than :data:`FEWEST_BLANKS` blanks, or no low specimen was read twice.
    """
    if len(blanks) < FEWEST_BLANKS:
        raise AssayError(
            what=f"{len(blanks)} blanks were read; a limit of blank needs {FEWEST_BLANKS}.",
            remedy="Pool the blanks of more plates.",
        )
    groups = [np.array(values, dtype=np.float64) for values in low.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    if not freedom:
        raise AssayError(
            what="No specimen of low concentration was read twice.", remedy="Read some specimens near the limit in replicates."
        )
    direction = 1.0 if curve.is_rising else -1.0
    z = float(norm.ppf(_BETA))
    of_blank = float(np.mean(blanks)) + direction * z * float(np.std(blanks, ddof=1))
    spread = math.sqrt(sum(float(np.sum((values - np.mean(values)) ** 2)) for values in groups) / freedom)
    of_detection = of_blank + direction * z / (1.0 - 1.0 / (4.0 * freedom)) * spread
    return DetectionLimits(
        blank_response=of_blank,
        detection_response=of_detection,
        limit_of_blank=_read(curve.curve, of_blank, direction),
        limit_of_detection=_read(curve.curve, of_detection, direction),
        blanks=len(blanks),
        low_readings=sum(len(values) for values in groups),
    )


def _read(curve: Curve, response: float, direction: float) -> float | None:
    if direction * (response - curve.zero_response) <= 0:
        return 0.0
    found = float(curve.concentration(np.array([response]))[0])
    return found if np.isfinite(found) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRun:
    """One plate's curve, and its responses of blanks and of one material with little analyte."""

    curve: Curve
    blanks: tuple[float, ...]
    low: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledDetection:
    """Limit of blank and of detection over plates, concentrations before dilution: the median plate's, and the largest.

    Attributes
    ----------
    limit_of_blank, limit_of_detection
        0 where the response lies beyond the curve's zero dose, None where most curves never give it.
    blank_sd, low_sd
        Of responses within plates, pooled.
    """

    limit_of_blank: float | None
    limit_of_detection: float | None
    largest_limit_of_detection: float | None
    blank_sd: float
    low_sd: float
    plates: int
    blanks: int
    low_readings: int


def pooled_detection(runs: Sequence[DetectionRun]) -> PooledDetection:
    """Find LoB and LoD of each plate, with standard deviations pooled over all of them.

    Notes
    -----
    As :func:`detection_limits`, where a plate's own blanks are too few for a standard deviation but not for a mean. What moves
    all blanks of a plate together moves its calibrators too and is read off its own curve.

    Raises
    ------
    AssayError
        Fewer than :data:`FEWEST_BLANKS` blanks, or neither blanks nor low readings in replicates.
    """
    usable = [run for run in runs if len(run.blanks) > 1]
    blanks, low = [list(run.blanks) for run in usable], [list(run.low) for run in usable if len(run.low) > 1]
    count = sum(map(len, blanks))
    if count < FEWEST_BLANKS:
        raise AssayError(
            what=f"{count} blanks were read in replicates; a limit of blank needs {FEWEST_BLANKS}.",
            remedy="Put blanks on more plates.",
        )
    if not low:
        raise AssayError(
            what="No control of low concentration was read twice on a plate.",
            remedy="Put the lowest control on every plate in replicates.",
        )
    z = float(norm.ppf(_BETA))
    blank_sd, _ = _pooled_sd(blanks)
    low_sd, freedom = _pooled_sd(low)
    of_blank, of_detection = [], []
    for run in usable:
        direction = 1.0 if run.curve.infinite_response > run.curve.zero_response else -1.0
        at_blank = float(np.mean(run.blanks)) + direction * z * blank_sd
        at_detection = at_blank + direction * z / (1.0 - 1.0 / (4.0 * freedom)) * low_sd
        of_blank.append(_read(run.curve, at_blank, direction))
        of_detection.append(_read(run.curve, at_detection, direction))
    return PooledDetection(
        limit_of_blank=_median(of_blank),
        limit_of_detection=_median(of_detection),
        largest_limit_of_detection=None if None in of_detection else max(one for one in of_detection if one is not None),
        blank_sd=blank_sd,
        low_sd=low_sd,
        plates=len(usable),
        blanks=count,
        low_readings=sum(map(len, low)),
    )


def _pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    freedom = sum(len(values) - 1 for values in groups)
    squares = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in groups)
    return math.sqrt(squares / freedom), freedom


def _median(limits: Sequence[float | None]) -> float | None:
    """Median in which a limit that no concentration gives counts as endless."""
    found = float(np.median([math.inf if limit is None else limit for limit in limits]))
    return found if math.isfinite(found) else None
