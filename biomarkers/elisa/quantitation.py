"""From responses to concentrations: replicates, intervals, dilution, and the range within which a number is a number.

Knows one specimen's wells and a fitted curve. Must not know accessions, files or how the plate is laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeAlias

import numpy as np
from scipy.stats import t as t_distribution

from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.logistic import FloatArray
from biomarkers.elisa.plate import WellRead
from biomarkers.results import Comparator, Finding, Interval, Quantity, Severity

CONFIDENCE = 0.95

LARGEST_REPLICATE_CV_PERCENT = 20.0
"""Imprecision of replicates allowed by the usual rules for ligand-binding assays (ICH M10, section 4); 25 % at the limits."""

LARGEST_REPLICATE_CV_AT_LIMITS_PERCENT = 25.0

_SEARCH_STEPS = 160
_SEARCH_REACH = 1e6
_REFINEMENTS = 6
_REFINED_BY = 64

_Excess: TypeAlias = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Limits of quantification in the calibrators' unit, before dilution."""

    lloq: float
    uloq: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the curve says of one response, before dilution.

    Attributes
    ----------
    concentration
        None where the curve never gives that response.
    comparator
        ``"<"`` below the lower limit or on the far side of the zero dose, ``">"`` above the upper one or on the far side of the
        infinite dose. Which side that is follows the curve: beyond the zero dose means a *high* response on a falling curve.
    """

    concentration: float | None
    comparator: Comparator


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the curve says of replicate responses together, before dilution.

    Attributes
    ----------
    concentration, comparator
        As in :class:`Reading`.
    interval
        95 % limits; None without a concentration.
    each
        Concentration of every response alone; None where the curve never gives it.
    """

    concentration: float | None
    comparator: Comparator
    interval: Interval | None
    each: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantified:
    """A specimen's concentration with dilution applied, and what its reader must know.

    ``quantity`` is None when the wells allow no statement; a finding of severity REJECT then says why.
    """

    quantity: Quantity | None
    interval: Interval | None
    n_replicates: int
    findings: tuple[Finding, ...]


def read_concentration(curve: CalibrationCurve, response: float, limits: Range) -> Reading:
    """Read one response off the curve; an infinite response is an overflow of the reader."""
    zero, infinite = curve.curve.zero_response, curve.curve.infinite_response
    direction = 1.0 if curve.is_rising else -1.0
    if direction * (response - zero) < 0:
        return Reading(concentration=None, comparator="<")
    if direction * (response - infinite) >= 0:
        return Reading(concentration=None, comparator=">")
    found = float(curve.curve.concentration(np.array([response]))[0])
    if not np.isfinite(found):
        return Reading(concentration=None, comparator=">")
    # The zero dose itself is a concentration of 0, which is no quantity that could be reported other than as "<".
    return Reading(concentration=found, comparator=_side(found, limits))


def _side(concentration: float, limits: Range) -> Comparator:
    # A calibrator read back through its own curve may miss its nominal by a rounding; that is not out of range.
    slack = 1e-9
    if concentration < limits.lloq * (1.0 - slack):
        return "<"
    return ">" if concentration > limits.uloq * (1.0 + slack) else ""


def confidence_limits(curve: CalibrationCurve, response: float, n_replicates: int) -> Interval:
    """95 % limits for the concentration behind a new mean response of some wells, before dilution.

    Parameters
    ----------
    response
        Mean of the wells, strictly between zero and infinite dose.
    n_replicates
        Wells behind the mean.

    Notes
    -----
    The limits hold every concentration x for which ``(y - f(x))**2 <= t**2 (s(x)**2 / m + J V J')``: the noise of the m wells,
    as large as the weights suppose it at f(x), and the uncertainty of the curve, with Student's t for the residual degrees of
    freedom. Solved for x rather than linearised, because near the ends of the curve the two limits lie unequally far. A lower
    side that reaches a concentration of 0 ends there; an upper side the curve does not close is None.
    """
    t = float(t_distribution.ppf(0.5 + CONFIDENCE / 2, curve.degrees_of_freedom))
    target = float(curve.curve.scale(np.array([response]))[0])
    centre = float(curve.curve.concentration(np.array([response]))[0])

    def excess(x: FloatArray) -> FloatArray:
        fitted = curve.curve.scale(curve.curve.response(x))
        jacobian = curve.curve.jacobian(x)
        of_curve = np.einsum("ij,jk,ik->i", jacobian, curve.covariance, jacobian)
        variance = curve.well_variance(fitted) / n_replicates + of_curve
        return np.asarray((target - fitted) ** 2 - t**2 * variance, dtype=np.float64)

    steps = np.geomspace(1e-6, np.log(_SEARCH_REACH), _SEARCH_STEPS)
    lower = _crossing(excess, centre, centre * np.exp(-steps))
    upper = _crossing(excess, centre, centre * np.exp(steps))
    return Interval(lower=0.0 if lower is None else lower, upper=upper, level=CONFIDENCE)


