"""What lies behind one number or one run, gathered for a page or the API.

Knows where the store keeps evidence. Must not compute any of it, nor know an arm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biomarkers.cytometry.analysis import AcquisitionAnalysis, PopulationRecord
from biomarkers.cytometry.joint_analysis import JointAnalysis
from biomarkers.elisa.records import CurveRecord, PlateAnalysis, WellRecord
from biomarkers.ihc.analysis import ScoreRecord, SlideAnalysis
from biomarkers.lab.evidence import is_shown
from biomarkers.laboratory import Laboratory
from biomarkers.results import DerivedAnalysis, Result
from biomarkers.store import decisions, lookups, signatures
from biomarkers.store.decisions import WellMask
from biomarkers.store.evidence import Analysis
from biomarkers.store.proposals import Proposal, proposals_of
from biomarkers.store.results import read_analysis
from biomarkers.store.signatures import Signature, Standing
from biomarkers.web.refusals import nothing_here

RUN_ID = re.compile(r"[a-z]{1,20}-[0-9a-f]{16}")
RESULT_ID = re.compile(r"r-[0-9a-f]{20}")

EVIDENCE_KINDS: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".gz": "application/gzip",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv; charset=utf-8",
    ".xml": "application/xml",
    ".wsp": "application/xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBehind:
    """A run as it stands, with its files, masks, signatures, and what recomputations ever proposed instead.

    ``is_drawn`` is false for the moment in which the files, if there are any, still show an earlier analysis.
    """

    entry: lookups.AnalysisEntry
    analysis: Analysis
    files: tuple[str, ...]
    is_drawn: bool
    masks: tuple[WellMask, ...]
    signed: tuple[Signature, ...]
    digest: str
    standing: Standing
    proposed: tuple[Proposal, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """Its results, in their order."""
        return self.analysis.run.results

    @property
    def plate(self) -> PlateAnalysis | None:
        """The analysis, where it is a plate's."""
        return self.analysis if isinstance(self.analysis, PlateAnalysis) else None

    @property
    def acquisition(self) -> AcquisitionAnalysis | None:
        """The analysis, where it is an acquisition's, gated by itself or jointly."""
        return _as_acquisition(self.analysis)

    @property
    def slide(self) -> SlideAnalysis | None:
        """The analysis, where it is a slide's."""
        return self.analysis if isinstance(self.analysis, SlideAnalysis) else None

    @property
    def derived(self) -> DerivedAnalysis | None:
        """The analysis, where a second step derived it."""
        return self.analysis if isinstance(self.analysis, DerivedAnalysis) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultBehind:
    """A result with all that led to it, what stood before it, and the analysis of its run that counts."""

    version: lookups.ResultVersion
    result: Result
    analysis: Analysis
    wells: tuple[WellRecord, ...]
    curves: tuple[CurveRecord, ...]
    populations: tuple[PopulationRecord, ...]
    scores: tuple[ScoreRecord, ...]
    versions: tuple[lookups.ResultVersion, ...]
    decided: tuple[lookups.DecisionTaken, ...]
    signed: tuple[Signature, ...]
    standing: Standing
    files: tuple[str, ...]
    current_analysis_id: str


def run_behind(laboratory: Laboratory, run_id: str) -> RunBehind:
    """Gather a run.

    Raises
    ------
    RequestRefusedError
        There is no such run.
    """
    if RUN_ID.fullmatch(run_id) is None:
        raise nothing_here("There is no such run.")
    with laboratory.database.read() as reading:
        entry = lookups.current_analysis(reading, run_id=run_id)
        if entry is None:
            raise nothing_here("There is no such run.")
        signed = signatures.signatures(reading, run_ids=[run_id]).get(run_id, ())
        analysis = read_analysis(reading, analysis_id=entry.analysis_id)
        return RunBehind(
            entry=entry,
            analysis=analysis,
            is_drawn=_is_drawn(laboratory, analysis),
            files=evidence_files(laboratory, run_id),
            masks=decisions.mask_history(reading, run_id=run_id),
            signed=signed,
            digest=signatures.signed_digest(reading, run_id=run_id),
            standing=signatures.standing(signed),
            proposed=proposals_of(reading, run_id=run_id),
        )


def _is_drawn(laboratory: Laboratory, analysis: Analysis) -> bool:
    """Whether the evidence kept is this analysis's; what was derived brings its own or has none."""
    if not isinstance(analysis, PlateAnalysis | AcquisitionAnalysis | SlideAnalysis):
        return True
    return is_shown(laboratory.folder, analysis.run.run_id, of=analysis.run.analysis_id)


