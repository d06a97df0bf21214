"""What control charts and sister plates say about each plate: second steps that remark, and change no number.

Knows which plates belong together. Must not know the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from biomarkers.elisa.control_charts import ControlSeries, levey_jennings, out_of_family, westgard_findings
from biomarkers.laboratory.controls import control_points, measured_at
from biomarkers.provenance import Source, canonical_json
from biomarkers.results import Assay, DerivedAnalysis, Remark, Run, derived_run_identity
from biomarkers.store.controls import StoredScatter, sources_by_run, stored_controls, stored_scatters
from flows.whole_set import WholeSet, run_input

Sources = Mapping[str, tuple[tuple[str, str, str], ...]]


async def control_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on every plate whose controls break a Westgard rule, lot by lot; a warning, never a rejection."""
    with whole.database.read() as reading:
        stored = stored_controls(reading)
        sources = sources_by_run(reading)
    analysis_by_run = {one.run_id: one.analysis_id for one in stored}
    by_lot: dict[tuple[str, str], list[ControlSeries]] = {}
    for series in levey_jennings(control_points(stored)):
        by_lot.setdefault((series.analyte, series.kit_lot), []).append(series)
    derived = []
    for (analyte, kit_lot), members in by_lot.items():
        remarks = tuple(remark for series in members for remark in _of_series(series))
        runs = sorted({point.point.run_id for series in members for point in series.points})
        if remarks:
            derived.append(
                _remarking(
                    whole,
                    step="control charts",
                    key=f"{analyte} {kit_lot}",
                    name=f"Controls of {analyte}, lot '{kit_lot}'",
                    remarks=remarks,
                    analysis_by_run={run_id: analysis_by_run[run_id] for run_id in runs},
                    sources=sources,
                )
            )
    return derived


def _of_series(series: ControlSeries) -> Iterator[Remark]:
    for count, point in enumerate(series.points, start=1):
        if point.violated:
            for finding in westgard_findings(replace(series, points=series.points[:count])):
                yield Remark(run_id=point.point.run_id, measurand=series.analyte, finding=finding)


async def family_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on every plate whose calibrators scatter far more than those of accepted plates before it, fitted alike."""
    with whole.database.read() as reading:
        scatters = sorted(stored_scatters(reading), key=lambda one: (measured_at(one), one.run_id))
        sources = sources_by_run(reading)
    families: dict[tuple[str, tuple[str, str, str]], list[StoredScatter]] = {}
    for one in scatters:
        families.setdefault((one.analyte, one.method), []).append(one)
    derived = []
    for (analyte, method), members in families.items():
        remarks = tuple(_of_family(members))
        if remarks:
            derived.append(
                _remarking(
                    whole,
                    step="curve family",
                    key=f"{analyte} {' '.join(method)}",
                    name=f"Curves of {analyte}",
                    remarks=remarks,
                    analysis_by_run={one.run_id: one.analysis_id for one in members},
                    sources=sources,
                )
            )
    return derived


def _of_family(members: Sequence[StoredScatter]) -> Iterator[Remark]:
    for count, one in enumerate(members):
        sisters = [sister.residual_sd for sister in members[:count]]
        for finding in out_of_family(one.residual_sd, sisters, where=f"Plate '{one.name}', analyte '{one.analyte}'."):
            yield Remark(run_id=one.run_id, measurand=one.analyte, finding=finding)


def _remarking(
    whole: WholeSet,
    *,
    step: str,
    key: str,
    name: str,
    remarks: tuple[Remark, ...],
    analysis_by_run: Mapping[str, str],
    sources: Sources,
) -> DerivedAnalysis:
    run_id = derived_run_identity(Assay.ELISA, step, key)
    provenance = whole.provenance(
        _files(analysis_by_run, sources),
        (run_input(one, analysis_id) for one, analysis_id in analysis_by_run.items()),
        canonical_json({"step": step, "of": key}),
    )
    run = Run(
        run_id=run_id,
        assay=Assay.ELISA,
        name=name,
        acquired_at="",
        findings=tuple(remark.finding for remark in remarks),
        results=(),
        provenance=provenance,
    )
    return DerivedAnalysis(step=step, run=run, parents=(), remarks=remarks)


def _files(runs: Iterable[str], sources: Sources) -> Iterator[Source]:
    for run_id in runs:
        for role, name, sha256 in sources[run_id]:
            yield Source(role=role, name=name, sha256=sha256)
