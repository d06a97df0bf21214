"""One flow run a sweep: study files first, then settled files to their stages, then what needs the whole set.

A table of contents: each file's life is composed in the module of its kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import httpx

from biomarkers.errors import TemporarilyUnavailableError
from biomarkers.lab.folders import INBOXES, STUDY_INBOX
from biomarkers.lab.inbox import DroppedFile, by_stem, stem
from biomarkers.laboratory import door
from biomarkers.results import Assay
from flows import steps
from flows.bench import Bench, SweepReport, bench
from flows.cytometry import acquisitions
from flows.elisa import plates
from flows.evidence import absent_acquisition_pages, absent_plate_pages
from flows.ihc import absent_slide_pages, slides
from flows.second_steps import second_steps
from flows.settings import lab_flow, lab_task
from flows.stain_batch_pages import stain_batch_pages
from flows.study import study_files

CHUNK_GROUPS = 32
"""Files of one task: enough to keep the processes busy, few enough that a lease is not held for long before work begins."""

STAGES: Mapping[str, Callable[[Sequence[Sequence[DroppedFile]]], Awaitable[None]]] = {
    Assay.ELISA.value: plates,
    Assay.CYTOMETRY.value: acquisitions,
    Assay.IHC.value: slides,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a sweep is for: a command does all there is; services share it, so that none waits for another's work.

    Attributes
    ----------
    inboxes
        Whose files are taken.
    second_steps
        Whether what follows from the whole set of results is done at the end.
    """

    inboxes: frozenset[str] = frozenset(INBOXES)
    second_steps: bool = True


WHOLE = Scope()


@lab_task("mend")
async def mended() -> None:
    """Finish what an interrupted sweep left, and take note of a changed study definition."""
    steps.mend()
    bench().laboratory.note_definition()


@lab_flow("sweep")
async def _sweep(scope: Scope) -> None:
    await sweep_stages(scope)


async def sweep_stages(scope: Scope = WHOLE) -> None:
    """Take the bench's files through the stages of a sweep, within the flow run that calls."""
    await mended()
    files = [file for file in bench().files if file.kind in scope.inboxes]
    lists = door.renamed(bench().laboratory, (file for file in files if file.kind == STUDY_INBOX))
    if lists and await study_files(lists):
        back = steps.retry("UnknownAccessionError", "A new list of the study was recorded.")
        files += (file for file in _together(back, files) if file.kind in scope.inboxes)
    await _assay_files(files)
    while too_soon := steps.judged_too_soon():
        await _assay_files(file for file in _together(too_soon, ()) if file.kind in scope.inboxes)
    if Assay.CYTOMETRY.value in scope.inboxes:
        await absent_acquisition_pages()
    if Assay.IHC.value in scope.inboxes:
        await absent_slide_pages()
    if scope.second_steps:
        await follow_up_stages()


async def _assay_files(files: Iterable[DroppedFile]) -> None:
    taken = tuple(files)
    for kind, stage in STAGES.items():
        groups = by_stem(file for file in taken if file.kind == kind)
        for chunk in _chunks(groups.values()):
            await stage([door.renamed(bench().laboratory, group) for group in chunk])


async def follow_up_stages() -> None:
    """Do what only the whole set of results shows, and draw what shows it, within the flow run that calls."""
    await second_steps("")
    await absent_plate_pages()
    await stain_batch_pages()


@lab_flow("second steps")
async def _follow_up() -> None:
    await follow_up_stages()


def run_sweep(at: Bench, files: Iterable[DroppedFile], scope: Scope = WHOLE) -> SweepReport:
    """Run one sweep over settled files at a bench, with the Prefect server the environment names.

    The files are handed over at the bench, never as parameters, which Prefect would keep.

    Raises
    ------
    BiomarkersError
        What is transient and did not pass, or forbids any work. Files not yet taken wait in their inboxes.
    """
    at.files = tuple(files)
    at.known = len(at.files)
    with _telling_of_a_lost_server(at):
        asyncio.run(_sweep(scope))
    return SweepReport(files=tuple(at.outcomes), faults=tuple(at.faults))


def run_follow_up(at: Bench) -> SweepReport:
    """Run what follows from new results at a bench, as :func:`run_sweep` does what leads to them.

    Raises
    ------
    BiomarkersError
        What is transient and did not pass.
    """
    with _telling_of_a_lost_server(at):
        asyncio.run(_follow_up())
    return SweepReport(files=(), faults=tuple(at.faults))


@contextmanager
def _telling_of_a_lost_server(at: Bench) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise TemporarilyUnavailableError(
            what="The Prefect server went away during the sweep.",
            where=f"{len(at.outcomes)} of {at.known} files were finished before; they are on record.",
            remedy="Run 'biomarkers ingest' again; the other files wait in their inboxes.",
        ) from error


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
