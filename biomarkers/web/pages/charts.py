"""Control charts: every control level of every lot over its runs.

Knows series and their picture. Must not know the rules.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from biomarkers.elisa.control_charts import FEWEST_RUNS, RUNS_THAT_SET_LIMITS
from biomarkers.reports.control_chart import control_chart
from biomarkers.store import study_lists
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.site import site_of

router = APIRouter(include_in_schema=False)


@router.get("/charts")
def charts(
    request: Request,
    visitor: Annotated[Visitor, Depends(Needs(Right.RUNS))],
    analyte: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Show the charts of one analyte, or of the first that has any."""
    site = site_of(request)
    series = site.laboratory.controls()
    analytes = [*dict.fromkeys([*(one.code for one in site.laboratory.definition.analytes), *(one.analyte for one in series)])]
    shown = analyte or (series[0].analyte if series else "")
    declaration = site.laboratory.definition.analyte(shown)
    unit = "" if declaration is None else declaration.unit
    with site.laboratory.database.read() as reading:
        ranges = {
            (lot.kit_lot, slot): (certified.lower, certified.upper)
            for lot in study_lists.current_lots(reading)
            if lot.analyte == shown
            for slot, certified in lot.controls.items()
        }
    return site.page(
        "charts.html",
        request,
        visitor,
        analytes=analytes,
        analyte=shown,
        unit=unit,
        fewest_runs=FEWEST_RUNS,
        runs_that_set_limits=RUNS_THAT_SET_LIMITS,
        series=[
            (one, control_chart(one, "", unit=unit, declared=(declared := ranges.get((one.kit_lot, one.level)))), declared)
            for one in series
            if one.analyte == shown
        ],
    )
