from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.lab.archive import admit, named, put_away, raw_path, remove_leftovers, write_reason
from biomarkers.lab.drafts import RECEIVING, own_name, remove_unfinished_uploads, write_whole
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
    names = [put_away(folder, drop(folder, "a.map.csv", content), done) for content in (b"1", b"2", b"3")]
    assert names == ["a.map.csv", "a~2.map.csv", "a~3.map.csv"]
    assert [(done / name).read_bytes() for name in names] == [b"1", b"2", b"3"]


def test_putting_away_again_after_a_crash_between_link_and_removal_makes_no_second_copy(folder: LabFolder) -> None:
    done = folder.done / "2025"
    done.mkdir()
    path = drop(folder, "a.csv", b"1")
    os.link(path, done / "a.csv")
    assert put_away(folder, path, done) == "a.csv"
    assert not path.exists()
    assert [entry.name for entry in done.iterdir()] == ["a.csv"]


def test_archived_bytes_are_read_under_their_own_name_while_worked_on(folder: LabFolder) -> None:
    admitted = admit(folder, drop(folder, "a b.csv", b"x"))
    with named(folder, "123-job", {"a b.csv": admitted.sha256}) as place:
        assert (place / "a b.csv").read_bytes() == b"x"
    assert not place.exists()


def test_the_note_beside_a_quarantined_file_has_the_three_parts(folder: LabFolder) -> None:
    error = SourceFileError(what="It is empty.", where="File 'a.csv'.", remedy="Export it again.")
    write_reason(folder, folder.quarantine("elisa"), "a.csv", error)
    note = (folder.quarantine("elisa") / "a.csv.reason.txt").read_text()
    assert note.splitlines()[:3] == [
        "What happened: It is empty.",
        "Where:         File 'a.csv'.",
        "What to do:    Export it again.",
    ]


def test_leftovers_of_dead_processes_go_and_those_of_the_living_and_of_other_hosts_stay(folder: LabFolder) -> None:
    here = socket.gethostname()
    names = [f"11-a-{here}", f"22-b-{here}", "11-c-another-host", "11-d-another-host"]
    folder.work.mkdir()
    for name in names:
        (folder.raw / f".incoming-{name}").write_bytes(b"half")
        (folder.work / name).mkdir()
    for old in (folder.raw / f".incoming-{names[3]}", folder.work / names[3]):
        os.utime(old, (1.0, 1.0))
    remove_leftovers(folder, is_alive={22})
    assert {path.name.removeprefix(".incoming-") for path in folder.raw.glob(".incoming-*")} == set(names[1:3])
    assert {path.name for path in folder.work.iterdir()} == set(names[1:3])


def test_what_a_dead_server_had_half_received_goes_and_what_one_receives_stays(folder: LabFolder) -> None:
    (folder.inbox("ihc") / "scanner").mkdir()
    receives = folder.inbox("elisa") / f"{RECEIVING}{own_name()}"
    for path in (receives, folder.inbox("ihc") / "scanner" / f"{RECEIVING}4194305-a-{socket.gethostname()}"):
        path.write_bytes(b"half")
    (folder.inbox("elisa") / "P1.txt").write_bytes(b"whole")
    remove_unfinished_uploads(folder)
    left = {path.name for kind in ("elisa", "ihc") for path in folder.inbox(kind).rglob("*") if path.is_file()}
    assert left == {receives.name, "P1.txt"}


def test_a_file_is_written_whole_and_leaves_no_draft(folder: LabFolder) -> None:
    target = folder.root / "note.txt"
    for text in (b"first", b"second"):
        write_whole(folder, target, text)
        assert target.read_bytes() == text
    assert list(folder.work.iterdir()) == []
    (folder.root / "place").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(folder, folder.root / "place", b"x")
    assert list(folder.work.iterdir()) == []


def test_a_folder_on_another_disk_is_written_whole_too(folder: LabFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def across(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across)
    write_whole(folder, folder.done / "note.txt", b"text")
    assert [path.name for path in folder.done.iterdir()] == ["note.txt"]
    assert list(folder.work.iterdir()) == []
