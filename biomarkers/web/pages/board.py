"""The board of today's drops, and what waits or lies in quarantine.

Knows files as lines. Must not move one except back into its inbox.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import RedirectResponse, Response

from biomarkers.lab.folders import INBOXES
from biomarkers.laboratory import quarantine
from biomarkers.provenance import bytes_digest
from biomarkers.web import files
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs, OwnForm
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.FILES))]
JobId = Annotated[int, Path(ge=1, le=2**53)]


@router.get("/board")
def board(request: Request, visitor: Sees) -> Response:
    """Show today's drops by assay, with what is unfinished from before."""
    return _board(request, visitor, "board.html")


@router.get("/board/live")
def live(request: Request, visitor: Sees) -> Response:
    """Give the part of the board that changes; nothing but a status where it has not."""
    page = _board(request, visitor, "board_live.html")
    tag = f'"{bytes_digest(bytes(page.body))[:16]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    page.headers["etag"] = tag
    return page


def _board(request: Request, visitor: Visitor, template: str) -> Response:
    site = site_of(request)
    lines = files.todays(site.laboratory, files.file_lines(site.laboratory))
    by_assay = {kind: [line for line in lines if line.assay == kind] for kind in INBOXES}
    return site.page(template, request, visitor, by_assay=by_assay, kinds=INBOXES)


@router.get("/waiting")
def waiting(request: Request, visitor: Sees) -> Response:
    """Show what waits and what lies in quarantine, with reason and remedy."""
    site = site_of(request)
    lines = files.file_lines(site.laboratory)
    return site.page(
        "waiting.html",
        request,
        visitor,
        waiting=[line for line in lines if line.state in {"waiting", "running"}],
        quarantined=[line for line in lines if line.can_retry],
        said=request.query_params.get("said", ""),
    )


@router.post("/waiting/{job_id}/retry")
def retry(request: Request, job_id: JobId, visitor: Annotated[Visitor, Depends(Needs(Right.RETRY))], form: OwnForm) -> Response:
    """Move a quarantined file back into its inbox."""
    reason = form.get("reason", "").strip()[:500] or "It was mended."
    quarantine.bring_back(site_of(request).laboratory, job_id=job_id, actor=visitor.name, reason=reason)
    return RedirectResponse("/waiting?said=retried", 303)


@router.post("/waiting/{job_id}/answer")
def answer(
    request: Request, job_id: JobId, visitor: Annotated[Visitor, Depends(Needs(Right.ANSWER))], form: OwnForm
) -> Response:
    """Answer for a second read or a corrected map, in the visitor's name, with the reason."""
    reason = form.get("reason", "").strip()[:1000]
    if not reason:
        raise RequestRefusedError(status=400, what="Answering for a file needs a reason.", remedy="Go back and say why.")
    files.answer(
        site_of(request).laboratory,
        job_id=job_id,
        by=f"{visitor.full_name} ({visitor.name})",
        actor=visitor.name,
        reason=reason,
        replaces=form.get("replaces", "") == "true",
    )
    return RedirectResponse("/waiting?said=answered", 303)
