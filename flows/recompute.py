"""New results from the same bytes, by today's definition and code; the old ones stay, superseded with the reason.

Knows which runs there are and from which files they came. Must not compute, parse or know SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.errors import BiomarkersError
from biomarkers.provenance import Source, utc_now
from biomarkers.results import Assay
from biomarkers.store.proposals import record_or_propose
from biomarkers.store.results import current_contents, current_runs
from flows.acquisition_work import TubeFiles, analyse_fcs_file
from flows.bench import Bench, bench, each
from flows.elisa import plate_setting, plate_work
from flows.evidence import absent_plate_pages, acquisition_pages
from flows.gate_signing import acquisition_work
from flows.ihc import SLIDES_AT_ONCE, ScoredSlide, scored_in, slide_pages, slide_work
from flows.plate_work import PlateBatch, Unchanged, analyse_plate_file, analyse_plate_files
from flows.second_steps import DerivationReport, second_steps
from flows.settings import lab_flow, lab_task
from flows.sweep import mended
from flows.work import Analysed, Analysis, Outcome, WorkFile

CHUNK_FILES = 128
"""Files recorded in one transaction: few commits for a thousand plates, little lost to a crash."""

CHUNKS_AT_ONCE = 2
"""While one chunk is recorded the next is computed: neither the database nor the processes wait for the other."""

CHUNK_SLIDES = 2 * SLIDES_AT_ONCE
"""Slides recorded in one transaction: the cells of all of them are held until their evidence is drawn."""

BATCH_PLATES = 8
"""Plates a child process analyses in one go: what they share then crosses once, and both ends stay busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecomputeReport:
    """What a recomputation did.

    Attributes
    ----------
    changed, unchanged
        Measured runs that came out differently or the same.
    derived
        Derived runs that changed with them.
    failed
        Files that failed, each with its reason.
    proposed
        Signed runs of which something else came out; it waits for a person and counts when it is accepted.
    """

    changed: int
    unchanged: int
    failed: tuple[str, ...]
    derived: int = 0
    proposed: int = 0


@lab_task("recompute")
async def recomputed(assay: Assay, files: Sequence[tuple[Source, ...]], reason: str) -> RecomputeReport:
    """Analyse a chunk of files again and record what came out, in one transaction."""
    analysed: list[Analysed] = []
    failed: list[str] = []
    unchanged = 0
    slides: list[ScoredSlide] = []
    async for number, outcome in _outcomes(assay, files, slides):
        if isinstance(outcome, Unchanged):
            unchanged += outcome.runs
        elif isinstance(outcome, Analysed):
            analysed.append(outcome)
        else:
            error = outcome if isinstance(outcome, BiomarkersError) else outcome.error
            failed.append(f"{files[number][0].name}: {error}")
    analyses = [analysis for outcome in analysed for analysis in outcome.analyses]
    with bench().laboratory.database.write() as transaction:
        recorded = record_or_propose(transaction, analyses, reason=reason, recorded_at=utc_now())
    changed = [analysis for analysis, one in zip(analyses, recorded, strict=True) if one.changed]
    proposed = sum(one.proposed for one in recorded)
    unchanged += len(analyses) - len(changed) - proposed
    await acquisition_pages([analysis for analysis in changed if isinstance(analysis, AcquisitionAnalysis)])
    await slide_pages(
        [scored for scored in slides if isinstance(scored.outcome, Analysed) and _is_among(scored.outcome, changed)]
    )
    return RecomputeReport(changed=len(changed), unchanged=unchanged, proposed=proposed, failed=tuple(failed))


def _is_among(outcome: Analysed, changed: Sequence[Analysis]) -> bool:
    return any(analysis is one for analysis in outcome.analyses for one in changed)


async def _outcomes(
    assay: Assay, files: Sequence[tuple[Source, ...]], slides: list[ScoredSlide]
) -> AsyncIterator[tuple[int, Outcome | Unchanged | BiomarkersError]]:
    by_role = [{source.role: WorkFile(name=source.name, sha256=source.sha256) for source in sources} for sources in files]
    if assay is Assay.ELISA:
        async for found in _plates(by_role):
            yield found
    elif assay is Assay.CYTOMETRY:
        async for found in each(analyse_fcs_file, [acquisition_work(TubeFiles.of(sources)) for sources in files]):
            yield found
    else:
        room = asyncio.Semaphore(SLIDES_AT_ONCE)
        tasks = [asyncio.create_task(scored_in(slide_work(file), room)) for file in by_role]
        for number, task in enumerate(tasks):
            scored = await task
            slides.append(scored)
            yield number, scored.outcome


