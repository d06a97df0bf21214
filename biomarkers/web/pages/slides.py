"""A slide piece by piece: tiles, the cells where somebody looks, and the regions drawn on it.

Knows addresses and headers. Must not know how a slide is read or a cell found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from biomarkers.errors import BiomarkersError
from biomarkers.ihc.regions import Annotation
from biomarkers.ihc.scoring import INTENSITY_CLASSES
from biomarkers.readers.cell_places import cells_in_view
from biomarkers.readers.slide_tiles import TILE_PX
from biomarkers.web import behind
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.refusals import nothing_here
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.RUNS))]

MOST_DRAWN = 4000
"""Cells in one view: as many circles as a browser draws while a finger moves."""

MOST_CORNERS = 40_000
"""Of all lines sent for drawing; the measured ones keep all of theirs."""

FIELD_PX = 640
"""Side of a field, as the quality page shows it: a screen without zooming."""

Place = Annotated[float, Query(ge=-1e8, le=1e8, allow_inf_nan=False)]


@router.get("/slides/{run_id}/view")
def view(request: Request, run_id: str, visitor: Sees) -> Response:  # noqa: ARG001  - the right is the dependency
    """Say how large a slide is, what is drawn on it, and how many cells there are to draw."""
    site = site_of(request)
    found = behind.run_behind(site.laboratory, run_id)
    pyramid = site.slides.pyramid(run_id)
    cells = site.slides.cells(run_id)
    annotation = next((one for one in found.analysis.run.provenance.sources if one.role == "annotation"), None)
    regions: tuple[Annotation, ...] = ()
    fault = ""
    if annotation is not None:
        try:
            regions = site.slides.regions(sha256=annotation.sha256, width=pyramid.width, height=pyramid.height)
        except BiomarkersError as error:
            fault = error.what
    slide = found.slide
    return JSONResponse(
        {
            "width": pyramid.width,
            "height": pyramid.height,
            "tile": TILE_PX,
            "top": pyramid.top,
            "pixel_size_um": None if slide is None else slide.pixel_size_um,
            "cells": None if cells is None else cells.total,
            "classes": list(INTENSITY_CLASSES),
            "regions": [
                {"name": one.name, "kind": one.kind.value, "rings": rings}
                for one, rings in zip(regions, drawn_rings(regions), strict=True)
            ],
            "fault": fault,
        }
    )


def drawn_rings(regions: tuple[Annotation, ...]) -> list[list[list[tuple[float, float]]]]:
    """Return the lines of regions with as many corners as a browser draws quickly; no line loses its shape."""
    corners = sum(len(ring) for one in regions for ring in one.rings)
    every = -(-corners // MOST_CORNERS) if corners else 1
    return [
        [[(round(x, 1), round(y, 1)) for x, y in ring[:: max(1, min(every, len(ring) // 16))]] for ring in one.rings]
        for one in regions
    ]


@router.get("/slides/{run_id}/tiles/{level}/{column}/{row}")
async def tile(request: Request, run_id: str, level: int, column: int, row: int, visitor: Sees) -> Response:  # noqa: ARG001, PLR0917  - the address's parts
    """Give a tile; the same one always, for a run's slide never changes."""
    site = site_of(request)
    return await _picture(
        request, f"{run_id}-{level}-{column}-{row}", run_id, lambda: site.slides.tile(run_id, level, column, row)
    )


@router.get("/slides/{run_id}/field/{x}/{y}")
async def field(request: Request, run_id: str, x: int, y: int, visitor: Sees) -> Response:  # noqa: ARG001  - as above
    """Give the field that begins at a place of the slide, at full resolution."""
    site = site_of(request)
    return await _picture(request, f"{run_id}-field-{x}-{y}", run_id, lambda: site.slides.field(run_id, x, y, FIELD_PX))


async def _picture(request: Request, name: str, run_id: str, work: Callable[[], bytes]) -> Response:
    if behind.RUN_ID.fullmatch(run_id) is None:
        raise nothing_here("There is no such slide.")
    tag = f'"{name}"'
    headers = {"etag": tag, "cache-control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    content = await asyncio.get_running_loop().run_in_executor(site_of(request).slide_readers, work)
    return Response(content, media_type="image/jpeg", headers=headers)


@router.get("/slides/{run_id}/cells")
def cells(
    request: Request,
    run_id: str,
    visitor: Sees,  # noqa: ARG001  - as above
    *,
    left: Place,
    top: Place,
    right: Place,
    bottom: Place,
) -> Response:
    """Give the cells within a rectangle, for drawing only: all, or evenly fewer, and always how many there are."""
    if behind.RUN_ID.fullmatch(run_id) is None:
        raise nothing_here("There is no such slide.")
    site = site_of(request)
    found = site.slides.cells(run_id)
    if found is None:
        raise nothing_here("The slide's cells have not been drawn yet.")
    inside = cells_in_view(found, left=left, top=top, right=right, bottom=bottom, most=MOST_DRAWN)
    shown = inside.places
    document = {
        "inside": inside.inside,
        "every": -(-found.total // max(1, len(found))),
        "total": found.total,
        "x": [round(float(one), 1) for one in shown.x_px],
        "y": [round(float(one), 1) for one in shown.y_px],
        "r": [None if one != one else round(float(one), 1) for one in shown.radius_px],  # noqa: PLR0124  - NaN
        "grade": [int(one) for one in shown.grade],
    }
    return Response(json.dumps(document, separators=(",", ":")), media_type="application/json")
