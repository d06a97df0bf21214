"""Reports of the nights, as they were written.

Knows the folder they lie in. Must not know what is in them.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response

from biomarkers.laboratory import Laboratory
from biomarkers.web.access import Right, Visitor
from biomarkers.web.border import EVIDENCE_POLICY
from biomarkers.web.identity import Needs
from biomarkers.web.refusals import nothing_here
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.NIGHTS))]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~-]{0,100}\.html")


@router.get("/nights")
def nights(request: Request, visitor: Sees) -> Response:
    """List the nightly reports, the newest first."""
    site = site_of(request)
    orchestration = site.laboratory.settings.orchestration
    prefect = orchestration.api_url.removesuffix("/api") or f"http://127.0.0.1:{orchestration.port}"
    return site.page("nights.html", request, visitor, names=reports(site.laboratory), prefect=prefect)


@router.get("/nights/{name}")
def night(request: Request, name: str, visitor: Sees) -> Response:  # noqa: ARG001  - the right is the dependency
    """Give one report, shown without script, forms or an origin."""
    laboratory = site_of(request).laboratory
    if name not in reports(laboratory):
        raise nothing_here("There is no such report.")
    return FileResponse(
        laboratory.folder.root / "nights" / name,
        media_type="text/html; charset=utf-8",
        headers={"content-security-policy": EVIDENCE_POLICY},
    )


def reports(laboratory: Laboratory) -> list[str]:
    """Name the reports that lie there, the newest first."""
    place = laboratory.folder.root / "nights"
    if not place.is_dir():
        return []
    named = (path for path in place.iterdir() if _NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink())
    return sorted((path.name for path in named), reverse=True)
