"""Wells, layouts, maps and the reference wavelength."""

from __future__ import annotations

import pytest

from biomarkers.elisa.plate import (
    LayoutWell,
    MapEntry,
    PlateLayout,
    PlateMap,
    PlateRead,
    WellPosition,
    WellRead,
    WellRole,
    layout_faults,
    map_faults,
    read_at,
    response,
)


def at(text: str) -> WellPosition:
    position = WellPosition.parse(text)
    assert position is not None
    return position


def read_of(wells: tuple[WellRead, ...], wavelength_nm: float | None = 450.0) -> PlateRead:
    return PlateRead(
        plate_id="P1", rows=8, columns=12, wavelength_nm=wavelength_nm, reference_nm=None, acquired_at="", wells=wells
    )


def sample(text: str, slot: str = "S01", dilution: float = 1.0, analyte: str = "IL6") -> LayoutWell:
    return LayoutWell(
        position=at(text), role=WellRole.SAMPLE, slot=slot, concentration=None, dilution=dilution, analyte=analyte
    )


def layout_of(*wells: LayoutWell) -> PlateLayout:
    return PlateLayout(name="test", rows=8, columns=12, wells=wells)


@pytest.mark.parametrize(
    ("text", "row", "column"), [("A1", 0, 0), ("h12", 7, 11), (" B03 ", 1, 2), ("P24", 15, 23), ("AF48", 31, 47)]
)
def test_a_well_is_read_from_its_name_in_any_usual_spelling(text: str, row: int, column: int) -> None:
    assert WellPosition.parse(text) == WellPosition(row=row, column=column)


@pytest.mark.parametrize("text", ["", "A", "1A", "A0", "A49", "AG1", "BA1", "A1B", "STD1"])
def test_what_is_no_well_is_none(text: str) -> None:
    assert WellPosition.parse(text) is None


def test_wells_sort_row_by_row() -> None:
    assert sorted([at("B1"), at("A10"), at("A2")]) == [at("A2"), at("A10"), at("B1")]


def test_the_reference_wavelength_is_subtracted_well_by_well() -> None:
    primary = read_of((WellRead(position=at("A1"), raw_text="1.5", value=1.5),))
    reference = read_of((WellRead(position=at("A1"), raw_text="0.25", value=0.25),), 620.0)
    (well,) = response(primary, reference)
    assert well.value == 1.25
    assert well.raw_text == "1.5 - 0.25"


def test_an_overflow_at_either_wavelength_stays_an_overflow_without_a_number() -> None:
    overflow = WellRead(position=at("A1"), raw_text="OVRFLW", value=None, flag="overflow")
    number = WellRead(position=at("A1"), raw_text="0.04", value=0.04)
    for primary, reference in ((overflow, number), (number, overflow)):
        (well,) = response(read_of((primary,)), read_of((reference,), 620.0))
        assert (well.value, well.flag) == (None, "overflow")


def test_a_well_without_a_reference_reading_is_missing_and_not_the_raw_number() -> None:
    primary = read_of((WellRead(position=at("A1"), raw_text="1.5", value=1.5),))
    (well,) = response(primary, read_of((), 620.0))
    assert (well.value, well.flag) == (None, "missing")


def test_the_nearest_wavelength_within_half_a_pass_band_is_taken() -> None:
    reads = (read_of((), 450.0), read_of((), 620.0), read_of((), None))
    found = read_at(reads, 452.0)
    assert found is not None
    assert found.wavelength_nm == 450.0
    assert read_at(reads, 540.0) is None


def test_equal_wells_give_layouts_of_equal_digest_whatever_their_name() -> None:
    one = layout_of(sample("A1"))
    other = PlateLayout(name="other", rows=8, columns=12, wells=one.wells)
    assert one.digest() == other.digest()
    assert one.digest() != layout_of(sample("A1", dilution=2.0)).digest()


def test_a_slot_with_two_roles_is_named_with_its_wells() -> None:
    control = LayoutWell(position=at("A2"), role=WellRole.CONTROL, slot="S01", concentration=5.0, dilution=1.0, analyte="IL6")
    (fault,) = layout_faults(layout_of(sample("A1"), control))
    assert str(fault) == (
        "One slot has the roles CONTROL, SAMPLE. Layout 'test', slot 'S01', wells A01, A02. Give each role its own slot."
    )


def test_a_map_with_unknown_slot_wrong_analyte_and_two_tubes_in_a_slot_is_told_all_of_it() -> None:
    plate_map = PlateMap(
        plate_id="P1",
        layout="test",
        entries=(
            MapEntry(slot="S01", accession_id="A", analyte="IL6", dilution_factor=None, kit_lot=""),
            MapEntry(slot="S01", accession_id="B", analyte="IL6", dilution_factor=None, kit_lot=""),
            MapEntry(slot="S09", accession_id="C", analyte="IL6", dilution_factor=None, kit_lot=""),
            MapEntry(slot="S01", accession_id="D", analyte="IL8", dilution_factor=None, kit_lot=""),
        ),
    )
    faults = [fault.what for fault in map_faults(plate_map, layout_of(sample("A1"), sample("A2")))]
    assert faults == [
        "The slot already holds accession 'A' for the same analyte.",
        "The layout 'test' has no specimen slot 'S09'.",
        "The plate map says analyte 'IL8', but the layout 'test' measures 'IL6' there.",
    ]


def test_a_dilution_series_in_the_layout_forbids_a_factor_in_the_map() -> None:
    plate_map = PlateMap(
        plate_id="P1",
        layout="test",
        entries=(MapEntry(slot="S01", accession_id="A", analyte="", dilution_factor=4.0, kit_lot=""),),
    )
    (fault,) = map_faults(plate_map, layout_of(sample("A1", dilution=2.0), sample("A2", dilution=4.0)))
    assert fault.what == "The plate map gives a dilution factor, but the layout holds a dilution series there."
