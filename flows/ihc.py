"""Slides: a scan with its sidecar and annotation, from the inbox to recorded results and their evidence.

Knows which files of one name belong together and in which order a slide's tiles are measured. Must not compute, parse or know
SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomarkers.errors import BiomarkersError
from biomarkers.ihc.analysis import SlideAnalysis, TileMeasurement
from biomarkers.lab.inbox import DroppedFile
from biomarkers.results import Assay
from biomarkers.store.results import read_analysis
from biomarkers.study.tissue import SlideRole
from flows import intake, slide_signing, steps
from flows.bench import attempt, bench
from flows.evidence import keep, runs_without_evidence
from flows.leases import working
from flows.settings import lab_task
from flows.slide_groups import SlideTask, recorded_files, slide_tasks
from flows.slide_work import (
    ScoreWork,
    SlideFilesWork,
    SlidePlan,
    SlideWork,
    measure_slide_tiles,
    plan_slide,
    score_slide_file,
    slide_evidence,
    tile_works,
)
from flows.work import Analysed, Outcome, WorkFile

TILES_A_WORK = 4
"""Tiles measured in one go: enough that opening the slide costs little, few enough that all processes share one slide."""

SLIDES_AT_ONCE = 4
"""Slides worked on together, so that the processes have work while one slide is looked at or scored."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredSlide:
    """What became of a slide, with what was measured on it; ``plan`` is None where nothing was."""

    outcome: Outcome | BiomarkersError
    plan: SlidePlan | None = None
    measurements: tuple[TileMeasurement, ...] = ()


@lab_task("slides")
async def slides(groups: Sequence[Sequence[DroppedFile]]) -> None:
    """Take slides: measure each tile by tile, record the scores the study reports, then draw the evidence."""
    with working():
        held_groups = await intake.hold(groups)
        ready = [task for held in held_groups if held and (task := slide_tasks(held)) is not None]
        room = asyncio.Semaphore(SLIDES_AT_ONCE)
        settled = [asyncio.Event() for _ in ready]
        tasks = [
            asyncio.create_task(_take(task, room, settled[number - 1] if number else None, settled[number]))
            for number, task in enumerate(ready)
        ]
        try:
            for taking in tasks:
                await taking
        finally:
            for taking in tasks:
                taking.cancel()


async def _take(task: SlideTask, room: asyncio.Semaphore, before: asyncio.Event | None, settled: asyncio.Event) -> None:
    """Score a slide, record it after the one before it, so that recording has an order, and draw its evidence.

    A further scan of a section on record waits for a decision instead.
    """
    async with room:
        if slide_signing.waits_as_rescan(task):
            settled.set()
            return
        scored = await score(slide_work(task.files))
        if before is not None:
            await before.wait()
        waits = slide_signing.waits_as_rescan(task)
        if not waits:
            steps.settle(task.held, scored.outcome, reason=task.reason, also=slide_signing.consequences(task))
        settled.set()
        if not waits:
            await slide_pages([scored])


async def scored_in(work: SlideWork, room: asyncio.Semaphore) -> ScoredSlide:
    """Score a slide as soon as there is room among the slides at work."""
    async with room:
        return await score(work)


async def score(work: SlideWork) -> ScoredSlide:
    """Measure a slide tile by tile and join its tiles into scores."""
    plan = await attempt(plan_slide, work)
    if not isinstance(plan, SlidePlan):
        return ScoredSlide(outcome=plan)
    pieces = await asyncio.gather(*(attempt(measure_slide_tiles, piece) for piece in tile_works(plan, TILES_A_WORK)))
    measured: list[TileMeasurement] = []
    for piece in pieces:
        if not isinstance(piece, tuple):
            return ScoredSlide(outcome=piece)
        measured += piece
    outcome = await attempt(score_slide_file, ScoreWork(plan=plan, measurements=tuple(measured)))
    return ScoredSlide(outcome=outcome, plan=plan, measurements=tuple(measured))


async def slide_pages(slides_scored: Sequence[ScoredSlide]) -> None:
    """Draw the evidence of recorded slides, one after another; one not scored has none."""
    for scored in slides_scored:
        if scored.plan is None or not isinstance(scored.outcome, Analysed):
            continue
        for analysis in scored.outcome.analyses:
            if isinstance(analysis, SlideAnalysis):
                work = SlideFilesWork(plan=scored.plan, measurements=scored.measurements, analysis=analysis)
                keep(analysis.run.run_id, await attempt(slide_evidence, work), of=analysis.run.analysis_id)


@lab_task("absent slide pages")
async def absent_slide_pages() -> None:
    """Draw the evidence of slides that have none because drawing was cut short. Such slides are measured again for it."""
    for run in runs_without_evidence(Assay.IHC):
        with bench().laboratory.database.read() as reading:
            recorded = read_analysis(reading, analysis_id=run.analysis_id)
        if not isinstance(recorded, SlideAnalysis):
            continue
        if recorded.role == SlideRole.HE:
            keep(recorded.run.run_id, {}, of=recorded.run.analysis_id)
            continue
        scored = await score(slide_work(recorded_files(run)))
        if scored.plan is None:
            keep(recorded.run.run_id, _refusal(scored.outcome), of=recorded.run.analysis_id)
        else:
            work = SlideFilesWork(plan=scored.plan, measurements=scored.measurements, analysis=recorded)
            keep(recorded.run.run_id, await attempt(slide_evidence, work), of=recorded.run.analysis_id)


def _refusal(outcome: Outcome | BiomarkersError) -> BiomarkersError:
    if isinstance(outcome, BiomarkersError):
        return outcome
    assert not isinstance(outcome, Analysed), "a slide that is not measured now was measured when it was recorded"
    return outcome.error


def slide_work(files: Mapping[str, WorkFile]) -> SlideWork:
    """Put together what child processes need to measure a slide, given its files by role."""
    laboratory = bench().laboratory
    return SlideWork(
        folder=laboratory.folder,
        file=files["instrument"],
        sidecar=files.get("sidecar"),
        annotation=files.get("annotation"),
        labels=files.get("labels"),
        classes=files.get("classes"),
        signature=files.get("signature"),
        definition=laboratory.definition,
        specimens=steps.specimens(),
        computed_at=steps.now(),
    )
