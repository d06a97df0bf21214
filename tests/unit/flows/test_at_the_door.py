"""A file that ends, or holds up, the process that looks at it for identifying data ends in quarantine; others go through."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError, TemporarilyUnavailableError
from biomarkers.laboratory import Laboratory, create_laboratory, open_lab
from biomarkers.readers import free_texts
from biomarkers.study.identifying import Identifying
from flows import intake
from flows.bench import at_bench
from flows.door_work import DoorWork, look
from flows.leases import working


def dying(work: DoorWork) -> tuple[Identifying, ...]:
    if work.path.name == "bad.txt":
        os._exit(9)
    return look(work)


def endless(work: DoorWork) -> tuple[Identifying, ...]:
    """Read a file with a library that never comes to an end with it, and takes every error for the file's."""

    def reader(_: Path) -> list[free_texts.FreeText]:
        while True:
            time.sleep(0.01)

    if work.path.name == "bad.txt":
        free_texts._reader = lambda _: reader  # type: ignore[assignment,return-value]  # in a process of its own
    return look(work)


def failing(work: DoorWork) -> tuple[Identifying, ...]:
    if work.path.name == "bad.txt":
        raise ZeroDivisionError
    return look(work)


def taken_in(laboratory: Laboratory) -> tuple[list[str], dict[str, tuple[str, str]], list[str]]:
    """Take what lies in the inbox; return what got in, what became of the rest and why, and faults of our own."""

    async def take() -> list[str]:
        with working():
            (held,) = await intake.hold([laboratory.dropped_files()])
            return [one.file.name for one in held]

    with at_bench(laboratory, lambda *_: None) as bench:
        names = asyncio.run(take())
        return names, {one.name: (one.state, one.reason.what) for one in bench.outcomes}, bench.faults


def laboratory_with_files(root: Path) -> Laboratory:
    create_laboratory(root).close()
    settings = root / "lab.toml"
    settings.write_text(settings.read_text().replace("[compute]\n", "[compute]\nseconds_for_a_file = 5\n"))
    for name in ("a.txt", "bad.txt", "c.txt"):
        (root / "inbox" / "elisa" / name).write_text(name)
    return open_lab(root)


@pytest.mark.parametrize(
    ("looking", "what"),
    [
        pytest.param(dying, "The file ended the process that worked on it, 3 times.", id="dies"),
        pytest.param(endless, "The file took longer than one computation may.", id="never ends"),
    ],
)
def test_it_is_quarantined_with_its_reason_and_its_neighbours_are_taken_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looking: Callable[[DoorWork], tuple[Identifying, ...]],
    what: str,
) -> None:
    monkeypatch.setattr(intake, "look", looking)
    with laboratory_with_files(tmp_path / "lab") as laboratory:
        assert laboratory.settings.compute.seconds_for_a_file == 5
        assert taken_in(laboratory) == (["a.txt", "c.txt"], {"bad.txt": ("quarantined", what)}, [])
        quarantine = laboratory.folder.quarantine("elisa")
        assert what in (quarantine / "bad.txt.reason.txt").read_text()
        assert (quarantine / "bad.txt").read_text() == "bad.txt"


def test_a_file_the_program_fails_on_by_its_own_fault_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "look", failing)
    with laboratory_with_files(tmp_path / "lab") as laboratory:
        names, outcomes, faults = taken_in(laboratory)
        assert names == ["a.txt", "c.txt"]
        assert outcomes["bad.txt"][0] == "waiting"
        assert "ZeroDivisionError" in faults[0]
        assert (laboratory.folder.inbox("elisa") / "bad.txt").exists()


def test_a_file_that_is_gone_or_may_not_be_read_is_told_and_not_taken_for_one_without_a_word(tmp_path: Path) -> None:
    with create_laboratory(tmp_path / "lab") as laboratory:
        policy, ids = laboratory.settings.identifying, laboratory.definition.identifiers
        with pytest.raises(TemporarilyUnavailableError, match="No such file"):
            look(DoorWork(path=tmp_path / "gone.txt", policy=policy, identifiers=ids))
        with pytest.raises(SourceFileError, match="cannot be read: Is a directory"):
            look(DoorWork(path=tmp_path, policy=policy, identifiers=ids))