async def _plates(
    by_role: Sequence[Mapping[str, WorkFile]],
) -> AsyncIterator[tuple[int, Outcome | Unchanged | BiomarkersError]]:
    """Analyse plates batch by batch; where a batch fails as a whole, each of its plates alone, so that one is blamed."""
    pairs = [(file["instrument"], file["plate_map"]) for file in by_role]
    setting = plate_setting()
    with bench().laboratory.database.read() as reading:
        recorded = current_contents(reading, instruments={export.sha256 for export, _ in pairs})
    batches = [
        PlateBatch(shared=plate_work(*members[0], setting), files=tuple(members), recorded=recorded)
        for members in (pairs[start : start + BATCH_PLATES] for start in range(0, len(pairs), BATCH_PLATES))
    ]
    async for number, outcomes in each(analyse_plate_files, batches):
        first = number * BATCH_PLATES
        if isinstance(outcomes, BiomarkersError):
            works = [plate_work(export, plate_map, setting) for export, plate_map in batches[number].files]
            async for place, alone in each(analyse_plate_file, works):
                yield first + place, alone
        else:
            for place, outcome in enumerate(outcomes):
                yield first + place, outcome


@lab_flow("recompute")
async def _recompute(reason: str, tally: RecomputeTally, only: frozenset[str]) -> None:
    await mended()
    await _through_stages(reason, tally, only)


async def recompute_stages(reason: str, only: frozenset[str]) -> RecomputeReport:
    """Compute some recorded runs again, or all where none is named, within the flow run that calls."""
    tally = RecomputeTally(bench())
    await _through_stages(reason, tally, only)
    return tally.report


async def _through_stages(reason: str, tally: RecomputeTally, only: frozenset[str]) -> None:
    files_by_assay = _files_by_assay(only)
    bench().known = sum(len(files) for files in files_by_assay.values())
    for assay, files in files_by_assay.items():
        at_once = asyncio.Semaphore(1 if assay is Assay.IHC else CHUNKS_AT_ONCE)
        chunks = _chunks(files, CHUNK_SLIDES if assay is Assay.IHC else CHUNK_FILES)
        async with asyncio.TaskGroup() as group:
            for chunk in chunks:
                await at_once.acquire()
                group.create_task(_tallied(assay, chunk, reason, tally, at_once))
    tally.derived(await second_steps(reason))
    await absent_plate_pages(unless_many=True)


async def _tallied(
    assay: Assay, chunk: Sequence[tuple[Source, ...]], reason: str, tally: RecomputeTally, at_once: asyncio.Semaphore
) -> None:
    try:
        tally.add(await recomputed(assay, chunk, reason))
    finally:
        at_once.release()


class RecomputeTally:
    """Adds up what the chunks of a recomputation did."""

    def __init__(self, at: Bench) -> None:
        self._bench = at
        self.report = RecomputeReport(changed=0, unchanged=0, failed=())

    def add(self, part: RecomputeReport) -> None:
        """Add one chunk."""
        self.report = RecomputeReport(
            changed=self.report.changed + part.changed,
            unchanged=self.report.unchanged + part.unchanged,
            failed=(*self.report.failed, *part.failed),
            proposed=self.report.proposed + part.proposed,
        )
        done = self.report.changed + self.report.unchanged + self.report.proposed + len(self.report.failed)
        self._bench.progress(done, max(done, self._bench.known), "computed again")

    def derived(self, report: DerivationReport) -> None:
        """Add what the second steps changed."""
        self.report = replace(self.report, derived=report.changed, proposed=self.report.proposed + report.proposed)


def run_recompute(at: Bench, *, reason: str, only: Collection[str] = ()) -> RecomputeReport:
    """Compute every recorded run again, or only some, at a bench, with the Prefect server the environment names."""
    tally = RecomputeTally(at)
    asyncio.run(_recompute(reason, tally, frozenset(only)))
    return tally.report


def _files_by_assay(only: frozenset[str]) -> Mapping[Assay, list[tuple[Source, ...]]]:
    """List the files of all current runs, or of some, a file with several runs once, in the order of first recording."""
    with bench().laboratory.database.read() as reading:
        runs = current_runs(reading)
    files: dict[Assay, dict[tuple[Source, ...], None]] = {}
    for run in runs:
        if only and run.run_id not in only:
            continue
        files.setdefault(run.assay, {})[run.sources] = None
    return {assay: list(found) for assay, found in files.items()}


def _chunks(files: Sequence[tuple[Source, ...]], size: int) -> Iterator[list[tuple[Source, ...]]]:
    waiting = iter(files)
    while chunk := list(islice(waiting, size)):
        yield chunk
