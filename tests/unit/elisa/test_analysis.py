"""A whole plate: analytes, wavelengths, dilutions, controls, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate, parameters
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.plate import (
    LayoutWell,
    MapEntry,
    PlateLayout,
    PlateMap,
    PlateRead,
    WellPosition,
    WellRead,
    WellRole,
)
from biomarkers.errors import AssayError, CurveFitError
from biomarkers.provenance import Provenance, canonical_json
from biomarkers.results import Severity
from biomarkers.study.soluble import Analyte

LEVELS = (1000.0, 500.0, 250.0, 125.0, 62.5, 31.25, 15.625, 0.0)
CURVES = {
    "IL6": FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1),
    "KYN": FourPL(zero_dose=2.1, slope=1.0, inflection=120.0, infinite_dose=0.06),
}
NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))


def analyte(code: str, **changes: object) -> Analyte:
    declared: dict[str, object] = {
        "code": code,
        "name": code,
        "format": "sandwich",
        "unit": "pg/mL",
        "materials": ["PLASMA"],
        "due": [],
        "calibrators": sorted(LEVELS),
        "wavelength_nm": 450,
        "reference_nm": 620,
        "source": "assumption",
        "limits": {"lloq": 15.625, "uloq": 1000, "origin": "calibrators", "source": "assumption"},
        "calibration": {"source": "assumption"},
    }
    return Analyte.model_validate(declared | changes)


def layout(codes: tuple[str, ...] = ("IL6",)) -> PlateLayout:
    """Calibrators in duplicate, a control, five specimen slots in duplicate; a second analyte to the right of the first."""
    wells = []
    for block, code in enumerate(codes):
        left = 6 * block
        for row, level in enumerate(LEVELS):
            wells += [well(row, left + k, WellRole.CALIBRATOR, f"STD{row + 1}", code, level) for k in (0, 1)]
        wells += [well(0, left + 2 + k, WellRole.CONTROL, "CTRL1", code, 250.0) for k in (0, 1)]
        for row in range(1, 6):
            wells += [well(row, left + 2 + k, WellRole.SAMPLE, f"S{row:02d}", code, None, 2.0) for k in (0, 1)]
    placed = {one.position: one for one in wells}
    positions = [WellPosition(row=row, column=column) for row in range(8) for column in range(12)]
    return PlateLayout(
        name="test",
        rows=8,
        columns=12,
        wells=tuple(placed.get(at, well(at.row, at.column, WellRole.EMPTY, "", "", None)) for at in positions),
    )


def well(  # noqa: PLR0917  - a row of a table
    row: int, column: int, role: WellRole, slot: str, code: str, concentration: float | None, dilution: float = 1.0
) -> LayoutWell:
    return LayoutWell(
        position=WellPosition(row=row, column=column),
        role=role,
        slot=slot,
        concentration=concentration,
        dilution=dilution,
        analyte=code,
    )


def plate_map(codes: tuple[str, ...] = ("IL6",), **factors: float) -> PlateMap:
    return PlateMap(
        plate_id="P1",
        layout="test",
        entries=tuple(
            MapEntry(
                slot=f"S{slot:02d}",
                accession_id=f"ATR-00000{slot}",
                analyte=code,
                dilution_factor=factors.get(f"S{slot:02d}"),
                kit_lot="",
            )
            for code in codes
            for slot in range(1, 6)
        ),
    )


def read(
    of: PlateLayout,
    in_well: Callable[[LayoutWell], float] = lambda one: one.concentration if one.concentration is not None else 100.0,
    ground: float = 0.0,
    wavelength_nm: float | None = 450.0,
) -> PlateRead:
    """A plate whose wells hold what ``in_well`` says, read with 1 % noise."""
    rng = np.random.default_rng(5)
    wells = []
    for one in of.wells:
        value = ground
        if one.role is not WellRole.EMPTY:
            optical = float(CURVES[one.analyte].response(np.array([in_well(one)]))[0])
            value += optical * (1.0 + 0.01 * float(rng.standard_normal()))
        wells.append(WellRead(position=one.position, raw_text=f"{value:.4f}", value=value))
    return PlateRead(
        plate_id="P1",
        rows=8,
        columns=12,
        wavelength_nm=wavelength_nm,
        reference_nm=None,
        acquired_at="yesterday",
        wells=tuple(wells),
    )


def reference(of: PlateLayout, value: float) -> PlateRead:
    wells = tuple(WellRead(position=one.position, raw_text=f"{value}", value=value) for one in of.wells)
    return replace(read(of), wavelength_nm=620.0, wells=wells)


def flagged(plate: PlateRead, flags: Mapping[str, str]) -> PlateRead:
    changed = []
    for one in plate.wells:
        flag = flags.get(str(one.position))
        if flag == "overflow":
            changed.append(replace(one, raw_text="OVRFLW", value=None, flag="overflow"))
        elif flag == "masked":
            changed.append(replace(one, flag="masked", mask_reason="bubble"))
        else:
            changed.append(one)
    return replace(plate, wells=tuple(changed))


def analysed(
    reads: tuple[PlateRead, ...],
    of: PlateLayout | None = None,
    mapped: PlateMap | None = None,
    analytes: Mapping[str, Analyte] | None = None,
) -> PlateAnalysis:
    return analyse_plate(
        reads,
        mapped or plate_map(),
        of or layout(),
        analytes=analytes or {"IL6": analyte("IL6", reference_nm=None)},
        run_id="run",
        provenance=NOWHERE,
    )


def test_every_accession_gets_its_concentration_times_the_dilution_of_the_layout() -> None:
    plate = analysed((read(layout()),))
    assert [result.accession_id for result in plate.run.results] == [f"ATR-00000{slot}" for slot in range(1, 6)]
    for result in plate.run.results:
        assert result.quantity is not None
        assert result.interval is not None
        # 100 pg/mL in the well, diluted one in two, read with 1 % noise.
        assert result.quantity.value == pytest.approx(200.0, rel=0.06)
        assert (result.measurand, result.n_replicates, result.findings) == ("IL6", 2, ())
    assert plate.run.findings == ()
    assert plate.run.acquired_at == "yesterday"


def test_the_dilution_factor_of_the_map_replaces_that_of_the_layout() -> None:
    plate = analysed((read(layout()),), mapped=plate_map(S01=10.0))
    first, second, *_ = plate.run.results
    assert first.quantity is not None
    assert second.quantity is not None
    assert first.quantity.value / second.quantity.value == pytest.approx(5.0, rel=0.06)


def test_the_reference_wavelength_an_analyte_declares_is_subtracted() -> None:
    design = layout()
    plain = analysed((read(design),))
    raised = analysed((read(design, ground=0.2), reference(design, 0.2)), analytes={"IL6": analyte("IL6", reference_nm=620)})
    for one, other in zip(plain.run.results, raised.run.results, strict=True):
        assert one.quantity is not None
        assert other.quantity is not None
        assert other.quantity.value == pytest.approx(one.quantity.value, rel=1e-6)


def test_a_declared_reference_that_was_not_read_is_said() -> None:
    plate = analysed((read(layout()),), analytes={"IL6": analyte("IL6")})
    assert [finding.code for finding in plate.run.findings] == ["REFERENCE_NOT_READ"]


def test_a_plate_read_at_another_wavelength_is_refused() -> None:
    with pytest.raises(AssayError) as raised:
        analysed((read(layout(), wavelength_nm=405.0),))
    assert str(raised.value) == (
        "The plate was read at 405 nm; the study declares 450 nm for this analyte. Plate 'P1', analyte 'IL6'. "
        "Read the plate at the declared wavelength, or correct wavelength_nm in study.toml."
    )


def test_a_rising_and_a_falling_analyte_share_a_plate() -> None:
    codes = ("IL6", "KYN")
    plate = analysed(
        (read(layout(codes)),),
        layout(codes),
        plate_map(codes),
        {code: analyte(code, reference_nm=None) for code in codes},
    )
    assert len(plate.run.results) == 10
    assert {curve.analyte: curve.parameters["zero_dose"] > 1.0 for curve in plate.curves} == {"IL6": False, "KYN": True}
    for result in plate.run.results:
        assert result.quantity is not None
        assert result.quantity.value == pytest.approx(200.0, rel=0.08)


def test_an_analyte_the_map_does_not_mention_is_left_alone() -> None:
    codes = ("IL6", "KYN")
    plate = analysed((read(layout(codes)),), layout(codes), plate_map(("IL6",)))
    assert {result.measurand for result in plate.run.results} == {"IL6"}


def test_where_one_analyte_has_no_curve_its_results_say_why_and_the_other_is_reported() -> None:
    codes = ("IL6", "KYN")
    design = layout(codes)
    dead = [one.position for one in design.wells if one.analyte == "KYN"]
    sound = read(design)
    broken = replace(sound, wells=tuple(replace(one, value=0.1) if one.position in dead else one for one in sound.wells))
    plate = analysed((broken,), design, plate_map(codes), {code: analyte(code, reference_nm=None) for code in codes})
    by_code = {code: [one for one in plate.run.results if one.measurand == code] for code in codes}
    assert all(one.is_evaluable for one in by_code["IL6"])
    for one in by_code["KYN"]:
        assert one.quantity is None
        assert [(finding.code, finding.severity) for finding in one.findings] == [("NO_CURVE", Severity.REJECT)]


def test_a_plate_without_any_curve_is_refused() -> None:
    design = layout()
    dead = replace(read(design), wells=tuple(replace(one, value=0.1) for one in read(design).wells))
    with pytest.raises(CurveFitError, match="flat within its noise"):
        analysed((dead,))


def test_a_masked_calibrator_changes_the_curve_and_is_counted_and_nothing_else_is_lost() -> None:
    plate = analysed((flagged(read(layout()), {"B01": "masked"}),))
    record = next(one for one in plate.curves[0].calibrators if one.nominal == 500.0)
    assert (record.n_wells, record.n_masked) == (1, 1)
    assert [finding.code for finding in plate.run.findings] == ["WELL_MASKED"]
    masked = next(one for one in plate.wells if one.position == "B01")
    assert (masked.flag, masked.mask_reason) == ("masked", "bubble")
    assert masked.response is not None


def test_masking_one_specimen_changes_no_other() -> None:
    sound, masked = analysed((read(layout()),)), analysed((flagged(read(layout()), {"B03": "masked"}),))
    assert [one.quantity for one in sound.run.results[1:]] == [one.quantity for one in masked.run.results[1:]]
    assert [finding.code for finding in masked.run.results[0].findings] == ["WELL_MASKED", "LONE_REPLICATE"]


def test_a_control_far_from_its_nominal_is_a_finding_of_the_run() -> None:
    plate = analysed(
        (
            read(
                layout(),
                lambda one: 400.0 if one.slot == "CTRL1" else 100.0 if one.concentration is None else one.concentration,
            ),
        )
    )
    assert "CONTROL_RECOVERY" in {finding.code for finding in plate.run.findings}


def test_a_layout_with_other_calibrators_than_the_study_declares_is_a_finding_of_the_run() -> None:
    other = {"IL6": analyte("IL6", reference_nm=None, calibrators=[0, 1, 2, 4, 8, 16, 32, 64])}
    plate = analysed((read(layout()),), analytes=other)
    assert [finding.code for finding in plate.run.findings] == ["CALIBRATORS_DIFFER"]


def test_a_plate_of_another_size_than_its_layout_is_refused() -> None:
    with pytest.raises(AssayError, match="The plate has 16 x 24 wells, its layout 8 x 12"):
        analysed((replace(read(layout()), rows=16, columns=24),))


def test_an_analyte_the_study_does_not_declare_is_refused() -> None:
    with pytest.raises(AssayError, match="The study declares no analyte 'IL6'"):
        analysed((read(layout()),), analytes={"IL8": analyte("IL8")})


def test_of_a_dilution_series_the_least_diluted_number_in_range_is_reported() -> None:
    design = layout()
    factors = {"S01": 2.0, "S02": 8.0, "S03": 32.0}
    wells = tuple(
        replace(one, slot="S01", dilution=factors[one.slot]) if one.slot in factors and one.role is WellRole.SAMPLE else one
        for one in design.wells
    )
    series = replace(design, wells=wells)
    entries = tuple(entry for entry in plate_map().entries if entry.slot not in ("S02", "S03"))
    plate = analysed(
        (
            read(
                series,
                lambda one: (
                    6000.0 / one.dilution if one.slot == "S01" else 100.0 if one.concentration is None else one.concentration
                ),
            ),
        ),
        series,
        replace(plate_map(), entries=entries),
    )
    first = plate.run.results[0]
    assert first.quantity is not None
    # 6000 diluted one in two overflows the range; one in eight does not.
    assert first.quantity.value == pytest.approx(6000.0, rel=0.1)
    assert [finding.code for finding in first.findings] == ["DILUTION_SERIES"]


def test_every_well_of_the_plate_is_kept_with_its_role() -> None:
    plate = analysed((read(layout()),))
    assert len(plate.wells) == 96
    assert [one.position for one in plate.wells[:3]] == ["A01", "A02", "A03"]
    assert {one.role for one in plate.wells} == {"CALIBRATOR", "CONTROL", "SAMPLE", "EMPTY"}
    inside = next(one for one in plate.wells if one.position == "B03")
    assert (inside.accession_id, inside.dilution_factor) == ("ATR-000001", 2.0)
    assert inside.concentration == pytest.approx(200.0, rel=0.1)


def test_the_settings_of_the_method_are_canonical_json() -> None:
    text = canonical_json(parameters({"IL6": analyte("IL6")}))
    assert '"weights":"fitted"' in text
