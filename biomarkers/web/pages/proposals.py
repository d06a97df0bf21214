"""Recomputations of signed results that wait for a person: what they would change, accepted or refused with a reason.

Knows forms. Must not know how a proposal comes about, nor compute a run again: that is started, and done elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import RedirectResponse, Response

from biomarkers.store import lookups, signatures
from biomarkers.store.proposals import Answer, Figure, Proposal, ProposedChange, decided_proposals, standing_proposals
from biomarkers.store.signatures import Signature
from biomarkers.store.study_lists import current_roster
from biomarkers.study.roster import Specimen
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs, OwnForm
from biomarkers.web.pages.login import checked_account
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import Site, site_of

router = APIRouter(include_in_schema=False)
Number = Annotated[int, Path(ge=1, le=2**53)]
MOST_DECIDED = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingProposal:
    """A proposal as somebody has to see it who decides about it.

    Attributes
    ----------
    signed
        The signatures that hold under what it would replace.
    specimen_by_accession
        The specimens its results are about, as far as they are listed.
    """

    proposal: Proposal
    name: str
    assay: str
    signed: tuple[Signature, ...]
    specimen_by_accession: Mapping[str, Specimen]

    @property
    def changed(self) -> list[tuple[ProposedChange, float | None]]:
        """Every result that would change, with by how much in percent of the signed number; None where either is no number."""
        return [(one, difference_percent(one)) for one in self.proposal.changes]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedProposal:
    """A proposal somebody has decided about, and what became of it since."""

    proposal: Proposal
    name: str
    outcome: str


@router.get("/proposals")
def proposals(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.RUNS))], said: str = "") -> Response:
    """List what waits for a decision, and what was decided of late."""
    site = site_of(request)
    return site.page(
        "proposals.html",
        request,
        visitor,
        proposals=waiting(site),
        decided=decided(site),
        said=said if said in {"accepted", "refused"} else "",
        renews=site.renew is not None,
    )


def waiting(site: Site) -> list[WaitingProposal]:
    """Return the proposals that wait, the oldest first, with what they are about."""
    with site.laboratory.database.read() as reading:
        found = standing_proposals(reading)
        if not found:
            return []
        entries = {one.run_id: lookups.current_analysis(reading, run_id=one.run_id) for one in found}
        signed = signatures.signatures(reading, run_ids=[one.run_id for one in found])
        specimens = current_roster(reading).specimens
    return [
        WaitingProposal(
            proposal=one,
            name=one.run_id if (entry := entries[one.run_id]) is None else entry.name,
            assay="" if entry is None else entry.assay,
            signed=tuple(given for given in signed.get(one.run_id, ()) if given.holds),
            specimen_by_accession={
                change.accession_id: specimens[change.accession_id]
                for change in one.changes
                if change.accession_id in specimens
            },
        )
        for one in found
    ]


def decided(site: Site) -> list[DecidedProposal]:
    """Return the latest decisions about proposals, each with what became of it."""
    with site.laboratory.database.read() as reading:
        found = decided_proposals(reading, most=MOST_DECIDED)
        entries = {one.run_id: lookups.current_analysis(reading, run_id=one.run_id) for one in found}
        open_runs = {one.run_id for one in standing_proposals(reading)}
    return [
        DecidedProposal(
            proposal=one,
            name=one.run_id if (entry := entries[one.run_id]) is None else entry.name,
            outcome=_outcome(one, entry, is_open=one.run_id in open_runs),
        )
        for one in found
    ]


def _outcome(one: Proposal, entry: lookups.AnalysisEntry | None, *, is_open: bool) -> str:
    if one.answer is Answer.REFUSED:
        return "what was signed stands"
    if entry is not None and entry.analysis_id != one.analysis_id:
        return "took the place of what was signed"
    return "something else came out, and waits above" if is_open else "not computed yet"


def difference_percent(change: ProposedChange) -> float | None:
    """Tell by how much a proposal changes a number, in percent of the signed one; None where either is a bound or missing."""
    before, after = _number(change.before), _number(change.after)
    if before is None or after is None or before == 0:
        return None
    return 100 * (after - before) / abs(before)


def _number(figure: Figure | None) -> float | None:
    return None if figure is None or figure.comparator else figure.value


@router.post("/proposals/{number}/decisions")
def decide(
    request: Request, number: Number, visitor: Annotated[Visitor, Depends(Needs(Right.REVIEW))], form: OwnForm
) -> Response:
    """Accept or refuse a proposal in the visitor's name; an accepted one is computed again, and counts if it comes out so.

    Accepting takes the place of what somebody signed, so it asks for the password as a signature does.
    """
    answer, reason = form.get("answer", ""), form.get("reason", "").strip()[:1000]
    if answer not in {"accepted", "refused"}:
        raise RequestRefusedError(status=400, what="There is no such decision.", remedy="Accept or refuse.")
    if not reason:
        raise RequestRefusedError(status=400, what="A decision needs a reason.", remedy="Go back and say why.")
    site = site_of(request)
    if answer == "accepted":
        _require_person(site, request, visitor, password=form.get("password", ""))
    decided = site.laboratory.decide_proposal(number, accepted=answer == "accepted", reason=reason, decided_by=visitor.name)
    if answer == "accepted" and site.renew is not None:
        site.renew(decided.run_id, f"{visitor.name} accepted what a recomputation proposed: {reason}")
    return RedirectResponse(f"/proposals?said={answer}", 303)


def _require_person(site: Site, request: Request, visitor: Visitor, *, password: str) -> None:
    if visitor.by in {"loopback", "token"}:
        raise RequestRefusedError(
            status=403,
            what="Only a person who is logged in can accept a change of signed results.",
            remedy="Log in with name and password.",
        )
    if checked_account(site, request, name=visitor.name, password=password) is None:
        raise RequestRefusedError(
            status=403, what="The password does not fit, so nothing was accepted.", remedy="Go back and try again."
        )
