"""Runs: plates, acquisitions and slides with their results; wells left out, results reviewed and released.

Knows forms about a run. Must not compute one again: that is started, and done elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from biomarkers.errors import StoreError
from biomarkers.provenance import utc_now
from biomarkers.reports.plate_figures import CurvePicture
from biomarkers.store import decisions, lookups, signatures
from biomarkers.store.controls import plate_positions
from biomarkers.store.proposals import Answer
from biomarkers.store.signatures import Meaning, Standing
from biomarkers.web import behind, gates_compared
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs, OwnForm
from biomarkers.web.pages.login import checked_account
from biomarkers.web.refusals import RequestRefusedError, nothing_here
from biomarkers.web.site import Site, site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.RUNS))]
ON_A_PAGE = 100
SIGNING_RIGHT = {Meaning.REVIEWED: Right.REVIEW, Meaning.RELEASED: Right.RELEASE}


@router.get("/runs")
def runs(
    request: Request,
    visitor: Sees,
    assay: Literal["", "elisa", "cytometry", "ihc"] = "",
    standing: Literal["", "preliminary", "reviewed", "released", "changed"] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """List the runs, the newest first, with how far each has come."""
    site = site_of(request)
    with site.laboratory.database.read() as reading:
        entries = [one for one in lookups.current_analyses(reading) if not one.step and assay in {"", one.assay}]
        signed = signatures.signatures(reading)
        verdicts: dict[str, list[lookups.VerdictEntry]] = {}
        for verdict in lookups.current_verdicts(reading):
            verdicts.setdefault(verdict.run_id, []).append(verdict)
    standings = {entry.run_id: signatures.standing(signed.get(entry.run_id, ())) for entry in entries}
    kept = [entry for entry in entries if not standing or standings[entry.run_id].value == standing]
    return site.page(
        "runs.html",
        request,
        visitor,
        entries=kept[(page - 1) * ON_A_PAGE : page * ON_A_PAGE],
        standings=standings,
        verdicts=verdicts,
        count=len(kept),
        page=page,
        pages=max(1, -(-len(kept) // ON_A_PAGE)),
        assay=assay,
        standing=standing,
        all_standings=[one.value for one in Standing],
        asked={"assay": assay, "standing": standing},
    )


@router.get("/runs/{run_id}")
def run(request: Request, run_id: str, visitor: Sees, said: str = "") -> Response:
    """Show a run: verdict, results, wells or populations or scores, decisions and signatures."""
    site = site_of(request)
    found = behind.run_behind(site.laboratory, run_id)
    plate = found.plate
    return site.page(
        "run.html",
        request,
        visitor,
        found=found,
        run=found.analysis.run,
        plate_rows=[] if plate is None else behind.plate_rows(plate.wells),
        curves=[] if plate is None else _curves(plate.curves, plate.wells),
        correction=None if found.acquisition is None else gates_compared.correction_of(found.acquisition),
        gate_pictures=() if found.acquisition is None else gates_compared.pictures(site.laboratory, run_id),
        may_sign=_may_sign(site, visitor, found),
        waits_for_another=_waits_for_another(site, visitor, found),
        said=said if said in {"masked", "unmasked", "signed"} else "",
        renews=site.renew is not None,
        proposals=[one for one in found.proposed if one.answer is None and one.analysis_id == found.entry.analysis_id],
        answered=[one for one in found.proposed if one.answer in {Answer.ACCEPTED, Answer.REFUSED}],
        left_out={one.position for one in found.masks if {m.position: m.masked for m in found.masks}[one.position]},
    )


def _curves(curves: object, wells: object) -> list[tuple[str, object]]:
    drawn: list[tuple[str, object]] = []
    for curve in curves:  # type: ignore[attr-defined]  # a plate's own curves
        own = [well for well in wells if well.analyte == curve.analyte]  # type: ignore[attr-defined]
        try:
            drawn.append((curve.analyte, CurvePicture(record=curve, wells=own).calibration()))
        except (ValueError, KeyError, ZeroDivisionError):
            continue  # a curve that cannot be drawn has its numbers on the quality page
    return drawn


def _waits_for_another(site: Site, visitor: Visitor, found: behind.RunBehind) -> bool:
    """Whether only another person may release these results, because nobody else reviewed them."""
    alone = signatures.reviewed_alone_by(found.signed) == visitor.name
    return alone and found.standing is Standing.REVIEWED and site.laboratory.definition.releasing_takes_two


def _may_sign(site: Site, visitor: Visitor, found: behind.RunBehind) -> list[str]:
    """Name what a visitor could say of a run as it stands by signing it."""
    if visitor.by in {"loopback", "token"} or _waits_for_another(site, visitor, found):
        return []
    possible = {
        Standing.PRELIMINARY: [Meaning.REVIEWED],
        Standing.CHANGED: [Meaning.REVIEWED],
        Standing.REVIEWED: [Meaning.RELEASED],
        Standing.RELEASED: [],
    }[found.standing]
    return [meaning.value for meaning in possible if visitor.may(SIGNING_RIGHT[meaning])]


@router.post("/runs/{run_id}/masks")
def mask(request: Request, run_id: str, visitor: Annotated[Visitor, Depends(Needs(Right.MASK))], form: OwnForm) -> Response:
    """Leave wells of a plate out, or take them back in, with a reason; the plate is computed again."""
    wells = form.get("well", "").upper().replace(",", " ").split()
    masked = form.get("action", "mask") != "unmask"
    record_mask(site_of(request), visitor, run_id, wells, reason=form.get("reason", "").strip()[:500], masked=masked)
    return RedirectResponse(f"/runs/{run_id}?said={'masked' if masked else 'unmasked'}", 303)


def record_mask(site: Site, visitor: Visitor, run_id: str, wells: list[str], *, reason: str, masked: bool) -> None:
    """Write the decision down in the visitor's name, and start computing the plate again where that is possible.

    Raises
    ------
    RequestRefusedError
        No reason or no well is given.
    StoreError
        A well is not there, or stands as asked already.
    """
    if behind.RUN_ID.fullmatch(run_id) is None:
        raise nothing_here("There is no such run.")
    if not reason or not wells:
        raise RequestRefusedError(
            status=400, what="Leaving wells out needs wells and a reason.", remedy="Mark the wells and say why."
        )
    with site.laboratory.database.write() as transaction:
        entry = lookups.current_analysis(transaction, run_id=run_id)
        if entry is None or entry.assay != "elisa" or entry.step:
            raise nothing_here("There is no such plate.")
        unknown = sorted(set(wells) - plate_positions(transaction, analysis_id=entry.analysis_id))
        if unknown:
            raise StoreError(
                what=f"The plate has no well {', '.join(repr(well[:8]) for well in unknown[:5])}.",
                where=f"Plate '{entry.name}'.",
                remedy="Write wells with two digits: A01, H12.",
            )
        decisions.mask_wells(
            transaction,
            run_id=run_id,
            positions=wells,
            masked=masked,
            reason=reason,
            decided_by=visitor.name,
            decided_at=utc_now(),
        )
    if site.renew is not None:
        what = f"Wells {', '.join(sorted(set(wells)))} were {'masked' if masked else 'unmasked'} by {visitor.name}: {reason}"
        site.renew(run_id, what)


@router.post("/runs/{run_id}/signatures")
def sign(request: Request, run_id: str, visitor: Sees, form: OwnForm) -> Response:
    """Sign a run's results as they were shown, with the password again."""
    site = site_of(request)
    try:
        meaning = Meaning(form.get("meaning", ""))
    except ValueError as error:
        raise RequestRefusedError(status=400, what="There is no such meaning.", remedy="Choose one from the list.") from error
    right = SIGNING_RIGHT[meaning]
    if not visitor.may(right):
        raise RequestRefusedError(
            status=403,
            what=f"This needs the right to {right.value}.",
            where=f"Role '{visitor.role.value}'.",
            remedy="Ask a reviewer.",
        )
    if visitor.by in {"loopback", "token"}:
        raise RequestRefusedError(
            status=403, what="Only a person who is logged in can sign.", remedy="Log in with name and password."
        )
    account = checked_account(site, request, name=visitor.name, password=form.get("password", ""))
    if account is None:
        raise RequestRefusedError(
            status=403, what="The password does not fit, so nothing was signed.", remedy="Go back and try again."
        )
    with site.laboratory.database.write() as transaction:
        signatures.sign(
            transaction,
            run_id=run_id,
            meaning=meaning,
            digest=form.get("digest", ""),
            signed_by=account.name,
            full_name=account.full_name,
            signed_at=utc_now(),
            reason=form.get("reason", "").strip()[:500],
            two_persons=site.laboratory.definition.releasing_takes_two,
        )
    return RedirectResponse(f"/runs/{run_id}?said=signed", 303)