def result_behind(laboratory: Laboratory, result_id: str) -> ResultBehind:
    """Gather a result.

    Raises
    ------
    RequestRefusedError
        There is no such result.
    """
    if RESULT_ID.fullmatch(result_id) is None:
        raise nothing_here("There is no such result.")
    with laboratory.database.read() as reading:
        version = lookups.result_place(reading, result_id=result_id)
        if version is None:
            raise nothing_here("There is no such result.")
        analysis = read_analysis(reading, analysis_id=version.analysis_id)
        versions = lookups.result_versions(reading, accession_id=version.accession_id, measurand=version.measurand)
        decided = lookups.decisions_about(reading, result_ids={one.result_id for one in versions})
        signed = signatures.signatures(reading, run_ids=[version.run_id]).get(version.run_id, ())
        entry = lookups.current_analysis(reading, run_id=version.run_id)
    result = next(one for one in analysis.run.results if one.result_id == result_id)
    return ResultBehind(
        version=version,
        result=result,
        analysis=analysis,
        wells=_wells(analysis, result),
        curves=_curves(analysis, result),
        populations=_populations(analysis, result),
        scores=analysis.scores if isinstance(analysis, SlideAnalysis) else (),
        versions=versions,
        decided=decided,
        signed=signed,
        standing=signatures.standing(signed),
        files=evidence_files(laboratory, version.run_id),
        current_analysis_id="" if entry is None else entry.analysis_id,
    )


def _wells(analysis: Analysis, result: Result) -> tuple[WellRecord, ...]:
    if not isinstance(analysis, PlateAnalysis):
        return ()
    own = [well for well in analysis.wells if well.accession_id == result.accession_id]
    return tuple(well for well in own if well.analyte == result.measurand) or tuple(own)


def _curves(analysis: Analysis, result: Result) -> tuple[CurveRecord, ...]:
    if not isinstance(analysis, PlateAnalysis):
        return ()
    return tuple(curve for curve in analysis.curves if curve.analyte == result.measurand)


def _populations(analysis: Analysis, result: Result) -> tuple[PopulationRecord, ...]:
    """Return the populations a measurand's name speaks of, with all they lie in; every one where the name tells none."""
    acquisition = _as_acquisition(analysis)
    if acquisition is None:
        return ()
    by_name = {one.name: one for one in acquisition.populations}
    said = result.measurand.casefold()
    spoken = [name for name in by_name if said.startswith(f"{name.casefold()}_") or f"_{name.casefold()}" in said]
    wanted: list[str] = []
    for name in spoken:
        at: str | None = name
        while at is not None and at in by_name and at not in wanted:
            wanted.append(at)
            at = by_name[at].parent
    return tuple(one for one in acquisition.populations if one.name in wanted) or acquisition.populations


def _as_acquisition(analysis: Analysis) -> AcquisitionAnalysis | None:
    if isinstance(analysis, JointAnalysis):
        return analysis.as_acquisition()
    return analysis if isinstance(analysis, AcquisitionAnalysis) else None


def evidence_files(laboratory: Laboratory, run_id: str) -> tuple[str, ...]:
    """Name the files of a run's evidence that a page may give out."""
    place = laboratory.folder.evidence / run_id
    if not place.is_dir():
        return ()
    return tuple(sorted(path.name for path in place.iterdir() if _may_be_given(path)))


def evidence_file(laboratory: Laboratory, run_id: str, name: str) -> Path:
    """Return a file of a run's evidence by a name from its own list; no path is ever made of what an address says.

    Raises
    ------
    RequestRefusedError
        There is no such file.
    """
    if RUN_ID.fullmatch(run_id) is None or name not in evidence_files(laboratory, run_id):
        raise nothing_here("There is no such file of evidence.")
    return laboratory.folder.evidence / run_id / name


def _may_be_given(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".") and path.suffix in EVIDENCE_KINDS


def plate_rows(wells: Sequence[WellRecord]) -> list[tuple[str, list[WellRecord | None]]]:
    """Lay wells out as the plate's rows, by letter."""
    by_position = {well.position: well for well in wells}
    letters = sorted({position.rstrip("0123456789") for position in by_position}, key=lambda text: (len(text), text))
    columns = sorted({int(position.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) for position in by_position})
    return [(letter, [by_position.get(f"{letter}{column:02d}") for column in columns]) for letter in letters]
