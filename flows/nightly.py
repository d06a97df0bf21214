"""A night's work: what rests is taken in, what is stale is computed again, and everything is looked at and copied.

A table of contents. Each step is told on the night's page with its verdict; one that fails does not stop the next.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from biomarkers import safekeeping
from biomarkers.checkup import backup_store, examine
from biomarkers.errors import BiomarkersError
from biomarkers.laboratory import LabStatus, open_lab
from biomarkers.laboratory.staleness import stale_runs
from biomarkers.provenance import software_version, utc_now
from biomarkers.reports.night_page import (
    Completeness,
    Night,
    NightStep,
    night_json,
    night_markdown,
    night_page,
    tell_shortly,
)
from biomarkers.store.audit import head
from biomarkers.store.jobs import JobState
from flows.bench import Bench, Progress, at_bench, bench
from flows.notify import notify
from flows.recompute import recompute_stages
from flows.settings import lab_flow, lab_task, published
from flows.sweep import sweep_stages
from flows.watching import settled_files


@dataclass(slots=True, kw_only=True)
class _Diary:
    """What the night has done so far."""

    began_at: datetime
    steps: list[NightStep] = field(default_factory=list)

    async def step(self, name: str, work: Callable[[], Awaitable[NightStep]]) -> None:
        """Do one piece of work and note it; what goes wrong is noted, and the night goes on."""
        began = time.monotonic()
        try:
            done = await work()
        except BiomarkersError as error:
            done = NightStep(name=name, verdict="failed", what=f"{error.what} {error.where}", remedy=error.remedy)
        self.steps.append(
            NightStep(name=name, verdict=done.verdict, what=done.what, remedy=done.remedy, seconds=time.monotonic() - began)
        )


@lab_flow("night")
async def _night() -> Night:
    diary = _Diary(began_at=utc_now())
    await diary.step("sweep", _sweep)
    await diary.step("stale results", _renew)
    await diary.step("dates and receipts", _hold_lists_together)
    await diary.step("backup", _back_up)
    await _look_at_everything(diary)
    night = _written(diary)
    await published(f"night-{night.began_at:%Y-%m-%d}", night_markdown(night))
    return night


async def _sweep() -> NightStep:
    await sweep_stages()
    at = bench()
    counts = Counter(outcome.state for outcome in at.outcomes)
    what = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nothing lay in the inboxes"
    if at.faults:
        return NightStep(
            name="sweep",
            verdict="failed",
            what=f"{what}; {len(at.faults)} faults of the program",
            remedy="Report what the log 'nights.log' says; the files wait.",
        )
    if counts.get(JobState.QUARANTINED.value):
        return NightStep(
            name="sweep", verdict="warning", what=what, remedy="See 'biomarkers status' for each file and what to do."
        )
    return NightStep(name="sweep", verdict="ok", what=what)


async def _renew() -> NightStep:
    """Compute again what a changed layout, map, panel, lot or version of the program made stale, each with its reason."""
    laboratory = bench().laboratory
    with laboratory.database.read() as reading:
        stale = stale_runs(reading, laboratory.folder, laboratory.definition)
    if not stale:
        return NightStep(name="stale results", verdict="ok", what="none")
    changed = unchanged = proposed = 0
    failed: list[str] = []
    for why in dict.fromkeys(run.why for run in stale):
        report = await recompute_stages(f"Nightly: {why}", frozenset(run.run_id for run in stale if run.why == why))
        changed, unchanged, failed = changed + report.changed, unchanged + report.unchanged, [*failed, *report.failed]
        proposed += report.proposed
    what = f"{len(stale)} runs were stale: {changed} have new results, {unchanged} came out the same"
    if proposed:
        what += f", {proposed} are signed, so that what came out waits for a person"
    if failed:
        return NightStep(
            name="stale results",
            verdict="warning",
            what=f"{what}, {len(failed)} kept as they were: {'; '.join(failed[:3])}",
            remedy="Mend what is said, then run 'biomarkers recompute'.",
        )
    if proposed:
        return NightStep(
            name="stale results",
            verdict="warning",
            what=what,
            remedy="Run 'biomarkers proposals list', then accept or refuse each with a reason.",
        )
    return NightStep(name="stale results", verdict="ok", what=what)


async def _hold_lists_together() -> NightStep:
    """Hold rosters, shipments and receipts against each other, as of today."""
    found = bench().laboratory.irregularities()
    if not found:
        return NightStep(name="dates and receipts", verdict="ok", what="rosters, shipments and receipts agree")
    counts = Counter(one.code for one in found)
    return NightStep(
        name="dates and receipts",
        verdict="warning",
        what=", ".join(f"{count} {code}" for code, count in sorted(counts.items())),
        remedy="'biomarkers completeness' names each with what to do.",
    )


@lab_task("backup")
async def _back_up() -> NightStep:
    laboratory = bench().laboratory
    made = safekeeping.backup(laboratory, backup_store(laboratory), keep=laboratory.settings.nightly.backups_kept)
    safekeeping.prove(made)
    return NightStep(
        name="backup",
        verdict="ok",
        what=f"made and restored for a test: {len(made.manifest.files)} files, {len(made.manifest.raw)} originals",
    )


@lab_task("checks")
async def _look_at_everything(diary: _Diary) -> None:
    """Look at space, rights, clock, database, versions, audit trail, backup and the digests of all originals."""
    began = time.monotonic()
    for found in examine(bench().laboratory):
        diary.steps.append(
            NightStep(
                name=found.subject,
                verdict=found.verdict.value,
                what=found.what,
                remedy=found.remedy,
                seconds=time.monotonic() - began,
            )
        )
        began = time.monotonic()


def _written(diary: _Diary) -> Night:
    """Draw the night's page and keep it in the laboratory's folder."""
    laboratory = bench().laboratory
    status = laboratory.status()
    with laboratory.database.read() as reading:
        end = head(reading)
    night = Night(
        study_id=laboratory.definition.study.id,
        began_at=diary.began_at,
        ended_at=utc_now(),
        software=software_version(),
        steps=tuple(diary.steps),
        waiting=tuple(_waiting(status)),
        completeness=_completeness(status),
        audit_entries=end.number,
        audit_head=end.hash,
    )
    place = laboratory.folder.nights
    place.mkdir(exist_ok=True)
    for ending, text in (("html", night_page(night)), ("json", night_json(night))):
        target = place / f"{night.began_at:%Y-%m-%dT%H%M%SZ}.{ending}"
        draft = target.with_name(f".{target.name}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    return night


def _waiting(status: LabStatus) -> list[str]:
    """List what waits for a person: files, and specimens whose visit is not known."""
    files = [
        f"{file.assay}/{file.name}: {file.what} {file.remedy}"
        for file in status.files
        if file.state in {JobState.WAITING.value, JobState.QUARANTINED.value}
    ]
    return [*files, *status.waiting_specimens]


def _completeness(status: LabStatus) -> tuple[Completeness, ...]:
    counts: dict[str, Counter[str]] = {}
    for due in status.due:
        counts.setdefault(due.assay, Counter())[due.status] += 1
    return tuple(Completeness(assay=assay, count_by_status=dict(sorted(found.items()))) for assay, found in counts.items())


def run_night(at: Bench) -> Night:
    """Do a night's work at a bench, with the Prefect server the environment names, and tell who is to be told."""
    laboratory = at.laboratory
    at.files = settled_files(laboratory)
    night = asyncio.run(_night())
    settings = laboratory.settings.nightly
    text = tell_shortly([night])
    for failure in notify(settings, subject=f"{night.study_id}: night {night.verdict}", text=text):
        at.faults.append(f"The night could not be told by {failure}")
    return night


def night_of(lab: Path, progress: Progress) -> Night:
    """Do a night's work for the laboratory in a folder."""
    with open_lab(lab) as laboratory, at_bench(laboratory, progress) as made:
        return run_night(made)
