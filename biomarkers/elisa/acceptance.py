"""Is the plate to be trusted: what its calibrators and controls say, and the verdict that follows.

Knows nominal against back-calculated concentrations and the rules declared for an analyte. Must not know specimens.

The rules are in the style of ICH M10, section 4 (ligand-binding assays), which formally covers drugs and not biomarkers:
calibrators within 20 % (25 % at the limits of quantification, which must pass themselves), three quarters of them and six
levels; two thirds of all control wells and half of those of each level. A kit with fewer levels is judged on the share of
calibrators alone, its ends included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from biomarkers.elisa.assay_plate import AnalytePlate
from biomarkers.elisa.calibration import CalibrationCurve, CalibratorLevel
from biomarkers.elisa.plate import LayoutWell, WellRead, WellRole
from biomarkers.elisa.quantitation import read_concentration, read_concentrations
from biomarkers.elisa.records import ControlRecord, PlateVerdict, RuleOutcome
from biomarkers.results import Finding, Severity
from biomarkers.study.soluble import AcceptanceRules

_SAME = 1e-6


def calibrator_findings(plate: AnalytePlate, calibrators: Sequence[tuple[LayoutWell, WellRead]]) -> list[Finding]:
    """Tell calibrator wells that are not in the fit, and levels other than the study or the lot's certificate declares."""
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
    is_certified = plate.lot is not None and bool(plate.lot.calibrators)
    if not is_certified and (len(on_plate) != len(declared) or not np.allclose(on_plate, declared, rtol=1e-3, atol=0.0)):
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
    for nominal, level, allowed in _judged(plate, curve):
        if level is not None and not _recovers(level, allowed):
            found = "not at all" if level.recovery_percent is None else f"as {level.recovery_percent:.1f} % of it"
            findings.append(
                Finding(
                    code="CALIBRATOR_RECOVERY",
                    severity=Severity.WARNING,
                    where=plate.where,
                    message=f"{nominal:g} {plate.analyte.unit} is read back {found}; {allowed:g} % off is allowed.",
                    remedy="Look at its wells; mask with a reason or repeat the plate.",
                )
            )
    return findings


def control_records(plate: AnalytePlate, curve: CalibrationCurve) -> tuple[ControlRecord, ...]:
    """Read the controls off the curve and hold their wells against the lot's ranges, or the study's percentage."""
    wells_by_slot: dict[str, list[LayoutWell]] = {}
    for well in plate.wells_of(WellRole.CONTROL):
        wells_by_slot.setdefault(well.slot, []).append(well)
    records = (_control_record(plate, curve, slot, wells) for slot, wells in wells_by_slot.items())
    return tuple(record for record in records if record is not None)


def _control_record(
    plate: AnalytePlate, curve: CalibrationCurve, slot: str, wells: Sequence[LayoutWell]
) -> ControlRecord | None:
    nominal, dilution = wells[0].concentration, wells[0].dilution
    stated = None if plate.lot is None else plate.lot.controls.get(slot)
    if stated is not None:
        lower, upper = stated.lower, stated.upper
    elif nominal is not None and nominal > 0:
        share = plate.analyte.acceptance.control_deviation_percent / 100.0
        lower, upper = (1.0 - share) * nominal, (1.0 + share) * nominal
    else:
        return None
    reads = [plate.read_of(well) for well in wells]
    values = [math.inf if read.flag == "overflow" else read.value for read in reads if read.flag in ("", "overflow")]
    readable = [value for value in values if value is not None]
    readings = read_concentrations(curve, readable, plate.limits)
    found = [reading.concentration * dilution for reading in readings if reading.concentration is not None]
    finite = [value for value in readable if math.isfinite(value)]
    together = read_concentration(curve, fmean(finite), plate.limits).concentration if finite == readable and finite else None
    mean = None if together is None else together * dilution
    middle = nominal if nominal is not None and nominal > 0 else None
    return ControlRecord(
        analyte=plate.analyte.code,
        slot=slot,
        kit_lot=plate.kit_lot,
        nominal=nominal,
        lower=lower,
        upper=upper,
        concentrations=tuple(found),
        mean=mean,
        recovery_percent=None if mean is None or middle is None else 100.0 * mean / middle,
        wells_read=len(readable),
        wells_passing=sum(lower * (1.0 - _SAME) <= one <= upper * (1.0 + _SAME) for one in found),
    )


