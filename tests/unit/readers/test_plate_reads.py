"""Plate-reader exports: what is recognised, and what becomes of every word in a well."""

from __future__ import annotations

from pathlib import Path

import pytest
from openpyxl import Workbook

from biomarkers.elisa.plate import PlateRead, WellPosition, WellRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads import read_plates
from biomarkers.readers.plate_reads.readings import Reading, parse_reading

ROWS = "ABCDEFGH"


def grid_lines(separator: str = ",", decimal: str = ".", offset: float = 0.0, words: dict[str, str] | None = None) -> list[str]:
    """A plate whose well in row r and column c reads offset + r + c / 100."""
    lines = [separator.join(["", *(str(column) for column in range(1, 13))])]
    for row, letter in enumerate(ROWS):
        values = [f"{offset + row + column / 100:.3f}".replace(".", decimal) for column in range(12)]
        values = [(words or {}).get(f"{letter}{column + 1}", value) for column, value in enumerate(values)]
        lines.append(separator.join([letter, *values]))
    return lines


def softmax(
    layout: str, plates: int = 1, name: str = "Plate1", words: dict[str, str] | None = None, group: list[str] | None = None
) -> str:
    """A SoftMax Pro export at 450 and 620 nm; the second wavelength reads 0.04 everywhere."""
    lines = [f"##BLOCKS= {plates + (group is not None)}"]
    wells = [f"{letter}{column}" for letter in ROWS for column in range(1, 13)]
    for _ in range(plates):
        lines.append(
            f"Plate:\t{name}\t1.3\t{layout}\tEndpoint\tAbsorbance\tRaw\tFALSE\t1\t\t\t\t\t\t2\t450 620 \t1\t12\t96\t1\t8\t"
        )
        values = [(words or {}).get(well, f"{1 + index / 1000:.4f}") for index, well in enumerate(wells)]
        if layout == "TimeFormat":
            lines.append("\t".join(["", "Temperature(\xa1C)", *wells]))
            lines += ["\t".join(["", "24.6", *values]), "", "\t".join(["", "24.6", *["0.04"] * 96]), ""]
        else:
            header = [str(column) for column in range(1, 13)]
            lines.append("\t".join(["", "Temperature(\xa1C)", *header, "", *header, ""]))
            for row in range(8):
                temperature = "24.6" if row == 0 else ""
                lines.append("\t".join(["", temperature, *values[12 * row : 12 * row + 12], "", *["0.04"] * 12]))
            lines.append("")
        lines.append("~End")
    if group is not None:
        lines += ["Group: Unknowns", *group, "~End "]
    return "\r\n".join([*lines, "Original Filename: test; Date Last Saved: 1/1/2020 2:05:49 PM", ""])


