"""Recomputations of signed results that wait for a person: what they would change, accepted or refused with a reason.

Knows forms. Must not know how a proposal comes about, nor compute a run again: that is started, and done elsewhere.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import RedirectResponse, Response

from biomarkers.store import lookups
from biomarkers.store.proposals import Proposal
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs, OwnForm
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import Site, site_of

router = APIRouter(include_in_schema=False)
Number = Annotated[int, Path(ge=1, le=2**53)]


@router.get("/proposals")
def proposals(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.RUNS))], said: str = "") -> Response:
    """List what waits for a decision."""
    site = site_of(request)
    return site.page(
        "proposals.html",
        request,
        visitor,
        proposals=standing(site),
        said=said if said in {"accepted", "refused"} else "",
        renews=site.renew is not None,
    )


def standing(site: Site) -> list[tuple[Proposal, str]]:
    """Return the proposals that wait, with the names of their runs."""
    found = site.laboratory.proposals()
    with site.laboratory.database.read() as reading:
        entries = {one.run_id: lookups.current_analysis(reading, run_id=one.run_id) for one in found}
    return [(one, one.run_id if (entry := entries[one.run_id]) is None else entry.name) for one in found]


@router.post("/proposals/{number}/decisions")
def decide(
    request: Request, number: Number, visitor: Annotated[Visitor, Depends(Needs(Right.REVIEW))], form: OwnForm
) -> Response:
    """Accept or refuse a proposal in the visitor's name; an accepted one is computed again, and counts if it comes out so."""
    answer, reason = form.get("answer", ""), form.get("reason", "").strip()[:1000]
    if answer not in {"accepted", "refused"}:
        raise RequestRefusedError(status=400, what="There is no such decision.", remedy="Accept or refuse.")
    if not reason:
        raise RequestRefusedError(status=400, what="A decision needs a reason.", remedy="Go back and say why.")
    site = site_of(request)
    decided = site.laboratory.decide_proposal(number, accepted=answer == "accepted", reason=reason, decided_by=visitor.name)
    if answer == "accepted" and site.renew is not None:
        site.renew(decided.run_id, f"{visitor.name} accepted what a recomputation proposed: {reason}")
    return RedirectResponse(f"/proposals?said={answer}", 303)
