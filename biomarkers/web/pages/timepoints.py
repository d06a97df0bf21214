"""The timepoint table: filtered, sorted, exported, and drawn.

Knows choices and columns. Must not join arms itself: that is the laboratory's, for those who have the right.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from markupsafe import Markup

from biomarkers.reports.study_figures import StudyFigure, course_figure, waterfall_figure
from biomarkers.reports.tables import write_table
from biomarkers.results import Assay
from biomarkers.store.controls import stored_controls
from biomarkers.store.tubes import batched_tubes
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import BASELINE_VISIT
from biomarkers.timepoints.alignment import Status, TimepointRow
from biomarkers.timepoints.change_details import change_rows
from biomarkers.timepoints.table import rows_with_arms, timepoint_table
from biomarkers.web import drawings
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import Site, site_of
from biomarkers.web.table import ROWS_ON_A_PAGE, SORTABLE, Choice

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.TIMEPOINTS))]
Word = Annotated[str, Query(max_length=100)]

KINDS = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
}

COLUMNS = (
    ("subject_id", "subject"),
    ("visit", "visit"),
    ("study_day", "day"),
    ("measurand", "measurand"),
    ("status", "status"),
    ("value", "value"),
    ("change", "change"),
    ("percent_change", "change, %"),
)
assert {name for name, _ in COLUMNS} <= set(SORTABLE)


def chosen(  # noqa: PLR0917  - the address's own words
    measurand: Word = "",
    visit: Word = "",
    subject: Word = "",
    status: Word = "",
    assay: Word = "",
    sort: Word = "",
    order: Literal["", "up", "down"] = "",
) -> Choice:
    """Read from an address which rows are wanted."""
    return Choice(
        measurand=measurand,
        visit=visit,
        subject=subject,
        status=status,
        assay=assay,
        sort=sort,
        descending=order == "down",
    )


Chosen = Annotated[Choice, Depends(chosen)]


@router.get("/timepoints")
def show(
    request: Request, visitor: Sees, choice: Chosen, page: Annotated[int, Query(ge=1, le=100_000)] = 1, *, arm: bool = False
) -> Response:
    """Show the table, and figures where a measurand is chosen."""
    site = site_of(request)
    table = site.table.current()
    rows = choice.of(table.rows)
    assignments = allowed_arms(site, visitor) if arm else None
    pages = max(1, -(-len(rows) // ROWS_ON_A_PAGE))
    page = min(page, pages)
    shown = rows[(page - 1) * ROWS_ON_A_PAGE : page * ROWS_ON_A_PAGE]
    definition = site.laboratory.definition
    return site.page(
        "timepoints.html",
        request,
        visitor,
        choice=choice,
        columns=COLUMNS,
        rows=shown,
        arms=None if assignments is None else [assignments.arm(row.subject_id) or "" for row in shown],
        count=len(rows),
        first=(page - 1) * ROWS_ON_A_PAGE + 1,
        page=page,
        pages=pages,
        day=table.day,
        measurands=[(one.code, one.assay.value) for one in definition.measurands],
        visits=[one.code for one in sorted(definition.visits, key=lambda visit: visit.number)],
        subjects=sorted({row.subject_id for row in table.rows}),
        statuses=[status.value for status in Status],
        with_arm=assignments is not None,
        figures=figures(site, table.rows, choice, assignments),
        counts=counts(site, table.rows, choice.measurand),
        asked=asked(choice, with_arm=assignments is not None),
    )


@router.get("/timepoints.{ending}")
def export(request: Request, visitor: Sees, choice: Chosen, ending: Literal["csv", "xlsx"], *, arm: bool = False) -> Response:
    """Give the chosen rows as a file, every page of them."""
    content = exported(site_of(request), visitor, choice, ending, arm=arm)
    return Response(
        content, media_type=KINDS[ending], headers={"content-disposition": f'attachment; filename="timepoints.{ending}"'}
    )


def exported(site: Site, visitor: Visitor, choice: Choice, ending: str, *, arm: bool) -> bytes:
    """Write the chosen rows, with arms for those who have the right."""
    rows = choice.of(site.table.current().rows)
    assignments = allowed_arms(site, visitor) if arm else None
    frame = timepoint_table(rows) if assignments is None else rows_with_arms(rows, assignments)
    return write_table(frame, ending)


def allowed_arms(site: Site, visitor: Visitor) -> ArmAssignments:
    """Return the allocations to a visitor who has the right to them.

    Raises
    ------
    RequestRefusedError
        The visitor has not.
    """
    if not visitor.may(Right.ARMS):
        raise RequestRefusedError(
            status=403,
            what="This needs the right to see arms.",
            where=f"Role '{visitor.role.value}'.",
            remedy="Leave 'arm' out of the address.",
        )
    return site.laboratory.arms()


def asked(choice: Choice, *, with_arm: bool) -> dict[str, str]:
    """Write a choice as an address has it."""
    return {
        "measurand": choice.measurand,
        "visit": choice.visit,
        "subject": choice.subject,
        "status": choice.status,
        "assay": choice.assay,
        "sort": choice.sort,
        "order": ("down" if choice.descending else "up") if choice.sort else "",
        "arm": "true" if with_arm else "",
    }


def figures(
    site: Site, rows: tuple[TimepointRow, ...], choice: Choice, assignments: ArmAssignments | None
) -> list[tuple[StudyFigure, tuple[Markup, ...]]]:
    """Draw the courses of the chosen measurand, and the changes at the chosen visit; nothing while none is chosen."""
    definition = site.laboratory.definition
    if not choice.measurand or definition.measurand(choice.measurand) is None:
        return []
    here = [
        row for row in rows if row.measurand == choice.measurand and (not choice.subject or row.subject_id == choice.subject)
    ]
    found = [course_figure(definition, here, choice.measurand, assignments, batch_by_run=_batches(site, choice.measurand))]
    if choice.visit and choice.visit != BASELINE_VISIT:
        changes = change_rows(here, definition)
        found.append(waterfall_figure(definition, changes, choice.measurand, choice.visit, assignments))
    drawn = (figure for figure in found if any(panel.lines or panel.bars for panel in figure.panels))
    return [(figure, drawings.panels(figure)) for figure in drawn]


def _batches(site: Site, measurand: str) -> dict[str, str]:
    """Return the kit lot of each plate that measured an analyte, or the staining batch of each tube, by run."""
    declared = site.laboratory.definition.measurand(measurand)
    with site.laboratory.database.read() as reading:
        if declared is not None and declared.assay is Assay.CYTOMETRY:
            return {one.run_id: one.batch for one in batched_tubes(reading)}
        return {one.run_id: one.record.kit_lot for one in stored_controls(reading, analyte=measurand)}


def counts(site: Site, rows: tuple[TimepointRow, ...], measurand: str) -> list[tuple[str, dict[str, int]]]:
    """Count the statuses of the chosen measurand at each planned visit: n stands under every figure."""
    if not measurand:
        return []
    found = {visit.code: dict.fromkeys((status.value for status in Status), 0) for visit in site.laboratory.definition.visits}
    for row in rows:
        if row.measurand == measurand and row.visit in found:
            found[row.visit][row.status] += 1
    order = {visit.code: visit.number for visit in site.laboratory.definition.visits}
    return sorted(found.items(), key=lambda entry: order[entry[0]])
