"""Is the plate to be trusted: what its calibrators and controls say.

Knows nominal against back-calculated concentrations and the deviations allowed. Must not know specimens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from biomarkers.elisa.assay_plate import AnalytePlate
from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.plate import LayoutWell, WellRead, WellRole
from biomarkers.elisa.quantitation import read_concentration
from biomarkers.results import Finding, Severity

LARGEST_CONTROL_DEVIATION_PERCENT = 20.0
"""How far a control, or a calibrator read back, may lie from its nominal; 25 % for calibrators at the limits (ICH M10)."""

LARGEST_DEVIATION_AT_LIMITS_PERCENT = 25.0


def calibrator_findings(plate: AnalytePlate, calibrators: Sequence[tuple[LayoutWell, WellRead]]) -> list[Finding]:
    """Tell calibrator wells that are not in the fit, and levels other than the study declares."""
    findings = []
    for well, read in calibrators:
        if read.flag:
            reason = f": {read.mask_reason}" if read.mask_reason else ""
            findings.append(
                Finding(
                    code=f"WELL_{read.flag.upper()}",
                    severity=Severity.NOTE if read.flag == "masked" else Severity.WARNING,
                    where=f"{plate.where} Calibrator '{well.slot}', well {well.position}.",
                    message=f"The calibrator well is not in the fit; it is {read.flag}{reason}.",
                    remedy="Check the well; repeat the plate if its level has no other.",
                )
            )
    on_plate = sorted({well.concentration for well, _ in calibrators if well.concentration is not None})
    declared = sorted(plate.analyte.calibrators)
    if len(on_plate) != len(declared) or not np.allclose(on_plate, declared, rtol=1e-3, atol=0.0):
        findings.append(
            Finding(
                code="CALIBRATORS_DIFFER",
                severity=Severity.WARNING,
                where=plate.where,
                message=(
                    f"The layout's calibrators, {', '.join(f'{level:g}' for level in on_plate)} {plate.analyte.unit}, are not "
                    f"those the study declares, {', '.join(f'{level:g}' for level in declared)} {plate.analyte.unit}."
                ),
                remedy="Check that the map names the right layout; then correct layout or study.toml.",
            )
        )
    return findings


def recovery_findings(plate: AnalytePlate, curve: CalibrationCurve) -> list[Finding]:
    """Tell calibrators within the range that the curve does not give back."""
    findings = []
    for level in curve.levels:
        if not plate.limits.lloq <= level.nominal <= plate.limits.uloq:
            continue  # anchors outside the range shape the curve and are not judged
        at_limits = level.nominal in (curve.lowest_nominal, curve.highest_nominal)
        allowed = LARGEST_DEVIATION_AT_LIMITS_PERCENT if at_limits else LARGEST_CONTROL_DEVIATION_PERCENT
        if level.recovery_percent is None or abs(level.recovery_percent - 100.0) > allowed:
            found = "not at all" if level.recovery_percent is None else f"as {level.recovery_percent:.1f} % of it"
            findings.append(
                Finding(
                    code="CALIBRATOR_RECOVERY",
                    severity=Severity.WARNING,
                    where=plate.where,
                    message=f"{level.nominal:g} {plate.analyte.unit} is read back {found}; {allowed:g} % off is allowed.",
                    remedy="Look at its wells; mask with a reason or repeat the plate.",
                )
            )
    return findings


def control_findings(plate: AnalytePlate, curve: CalibrationCurve) -> list[Finding]:
    """Tell controls whose concentration is off their nominal."""
    wells_by_slot: dict[str, list[LayoutWell]] = defaultdict(list)
    for well in plate.wells:
        if well.role is WellRole.CONTROL and well.concentration is not None:
            wells_by_slot[well.slot].append(well)
    findings = []
    for slot, wells in wells_by_slot.items():
        reads = [plate.read_of(well) for well in wells]
        values = [read.value for read in reads if read.value is not None and not read.flag]
        nominal = wells[0].concentration
        assert nominal is not None
        found = read_concentration(curve, fmean(values), plate.limits).concentration if values else None
        recovery = None if found is None or nominal <= 0 else 100.0 * found * wells[0].dilution / nominal
        if recovery is None or abs(recovery - 100.0) > LARGEST_CONTROL_DEVIATION_PERCENT:
            told = "cannot be read off the curve" if recovery is None else f"reads {recovery:.1f} % of its nominal"
            findings.append(
                Finding(
                    code="CONTROL_RECOVERY",
                    severity=Severity.WARNING,
                    where=f"{plate.where} Control '{slot}', wells {', '.join(str(well.position) for well in wells)}.",
                    message=f"The control of {nominal:g} {plate.analyte.unit} {told}.",
                    remedy="Check the control's lot and the plate before these results are used.",
                )
            )
    return findings
