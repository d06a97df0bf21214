"""pathology.csv: full lists of what pathologists said."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.pathology import read_pathology
from biomarkers.readers.study_files import packaged_study

HEADER = "accession_id,tumour_present,viable_tumour_percent,necrosis_percent,reader\n"


def _write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "pathology.csv"
    path.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_readings_are_typed_and_what_was_not_given_is_none_not_zero(tmp_path: Path) -> None:
    path = _write(tmp_path, "ATR-000004,yes,60,15.5,Dr Novak", "ATR-000004,y,70,,Dr Brown", "ATR-000008,no,0,,Dr Novak")
    first, second, third = read_pathology(path, packaged_study())
    assert (first.accession_id, first.tumour_present, first.viable_tumour_percent, first.necrosis_percent, first.reader) == (
        "ATR-000004",
        True,
        60.0,
        15.5,
        "Dr Novak",
    )
    assert second.necrosis_percent is None
    assert (third.tumour_present, third.viable_tumour_percent) == (False, 0.0)


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "ATR-4,yes,60,15,Dr Novak",
        "ATR-000005,perhaps,60,15,Dr Novak",
        "ATR-000006,yes,160,15,Dr Novak",
        "ATR-000007,no,5,15,Dr Novak",
        "ATR-000008,yes,60,55,Dr Novak",
        "ATR-000009,yes,60,5,",
        "ATR-000010,yes,60,5,Dr Novak",
        "ATR-000010,no,,,dr novak",
    )
    with pytest.raises(SourceFileError) as caught:
        read_pathology(path, packaged_study())
    told = [(fault.where.removeprefix("File 'pathology.csv', "), fault.what) for fault in caught.value.faults]
    assert told == [
        ("line 2, column 'accession_id'.", "The cell holds 'ATR-4', which is not an accession id."),
        ("line 3, column 'tumour_present'.", "The cell holds 'PERHAPS', which is not known."),
        ("line 4, column 'viable_tumour_percent'.", "The cell holds 160, which is no percentage."),
        ("line 5, column 'viable_tumour_percent'.", "The cell holds 5 although no tumour is present."),
        ("line 6, column 'necrosis_percent'.", "The cell and viable_tumour_percent add up to 115 %, more than the section."),
        ("line 7, column 'reader'.", "The cell is empty."),
        ("line 9.", "Reader 'dr novak' read accession 'ATR-000010' on an earlier line already."),
    ]


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pathology.csv"
    path.write_text("accession_id,reader\nATR-000001,Dr Novak\n")
    with pytest.raises(SourceFileError, match="the column 'tumour_present' must be there"):
        read_pathology(path, packaged_study())
