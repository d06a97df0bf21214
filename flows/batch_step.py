"""What the control PBMC says of its staining batch: a second step that remarks, and changes no number.

Knows which tubes were stained together. Must not know the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from biomarkers.cytometry.analysis import ControlReading
from biomarkers.cytometry.roles import batch_findings
from biomarkers.elisa.control_charts import ControlPoint, levey_jennings
from biomarkers.provenance import Source, canonical_json
from biomarkers.results import Assay, DerivedAnalysis, Remark, Run, derived_run_identity
from biomarkers.store.controls import sources_by_run
from biomarkers.store.tubes import StoredTube, batched_tubes
from biomarkers.study.cellular import TubeRole
from flows.whole_set import WholeSet, run_input

STEP = "control PBMC"

WARNING_RULE = "1-2s"
"""Every twentieth sound reading lies beyond two standard deviations, and a control has many: alone it fails no batch."""


async def batch_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on every specimen of a batch whose control PBMC breaks a rule of its chart, or that has none."""
    with whole.database.read() as reading:
        tubes = batched_tubes(reading)
        sources = sources_by_run(reading) if tubes else {}
    derived = []
    for batch, remarks in remarks_by_batch(tubes).items():
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


def broken_rules(tubes: Iterable[StoredTube]) -> Mapping[str, Mapping[str, str]]:
    """Chart the control PBMC, a series for each panel and measurand; return the rules broken, by batch and measurand."""
    controls = [tube for tube in tubes if tube.role is TubeRole.CONTROL_PBMC]
    batch_by_run = {tube.run_id: tube.batch for tube in controls}
    points = [
        _point(tube, reading, reading.value) for tube in controls for reading in tube.readings if reading.value is not None
    ]
    broken: dict[str, dict[str, str]] = {}
    for series in levey_jennings(points):
        for point in series.points:
            rules = [rule for rule in point.violated if rule != WARNING_RULE]
            if rules:
                told = ", ".join(rules)
                limits = "" if series.is_established else ", by preliminary limits"
                broken.setdefault(batch_by_run[point.point.run_id], {})[series.analyte] = f"breaks {told}{limits}"
    return broken


def _point(tube: StoredTube, reading: ControlReading, value: float) -> ControlPoint:
    return ControlPoint(
        run_id=tube.run_id,
        measured_at=reading.measured_at or tube.received_at.isoformat(),
        analyte=reading.measurand,
        level=TubeRole.CONTROL_PBMC.value,
        kit_lot=tube.panel,
        value=value,
        is_accepted=True,
    )
