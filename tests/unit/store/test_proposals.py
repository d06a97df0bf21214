"""What recomputation gives for signed runs counts only after a person has accepted it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from biomarkers.elisa.records import PlateAnalysis
from biomarkers.errors import StoreError
from biomarkers.provenance import Source
from biomarkers.store import signatures, sources
from biomarkers.store.database import Database
from biomarkers.store.proposals import (
    Answer,
    Proposal,
    decide_proposal,
    proposals_of,
    record_or_propose,
    standing_proposals,
)
from biomarkers.store.recording import Recorded
from biomarkers.store.results import current_results, history, record_analysis
from biomarkers.store.signatures import Meaning, Standing
from biomarkers.store.timepoint_rows import count_differences

MakePlate = Callable[..., PlateAnalysis]


class SignedPlate:
    """A plate that was recorded and reviewed."""

    def __init__(self, database: Database, plate: MakePlate, now: datetime) -> None:
        self.database, self.plate, self.now = database, plate, now
        with database.write() as transaction:
            for source in plate().run.provenance.sources:
                _register(transaction, source, now)
            record_analysis(transaction, plate(), reason="", recorded_at=now)
        self.run_id = plate().run.run_id
        self.sign(Meaning.REVIEWED)

    def sign(self, meaning: Meaning) -> None:
        with self.database.write() as transaction:
            signatures.sign(
                transaction,
                run_id=self.run_id,
                meaning=meaning,
                digest=signatures.signed_digest(transaction, run_id=self.run_id),
                signed_by="maria",
                full_name="Maria Reviewer",
                signed_at=self.now,
                reason="",
            )

    def recomputed(self, **changed: object) -> Recorded:
        with self.database.write() as transaction:
            (one,) = record_or_propose(
                transaction, [self.plate(**changed)], reason="The layout changed.", recorded_at=self.now + timedelta(days=1)
            )
        with self.database.read() as reading:
            assert count_differences(reading) == 0
        return one

    def decide(self, proposal_id: int, answer: Answer, reason: str = "The leaflet says so.") -> Proposal:
        with self.database.write() as transaction:
            return decide_proposal(
                transaction,
                proposal_id=proposal_id,
                answer=answer,
                reason=reason,
                decided_by="hanna",
                decided_at=self.now + timedelta(days=2),
            )

    def value(self) -> float | None:
        with self.database.read() as reading:
            return next(one.value for one in current_results(reading) if one.accession_id == "ATR-000001")

    def standing(self) -> Standing:
        with self.database.read() as reading:
            return signatures.standings(reading, [self.run_id])[self.run_id]

    def open(self) -> tuple[Proposal, ...]:
        with self.database.read() as reading:
            return standing_proposals(reading)


def _register(transaction: object, source: Source, now: datetime) -> None:
    sources.register(
        transaction,  # type: ignore[arg-type]  # the transaction of the test's own database
        sha256=source.sha256,
        size=1,
        assay="elisa",
        kind="dropped",
        name=source.name,
        received_at=now,
    )


@pytest.fixture
def signed(database: Database, plate: MakePlate, now: datetime) -> SignedPlate:
    return SignedPlate(database, plate, now)


def test_an_unsigned_run_is_superseded_at_once(database: Database, plate: MakePlate, now: datetime) -> None:
    with database.write() as transaction:
        for source in plate().run.provenance.sources:
            _register(transaction, source, now)
        record_analysis(transaction, plate(), reason="", recorded_at=now)
        (one,) = record_or_propose(transaction, [plate(value=9.0)], reason="The layout changed.", recorded_at=now)
    assert (one.changed, one.proposed) == (True, False)


@pytest.mark.parametrize("released", [False, True])
def test_a_signed_run_keeps_its_results_and_signature_while_what_came_out_waits(signed: SignedPlate, *, released: bool) -> None:
    if released:
        signed.sign(Meaning.RELEASED)
    standing = signed.standing()
    one = signed.recomputed(value=9.0)
    assert (one.changed, one.proposed) == (False, True)
    assert signed.value() == 4.5
    assert signed.standing() is standing
    (waiting,) = signed.open()
    assert waiting.reason == "The layout changed."
    (change,) = waiting.changes
    assert (change.accession_id, change.measurand) == ("ATR-000001", "IL6")
    assert change.before is not None
    assert change.after is not None
    assert (change.before.value, change.after.value) == (4.5, 9.0)


def test_the_same_outcome_is_proposed_once(signed: SignedPlate) -> None:
    assert signed.recomputed(value=9.0).proposed
    assert signed.recomputed(value=9.0).proposed
    assert len(signed.open()) == 1


def test_an_accepted_proposal_counts_when_the_run_is_computed_again_and_its_signature_breaks(signed: SignedPlate) -> None:
    signed.recomputed(value=9.0)
    decided = signed.decide(signed.open()[0].id, Answer.ACCEPTED)
    assert (decided.answer, decided.decided_by) == (Answer.ACCEPTED, "hanna")
    assert signed.value() == 4.5
    assert signed.recomputed(value=9.0).changed
    assert signed.value() == 9.0
    assert signed.standing() is Standing.CHANGED
    assert signed.open() == ()
    with signed.database.read() as reading:
        (step,) = history(reading, run_id=signed.run_id)
    assert "hanna" in step.reason
    assert "The leaflet says so." in step.reason


def test_what_was_not_accepted_does_not_count_when_something_else_comes_out(signed: SignedPlate) -> None:
    signed.recomputed(value=9.0)
    signed.decide(signed.open()[0].id, Answer.ACCEPTED)
    assert signed.recomputed(value=10.0).proposed
    assert signed.value() == 4.5
    (waiting,) = signed.open()
    assert waiting.changes[0].after is not None
    assert waiting.changes[0].after.value == 10.0


def test_a_refused_outcome_is_not_proposed_again_but_another_is(signed: SignedPlate) -> None:
    signed.recomputed(value=9.0)
    signed.decide(signed.open()[0].id, Answer.REFUSED)
    again = signed.recomputed(value=9.0)
    assert (again.changed, again.proposed) == (False, False)
    assert signed.open() == ()
    assert signed.recomputed(value=10.0).proposed


def test_a_proposal_that_would_no_longer_come_out_is_outdated(signed: SignedPlate) -> None:
    signed.recomputed(value=9.0)
    signed.recomputed(value=10.0)
    with signed.database.read() as reading:
        first, second = proposals_of(reading, run_id=signed.run_id)
    assert first.answer is Answer.OUTDATED
    assert second.answer is None
    unchanged = signed.recomputed()
    assert (unchanged.changed, unchanged.proposed) == (False, False)
    assert signed.open() == ()


@pytest.mark.parametrize(("answer", "reason"), [(Answer.ACCEPTED, " "), (Answer.OUTDATED, "By hand.")])
def test_a_decision_needs_a_reason_and_is_a_persons(signed: SignedPlate, answer: Answer, reason: str) -> None:
    signed.recomputed(value=9.0)
    with pytest.raises(StoreError, match="needs a reason"):
        signed.decide(signed.open()[0].id, answer, reason)
    assert len(signed.open()) == 1


def test_nothing_is_decided_twice(signed: SignedPlate) -> None:
    signed.recomputed(value=9.0)
    number = signed.open()[0].id
    signed.decide(number, Answer.REFUSED)
    with pytest.raises(StoreError, match="No such proposal"):
        signed.decide(number, Answer.ACCEPTED)
