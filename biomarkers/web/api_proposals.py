"""Proposed recomputations for programs: what waits for a person, and what persons have decided.

Knows shapes. Must not decide: accepting asks for a password, which no script has.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel

from biomarkers.store.proposals import Figure, Proposal
from biomarkers.web.api import REFUSALS, Runs
from biomarkers.web.pages.proposals import decided, waiting
from biomarkers.web.site import site_of

router = APIRouter(prefix="/api/v1", responses=REFUSALS)  # type: ignore[arg-type]  # FastAPI's own shape of responses


class ProposedFigure(BaseModel):
    """A value with its 95 % limits; ``value`` is null where a result is not evaluable."""

    value: float | None
    comparator: str
    unit: str
    lower: float | None
    upper: float | None


class ProposedChangeState(BaseModel):
    """One result as it is signed and as it would be; null where it is not there."""

    accession_id: str
    measurand: str
    before: ProposedFigure | None
    after: ProposedFigure | None


class ProposalState(BaseModel):
    """What a recomputation of a signed run came to, and what a person said of it."""

    id: int
    run_id: str
    name: str
    reason: str
    proposed_at: datetime
    changes: list[ProposedChangeState]
    answer: str | None
    decided_by: str
    decided_at: datetime | None
    decision_reason: str
    outcome: str


@router.get("/proposals", tags=["decisions"])
def get_proposals(request: Request, _visitor: Runs) -> list[ProposalState]:
    """Give the proposals that wait for a decision, the oldest first, and then what was decided of late."""
    site = site_of(request)
    return [
        *(_state(one.proposal, name=one.name, outcome="waits for a decision") for one in waiting(site)),
        *(_state(one.proposal, name=one.name, outcome=one.outcome) for one in decided(site)),
    ]


def _state(one: Proposal, *, name: str, outcome: str) -> ProposalState:
    return ProposalState(
        id=one.id,
        run_id=one.run_id,
        name=name,
        reason=one.reason,
        proposed_at=one.proposed_at,
        changes=[
            ProposedChangeState(
                accession_id=change.accession_id,
                measurand=change.measurand,
                before=_figure(change.before),
                after=_figure(change.after),
            )
            for change in one.changes
        ],
        answer=None if one.answer is None else one.answer.value,
        decided_by=one.decided_by,
        decided_at=one.decided_at,
        decision_reason=one.decision_reason,
        outcome=outcome,
    )


def _figure(figure: Figure | None) -> ProposedFigure | None:
    if figure is None:
        return None
    return ProposedFigure(
        value=figure.value, comparator=figure.comparator, unit=figure.unit, lower=figure.lower, upper=figure.upper
    )
