from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.readers.reading_days import reading_day
from biomarkers.readers.sign_offs import SignOff, read_sign_off, sign_off_text


@pytest.mark.parametrize("reason", ['He said "no".', "C:\\new\tline\nbreak", "Überlauf µL"])
def test_a_sidecar_written_comes_back_as_it_was_meant(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "P1.toml"
    path.write_text(sign_off_text(by="curie", reason=reason, replaces=True), encoding="utf-8")
    assert read_sign_off(path) == SignOff(by="curie", reason=reason, replaces=True)


@pytest.mark.parametrize("text", ['by = "curie"', 'by = "curie"\nreason = " "', "reason", 'by = "c"\nreason = "r"\nwhat = 1'])
def test_a_sidecar_that_does_not_say_who_and_why_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "P1.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SourceFileError, match=r"P1\.toml"):
        read_sign_off(path)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2025-04-02T10:10:31", date(2025, 4, 2)),
        ("Date 02.04.2025 Time 10:10", date(2025, 4, 2)),
        ("2 April 2025", date(2025, 4, 2)),
        ("Apr 2, 2025 10:10 AM", date(2025, 4, 2)),
        ("13/04/2025", date(2025, 4, 13)),
        ("4/13/2025 1:00:00 PM", date(2025, 4, 13)),
        ("4/4/2025", date(2025, 4, 4)),
        ("4/2/2025", None),
        ("31.02.2025", None),
        ("", None),
        ("10:10:31", None),
    ],
)
def test_a_day_is_read_where_it_can_be_one_day_only(text: str, day: date | None) -> None:
    assert reading_day(text) == day
