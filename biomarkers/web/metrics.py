"""Counts and durations as Prometheus reads them.

Knows its text format. Must not know subjects, visits or arms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from biomarkers.lab.pressure import room
from biomarkers.store import audit, jobs, lookups
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs
from biomarkers.web.site import Site, site_of

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(request: Request, _visitor: Annotated[Visitor, Depends(Needs(Right.METRICS))]) -> Response:
    """Give files by state, runs, durations, requests, room on the disk."""
    text = "".join(f"{line}\n" for line in _lines(site_of(request)))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _lines(site: Site) -> Iterator[str]:
    with site.laboratory.database.read() as reading:
        known = jobs.all_jobs(reading)
        entries = lookups.current_analyses(reading)
        head = audit.head(reading)
    files = Counter((job.assay, job.state.value) for job in known)
    yield from _kind("biomarkers_files", "gauge", "Dropped files by inbox and state.")
    for (assay, state), count in sorted(files.items()):
        yield _sample("biomarkers_files", {"assay": assay, "state": state}, count)
    yield from _kind("biomarkers_files_untaken", "gauge", "Files that lie in the inboxes.")
    yield _sample("biomarkers_files_untaken", {}, len(site.laboratory.dropped_files()))
    runs = Counter((entry.assay, "derived" if entry.step else "measured") for entry in entries)
    yield from _kind("biomarkers_runs", "gauge", "Runs as they stand.")
    for (assay, kind), count in sorted(runs.items()):
        yield _sample("biomarkers_runs", {"assay": assay, "kind": kind}, count)
    yield from _kind("biomarkers_file_seconds", "summary", "Seconds from a file's arrival to its outcome.")
    for assay in sorted({job.assay for job in known}):
        took = [
            (job.finished_at - job.received_at).total_seconds()
            for job in known
            if job.assay == assay and job.finished_at is not None
        ]
        yield _sample("biomarkers_file_seconds_sum", {"assay": assay}, sum(took))
        yield _sample("biomarkers_file_seconds_count", {"assay": assay}, len(took))
    yield from _kind("biomarkers_audit_entries", "counter", "Entries of the audit trail.")
    yield _sample("biomarkers_audit_entries", {}, head.number)
    yield from _kind("biomarkers_http_requests", "counter", "Requests answered by these pages.")
    for method, status, count in site.counted.totals():
        yield _sample("biomarkers_http_requests", {"method": method, "status": str(status)}, count)
    yield from _kind("biomarkers_http_request_seconds", "counter", "Seconds those requests took together.")
    yield _sample("biomarkers_http_request_seconds", {}, site.counted.seconds)
    space = room(site.laboratory.folder.root)
    yield from _kind("biomarkers_disk_free_bytes", "gauge", "Room on the laboratory's disk.")
    yield _sample("biomarkers_disk_free_bytes", {}, space.free_bytes)


def _kind(name: str, kind: str, told: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{told}}} {value:g}" if told else f"{name} {value:.17g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
