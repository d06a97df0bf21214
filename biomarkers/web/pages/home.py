"""The first page: for each role what it needs first.

Knows what is asked of each role. Must not show one role's page to another.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from biomarkers.elisa.control_charts import ChartPoint, ControlSeries
from biomarkers.errors import StoreError
from biomarkers.lab.pressure import room
from biomarkers.store import audit as trail
from biomarkers.store import jobs, lookups, signatures
from biomarkers.store.signatures import Standing
from biomarkers.store.users import Role
from biomarkers.timepoints.alignment import Status
from biomarkers.web import files
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.pages import nights, proposals, timepoints
from biomarkers.web.site import Site, site_of
from biomarkers.web.table import Choice

router = APIRouter(include_in_schema=False)
MOST = 60


@router.get("/")
def home(request: Request, visitor: Annotated[Visitor, Depends(Needs(Right.HOME))]) -> Response:
    """Show the role's first page."""
    site = site_of(request)
    shown = {
        Role.TECHNICIAN: _technician,
        Role.REVIEWER: _reviewer,
        Role.SCIENTIST: _scientist,
        Role.UNBLINDED_SCIENTIST: _scientist,
        Role.AUDITOR: _auditor,
        Role.OPERATOR: _operator,
    }[visitor.role]
    return site.page(f"home_{_TEMPLATE[visitor.role]}.html", request, visitor, shown=shown(site, visitor))


_TEMPLATE = {
    Role.TECHNICIAN: "technician",
    Role.REVIEWER: "reviewer",
    Role.SCIENTIST: "scientist",
    Role.UNBLINDED_SCIENTIST: "scientist",
    Role.AUDITOR: "auditor",
    Role.OPERATOR: "operator",
}


def _technician(site: Site, _visitor: Visitor) -> dict[str, object]:
    lines = files.file_lines(site.laboratory)
    found = files.needs(site.laboratory, lines, site.table.current().rows)
    today = files.todays(site.laboratory, lines)
    return {"needs": found[:MOST], "count": len(found), "recorded": sum(line.state == "recorded" for line in today)}


def _reviewer(site: Site, _visitor: Visitor) -> dict[str, object]:
    with site.laboratory.database.read() as reading:
        entries = [one for one in lookups.current_analyses(reading) if not one.step]
        signed = signatures.signatures(reading)
        verdicts: dict[str, list[lookups.VerdictEntry]] = {}
        for verdict in lookups.current_verdicts(reading):
            verdicts.setdefault(verdict.run_id, []).append(verdict)
    standings = {entry.run_id: signatures.standing(signed.get(entry.run_id, ())) for entry in entries}
    # What was signed and changed, then what was rejected or has findings, then the rest; each the newest first.
    open_runs = sorted(
        (entry for entry in entries if standings[entry.run_id] is not Standing.RELEASED),
        key=lambda entry: _weight(entry, standings[entry.run_id], verdicts.get(entry.run_id, [])),
    )
    last: list[tuple[ControlSeries, ChartPoint]] = [
        (series, series.points[-1]) for series in site.laboratory.controls() if series.points
    ]
    troubled = sorted(last, key=lambda pair: -abs(pair[1].z or 0.0))[:12]
    counted = {one.value: sum(found is one for found in standings.values()) for one in Standing}
    return {
        "entries": open_runs[:MOST],
        "count": len(open_runs),
        "standings": standings,
        "verdicts": verdicts,
        "last_points": troubled,
        "units": {one.code: one.unit for one in site.laboratory.definition.analytes},
        "counted": counted,
        "nights": nights.reports(site.laboratory)[:1],
        "proposals": proposals.waiting(site),
    }


def _weight(entry: lookups.AnalysisEntry, standing: Standing, verdicts: list[lookups.VerdictEntry]) -> int:
    if standing is Standing.CHANGED:
        return 0
    words = {one.verdict for one in verdicts}
    if "rejected" in words:
        return 1
    if words - {"accepted"}:
        return 2
    return 3 if words else 4 if entry.finding_codes else 5


def _scientist(site: Site, visitor: Visitor) -> dict[str, object]:
    table = site.table.current()
    measured: dict[str, int] = {}
    for row in table.rows:
        if row.status in {Status.MEASURED, Status.BELOW_RANGE, Status.ABOVE_RANGE}:
            measured[row.measurand] = measured.get(row.measurand, 0) + 1
    chosen = next((one.code for one in site.laboratory.definition.measurands if measured.get(one.code)), "")
    assignments = None
    if visitor.may(Right.ARMS):
        try:
            assignments = site.laboratory.arms()
        except StoreError:  # none are loaded yet
            assignments = None
    choice = Choice(measurand=chosen)
    return {
        "measurands": [(one.code, one.assay.value, measured.get(one.code, 0)) for one in site.laboratory.definition.measurands],
        "figures": timepoints.figures(site, table.rows, choice, assignments),
        "counts": timepoints.counts(site, table.rows, chosen),
        "chosen": chosen,
        "with_arm": assignments is not None,
        "day": table.day,
    }


def _auditor(site: Site, _visitor: Visitor) -> dict[str, object]:
    with site.laboratory.database.read() as reading:
        signed = signatures.signatures(reading)
        head = trail.head(reading)
        names = {entry.run_id: entry.name for entry in lookups.current_analyses(reading)}
        events = [
            event
            for prefix in (
                "result.disposed",
                "wells.",
                "run.",
                "proposal.",
                "slide.",
                "file.answered",
                "user.",
                "login.failed",
                "file.uploaded",
            )
            for event in lookups.latest_events(reading, before=None, action=prefix, limit=10)
        ]
    broken = [one for several in signed.values() for one in several if not one.holds]
    return {
        "head": head,
        "verdict": site.laboratory.verify_audit(),
        "broken": broken,
        "names": names,
        "events": sorted(events, key=lambda event: -event.number)[:20],
        "signed": sum(len(several) for several in signed.values()),
    }


def _operator(site: Site, _visitor: Visitor) -> dict[str, object]:
    with site.laboratory.database.read() as reading:
        known = jobs.all_jobs(reading)
    states: dict[str, dict[str, int]] = {}
    for job in known:
        of_assay = states.setdefault(job.assay, {})
        of_assay[job.state.value] = of_assay.get(job.state.value, 0) + 1
    orchestration = site.laboratory.settings.orchestration
    return {
        "states": states,
        "room": room(site.laboratory.folder.root),
        "nights": nights.reports(site.laboratory)[:5],
        "untaken": len(site.laboratory.dropped_files()),
        "prefect": orchestration.api_url.removesuffix("/api") or f"http://127.0.0.1:{orchestration.port}",
    }
