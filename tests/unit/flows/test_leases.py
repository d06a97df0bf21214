"""A stage that fails half-way lets go of every file it claimed, so that its retry can take them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from biomarkers.errors import TemporarilyUnavailableError
from biomarkers.laboratory import create_laboratory
from biomarkers.store import jobs
from biomarkers.store.jobs import JobState
from flows import steps
from flows.bench import Bench, at_bench
from flows.leases import working


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with create_laboratory(tmp_path / "lab") as laboratory, at_bench(laboratory, lambda *_: None) as made:
        for name in ("a.txt", "b.txt"):
            (laboratory.folder.inbox("elisa") / name).write_text(name)
        yield made


def states(bench: Bench) -> dict[str, JobState]:
    with bench.laboratory.database.read() as reading:
        return {job.name: job.state for job in jobs.all_jobs(reading)}


def test_files_claimed_before_a_passing_trouble_can_be_claimed_again(bench: Bench) -> None:
    def interrupted() -> Iterator[tuple[steps.Held, ...]]:
        yield steps.hold(steps.dropped_files())
        raise TemporarilyUnavailableError(what="The database is busy.")

    with pytest.raises(TemporarilyUnavailableError), working(interrupted()):
        pass
    assert states(bench) == {"a.txt": JobState.QUEUED, "b.txt": JobState.QUEUED}
    with working(steps.hold(group) for group in [steps.dropped_files()]) as (held,):
        assert [one.file.name for one in held] == ["a.txt", "b.txt"]
        assert set(states(bench).values()) == {JobState.RUNNING}
    assert set(states(bench).values()) == {JobState.QUEUED}


def test_a_file_that_changes_while_it_is_taken_in_waits_with_its_reason(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def changing(*_: object) -> None:
        raise TemporarilyUnavailableError(what="The file changed while it was read.", where="File.", remedy="Nothing to do.")

    monkeypatch.setattr("biomarkers.lab.archive.admit", changing)
    with working(steps.hold(group) for group in [steps.dropped_files()]) as (held,):
        assert held == ()
    assert set(states(bench).values()) == {JobState.WAITING}
