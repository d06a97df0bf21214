from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.lab.archive import admit, named, put_away, raw_path, remove_leftovers, write_reason
from biomarkers.lab.folders import LabFolder, create_lab


@pytest.fixture
def folder(tmp_path: Path) -> LabFolder:
    return create_lab(tmp_path / "lab", study="x = 1\n", layouts={}, panels={})


def drop(folder: LabFolder, name: str, content: bytes) -> Path:
    path = folder.inbox("elisa") / name
    path.write_bytes(content)
    return path


def test_admitted_bytes_lie_under_their_digest_read_only_and_the_drop_stays(folder: LabFolder) -> None:
    path = drop(folder, "p.csv", b"a,b\n")
    admitted = admit(folder, path)
    kept = raw_path(folder, admitted.sha256)
    assert admitted.sha256 == hashlib.sha256(b"a,b\n").hexdigest()
    assert kept.read_bytes() == b"a,b\n"
    assert kept.stat().st_mode & 0o777 == 0o444
    assert path.exists()
    assert [entry.name for entry in folder.raw.glob(".incoming*")] == []


def test_the_same_bytes_are_kept_once(folder: LabFolder) -> None:
    one, two = drop(folder, "one", b"same"), drop(folder, "two", b"same")
    assert admit(folder, one) == admit(folder, two)
    assert sum(path.is_file() for path in folder.raw.rglob("*")) == 1


def test_a_symbolic_link_is_not_followed(folder: LabFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    link = folder.inbox("elisa") / "link"
    link.symlink_to(secret)
    with pytest.raises(SourceFileError):
        admit(folder, link)


def test_putting_away_never_overwrites_and_gives_a_suffix(folder: LabFolder) -> None:
    done = folder.done / "2025" / "01"
    names = [put_away(drop(folder, "a.map.csv", content), done) for content in (b"1", b"2", b"3")]
    assert names == ["a.map.csv", "a~2.map.csv", "a~3.map.csv"]
    assert [(done / name).read_bytes() for name in names] == [b"1", b"2", b"3"]


def test_putting_away_again_after_a_crash_between_link_and_removal_makes_no_second_copy(folder: LabFolder) -> None:
    done = folder.done / "2025"
    done.mkdir()
    path = drop(folder, "a.csv", b"1")
    os.link(path, done / "a.csv")
    assert put_away(path, done) == "a.csv"
    assert not path.exists()
    assert [entry.name for entry in done.iterdir()] == ["a.csv"]


def test_archived_bytes_are_read_under_their_own_name_while_worked_on(folder: LabFolder) -> None:
    admitted = admit(folder, drop(folder, "a b.csv", b"x"))
    with named(folder, "123-job", {"a b.csv": admitted.sha256}) as place:
        assert (place / "a b.csv").read_bytes() == b"x"
    assert not place.exists()


def test_the_note_beside_a_quarantined_file_has_the_three_parts(folder: LabFolder) -> None:
    error = SourceFileError(what="It is empty.", where="File 'a.csv'.", remedy="Export it again.")
    write_reason(folder.quarantine("elisa"), "a.csv", error)
    note = (folder.quarantine("elisa") / "a.csv.reason.txt").read_text()
    assert note.splitlines()[:3] == [
        "What happened: It is empty.",
        "Where:         File 'a.csv'.",
        "What to do:    Export it again.",
    ]


def test_leftovers_of_dead_processes_go_and_those_of_the_living_stay(folder: LabFolder) -> None:
    dead, living = folder.raw / ".incoming-11-x", folder.raw / ".incoming-22-x"
    for path in (dead, living):
        path.write_bytes(b"half")
    (folder.work / "11-job").mkdir(parents=True)
    (folder.work / "22-job").mkdir()
    remove_leftovers(folder, is_alive={22})
    assert not dead.exists()
    assert living.exists()
    assert [path.name for path in folder.work.iterdir()] == ["22-job"]
