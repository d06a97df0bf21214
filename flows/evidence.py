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
from biomarkers.lab.evidence import is_shown, write_evidence
from biomarkers.lab.folders import LabFolder
from biomarkers.reports.gate_corrections import COMPARED_FILE
from biomarkers.reports.quality import acquisition_evidence, plate_evidence
from biomarkers.results import Assay, Run
from biomarkers.store.results import RecordedRun, current_contents, current_runs, read_analysis
from flows.acquisition_work import compared_as_recorded, gated_as_recorded
from flows.bench import bench, each
from flows.settings import lab_task

PAGES_AT_ONCE = 32
"""As many pages are drawn while somebody waits."""

ANALYSES_AT_ONCE = 8
"""Recorded analyses, with all their wells or populations, that are read back together to be drawn."""


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


def runs_without_evidence(assay: Assay) -> list[RecordedRun]:
    """List the runs of an assay whose evidence was not made yet, or was made of an analysis that no longer stands."""
    laboratory = bench().laboratory
    with laboratory.database.read() as reading:
        recorded = current_contents(reading, assay=assay)
        absent = {run_id for run_id, content in recorded.items() if not is_shown(laboratory.folder, run_id, of=content)}
        return [run for run in current_runs(reading, assay=assay) if run.run_id in absent] if absent else []


@lab_task("plate pages")
async def absent_plate_pages(*, unless_many: bool = False) -> None:
    """Draw the quality page of each plate that has none, with its controls among those of the plates recorded so far.

    Parameters
    ----------
    unless_many
        Leave many to a later call, while somebody waits for something else.
    """
    laboratory = bench().laboratory
    absent = runs_without_evidence(Assay.ELISA)
    if unless_many and len(absent) > PAGES_AT_ONCE:
        return
    charts = laboratory.controls() if absent else ()
    for start in range(0, len(absent), ANALYSES_AT_ONCE):
        with laboratory.database.read() as reading:
            found = [read_analysis(reading, analysis_id=run.analysis_id) for run in absent[start : start + ANALYSES_AT_ONCE]]
        analyses = [analysis for analysis in found if isinstance(analysis, PlateAnalysis)]
        works = [PlatePageWork(analysis=analysis, charts=_charts_of(analysis, charts)) for analysis in analyses]
        async for number, files in each(plate_files, works):
            _keep(analyses[number].run, files)


def _charts_of(analysis: PlateAnalysis, charts: Sequence[ControlSeries]) -> tuple[ControlSeries, ...]:
    shown = {(control.analyte, control.kit_lot, control.slot) for control in analysis.controls}
    return tuple(series for series in charts if (series.analyte, series.kit_lot, series.level) in shown)


@lab_task("acquisition pages")
async def acquisition_pages(analyses: Sequence[AcquisitionAnalysis]) -> None:
    """Draw the quality page of each acquisition that was gated."""
    gated = [analysis for analysis in analyses if analysis.panel]
    works = [AcquisitionPageWork(folder=bench().laboratory.folder, analysis=analysis) for analysis in gated]
    async for number, files in each(acquisition_files, works):
        _keep(gated[number].run, files)
    for analysis in analyses:
        if not analysis.panel:
            _keep(analysis.run, {})


@lab_task("absent acquisition pages")
async def absent_acquisition_pages() -> None:
    """Draw the pages of acquisitions that have none because drawing was cut short."""
    absent = runs_without_evidence(Assay.CYTOMETRY)
    for start in range(0, len(absent), ANALYSES_AT_ONCE):
        with bench().laboratory.database.read() as reading:
            found = [read_analysis(reading, analysis_id=run.analysis_id) for run in absent[start : start + ANALYSES_AT_ONCE]]
        await acquisition_pages([analysis for analysis in found if isinstance(analysis, AcquisitionAnalysis)])


def keep(run_id: str, files: Mapping[str, bytes] | BiomarkersError, *, of: str) -> None:
    """Write a run's evidence, made of an analysis's content; where that failed it is told once, and results stand."""
    if isinstance(files, BiomarkersError):
        bench().faults.append(f"The results of run '{run_id}' are on record; its quality page could not be drawn: {files}")
        files = {}
    write_evidence(bench().laboratory.folder, run_id, files, of=of)


def _keep(run: Run, files: Mapping[str, bytes] | BiomarkersError) -> None:
    keep(run.run_id, files, of=run.analysis_id)
