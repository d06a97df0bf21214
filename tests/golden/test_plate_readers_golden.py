"""Every well of every public plate-reader export, held against the file's own cells at fixed lines.

The files are public test data of other projects (allotropy, MIT; ELISAtools, MIT; elisar, LGPL-3) and are not shipped. The
expectation is taken here by line and cell number alone, with none of the readers' code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openpyxl
import pytest
import xlrd

from biomarkers.elisa.plate import PlateRead
from biomarkers.readers.plate_reads import read_plates

pytestmark = pytest.mark.real

FLAG_BY_WORD = {"OVRFLW": "overflow", "MISSED": "missing", "Path?": "missing", "": "missing"}


@dataclass(frozen=True)
class Expected:
    """One read: what it is called, and the text of every well from A01 on, row by row."""

    plate: str
    wavelength_nm: float | None
    rows: int
    columns: int
    cells: list[str]


def text_lines(path: Path, encoding: str) -> list[list[str]]:
    separator = "," if path.suffix.casefold() == ".csv" else "\t"
    lines = path.read_bytes().decode(encoding).replace("\r\n", "\n").split("\n")
    return [[cell.strip() for cell in line.split(separator)] for line in lines]


def drawn(
    lines: list[list[str]], first_line: int, *, rows: int = 8, columns: int = 12, step: int = 1, skip: int = 1
) -> list[str]:
    """Cells of a plate whose row A stands in ``first_line`` (counted from 1), the next row ``step`` lines on."""
    found = []
    for row in range(rows):
        cells = lines[first_line - 1 + row * step] + [""] * (columns + skip)
        found += cells[skip : skip + columns]
    return found


def gen5(path: Path, plates: list[tuple[str, int, float]], encoding: str, step: int) -> Iterator[Expected]:
    lines = text_lines(path, encoding)
    for name, line, wavelength in plates:
        yield Expected(name, wavelength, 8, 12, drawn(lines, line, step=step))


def softmax_blocks(path: Path, plates: list[tuple[str, int]], wavelengths: list[float], encoding: str) -> Iterator[Expected]:
    lines = text_lines(path, encoding)
    for name, line in plates:
        for index, wavelength in enumerate(wavelengths):
            yield Expected(name, wavelength, 8, 12, drawn(lines, line, skip=2 + 13 * index))


def softmax_times(
    path: Path, plates: list[tuple[str, list[int]]], wavelengths: list[float], encoding: str
) -> Iterator[Expected]:
    lines = text_lines(path, encoding)
    for name, numbers in plates:
        for line, wavelength in zip(numbers, wavelengths, strict=True):
            yield Expected(name, wavelength, 8, 12, (lines[line - 1] + [""] * 98)[2:98])


def workbook_cells(sheet: openpyxl.worksheet.worksheet.Worksheet, first_row: int) -> list[str]:
    cells = [sheet.cell(row=first_row + row, column=2 + column).value for row in range(8) for column in range(12)]
    return ["" if value is None else str(float(str(value))) for value in cells]


def skanit_multi(path: Path) -> Iterator[Expected]:
    sheet = openpyxl.load_workbook(path)["Absorbance 1_01"]
    # Row A of plate 1 stands in rows 11 and 25 at the two wavelengths, and each further plate 39 rows below.
    for number in range(5):
        for wavelength, row in ((214.0, 11), (280.0, 25)):
            yield Expected(f"Plate {number + 1}", wavelength, 8, 12, workbook_cells(sheet, row + 39 * number))


def skanit_pattern(path: Path) -> Iterator[Expected]:
    book = openpyxl.load_workbook(path)
    for plate, row in (("Blank plate", 11), ("Sample Plate", 36)):
        for wavelength, name in ((260.0, "Absorbance 260_01"), (280.0, "Absorbance 280_03"), (320.0, "Absorbance 320_05")):
            yield Expected(plate, wavelength, 8, 12, workbook_cells(book[name], row))


def magellan_list(path: Path) -> Iterator[Expected]:
    sheet = openpyxl.load_workbook(path)["Magellan Sheet 1"]
    # The list runs down the columns: A1 to H1 in rows 2 to 9, A2 to H2 in rows 10 to 17.
    cells = [str(sheet.cell(row=2 + 8 * column + row, column=1).value) for row in range(8) for column in range(12)]
    yield Expected("96WEL008", 595.0, 8, 12, cells)


def magellan_grid(path: Path) -> Iterator[Expected]:
    sheet = xlrd.open_workbook(path).sheet_by_index(0)
    cells = [str(sheet.cell_value(1 + row, 1 + column)) for row in range(8) for column in range(12)]
    yield Expected(path.stem, None, 8, 12, cells)


def csv_plates(path: Path, plates: list[tuple[str, int, float]], rows: int = 8, columns: int = 12) -> Iterator[Expected]:
    lines = text_lines(path, "utf-8-sig")
    for name, line, wavelength in plates:
        yield Expected(name, wavelength, rows, columns, drawn(lines, line, rows=rows, columns=columns))


def expected_reads(folder: Path, name: str) -> list[Expected]:
    path = folder / name
    utf16 = "utf-16"
    found = {
        "gen5/240411_172731_BNCH2345883_abs450_96well_non_numeric_values.txt": lambda: gen5(
            path, [("Plate 1", 31, 450.0)], "ascii", 1
        ),
        "gen5/endpoint_stdcurve_singleplate_2.txt": lambda: gen5(path, [("Plate 1", 50, 450.0)], "utf-8-sig", 3),
        "gen5/endpoint_stdcurve_multiplate.txt": lambda: gen5(
            path, [("Plate 1", 50, 630.0), ("Plate 2", 129, 630.0), ("Plate 3", 208, 630.0)], utf16, 3
        ),
        "gen5/Kinetic_Analysis_Mean_Slope_and_Standard_Curve_tab.txt": lambda: gen5(path, [("Plate 1", 65, 420.0)], "utf-8", 2),
        "softmax/ELISAtools_Assay_2.txt": lambda: softmax_times(path, [("Plate1", [4, 6])], [450.0, 620.0], "latin-1"),
        "softmax/ELISAtools_Assay_3_and_4.txt": lambda: softmax_times(
            path, [("Plate1", [4, 6]), ("Plate1#2", [135, 137])], [450.0, 620.0], "latin-1"
        ),
        "softmax/MD_SMP_absorbance_endpoint_example01.txt": lambda: softmax_blocks(
            path, [("Plate01", 4), ("Plate02", 25)], [450.0], utf16
        ),
        "softmax/MD_SMP_absorbance_endpoint_partial_plate_example01.txt": lambda: softmax_times(
            path, [("AssayPlate_09875", [4, 6, 8])], [260.0, 280.0, 340.0], utf16
        ),
        "softmax/abs_endpoint_plates.txt": lambda: softmax_blocks(path, [("Plate1", 19)], [426.0, 426.0, 426.0], "utf-8"),
        "softmax/group_cols_with_int_sample_names.txt": lambda: softmax_blocks(path, [("Plate1", 8)], [450.0], utf16),
        "skanit/multi-plate_example01.xlsx": lambda: skanit_multi(path),
        "skanit/skanit_different_plate_pattern.xlsx": lambda: skanit_pattern(path),
        "magellan/SLA01P01_OD.xlsx": lambda: magellan_list(path),
        "magellan/elisar_example.xls": lambda: magellan_grid(path),
        "magellan/elisar_example_full.xls": lambda: magellan_grid(path),
        "bmg/BMG Labtech format.CSV": lambda: csv_plates(path, [("x" * 13, 10, 450.0)]),
        "bmg/16-03-03 16-54-03 472 ABS 384 QC.csv": lambda: csv_plates(path, [("472-0016", 10, 484.0)], 16, 24),
        "envision/PE_Envision_absorbance_A450_example.csv": lambda: csv_plates(
            path, [("Plate 1", 11, 450.0), ("Plate 2", 30, 450.0)]
        ),
        "kaleido/absorbance_endpoint_single_plate_example_01.csv": lambda: csv_plates(
            path, [("V-2020-10-26 16:16:17", 7, 450.0)]
        ),
    }
    return list(found[name]())


FILES = [
    "bmg/16-03-03 16-54-03 472 ABS 384 QC.csv",
    "bmg/BMG Labtech format.CSV",
    "envision/PE_Envision_absorbance_A450_example.csv",
    "gen5/240411_172731_BNCH2345883_abs450_96well_non_numeric_values.txt",
    "gen5/Kinetic_Analysis_Mean_Slope_and_Standard_Curve_tab.txt",
    "gen5/endpoint_stdcurve_multiplate.txt",
    "gen5/endpoint_stdcurve_singleplate_2.txt",
    "kaleido/absorbance_endpoint_single_plate_example_01.csv",
    "magellan/SLA01P01_OD.xlsx",
    "magellan/elisar_example.xls",
    "magellan/elisar_example_full.xls",
    "skanit/multi-plate_example01.xlsx",
    "skanit/skanit_different_plate_pattern.xlsx",
    "softmax/ELISAtools_Assay_2.txt",
    "softmax/ELISAtools_Assay_3_and_4.txt",
    "softmax/MD_SMP_absorbance_endpoint_example01.txt",
    "softmax/MD_SMP_absorbance_endpoint_partial_plate_example01.txt",
    "softmax/abs_endpoint_plates.txt",
    "softmax/group_cols_with_int_sample_names.txt",
]


def told(read: PlateRead) -> tuple[str, float | None, float | None, int, int]:
    return read.plate_id, read.wavelength_nm, read.reference_nm, read.rows, read.columns


@pytest.mark.parametrize("name", FILES)
def test_every_well_holds_the_number_at_its_place_in_the_file(real_data: Path, name: str) -> None:
    reads = read_plates(real_data / "elisa" / name)
    expected = expected_reads(real_data / "elisa", name)
    assert [told(one) for one in reads] == [(one.plate, one.wavelength_nm, None, one.rows, one.columns) for one in expected]
    for read, one in zip(reads, expected, strict=True):
        assert len(read.wells) == one.rows * one.columns
        for index, (well, text) in enumerate(zip(read.wells, one.cells, strict=True)):
            assert (well.position.row, well.position.column) == divmod(index, one.columns)
            if text in FLAG_BY_WORD:
                assert (well.value, well.flag) == (None, FLAG_BY_WORD[text]), (str(well.position), text)
            else:
                assert well.value == float(text.replace(",", ".")), (str(well.position), text)
                assert well.flag in ("", "masked")


def test_the_list_of_files_above_is_every_export_of_a_plate_reader_there_is(real_data: Path) -> None:
    annotations = {"ELISAtools_AnExp_2plate.txt", "ELISAtools_annote_single.txt", "ELISAtools_stdConc.txt"}
    folder = real_data / "elisa"
    there = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name not in ("elisa", "reference") and path.name not in annotations
    )
    assert there == sorted(FILES)


def test_the_optical_densities_of_the_tecan_plate_add_up_to_what_elisar_publishes(real_data: Path) -> None:
    # elisar's own test: the wells its layout names sum to 26.364.
    path = real_data / "elisa" / "magellan" / "elisar_example_full.xls"
    (read,) = read_plates(path)
    names = xlrd.open_workbook(path).sheet_by_name("id")
    named = [well for well in read.wells if names.cell_value(well.position.row + 1, well.position.column + 1) != "Empty"]
    assert sum(well.value or 0.0 for well in named) == pytest.approx(26.364, abs=1e-9)
