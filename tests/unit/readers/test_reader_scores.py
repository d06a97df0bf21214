"""READERS.csv: one line a score, one column a reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.reader_scores import read_reader_scores


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "readers.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_scores_are_kept_by_reader_and_a_missing_one_stays_missing(tmp_path: Path) -> None:
    text = "accession_id,stain,score,Dr Novak,Dr Brown\nATR-000003,cd8,pct_positive,12.5,\nATR-000004,CD8,PCT_POSITIVE,0,3\n"
    scores = read_reader_scores(_write(tmp_path, text))
    assert scores.readers == ("Dr Novak", "Dr Brown")
    first, second = scores.lines
    assert (first.line, first.accession_id, first.measurand) == (2, "ATR-000003", "CD8_PCT_POSITIVE")
    assert first.value_by_reader == {"Dr Novak": 12.5}
    assert second.value_by_reader == {"Dr Novak": 0.0, "Dr Brown": 3.0}


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = (
        "accession_id;stain;score;A\nATR-1;CD8;PERCENT;5\nATR-2;CD8;HSCORE;high\nATR-3;CD8;HSCORE;-1\n"
        "ATR-3;CD8;HSCORE;1\nATR-4;CD8\n;CD8;HSCORE;1\n"
    )
    with pytest.raises(SourceFileError) as caught:
        read_reader_scores(_write(tmp_path, text))
    told = [(fault.where.removeprefix("File 'readers.csv', "), fault.what) for fault in caught.value.faults]
    assert told == [
        ("line 2.", "The score 'PERCENT' is not known."),
        ("line 3.", "Reader 'A' gave 'high', which is no score."),
        ("line 4.", "Reader 'A' gave '-1', which is no score."),
        ("line 5.", "The same score stands on an earlier line."),
        ("line 6.", "The line has 2 cells where the header has 4."),
        ("line 7.", "The accession or the stain is empty."),
    ]


@pytest.mark.parametrize("header", ["accession_id,stain,score", "accession_id,score,stain,A", "accession_id,stain,score,A,A"])
def test_a_header_without_readers_or_in_another_order_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(SourceFileError, match="The header does not fit"):
        read_reader_scores(_write(tmp_path, header + "\n"))