def control_findings(plate: AnalytePlate, controls: Sequence[ControlRecord]) -> list[Finding]:
    """Tell controls whose mean lies outside its limits, and that there are none."""
    if not controls:
        return [
            Finding(
                code="NO_CONTROLS",
                severity=Severity.NOTE,
                where=plate.where,
                message="The plate holds no control of a known concentration, so only its calibrators vouch for it.",
                remedy="Put controls on every plate; controls decide about a run.",
            )
        ]
    findings = []
    for control in controls:
        if control.mean is not None and control.lower <= control.mean <= control.upper:
            continue
        wells = [str(well.position) for well in plate.wells_of(WellRole.CONTROL) if well.slot == control.slot]
        if control.recovery_percent is not None:
            told = f"reads {control.recovery_percent:.1f} % of its nominal"
        else:
            told = "cannot be read off the curve" if control.mean is None else f"reads {control.mean:.4g} {plate.analyte.unit}"
        named = "" if control.nominal is None else f" of {control.nominal:g} {plate.analyte.unit}"
        findings.append(
            Finding(
                code="CONTROL_RECOVERY",
                severity=Severity.WARNING,
                where=f"{plate.where} Control '{control.slot}', wells {', '.join(wells)}.",
                message=f"The control{named} {told}.",
                remedy="Check the control's lot and the plate before these results are used.",
            )
        )
    return findings


def judge(
    plate: AnalytePlate, curve: CalibrationCurve, controls: Sequence[ControlRecord], findings: Sequence[Finding]
) -> PlateVerdict:
    """Decide about one analyte of a plate.

    Parameters
    ----------
    findings
        All that was found about the plate, not about single specimens; a warning among them is told in the verdict.
    """
    rules = plate.analyte.acceptance
    judged = _judged(plate, curve)
    limited = len(judged) < rules.calibrator_levels
    outcomes = (
        _calibrators_rule(judged, rules, is_kit_limited=limited),
        _limits_rule(judged, plate.analyte.unit, is_kit_limited=limited),
        _controls_rule(controls, rules),
        _control_levels_rule(controls, rules),
    )
    warnings = sorted({finding.code for finding in findings if finding.severity is not Severity.NOTE})
    failed = [outcome.sentence for outcome in outcomes if outcome.passed is False]
    if failed:
        return PlateVerdict(
            analyte=plate.analyte.code,
            verdict="rejected",
            sentence=f"Rejected: {' '.join(failed)}",
            rules=outcomes,
            is_kit_limited=limited,
        )
    passed = " ".join(outcome.sentence for outcome in (outcomes[0], outcomes[2]))
    opening = f"Accepted with findings ({', '.join(warnings)})" if warnings else "Accepted"
    return PlateVerdict(
        analyte=plate.analyte.code,
        verdict="accepted_with_findings" if warnings else "accepted",
        sentence=f"{opening}: {passed}",
        rules=outcomes,
        is_kit_limited=limited,
    )


def rejection(plate: AnalytePlate, reason: str) -> PlateVerdict:
    """Reject a plate that has no curve to judge."""
    outcome = RuleOutcome(rule="curve", passed=False, sentence=reason)
    return PlateVerdict(
        analyte=plate.analyte.code, verdict="rejected", sentence=f"Rejected: {reason}", rules=(outcome,), is_kit_limited=False
    )


def rejected_run(verdict: PlateVerdict, where: str) -> Finding:
    """Say of a result that its plate was rejected."""
    return Finding(
        code="RUN_REJECTED",
        severity=Severity.REJECT,
        where=where,
        message=f"The plate's results of this analyte are not reported. {verdict.sentence}",
        remedy="Repeat the specimens on another plate; the wells and their concentrations are kept with this one.",
    )


