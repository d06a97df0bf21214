"""A quarantined file goes back into its inbox with its job: once, over no other file, and to the end if a kill came between."""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from biomarkers.errors import BiomarkersError, LabFolderError, StoreError
from biomarkers.lab import archive
from biomarkers.laboratory import Laboratory, open_lab
from biomarkers.laboratory.quarantine import bring_back
from biomarkers.store import audit, jobs
from biomarkers.store.jobs import Job, JobState
from flows import intake, steps
from flows.bench import at_bench
from flows.leases import working

NAME = "P1.map.csv"


@pytest.fixture
def job_id(laboratory: Laboratory) -> int:
    """A file that was dropped and went into quarantine."""
    (laboratory.folder.inbox("elisa") / NAME).write_text("plate_id,slot\n")
    (held,) = held_here(laboratory, why=BiomarkersError(what="No plate.", where=f"File '{NAME}'.", remedy="Mend it."))
    return held.job.id


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def told(laboratory: Laboratory, job_id: int) -> tuple[Job, list[str]]:
    with laboratory.database.read() as reading:
        return jobs.get(reading, job_id=job_id), [event.action for event in audit.events(reading)]


def held_here(laboratory: Laboratory, *, why: BiomarkersError | None = None) -> tuple[steps.Held, ...]:
    """Take what lies in the inbox and let go of it, or put it into quarantine."""

    async def take() -> tuple[steps.Held, ...]:
        with working():
            (held,) = await intake.hold([laboratory.dropped_files()])
            for one in held if why else ():
                steps.quarantine(one, why)
        return held

    with ThreadPoolExecutor(1) as here, at_bench(laboratory, lambda *_: None, executor=here):
        return asyncio.run(take())


def taken(laboratory: Laboratory) -> list[int]:
    """Take what lies in the inbox, and tell the jobs it was taken as."""
    return [one.job.id for one in held_here(laboratory)]


def test_it_keeps_its_job_and_loses_its_note(laboratory: Laboratory, job_id: int) -> None:
    assert names(laboratory.folder.quarantine("elisa")) == [NAME, f"{NAME}.reason.txt"]
    bring_back(laboratory, job_id=job_id, reason="A new list.")
    assert names(laboratory.folder.quarantine("elisa")) == []
    job, actions = told(laboratory, job_id)
    assert (job.state, job.what, job.settled_name, job.finished_at) == (JobState.QUEUED, "", "", None)
    assert actions[-2:] == ["file.quarantined", "file.requeued"]
    assert taken(laboratory) == [job_id]


def test_a_mended_one_is_a_new_drop(laboratory: Laboratory, job_id: int) -> None:
    (laboratory.folder.quarantine("elisa") / NAME).write_text("plate_id,slot,accession_id\n")
    bring_back(laboratory, job_id=job_id, reason="Mended.")
    assert told(laboratory, job_id)[0].state is JobState.QUARANTINED
    assert taken(laboratory) == [job_id + 1]


def test_it_never_takes_the_place_of_another_file(laboratory: Laboratory, job_id: int) -> None:
    newer = laboratory.folder.inbox("elisa") / NAME
    newer.write_text("another plate\n")
    with pytest.raises(StoreError, match="lies in the inbox already"):
        bring_back(laboratory, job_id=job_id, reason="A new list.")
    assert newer.read_text() == "another plate\n"
    assert names(laboratory.folder.quarantine("elisa")) == [NAME, f"{NAME}.reason.txt"]
    assert told(laboratory, job_id)[0].state is JobState.QUARANTINED


def test_a_file_dropped_at_the_last_moment_is_not_replaced(
    laboratory: Laboratory, job_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = laboratory.folder.inbox("elisa") / NAME
    move = archive.moved_to

    def dropped_first(path: Path, target: Path) -> bool:
        newer.write_text("another plate\n")
        return move(path, target)

    monkeypatch.setattr(archive, "moved_to", dropped_first)
    with pytest.raises(StoreError, match="lies in the inbox already"):
        bring_back(laboratory, job_id=job_id, reason="A new list.")
    assert newer.read_text() == "another plate\n"
    assert names(laboratory.folder.quarantine("elisa")) == [NAME, f"{NAME}.reason.txt"]
    job, actions = told(laboratory, job_id)
    assert job.state is JobState.QUARANTINED
    assert "file.requeued" not in actions


def test_one_that_is_being_put_into_quarantine_is_left_to_whoever_does_so(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    leave = archive._leave

    def overtaken(dropped: Path, target: Path) -> None:
        """Between the two names of a file that goes into quarantine, try to bring it back."""
        with open_lab(laboratory.folder.root) as other, pytest.raises(StoreError) as refused:
            bring_back(other, job_id=1, reason="A new list.")
        said.append(refused.value.what)
        leave(dropped, target)

    monkeypatch.setattr(archive, "_leave", overtaken)
    (laboratory.folder.inbox("elisa") / NAME).write_text("plate_id,slot\n")
    held_here(laboratory, why=BiomarkersError(what="No plate.", where=f"File '{NAME}'.", remedy="Mend it."))
    assert said == ["The file is just being put into quarantine."]
    assert names(laboratory.folder.quarantine("elisa")) == [NAME, f"{NAME}.reason.txt"]
    assert names(laboratory.folder.inbox("elisa")) == []


def test_of_several_that_bring_it_back_at_once_one_does(laboratory: Laboratory, job_id: int) -> None:
    together = Barrier(4)

    def tries(_: int) -> bool:
        with open_lab(laboratory.folder.root) as own:
            together.wait()
            try:
                bring_back(own, job_id=job_id, reason="A new list.")
            except StoreError:
                return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(tries, range(4))) == [False, False, False, True]
    assert told(laboratory, job_id)[1].count("file.requeued") == 1
    assert taken(laboratory) == [job_id]


def test_killed_between_its_two_names_it_is_whole_and_once_afterwards(
    laboratory: Laboratory, job_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(archive, "_leave", killed)
        with pytest.raises(Killed):
            bring_back(laboratory, job_id=job_id, reason="A new list.")
    assert NAME in names(laboratory.folder.inbox("elisa"))
    assert NAME in names(laboratory.folder.quarantine("elisa"))
    assert taken(laboratory) == [job_id]
    assert names(laboratory.folder.quarantine("elisa")) == []
    assert names(laboratory.folder.inbox("elisa")) == [NAME]


def test_an_instruments_folder_that_is_gone_is_made_again(laboratory: Laboratory, job_id: int) -> None:
    inbox = laboratory.folder.inbox("elisa")
    inbox.rmdir()
    bring_back(laboratory, job_id=job_id, reason="A new list.")
    assert names(inbox) == [NAME]


def test_one_that_may_not_be_moved_stays_with_its_note(
    laboratory: Laboratory, job_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(archive, "moved_to", refused)
    with pytest.raises(LabFolderError, match="cannot be brought back from quarantine: Permission denied"):
        bring_back(laboratory, job_id=job_id, reason="A new list.")
    assert names(laboratory.folder.quarantine("elisa")) == [NAME, f"{NAME}.reason.txt"]
    assert told(laboratory, job_id)[0].state is JobState.QUARANTINED
