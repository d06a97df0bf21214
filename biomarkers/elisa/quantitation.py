"""From responses to concentrations: replicates, intervals, dilution, and the range within which a number is a number.

Knows one specimen's wells and a fitted curve. Must not know accessions, files or how the plate is laid out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.intervals import CONFIDENCE, confidence_limits, limits_of_many, standard_error
from biomarkers.elisa.plate import WellRead
from biomarkers.elisa.replicates import (
    AllowedCv,
    Range,
    ReplicateWells,
    cv_percent,
    extrapolation,
    lone,
    replicate_findings,
    unusable,
    well_findings,
)
from biomarkers.results import Comparator, Finding, Interval, Quantity, Severity

__all__ = [
    "CONFIDENCE",
    "AllowedCv",
    "Estimate",
    "Quantified",
    "Range",
    "Reading",
    "ReplicateWells",
    "confidence_limits",
    "cv_percent",
    "estimate",
    "estimate_many",
    "quantify",
    "quantify_many",
    "read_concentration",
    "read_concentrations",
    "standard_error",
]


_ANY = Range(lloq=0.0, uloq=float(np.inf))


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
    return read_concentrations(curve, [response], limits)[0]


def read_concentrations(curve: CalibrationCurve, responses: Sequence[float], limits: Range) -> tuple[Reading, ...]:
    """Read many responses off the curve, each alone."""
    values = np.array(responses, dtype=np.float64)
    zero, infinite = curve.curve.zero_response, curve.curve.infinite_response
    # Compared, not subtracted: lines have no asymptote, and an overflow lies at the same endless height as their end.
    overflow = np.isposinf(values)
    if curve.is_rising:
        below, above = values < zero, (values >= infinite) | overflow
    else:
        below, above = (values > zero) | overflow, values <= infinite
    found = curve.curve.concentration(np.where(np.isfinite(values), values, np.nan))
    return tuple(
        Reading(concentration=None, comparator="<")
        if is_below
        else Reading(concentration=None, comparator=">")
        if is_above or not np.isfinite(concentration)
        # The zero dose itself is a concentration of 0, which is no quantity that could be reported other than as "<".
        else Reading(concentration=float(concentration), comparator=limits.side(float(concentration)))
        for is_below, is_above, concentration in zip(below, above, found, strict=True)
    )


def estimate(curve: CalibrationCurve, responses: Sequence[float], limits: Range) -> Estimate:
    """Read replicate responses off the curve together.

    Notes
    -----
    With wells fitted, the number is the concentration of the mean response. With means fitted, as plate-reader software does,
    it is the mean of the wells' concentrations, as that software reports it; where a well is out of the curve's reach it has no
    concentration to average, and the mean response decides.
    """
    return estimate_many(curve, [(tuple(responses), limits)])[0]


def estimate_many(curve: CalibrationCurve, replicates: Sequence[tuple[Sequence[float], Range]]) -> tuple[Estimate, ...]:
    """Read the replicate responses of many specimens off the curve, each with its limits of quantification."""
    means = [fmean(responses) for responses, _ in replicates]
    readings = read_concentrations(curve, means, _ANY)
    each = _each(curve, replicates)
    # A concentration of 0 has no interval around it that a logarithm could hold.
    known = [index for index, reading in enumerate(readings) if reading.concentration is not None and reading.concentration > 0]
    intervals = dict(
        zip(
            known,
            limits_of_many(
                curve, np.array([means[index] for index in known]), np.array([len(replicates[index][0]) for index in known])
            ),
            strict=True,
        )
    )
    found = []
    for index, (reading, (_, limits)) in enumerate(zip(readings, replicates, strict=True)):
        concentration = reading.concentration
        if concentration is None:
            found.append(Estimate(concentration=None, comparator=reading.comparator, interval=None, each=each[index]))
            continue
        if curve.replicates == "mean" and None not in each[index]:
            concentration = fmean(one for one in each[index] if one is not None)
        found.append(
            Estimate(
                concentration=concentration,
                comparator=limits.side(concentration),
                interval=intervals.get(index),
                each=each[index],
            )
        )
    return tuple(found)


def _each(curve: CalibrationCurve, replicates: Sequence[tuple[Sequence[float], Range]]) -> list[tuple[float | None, ...]]:
    """Concentration of every single well, None where the curve never gives it."""
    together = [response for responses, _ in replicates for response in responses]
    readings = iter(read_concentrations(curve, together, _ANY))
    return [tuple(next(readings).concentration for _ in responses) for responses, _ in replicates]


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
    replicates = ReplicateWells(wells=tuple(wells), limits=limits, dilution_factor=dilution_factor, where=where)
    return quantify_many([replicates], curve, unit=unit)[0]


def quantify_many(
    specimens: Sequence[ReplicateWells], curve: CalibrationCurve, *, unit: str, allowed_cv: AllowedCv | None = None
) -> tuple[Quantified, ...]:
    """Give the concentrations of many specimens, each from its replicate wells at one dilution."""
    readable = [_readable(specimen) for specimen in specimens]
    measured = [index for index, values in enumerate(readable) if values and not _overflowing(specimens[index])]
    estimates = dict(
        zip(measured, estimate_many(curve, [(readable[index], specimens[index].limits) for index in measured]), strict=True)
    )
    return tuple(
        _quantified(specimen, readable[index], estimates.get(index), curve, unit, allowed_cv or AllowedCv())
        for index, specimen in enumerate(specimens)
    )


def _readable(specimen: ReplicateWells) -> list[float]:
    return [well.value for well in specimen.wells if well.flag == "" and well.value is not None]


def _overflowing(specimen: ReplicateWells) -> int:
    return sum(well.flag == "overflow" for well in specimen.wells)


def _quantified(  # noqa: PLR0917  - what is known of one specimen, in the order in which it became known
    specimen: ReplicateWells,
    values: Sequence[float],
    found: Estimate | None,
    curve: CalibrationCurve,
    unit: str,
    allowed_cv: AllowedCv,
) -> Quantified:
    findings = list(well_findings(specimen.wells, specimen.where))
    if _overflowing(specimen):
        return _quantify_overflow(specimen, values, curve, unit, findings)
    if found is None:
        findings.append(unusable(specimen.where))
        return Quantified(quantity=None, interval=None, n_replicates=0, findings=tuple(findings))
    if len(values) == 1:
        findings.append(lone(specimen.where))
    if found.comparator or found.concentration is None or found.interval is None:
        bound = _bound(found.comparator or "<", specimen, unit)
        return Quantified(quantity=bound, interval=None, n_replicates=len(values), findings=tuple(findings))
    findings.extend(replicate_findings(values, found.each, found.concentration, specimen, allowed_cv))
    fitted = Range(lloq=curve.lowest_nominal, uloq=curve.highest_nominal)
    findings.extend(extrapolation(found.concentration, fitted, unit, specimen.where))
    return Quantified(
        quantity=Quantity(value=found.concentration * specimen.dilution_factor, unit=unit),
        interval=_diluted(found.interval, specimen.dilution_factor),
        n_replicates=len(values),
        findings=tuple(findings),
    )


def _quantify_overflow(
    specimen: ReplicateWells, values: Sequence[float], curve: CalibrationCurve, unit: str, findings: list[Finding]
) -> Quantified:
    """Report a bound where the other wells agree with the overflow, else no number: it lies above all the reader can tell."""
    overflowing = _overflowing(specimen)
    side = read_concentration(curve, float(np.inf), specimen.limits).comparator
    agreeing = all(reading.comparator == side for reading in read_concentrations(curve, values, specimen.limits))
    if agreeing:
        return Quantified(
            quantity=_bound(side, specimen, unit),
            interval=None,
            n_replicates=overflowing + len(values),
            findings=tuple(findings),
        )
    findings.append(
        Finding(
            code="REPLICATES_DISAGREE",
            severity=Severity.REJECT,
            where=specimen.where,
            message=f"{overflowing} of {overflowing + len(values)} wells overflowed while the others are in range.",
            remedy="Look at the wells for bubbles or splashes; repeat the specimen.",
        )
    )
    return Quantified(quantity=None, interval=None, n_replicates=len(values), findings=tuple(findings))


def _bound(side: Comparator, specimen: ReplicateWells, unit: str) -> Quantity:
    limit = specimen.limits.lloq if side == "<" else specimen.limits.uloq
    return Quantity(value=limit * specimen.dilution_factor, unit=unit, comparator=side)


def _diluted(interval: Interval, dilution_factor: float) -> Interval:
    return Interval(
        lower=None if interval.lower is None else interval.lower * dilution_factor,
        upper=None if interval.upper is None else interval.upper * dilution_factor,
        level=interval.level,
    )
