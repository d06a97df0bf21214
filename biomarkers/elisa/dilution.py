"""Does a specimen dilute like the calibrators: linearity, parallelism, recovery of a spike, and the hook.

Knows one specimen at several dilutions, or with and without a known addition. Must not know plates or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np
from scipy.stats import t as t_distribution

from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.logistic import FivePL, FourPL
from biomarkers.elisa.replicates import cv_percent
from biomarkers.errors import AssayError
from biomarkers.results import Comparator, Finding, Interval, Severity

HOOK_FACTOR = 1.2
"""How much more a more diluted well must hold, before its dilution is counted, than a less diluted one to be called a hook.
Without a hook it holds less by the step of the dilution; noise of 10 % cannot turn a twofold step round."""

EQUIVALENT_SLOPES = (0.8, 1.25)
"""Slope of a specimen's dilutions over that of the calibrators within which the two are called parallel, interval included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DilutionPoint:
    """One dilution of a specimen.

    Attributes
    ----------
    dilution_factor
        4 means one part in four.
    concentration
        In the well, before dilution is counted; None where the curve gives none.
    comparator
        On which side of the range it lies; ``""`` within.
    """

    dilution_factor: float
    concentration: float | None
    comparator: Comparator = ""

    @property
    def corrected(self) -> float | None:
        """Concentration in the specimen, as far as this dilution tells; None outside the range."""
        return None if self.concentration is None or self.comparator else self.concentration * self.dilution_factor


@dataclass(frozen=True, slots=True, kw_only=True)
class DilutionLinearity:
    """How the corrected concentrations of a series agree.

    Attributes
    ----------
    dilution_factors, recoveries_percent
        Of the dilutions within the range, over the least diluted one of them.
    cv_percent
        Coefficient of variation of the corrected concentrations; None for fewer than two.
    slope, slope_interval
        Of the logarithm of the measured concentration over that of the share of specimen: 1 where it dilutes like the
        calibrators. None for fewer than two, the interval for fewer than three dilutions.
    """

    dilution_factors: tuple[float, ...]
    recoveries_percent: tuple[float, ...]
    cv_percent: float | None
    slope: float | None
    slope_interval: Interval | None
    findings: tuple[Finding, ...]


def dilution_linearity(
    points: Sequence[DilutionPoint], *, where: str, deviation_percent: float = 20.0, cv_limit_percent: float = 30.0
) -> DilutionLinearity:
    """Hold a specimen's dilutions against each other.

    Parameters
    ----------
    deviation_percent
        How far a corrected concentration may lie from the mean of them all (ICH M10 allows 20 % for dilution).
    cv_limit_percent
        Largest coefficient of variation of the corrected concentrations, the usual limit for parallelism.
    """
    within = sorted((point for point in points if point.corrected is not None), key=lambda point: point.dilution_factor)
    corrected = [point.corrected for point in within if point.corrected is not None]
    if not corrected:
        return DilutionLinearity(
            dilution_factors=(), recoveries_percent=(), cv_percent=None, slope=None, slope_interval=None, findings=()
        )
    spread = cv_percent(corrected)
    slope, interval = _slope(within)
    mean = fmean(corrected)
    off = [
        f"1 in {point.dilution_factor:g} by {100.0 * (value / mean - 1.0):+.0f} %"
        for point, value in zip(within, corrected, strict=True)
        if abs(value / mean - 1.0) > deviation_percent / 100.0
    ]
    findings = []
    if spread is not None and (spread > cv_limit_percent or off):
        told = f"; off their mean are {', '.join(off)}" if off else ""
        findings.append(
            Finding(
                code="DILUTION_NOT_LINEAR",
                severity=Severity.WARNING,
                where=where,
                message=(
                    f"The corrected concentrations of {len(corrected)} dilutions vary by a CV of {spread:.1f} % "
                    f"({cv_limit_percent:g} % is allowed){told}."
                ),
                remedy="Something in the specimen disturbs the assay; choose the dilution from which on the numbers agree.",
            )
        )
    return DilutionLinearity(
        dilution_factors=tuple(point.dilution_factor for point in within),
        recoveries_percent=tuple(100.0 * value / corrected[0] for value in corrected),
        cv_percent=spread,
        slope=slope,
        slope_interval=interval,
        findings=tuple(findings),
    )


def _slope(points: Sequence[DilutionPoint]) -> tuple[float | None, Interval | None]:
    if len(points) < 2:
        return None, None
    share = np.array([-math.log(point.dilution_factor) for point in points])
    measured = np.array([math.log(point.concentration) for point in points if point.concentration])
    if len(measured) != len(share) or np.ptp(share) == 0:
        return None, None
    return _line(share, measured)


