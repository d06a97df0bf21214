"""What a staining batch says of the cuts of its tubes: a second step that remarks, and changes no number.

Knows which tubes were stained together and what their panel asks for. Must not know how a cut is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.cytometry.batch_cuts import foundations, missing_controls
from biomarkers.cytometry.cut_records import TubeCuts
from biomarkers.cytometry.found_cuts import distance_findings, distances_between
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.roles import controlled_markers, populations_asking
from biomarkers.errors import BiomarkersError
from biomarkers.provenance import Source, canonical_json
from biomarkers.readers.panels import read_panel
from biomarkers.results import Assay, DerivedAnalysis, Finding, Remark, Run, derived_run_identity
from biomarkers.store.controls import sources_by_run
from biomarkers.store.tubes import StoredTube, batched_tubes
from biomarkers.study.cellular import TubeRole
from flows.batch_step import runs_that_stand
from flows.whole_set import WholeSet, run_input

STEP = "cuts over batches"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A finding about some populations of a tube."""

    tube: StoredTube
    populations: frozenset[str]
    finding: Finding


async def cut_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on numbers whose cuts lie far from their batch's, and on those whose panel asks for an FMO the batch lacks."""
    with whole.database.read() as reading:
        tubes = batched_tubes(reading, with_cuts=True)
        sources = sources_by_run(reading) if tubes else {}
        runs = runs_that_stand(reading, tubes)
    panels = {name: _panel(whole, name) for name in dict.fromkeys(tube.panel for tube in tubes) if name}
    derived = []
    for batch in dict.fromkeys(tube.batch for tube in tubes):
        members = sorted((tube for tube in tubes if tube.batch == batch), key=lambda tube: tube.run_id)
        said = [*_far_cuts(members), *_missing_fmos(batch, members, panels)]
        remarks = tuple(
            Remark(run_id=run_id, measurand=measurand, finding=one.finding)
            for one in said
            for measurand in _measurands(whole, one, panels)
            for run_id in runs.get(one.tube.run_id, ())
        )
        if not remarks:
            continue
        run = Run(
            run_id=derived_run_identity(Assay.CYTOMETRY, STEP, batch),
            assay=Assay.CYTOMETRY,
            name=f"Cuts of batch '{batch}'",
            acquired_at="",
            findings=tuple(remark.finding for remark in remarks),
            results=(),
            provenance=whole.provenance(
                (
                    Source(role=role, name=name, sha256=digest)
                    for tube in members
                    for role, name, digest in sources[tube.run_id]
                ),
                (run_input(tube.run_id, tube.analysis_id) for tube in members),
                canonical_json({"step": STEP, "of": batch}),
            ),
        )
        derived.append(DerivedAnalysis(step=STEP, run=run, parents=(), remarks=remarks))
    return derived


def _measurands(whole: WholeSet, said: _Said, panels: Mapping[str, Panel | None]) -> Iterator[str]:
    """Name what the study reports that rests on the populations spoken of."""
    panel = panels.get(said.tube.panel)
    reference = next((one for one in whole.definition.panels if one.name == said.tube.panel), None)
    if panel is None or reference is None:
        return
    for measurand in reference.measurands:
        if said.populations & (foundations(panel, measurand.population) | foundations(panel, measurand.denominator)):
            yield measurand.code


def _panel(whole: WholeSet, name: str) -> Panel | None:
    try:
        return read_panel(whole.folder.panels / f"{name}.toml")
    except BiomarkersError:
        return None  # it can no longer be read; `check` says why


def _far_cuts(members: Sequence[StoredTube]) -> Iterator[_Said]:
    specimens = [tube for tube in members if tube.role is TubeRole.SPECIMEN]
    for panel in dict.fromkeys(tube.panel for tube in specimens):
        cuts = [
            (tube, TubeCuts.of_records(tube.name, tube.found, tube=tube.run_id)) for tube in specimens if tube.panel == panel
        ]
        group = [cut for _, own in cuts for cut in own.cuts.values()]
        for tube, own in cuts:
            for distance in distances_between(tuple(own.cuts.values()), own.transforms, group):
                for finding in distance_findings(own.acquisition, (distance,)):
                    yield _Said(tube=tube, populations=frozenset({distance.population}), finding=finding)


def _missing_fmos(batch: str, members: Sequence[StoredTube], panels: Mapping[str, Panel | None]) -> Iterator[_Said]:
    there = {tube.marker for tube in members if tube.control_cuts}
    for tube in members:
        panel = panels.get(tube.panel)
        if tube.role is not TubeRole.SPECIMEN or panel is None:
            continue
        for finding in missing_controls(batch, controlled_markers(panel), there):
            yield _Said(tube=tube, populations=populations_asking(panel, without=there), finding=finding)
