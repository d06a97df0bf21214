"""Slides: a scan with its sidecar, from the inbox to recorded results.

Knows which files of one name belong together and in which order a slide's tiles are measured. Must not compute, parse or know
SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from biomarkers.errors import BiomarkersError, WaitingForFileError
from biomarkers.ihc.analysis import TileMeasurement
from biomarkers.lab.inbox import DroppedFile, stem
from biomarkers.results import Assay
from biomarkers.store.results import current_runs, is_recorded
from flows import steps
from flows.bench import attempt, bench
from flows.settings import lab_task
from flows.slide_work import (
    ScoreWork,
    SlidePlan,
    SlideWork,
    measure_slide_tiles,
    plan_slide,
    score_slide_file,
    tile_works,
)
from flows.steps import Held
from flows.work import Outcome, WorkFile

TILES_A_WORK = 4
"""Tiles measured in one go: enough that opening the slide costs little, few enough that all processes share one slide."""

SLIDES_AT_ONCE = 4
"""Slides worked on together, so that the processes have work while one slide is looked at or scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slide:
    work: SlideWork
    held: tuple[Held, ...]
    reason: str


@lab_task("slides")
async def slides(groups: Sequence[Sequence[DroppedFile]]) -> None:
    """Take slides: measure each tile by tile and record the scores the study reports."""
    with steps.working(steps.hold(files) for files in groups) as held_groups:
        ready = [slide for held in held_groups if held and (slide := _ready(held)) is not None]
        room = asyncio.Semaphore(SLIDES_AT_ONCE)
        outcomes = [asyncio.create_task(scored(slide.work, room)) for slide in ready]
        try:
            for slide, outcome in zip(ready, outcomes, strict=True):
                steps.settle(slide.held, await outcome, reason=slide.reason)
        finally:
            for outcome in outcomes:
                outcome.cancel()


async def scored(work: SlideWork, room: asyncio.Semaphore) -> Outcome | BiomarkersError:
    """Measure a slide tile by tile and join its tiles into scores, as soon as there is room among the slides at work."""
    async with room:
        plan = await attempt(plan_slide, work)
        if not isinstance(plan, SlidePlan):
            return plan
        pieces = await asyncio.gather(*(attempt(measure_slide_tiles, piece) for piece in tile_works(plan, TILES_A_WORK)))
        measured: list[TileMeasurement] = []
        for piece in pieces:
            if not isinstance(piece, tuple):
                return piece
            measured += piece
        return await attempt(score_slide_file, ScoreWork(plan=plan, measurements=tuple(measured)))


def _ready(held: Sequence[Held]) -> _Slide | None:
    slides = [one for one in held if not _is_sidecar(one)]
    sidecars = [one for one in held if _is_sidecar(one)]
    if len(slides) > 1:
        steps.wait_for_a_person(slides, held, "slide")
        return None
    if not slides:
        return _lone_sidecar(sidecars[0])
    slide, sidecar = slides[0], sidecars[0] if sidecars else None
    with bench().laboratory.database.read() as reading:
        known = [is_recorded(reading, sha256=one.sha256) for one in held]
    if all(known):
        for one in held:
            steps.seen(one, "These bytes are recorded already.")
        return None
    return _Slide(
        work=slide_work(steps.work_file(slide), None if sidecar is None else steps.work_file(sidecar)),
        held=tuple(held),
        reason="A sidecar was dropped for this slide." if known[0] else "",
    )


def _lone_sidecar(sidecar: Held) -> _Slide | None:
    """Take a sidecar without a slide beside it: a correction of a recorded slide, or one that came first."""
    name = stem(sidecar.file.name)
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=sidecar.sha256)
        runs = [run for run in current_runs(reading, assay=Assay.IHC) if stem(run.sources[0].name) == name]
    if known:
        steps.seen(sidecar, "These bytes are recorded already.")
        return None
    if len(runs) == 1:
        slide = WorkFile(name=runs[0].sources[0].name, sha256=runs[0].instrument_sha256)
        return _Slide(
            work=slide_work(slide, steps.work_file(sidecar)),
            held=(sidecar,),
            reason=f"The sidecar '{sidecar.file.name}' was dropped.",
        )
    steps.waiting(
        sidecar,
        WaitingForFileError(
            what="The sidecar waits for its slide.",
            where=f"File '{sidecar.file.name}'.",
            remedy=f"Drop the slide beside it; both share the name '{name}'.",
        ),
    )
    return None


def _is_sidecar(held: Held) -> bool:
    return held.file.name.lower().endswith(".toml")


def slide_work(slide: WorkFile, sidecar: WorkFile | None) -> SlideWork:
    """Put together what child processes need to measure a slide."""
    laboratory = bench().laboratory
    return SlideWork(
        folder=laboratory.folder,
        file=slide,
        sidecar=sidecar,
        definition=laboratory.definition,
        specimens=steps.specimens(),
        computed_at=steps.now(),
    )
