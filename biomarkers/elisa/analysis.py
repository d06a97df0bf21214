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
from biomarkers.elisa.dilution_series import DilutedWells, report_series
from biomarkers.elisa.lots import KitLot
from biomarkers.elisa.masks import WellMask, masked_reads, unexplained_masks
from biomarkers.elisa.plate import LayoutWell, PlateLayout, PlateMap, PlateRead, WellRead, WellRole
from biomarkers.elisa.plate_evidence import (
    curve_record,
    effect_records,
    empty_record,
    replicate_responses,
    spike_records,
    well_records,
)
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
    DilutionRecord,
    EffectRecord,
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
    "DilutionRecord",
    "EffectRecord",
    "PlateAnalysis",
    "PlateVerdict",
    "RuleOutcome",
    "SpikeRecord",
    "WellMask",
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
    masks: Sequence[WellMask] = (),
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
    masks
        Wells a person leaves out, with who, why and when; they change nothing but what rests on those wells.

    Raises
    ------
    AssayError
        Map, layout and read do not fit together, or a mask has no reason, no person or no well; every fault is named.
    CurveFitError
        No analyte of the plate has a usable curve. Where only some have, the others' results carry the reason instead.
    """
    reads = masked_reads(reads, masks)
    plates = analyte_plates(reads, plate_map, layout, analytes, lots=lots, read_on=read_on)
    outcomes = [_analyse_analyte(plate, layout, run_id, provenance) for plate in plates]
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
        dilutions=tuple(series for outcome in outcomes for series in outcome.dilutions),
        effects=tuple(effect for outcome in outcomes for effect in outcome.effects),
        masks=tuple(masks),
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
    dilutions: tuple[DilutionRecord, ...] = ()
    effects: tuple[EffectRecord, ...] = ()


def _analyse_analyte(plate: AnalytePlate, layout: PlateLayout, run_id: str, provenance: Provenance) -> _Outcome:
    calibrators = [(well, plate.read_of(well)) for well in plate.wells_of(WellRole.CALIBRATOR)]
    unexplained = unexplained_masks(((well, plate.read_of(well)) for well in plate.wells), plate.where)
    effects, of_place = effect_records(plate, layout.rows, layout.columns)
    findings = [*plate.findings, *calibrator_findings(plate, calibrators), *unexplained, *of_place]
    try:
        curve = _fitted(plate, calibrators)
    except CurveFitError as error:
        return _failed(plate, error, findings, run_id, provenance)
    controls = control_records(plate, curve)
    findings.extend(curve.findings)
    findings.extend(recovery_findings(plate, curve))
    findings.extend(control_findings(plate, controls))
    verdict = judge(plate, curve, controls, findings)
    results, dilutions = _results(plate, curve, run_id, provenance)
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
        dilutions=dilutions,
        effects=effects,
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
        replicate_responses=replicate_responses(plate),
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


def _results(
    plate: AnalytePlate, curve: CalibrationCurve, run_id: str, provenance: Provenance
) -> tuple[tuple[Result, ...], tuple[DilutionRecord, ...]]:
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
    by_accession: dict[str, list[DilutedWells]] = defaultdict(list)
    for (accession_id, dilution, wells), found in zip(series, quantified, strict=True):
        by_accession[accession_id].append(DilutedWells(dilution_factor=dilution, wells=tuple(wells), found=found))
    outcomes = {
        accession_id: report_series(plate, curve, accession_id, dilutions) for accession_id, dilutions in by_accession.items()
    }
    return (
        tuple(_result(plate, accession_id, one.reported, run_id, provenance) for accession_id, one in outcomes.items()),
        tuple(one.record for one in outcomes.values() if one.record is not None),
    )


def _replicates(plate: AnalytePlate, dilution: float, wells: Sequence[LayoutWell]) -> ReplicateWells:
    names = ", ".join(str(well.position) for well in wells)
    return ReplicateWells(
        wells=tuple(plate.read_of(well) for well in wells),
        limits=plate.limits_at(dilution),
        dilution_factor=dilution,
        where=f"Plate '{plate.plate_id}', analyte '{plate.analyte.code}', slot '{wells[0].slot}', wells {names}.",
    )


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
