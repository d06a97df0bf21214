"""Files as sheets of verbatim cells: encodings, delimiters, workbooks new and old."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import Workbook

from biomarkers.errors import SourceFileError
from biomarkers.readers import sheets
from biomarkers.readers.sheets import is_workbook, read_sheets


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_text_of_any_encoding_gives_the_same_cells(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a"
    path.write_bytes("Temperature(°C)\t1\t2\r\nA\t0,5\t \r\n".encode(encoding))
    (sheet,) = read_sheets(path)
    assert sheet.rows == (("Temperature(°C)", "1", "2"), ("A", "0,5", ""))
    assert sheet.delimiter == "\t"


def test_a_semicolon_divides_where_commas_are_decimal(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("A;0,5;0,6\nB;0,7;0,8\n", encoding="utf-8")
    assert read_sheets(path)[0].rows == (("A", "0,5", "0,6"), ("B", "0,7", "0,8"))


def test_a_workbook_gives_numbers_in_their_shortest_form_and_dates_by_iso(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append([1.0, 0.1, " x ", True, None, datetime(2024, 5, 6, 9, 41)])  # noqa: DTZ001  - spreadsheets know no time zone
    book.create_sheet("empty")
    book.save(tmp_path / "a.xlsx")
    first, second = read_sheets(tmp_path / "a.xlsx")
    assert first.rows == (("1", "0.1", "x", "TRUE", "", "2024-05-06T09:41:00"),)
    assert (second.name, [row for row in second.rows if any(row)]) == ("empty", [])


def test_an_old_binary_workbook_gives_the_same_kind_of_cells(project_root: Path) -> None:
    path = project_root / "tests" / "data" / "elisa" / "exports" / "magellan-grid.xls"
    assert is_workbook(path)
    first, second = read_sheets(path)
    assert (first.name, second.name) == ("Magellan Sheet 1", "id")
    assert first.rows[0] == ("<>", *map(str, range(1, 13)))
    assert first.rows[1][:3] == ("A", "0.1", "0.11")
    assert second.rows[1][1] == "STD0"


def test_an_old_workbook_beyond_any_export_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "big.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(sheets.LARGEST_OLD_WORKBOOK_BYTES))
    with pytest.raises(SourceFileError, match="larger than 2 MB, more than any plate export"):
        read_sheets(path)


def test_an_old_workbook_with_more_cells_than_any_plate_is_refused(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.xls"
    path.write_bytes((project_root / "tests" / "data" / "elisa" / "exports" / "magellan-grid.xls").read_bytes())
    monkeypatch.setattr(sheets, "LARGEST_SHEET_CELLS", 50)
    with pytest.raises(SourceFileError, match=r"The sheet 'Magellan Sheet 1' holds more than 50 cells"):
        read_sheets(path)
    monkeypatch.setattr(sheets, "MOST_OLD_SHEETS", 1)
    with pytest.raises(SourceFileError, match=r"The workbook has 2 sheets, more than any plate export"):
        read_sheets(path)
