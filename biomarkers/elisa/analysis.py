"""One plate from wells to results: the chapter that calls layout, calibration and quantitation in order.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biomarkers.elisa.acceptance import calibrator_findings, control_findings, recovery_findings
from biomarkers.elisa.assay_plate import AnalytePlate, analyte_plates
from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.plate import LayoutWell, PlateLayout, PlateMap, PlateRead, WellRead, WellRole
from biomarkers.elisa.quantitation import (
    CONFIDENCE,
    LARGEST_REPLICATE_CV_AT_LIMITS_PERCENT,
    LARGEST_REPLICATE_CV_PERCENT,
    Quantified,
    quantify,
    read_concentration,
)
from biomarkers.errors import CurveFitError
from biomarkers.provenance import JsonValue, Provenance
from biomarkers.results import Assay, Comparator, Finding, Result, Run, Severity
from biomarkers.study.definition import Analyte


@dataclass(frozen=True, slots=True, kw_only=True)
class WellRecord:
    """What became of one well.

    Attributes
    ----------
    position
        Row letter and two-digit column, ``"A01"``.
    role, slot, analyte, accession_id
        From layout and plate map; empty where they say nothing.
    raw_text
        The reader's own text, verbatim.
    response
        The response used (reference wavelength subtracted where declared); None where there is no number.
    flag
        ``""``, ``"overflow"``, ``"masked"`` or ``"missing"``.
    mask_reason
        Why the well was left out; empty otherwise.
    concentration
        This well alone, dilution applied, in the analyte's unit; None where it cannot be inverted.
    """

    position: str
    role: str
    slot: str
    analyte: str
    accession_id: str
    raw_text: str
    response: float | None
    flag: str
    mask_reason: str
    dilution_factor: float
    concentration: float | None
    comparator: Comparator


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratorRecord:
    """How one calibrator level came back from the curve; concentrations in the analyte's unit."""

    nominal: float
    mean_response: float | None
    back_calculated: float | None
    recovery_percent: float | None
    n_wells: int
    n_masked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRecord:
    """A fitted calibration curve of one analyte on one plate.

    ``covariance`` is keyed twice by parameter name.
    """

    analyte: str
    unit: str
    model: str
    weights: str
    replicates: str
    parameters: Mapping[str, float]
    standard_errors: Mapping[str, float]
    covariance: Mapping[str, Mapping[str, float]]
    rss: float
    residual_sd: float
    degrees_of_freedom: int
    lloq: float
    uloq: float
    calibrators: tuple[CalibratorRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateAnalysis:
    """A plate analysed: the run with its results, and the evidence behind them."""

    run: Run
    wells: tuple[WellRecord, ...]
    curves: tuple[CurveRecord, ...]


def parameters(analytes: Mapping[str, Analyte]) -> JsonValue:
    """Name the settings of the method for the provenance: how each curve is fitted and where the range ends."""
    return {
        "confidence": CONFIDENCE,
        "replicate_cv_percent": [LARGEST_REPLICATE_CV_PERCENT, LARGEST_REPLICATE_CV_AT_LIMITS_PERCENT],
        "analytes": {
            code: {
                "model": analyte.calibration.model,
                "weights": analyte.calibration.weights,
                "replicates": analyte.calibration.replicates,
                "lloq": analyte.limits.lloq,
                "uloq": analyte.limits.uloq,
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
) -> PlateAnalysis:
    """Turn one plate into results, one per accession and analyte.

    Parameters
    ----------
    reads
        The plate, one read a wavelength. Each analyte takes the wavelength it declares and subtracts the reference it declares;
        see :func:`biomarkers.elisa.plate.response`.
    plate_map, layout
        Which accession sits where today, and what each well is for. The map's dilution factor replaces the layout's.
    analytes
        The study's analytes by code.

    Raises
    ------
    AssayError
        Map, layout and read do not fit together; every fault is named.
    CurveFitError
        No analyte of the plate has a usable curve. Where only some have, the others' results carry the reason instead.
    """
    plates = analyte_plates(reads, plate_map, layout, analytes)
    outcomes = [_analyse_analyte(plate, run_id, provenance) for plate in plates]
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    if failures and len(failures) == len(outcomes):
        raise CurveFitError.gathered(fault for failure in failures for fault in failure.faults)
    used = {record.position for outcome in outcomes for record in outcome.wells}
    empty = tuple(_empty_record(well) for well in reads[0].wells if str(well.position) not in used)
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
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    wells: tuple[WellRecord, ...]
    curve: CurveRecord | None
    results: tuple[Result, ...]
    findings: tuple[Finding, ...]
    failure: CurveFitError | None


def _analyse_analyte(plate: AnalytePlate, run_id: str, provenance: Provenance) -> _Outcome:
    calibrators = [(well, plate.read_of(well)) for well in plate.wells if well.role is WellRole.CALIBRATOR]
    findings = [*plate.reads.findings, *calibrator_findings(plate, calibrators)]
    usable = [
        (well.concentration, read.value)
        for well, read in calibrators
        if well.concentration is not None and read.value is not None and not read.flag
    ]
    method = plate.analyte.calibration
    try:
        curve = fit_calibration(
            np.array([nominal for nominal, _ in usable], dtype=np.float64),
            np.array([value for _, value in usable], dtype=np.float64),
            model=method.model,
            weights=method.weights,
            replicates=method.replicates,
            where=plate.where,
        )
    except CurveFitError as error:
        return _failed(plate, error, findings, run_id, provenance)
    findings.extend(curve.findings)
    findings.extend(recovery_findings(plate, curve))
    findings.extend(control_findings(plate, curve))
    return _Outcome(
        wells=tuple(_well_record(plate, well, curve) for well in plate.wells),
        curve=_curve_record(plate, curve, calibrators),
        results=_results(plate, curve, run_id, provenance),
        findings=tuple(findings),
        failure=None,
    )


def _failed(
    plate: AnalytePlate, error: CurveFitError, findings: list[Finding], run_id: str, provenance: Provenance
) -> _Outcome:
    reason = Finding(code="NO_CURVE", severity=Severity.REJECT, where=error.where, message=error.what, remedy=error.remedy)
    nothing = Quantified(quantity=None, interval=None, n_replicates=0, findings=(reason,))
    return _Outcome(
        wells=tuple(_well_record(plate, well, None) for well in plate.wells),
        curve=None,
        results=tuple(_result(plate, accession_id, nothing, run_id, provenance) for accession_id in plate.wells_by_accession()),
        findings=(*findings, reason),
        failure=error,
    )


def _results(plate: AnalytePlate, curve: CalibrationCurve, run_id: str, provenance: Provenance) -> tuple[Result, ...]:
    results = []
    for accession_id, wells_by_dilution in plate.wells_by_accession().items():
        quantified = []
        for dilution in sorted(wells_by_dilution):
            wells = wells_by_dilution[dilution]
            names = ", ".join(str(well.position) for well in wells)
            quantified.append(
                quantify(
                    [plate.read_of(well) for well in wells],
                    curve,
                    limits=plate.limits,
                    dilution_factor=dilution,
                    unit=plate.analyte.unit,
                    where=f"Plate '{plate.plate_id}', analyte '{plate.analyte.code}', slot '{wells[0].slot}', wells {names}.",
                )
            )
        results.append(_result(plate, accession_id, _reported(quantified, plate.where), run_id, provenance))
    return tuple(results)


def _reported(by_dilution: Sequence[Quantified], where: str) -> Quantified:
    """Of a dilution series, report the least diluted number in range; else the tightest bound."""
    if len(by_dilution) == 1:
        return by_dilution[0]
    note = Finding(
        code="DILUTION_SERIES",
        severity=Severity.NOTE,
        where=where,
        message=f"The specimen stands on the plate in {len(by_dilution)} dilutions; the least diluted in range is reported.",
        remedy="Compare the dilutions on the quality page.",
    )
    in_range = [one for one in by_dilution if one.quantity is not None and not one.quantity.comparator]
    above = [one for one in by_dilution if one.quantity is not None and one.quantity.comparator == ">"]
    below = [one for one in by_dilution if one.quantity is not None and one.quantity.comparator == "<"]
    chosen = (in_range or above[-1:] or below or list(by_dilution))[0]
    return Quantified(
        quantity=chosen.quantity,
        interval=chosen.interval,
        n_replicates=chosen.n_replicates,
        findings=(*chosen.findings, note),
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


def _well_record(plate: AnalytePlate, well: LayoutWell, curve: CalibrationCurve | None) -> WellRecord:
    read, entry, dilution = plate.read_of(well), plate.entry_of(well), plate.dilution_of(well)
    concentration: float | None = None
    comparator: Comparator = ""
    if curve is not None and well.role is not WellRole.BLANK and read.flag != "missing":
        value = float(np.inf) if read.flag == "overflow" else read.value
        if value is not None:
            reading = read_concentration(curve, value, plate.limits)
            concentration = None if reading.concentration is None else reading.concentration * dilution
            comparator = reading.comparator
    return WellRecord(
        position=str(well.position),
        role=str(well.role),
        slot=well.slot,
        analyte=plate.analyte.code,
        accession_id="" if entry is None else entry.accession_id,
        raw_text=read.raw_text,
        response=read.value,
        flag=read.flag,
        mask_reason=read.mask_reason,
        dilution_factor=dilution,
        concentration=concentration,
        comparator=comparator,
    )


def _empty_record(read: WellRead) -> WellRecord:
    return WellRecord(
        position=str(read.position),
        role=str(WellRole.EMPTY),
        slot="",
        analyte="",
        accession_id="",
        raw_text=read.raw_text,
        response=read.value,
        flag=read.flag,
        mask_reason=read.mask_reason,
        dilution_factor=1.0,
        concentration=None,
        comparator="",
    )


def _curve_record(
    plate: AnalytePlate, curve: CalibrationCurve, calibrators: Sequence[tuple[LayoutWell, WellRead]]
) -> CurveRecord:
    names = curve.curve.names
    return CurveRecord(
        analyte=plate.analyte.code,
        unit=plate.analyte.unit,
        model=curve.model,
        weights=curve.weights,
        replicates=curve.replicates,
        parameters=dict(curve.curve.parameters),
        standard_errors=dict(zip(names, map(float, curve.standard_errors()), strict=True)),
        covariance={
            one: {other: float(curve.covariance[i, j]) for j, other in enumerate(names)} for i, one in enumerate(names)
        },
        rss=curve.rss,
        residual_sd=curve.residual_sd,
        degrees_of_freedom=curve.degrees_of_freedom,
        lloq=plate.limits.lloq,
        uloq=plate.limits.uloq,
        calibrators=_calibrator_records(curve, calibrators),
    )


def _calibrator_records(
    curve: CalibrationCurve, calibrators: Sequence[tuple[LayoutWell, WellRead]]
) -> tuple[CalibratorRecord, ...]:
    fitted = {level.nominal: level for level in curve.levels}
    left_out: dict[float, int] = defaultdict(int)
    for well, read in calibrators:
        if well.concentration is not None:
            left_out[well.concentration] += bool(read.flag) or read.value is None
    records = []
    for nominal in sorted(left_out):
        level = fitted.get(nominal)
        records.append(
            CalibratorRecord(
                nominal=nominal,
                mean_response=None if level is None else level.mean_response,
                back_calculated=None if level is None else level.back_calculated,
                recovery_percent=None if level is None else level.recovery_percent,
                n_wells=0 if level is None else level.n_wells,
                n_masked=left_out[nominal],
            )
        )
    return tuple(records)
