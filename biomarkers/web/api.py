"""The same as the pages for programs: JSON under the same rights.

Knows shapes. Must not know more than the pages do.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from biomarkers.store import audit as trail
from biomarkers.store import lookups, signatures
from biomarkers.web import behind, files
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs, require_header_csrf
from biomarkers.web.pages.completeness import matrix
from biomarkers.web.pages.runs import record_mask
from biomarkers.web.pages.timepoints import KINDS, Chosen, exported
from biomarkers.web.site import site_of

Files = Annotated[Visitor, Depends(Needs(Right.FILES))]
Runs = Annotated[Visitor, Depends(Needs(Right.RUNS))]
Timepoints = Annotated[Visitor, Depends(Needs(Right.TIMEPOINTS))]
Auditing = Annotated[Visitor, Depends(Needs(Right.AUDIT))]


class Told(BaseModel):
    """The three parts of a message."""

    what: str
    where: str
    remedy: str


class Errors(BaseModel):
    """Why a request was refused."""

    errors: list[Told]


REFUSALS = {code: {"model": Errors} for code in (400, 401, 403, 404, 409, 413, 422, 429, 503)}
router = APIRouter(prefix="/api/v1", responses=REFUSALS)  # type: ignore[arg-type]  # FastAPI's own shape of responses


class FileState(BaseModel):
    """One drop."""

    name: str
    assay: str
    state: str
    what: str
    where: str
    remedy: str
    sha256: str | None
    received_at: datetime | None
    run_ids: list[str]


class RunState(BaseModel):
    """One run as it stands; ``step`` names the second step that derived it, and is empty for what was measured."""

    run_id: str
    assay: str
    step: str
    name: str
    standing: str
    findings: str
    recorded_at: datetime


class ResultState(BaseModel):
    """One result with its interval and where it came from."""

    result_id: str
    run_id: str
    accession_id: str
    assay: str
    measurand: str
    value: float | None
    comparator: str
    unit: str
    lower: float | None
    upper: float | None
    findings: str
    recorded_at: datetime
    is_current: bool
    replaced_because: str


class ResultDetail(ResultState):
    """A result with its history, signatures and the digests of its files."""

    standing: str
    sources: list[dict[str, str]]
    inputs: list[dict[str, str]]
    software: str
    parameters: str
    history: list[ResultState]


class CompletenessState(BaseModel):
    """One assay at one visit of one subject."""

    subject_id: str
    visit: str
    assay: str
    status: str
    reason: str
    n_due: int
    n_reported: int


class AuditEntry(BaseModel):
    """One entry of the trail."""

    number: int
    at: datetime
    actor: str
    action: str
    entity: str
    detail: object
    reason: str
    hash: str


class AuditState(BaseModel):
    """What a walk along the chain found."""

    whole: bool
    entries: int
    head: str
    broken: str


class ChartState(BaseModel):
    """One control level of one lot."""

    analyte: str
    level: str
    kit_lot: str
    mean: float | None
    sd: float | None
    is_established: bool
    points: list[dict[str, str | float | bool | list[str] | None]]


class MaskRequest(BaseModel):
    """Wells to leave out, or to take back in."""

    model_config = ConfigDict(extra="forbid")

    wells: Annotated[list[Annotated[str, Field(pattern=r"^[A-P]{1,2}[0-9]{2}$")]], Field(min_length=1, max_length=384)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    masked: bool = True


@router.get("/files", tags=["files"])
def list_files(request: Request, _visitor: Files, state: Annotated[str, Query(max_length=20)] = "") -> list[FileState]:
    """Tell what became of every file, the newest first."""
    return [
        FileState(
            name=line.name,
            assay=line.assay,
            state=line.state,
            what=line.what,
            where=line.where,
            remedy=line.next_step,
            sha256=line.sha256,
            received_at=line.received_at,
            run_ids=[run.run_id for run in line.runs],
        )
        for line in files.file_lines(site_of(request).laboratory)
        if not state or line.state == state
    ]


@router.get("/timepoints", tags=["results"])
def list_timepoints(
    request: Request, visitor: Timepoints, choice: Chosen, form: Literal["json", "csv", "xlsx"] = "json", *, arm: bool = False
) -> Response:
    """Give the chosen rows of the timepoint table; with arms for those who have the right."""
    return Response(exported(site_of(request), visitor, choice, form, arm=arm), media_type=KINDS[form])


@router.get("/runs", tags=["results"])
def list_runs(request: Request, _visitor: Runs) -> list[RunState]:
    """List the runs, the newest first."""
    with site_of(request).laboratory.database.read() as reading:
        entries = lookups.current_analyses(reading)
        signed = signatures.signatures(reading)
    return [
        RunState(
            run_id=entry.run_id,
            assay=entry.assay,
            step=entry.step,
            name=entry.name,
            standing=signatures.standing(signed.get(entry.run_id, ())).value,
            findings=entry.finding_codes,
            recorded_at=entry.recorded_at,
        )
        for entry in entries
    ]


@router.get("/runs/{run_id}/results", tags=["results"])
def list_results(request: Request, run_id: str, _visitor: Runs) -> list[ResultState]:
    """Give a run's results as they stand."""
    found = behind.run_behind(site_of(request).laboratory, run_id)
    return [
        ResultState(
            result_id=one.result_id,
            run_id=one.run_id,
            accession_id=one.accession_id,
            assay=one.assay.value,
            measurand=one.measurand,
            value=None if one.quantity is None else one.quantity.value,
            comparator="" if one.quantity is None else one.quantity.comparator,
            unit="" if one.quantity is None else one.quantity.unit,
            lower=None if one.interval is None else one.interval.lower,
            upper=None if one.interval is None else one.interval.upper,
            findings=";".join(sorted({finding.code for finding in one.findings})),
            recorded_at=found.entry.recorded_at,
            is_current=True,
            replaced_because="",
        )
        for one in found.results
    ]


