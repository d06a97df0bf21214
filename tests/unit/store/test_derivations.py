from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.elisa.lots import ControlRange, KitLot
from biomarkers.errors import StoreError
from biomarkers.results import DerivedAnalysis, Run
from biomarkers.store.controls import stored_controls, stored_scatters
from biomarkers.store.database import Database
from biomarkers.store.decisions import mask_history, mask_wells, masks_by_run
from biomarkers.store.derivations import counting_results, standing_derivations
from biomarkers.store.results import (
    Decision,
    aligned_inputs,
    current_results,
    current_runs,
    is_recorded,
    read_analysis,
    record_analysis,
)
from biomarkers.store.study_lists import current_lots, record_lots

Register = Callable[[Database, Run], None]
Derive = Callable[[PlateAnalysis, datetime], DerivedAnalysis]

Decide = Callable[[Database, str, Decision], None]


@pytest.fixture
def recorded(
    database: Database, plate: Callable[..., PlateAnalysis], derived: Derive, register: Register, now: datetime
) -> tuple[PlateAnalysis, DerivedAnalysis]:
    """A plate and what a second step made of it."""
    given = plate()
    register(database, given.run)
    made = derived(given, now)
    with database.write() as transaction:
        record_analysis(transaction, given, reason="", recorded_at=now)
        record_analysis(transaction, made, reason="", recorded_at=now)
    return given, made


def test_a_derived_analysis_and_a_plate_come_back_equal(
    database: Database, recorded: tuple[PlateAnalysis, DerivedAnalysis]
) -> None:
    with database.read() as reading:
        for given in recorded:
            assert read_analysis(reading, analysis_id=given.run.analysis_id) == given


def test_a_replacing_result_stands_in_its_parents_place_and_remarks_join_their_results(
    database: Database, recorded: tuple[PlateAnalysis, DerivedAnalysis]
) -> None:
    given, made = recorded
    with database.read() as reading:
        current = {stored.accession_id: stored for stored in current_results(reading)}
        codes = {one.accession_id: one.finding_codes for one in aligned_inputs(reading)}
    assert len(current) == 3
    assert (current["ATR-000001"].value, current["ATR-000001"].run_id) == (5.0, made.run.run_id)
    assert {stored.ordinal for stored in current.values()} == {current["ATR-000002"].ordinal}
    assert codes["ATR-000002"].split(";") == ["WESTGARD_1_3S"]
    assert "WESTGARD_1_3S" not in codes["ATR-000003"]
    assert given.run.run_id in {stored.run_id for stored in current.values()}


def test_a_withdrawn_derivation_gives_the_place_back(
    database: Database, recorded: tuple[PlateAnalysis, DerivedAnalysis], now: datetime
) -> None:
    _, made = recorded
    empty = DerivedAnalysis(step=made.step, run=replace(made.run, results=(), findings=()), parents=())
    with database.write() as transaction:
        record_analysis(transaction, empty, reason="Gone.", recorded_at=now)
    with database.read() as reading:
        assert {stored.value for stored in current_results(reading)} == {4.5, 1.5, None}
        assert all("WESTGARD" not in one.finding_codes for one in aligned_inputs(reading))
        (standing,) = standing_derivations(reading, step=made.step).values()
    assert standing.is_empty


def test_derived_runs_are_no_measured_runs(database: Database, recorded: tuple[PlateAnalysis, DerivedAnalysis]) -> None:
    given, made = recorded
    with database.read() as reading:
        assert [run.run_id for run in current_runs(reading)] == [given.run.run_id]
        assert is_recorded(reading, sha256=given.run.provenance.sources[0].sha256)
        (standing,) = standing_derivations(reading, step=made.step).values()
    assert (standing.run_id, standing.content_id, standing.is_empty) == (made.run.run_id, made.run.analysis_id, False)
    assert standing.parent_ids == {parent.result_id for parent in made.parents}


def test_the_result_that_counts_is_the_declared_one_else_the_evaluable_one_else_the_first(
    database: Database, plate: Callable[..., PlateAnalysis], register: Register, now: datetime, decide: Decide
) -> None:
    first, second = plate("P1.txt", value=4.0), plate("P2.txt", value=8.0)
    for given in (first, second):
        register(database, given.run)
        with database.write() as transaction:
            record_analysis(transaction, given, reason="", recorded_at=now)
    with database.read() as reading:
        found = dict(counting_results(reading, measurands=["IL6"]))
    assert found["ATR-000001"]["IL6"].result == first.run.results[0]
    decide(database, first.run.results[0].result_id, Decision.EXCLUDED)
    with database.read() as reading:
        found = dict(counting_results(reading, measurands=["IL6"]))
    assert found["ATR-000001"]["IL6"].result == second.run.results[0]


def test_controls_are_told_with_their_plates_verdict_and_rejected_plates_have_no_scatter(
    database: Database, plate: Callable[..., PlateAnalysis], register: Register, now: datetime
) -> None:
    for name, word in (("P1.txt", "accepted"), ("P2.txt", "rejected")):
        given = plate(name, judged=word)
        register(database, given.run)
        with database.write() as transaction:
            record_analysis(transaction, given, reason="", recorded_at=now)
    with database.read() as reading:
        controls = stored_controls(reading, analyte="IL6")
        scatters = stored_scatters(reading)
        assert stored_controls(reading, analyte="KYN") == ()
    assert [one.is_accepted for one in controls] == [True, False]
    assert [one.record.mean for one in controls] == [20.0, 20.0]
    assert [one.run_id for one in scatters] == [controls[0].run_id]


def test_masks_stand_as_last_decided_and_every_decision_stays(database: Database, now: datetime) -> None:
    def decide(*wells: str, masked: bool, hours: int) -> None:
        with database.write() as transaction:
            mask_wells(
                transaction,
                run_id="elisa-1",
                positions=wells,
                masked=masked,
                reason="A bubble.",
                decided_by="curie",
                decided_at=now + timedelta(hours=hours),
            )

    decide("A01", "B02", masked=True, hours=0)
    decide("A01", masked=False, hours=1)
    with database.read() as reading:
        assert masks_by_run(reading) == {"elisa-1": {"B02": "A bubble. (curie, 2026-03-02 08:30)"}}
        history = [(one.position, one.masked) for one in mask_history(reading, run_id="elisa-1")]
    assert history == [("A01", True), ("B02", True), ("A01", False)]
    with pytest.raises(StoreError, match="B02 is masked already"):
        decide("B02", masked=True, hours=2)


def test_kit_lots_come_back_equal_and_a_later_list_replaces_an_earlier_one(database: Database, now: datetime) -> None:
    lot = KitLot(
        analyte="IL6",
        kit_lot="L1",
        expires_on=now.date(),
        calibrators={"STD1": 210.0, "STD8": 0.0},
        controls={"CTRL1": ControlRange(lower=16.0, upper=24.0, nominal=20.0), "CTRL2": ControlRange(lower=80.0, upper=120.0)},
    )
    other = KitLot(analyte="KYN", kit_lot="L2", calibrators={}, controls={})
    with database.write() as transaction:
        record_lots(transaction, lots=[other], sha256="1" * 64, recorded_at=now)
        assert record_lots(transaction, lots=[lot, other], sha256="2" * 64, recorded_at=now)
        assert not record_lots(transaction, lots=[lot, other], sha256="2" * 64, recorded_at=now)
    with database.read() as reading:
        assert current_lots(reading) == (lot, other)
