"""Completeness: every subject, visit and assay with what is there, or why it is not.

Knows the matrix. Must not know an arm.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from biomarkers.timepoints.completeness import CompletenessCell, completeness_matrix
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.site import Site, site_of

router = APIRouter(include_in_schema=False)

SIGNS = {
    "measured": "●",
    "pending": "◐",
    "missing": "✕",
    "not_evaluable": "!",
    "not_yet_due": "·",
    "not_expected": "-",
}


@router.get("/completeness")
def completeness(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.RUNS))]) -> Response:
    """Show the matrix."""
    site = site_of(request)
    cells = matrix(site)
    columns = sorted({(cell.visit_number, cell.visit, cell.assay) for cell in cells})
    visits: dict[str, int] = {}
    for _, visit, _ in columns:
        visits[visit] = visits.get(visit, 0) + 1
    by_subject: dict[str, dict[tuple[str, str], CompletenessCell]] = {}
    for cell in cells:
        by_subject.setdefault(cell.subject_id, {})[cell.visit, cell.assay] = cell
    counts = dict.fromkeys(SIGNS, 0)
    for cell in cells:
        counts[cell.status] = counts.get(cell.status, 0) + 1
    return site.page(
        "completeness.html",
        request,
        visitor,
        columns=columns,
        visits=list(visits.items()),
        by_subject=by_subject,
        signs=SIGNS,
        counts=counts,
        day=site.table.current().day,
    )


def matrix(site: Site) -> tuple[CompletenessCell, ...]:
    """Make the matrix of the table as it stands."""
    table = site.table.current()
    return completeness_matrix(site.laboratory.definition, table.rows, table.due)
