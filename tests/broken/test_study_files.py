"""One broken study file per wound; the message says what, where and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError, StudyDefinitionError
from biomarkers.readers.declarations import parse_declaration
from biomarkers.readers.study_files import (
    packaged_study,
    packaged_study_text,
    read_arms,
    read_roster,
    read_specimens,
    read_visits,
)
from biomarkers.study.definition import StudyDefinition

STUDY = packaged_study()
SPECIMEN_HEADER = "accession_id,subject_id,material,collected_at,nominal_visit\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError) as caught:
        read_roster(write(tmp_path / "roster.csv", "\n\n"), STUDY)
    assert str(caught.value) == "The file is empty. File 'roster.csv'. Export the list again and drop it anew."


def test_a_header_with_a_missing_and_an_unknown_column_names_both(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError) as caught:
        read_roster(write(tmp_path / "roster.csv", "subject_id,centre,treatment_start\n"), STUDY)
    assert "the column 'site' must be there; the column 'centre' is not known" in str(caught.value)


def test_all_faulty_cells_of_a_list_are_told_at_once_by_line_and_column(tmp_path: Path) -> None:
    text = SPECIMEN_HEADER + "ATR-1,S0001,PLASMA,2025-01-02,BASELINE\nATR-000002,S0001,BLOOD,02.01.2025,C9D9\n"
    with pytest.raises(SourceFileError) as caught:
        read_specimens(write(tmp_path / "specimens.csv", text), STUDY)
    places = [fault.where for fault in caught.value.faults]
    assert [place.split("line ")[1] for place in places] == [
        "2, column 'accession_id'.",
        "3, column 'collected_at'.",
        "3, column 'collected_at'.",
        "3, column 'material'.",
        "3, column 'nominal_visit'.",
    ]


def test_a_doubled_accession_is_refused(tmp_path: Path) -> None:
    line = "ATR-000001,S0001,PLASMA,2025-01-02,BASELINE\n"
    with pytest.raises(SourceFileError) as caught:
        read_specimens(write(tmp_path / "specimens.csv", SPECIMEN_HEADER + line + line), STUDY)
    assert str(caught.value) == (
        "It stands on 2 lines. File 'specimens.csv', accession_id 'ATR-000001'. Each may stand once; remove the others."
    )


def test_a_short_line_is_told_and_not_shifted(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="line 2"):
        read_specimens(write(tmp_path / "s.csv", SPECIMEN_HEADER + "ATR-000001,S0001\n"), STUDY)


def test_latin_1_text_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "visits.csv", "subject_id,visit,actual_date,reason\nS0001,C2D1,,Grüße\n", "latin-1")
    with pytest.raises(SourceFileError, match="UTF-8"):
        read_visits(path, STUDY)


def test_no_message_about_allocations_repeats_an_arm(tmp_path: Path) -> None:
    path = write(tmp_path / "arms.csv", "subject_id,arm\nS0001,CANARY\nS0001,A\n")
    with pytest.raises(SourceFileError) as caught:
        read_arms(path, STUDY)
    assert "CANARY" not in str(caught.value)


def test_semicolons_a_byte_order_mark_and_empty_cells_are_read(tmp_path: Path) -> None:
    text = "subject_id;site;treatment_start;death_date\nS0001;01;2025-01-13T09:30;\n"
    (subject,) = read_roster(write(tmp_path / "roster.csv", text, "utf-8-sig"), STUDY)
    assert str(subject.treatment_start) == "2025-01-13T09:30:00"
    assert subject.death_date is None


def study_with(old: str, new: str) -> str:
    text = packaged_study_text()
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("last_day = 25", "last_day = 104", "the windows of 'C2D1' and 'C6D1' overlap for PLASMA"),
        ("target_day = 22", "target_day = 0", "uses study day 0, which does not exist"),
        ("lloq = 100.0, uloq = 10000.0", "lloq = 100.0, uloq = 10.0", "lloq 100 is not below uloq 10"),
        ('code = "TRP"', 'code = "KYN"', "measurand 'KYN' is declared 2 times"),
        ("is_baseline = true", "is_baseline = false", "0 visits are declared is_baseline"),
        ('due = ["BASELINE", "C2D1", "C6D1", "PROGRESSION"]', 'due = ["C9D1"]', "'KYN' is due at 'C9D1', which is no visit"),
        ('due = ["BASELINE", "C2D1"]', 'due = ["C6D1"]', "is due at 'C6D1', which has no window for FFPE_SECTION"),
        ('accession_id = "ATR-', 'accession_id = "(ATR-', "is no regular expression"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(old: str, new: str, expected: str) -> None:
    with pytest.raises(StudyDefinitionError) as caught:
        parse_declaration(study_with(old, new), StudyDefinition, name="study.toml")
    assert expected in str(caught.value)


def test_all_faults_of_a_study_are_told_at_once() -> None:
    text = study_with("length_days = 21", 'length_days = "long"').replace("comparative = false", "comparativ = false", 1)
    with pytest.raises(StudyDefinitionError) as caught:
        parse_declaration(text, StudyDefinition, name="study.toml")
    keys = [fault.where for fault in caught.value.faults]
    assert keys == [
        "File 'study.toml', entry 'cycle.length_days'.",
        "File 'study.toml', entry 'study.comparativ'.",
        "File 'study.toml', entry 'study.comparative'.",
    ]


@pytest.mark.parametrize("number", ["9" * 400, "9" * 20, "-" + "9" * 30])
def test_a_number_no_freezer_ever_counted_is_told_and_cut_short(tmp_path: Path, number: str) -> None:
    header = SPECIMEN_HEADER.strip() + ",freeze_thaw\n"
    line = f"ATR-000001,S0001,PLASMA,2025-03-09,BASELINE,{number}\n"
    with pytest.raises(SourceFileError, match="which is not a whole number of cycles") as caught:
        read_specimens(write(tmp_path / "specimens.csv", header + line), STUDY)
    assert number[:20] in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_a_declaration_of_endless_digits_or_brackets_is_refused(value: str) -> None:
    with pytest.raises(StudyDefinitionError, match="The file is not valid TOML"):
        parse_declaration(f"a = {value}", StudyDefinition, name="study.toml")
