from __future__ import annotations

import os
from pathlib import Path

import pytest

from biomarkers.lab.folders import Instrument, LabFolder, LabSettings, create_lab
from biomarkers.lab.inbox import DroppedFile, Settling, by_stem, scan, stem
from biomarkers.results import Assay


@pytest.fixture
def folder(tmp_path: Path) -> LabFolder:
    return create_lab(tmp_path / "lab", study="x = 1\n", layouts={}, panels={})


def dropped(name: str, *, size: int = 1, mtime: float = 0.0) -> DroppedFile:
    path = Path("/inbox/elisa") / name
    return DroppedFile(
        folder=path.parent, name=path.name, kind="elisa", instrument="", size=size, mtime_ns=int(mtime * 1e9), inode=1
    )


def test_hidden_temporary_and_linked_files_and_unlisted_folders_are_left_alone(folder: LabFolder) -> None:
    inbox = folder.inbox("elisa")
    for name in ("b.txt", "a.txt", ".hidden", "~$a.xlsx", "c.part", "d.TMP"):
        (inbox / name).write_text("x")
    (inbox / "link.txt").symlink_to(inbox / "a.txt")
    (inbox / "unlisted").mkdir()
    (inbox / "unlisted" / "e.txt").write_text("x")
    assert [file.name for file in scan(folder, LabSettings())] == ["a.txt", "b.txt"]


def test_a_listed_instruments_folder_is_scanned(folder: LabFolder) -> None:
    (folder.inbox("elisa") / "reader1").mkdir()
    (folder.inbox("elisa") / "reader1" / "p.txt").write_text("x")
    settings = LabSettings(instruments=(Instrument(name="Reader", folder="reader1", kind=Assay.ELISA),))
    assert [(file.instrument, file.name) for file in scan(folder, settings)] == [("reader1", "p.txt")]


def test_a_file_changed_long_ago_has_settled_at_first_sight() -> None:
    resting, remaining = Settling(10).settled([dropped("a")], monotonic=0, wall_clock=1_000)
    assert [file.name for file in resting] == ["a"]
    assert remaining == float("inf")


def test_a_growing_file_settles_only_after_it_rested() -> None:
    settling = Settling(10)
    for moment in range(0, 30, 5):
        resting, _ = settling.settled([dropped("a", size=moment, mtime=moment)], monotonic=moment, wall_clock=moment)
        assert resting == ()
    resting, remaining = settling.settled([dropped("a", size=25, mtime=25)], monotonic=30, wall_clock=30)
    assert resting == ()
    assert remaining == pytest.approx(5)
    resting, _ = settling.settled([dropped("a", size=25, mtime=25)], monotonic=35, wall_clock=35)
    assert len(resting) == 1


def test_a_time_in_the_future_proves_nothing_so_the_file_is_watched() -> None:
    settling = Settling(10)
    file = dropped("a", mtime=9_999)
    assert settling.settled([file], monotonic=0, wall_clock=100)[0] == ()
    assert settling.settled([file], monotonic=10, wall_clock=110)[0] == (file,)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("P1.map.csv", "P1"), ("P1.map.xlsx", "P1"), ("P1.txt", "P1"), ("X_CD8.ome.tiff", "X_CD8"), ("noending", "noending")],
)
def test_files_that_belong_together_share_a_stem(name: str, expected: str) -> None:
    assert stem(name) == expected
    assert list(by_stem([dropped(name)])) == [("elisa", expected)]


def test_ten_thousand_files_are_found_whatever_their_names(folder: LabFolder) -> None:
    for number in range(10_000):
        os.close(os.open(folder.inbox("ihc") / f"{number:05d} é.png", os.O_CREAT | os.O_WRONLY))
    assert len(scan(folder, LabSettings())) == 10_000
