"""One specimen at several dilutions on a plate: which of its numbers is reported, and what the series says of the assay.

Knows a specimen's dilutions, quantified, and the curve they were read from. Must not know other specimens, verdicts or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from biomarkers.elisa.assay_plate import AnalytePlate
from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.dilution import (
    EQUIVALENT_SLOPES,
    DilutionPoint,
    Parallelism,
    dilution_linearity,
    hook_finding,
    hooked_dilutions,
    parallelism,
)
from biomarkers.elisa.plate import LayoutWell
from biomarkers.elisa.quantitation import Quantified
from biomarkers.elisa.records import DilutionRecord
from biomarkers.errors import AssayError
from biomarkers.results import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class DilutedWells:
    """A specimen's wells at one dilution, and what they say."""

    dilution_factor: float
    wells: tuple[LayoutWell, ...]
    found: Quantified


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOutcome:
    """What a specimen reports, and the series behind it; no record where the specimen stands in one dilution alone."""

    reported: Quantified
    record: DilutionRecord | None


def report_series(
    plate: AnalytePlate, curve: CalibrationCurve, accession_id: str, dilutions: Sequence[DilutedWells]
) -> SeriesOutcome:
    """Report the least diluted number in range before which there is no hook, else the tightest bound.

    Parameters
    ----------
    dilutions
        Ascending.
    """
    if len(dilutions) == 1:
        return SeriesOutcome(reported=dilutions[0].found, record=None)
    where = f"{plate.where} Accession '{accession_id}'."
    points = [_point(one) for one in dilutions if one.found.quantity is not None]
    hooked = hooked_dilutions(points)
    rules = plate.analyte.acceptance
    linearity = dilution_linearity(
        [point for point in points if point.dilution_factor not in hooked],
        where=where,
        deviation_percent=rules.dilution_deviation_percent,
        cv_limit_percent=rules.parallelism_cv_percent,
    )
    sound = [one for one in dilutions if one.dilution_factor not in hooked]
    slopes = _parallelism(plate, curve, [one for one in sound if _in_range(one)], where)
    chosen = _chosen([one.found for one in sound])
    note = Finding(
        code="DILUTION_SERIES",
        severity=Severity.NOTE,
        where=where,
        message=f"The specimen stands on the plate in {len(dilutions)} dilutions; the least diluted in range is reported.",
        remedy="Compare the dilutions on the quality page.",
    )
    of_hook = (hook_finding(hooked, where),) if hooked else ()
    of_slopes = () if slopes is None else _slope_findings(slopes, where)
    corrected: Mapping[float, float | None] = {point.dilution_factor: point.corrected for point in points}
    return SeriesOutcome(
        reported=replace(chosen, findings=(*chosen.findings, note, *of_hook, *linearity.findings, *of_slopes)),
        record=DilutionRecord(
            analyte=plate.analyte.code,
            accession_id=accession_id,
            dilution_factors=tuple(one.dilution_factor for one in dilutions),
            corrected=tuple(corrected.get(one.dilution_factor) for one in dilutions),
            hooked=hooked,
            cv_percent=linearity.cv_percent,
            slope=linearity.slope,
            slope_lower=None if linearity.slope_interval is None else linearity.slope_interval.lower,
            slope_upper=None if linearity.slope_interval is None else linearity.slope_interval.upper,
            slope_ratio=None if slopes is None else slopes.slope_ratio,
            slope_ratio_lower=None if slopes is None else slopes.interval.lower,
            slope_ratio_upper=None if slopes is None else slopes.interval.upper,
            is_parallel=None if slopes is None else slopes.is_parallel,
        ),
    )


def _in_range(one: DilutedWells) -> bool:
    return one.found.quantity is not None and not one.found.quantity.comparator


def _chosen(left: Sequence[Quantified]) -> Quantified:
    """Take the first number in range, else the tightest bound above, else one below, else what there is."""
    in_range = [one for one in left if one.quantity is not None and not one.quantity.comparator]
    above = [one for one in left if one.quantity is not None and one.quantity.comparator == ">"]
    below = [one for one in left if one.quantity is not None and one.quantity.comparator == "<"]
    return (in_range or above[-1:] or below or list(left))[0]


def _point(one: DilutedWells) -> DilutionPoint:
    quantity = one.found.quantity
    assert quantity is not None
    if quantity.comparator:
        return DilutionPoint(dilution_factor=one.dilution_factor, concentration=None, comparator=quantity.comparator)
    return DilutionPoint(dilution_factor=one.dilution_factor, concentration=quantity.value / one.dilution_factor)


def _parallelism(
    plate: AnalytePlate, curve: CalibrationCurve, dilutions: Sequence[DilutedWells], where: str
) -> Parallelism | None:
    """Compare slopes where three dilutions are in range and the curve is a logistic; else there is nothing to say."""
    if len(dilutions) < 3:
        return None
    factors, responses = [], []
    for one in dilutions:
        for well in one.wells:
            read = plate.read_of(well)
            if read.value is not None and not read.flag:
                factors.append(one.dilution_factor)
                responses.append(read.value)
    try:
        return parallelism(curve, factors, responses, where=where)
    except AssayError:
        return None


def _slope_findings(slopes: Parallelism, where: str) -> tuple[Finding, ...]:
    low, high = EQUIVALENT_SLOPES
    if slopes.is_parallel:
        return ()
    is_apart = not low <= slopes.slope_ratio <= high
    told = (
        f"The specimen's dilutions have a slope of {slopes.slope_ratio:.2f} times that of the calibrators "
        f"(90 % limits {slopes.interval.lower:.2f} to {slopes.interval.upper:.2f}; {low:g} to {high:g} counts as parallel)."
    )
    return (
        Finding(
            code="NOT_PARALLEL" if is_apart else "PARALLELISM_NOT_SHOWN",
            severity=Severity.WARNING if is_apart else Severity.NOTE,
            where=where,
            message=told,
            remedy=(
                "Something in the specimen disturbs the assay; dilute it until the slopes agree, or find the cause."
                if is_apart
                else "Measure more dilutions, or more wells of each, if parallelism is to be shown."
            ),
        ),
    )
