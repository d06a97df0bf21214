"""What the control PBMC says of its staining batch: a second step that remarks, and changes no number.

Knows which tubes were stained together. Must not know the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from biomarkers.cytometry.joint_analysis import STEP as JOINT
from biomarkers.cytometry.roles import batch_findings
from biomarkers.laboratory.cut_overview import broken_rules
from biomarkers.provenance import Source, canonical_json
from biomarkers.results import Assay, DerivedAnalysis, Remark, Run, derived_run_identity
from biomarkers.store.controls import sources_by_run
from biomarkers.store.database import Reading
from biomarkers.store.derivations import standing_derivations
from biomarkers.store.tubes import StoredTube, batched_tubes
from biomarkers.study.cellular import TubeRole
from flows.joint_work import joint_run_id
from flows.whole_set import WholeSet, run_input

STEP = "control PBMC"


async def batch_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on every specimen of a batch whose control PBMC breaks a rule of its chart, or that has none."""
    with whole.database.read() as reading:
        tubes = batched_tubes(reading)
        sources = sources_by_run(reading) if tubes else {}
        runs = runs_that_stand(reading, tubes)
    derived = []
    for batch, of_tubes in remarks_by_batch(tubes).items():
        remarks = tuple(
            Remark(run_id=run_id, finding=remark.finding) for remark in of_tubes for run_id in runs.get(remark.run_id, ())
        )
        if not remarks:
            continue
        behind = [tube for tube in tubes if tube.batch == batch or tube.role is TubeRole.CONTROL_PBMC]
        provenance = whole.provenance(
            (Source(role=role, name=name, sha256=sha256) for tube in behind for role, name, sha256 in sources[tube.run_id]),
            (run_input(tube.run_id, tube.analysis_id) for tube in behind),
            canonical_json({"step": STEP, "of": batch}),
        )
        run = Run(
            run_id=derived_run_identity(Assay.CYTOMETRY, STEP, batch),
            assay=Assay.CYTOMETRY,
            name=f"Control PBMC of batch '{batch}'",
            acquired_at="",
            findings=tuple(remark.finding for remark in remarks),
            results=(),
            provenance=provenance,
        )
        derived.append(DerivedAnalysis(step=STEP, run=run, parents=(), remarks=remarks))
    return derived


def runs_that_stand(reading: Reading, tubes: Sequence[StoredTube]) -> Mapping[str, tuple[str, ...]]:
    """Name of each tube its own run and, where it was gated with its batch, the run in its place: both are spoken of."""
    if not tubes:
        return {}
    joint = {run_id for run_id, one in standing_derivations(reading, step=JOINT).items() if not one.is_empty}
    return {
        tube.run_id: tuple(one for one in (tube.run_id, joint_run_id(tube.run_id)) if one in {tube.run_id, *joint})
        for tube in tubes
    }


def remarks_by_batch(tubes: Sequence[StoredTube]) -> Mapping[str, tuple[Remark, ...]]:
    """Say of each batch what its control PBMC tells, once for every specimen of it."""
    broken = broken_rules(tubes)
    found: dict[str, tuple[Remark, ...]] = {}
    for batch in dict.fromkeys(tube.batch for tube in tubes):
        members = [tube for tube in tubes if tube.batch == batch]
        readings = [reading for tube in members for reading in tube.readings]
        findings = batch_findings(batch, readings, broken.get(batch, {}))
        specimens = [tube for tube in members if tube.role is TubeRole.SPECIMEN]
        found[batch] = tuple(Remark(run_id=tube.run_id, finding=finding) for tube in specimens for finding in findings)
    return found
