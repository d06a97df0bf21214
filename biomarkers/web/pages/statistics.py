"""The statistician's page: who is where at each visit, and what changed since a release.

Knows choices and columns. Must not count or compare anything itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from biomarkers.errors import StoreError
from biomarkers.laboratory.release_changes import ReleaseChange, changes_since, locked_releases
from biomarkers.timepoints.alignment import Status
from biomarkers.timepoints.attrition import Attrition, Stage, attrition
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.refusals import RequestRefusedError, nothing_here
from biomarkers.web.site import Site, site_of

router = APIRouter(include_in_schema=False)
Sees = Annotated[Visitor, Depends(Needs(Right.TIMEPOINTS))]
Word = Annotated[str, Query(max_length=100)]
MOST_SHOWN = 200
MOST_GROUPS = 150

STATUS_OF_STAGE = {
    Stage.PROGRESSED: Status.NOT_EXPECTED,
    Stage.DIED: Status.NOT_EXPECTED,
    Stage.WITHDRAWN: Status.NOT_EXPECTED,
    Stage.NOT_YET_DUE: Status.NOT_YET_DUE,
    Stage.MISSING: Status.MISSING,
    Stage.PENDING: Status.PENDING,
    Stage.BELOW: Status.BELOW_RANGE,
    Stage.ABOVE: Status.ABOVE_RANGE,
    Stage.NOT_EVALUABLE: Status.NOT_EVALUABLE,
}
"""Where one status of the timepoint table holds the subjects of a stage, who looks closer is led there."""

KIND_WORDS = {
    "value": "another number",
    "status": "another status",
    "new": "new row",
    "gone": "row gone",
    "behind": "same number, another result",
}


@router.get("/statistics")
def statistics(
    request: Request,
    visitor: Sees,
    *,
    measurand: Word = "",
    visit: Word = "",
    release: Word = "",
    kind: Word = "",
    arm: bool = False,
) -> Response:
    """Show attrition, the releases with their heads, and what changed since one of them."""
    site = site_of(request)
    if arm and not visitor.may(Right.ARMS):
        raise RequestRefusedError(
            status=403,
            what=f"This needs the right to {Right.ARMS.value}.",
            where=f"Role '{visitor.role.value}'.",
            remedy="Ask for the table without arms.",
        )
    groups = _attrition(site, measurand=measurand, visit=visit, arm=arm)
    with site.laboratory.database.read() as reading:
        releases = locked_releases(site.laboratory.folder, reading)
    since = next((one for one in releases if release in {"", one.name}), None)
    if release and since is None:
        raise nothing_here("There is no such release.")
    changes: tuple[ReleaseChange, ...] = ()
    if since is not None:
        changes = changes_since(site.laboratory.folder, since.name, site.table.current().rows)
    counted = {name: sum(one.kind == name for one in changes) for name in KIND_WORDS}
    wanted = [
        one for one in changes if kind in {"", one.kind} and measurand in {"", one.measurand} and visit in {"", one.visit}
    ]
    return site.page(
        "statistics.html",
        request,
        visitor,
        groups=groups[:MOST_GROUPS],
        more_groups=max(0, len(groups) - MOST_GROUPS),
        stages=[(stage, STATUS_OF_STAGE.get(stage)) for stage in Stage],
        with_arm=arm,
        releases=releases,
        since=since,
        changes=wanted[:MOST_SHOWN],
        more=max(0, len(wanted) - MOST_SHOWN),
        counted=counted,
        kind_words=KIND_WORDS,
        day=site.table.current().day,
        measurands=[one.code for one in site.laboratory.definition.measurands],
        visits=[one.code for one in site.laboratory.definition.visits],
        measurand=measurand,
        visit=visit,
        kind=kind,
        asked={"measurand": measurand, "visit": visit, "release": release, "arm": "true" if arm else ""},
    )


def _attrition(site: Site, *, measurand: str, visit: str, arm: bool) -> list[Attrition]:
    table = site.table.current()
    if not arm:
        groups: Iterable[Attrition] = site.table.attrition(table)
    else:
        try:
            assignments = site.laboratory.arms()
        except StoreError as error:
            raise RequestRefusedError(
                status=409, what="No allocations are loaded.", remedy="Run 'biomarkers arms load LAB FILE'."
            ) from error
        rows = [row for row in table.rows if measurand in {"", row.measurand} and visit in {"", row.visit}]
        groups = attrition(rows, table.roster, assignments, as_of=table.day)
    return [one for one in groups if measurand in {"", one.measurand} and visit in {"", one.visit}]
