from __future__ import annotations

import io
import json
from dataclasses import fields

import openpyxl
import pandas as pd
import pytest

from biomarkers.reports.tables import EXPLANATIONS, write_table
from biomarkers.timepoints.rows import TimepointRow
from biomarkers.timepoints.summary import SummaryRow

TABLE = pd.DataFrame(
    {
        "study_id": ["s", "s"],
        "subject_id": ["S0001", "=HYPERLINK(1)"],
        "study_day": pd.Series([1, None], dtype="Int64"),
        "in_window": pd.Series([True, None], dtype="boolean"),
        "value": pd.Series([-3.25, None], dtype="float64"),
        "comparator": ["<", None],
    }
)


def test_csv_keeps_numbers_as_numbers_and_lets_no_text_become_a_formula() -> None:
    content = write_table(TABLE, "csv").decode()
    assert content == (
        "study_id,subject_id,study_day,in_window,value,comparator\ns,S0001,1,True,-3.25,<\ns,'=HYPERLINK(1),,,,\n"
    )


def test_xlsx_keeps_numbers_as_numbers_and_formula_like_text_as_text() -> None:
    sheet = openpyxl.load_workbook(io.BytesIO(write_table(TABLE, "xlsx"))).worksheets[0]
    assert sheet["E2"].value == -3.25
    assert sheet["E2"].data_type == "n"
    assert sheet["B3"].value == "=HYPERLINK(1)"
    assert sheet["B3"].data_type == "s"
    assert sheet["E3"].value is None


def test_json_says_null_where_nothing_is_known() -> None:
    rows = json.loads(write_table(TABLE, "json"))
    assert rows[0]["study_day"] == 1
    assert rows[0]["in_window"] is True
    assert rows[1]["value"] is None
    assert rows[1]["study_day"] is None


def test_parquet_gives_the_table_back_with_its_types() -> None:
    again = pd.read_parquet(io.BytesIO(write_table(TABLE, "parquet")))
    pd.testing.assert_frame_equal(again, TABLE)


@pytest.mark.parametrize("word", ["None", "nan", "<NA>"])
def test_text_shows_nothing_where_nothing_is_known(word: str) -> None:
    assert word not in write_table(TABLE, "text").decode()


def test_an_empty_table_is_told_as_such() -> None:
    assert write_table(TABLE.iloc[:0], "text") == b"No rows.\n"


def test_a_workbook_explains_every_column_on_a_sheet_of_its_own_below_the_notes() -> None:
    workbook = openpyxl.load_workbook(io.BytesIO(write_table(TABLE, "xlsx", notes=["=C6D1 holds those still on study."])))
    assert workbook.sheetnames == ["timepoints", "columns"]
    cells = [[cell.value for cell in row] for row in workbook["columns"].iter_rows()]
    assert cells[0][0] == "=C6D1 holds those still on study."
    assert workbook["columns"]["A1"].data_type == "s"
    assert cells[1] == ["column", "meaning"]
    assert [row[0] for row in cells[2:]] == list(TABLE.columns)
    assert all(row[1] for row in cells[2:])


def test_a_parquet_column_of_numbers_and_bounds_is_text() -> None:
    summary = pd.DataFrame({"median": pd.Series([13.5, "<3.1", None], dtype=object)})
    again = pd.read_parquet(io.BytesIO(write_table(summary, "parquet")))
    assert again["median"].tolist() == ["13.5", "<3.1", None]


def test_every_column_of_the_timepoint_table_and_the_summary_is_explained() -> None:
    names = {field.name for kind in (TimepointRow, SummaryRow) for field in fields(kind)}
    assert names <= set(EXPLANATIONS)
