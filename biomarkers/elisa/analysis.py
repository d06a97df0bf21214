"""One plate from wells to results: the chapter that calls layout, calibration and quantitation in order.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from biomarkers.elisa.acceptance import (
    calibrator_findings,
    control_findings,
    control_records,
    judge,
    recovery_findings,
    rejected_run,
    rejection,
)
from biomarkers.elisa.assay_plate import AnalytePlate, analyte_plates
from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.dilution import DilutionPoint, dilution_linearity, hook_finding, hooked_dilutions
from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.plate import LayoutWell, PlateLayout, PlateMap, PlateRead, WellRead, WellRole
from biomarkers.elisa.plate_evidence import curve_record, empty_record, spike_records, well_records
from biomarkers.elisa.quantitation import (
    CONFIDENCE,
    AllowedCv,
    Quantified,
    ReplicateWells,
    quantify_many,
)
from biomarkers.elisa.records import (
    CalibratorRecord,
    ControlRecord,
    CurveRecord,
    PlateAnalysis,
    PlateVerdict,
    RuleOutcome,
    SpikeRecord,
    WellRecord,
)
from biomarkers.errors import CurveFitError
from biomarkers.provenance import JsonValue, Provenance
from biomarkers.results import Assay, Finding, Result, Run, Severity
from biomarkers.study.soluble import Analyte

__all__ = [
    "CalibratorRecord",
    "ControlRecord",
    "CurveRecord",
    "PlateAnalysis",
    "PlateVerdict",
    "RuleOutcome",
    "SpikeRecord",
    "WellRecord",
    "analyse_plate",
    "parameters",
]


def parameters(analytes: Mapping[str, Analyte]) -> JsonValue:
    """Name the settings of the method for the provenance: how each curve is fitted and where the range ends."""
    return {
        "confidence": CONFIDENCE,
        "analytes": {
            code: {
                "calibration": analyte.calibration.model_dump(mode="json", exclude={"source"}),
                "acceptance": analyte.acceptance.model_dump(mode="json", exclude={"source"}),
                "lloq": analyte.limits.lloq,
                "uloq": analyte.limits.uloq,
                "dilution_included": analyte.limits.dilution_included,
                "unit": analyte.unit,
                "wavelength_nm": analyte.wavelength_nm,
                "reference_nm": analyte.reference_nm,
            }
            for code, analyte in sorted(analytes.items())
        },
    }


def analyse_plate(
    reads: Sequence[PlateRead],
    plate_map: PlateMap,
    layout: PlateLayout,
    *,
    analytes: Mapping[str, Analyte],
    run_id: str,
    provenance: Provenance,
    lots: Sequence[KitLot] = (),
    read_on: date | None = None,
) -> PlateAnalysis:
    """Turn one plate into results, one per accession and analyte, and a verdict per analyte.

    A rejected plate's results hold no quantity, and the finding RUN_REJECTED says why; its wells keep their concentrations.

    Parameters
    ----------
    reads
        The plate, one read a wavelength. Each analyte takes the wavelength it declares and subtracts the reference it declares;
        see :func:`biomarkers.elisa.plate.response`.
    plate_map, layout
        Which accession sits where today, and what each well is for. The map's dilution factor replaces the layout's.
    analytes
        The study's analytes by code.
    lots
        Certificates of kit lots; the one the map names replaces the layout's calibrators and decides about controls.
    read_on
        Day of the reading, to hold against a lot's expiry.

    Raises
    ------
    AssayError
        Map, layout and read do not fit together; every fault is named.
    CurveFitError
        No analyte of the plate has a usable curve. Where only some have, the others' results carry the reason instead.
    """
    plates = analyte_plates(reads, plate_map, layout, analytes, lots=lots, read_on=read_on)
    outcomes = [_analyse_analyte(plate, run_id, provenance) for plate in plates]
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    if failures and len(failures) == len(outcomes):
        raise CurveFitError.gathered(fault for failure in failures for fault in failure.faults)
    used = {record.position for outcome in outcomes for record in outcome.wells}
    empty = tuple(empty_record(well) for well in reads[0].wells if str(well.position) not in used)
    run = Run(
        run_id=run_id,
        assay=Assay.ELISA,
        name=reads[0].plate_id,
        acquired_at=reads[0].acquired_at,
        findings=tuple(finding for outcome in outcomes for finding in outcome.findings),
        results=tuple(result for outcome in outcomes for result in outcome.results),
        provenance=provenance,
    )
    wells = (record for outcome in outcomes for record in outcome.wells)
    return PlateAnalysis(
        run=run,
        wells=tuple(sorted((*wells, *empty), key=lambda record: (len(record.position), record.position))),
        curves=tuple(outcome.curve for outcome in outcomes if outcome.curve is not None),
        verdicts=tuple(outcome.verdict for outcome in outcomes),
        controls=tuple(control for outcome in outcomes for control in outcome.controls),
        spikes=tuple(spike for outcome in outcomes for spike in outcome.spikes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    wells: tuple[WellRecord, ...]
    curve: CurveRecord | None
    results: tuple[Result, ...]
    findings: tuple[Finding, ...]
    failure: CurveFitError | None
    verdict: PlateVerdict
    controls: tuple[ControlRecord, ...] = ()
    spikes: tuple[SpikeRecord, ...] = ()


def _analyse_analyte(plate: AnalytePlate, run_id: str, provenance: Provenance) -> _Outcome:
    calibrators = [(well, plate.read_of(well)) for well in plate.wells_of(WellRole.CALIBRATOR)]
    findings = [*plate.findings, *calibrator_findings(plate, calibrators)]
    try:
        curve = _fitted(plate, calibrators)
    except CurveFitError as error:
        return _failed(plate, error, findings, run_id, provenance)
    controls = control_records(plate, curve)
    findings.extend(curve.findings)
    findings.extend(recovery_findings(plate, curve))
    findings.extend(control_findings(plate, controls))
    verdict = judge(plate, curve, controls, findings)
    results = _results(plate, curve, run_id, provenance)
    spikes, of_spikes = spike_records(plate, curve, results)
    results = tuple(
        replace(one, findings=(*one.findings, *of_spikes[one.accession_id])) if one.accession_id in of_spikes else one
        for one in results
    )
    if verdict.verdict == "rejected":
        reason = rejected_run(verdict, plate.where)
        findings.append(reason)
        results = tuple(replace(one, quantity=None, interval=None, findings=(*one.findings, reason)) for one in results)
    return _Outcome(
        wells=well_records(plate, curve),
        curve=curve_record(plate, curve, calibrators),
        results=results,
        findings=tuple(findings),
        failure=None,
        verdict=verdict,
        controls=controls,
        spikes=spikes,
    )


def _fitted(plate: AnalytePlate, calibrators: Sequence[tuple[LayoutWell, WellRead]]) -> CalibrationCurve:
    usable = [
        (well.concentration, read.value)
        for well, read in calibrators
        if well.concentration is not None and read.value is not None and not read.flag
    ]
    method = plate.analyte.calibration
    return fit_calibration(
        np.array([nominal for nominal, _ in usable], dtype=np.float64),
        np.array([value for _, value in usable], dtype=np.float64),
        model=method.model,
        weights=method.weights,
        replicates=method.replicates,
        variance_power=method.variance_power,
        robust=method.robust,
        zero_calibrator=method.zero_calibrator,
        noise_crossover=method.noise_crossover,
        where=plate.where,
    )


def _failed(
    plate: AnalytePlate, error: CurveFitError, findings: list[Finding], run_id: str, provenance: Provenance
) -> _Outcome:
    reason = Finding(code="NO_CURVE", severity=Severity.REJECT, where=error.where, message=error.what, remedy=error.remedy)
    nothing = Quantified(quantity=None, interval=None, n_replicates=0, findings=(reason,))
    return _Outcome(
        wells=well_records(plate, None),
        curve=None,
        results=tuple(_result(plate, accession_id, nothing, run_id, provenance) for accession_id in plate.wells_by_accession()),
        findings=(*findings, reason),
        failure=error,
        verdict=rejection(plate, error.what),
    )


def _results(plate: AnalytePlate, curve: CalibrationCurve, run_id: str, provenance: Provenance) -> tuple[Result, ...]:
    series = [
        (accession_id, dilution, wells_by_dilution[dilution])
        for accession_id, wells_by_dilution in plate.wells_by_accession().items()
        for dilution in sorted(wells_by_dilution)
    ]
    rules = plate.analyte.acceptance
    quantified = quantify_many(
        [_replicates(plate, dilution, wells) for _, dilution, wells in series],
        curve,
        unit=plate.analyte.unit,
        allowed_cv=AllowedCv(percent=rules.replicate_cv_percent, at_limits_percent=rules.replicate_cv_at_limits_percent),
    )
    by_accession: dict[str, list[tuple[float, Quantified]]] = defaultdict(list)
    for (accession_id, dilution, _), found in zip(series, quantified, strict=True):
        by_accession[accession_id].append((dilution, found))
    return tuple(
        _result(plate, accession_id, _reported(by_dilution, plate), run_id, provenance)
        for accession_id, by_dilution in by_accession.items()
    )


def _replicates(plate: AnalytePlate, dilution: float, wells: Sequence[LayoutWell]) -> ReplicateWells:
    names = ", ".join(str(well.position) for well in wells)
    return ReplicateWells(
        wells=tuple(plate.read_of(well) for well in wells),
        limits=plate.limits_at(dilution),
        dilution_factor=dilution,
        where=f"Plate '{plate.plate_id}', analyte '{plate.analyte.code}', slot '{wells[0].slot}', wells {names}.",
    )


def _reported(by_dilution: Sequence[tuple[float, Quantified]], plate: AnalytePlate) -> Quantified:
    """Of a dilution series, report the least diluted number in range before which there is no hook; else the tightest bound."""
    if len(by_dilution) == 1:
        return by_dilution[0][1]
    points = [_point(dilution, found) for dilution, found in by_dilution if found.quantity is not None]
    hooked = hooked_dilutions(points)
    rules = plate.analyte.acceptance
    sound = [point for point in points if point.dilution_factor not in hooked]
    linearity = dilution_linearity(
        sound,
        where=plate.where,
        deviation_percent=rules.dilution_deviation_percent,
        cv_limit_percent=rules.parallelism_cv_percent,
    )
    note = Finding(
        code="DILUTION_SERIES",
        severity=Severity.NOTE,
        where=plate.where,
        message=f"The specimen stands on the plate in {len(by_dilution)} dilutions; the least diluted in range is reported.",
        remedy="Compare the dilutions on the quality page.",
    )
    left = [found for dilution, found in by_dilution if dilution not in hooked]
    in_range = [one for one in left if one.quantity is not None and not one.quantity.comparator]
    above = [one for one in left if one.quantity is not None and one.quantity.comparator == ">"]
    below = [one for one in left if one.quantity is not None and one.quantity.comparator == "<"]
    chosen = (in_range or above[-1:] or below or left)[0]
    of_hook = (hook_finding(hooked, plate.where),) if hooked else ()
    return replace(chosen, findings=(*chosen.findings, note, *of_hook, *linearity.findings))


def _point(dilution: float, found: Quantified) -> DilutionPoint:
    quantity = found.quantity
    assert quantity is not None
    if quantity.comparator:
        return DilutionPoint(dilution_factor=dilution, concentration=None, comparator=quantity.comparator)
    return DilutionPoint(dilution_factor=dilution, concentration=quantity.value / dilution)


def _result(plate: AnalytePlate, accession_id: str, found: Quantified, run_id: str, provenance: Provenance) -> Result:
    return Result(
        accession_id=accession_id,
        assay=Assay.ELISA,
        measurand=plate.analyte.code,
        quantity=found.quantity,
        interval=found.interval,
        denominator="",
        n_replicates=found.n_replicates,
        run_id=run_id,
        findings=found.findings,
        provenance=provenance,
    )
