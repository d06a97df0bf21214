"""What lies behind one number, and the files of a run's evidence.

Knows results and files by id. Must not know how they came about.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from biomarkers.provenance import utc_now
from biomarkers.reports.page import flat_parameters
from biomarkers.store.decisions import Decision, dispose
from biomarkers.web import behind
from biomarkers.web.access import Right, Visitor
from biomarkers.web.border import EVIDENCE_POLICY
from biomarkers.web.identity import Needs, OwnForm
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.RUNS))]


@router.get("/results/{result_id}")
def result(request: Request, result_id: str, visitor: Sees) -> Response:
    """Show a number with everything behind it."""
    site = site_of(request)
    found = behind.result_behind(site.laboratory, result_id)
    provenance = found.result.provenance
    return site.page(
        "result.html",
        request,
        visitor,
        found=found,
        parameters=flat_parameters(provenance.parameters),
        decisions=[decision.value for decision in Decision],
    )


@router.post("/results/{result_id}/decisions")
def decide(
    request: Request, result_id: str, visitor: Annotated[Visitor, Depends(Needs(Right.REVIEW))], form: OwnForm
) -> Response:
    """Decide whether a result counts, with a reason."""
    try:
        decision = Decision(form.get("decision", ""))
    except ValueError as error:
        raise RequestRefusedError(status=400, what="There is no such decision.", remedy="Choose one from the list.") from error
    reason = form.get("reason", "").strip()[:1000]
    if not reason:
        raise RequestRefusedError(status=400, what="A decision needs a reason.", remedy="Go back and say why.")
    with site_of(request).laboratory.database.write() as transaction:
        dispose(
            transaction, result_id=result_id, decision=decision, reason=reason, decided_by=visitor.name, decided_at=utc_now()
        )
    return RedirectResponse(f"/results/{result_id}", 303)


@router.get("/evidence/{run_id}/{name}")
def file(request: Request, run_id: str, name: str, visitor: Sees) -> Response:  # noqa: ARG001  - the right is the dependency
    """Give a file of a run's evidence; pages among them are shown without script, forms or an origin."""
    path = behind.evidence_file(site_of(request).laboratory, run_id, name)
    headers = {"content-security-policy": EVIDENCE_POLICY, "cache-control": "private, max-age=0, must-revalidate"}
    if path.suffix not in {".html", ".png"}:
        headers["content-disposition"] = f'attachment; filename="{path.name}"'
    return FileResponse(path, media_type=behind.EVIDENCE_KINDS[path.suffix], headers=headers)
