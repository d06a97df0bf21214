"""Recomputed results of reviewed or released runs: proposals, which count only after a person has accepted them.

Knows when a recomputation may supersede by itself, what a proposal would change, and what was decided about it. Must not know
how a number is computed: an accepted proposal is computed again, and recorded if the same comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, insert, select

from biomarkers.errors import StoreError
from biomarkers.results import Result
from biomarkers.store import audit, timepoint_rows
from biomarkers.store.analyses import read_analysis
from biomarkers.store.current import is_current
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.evidence import Analysis
from biomarkers.store.recording import Recorded, record_analysis
from biomarkers.store.records import plain, record_of
from biomarkers.store.schema import analysis, proposal, proposal_answer
from biomarkers.store.signatures import Standing, standings

OUTDATED = "Something else came out since."


class Answer(StrEnum):
    """What became of a proposal; ``OUTDATED`` is the program's own word for one that no longer says what would come out."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value as a proposal shows it: None where a result is not evaluable."""

    value: float | None
    comparator: str
    unit: str
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedChange:
    """One result as it counts and as it would; None where it is not there."""

    accession_id: str
    measurand: str
    before: Figure | None
    after: Figure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a recomputation of a signed run came to.

    Attributes
    ----------
    analysis_id
        The run's analysis that counts.
    content_id
        Identity of what would take its place.
    reason
        Why the run was computed again.
    changes
        Results that would change; empty where only findings or provenance do.
    answer, decided_by, decided_at, decision_reason
        None and empty as long as nobody has decided.
    """

    id: int
    run_id: str
    analysis_id: str
    content_id: str
    reason: str
    changes: tuple[ProposedChange, ...]
    proposed_at: datetime
    answer: Answer | None
    decided_by: str
    decided_at: datetime | None
    decision_reason: str


def record_or_propose(
    transaction: Transaction, analyses: Sequence[Analysis], *, reason: str, recorded_at: datetime
) -> tuple[Recorded, ...]:
    """Record recomputed analyses; of a run whose signature holds, propose what came out, unless a person has accepted it.

    Parameters
    ----------
    analyses
        Of runs recorded before.

    Returns
    -------
    tuple of Recorded
        In the order given.

    Raises
    ------
    StoreError
        As :func:`biomarkers.store.recording.record_analysis`.
    """
    transaction.serialise()
    signed = standings(transaction, {given.run.run_id for given in analyses})
    with timepoint_rows.gathered(transaction):
        return tuple(
            _propose(transaction, given, reason=reason, at=recorded_at)
            if signed[given.run.run_id] in {Standing.REVIEWED, Standing.RELEASED}
            else record_analysis(transaction, given, reason=reason, recorded_at=recorded_at)
            for given in analyses
        )


def _propose(transaction: Transaction, given: Analysis, *, reason: str, at: datetime) -> Recorded:
    run = given.run
    current = transaction.connection.execute(
        select(analysis.c.analysis_id, analysis.c.content_id).where(analysis.c.run_id == run.run_id, is_current())
    ).one()
    made = _proposals(transaction, proposal.c.run_id == run.run_id, proposal.c.analysis_id == current.analysis_id)
    same = [one for one in made if one.content_id == run.analysis_id and one.answer is not Answer.OUTDATED]
    for one in made:
        if one.answer is None and one.content_id != run.analysis_id:
            _answer(transaction, one, Answer.OUTDATED, reason=OUTDATED, by=audit.PROGRAM, at=at)
    unchanged = Recorded(analysis_id=current.analysis_id, changed=False, superseded="")
    if current.content_id == run.analysis_id:
        return unchanged
    if same and same[-1].answer is Answer.ACCEPTED:
        accepted = same[-1]
        why = f"{accepted.reason} Accepted by {accepted.decided_by}: {accepted.decision_reason}"
        return record_analysis(transaction, given, reason=why, recorded_at=at, actor=accepted.decided_by)
    if not same:
        _write(transaction, given, analysis_id=current.analysis_id, reason=reason, at=at)
    return Recorded(analysis_id=current.analysis_id, changed=False, superseded="", proposed=not same or same[-1].answer is None)


def _write(transaction: Transaction, given: Analysis, *, analysis_id: str, reason: str, at: datetime) -> None:
    run = given.run
    changes = _changes(read_analysis(transaction, analysis_id=analysis_id).run.results, run.results)
    transaction.connection.execute(
        insert(proposal).values(
            run_id=run.run_id,
            analysis_id=analysis_id,
            content_id=run.analysis_id,
            reason=reason,
            changes=[plain(one) for one in changes],
            proposed_at=at,
        )
    )
    audit.append(
        transaction,
        at=at,
        actor=audit.PROGRAM,
        action="analysis.proposed",
        entity=run.run_id,
        detail={"instead_of": analysis_id, "proposed": run.analysis_id, "results": len(changes)},
        reason=reason,
    )


def _changes(before: Sequence[Result], after: Sequence[Result]) -> tuple[ProposedChange, ...]:
    old = {(one.accession_id, one.measurand): _figure(one) for one in before}
    new = {(one.accession_id, one.measurand): _figure(one) for one in after}
    return tuple(
        ProposedChange(accession_id=key[0], measurand=key[1], before=old.get(key), after=new.get(key))
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    )


def _figure(given: Result) -> Figure:
    quantity, interval = given.quantity, given.interval
    return Figure(
        value=None if quantity is None else quantity.value,
        comparator="" if quantity is None else quantity.comparator,
        unit="" if quantity is None else quantity.unit,
        lower=None if interval is None else interval.lower,
        upper=None if interval is None else interval.upper,
    )


def decide_proposal(
    transaction: Transaction, *, proposal_id: int, answer: Answer, reason: str, decided_by: str, decided_at: datetime
) -> Proposal:
    """Accept or refuse a proposal, as a named person with a reason; an accepted one counts when it is computed again.

    Raises
    ------
    StoreError
        There is no such open proposal, the run has changed since, or reason or name is missing.
    """
    transaction.serialise()
    where = f"Proposal {proposal_id}."
    if not reason.strip() or not decided_by or answer is Answer.OUTDATED:
        raise StoreError(
            what="A decision about a proposal needs a reason and a name.", where=where, remedy="Say why, and who decides."
        )
    found = next((one for one in standing_proposals(transaction) if one.id == proposal_id), None)
    if found is None:
        raise StoreError(
            what="No such proposal waits for a decision.",
            where=where,
            remedy="Look at the list of proposals; it may have been decided, or something else came out since.",
        )
    _answer(transaction, found, answer, reason=reason.strip(), by=decided_by, at=decided_at)
    return next(one for one in _proposals(transaction, proposal.c.id == proposal_id))


def _answer(transaction: Transaction, given: Proposal, answer: Answer, *, reason: str, by: str, at: datetime) -> None:
    transaction.connection.execute(
        insert(proposal_answer).values(proposal_id=given.id, answer=answer.value, reason=reason, decided_by=by, decided_at=at)
    )
    audit.append(
        transaction,
        at=at,
        actor=by,
        action=f"proposal.{answer.value}",
        entity=given.run_id,
        detail={"proposal": given.id, "proposed": given.content_id, "instead_of": given.analysis_id},
        reason=reason,
    )


def standing_proposals(reading: Reading) -> tuple[Proposal, ...]:
    """Return the proposals that wait for a decision, the oldest first."""
    return _proposals(reading, proposal_answer.c.answer.is_(None), is_current())


def latest_proposals(reading: Reading) -> tuple[Proposal, ...]:
    """Return, of each run, the last proposal made in place of the analysis that counts, by run."""
    latest = {one.run_id: one for one in _proposals(reading, is_current())}
    return tuple(latest[run_id] for run_id in sorted(latest))


def proposals_of(reading: Reading, *, run_id: str) -> tuple[Proposal, ...]:
    """Return every proposal ever made about a run, the oldest first."""
    return _proposals(reading, proposal.c.run_id == run_id)


def decided_proposals(reading: Reading, *, most: int) -> tuple[Proposal, ...]:
    """Return the proposals a person has decided about, the latest decision first; no more of them than asked for."""
    persons = proposal_answer.c.answer != Answer.OUTDATED.value
    found = sorted(_proposals(reading, persons), key=lambda one: (one.decided_at or one.proposed_at, one.id), reverse=True)
    return tuple(found[:most])


def _proposals(reading: Reading, *conditions: ColumnElement[bool]) -> tuple[Proposal, ...]:
    query = (
        select(
            proposal,
            proposal_answer.c.answer,
            proposal_answer.c.decided_by,
            proposal_answer.c.decided_at,
            proposal_answer.c.reason.label("decision_reason"),
        )
        .join(analysis, analysis.c.analysis_id == proposal.c.analysis_id)
        .outerjoin(proposal_answer, proposal_answer.c.proposal_id == proposal.c.id)
        .where(*conditions)
        .order_by(proposal.c.id)
    )
    return tuple(
        Proposal(
            id=row.id,
            run_id=row.run_id,
            analysis_id=row.analysis_id,
            content_id=row.content_id,
            reason=row.reason,
            changes=tuple(record_of(ProposedChange, one) for one in row.changes),
            proposed_at=row.proposed_at,
            answer=None if row.answer is None else Answer(row.answer),
            decided_by=row.decided_by or "",
            decided_at=row.decided_at,
            decision_reason=row.decision_reason or "",
        )
        for row in reading.connection.execute(query)
    )
