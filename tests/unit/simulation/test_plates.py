from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from biomarkers.elisa.plate import WellRole
from biomarkers.readers.plate_layouts import read_plate_map
from biomarkers.readers.plate_reads import read_plates
from biomarkers.simulation.plate_exports import ExportForm, Reading, export_bytes
from biomarkers.simulation.plates import PlateJob, TrueCurve, fill_slots, true_curve
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.study import SimulatedStudy


def _plate(study: SimulatedStudy, code: str) -> PlateJob:
    return next(plate for plate in study.plates if plate.analyte.code == code)


def _mean_by_slot(plate: PlateJob) -> dict[str, float]:
    reading = plate.reading()
    densities: dict[str, list[float]] = {}
    for well in plate.layout.wells:
        measured = reading.measured[well.position.row][well.position.column]
        ground = reading.reference[well.position.row][well.position.column]
        if measured is not None and ground is not None:
            densities.setdefault(well.slot, []).append(measured - ground)
    return {slot: float(np.mean(values)) for slot, values in densities.items()}


@pytest.mark.parametrize(("code", "sign"), [("KYN", -1), ("TRP", -1), ("IL6", 1), ("IL15", 1)])
def test_competitive_curves_fall_and_sandwich_curves_rise(study: SimulatedStudy, code: str, sign: int) -> None:
    plate = _plate(study, code)
    mean = _mean_by_slot(plate)
    levels = sorted(
        {(well.concentration or 0.0, mean[well.slot]) for well in plate.layout.used_wells if well.role is WellRole.CALIBRATOR}
    )
    steps = np.diff([density for _, density in levels])
    assert np.all(sign * steps > -0.03), "never against the direction by more than noise"
    assert sign * (levels[-1][1] - levels[0][1]) > 1.0


def test_plates_of_one_analyte_differ_and_one_plate_repeats_itself(study: SimulatedStudy) -> None:
    analyte = _plate(study, "IL6").analyte
    first, again, second = (true_curve(analyte, stream(1, "plate", name)) for name in ("P1", "P1", "P2"))
    assert first == again
    assert first != second
    assert first.inflection == pytest.approx(second.inflection, rel=0.6)


def test_a_true_curve_goes_from_its_zero_dose_through_the_middle_at_its_inflection() -> None:
    curve = TrueCurve(zero_dose=0.1, slope=1.3, inflection=50.0, infinite_dose=3.1)
    assert curve.response(0.0) == pytest.approx(0.1)
    assert curve.response(50.0) == pytest.approx(1.6)
    assert curve.response(1e9) == pytest.approx(3.1, abs=1e-6)


def test_duplicates_agree_but_for_the_bubble(study: SimulatedStudy) -> None:
    plate = next(plate for plate in study.plates if plate.outlier_slot)
    reading = plate.reading()
    spread: dict[str, float] = {}
    for slot in (placed.slot for placed in plate.specimens):
        one, other = (
            (reading.measured[well.position.row][well.position.column] or 0.0) - 0.04 for well in plate.layout.wells_of(slot)
        )
        spread[slot] = abs(one - other) / (one + other)
    assert max(spread, key=lambda slot: spread[slot]) == plate.outlier_slot
    assert np.median(list(spread.values())) < 0.05


def test_one_specimen_lies_far_above_its_range_and_overflows_a_well(study: SimulatedStudy) -> None:
    plate = next(plate for plate in study.plates if plate.overflow_slot)
    placed = next(placed for placed in plate.specimens if placed.slot == plate.overflow_slot)
    wells = plate.layout.wells_of(placed.slot)
    assert placed.concentration > plate.analyte.limits.uloq * (placed.dilution_factor or wells[0].dilution)
    reading = plate.reading()
    values = [reading.measured[well.position.row][well.position.column] for well in wells]
    assert values.count(None) == 1
    assert b"OVRFLW" in export_bytes(reading, plate.form)


def test_specimens_lie_below_within_and_above_range_in_the_default_study(study: SimulatedStudy) -> None:
    places = set()
    for plate in study.plates:
        limits = plate.analyte.limits
        for placed in plate.specimens:
            in_well = placed.concentration / (placed.dilution_factor or plate.layout.wells_of(placed.slot)[0].dilution)
            places.add("below" if in_well < limits.lloq else "above" if in_well > limits.uloq else "within")
    assert places == {"below", "within", "above"}