def _crossing(excess: _Excess, inside: float, candidates: FloatArray) -> float | None:
    """Nearest candidate outside the limits, narrowed down; None where all lie inside."""
    outside = np.flatnonzero(excess(candidates) > 0)
    if outside.size == 0:
        return None
    first = int(outside[0])
    near, far = (inside if first == 0 else float(candidates[first - 1])), float(candidates[first])
    for _ in range(_REFINEMENTS):
        between = np.linspace(near, far, _REFINED_BY)
        beyond = np.flatnonzero(excess(between) > 0)
        crossed = int(beyond[0]) if beyond.size else len(between) - 1
        near, far = float(between[max(crossed - 1, 0)]), float(between[crossed])
    return 0.5 * (near + far)


def standard_error(curve: CalibrationCurve, response: float, n_replicates: int) -> float:
    """Give the standard error of the concentration behind a new mean response, by the delta method, before dilution."""
    x = curve.curve.concentration(np.array([response]))
    scaled = curve.curve.scale(np.array([response]))
    jacobian = curve.curve.jacobian(x)
    variance = curve.well_variance(scaled) / n_replicates + np.einsum("ij,jk,ik->i", jacobian, curve.covariance, jacobian)
    return float(np.sqrt(variance[0]) / abs(float(curve.curve.gradient(x)[0])))


def estimate(curve: CalibrationCurve, responses: Sequence[float], limits: Range) -> Estimate:
    """Read replicate responses off the curve together.

    Notes
    -----
    With wells fitted, the number is the concentration of the mean response. With means fitted, as plate-reader software does,
    it is the mean of the wells' concentrations, as that software reports it; where a well is out of the curve's reach it has no
    concentration to average, and the mean response decides.
    """
    mean_response = fmean(responses)
    reading = read_concentration(curve, mean_response, limits)
    each = tuple(read_concentration(curve, one, limits).concentration for one in responses)
    if reading.concentration is None:
        return Estimate(concentration=None, comparator=reading.comparator, interval=None, each=each)
    concentration = reading.concentration
    if curve.replicates == "mean" and None not in each:
        concentration = fmean(one for one in each if one is not None)
    return Estimate(
        concentration=concentration,
        comparator=_side(concentration, limits),
        interval=confidence_limits(curve, mean_response, len(responses)) if concentration > 0 else None,
        each=each,
    )


def quantify(
    wells: Sequence[WellRead], curve: CalibrationCurve, *, limits: Range, dilution_factor: float, unit: str, where: str
) -> Quantified:
    """Give one specimen's concentration from its replicate wells at one dilution.

    Parameters
    ----------
    wells
        All wells of the specimen, flagged ones included.
    where
        Place for findings: plate, analyte, slot, wells.
    """
    findings = list(_well_findings(wells, where))
    readable = [well for well in wells if well.flag == "" and well.value is not None]
    overflowing = [well for well in wells if well.flag == "overflow"]
    if overflowing:
        return _quantify_overflow(
            overflowing,
            readable,
            curve,
            limits=limits,
            dilution_factor=dilution_factor,
            unit=unit,
            where=where,
            findings=findings,
        )
    if not readable:
        findings.append(_unusable(where))
        return Quantified(quantity=None, interval=None, n_replicates=0, findings=tuple(findings))
    if len(readable) == 1:
        findings.append(_lone(where))
    values = [well.value for well in readable if well.value is not None]
    found = estimate(curve, values, limits)
    if found.comparator or found.concentration is None or found.interval is None:
        bound = _bound(found.comparator or "<", limits, dilution_factor, unit)
        return Quantified(quantity=bound, interval=None, n_replicates=len(values), findings=tuple(findings))
    findings.extend(_replicate_findings(values, found.each, found.concentration, limits, where))
    findings.extend(_extrapolation(found.concentration, curve, unit, where))
    return Quantified(
        quantity=Quantity(value=found.concentration * dilution_factor, unit=unit),
        interval=_diluted(found.interval, dilution_factor),
        n_replicates=len(values),
        findings=tuple(findings),
    )


