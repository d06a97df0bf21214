"""Acquisitions: an FCS file, from the inbox to recorded results.

Knows in which order files are taken. Must not compute, parse or know SQL.
"""

from __future__ import annotations

from collections.abc import Sequence

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.lab.inbox import DroppedFile
from biomarkers.store.results import is_recorded
from flows import steps
from flows.acquisition_work import AcquisitionWork, analyse_fcs_file
from flows.bench import bench, each
from flows.evidence import acquisition_pages
from flows.settings import lab_task
from flows.steps import Held
from flows.work import Analysis, WorkFile


@lab_task("acquisitions")
async def acquisitions(groups: Sequence[Sequence[DroppedFile]]) -> None:
    """Take FCS files: gate each and record what the study reports."""
    with steps.working(steps.hold(files) for files in groups) as held_groups:
        recorded: list[Analysis] = []
        new = [one for held in held_groups for one in held if not _is_known(one)]
        async for number, outcome in each(
            analyse_fcs_file, [acquisition_work(WorkFile(name=one.file.name, sha256=one.sha256)) for one in new]
        ):
            recorded += steps.settle([new[number]], outcome, reason="")
    await acquisition_pages([analysis for analysis in recorded if isinstance(analysis, AcquisitionAnalysis)])


def _is_known(held: Held) -> bool:
    with bench().laboratory.database.read() as reading:
        known = is_recorded(reading, sha256=held.sha256)
    if known:
        steps.seen(held, "These bytes are recorded already.")
    return known


def acquisition_work(file: WorkFile) -> AcquisitionWork:
    """Put together what a child process needs to gate an FCS file."""
    laboratory = bench().laboratory
    return AcquisitionWork(
        folder=laboratory.folder,
        file=file,
        definition=laboratory.definition,
        specimens=steps.specimens(),
        computed_at=steps.now(),
    )