@pytest.mark.parametrize("form", list(ExportForm))
def test_every_form_of_export_is_read_back_as_what_the_reader_saw(
    study: SimulatedStudy, form: ExportForm, tmp_path: Path
) -> None:
    plate = replace(_plate(study, "IL6"), form=form)
    plate.write(tmp_path)
    reading = plate.reading()
    reads = read_plates(tmp_path / plate.file_name)
    assert {read.plate_id for read in reads} == {plate.plate_id}
    assert len(reads) == (1 if form is ExportForm.GRID else 2)
    for well in reads[0].wells:
        seen = reading.measured[well.position.row][well.position.column]
        if seen is None:
            assert (well.value, well.flag) == (None, "overflow")
        else:
            assert well.value == pytest.approx(seen, abs=0.00051), "exports print three or four decimals"


def test_the_decimal_comma_grid_and_the_utf16_export_are_what_they_claim(study: SimulatedStudy) -> None:
    reading = _plate(study, "KYN").reading()
    european = export_bytes(reading, ExportForm.GRID_EUROPEAN)
    assert european.startswith(b"\xef\xbb\xbf")
    assert b";" in european
    assert b"." not in european
    softmax = export_bytes(reading, ExportForm.SOFTMAX_PLATE)
    assert softmax.startswith(b"\xff\xfe")
    assert softmax.decode("utf-16").startswith("##BLOCKS= 1\r\nPlate:\tKYN-P01\t1.3\tPlateFormat")


def test_all_forms_of_export_occur_in_the_default_study(study: SimulatedStudy) -> None:
    assert {plate.form for plate in study.plates} == set(ExportForm)


def test_the_map_says_which_accession_sits_where(study: SimulatedStudy, tmp_path: Path) -> None:
    plate = _plate(study, "KYN")
    plate.write(tmp_path)
    with (tmp_path / plate.map_name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["slot"], row["accession_id"]) for row in rows] == [(one.slot, one.accession_id) for one in plate.specimens]
    assert {row["layout"] for row in rows} == {"kyn-96"}
    (read,) = read_plate_map(tmp_path / plate.map_name)
    assert read.plate_id == plate.plate_id


def test_a_subjects_visits_share_a_plate_where_slots_allow(study: SimulatedStudy) -> None:
    plates_by_subject: dict[tuple[str, str], set[str]] = {}
    for plate in study.plates:
        for placed in plate.specimens:
            plates_by_subject.setdefault((placed.subject_id, plate.analyte.code), set()).add(plate.plate_id)
    assert {len(plates) for plates in plates_by_subject.values()} == {1}


def test_a_set_larger_than_a_plate_runs_on_to_the_next() -> None:
    assert fill_slots(3, [1, 5, 2]) == [[0], [1, 1, 1], [1, 1], [2, 2]]


@pytest.mark.parametrize("form", list(ExportForm))
@given(
    st.lists(
        st.lists(st.sampled_from([None, 0.0, 0.04, 1.0, 2.0, 3.0, 10.0]), min_size=12, max_size=12), min_size=8, max_size=8
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_wells_read_an_export_of_them_is_read_back(
    tmp_path: Path, form: ExportForm, measured: list[list[float | None]]
) -> None:
    assume(any(value is not None for values in measured for value in values))  # a grid of words alone may be anything
    reading = Reading(
        plate_id="P1",
        read_on=date(2025, 3, 10),
        wavelength_nm=450.0,
        reference_nm=570.0,
        measured=measured,
        reference=[[1.0] * 12 for _ in range(8)],
    )
    path = tmp_path / f"P1{form.suffix}"
    path.write_bytes(export_bytes(reading, form))
    first, *_ = read_plates(path)
    wells = {(well.position.row, well.position.column): well for well in first.wells}
    for row, values in enumerate(measured):
        for column, value in enumerate(values):
            well = wells[row, column]
            assert (well.value, well.flag) == ((value, "") if value is not None else (None, well.flag))
            assert value is not None or well.flag
