"""A stage that fails half-way lets go of every file it claimed, so that its retry can take them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from biomarkers.errors import TemporarilyUnavailableError
from biomarkers.laboratory import create_laboratory
from biomarkers.store import jobs
from biomarkers.store.jobs import JobState
from flows import intake, steps
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
    async def interrupted() -> None:
        with working():
            await intake.hold([steps.dropped_files()])
            raise TemporarilyUnavailableError(what="The database is busy.")

    async def taken() -> None:
        with working():
            (held,) = await intake.hold([steps.dropped_files()])
            assert [one.file.name for one in held] == ["a.txt", "b.txt"]
            assert set(states(bench).values()) == {JobState.RUNNING}

    with pytest.raises(TemporarilyUnavailableError):
        asyncio.run(interrupted())
    assert states(bench) == {"a.txt": JobState.QUEUED, "b.txt": JobState.QUEUED}
    asyncio.run(taken())
    assert set(states(bench).values()) == {JobState.QUEUED}


def test_a_file_that_changes_while_it_is_taken_in_waits_with_its_reason(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def changing(*_: object) -> None:
        raise TemporarilyUnavailableError(what="The file changed while it was read.", where="File.", remedy="Nothing to do.")

    monkeypatch.setattr("biomarkers.lab.archive.admit", changing)
    assert asyncio.run(held()) == ()
    assert set(states(bench).values()) == {JobState.WAITING}


async def held() -> tuple[steps.Held, ...]:
    """Take what lies in the inboxes, and let go of it."""
    with working():
        (held,) = await intake.hold([steps.dropped_files()])
    return held