def _quantify_overflow(
    overflowing: Sequence[WellRead],
    readable: Sequence[WellRead],
    curve: CalibrationCurve,
    *,
    limits: Range,
    dilution_factor: float,
    unit: str,
    where: str,
    findings: list[Finding],
) -> Quantified:
    """Report a bound where the other wells agree with the overflow, else no number: it lies above all the reader can tell."""
    side = read_concentration(curve, float(np.inf), limits).comparator
    agreeing = all(
        well.value is not None and read_concentration(curve, well.value, limits).comparator == side for well in readable
    )
    if agreeing:
        return Quantified(
            quantity=_bound(side, limits, dilution_factor, unit),
            interval=None,
            n_replicates=len(overflowing) + len(readable),
            findings=tuple(findings),
        )
    findings.append(
        Finding(
            code="REPLICATES_DISAGREE",
            severity=Severity.REJECT,
            where=where,
            message=f"{len(overflowing)} of {len(overflowing) + len(readable)} wells overflowed while the others are in range.",
            remedy="Look at the wells for bubbles or splashes; repeat the specimen.",
        )
    )
    return Quantified(quantity=None, interval=None, n_replicates=len(readable), findings=tuple(findings))


def _bound(side: Comparator, limits: Range, dilution_factor: float, unit: str) -> Quantity:
    limit = limits.lloq if side == "<" else limits.uloq
    return Quantity(value=limit * dilution_factor, unit=unit, comparator=side)


def _diluted(interval: Interval, dilution_factor: float) -> Interval:
    return Interval(
        lower=None if interval.lower is None else interval.lower * dilution_factor,
        upper=None if interval.upper is None else interval.upper * dilution_factor,
        level=interval.level,
    )


def _well_findings(wells: Sequence[WellRead], where: str) -> list[Finding]:
    told = {
        "overflow": ("WELL_OVERFLOW", "The reader could not read this well because it absorbs too much"),
        "masked": ("WELL_MASKED", "The well was left out"),
        "missing": ("WELL_MISSING", "The export holds no reading of this well"),
    }
    findings = []
    for well in wells:
        if well.flag:
            code, sentence = told[well.flag]
            reason = f": {well.mask_reason}" if well.mask_reason else ""
            findings.append(
                Finding(
                    code=code,
                    severity=Severity.WARNING,
                    where=f"{where} Well {well.position}.",
                    message=f"{sentence}{reason} (the export says '{well.raw_text}').",
                    remedy="Check the well; repeat the specimen if its number matters.",
                )
            )
    return findings


def _unusable(where: str) -> Finding:
    return Finding(
        code="NO_USABLE_WELL",
        severity=Severity.REJECT,
        where=where,
        message="No well of this specimen can be used.",
        remedy="Repeat the specimen.",
    )


def _lone(where: str) -> Finding:
    return Finding(
        code="LONE_REPLICATE",
        severity=Severity.WARNING,
        where=where,
        message="Only one well could be used, so nothing is known of the replicates' agreement.",
        remedy="Repeat the specimen in duplicate if its number matters.",
    )


def cv_percent(values: Sequence[float]) -> float | None:
    """Coefficient of variation of replicates, percent; None for fewer than two or a mean of 0."""
    mean = fmean(values) if values else 0.0
    return None if len(values) < 2 or mean == 0 else 100.0 * stdev(values) / abs(mean)


def _replicate_findings(
    responses: Sequence[float], each: Sequence[float | None], concentration: float, limits: Range, where: str
) -> list[Finding]:
    if len(responses) < 2:
        return []
    known = [found for found in each if found is not None]
    of_concentration = cv_percent(known) if len(known) == len(each) else None
    of_response = cv_percent(responses)
    # One calibrator step of the usual two-fold series beside a limit counts as "at" it.
    at_limits = concentration < 1.5 * limits.lloq or concentration > limits.uloq / 1.5
    allowed = LARGEST_REPLICATE_CV_AT_LIMITS_PERCENT if at_limits else LARGEST_REPLICATE_CV_PERCENT
    if of_concentration is not None and of_concentration <= allowed:
        return []
    found = "unknown, as a well has no concentration" if of_concentration is None else f"{of_concentration:.1f} %"
    beside = "" if of_response is None else f" (of the response {of_response:.1f} %)"
    return [
        Finding(
            code="REPLICATE_CV",
            severity=Severity.WARNING,
            where=where,
            message=f"The replicates' concentrations vary by a CV of {found}{beside}; {allowed:g} % is allowed.",
            remedy="Look at the wells; repeat the specimen.",
        )
    ]


def _extrapolation(concentration: float, curve: CalibrationCurve, unit: str, where: str) -> list[Finding]:
    if curve.lowest_nominal <= concentration * (1 + 1e-9) and concentration * (1 - 1e-9) <= curve.highest_nominal:
        return []
    return [
        Finding(
            code="EXTRAPOLATED",
            severity=Severity.WARNING,
            where=where,
            message=(
                f"{concentration:.4g} {unit} before dilution lies outside the calibrators in the fit, "
                f"{curve.lowest_nominal:g} to {curve.highest_nominal:g} {unit}."
            ),
            remedy="Trust the number only if validation covers it; otherwise repeat at another dilution.",
        )
    ]
