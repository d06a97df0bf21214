"""The pathologist's pages: a subject's slides at BASELINE beside C2D1, and what is said of each.

Knows forms and addresses. Must not know how a slide is scored or a decision kept.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from biomarkers.lab.archive import raw_path
from biomarkers.results import Assay
from biomarkers.web import behind, sections
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs, OwnForm
from biomarkers.web.refusals import RequestRefusedError, nothing_here
from biomarkers.web.sections import Verdict
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.RUNS))]
ON_A_PAGE = 4


@router.get("/pathology")
def pathology(
    request: Request,
    visitor: Sees,
    *,
    subject: str = "",
    stain: str = "",
    open_only: bool = False,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """Show the slides of a few subjects, each stain's visits side by side."""
    site = site_of(request)
    found = sections.index(site.laboratory)
    subjects = [
        one
        for one, slides in found.by_subject.items()
        if subject in {"", one}
        and any(stain in {"", slide.stain} and (not open_only or slide.run_id not in found.said) for _, slide in slides)
    ]
    here = subjects[(page - 1) * ON_A_PAGE : page * ON_A_PAGE]
    definition = site.laboratory.definition
    due = {visit for one in definition.measurands if one.assay is Assay.IHC for visit in one.due}
    visits = [one.code for one in definition.visits if one.code in due]
    return site.page(
        "pathology.html",
        request,
        visitor,
        subjects_shown=[sections.shown(site.laboratory, site.slides, found, one, stain=stain) for one in here],
        visits=visits,
        subjects=list(found.by_subject),
        stains=[one.code for one in definition.stains],
        subject=subject,
        stain=stain,
        open_only=open_only,
        count=len(subjects),
        page=page,
        pages=max(1, -(-len(subjects) // ON_A_PAGE)),
        asked={"subject": subject, "stain": stain, "open_only": "true" if open_only else ""},
    )


@router.post("/slides/{run_id}/decisions")
def decide(request: Request, run_id: str, visitor: Annotated[Visitor, Depends(Needs(Right.REVIEW))], form: OwnForm) -> Response:
    """Record what a pathologist says of a slide, with the reason."""
    if behind.RUN_ID.fullmatch(run_id) is None:
        raise nothing_here("There is no such slide.")
    try:
        verdict = Verdict(form.get("verdict", ""))
    except ValueError as error:
        raise RequestRefusedError(status=400, what="There is no such decision.", remedy="Choose one from the list.") from error
    reason = form.get("reason", "").strip()[:1000]
    if not reason:
        raise RequestRefusedError(status=400, what="A decision needs a reason.", remedy="Go back and say why.")
    sections.decide(site_of(request).laboratory, run_id, verdict, reason=reason, by=visitor.name)
    # Only to a page of our own, whatever the form says.
    back = form.get("back", "")
    return RedirectResponse(f"{back if back.startswith('/pathology?') else '/pathology'}#{run_id}", 303)


@router.get("/slides/{run_id}/regions")
def regions(request: Request, run_id: str, visitor: Sees) -> Response:  # noqa: ARG001  - the right is the dependency
    """Give the regions a slide was scored in, byte for byte as they were drawn, to be opened in QuPath."""
    site = site_of(request)
    found = behind.run_behind(site.laboratory, run_id)
    annotation = next((one for one in found.analysis.run.provenance.sources if one.role == "annotation"), None)
    if found.slide is None or annotation is None:
        raise nothing_here("No regions are drawn on this slide.")
    path = raw_path(site.laboratory.folder, annotation.sha256)
    if not path.is_file():
        raise nothing_here("The regions are not in the archive.")
    return FileResponse(path, media_type="application/geo+json", filename=annotation.name)
