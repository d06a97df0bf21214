"""Evidence behind results: made after the commit, by reading the archived bytes again where the analysis alone does not do.

Knows which kind of run has which evidence. Must not compute, parse or know SQL; what fails here never touches a result, and can
be made again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.errors import BiomarkersError
from biomarkers.lab.evidence import write_evidence
from biomarkers.lab.folders import LabFolder
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.panels import read_panel
from biomarkers.reports.quality import acquisition_evidence, plate_evidence
from flows.bench import bench, each
from flows.settings import lab_task
from flows.work import WorkFile, opened


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionPageWork:
    """A recorded acquisition and the bytes it came from."""

    folder: LabFolder
    analysis: AcquisitionAnalysis


def acquisition_files(work: AcquisitionPageWork) -> Mapping[str, bytes]:
    """Gate an acquisition again, in a child process, and draw its quality page."""
    source = work.analysis.run.provenance.sources[0]
    file = WorkFile(name=source.name, sha256=source.sha256)
    with opened(work.folder, file) as place:
        acquisition = read_fcs(place / file.name)
    panel = read_panel(work.folder.panels / f"{work.analysis.panel}.toml")
    return acquisition_evidence(work.analysis, gate_acquisition(acquisition, panel))


@lab_task("plate pages")
async def plate_pages(analyses: Sequence[PlateAnalysis]) -> None:
    """Draw the quality page of each plate."""
    async for number, files in each(plate_evidence, analyses):
        _keep(analyses[number].run.run_id, files)


@lab_task("acquisition pages")
async def acquisition_pages(analyses: Sequence[AcquisitionAnalysis]) -> None:
    """Draw the quality page of each acquisition."""
    works = [AcquisitionPageWork(folder=bench().laboratory.folder, analysis=analysis) for analysis in analyses]
    async for number, files in each(acquisition_files, works):
        _keep(analyses[number].run.run_id, files)


def _keep(run_id: str, files: Mapping[str, bytes] | BiomarkersError) -> None:
    if isinstance(files, BiomarkersError):
        bench().faults.append(f"The results of run '{run_id}' are on record; its quality page could not be drawn: {files}")
    else:
        write_evidence(bench().laboratory.folder, run_id, files)
