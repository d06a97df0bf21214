"""Rows as data frames."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pandas as pd
import pytest

from biomarkers.readers.study_files import packaged_study
from biomarkers.results import Assay
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import AlignedInput, TimepointColumns, TimepointRow, timepoint_rows
from biomarkers.timepoints.due import due_cells
from biomarkers.timepoints.table import (
    TIMEPOINT_COLUMNS,
    rows_with_arms,
    timepoint_frame,
    timepoint_table,
    wide_table,
    with_arms,
)

CANARY = "CANARY-ARM"
ARMS = ArmAssignments(arm_by_subject={"S0001": CANARY})


def specimen(number: int, subject_id: str, day: date, label: str, material: Material = Material.PLASMA) -> Specimen:
    return Specimen(
        accession_id=f"ATR-{number:06d}",
        subject_id=subject_id,
        material=material,
        collected_at=Moment(day=day),
        nominal_visit=label,
    )


IL6 = AlignedInput(
    accession_id="ATR-000001",
    assay=Assay.ELISA,
    measurand="IL6",
    value=20.0,
    comparator="",
    unit="pg/mL",
    lower=19.0,
    upper=21.0,
    denominator="",
    n_replicates=2,
    evaluable=True,
    finding_codes="",
    run_id="run",
    result_id="r-1",
    source_sha256s="0",
    order=1,
)


@pytest.fixture(scope="module")
def rows() -> tuple[TimepointRow, ...]:
    definition = packaged_study()
    specimens = (
        specimen(1, "S0001", date(2025, 3, 9), "BASELINE"),
        specimen(2, "S0001", date(2025, 3, 31), "C2D1"),
        specimen(3, "S0001", date(2025, 4, 4), "C2D1", Material.FFPE_SECTION),
        specimen(4, "S0001", date(2025, 5, 5), "UNSCHEDULED"),
        specimen(5, "S0001", date(2025, 5, 9), "UNSCHEDULED"),
    )
    roster = Roster(
        subjects={
            name: Subject(subject_id=name, site="LONDON", treatment_start=Moment(day=date(2025, 3, 10)))
            for name in ("S0001", "S0002")
        },
        specimens={one.accession_id: one for one in specimens},
    )
    results = [
        IL6,
        replace(IL6, accession_id="ATR-000002", value=3.1, comparator="<", lower=None, upper=None, result_id="r-2"),
        replace(IL6, accession_id="ATR-000004", value=30.0, result_id="r-4"),
        replace(IL6, accession_id="ATR-000005", value=31.5, result_id="r-5"),
    ]
    alignments, due = align_specimens(definition, roster), due_cells(definition, roster)
    return timepoint_rows("study", alignments, due, results, as_of=date(2025, 6, 1))


def test_the_types_of_the_columns_do_not_depend_on_what_is_missing(rows: tuple[TimepointRow, ...]) -> None:
    full, empty = timepoint_table(rows), timepoint_table(rows[:1])
    assert tuple(full.columns) == TIMEPOINT_COLUMNS
    assert full.dtypes.to_dict() == empty.dtypes.to_dict() == timepoint_table(()).dtypes.to_dict()
    assert (str(full["study_day"].dtype), str(full["in_window"].dtype), str(full["change"].dtype)) == (
        "Int64",
        "boolean",
        "float64",
    )


def test_the_table_says_what_the_rows_say_and_missing_is_missing(rows: tuple[TimepointRow, ...]) -> None:
    table = timepoint_table(rows)
    for at, row in enumerate(rows):
        for name in TIMEPOINT_COLUMNS:
            shown, said = table[name].iloc[at], getattr(row, name)
            assert pd.isna(shown) if said is None else shown == said


def test_columns_give_the_same_data_frame_as_rows(rows: tuple[TimepointRow, ...]) -> None:
    columns = TimepointColumns(**{name: [getattr(row, name) for row in rows] for name in TIMEPOINT_COLUMNS})
    assert columns.rows() == rows
    pd.testing.assert_frame_equal(timepoint_frame(columns), timepoint_table(rows))
    pd.testing.assert_frame_equal(timepoint_frame(columns, ARMS), rows_with_arms(rows, ARMS))


def test_without_assignments_there_is_no_column_for_arms(rows: tuple[TimepointRow, ...]) -> None:
    assert "arm" not in timepoint_table(rows)
    assert "arm" not in wide_table(rows)


def test_with_assignments_the_arm_follows_the_subject(rows: tuple[TimepointRow, ...]) -> None:
    table = rows_with_arms(rows, ARMS)
    assert list(table.columns[:4]) == ["study_id", "subject_id", "arm", "visit"]
    assert table.drop(columns="arm").equals(timepoint_table(rows))
    assert set(table.loc[table["subject_id"] == "S0001", "arm"]) == {CANARY}
    assert table.loc[table["subject_id"] == "S0002", "arm"].isna().all()
    assert list(wide_table(rows, ARMS).columns[:4]) == ["study_id", "subject_id", "arm", "visit"]


def test_no_printed_form_tells_an_arm(rows: tuple[TimepointRow, ...]) -> None:
    armed = with_arms(rows, ARMS)
    assert armed[0].arm == CANARY
    assert CANARY not in repr(armed)
    assert CANARY not in repr(ARMS)
    assert CANARY not in repr(rows)


def test_a_wide_table_has_one_row_per_visit_and_a_bound_is_no_number(rows: tuple[TimepointRow, ...]) -> None:
    table = wide_table(rows)
    assert list(table.columns[:5]) == ["study_id", "subject_id", "visit", "visit_number", "study_day"]
    assert set(table.columns[5:]) == {one.code for one in packaged_study().measurands}
    first = table[table["subject_id"] == "S0001"]
    assert list(first["visit"]) == ["BASELINE", "C2D1", "C6D1", "PROGRESSION", "UNSCHEDULED", "UNSCHEDULED"]
    assert list(first["IL6"]) == [20.0, "<3.1", None, None, 30.0, 31.5]
    # Blood and tissue of C2D1 are of different days.
    assert [None if pd.isna(day) else day for day in first["study_day"]] == [-1, None, None, None, 57, 61]
