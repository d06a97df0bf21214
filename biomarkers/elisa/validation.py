"""What the analysed plates of a validation say of an assay: precision profile, functional limits, noise, LoB and LoD.

Knows analysed plates as records. Must not know files, nor decide what a laboratory declares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.elisa.logistic import Curve, FivePL, FourPL, LogLogLine, StraightLine
from biomarkers.elisa.performance import (
    DetectionRun,
    FunctionalLimits,
    PooledDetection,
    PrecisionPoint,
    functional_limits,
    pooled_detection,
    precision_point,
)
from biomarkers.elisa.plate import WellRole
from biomarkers.elisa.records import ControlRecord, CurveRecord, PlateAnalysis, WellRecord
from biomarkers.elisa.variance_function import (
    NoiseCrossover,
    ReplicateGroup,
    VariancePower,
    estimate_noise_crossover,
    estimate_variance_power,
    replicate_group,
)
from biomarkers.errors import AssayError
from biomarkers.results import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class AssayPerformance:
    """One analyte over several plates; what the plates cannot tell is None, and a finding says why.

    Attributes
    ----------
    plates
        Plates with a curve, and those without.
    """

    analyte: str
    unit: str
    plates: int
    plates_without_curve: int
    levels: tuple[PrecisionPoint, ...]
    limits: FunctionalLimits | None
    crossover: NoiseCrossover | None
    power: VariancePower | None
    detection: PooledDetection | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plate:
    """One analyte on one plate."""

    name: str
    curve: CurveRecord
    wells: tuple[WellRecord, ...]
    controls: tuple[ControlRecord, ...]

    def of_role(self, role: WellRole) -> tuple[WellRecord, ...]:
        return tuple(well for well in self.wells if well.role == role and well.response is not None and not well.flag)


def assess(analyses: Sequence[PlateAnalysis]) -> tuple[AssayPerformance, ...]:
    """Assess every analyte of some plates; each plate is a run, and every control slot a level."""
    codes = dict.fromkeys(verdict.analyte for one in analyses for verdict in one.verdicts)
    return tuple(_assess(code, analyses) for code in codes)


def _assess(code: str, analyses: Sequence[PlateAnalysis]) -> AssayPerformance:
    plates = [
        _Plate(
            name=f"{number} {one.run.name}",
            curve=curve,
            wells=tuple(well for well in one.wells if well.analyte == code),
            controls=tuple(control for control in one.controls if control.analyte == code),
        )
        for number, one in enumerate(analyses)
        for curve in one.curves
        if curve.analyte == code
    ]
    where = f"Analyte '{code}', {len(plates)} plates."
    findings: list[Finding] = []
    levels = tuple(_levels(plates, findings, where))
    limits = crossover = power = detection = None
    try:
        limits = functional_limits(levels)
    except AssayError as error:
        findings.append(_untold("functional limits", error, where))
    groups = [group for plate in plates for group in _groups(plate)]
    try:
        crossover, power = estimate_noise_crossover(groups), estimate_variance_power(groups)
    except AssayError as error:
        findings.append(_untold("noise", error, where))
    try:
        detection = pooled_detection(_detection_runs(plates))
    except AssayError as error:
        findings.append(_untold("limits of blank and detection", error, where))
    return AssayPerformance(
        analyte=code,
        unit=plates[0].curve.unit if plates else "",
        plates=len(plates),
        plates_without_curve=sum(any(verdict.analyte == code for verdict in one.verdicts) for one in analyses) - len(plates),
        levels=levels,
        limits=limits,
        crossover=crossover,
        power=power,
        detection=detection,
        findings=tuple(findings),
    )


def _levels(plates: Sequence[_Plate], findings: list[Finding], where: str) -> Iterable[PrecisionPoint]:
    by_level: dict[str, dict[str, tuple[float, ...]]] = defaultdict(dict)
    nominals: dict[str, float | None] = {}
    for plate in plates:
        for control in plate.controls:
            by_level[control.slot][plate.name] = control.concentrations
            nominals.setdefault(control.slot, control.nominal)
    for level, by_run in by_level.items():
        try:
            yield precision_point(level, by_run, nominal=nominals[level])
        except AssayError as error:
            findings.append(_untold(f"precision of level '{level}'", error, where))


def _groups(plate: _Plate) -> Iterable[ReplicateGroup]:
    """Replicates of everything with a response, by what they hold; masked wells are left out."""
    together: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for well in plate.wells:
        if well.response is not None and not well.flag and well.role not in (WellRole.EMPTY, WellRole.BLANK):
            together[well.role, well.slot, well.dilution_factor].append(well.response)
    found = (replicate_group(values) for values in together.values())
    return [group for group in found if group is not None]


def _detection_runs(plates: Sequence[_Plate]) -> list[DetectionRun]:
    """Blanks and the lowest control of each plate; its name is that of the lowest on most plates."""
    lowest = [min(known, key=lambda one: one.nominal or 0.0).slot for plate in plates if (known := _known(plate))]
    slot = max(set(lowest), key=lowest.count, default="")
    return [
        DetectionRun(
            curve=curve_of(plate.curve),
            blanks=_responses(plate.of_role(WellRole.BLANK)),
            low=_responses(well for well in plate.of_role(WellRole.CONTROL) if well.slot == slot),
        )
        for plate in plates
    ]


def _known(plate: _Plate) -> list[ControlRecord]:
    return [control for control in plate.controls if control.nominal is not None]


def _responses(wells: Iterable[WellRecord]) -> tuple[float, ...]:
    return tuple(well.response for well in wells if well.response is not None)


def curve_of(record: CurveRecord) -> Curve:
    """Make the curve of a record again."""
    shapes: Mapping[str, type[FourPL | FivePL | StraightLine | LogLogLine]] = {
        "4pl": FourPL,
        "5pl": FivePL,
        "linear": StraightLine,
        "loglog": LogLogLine,
    }
    return shapes[record.model](**record.parameters)


def _untold(what: str, error: AssayError, where: str) -> Finding:
    return Finding(
        code="NOT_ESTIMATED",
        severity=Severity.NOTE,
        where=where,
        message=f"Not estimated: {what}. {error.what}",
        remedy=error.remedy,
    )
