"""An acquisition gated again with cuts from its batch, in a child process.

Knows one tube at a time, so that memory holds one acquisition whatever the number of visits. Must not know the store, nor how
the cuts were agreed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from biomarkers.cytometry.analysis import AcquisitionAnalysis, analyse_gating
from biomarkers.cytometry.batch_cuts import TubePlan
from biomarkers.cytometry.examined import examine, with_findings, with_warnings_of_the_tube
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.joint_analysis import STEP, JointAnalysis
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Provenance
from biomarkers.readers.panels import read_panel
from biomarkers.reports.gate_files import gate_files
from biomarkers.reports.quality import joint_evidence
from biomarkers.results import Assay, Parent, derived_run_identity
from biomarkers.study.cellular import PanelReference
from flows.acquisition_work import TubeFiles, read_tube


def joint_run_id(own_run_id: str) -> str:
    """Name the run that takes the place of an acquisition's own."""
    return derived_run_identity(Assay.CYTOMETRY, STEP, own_run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointWork:
    """A recorded acquisition and how it is gated again.

    Attributes
    ----------
    own
        What stands on record of the tube by itself.
    """

    folder: LabFolder
    files: TubeFiles
    own: AcquisitionAnalysis
    reference: PanelReference
    plan: TubePlan
    run_id: str
    parents: tuple[Parent, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """An acquisition gated again, its quality page, and its gates for other programs."""

    analysis: JointAnalysis
    files: Mapping[str, bytes]


def gate_again(work: JointWork) -> Joint:
    """Gate a tube with its plan's cuts and give the numbers that take the place of its own.

    Raises
    ------
    BiomarkersError
        The archived bytes cannot be read or gated any more.
    """
    panel = read_panel(work.folder.panels / f"{work.own.panel}.toml")
    acquisition = read_tube(work.folder, work.files)
    examined = examine(acquisition, panel, outside=work.plan.outside)
    gated = _told(with_findings(examined.gated, examined.over_time, work.reference.fixation), work.plan)
    analysed = analyse_gating(
        gated,
        measurands=work.reference.measurands,
        accession_id=work.own.run.results[0].accession_id,
        run_id=work.run_id,
        provenance=work.provenance,
        acquired_at=acquisition.acquired_at,
    )
    analysed = with_warnings_of_the_tube(analysed, removed_events=examined.over_time.removed)
    results = tuple(replace(one, findings=(*one.findings, *work.plan.of_tube)) for one in analysed.run.results)
    # What concerns the tube as a whole stands in the findings of its own run, and beside every number it speaks against.
    run = replace(analysed.run, name=f"{work.own.run.name}, jointly", results=results, findings=())
    made = JointAnalysis(
        step=STEP,
        run=run,
        parents=work.parents,
        panel=analysed.panel,
        events=analysed.events,
        populations=analysed.populations,
        batch=work.own.batch,
        own_run_id=work.own.run.run_id,
        cuts=work.plan.cuts,
        removed_events=analysed.removed_events,
    )
    page = joint_evidence(made, work.own, gated, over_time=examined.over_time)
    return Joint(analysis=made, files={**page, **gate_files(gated, acquisition, file_name=work.files.instrument.name)})


def _told(gated: Gating, plan: TubePlan) -> Gating:
    """Add to populations what is said of their cuts."""
    populations = dict(gated.populations)
    for said in plan.of_gates:
        population = populations.get(said.population)
        if population is not None:
            populations[said.population] = replace(population, findings=(*population.findings, said.finding))
    return replace(gated, populations=populations)
