"""What the software does about controls of records and signatures, and the API's page.

Knows both as text. Must not claim what only a laboratory can: that an installation is fit for its use.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from biomarkers.web.access import Right, Visitor
from biomarkers.web.controls_supported import CONTROLS
from biomarkers.web.identity import Needs
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.HOME))]


@router.get("/controls")
def controls(request: Request, visitor: Sees) -> Response:
    """Show how the software supports controls of electronic records, and what the laboratory does itself."""
    return site_of(request).page("controls.html", request, visitor, controls=CONTROLS)


@router.get("/api")
def api_page(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.HOME))]) -> Response:
    """Show the API's addresses, drawn here: the usual page for it fetches its script from elsewhere."""
    document = request.app.openapi()
    return site_of(request).page("api.html", request, visitor, paths=document["paths"], document=document)


@router.get("/api/openapi.json")
def openapi(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.HOME))]) -> Response:  # noqa: ARG001  - the right is the dependency
    """Give the API's description for programs."""
    return JSONResponse(request.app.openapi())