def dropped(tmp_path: Path, content: bytes | str, name: str = "P0001.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def at(plate: PlateRead, well: str) -> WellRead:
    position = WellPosition.parse(well)
    assert position is not None
    return plate.by_position()[position]


@pytest.mark.parametrize(
    ("text", "value", "flag"),
    [
        ("0.123", 0.123, ""),
        ("0,123", 0.123, ""),
        ("-0.004", -0.004, ""),
        ("1.2e-3", 0.0012, ""),
        ("OVRFLW", None, "overflow"),
        (">4.000", None, "overflow"),
        ("#SAT", None, "overflow"),
        ("Masked", None, "masked"),
        ("*0.512*", 0.512, "masked"),
        ("*0.512", 0.512, "masked"),
        ("", None, "missing"),
        ("?????", None, "missing"),
        ("MISSED", None, "missing"),
        ("NaN", None, "missing"),
    ],
)
def test_overflow_masked_and_missing_stay_three_different_things(text: str, value: float | None, flag: str) -> None:
    reading = parse_reading(text)
    assert isinstance(reading, Reading)
    assert (reading.value, reading.flag) == (value, flag)


@pytest.mark.parametrize("text", ["STD1", "0.1.2", "1 234", "12:30", "1e999", "0x1F", "#", "<", "½"])
def test_what_no_reader_writes_is_not_understood(text: str) -> None:
    assert parse_reading(text) is None


@pytest.mark.parametrize(
    ("separator", "decimal", "encoding"),
    [(",", ".", "utf-8"), (";", ",", "utf-8-sig"), ("\t", ".", "utf-16"), ("\t", ",", "latin-1"), (";", ".", "utf-16-le")],
)
def test_a_plain_grid_is_read_whatever_separates_its_cells(tmp_path: Path, separator: str, decimal: str, encoding: str) -> None:
    text = "\r\n".join([*grid_lines(separator, decimal), ""])
    (plate,) = read_plates(dropped(tmp_path, text, encoding=encoding))
    assert (plate.plate_id, plate.rows, plate.columns, plate.wavelength_nm) == ("P0001", 8, 12, None)
    assert at(plate, "A1").value == 0.0
    assert at(plate, "C5").value == pytest.approx(2.04)
    assert at(plate, "H12").value == pytest.approx(7.11)
    assert len(plate.wells) == 96


def test_two_grids_with_wavelengths_are_one_plate_and_two_of_one_wavelength_are_two(tmp_path: Path) -> None:
    two_wavelengths = "\n".join(["450 nm", *grid_lines(), "", "620 nm", *grid_lines(offset=0.5)])
    reads = read_plates(dropped(tmp_path, two_wavelengths))
    assert [(one.plate_id, one.wavelength_nm) for one in reads] == [("P0001", 450.0), ("P0001", 620.0)]
    two_plates = "\n".join([*grid_lines(), "", *grid_lines()])
    assert [one.plate_id for one in read_plates(dropped(tmp_path, two_plates))] == ["P0001", "P0001#2"]


def test_notes_before_a_grid_name_plate_wavelength_and_date(tmp_path: Path) -> None:
    text = "\n".join(["plate_id,IL6-7", "wavelength_nm,450", "date,2024-05-06", "", *grid_lines()])
    (plate,) = read_plates(dropped(tmp_path, text))
    assert (plate.plate_id, plate.wavelength_nm, plate.acquired_at) == ("IL6-7", 450.0, "2024-05-06")


def test_a_well_list_with_two_wavelengths_is_one_plate_read_twice(tmp_path: Path) -> None:
    lines = ["Well;450;620", *(f"{letter}{column};1,{column:03d};0,04" for letter in ROWS for column in range(1, 13))]
    first, second = read_plates(dropped(tmp_path, "\n".join(lines)))
    assert (first.wavelength_nm, second.wavelength_nm) == (450.0, 620.0)
    assert at(first, "B07").value == pytest.approx(1.007)
    assert at(second, "B07").value == pytest.approx(0.04)


def test_a_list_of_several_plates_keeps_their_names(tmp_path: Path) -> None:
    lines = ["plate,well,od", "X,A1,0.1", "Y,A1,0.2"]
    reads = read_plates(dropped(tmp_path, "\n".join(lines)))
    assert [(one.plate_id, one.wells[0].value) for one in reads] == [("X", 0.1), ("Y", 0.2)]


def test_a_workbook_is_read_like_text(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append([None, *range(1, 13)])
    for row, letter in enumerate(ROWS):
        sheet.append([letter, *(row + column / 100 for column in range(12))])
    sheet["D3"] = "OVRFLW"
    book.save(tmp_path / "P0002.xlsx")
    # Whatever it is called.
    (tmp_path / "P0002.xlsx").rename(tmp_path / "P0002.txt")
    (plate,) = read_plates(tmp_path / "P0002.txt")
    assert plate.plate_id == "P0002"
    assert at(plate, "B3").flag == "overflow"
    assert at(plate, "H12").value == pytest.approx(7.11)


def test_the_name_of_a_file_does_not_decide_what_it_is(tmp_path: Path) -> None:
    text = softmax("TimeFormat")
    (first, second) = read_plates(dropped(tmp_path, text, name="report.xlsx", encoding="latin-1"))
    assert (first.wavelength_nm, second.wavelength_nm) == (450.0, 620.0)


@pytest.mark.parametrize("layout", ["TimeFormat", "PlateFormat"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8"])
def test_a_softmax_export_is_read_in_either_layout_and_any_encoding(tmp_path: Path, layout: str, encoding: str) -> None:
    text = softmax(layout, words={"B2": "OVRFLW", "C3": ""})
    first, second = read_plates(dropped(tmp_path, text, name="export.txt", encoding=encoding))
    assert first.plate_id == second.plate_id == "Plate1"
    assert at(first, "A1").value == 1.0
    assert at(first, "H12").value == pytest.approx(1.095)
    assert at(second, "H12").value == 0.04
    assert at(first, "B2").flag == "overflow"
    assert at(first, "C3").flag == "missing"
    assert at(second, "B2").flag == ""


@pytest.mark.parametrize("layout", ["TimeFormat", "PlateFormat"])
def test_a_well_that_reads_exactly_one_heads_no_table(tmp_path: Path, layout: str) -> None:
    words = {"B1": "1", "C1": "1", "C2": "2", "D1": "1", "D2": ""}
    first, _ = read_plates(dropped(tmp_path, softmax(layout, words=words), name="P0001.txt"))
    assert [at(first, well).value for well in ("B1", "C1", "C2", "D1", "D2")] == [1.0, 1.0, 2.0, 1.0, None]


def test_equal_plate_names_in_one_softmax_export_are_numbered(tmp_path: Path) -> None:
    reads = read_plates(dropped(tmp_path, softmax("TimeFormat", plates=3), encoding="latin-1"))
    assert [one.plate_id for one in reads] == ["Plate1"] * 2 + ["Plate1#2"] * 2 + ["Plate1#3"] * 2


def test_wells_masked_in_a_group_table_keep_their_number_and_the_reason(tmp_path: Path) -> None:
    group = ["Sample\tWells\tOD\tResult", "1\tA4\tMasked\tMasked", " \tA5\t1.1\tMasked", "", "3\tOD\t!WellValues"]
    first, second = read_plates(dropped(tmp_path, softmax("PlateFormat", group=group), encoding="latin-1"))
    for plate in (first, second):
        assert at(plate, "A4").flag == "masked"
        assert at(plate, "A4").mask_reason == "masked in SoftMax Pro, group 'Unknowns'"
    assert at(first, "A4").value == pytest.approx(1.003)
    # A result the vendor could not compute is no mask of the well.
    assert at(first, "A5").flag == ""


def test_a_layout_dropped_among_the_exports_is_no_plate(tmp_path: Path, project_root: Path) -> None:
    content = (project_root / "plate_layouts" / "il6-96.csv").read_bytes()
    with pytest.raises(SourceFileError, match="No plate was found in the file in any known form"):
        read_plates(dropped(tmp_path, content))