def _judged(plate: AnalytePlate, curve: CalibrationCurve) -> tuple[tuple[float, CalibratorLevel | None, float], ...]:
    """Levels within the range, with what the curve made of them and the deviation allowed; anchors outside are not judged.

    A level of the layout without a usable well is None: it was meant to pass, and did not.
    """
    limits, rules = plate.limits, plate.analyte.acceptance
    nominals = sorted({well.concentration for well in plate.wells_of(WellRole.CALIBRATOR) if well.concentration})
    within = [one for one in nominals if limits.lloq * (1.0 - _SAME) <= one <= limits.uloq * (1.0 + _SAME)]
    fitted: Mapping[float, CalibratorLevel] = {level.nominal: level for level in curve.levels}
    return tuple(
        (
            nominal,
            fitted.get(nominal),
            rules.calibrator_deviation_at_limits_percent
            if nominal in (within[0], within[-1])
            else rules.calibrator_deviation_percent,
        )
        for nominal in within
    )


def _recovers(level: CalibratorLevel | None, allowed: float) -> bool:
    return level is not None and level.recovery_percent is not None and abs(level.recovery_percent - 100.0) <= allowed


def _calibrators_rule(
    judged: Sequence[tuple[float, CalibratorLevel | None, float]], rules: AcceptanceRules, *, is_kit_limited: bool
) -> RuleOutcome:
    passing = sum(_recovers(level, allowed) for _, level, allowed in judged)
    share = rules.calibrators_passing_percent / 100.0
    needed = math.ceil(share * len(judged) - _SAME)
    if not is_kit_limited:
        needed = max(needed, rules.calibrator_levels)
    told = f"{passing} of {len(judged)} calibrator levels are read back within their limits"
    if is_kit_limited:
        told += f" (kit-limited: fewer than the {rules.calibrator_levels} levels of ICH M10)"
    passed = bool(judged) and passing >= needed
    return RuleOutcome(
        rule="calibrators", passed=passed, sentence=f"{told}." if passed else f"Only {told}; {needed} are needed."
    )


def _limits_rule(
    judged: Sequence[tuple[float, CalibratorLevel | None, float]], unit: str, *, is_kit_limited: bool
) -> RuleOutcome:
    """Ask that the limits of quantification pass themselves; of a kit with few levels this is told and does not decide."""
    ends = [*judged[:1], *judged[1:][-1:]]
    failing = [f"{nominal:g} {unit}" for nominal, level, allowed in ends if not _recovers(level, allowed)]
    told = "The calibrators at the limits of the range are read back within their limits."
    if failing:
        told = f"The calibrator at the limit of the range, {' and '.join(failing)}, is not read back within its limits."
        if is_kit_limited:
            told += " With so few levels their share decides."
    passed = None if not judged or (failing and is_kit_limited) else not failing
    return RuleOutcome(rule="calibrators at the limits", passed=passed, sentence=told)


def _controls_rule(controls: Sequence[ControlRecord], rules: AcceptanceRules) -> RuleOutcome:
    read, passing = sum(control.wells_read for control in controls), sum(control.wells_passing for control in controls)
    if not read:
        told = "No control was read." if controls else "The plate holds no controls."
        return RuleOutcome(rule="controls", passed=False if controls else None, sentence=told)
    needed = math.ceil(rules.controls_passing_fraction * read - _SAME)
    told = f"{passing} of {read} control wells lie within their limits"
    passed = passing >= needed
    return RuleOutcome(rule="controls", passed=passed, sentence=f"{told}." if passed else f"Only {told}; {needed} are needed.")


def _control_levels_rule(controls: Sequence[ControlRecord], rules: AcceptanceRules) -> RuleOutcome:
    failing = [
        f"'{control.slot}' ({control.wells_passing} of {control.wells_read})"
        for control in controls
        if control.wells_passing < rules.controls_passing_fraction_per_level * control.wells_read - _SAME
        or not control.wells_read
    ]
    if failing:
        told = f"Too few wells of the control {' and '.join(failing)} lie within their limits."
        return RuleOutcome(rule="controls of each level", passed=False, sentence=told)
    return RuleOutcome(
        rule="controls of each level",
        passed=True if controls else None,
        sentence="Of each control level enough wells lie within their limits." if controls else "No control was read.",
    )
