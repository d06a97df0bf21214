"""Decisions told again to a store that holds the same analyses, and what is passed over where it does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.errors import SourceFileError
from biomarkers.readers.decision_files import decision_text, read_decisions
from biomarkers.results import Run
from biomarkers.store.database import Database, sqlite_url
from biomarkers.store.decision_log import DecisionKind, Log, all_decisions, tell_again
from biomarkers.store.decisions import Decision, dispose, mask_wells
from biomarkers.store.results import record_analysis
from biomarkers.store.signatures import Meaning, sign, signatures, signed_digest


def decide(database: Database, given: PlateAnalysis, now: datetime) -> Log:
    """Mask a well, exclude a result, and sign the run."""
    run = given.run
    with database.write() as transaction:
        mask_wells(
            transaction, run_id=run.run_id, positions=["A02", "A01"], masked=True, decided_at=now, reason="r", decided_by="p"
        )
        dispose(
            transaction,
            result_id=run.results[0].result_id,
            decision=Decision.EXCLUDED,
            decided_at=now + timedelta(hours=1),
            reason="r",
            decided_by="p",
        )
        sign(
            transaction,
            run_id=run.run_id,
            meaning=Meaning.REVIEWED,
            digest=signed_digest(transaction, run_id=run.run_id),
            signed_by="maria",
            full_name="Maria Weiss",
            signed_at=now + timedelta(hours=2),
            reason="looked at",
        )
    with database.read() as reading:
        return all_decisions(reading)


def recorded(database: Database, given: PlateAnalysis, register: Callable[[Database, Run], None], now: datetime) -> None:
    register(database, given.run)
    with database.write() as transaction:
        record_analysis(transaction, given, reason="", recorded_at=now)


def test_told_again_they_are_the_same_and_told_twice_nothing_is_added(
    database: Database,
    tmp_path: Path,
    plate: Callable[..., PlateAnalysis],
    register: Callable[[Database, Run], None],
    now: datetime,
) -> None:
    recorded(database, plate(), register, now)
    taken = decide(database, plate(), now)
    assert [one.kind for one in taken] == [DecisionKind.WELLS, DecisionKind.RESULT, DecisionKind.RUN]
    assert taken[0].wells == ("A01", "A02")
    with Database.create(sqlite_url(tmp_path / "again.db")) as again:
        recorded(again, plate(), register, now + timedelta(days=9))
        for kind in (*DecisionKind, *DecisionKind):
            with again.write() as transaction:
                told = tell_again(transaction, taken, about=kind)
            assert not told.passed_over
            assert len(told.taken) + len(told.known) == 1
        with again.read() as reading:
            assert all_decisions(reading) == taken
            assert all(one.holds for one in signatures(reading)[plate().run.run_id])


def test_where_other_results_came_out_nothing_is_decided_about_them(
    database: Database,
    tmp_path: Path,
    plate: Callable[..., PlateAnalysis],
    register: Callable[[Database, Run], None],
    now: datetime,
) -> None:
    recorded(database, plate(), register, now)
    taken = decide(database, plate(), now)
    with Database.create(sqlite_url(tmp_path / "other.db")) as other:
        recorded(other, plate(value=9.0), register, now)
        reasons = []
        for kind in DecisionKind:
            with other.write() as transaction:
                reasons += list(tell_again(transaction, taken, about=kind).passed_over.values())
        assert reasons == ["there is no such current result", "its results are not those that were signed"]
    with Database.create(sqlite_url(tmp_path / "empty.db")) as empty, empty.write() as transaction:
        told = tell_again(transaction, taken, about=DecisionKind.WELLS)
        assert list(told.passed_over.values()) == ["there is no such run"]


def test_a_file_of_decisions_reads_back_and_tells_every_line_that_is_none(tmp_path: Path, now: datetime) -> None:
    path = tmp_path / "decisions.jsonl"
    line = decision_text(
        kind="wells",
        about="elisa-1",
        what="masked",
        reason="ein Bläschen",
        decided_by="p",
        decided_at=now,
        wells=("A01",),
        digest="",
        full_name="",
    )
    path.write_text(line, encoding="utf-8")
    (read,) = read_decisions(path)
    assert (read.reason, read.wells, read.decided_at) == ("ein Bläschen", ("A01",), now)
    path.write_text(f"{line}nonsense\n{line.replace('masked', 'eaten')}", encoding="utf-8")
    with pytest.raises(SourceFileError) as caught:
        read_decisions(path)
    assert [fault.where for fault in caught.value.faults] == [f"File '{path.name}', line {number}." for number in (2, 3)]
