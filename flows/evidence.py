"""Evidence behind results: made after the commit, by reading the archived bytes again where the analysis alone does not do.

Knows which kind of run has which evidence. Must not compute, parse or know SQL; what fails here never touches a result, and can
be made again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.elisa.control_charts import ControlSeries
from biomarkers.errors import BiomarkersError
from biomarkers.lab.evidence import has_evidence, remove_evidence, write_evidence
from biomarkers.lab.folders import LabFolder
from biomarkers.reports.gate_corrections import COMPARED_FILE
from biomarkers.reports.quality import QUALITY_PAGE, acquisition_evidence, plate_evidence
from biomarkers.results import Assay
from biomarkers.store.results import current_runs, read_analysis
from flows.acquisition_work import compared_as_recorded, gated_as_recorded
from flows.bench import bench, each
from flows.settings import lab_task

PAGES_AT_ONCE = 32
"""Pages drawn while somebody waits, and plates read from the store together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionPageWork:
    """A recorded acquisition and the bytes it came from."""

    folder: LabFolder
    analysis: AcquisitionAnalysis


def acquisition_files(work: AcquisitionPageWork) -> Mapping[str, bytes]:
    """Gate an acquisition again, in a child process, and draw its quality page."""
    again = gated_as_recorded(work.folder, work.analysis)
    files = {**acquisition_evidence(work.analysis, again.gated, over_time=again.examined.over_time), **again.files}
    compared = compared_as_recorded(work.folder, work.analysis)
    return files if compared is None else {**files, COMPARED_FILE: compared.model_dump_json().encode()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatePageWork:
    """A recorded plate and the charts of its controls."""

    analysis: PlateAnalysis
    charts: tuple[ControlSeries, ...]


def plate_files(work: PlatePageWork) -> Mapping[str, bytes]:
    """Draw a plate's quality page, in a child process."""
    return plate_evidence(work.analysis, work.charts)


@lab_task("plate pages")
async def plate_pages(analyses: Sequence[PlateAnalysis]) -> None:
    """Draw the quality page of each plate, with its controls among those of the plates recorded so far."""
    if not analyses:
        return
    charts = bench().laboratory.controls()
    works = [PlatePageWork(analysis=analysis, charts=_charts_of(analysis, charts)) for analysis in analyses]
    async for number, files in each(plate_files, works):
        keep(analyses[number].run.run_id, files)


@lab_task("absent plate pages")
async def absent_plate_pages() -> None:
    """Draw the pages of plates that have none: drawing was cut short, or a recomputation of many left it for later."""
    laboratory = bench().laboratory
    with laboratory.database.read() as reading:
        absent = [
            run.analysis_id
            for run in current_runs(reading, assay=Assay.ELISA)
            if not has_evidence(laboratory.folder, run.run_id, QUALITY_PAGE)
        ]
    for start in range(0, len(absent), PAGES_AT_ONCE):
        with laboratory.database.read() as reading:
            analyses = [read_analysis(reading, analysis_id=one) for one in absent[start : start + PAGES_AT_ONCE]]
        await plate_pages([analysis for analysis in analyses if isinstance(analysis, PlateAnalysis)])


async def renewed_plate_pages(analyses: Sequence[PlateAnalysis]) -> None:
    """Draw the pages of a few plates that came out differently; of many the old ones go, and the next sweep draws new ones."""
    if len(analyses) <= PAGES_AT_ONCE:
        await plate_pages(analyses)
        return
    for analysis in analyses:
        remove_evidence(bench().laboratory.folder, analysis.run.run_id, QUALITY_PAGE)


def _charts_of(analysis: PlateAnalysis, charts: Sequence[ControlSeries]) -> tuple[ControlSeries, ...]:
    shown = {(control.analyte, control.kit_lot, control.slot) for control in analysis.controls}
    return tuple(series for series in charts if (series.analyte, series.kit_lot, series.level) in shown)


@lab_task("acquisition pages")
async def acquisition_pages(analyses: Sequence[AcquisitionAnalysis]) -> None:
    """Draw the quality page of each acquisition that was gated."""
    gated = [analysis for analysis in analyses if analysis.panel]
    works = [AcquisitionPageWork(folder=bench().laboratory.folder, analysis=analysis) for analysis in gated]
    async for number, files in each(acquisition_files, works):
        keep(gated[number].run.run_id, files)


def keep(run_id: str, files: Mapping[str, bytes] | BiomarkersError) -> None:
    """Write a run's evidence; where it could not be made the sweep tells of it, and the results stand."""
    if isinstance(files, BiomarkersError):
        bench().faults.append(f"The results of run '{run_id}' are on record; its quality page could not be drawn: {files}")
    else:
        write_evidence(bench().laboratory.folder, run_id, files)
