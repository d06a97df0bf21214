"""Every acquisition's cuts over the staining batches, and what the batches' controls say, from what is on record.

Knows which tubes were stained together, in which order batches came, and how a control PBMC becomes points of a chart. Must not
know how a cut is found or how a page looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.cytometry.analysis import ControlReading
from biomarkers.cytometry.cut_records import CutRecord, Place, TubeCuts
from biomarkers.cytometry.found_cuts import FARTHEST, distances_between
from biomarkers.cytometry.joint_analysis import STEP, JointAnalysis
from biomarkers.elisa.control_charts import ControlPoint, ControlSeries, levey_jennings
from biomarkers.readers.reading_days import reading_day
from biomarkers.store.database import Reading
from biomarkers.store.lookups import current_analyses
from biomarkers.store.results import read_analysis
from biomarkers.store.tubes import StoredTube, all_tubes
from biomarkers.study.cellular import TubeRole

WARNING_RULE = "1-2s"
"""Every twentieth sound reading lies beyond two standard deviations, and a control has many: alone it fails no batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeOverview:
    """A gated tube with its cuts.

    Attributes
    ----------
    day
        ISO date of acquisition, else of receipt.
    joint
        Where its numbers that count were cut together with other visits, on the compensated linear scale, by gate.
    far
        Robust standard deviations from its batch's median, of those cuts that lie too far.
    """

    run_id: str
    name: str
    role: TubeRole
    batch: str
    panel: str
    day: str
    found: Mapping[Place, CutRecord]
    joint: Mapping[Place, float]
    far: Mapping[Place, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOverview:
    """A staining batch.

    Attributes
    ----------
    others
        Its tubes that are no specimens, by part: names, with the marker of FMOs and single stains.
    failed
        What its control PBMC breaks, by measurand; empty where nothing.
    has_control
        Whether a control PBMC was read.
    """

    batch: str
    first_day: str
    specimens: int
    others: Mapping[TubeRole, tuple[str, ...]]
    failed: Mapping[str, str]
    has_control: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOverview:
    """All gated tubes in the order of their batches, the batches, and the control PBMC's charts."""

    tubes: tuple[TubeOverview, ...]
    batches: tuple[BatchOverview, ...]
    charts: tuple[ControlSeries, ...]


def cut_overview(reading: Reading) -> CutOverview:
    """Gather the cuts of all acquisitions on record, and the controls of their batches."""
    stored = all_tubes(reading, with_cuts=True)
    joint = _joint_cuts(reading)
    days = {tube.run_id: _day(tube) for tube in stored}
    first = {batch: min(days[tube.run_id] for tube in stored if tube.batch == batch) for batch in {one.batch for one in stored}}
    order = sorted(stored, key=lambda one: (first[one.batch], one.batch, days[one.run_id], one.name, one.run_id))
    far = _far(stored)
    points = [point for tube in stored for point in control_points_of(tube)]
    broken = broken_rules(stored)
    return CutOverview(
        tubes=tuple(
            TubeOverview(
                run_id=tube.run_id,
                name=tube.name,
                role=tube.role,
                batch=tube.batch,
                panel=tube.panel,
                day=days[tube.run_id],
                found={(cut.population, cut.marker): cut for cut in tube.found},
                joint=joint.get(tube.run_id, {}),
                far=far.get(tube.run_id, {}),
            )
            for tube in order
            if tube.found
        ),
        batches=tuple(
            _batch(batch, first[batch], [tube for tube in order if tube.batch == batch], broken.get(batch, {}))
            for batch in dict.fromkeys(tube.batch for tube in order)
            if batch
        ),
        charts=levey_jennings(points),
    )


def broken_rules(tubes: Iterable[StoredTube]) -> Mapping[str, Mapping[str, str]]:
    """Chart the control PBMC, a series for each panel and measurand; return the rules broken, by batch and measurand."""
    controls = [tube for tube in tubes if tube.role is TubeRole.CONTROL_PBMC]
    batch_by_run = {tube.run_id: tube.batch for tube in controls}
    broken: dict[str, dict[str, str]] = {}
    for series in levey_jennings([point for tube in controls for point in control_points_of(tube)]):
        for point in series.points:
            rules = [rule for rule in point.violated if rule != WARNING_RULE]
            if rules:
                told = ", ".join(rules)
                limits = "" if series.is_established else ", by preliminary limits"
                broken.setdefault(batch_by_run[point.point.run_id], {})[series.analyte] = f"breaks {told}{limits}"
    return broken


def control_points_of(tube: StoredTube) -> tuple[ControlPoint, ...]:
    """Make points of a control PBMC's readings; a number that was not reportable is none."""
    if tube.role is not TubeRole.CONTROL_PBMC:
        return ()
    return tuple(_point(tube, reading, reading.value) for reading in tube.readings if reading.value is not None)


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


def _day(tube: StoredTube) -> str:
    day = reading_day(tube.acquired_at)
    return (tube.received_at.date() if day is None else day).isoformat()


def _far(tubes: Sequence[StoredTube]) -> Mapping[str, Mapping[Place, float]]:
    """Say of each specimen's cuts which lie too far from those stained with it."""
    groups: dict[tuple[str, str], list[StoredTube]] = {}
    for tube in tubes:
        if tube.batch and tube.found and tube.role is TubeRole.SPECIMEN:
            groups.setdefault((tube.batch, tube.panel), []).append(tube)
    far: dict[str, dict[Place, float]] = {}
    for members in groups.values():
        cuts = {tube.run_id: TubeCuts.of_records(tube.name, tube.found, tube=tube.run_id) for tube in members}
        group = [cut for own in cuts.values() for cut in own.cuts.values()]
        for run_id, own in cuts.items():
            for distance in distances_between(tuple(own.cuts.values()), own.transforms, group):
                if abs(distance.deviations) > FARTHEST:
                    far.setdefault(run_id, {})[distance.population, distance.marker] = distance.deviations
    return far


def _joint_cuts(reading: Reading) -> Mapping[str, Mapping[Place, float]]:
    found: dict[str, dict[Place, float]] = {}
    for entry in current_analyses(reading):
        if entry.step != STEP:
            continue
        analysis = read_analysis(reading, analysis_id=entry.analysis_id)
        if isinstance(analysis, JointAnalysis):
            own = analysis.own_run_id
            found[own] = {(cut.population, cut.marker): cut.value for cut in analysis.cuts if own in cut.members}
    return found


def _batch(batch: str, first_day: str, tubes: Sequence[StoredTube], failed: Mapping[str, str]) -> BatchOverview:
    others: dict[TubeRole, list[str]] = {}
    for tube in tubes:
        if tube.role is not TubeRole.SPECIMEN:
            others.setdefault(tube.role, []).append(f"{tube.name} ({tube.marker})" if tube.marker else tube.name)
    return BatchOverview(
        batch=batch,
        first_day=first_day,
        specimens=sum(tube.role is TubeRole.SPECIMEN for tube in tubes),
        others={role: tuple(names) for role, names in others.items()},
        failed=failed,
        has_control=TubeRole.CONTROL_PBMC in others,
    )