def _line(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[float, Interval | None]:
    centred = x - np.mean(x)
    squares = float(centred @ centred)
    slope = float(centred @ y) / squares
    freedom = len(x) - 2
    if freedom < 1:
        return slope, None
    left = y - np.mean(y) - slope * centred
    half = float(t_distribution.ppf(0.975, freedom)) * math.sqrt(float(left @ left) / freedom / squares)
    return slope, Interval(lower=slope - half, upper=slope + half)


def hooked_dilutions(points: Sequence[DilutionPoint]) -> tuple[float, ...]:
    """Name the dilution factors at which a specimen overwhelmed the assay.

    Where a more diluted well holds more than a less diluted one, before the dilution is counted, the less diluted one, and all
    still less diluted, lie beyond the hook: their numbers are too low.
    """
    series = sorted(points, key=lambda point: point.dilution_factor)
    hooked = 0
    for index, (less, more) in enumerate(pairwise(series)):
        if _held(more) > HOOK_FACTOR * _held(less) and less.comparator != ">":
            hooked = index + 1
    return tuple(point.dilution_factor for point in series[:hooked])


def _held(point: DilutionPoint) -> float:
    if point.concentration is not None:
        return point.concentration
    return math.inf if point.comparator == ">" else 0.0


def hook_finding(hooked: Sequence[float], where: str) -> Finding:
    """Say that a specimen shows a hook, and at which dilutions."""
    return Finding(
        code="HOOK_EFFECT",
        severity=Severity.WARNING,
        where=where,
        message=(
            f"More diluted wells read higher than those diluted one in {', '.join(f'{factor:g}' for factor in hooked)}: "
            f"there the specimen overwhelmed the assay, and those numbers are not used."
        ),
        remedy="Report a more diluted number; measure specimens of this subject in dilution from now on.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeRecovery:
    """How much of a known addition was found again."""

    added: float
    found: float
    recovery_percent: float
    findings: tuple[Finding, ...]


def spike_recovery(
    *, unspiked: float, spiked: float, added: float, where: str, deviation_percent: float = 20.0, unspiked_share: float = 1.0
) -> SpikeRecovery:
    """Hold a spiked specimen against the same one without the spike.

    Parameters
    ----------
    unspiked, spiked, added
        Concentrations in the same unit and at the same dilution; ``added`` is what the spike contributes.
    unspiked_share
        Share of specimen left in the spiked mixture: 0.9 where one part of spike was added to nine.

    Raises
    ------
    AssayError
        Nothing was added.
    """
    if not added > 0:
        raise AssayError(
            what=f"A spike of {added:g} adds nothing.",
            where=where,
            remedy="Write what was added into the block 'concentration'.",
        )
    found = spiked - unspiked_share * unspiked
    recovery = 100.0 * found / added
    findings: tuple[Finding, ...] = ()
    if abs(recovery - 100.0) > deviation_percent:
        findings = (
            Finding(
                code="SPIKE_RECOVERY",
                severity=Severity.WARNING,
                where=where,
                message=f"Of {added:g} added, {recovery:.1f} % are found; {deviation_percent:g} % off is allowed.",
                remedy="The matrix disturbs the assay; dilute the specimen further, or exclude it with this reason.",
            ),
        )
    return SpikeRecovery(added=added, found=found, recovery_percent=recovery, findings=findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Slope of a specimen's own curve over that of the calibrators, on the logit scale.

    ``is_parallel`` holds when the whole interval lies within the limits: equivalence is shown, not merely no difference found.
    """

    slope_ratio: float
    interval: Interval
    is_parallel: bool


def parallelism(
    curve: CalibrationCurve,
    dilution_factors: Sequence[float],
    responses: Sequence[float],
    *,
    where: str,
    equivalent: tuple[float, float] = EQUIVALENT_SLOPES,
) -> Parallelism:
    """Compare the slope of a specimen's dilution curve with the calibrators' (equivalence of slopes, 90 % interval).

    Parameters
    ----------
    curve
        A logistic; the specimen is supposed to share its end levels, as it does when it holds the same substance.
    responses
        One a dilution, or several.

    Raises
    ------
    AssayError
        Fewer than three responses lie between the curve's ends, or the curve is no logistic.
    """
    shape = curve.curve
    if not isinstance(shape, FourPL | FivePL):
        raise AssayError(
            what="Slopes are compared on a logistic.", where=where, remedy="Fit the calibrators with '4pl' or '5pl'."
        )
    held = shape.concentration(np.array(responses, dtype=np.float64))
    share = -np.log(np.array(dilution_factors, dtype=np.float64))
    known = np.isfinite(held) & (held > 0)
    if np.count_nonzero(known) < 3 or np.ptp(share[known]) == 0:
        raise AssayError(
            what=f"{np.count_nonzero(known)} responses lie between the curve's ends; three at different dilutions are needed.",
            where=where,
            remedy="Measure more dilutions within the range.",
        )
    # ln concentration read off the calibrators is linear in ln share with slope (specimen's slope) / (calibrators' slope).
    x, y = share[known], np.log(held[known])
    centred = x - np.mean(x)
    squares = float(centred @ centred)
    slope = float(centred @ y) / squares
    left = y - np.mean(y) - slope * centred
    freedom = len(x) - 2
    of_specimen = float(left @ left) / freedom / squares
    of_curve = (slope * float(curve.standard_errors()[1]) / shape.slope) ** 2
    half = float(t_distribution.ppf(0.95, freedom)) * math.sqrt(of_specimen + of_curve)
    interval = Interval(lower=slope - half, upper=slope + half, level=0.90)
    low, high = equivalent
    return Parallelism(slope_ratio=slope, interval=interval, is_parallel=low <= slope - half and slope + half <= high)
