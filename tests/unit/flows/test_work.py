"""Who is blamed when a file cannot be worked on: the file for what it says, the machine for what it cannot do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError, TemporarilyUnavailableError
from biomarkers.readers.sheets import read_sheets
from flows.work import Refused, at_fault, outcome_of


def reading(path: Path) -> Callable[[], tuple[()]]:
    def read() -> tuple[()]:
        with at_fault(path.name):
            read_sheets(path)
        return ()

    return read


def test_a_file_that_says_nothing_is_blamed(tmp_path: Path) -> None:
    path = tmp_path / "P1.csv"
    path.write_text("")
    found = outcome_of(reading(path))
    assert isinstance(found, Refused)
    assert found.files == ("P1.csv",)
    assert isinstance(found.error, SourceFileError)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ESTALE])
def test_a_disk_or_share_that_fails_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "P1.csv"
    path.write_text("A;B\n1;2\n")

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(TemporarilyUnavailableError) as raised:
        outcome_of(reading(path))
    assert "tried again" in raised.value.remedy
