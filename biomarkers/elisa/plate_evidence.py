"""An analysed plate's evidence: the records of its wells, curve and calibrators.

Knows how a plate and its curve become records. Must not know results, verdicts or files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from biomarkers.elisa.assay_plate import AnalytePlate
from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.dilution import spike_recovery
from biomarkers.elisa.intervals import band
from biomarkers.elisa.plate import LayoutWell, WellRead, WellRole
from biomarkers.elisa.plate_effects import PlacedWell, plate_effects
from biomarkers.elisa.quantitation import Range, Reading, read_concentrations
from biomarkers.elisa.records import BandPoint, CalibratorRecord, CurveRecord, EffectRecord, SpikeRecord, WellRecord
from biomarkers.results import Finding, Result

_BAND_POINTS = 41

CLEAR_RESPONSE = 0.1
"""Share of the plate's largest response from which a well can tell an effect of place; below, its constant noise hides it."""

_REPLICATED = (WellRole.CONTROL, WellRole.SAMPLE, WellRole.SPIKE)


def well_records(plate: AnalytePlate, curve: CalibrationCurve | None) -> tuple[WellRecord, ...]:
    """Tell what became of each well of an analyte; without a curve no well has a concentration."""
    reads = [plate.read_of(well) for well in plate.wells]
    nothing = Reading(concentration=None, comparator="")
    readings: dict[int, Reading] = {}
    if curve is not None:
        # An overflow is more than the reader can tell; on the curve it is read as endless.
        told = {
            index: float(np.inf) if read.flag == "overflow" else read.value
            for index, (well, read) in enumerate(zip(plate.wells, reads, strict=True))
            if well.role is not WellRole.BLANK
            and read.flag != "missing"
            and (read.flag == "overflow" or read.value is not None)
        }
        values = [value for value in told.values() if value is not None]
        readings = dict(zip(told, read_concentrations(curve, values, Range(lloq=0.0, uloq=float(np.inf))), strict=True))
    return tuple(
        _well_record(plate, well, read, readings.get(index, nothing))
        for index, (well, read) in enumerate(zip(plate.wells, reads, strict=True))
    )


def _well_record(plate: AnalytePlate, well: LayoutWell, read: WellRead, reading: Reading) -> WellRecord:
    entry, dilution = plate.entry_of(well), plate.dilution_of(well)
    found = reading.concentration
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
        concentration=None if found is None else found * dilution,
        comparator=reading.comparator if found is None else plate.limits_at(dilution).side(found),
    )


def spike_records(
    plate: AnalytePlate, curve: CalibrationCurve, results: Sequence[Result]
) -> tuple[tuple[SpikeRecord, ...], Mapping[str, tuple[Finding, ...]]]:
    """Hold spiked wells against the same specimen's result; a layout's ``concentration`` there is what was added to it.

    Returns
    -------
    tuple
        The recoveries, and the findings by accession. A specimen without a number in range has no recovery.
    """
    plain = {result.accession_id: result.quantity for result in results}
    records: list[SpikeRecord] = []
    findings: dict[str, tuple[Finding, ...]] = {}
    for accession_id, by_dilution in plate.wells_by_accession(WellRole.SPIKE).items():
        quantity = plain.get(accession_id)
        for dilution, wells in by_dilution.items():
            values = [read.value for read in map(plate.read_of, wells) if read.value is not None and not read.flag]
            found = read_concentrations(curve, [fmean(values)], plate.limits_at(dilution))[0] if values else None
            added = wells[0].concentration
            if quantity is None or quantity.comparator or found is None or found.concentration is None or not added:
                continue
            place = f"{plate.where} Spike '{wells[0].slot}', accession '{accession_id}'."
            recovery = spike_recovery(
                unspiked=quantity.value,
                spiked=found.concentration * dilution,
                added=added,
                where=place,
                deviation_percent=plate.analyte.acceptance.spike_recovery_deviation_percent,
            )
            findings[accession_id] = (*findings.get(accession_id, ()), *recovery.findings)
            records.append(
                SpikeRecord(
                    analyte=plate.analyte.code,
                    slot=wells[0].slot,
                    accession_id=accession_id,
                    added=added,
                    found=recovery.found,
                    recovery_percent=recovery.recovery_percent,
                )
            )
    return tuple(records), findings


def replicate_responses(plate: AnalytePlate) -> tuple[tuple[float, ...], ...]:
    """Responses of controls, specimens and spikes, one entry a slot and dilution, for the plate's noise to be learnt from.

    Masked wells are among them: their replicates tell the noise as before, a stray one is told apart by its scatter, and no
    limits of any other specimen move because a well was masked.
    """
    groups: dict[tuple[str, float], list[float]] = defaultdict(list)
    for well in plate.wells:
        read = plate.read_of(well)
        if well.role in _REPLICATED and read.value is not None and read.flag in ("", "masked"):
            groups[well.slot, plate.dilution_of(well)].append(read.value)
    return tuple(tuple(values) for values in groups.values())


def effect_records(plate: AnalytePlate, rows: int, columns: int) -> tuple[tuple[EffectRecord, ...], tuple[Finding, ...]]:
    """Look for effects of place among the wells that hold the same: records, and findings of those too large."""
    placed = [
        PlacedWell(position=well.position, slot=f"{well.role} {well.slot} {plate.dilution_of(well)}", value=read.value)
        for well in plate.wells
        if well.role is not WellRole.BLANK
        for read in [plate.read_of(well)]
        if read.value is not None and not read.flag
    ]
    top = max((well.value for well in placed), default=0.0)
    clear = [well for well in placed if well.value >= CLEAR_RESPONSE * top > 0]
    found = plate_effects(clear, rows=rows, columns=columns, where=plate.where)
    records = tuple(
        EffectRecord(
            analyte=plate.analyte.code,
            name=one.name,
            percent=one.percent,
            lower=one.lower,
            upper=one.upper,
            wells=one.wells,
        )
        for one in found
    )
    return records, tuple(finding for one in found for finding in one.findings)


def empty_record(read: WellRead) -> WellRecord:
    """Keep what was read of a well that holds nothing."""
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


def curve_record(
    plate: AnalytePlate, curve: CalibrationCurve, calibrators: Sequence[tuple[LayoutWell, WellRead]]
) -> CurveRecord:
    """Keep a curve with its uncertainty, its calibrators and the band around it."""
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
        variance_power=plate.analyte.calibration.variance_power,
        robust=plate.analyte.calibration.robust,
        zero_calibrator=plate.analyte.calibration.zero_calibrator,
        blank_response=plate.blank_response,
        proportional_noise=curve.noise.proportional_sd,
        constant_noise=curve.noise.constant_sd,
        band=_band(curve),
    )


def _band(curve: CalibrationCurve) -> tuple[BandPoint, ...]:
    ends = (0.5 * curve.lowest_nominal, 1.5 * curve.highest_nominal)
    return band(curve, np.geomspace(*ends, _BAND_POINTS).tolist())


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
