"""New results from the same bytes, by today's definition and code; the old ones stay, superseded with the reason.

Knows which runs there are and from which files they came. Must not compute, parse or know SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from biomarkers.errors import BiomarkersError
from biomarkers.provenance import Source, utc_now
from biomarkers.results import Assay
from biomarkers.store.results import current_runs, record_analysis
from flows.acquisition_work import analyse_fcs_file
from flows.bench import Bench, bench, each
from flows.cytometry import acquisition_work
from flows.elisa import plate_work
from flows.ihc import SLIDES_AT_ONCE, scored, slide_work
from flows.plate_work import analyse_plate_file
from flows.settings import lab_flow, lab_task
from flows.sweep import mended
from flows.work import Analysed, Outcome, WorkFile

CHUNK_FILES = 64
"""Files recorded in one transaction: few commits for a thousand plates, little lost to a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecomputeReport:
    """What a recomputation did: runs that came out differently or the same, and files that failed, each with its reason."""

    changed: int
    unchanged: int
    failed: tuple[str, ...]


@lab_task("recompute")
async def recomputed(assay: Assay, files: Sequence[tuple[Source, ...]], reason: str) -> RecomputeReport:
    """Analyse a chunk of files again and record what came out, in one transaction."""
    analysed: list[Analysed] = []
    failed: list[str] = []
    async for number, outcome in _outcomes(assay, files):
        if isinstance(outcome, Analysed):
            analysed.append(outcome)
        else:
            error = outcome if isinstance(outcome, BiomarkersError) else outcome.error
            failed.append(f"{files[number][0].name}: {error}")
    changed = unchanged = 0
    with bench().laboratory.database.write() as transaction:
        for outcome in analysed:
            for analysis in outcome.analyses:
                recorded = record_analysis(transaction, analysis, reason=reason, recorded_at=utc_now())
                changed += recorded.changed
                unchanged += not recorded.changed
    return RecomputeReport(changed=changed, unchanged=unchanged, failed=tuple(failed))


async def _outcomes(assay: Assay, files: Sequence[tuple[Source, ...]]) -> AsyncIterator[tuple[int, Outcome | BiomarkersError]]:
    by_role = [{source.role: WorkFile(name=source.name, sha256=source.sha256) for source in sources} for sources in files]
    if assay is Assay.ELISA:
        plates = [plate_work(file["instrument"], file["plate_map"]) for file in by_role]
        async for found in each(analyse_plate_file, plates):
            yield found
    elif assay is Assay.CYTOMETRY:
        async for found in each(analyse_fcs_file, [acquisition_work(file["instrument"]) for file in by_role]):
            yield found
    else:
        room = asyncio.Semaphore(SLIDES_AT_ONCE)
        slides = [slide_work(file["instrument"], file.get("sidecar")) for file in by_role]
        tasks = [asyncio.create_task(scored(work, room)) for work in slides]
        for number, task in enumerate(tasks):
            yield number, await task


@lab_flow("recompute")
async def _recompute(reason: str, tally: RecomputeTally) -> None:
    await mended()
    files_by_assay = _files_by_assay()
    bench().known = sum(len(files) for files in files_by_assay.values())
    for assay, files in files_by_assay.items():
        for chunk in _chunks(files):
            tally.add(await recomputed(assay, chunk, reason))


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
        )
        done = self.report.changed + self.report.unchanged + len(self.report.failed)
        self._bench.progress(done, max(done, self._bench.known), "computed again")


def run_recompute(at: Bench, *, reason: str) -> RecomputeReport:
    """Compute every recorded run again at a bench, with the Prefect server the environment names."""
    tally = RecomputeTally(at)
    asyncio.run(_recompute(reason, tally))
    return tally.report


def _files_by_assay() -> Mapping[Assay, list[tuple[Source, ...]]]:
    """List the files of all current runs, a file with several runs once, in the order of first recording."""
    with bench().laboratory.database.read() as reading:
        runs = current_runs(reading)
    files: dict[Assay, dict[tuple[Source, ...], None]] = {}
    for run in runs:
        files.setdefault(run.assay, {})[run.sources] = None
    return {assay: list(found) for assay, found in files.items()}


def _chunks(files: Sequence[tuple[Source, ...]]) -> Iterator[list[tuple[Source, ...]]]:
    waiting = iter(files)
    while chunk := list(islice(waiting, CHUNK_FILES)):
        yield chunk
