"""One specimen's replicate wells: the range they are held against, how far they agree, and what their reader must know.

Knows wells and concentrations. Must not know curves, accessions or how the plate is laid out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from biomarkers.elisa.plate import WellRead
from biomarkers.results import Comparator, Finding, Severity

LARGEST_REPLICATE_CV_PERCENT = 20.0
"""Imprecision of replicates allowed by the usual rules for ligand-binding assays (ICH M10, section 4); 25 % at the limits."""

LARGEST_REPLICATE_CV_AT_LIMITS_PERCENT = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Limits of quantification in the calibrators' unit, before dilution."""

    lloq: float
    uloq: float

    def side(self, concentration: float) -> Comparator:
        """On which side of the range a concentration lies; ``""`` within."""
        # A calibrator read back through its own curve may miss its nominal by a rounding; that is not out of range.
        slack = 1e-9
        if concentration < self.lloq * (1.0 - slack):
            return "<"
        return ">" if concentration > self.uloq * (1.0 + slack) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCv:
    """Largest coefficient of variation of replicates' concentrations, percent; another one beside the limits."""

    percent: float = LARGEST_REPLICATE_CV_PERCENT
    at_limits_percent: float = LARGEST_REPLICATE_CV_AT_LIMITS_PERCENT


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicateWells:
    """One specimen's wells at one dilution, flagged ones included.

    Attributes
    ----------
    limits
        Of quantification in the calibrators' unit, before dilution.
    where
        Place for findings: plate, analyte, slot, wells.
    """

    wells: tuple[WellRead, ...]
    limits: Range
    dilution_factor: float
    where: str


def well_findings(wells: Sequence[WellRead], where: str) -> list[Finding]:
    """Tell every flagged well with the reader's own words."""
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


def unusable(where: str) -> Finding:
    """Say that no well of a specimen can be used."""
    return Finding(
        code="NO_USABLE_WELL",
        severity=Severity.REJECT,
        where=where,
        message="No well of this specimen can be used.",
        remedy="Repeat the specimen.",
    )


def lone(where: str) -> Finding:
    """Say that a number rests on one well."""
    return Finding(
        code="LONE_REPLICATE",
        severity=Severity.WARNING,
        where=where,
        message="Only one well could be used, so nothing is known of the replicates' agreement.",
        remedy="Repeat the specimen in duplicate if its number matters.",
    )


def cv_percent(values: Sequence[float]) -> float | None:
    """Coefficient of variation of replicates, percent; None for fewer than two or a mean of 0."""
    count = len(values)
    mean = math.fsum(values) / count if count else 0.0
    if count < 2 or mean == 0:
        return None
    # Two passes in plain numbers: the library's exact fractions cost more than a whole curve fit over a plate.
    return 100.0 * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1)) / abs(mean)


def replicate_findings(
    responses: Sequence[float],
    each: Sequence[float | None],
    concentration: float,
    specimen: ReplicateWells,
    allowed_cv: AllowedCv,
) -> list[Finding]:
    """Tell replicates that disagree in concentration, with the response's own variation beside it."""
    if len(responses) < 2:
        return []
    known = [found for found in each if found is not None]
    of_concentration = cv_percent(known) if len(known) == len(each) else None
    of_response = cv_percent(responses)
    # One calibrator step of the usual two-fold series beside a limit counts as "at" it.
    at_limits = concentration < 1.5 * specimen.limits.lloq or concentration > specimen.limits.uloq / 1.5
    allowed = allowed_cv.at_limits_percent if at_limits else allowed_cv.percent
    if of_concentration is not None and of_concentration <= allowed:
        return []
    found = "unknown, as a well has no concentration" if of_concentration is None else f"{of_concentration:.1f} %"
    beside = "" if of_response is None else f" (of the response {of_response:.1f} %)"
    return [
        Finding(
            code="REPLICATE_CV",
            severity=Severity.WARNING,
            where=specimen.where,
            message=f"The replicates' concentrations vary by a CV of {found}{beside}; {allowed:g} % is allowed.",
            remedy="Look at the wells; repeat the specimen.",
        )
    ]


def extrapolation(concentration: float, calibrators: Range, unit: str, where: str) -> list[Finding]:
    """Tell a number outside the calibrators that were fitted."""
    if not calibrators.side(concentration):
        return []
    return [
        Finding(
            code="EXTRAPOLATED",
            severity=Severity.WARNING,
            where=where,
            message=(
                f"{concentration:.4g} {unit} before dilution lies outside the calibrators in the fit, "
                f"{calibrators.lloq:g} to {calibrators.uloq:g} {unit}."
            ),
            remedy="Trust the number only if validation covers it; otherwise repeat at another dilution.",
        )
    ]