@router.get("/results/{result_id}", tags=["results"])
def get_result(request: Request, result_id: str, _visitor: Runs) -> ResultDetail:
    """Give one result with its history and provenance."""
    found = behind.result_behind(site_of(request).laboratory, result_id)
    provenance = found.result.provenance
    return ResultDetail(
        **_state(found.version).model_dump(),
        standing=found.standing.value,
        sources=[{"role": one.role, "name": one.name, "sha256": one.sha256} for one in provenance.sources],
        inputs=[{"kind": one.kind, "name": one.name, "sha256": one.sha256} for one in provenance.inputs],
        software=provenance.software,
        parameters=provenance.parameters,
        history=[_state(version) for version in found.versions],
    )


def _state(version: lookups.ResultVersion) -> ResultState:
    return ResultState(
        result_id=version.result_id,
        run_id=version.run_id,
        accession_id=version.accession_id,
        assay=version.assay,
        measurand=version.measurand,
        value=version.value,
        comparator=version.comparator,
        unit=version.unit,
        lower=version.lower,
        upper=version.upper,
        findings=version.finding_codes,
        recorded_at=version.recorded_at,
        is_current=version.is_current,
        replaced_because=version.replaced_because,
    )


@router.post("/runs/{run_id}/masks", tags=["decisions"], status_code=204)
def mask(
    request: Request,
    run_id: str,
    asked: MaskRequest,
    visitor: Annotated[Visitor, Depends(Needs(Right.MASK))],
    _own: Annotated[None, Depends(require_header_csrf)],
) -> Response:
    """Leave wells of a plate out, or take them back in, with a reason."""
    if not asked.reason.strip():
        asked = asked.model_copy(update={"reason": ""})
    record_mask(site_of(request), visitor, run_id, asked.wells, reason=asked.reason.strip(), masked=asked.masked)
    return Response(status_code=204)


@router.get("/completeness", tags=["results"])
def get_completeness(request: Request, _visitor: Runs) -> list[CompletenessState]:
    """Tell of every subject, visit and assay what is there."""
    return [
        CompletenessState(
            subject_id=cell.subject_id,
            visit=cell.visit,
            assay=cell.assay,
            status=cell.status,
            reason=cell.reason,
            n_due=cell.n_due,
            n_reported=cell.n_reported,
        )
        for cell in matrix(site_of(request))
    ]


@router.get("/charts", tags=["results"])
def get_charts(request: Request, _visitor: Runs, analyte: Annotated[str, Query(max_length=100)] = "") -> list[ChartState]:
    """Give the controls of every analyte, level and lot over its runs."""
    return [
        ChartState(
            analyte=series.analyte,
            level=series.level,
            kit_lot=series.kit_lot,
            mean=series.mean,
            sd=series.sd,
            is_established=series.is_established,
            points=[
                {
                    "run_id": one.point.run_id,
                    "measured_at": one.point.measured_at,
                    "value": one.point.value,
                    "accepted": one.point.is_accepted,
                    "z": one.z,
                    "violated": list(one.violated),
                }
                for one in series.points
            ],
        )
        for series in site_of(request).laboratory.controls(analyte=analyte or None)
    ]


@router.get("/audit", tags=["audit"])
def list_audit(
    request: Request,
    _visitor: Auditing,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    action: Annotated[str, Query(max_length=60)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditEntry]:
    """Give entries of the trail, the newest first."""
    with site_of(request).laboratory.database.read() as reading:
        found = lookups.latest_events(reading, before=before, action=action, limit=limit)
    return [
        AuditEntry(
            number=event.number,
            at=event.at,
            actor=event.actor,
            action=event.action,
            entity=event.entity,
            detail=json.loads(json.dumps(event.detail)),
            reason=event.reason,
            hash=event.hash,
        )
        for event in found
    ]


@router.get("/audit/verdict", tags=["audit"])
def verify_audit(request: Request, _visitor: Auditing) -> AuditState:
    """Walk along the whole chain."""
    verdict = site_of(request).laboratory.verify_audit()
    return AuditState(
        whole=verdict.is_whole,
        entries=verdict.entries,
        head=f"{verdict.head.number}:{verdict.head.hash}",
        broken="" if verdict.broken is None else f"{verdict.broken.number}: {verdict.broken.what}",
    )


@router.get("/audit/head", tags=["audit"])
def audit_head(request: Request, _visitor: Auditing) -> dict[str, str]:
    """Give the end of the chain, to be kept elsewhere."""
    with site_of(request).laboratory.database.read() as reading:
        head = trail.head(reading)
    return {"head": f"{head.number}:{head.hash}"}
