"""Nothing is computed by an old list of the study while a new one lies there and cannot be read for the moment."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from biomarkers.errors import TemporarilyUnavailableError, UnknownAccessionError
from biomarkers.lab import archive
from biomarkers.lab.archive import Admitted
from biomarkers.lab.folders import LabFolder
from biomarkers.laboratory import Laboratory, create_laboratory, open_lab
from biomarkers.provenance import utc_now
from biomarkers.store.audit import AuditEvent, events
from biomarkers.store.study_lists import record_specimens
from flows import intake, steps
from flows.bench import SweepReport, at_bench
from flows.leases import working
from flows.settings import without_prefect
from flows.sweep import run_sweep
from flows.work import Refused

ROSTER = "subject_id,site,treatment_start,progression_date\nS0001,LONDON,2025-03-10,\n"


def swept(laboratory: Laboratory) -> SweepReport:
    with (
        ThreadPoolExecutor(1) as here,
        without_prefect(),
        at_bench(laboratory, lambda *_: None, executor=here) as bench,
    ):
        return run_sweep(bench, laboratory.dropped_files())


def test_a_plate_waits_for_a_list_that_cannot_be_read_for_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with create_laboratory(tmp_path / "lab") as laboratory:
        inbox = laboratory.folder.root / "inbox"
        (inbox / "study" / "roster.csv").write_text(ROSTER)
        (inbox / "elisa" / "note.txt").write_text("No plate.\n")

        admit = archive.admit

        def gone(folder: LabFolder, path: Path) -> Admitted:
            if path.name == "roster.csv":
                raise TemporarilyUnavailableError(what="The share is away.", where="inbox/study.", remedy="Wait.")
            return admit(folder, path)

        with monkeypatch.context() as away:
            away.setattr(archive, "admit", gone)
            with pytest.raises(TemporarilyUnavailableError, match="share is away"):
                swept(laboratory)
        assert {path.name for path in inbox.rglob("*.*")} == {"roster.csv", "note.txt"}
        assert {file.name: file.state for file in swept(laboratory).files} == {
            "roster.csv": "recorded",
            "note.txt": "quarantined",
        }


def unknown() -> UnknownAccessionError:
    return UnknownAccessionError(
        what="Accession 'ATR-000001' is not in the specimen list.", where="File 'P1.map.csv'.", remedy="Correct it."
    )


async def refused(laboratory: Laboratory) -> None:
    """Take what lies in the inboxes, and refuse it for an accession nobody knows."""
    with working():
        (held,) = await intake.hold([laboratory.dropped_files()])
        steps.settle(held, Refused(error=unknown(), files=("P1.map.csv",)), reason="")


def trail(laboratory: Laboratory) -> list[AuditEvent]:
    with laboratory.database.read() as reading:
        return [event for event in events(reading) if event.action.startswith("file.")]


@pytest.mark.parametrize("is_new", [True, False], ids=["a list came meanwhile", "no list came"])
def test_a_file_judged_by_an_old_list_while_another_process_took_a_new_one_is_tried_again(
    tmp_path: Path, *, is_new: bool
) -> None:
    with create_laboratory(tmp_path / "lab") as laboratory:
        inbox, quarantine = laboratory.folder.inbox("elisa"), laboratory.folder.quarantine("elisa")
        (inbox / "P1.map.csv").write_text("plate_id,slot,accession_id\n")
        with ThreadPoolExecutor(1) as here, at_bench(laboratory, lambda *_: None, executor=here):
            steps.specimens()
            if is_new:
                with open_lab(laboratory.folder.root) as other, other.database.write() as transaction:
                    record_specimens(transaction, specimens=[], sha256="1" * 64, recorded_at=utc_now())
            asyncio.run(refused(laboratory))
            assert [file.name for file in steps.judged_too_soon()] == (["P1.map.csv"] if is_new else [])
        assert (inbox / "P1.map.csv").exists() is is_new
        assert (quarantine / "P1.map.csv").exists() is not is_new
        assert (quarantine / "P1.map.csv.reason.txt").exists() is not is_new
        assert [event.action for event in trail(laboratory)] == ([] if is_new else ["file.quarantined"])


def test_a_file_put_away_while_another_process_took_a_new_list_is_brought_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with create_laboratory(tmp_path / "lab") as laboratory:
        inbox, quarantine = laboratory.folder.inbox("elisa"), laboratory.folder.quarantine("elisa")
        (inbox / "P1.map.csv").write_text("plate_id,slot,accession_id\n")
        put_away = archive.put_away

        def put_away_late(*given: Any, **named: Any) -> str | None:
            with open_lab(laboratory.folder.root) as other, other.database.write() as transaction:
                record_specimens(transaction, specimens=[], sha256="1" * 64, recorded_at=utc_now())
            return put_away(*given, **named)

        monkeypatch.setattr(archive, "put_away", put_away_late)
        with ThreadPoolExecutor(1) as here, at_bench(laboratory, lambda *_: None, executor=here):
            steps.specimens()
            asyncio.run(refused(laboratory))
            assert [file.name for file in steps.judged_too_soon()] == ["P1.map.csv"]
        assert [path.name for path in inbox.iterdir()] == ["P1.map.csv"]
        assert list(quarantine.iterdir()) == []
        assert [event.action for event in trail(laboratory)] == ["file.quarantined", "file.requeued"]
