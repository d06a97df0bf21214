"""The list of blood counts."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.haematology import read_haematology
from biomarkers.readers.study_files import packaged_study
from biomarkers.study.cellular import HaematologyCount


def _write(folder: Path, text: str) -> Path:
    path = folder / "haematology.csv"
    path.write_text(text)
    return path


def test_counts_of_specimens_and_of_days_are_read_in_order(tmp_path: Path) -> None:
    text = "accession_id,subject_id,date,lymphocytes_per_ul\nATR-000001,,,1200\n,S0001,2025-03-31,850.5\n"
    assert read_haematology(_write(tmp_path, text), packaged_study()) == (
        HaematologyCount(lymphocytes_per_ul=1200, accession_id="ATR-000001"),
        HaematologyCount(lymphocytes_per_ul=850.5, subject_id="S0001", day=date(2025, 3, 31)),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lymphocytes_per_ul\n1200\n", "Name the specimen, or the subject and the date"),
        ("subject_id,lymphocytes_per_ul\nS0001,1200\n", "Name the specimen, or the subject and the date"),
        ("accession_id,lymphocytes_per_ul\nATR-000001,1.2\n", "1.2 x 10\\^9 per litre are 1200 per microlitre"),
        ("accession_id,lymphocytes_per_ul\nATR-000001,\n", "Enter the count, or leave the line out"),
        ("accession_id,lymphocytes_per_ul\nATR-1,1200\n", "holds 'ATR-1', which is not an accession id"),
        ("accession_id,lymphocytes_per_ul\nATR-000001,900\nATR-000001,1200\n", "accession_id 'ATR-000001'"),
        ("subject_id,date,lymphocytes_per_ul\nS0001,2025-03-31,900\nS0001,2025-03-31,1200\n", "'S0001 2025-03-31'"),
        ("accession_id\nATR-000001\n", "the column 'lymphocytes_per_ul' must be there"),
    ],
)
def test_faulty_lists_are_refused_with_the_remedy(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SourceFileError, match=told):
        read_haematology(_write(tmp_path, text), packaged_study())


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = "accession_id,lymphocytes_per_ul\nATR-1,x\nATR-000002,3\n"
    with pytest.raises(SourceFileError) as caught:
        read_haematology(_write(tmp_path, text), packaged_study())
    assert len(caught.value.faults) == 3
