"""One flow run a sweep: study files first, then settled files to their stages, then what needs the whole set.

A table of contents: each file's life is composed in the module of its kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import httpx

from biomarkers.errors import TemporarilyUnavailableError
from biomarkers.lab.folders import STUDY_INBOX
from biomarkers.lab.inbox import DroppedFile, by_stem, stem
from biomarkers.laboratory import door
from biomarkers.results import Assay
from flows import steps
from flows.bench import Bench, SweepReport, bench
from flows.cytometry import acquisitions
from flows.elisa import plates
from flows.evidence import absent_plate_pages
from flows.ihc import absent_slide_pages, slides
from flows.second_steps import second_steps
from flows.settings import lab_flow, lab_task
from flows.study import study_files

CHUNK_GROUPS = 32
"""Files of one task: enough to keep the processes busy, few enough that a lease is not held for long before work begins."""

STAGES = {Assay.ELISA.value: plates, Assay.CYTOMETRY.value: acquisitions, Assay.IHC.value: slides}


@lab_task("mend")
async def mended() -> None:
    """Finish what an interrupted sweep left, and take note of a changed study definition."""
    steps.mend()
    bench().laboratory.note_definition()


@lab_flow("sweep")
async def _sweep(files: Sequence[DroppedFile]) -> None:
    await sweep_stages(files)


async def sweep_stages(files: Sequence[DroppedFile]) -> None:
    """Take files through the stages of a sweep, within the flow run that calls."""
    await mended()
    lists = [file for file in files if file.kind == STUDY_INBOX]
    if lists and await study_files(lists):
        files = [*files, *_together(steps.retry("UnknownAccessionError", "A new list of the study was recorded."), files)]
    for kind, stage in STAGES.items():
        groups = by_stem(file for file in files if file.kind == kind)
        for chunk in _chunks(groups.values()):
            await stage(chunk)
    await second_steps("")
    await absent_plate_pages()
    await absent_slide_pages()


def run_sweep(at: Bench, files: Iterable[DroppedFile]) -> SweepReport:
    """Run one sweep over settled files at a bench, with the Prefect server the environment names.

    Raises
    ------
    BiomarkersError
        What is transient and did not pass, or forbids any work. Files not yet taken wait in their inboxes.
    """
    chosen = door.renamed(at.laboratory, files)
    at.known = len(chosen)
    try:
        asyncio.run(_sweep(chosen))
    except httpx.TransportError as error:
        raise TemporarilyUnavailableError(
            what="The Prefect server went away during the sweep.",
            where=f"{len(at.outcomes)} of {at.known} files were finished before; they are on record.",
            remedy="Run 'biomarkers ingest' again; the other files wait in their inboxes.",
        ) from error
    return SweepReport(files=tuple(at.outcomes), faults=tuple(at.faults))


def _together(back: Iterable[DroppedFile], taken: Iterable[DroppedFile]) -> Iterator[DroppedFile]:
    """Add to files brought back those of their name that waited for them; a plate map comes back to its export."""
    known = {file.path for file in taken}
    names = {(file.kind, stem(file.name)) for file in back}
    waiting = (file for file in steps.dropped_files() if (file.kind, stem(file.name)) in names)
    return (file for file in waiting if file.path not in known)


def _chunks(groups: Iterable[Sequence[DroppedFile]]) -> Iterator[list[Sequence[DroppedFile]]]:
    waiting = iter(groups)
    while chunk := list(islice(waiting, CHUNK_GROUPS)):
        yield chunk
