"""Vendors' exports, from small files made for these tests in each vendor's shape (tests/data/elisa/exports).

The first wavelength reads 0.100, 0.110, 0.120 ... from A01 on, row by row; the second 0.040 to 0.044 in turn.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from biomarkers.elisa.plate import PlateRead, WellPosition, WellRead
from biomarkers.readers.plate_reads import read_plates
from biomarkers.readers.plate_reads.differences import as_difference, half_digit
from biomarkers.readers.plate_reads.plate_tables import header_columns, table_at


@pytest.fixture
def exports(project_root: Path) -> Path:
    return project_root / "tests" / "data" / "elisa" / "exports"


def primary(index: int) -> float:
    return round(0.1 + 0.01 * index, 3)


def reference(index: int) -> float:
    return round(0.04 + 0.001 * (index % 5), 3)


def require_primary(read: PlateRead, *, without: tuple[int, ...] = ()) -> None:
    for index, well in enumerate(read.wells):
        if index not in without:
            assert well.value == pytest.approx(primary(index), abs=1e-12), str(well.position)


def require_reference(read: PlateRead) -> None:
    assert [well.value for well in read.wells] == pytest.approx([reference(index) for index in range(96)])


def flags(read: PlateRead) -> dict[str, str]:
    return {str(well.position): well.flag for well in read.wells if well.flag}


def told(reads: tuple[PlateRead, ...]) -> list[tuple[str, float | None, float | None]]:
    return [(one.plate_id, one.wavelength_nm, one.reference_nm) for one in reads]


def test_gen5_gives_each_plate_both_wavelengths_and_the_difference_it_exports_itself(exports: Path) -> None:
    reads = read_plates(exports / "gen5-two-plates.txt")
    assert told(reads) == [
        (plate, wavelength, other)
        for plate in ("Plate 1", "Plate 2")
        for wavelength, other in ((450.0, None), (620.0, None), (450.0, 620.0))
    ]
    for od, other, difference in (reads[:3], reads[3:]):
        require_primary(od, without=(5, 17, 29, 41))
        require_reference(other)
        assert flags(od) == {"A06": "overflow", "B06": "missing", "C06": "missing", "D06": "masked"}
        assert od.wells[41].value == 0.51
        assert od.wells[41].mask_reason == "marked in the export"
        assert od.wells[5].raw_text == "OVRFLW"
        assert difference.wells[95].value == pytest.approx(primary(95) - reference(95))
        assert od.acquired_at == "5/6/2024 9:41:07 AM"


def test_a_softmax_export_of_reduced_values_alone_called_xls_is_read_as_text(exports: Path) -> None:
    reads = read_plates(exports / "softmax-reduced.xls")
    assert told(reads) == [("P18", 450.0, None)]
    require_primary(reads[0])


def test_reduced_values_at_two_wavelengths_have_no_wavelength_because_the_export_does_not_say(
    exports: Path, tmp_path: Path
) -> None:
    content = (exports / "softmax-reduced.xls").read_bytes().replace(b"\t1\t450 \t", b"\t2\t450 620 \t")
    path = tmp_path / "reduced.txt"
    path.write_bytes(content)
    assert told(read_plates(path)) == [("P18", None, None)]


def test_a_softmax_export_with_the_difference_beside_its_wavelengths_gives_three_reads(exports: Path) -> None:
    reads = read_plates(exports / "softmax-with-results.txt")
    assert told(reads) == [("P17", 450.0, None), ("P17", 620.0, None), ("P17", 450.0, 620.0)]
    assert [flags(one) for one in reads] == [{"D02": "masked"}] * 3
    for raw, other, difference in zip(*(one.wells for one in reads), strict=True):
        assert raw.value is not None
        assert other.value is not None
        assert difference.value == pytest.approx(raw.value - other.value, abs=1e-4)


def test_mars_takes_the_wavelength_not_the_count_of_reads(exports: Path) -> None:
    reads = read_plates(exports / "mars-two-wavelengths.csv")
    assert told(reads) == [("P0019", 450.0, None), ("P0019", 620.0, None), ("P0019", 450.0, 620.0)]
    require_primary(reads[0], without=(5, 17))
    require_reference(reads[1])
    assert flags(reads[0]) == {"A06": "overflow", "B06": "missing"}
    assert reads[0].acquired_at == "06.05.2024 09:41:07"


@pytest.mark.parametrize("separator", [";", "\t"])
def test_mars_is_read_with_other_separators_and_decimal_commas(exports: Path, tmp_path: Path, separator: str) -> None:
    text = (exports / "mars-two-wavelengths.csv").read_text(encoding="ascii")
    lines = [line.replace(",", separator) for line in text.splitlines()]
    path = tmp_path / "mars.csv"
    path.write_text("\n".join(line.replace("0.", "0,") for line in lines), encoding="utf-16")
    reads = read_plates(path)
    assert [one.wavelength_nm for one in reads] == [450.0, 620.0, 450.0]
    require_reference(reads[1])


def test_envision_takes_the_filters_own_centre_and_names_plates_by_barcode_or_number(exports: Path) -> None:
    reads = read_plates(exports / "envision-two-plates.csv")
    # The label is called A450; the filter behind it is described as 451 nm.
    assert told(reads) == [("B0020", 451.0, None), ("Plate 2", 451.0, None)]
    for one in reads:
        require_primary(one)


def test_envision_without_its_filters_section_takes_the_labels_number(exports: Path, tmp_path: Path) -> None:
    text = (exports / "envision-two-plates.csv").read_text(encoding="ascii")
    path = tmp_path / "envision.csv"
    path.write_text(text.partition("Labels:")[0], encoding="ascii")
    assert {one.wavelength_nm for one in read_plates(path)} == {450.0}


def test_kaleido_finds_the_wavelength_far_below_the_results(exports: Path) -> None:
    reads = read_plates(exports / "kaleido.csv")
    assert told(reads) == [("B0021", 450.0, None)]
    require_primary(reads[0])


def test_skanit_reads_every_wavelength_and_none_of_the_computed_sheets(exports: Path) -> None:
    reads = read_plates(exports / "skanit.xlsx")
    assert told(reads) == [("Plate 1", 450.0, None), ("Plate 1", 620.0, None)]
    require_primary(reads[0], without=(5, 17))
    require_reference(reads[1])
    assert flags(reads[0]) == {"A06": "overflow", "B06": "missing"}


def test_a_magellan_list_ties_each_column_to_its_wavelength_and_finds_the_difference(exports: Path) -> None:
    reads = read_plates(exports / "magellan-list.xlsx")
    assert told(reads) == [("P0022", 450.0, None), ("P0022", 620.0, None), ("P0022", 450.0, 620.0)]
    require_primary(reads[0], without=(5,))
    require_reference(reads[1])
    assert flags(reads[0]) == {"A06": "overflow"}


def test_an_old_binary_magellan_workbook_is_read_and_its_layout_sheet_passed_over(exports: Path) -> None:
    reads = read_plates(exports / "magellan-grid.xls")
    assert told(reads) == [("magellan-grid", 450.0, None)]
    require_primary(reads[0], without=(5,))
    assert flags(reads[0]) == {"A06": "overflow"}


def test_no_value_of_any_export_stands_for_a_word(exports: Path) -> None:
    for path in sorted(exports.iterdir()):
        if path.name != "gen5-kinetic-without-rate.txt":
            for read in read_plates(path):
                assert Counter(well.value is None for well in read.wells if well.flag in ("overflow", "missing"))[False] == 0


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (["", *map(str, range(1, 13))], 12),
        (["<>", *(f"{n:02d}" for n in range(1, 25)), ""], 24),
        (["", *map(str, range(1, 12))], 0),
        (["", *map(str, range(2, 14))], 0),
        (["", *(str(n) for n in range(1, 12)), "twelve"], 0),
        ([], 0),
    ],
)
def test_a_header_is_a_corner_and_the_numbers_of_a_whole_plate(row: list[str], columns: int) -> None:
    assert header_columns(row) == columns


def test_a_table_ends_where_its_letters_do() -> None:
    header = ["", *map(str, range(1, 13))]
    rows = [header, *([letter, *["1"] * 12] for letter in "ABCDEFGH"), ["H", *["9"] * 12]]
    table = table_at(rows, 0)
    assert table is not None
    assert (len(table.rows), table.end, table.has_number, table.holds_names) == (8, 9, True, False)


@pytest.mark.parametrize(
    ("text", "half"), [("0.123", 0.0005), ("0,12", 0.005), ("5", 0.5), ("1.28e8", 500000.0), ("*0.5*", 0.05)]
)
def test_half_of_the_last_printed_digit(text: str, half: float) -> None:
    assert half_digit(text) == pytest.approx(half)


def made(values: list[str], wavelength: float | None) -> PlateRead:
    wells = tuple(
        WellRead(position=WellPosition(row=index // 12, column=index % 12), raw_text=text, value=float(text))
        for index, text in enumerate(values)
    )
    return PlateRead(plate_id="P", rows=8, columns=12, wavelength_nm=wavelength, reference_nm=None, acquired_at="", wells=wells)


def test_a_table_is_a_difference_by_its_numbers_alone() -> None:
    high = made([f"{primary(index):.3f}" for index in range(96)], 450.0)
    low = made([f"{reference(index):.3f}" for index in range(96)], 620.0)
    difference = made([f"{primary(index) - reference(index):.3f}" for index in range(96)], None)
    found = as_difference(difference, [high, low])
    assert found is not None
    assert (found.wavelength_nm, found.reference_nm) == (450.0, 620.0)
    blanked = made([f"{primary(index) - 0.05:.3f}" for index in range(96)], None)
    assert as_difference(blanked, [high, low]) is None
    assert as_difference(high, [high, low]) is None
