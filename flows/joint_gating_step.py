"""A subject's visits of one staining batch gated together, and what the batch lends: a second step.

Knows which tubes were stained together, whose they are, and what a person has decided about. Must not know how cuts are found
or agreed on. Each acquisition's own result stays on record; the joint one takes its place in the timepoint table. Events are
read again only where the cuts a tube is gated with have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.batch_cuts import BatchTube, TubePlan, kept_runs, plan_batch
from biomarkers.cytometry.cut_records import ControlCut, TubeCuts
from biomarkers.cytometry.joint_analysis import STEP, JointAnalysis
from biomarkers.cytometry.joint_gating import JointCut
from biomarkers.cytometry.panel import Panel
from biomarkers.errors import BiomarkersError
from biomarkers.lab.evidence import is_shown
from biomarkers.provenance import Input, Provenance, Source, canonical_json, content_digest
from biomarkers.readers.panels import read_panel
from biomarkers.results import Assay, DerivedAnalysis, Parent
from biomarkers.store.database import Reading
from biomarkers.store.decisions import Decision
from biomarkers.store.derivations import StandingDerivation, standing_derivations
from biomarkers.store.results import RecordedRun, current_runs, read_analysis
from biomarkers.store.signatures import Standing, standings
from biomarkers.store.study_lists import current_roster
from biomarkers.store.tubes import StoredTube, TubeResult, batched_tubes, rejected_tubes, tube_results
from biomarkers.study.cellular import PanelReference, TubeRole
from flows.acquisition_work import TubeFiles, declared_inputs
from flows.bench import bench, each
from flows.evidence import keep
from flows.joint_work import JointWork, gate_again, joint_run_id
from flows.whole_set import WholeSet, parent_input, run_input

LASTING = frozenset({Standing.REVIEWED, Standing.RELEASED})
SET_ASIDE = frozenset({Decision.REPEATED, Decision.EXCLUDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A specimen's tube of a batch as it stands on record.

    Attributes
    ----------
    is_aside
        Whether its results were all set aside by a person: they stay so, and tell nothing about other tubes.
    standing
        The joint gating that stands in the place of its own results as they are now.
    """

    tube: StoredTube
    run: RecordedRun
    results: tuple[TubeResult, ...]
    subject_id: str
    is_decided: bool
    is_aside: bool
    standing: StandingDerivation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Controls:
    """The FMO cuts of a batch, and the runs they come from."""

    cuts: tuple[ControlCut, ...] = ()
    runs: tuple[RecordedRun, ...] = ()


async def joint_gating(whole: WholeSet) -> Sequence[DerivedAnalysis | StandingDerivation]:
    """Give every specimen whose staining batch tells something about it the numbers that follow from there."""
    with whole.database.read() as reading:
        members, controls = _on_record(reading)
        held = _held_cuts(reading, members)
    stays: list[DerivedAnalysis | StandingDerivation] = []
    works: list[JointWork] = []
    for (batch, name), of_batch in _batches(members).items():
        fresh, reference, panel = _fresh(whole, name, [one for one in of_batch if not one.is_aside])
        stays += [one.standing for one in of_batch if one not in fresh and one.standing is not None]
        if reference is None or panel is None:
            continue
        tubes = [_batch_tube(one, held) for one in fresh]
        of_controls = controls.get(batch, _Controls())
        plans = plan_batch(tubes, panel, of_controls.cuts)
        kept = _kept(tubes)
        for one in fresh:
            plan = plans.get(one.run.run_id)
            if one.run.run_id in kept and one.standing is not None:
                stays.append(one.standing)
            elif plan is not None:
                provenance = _provenance(whole, one, plan, _Around(reference=reference, panel=panel, batch=fresh), of_controls)
                if one.standing is not None and _is_made_so(whole, one.standing, provenance):
                    stays.append(one.standing)
                else:
                    works.append(_work(whole, one, plan, reference, provenance))
    return [*stays, *await _made(works, {one.run.run_id: one for one in members})]


async def _made(works: Sequence[JointWork], members: Mapping[str, _Member]) -> Sequence[DerivedAnalysis | StandingDerivation]:
    """Gate tubes again, one process each; where that fails what stood before stays, and the sweep tells of it."""
    made: list[DerivedAnalysis | StandingDerivation] = []
    async for number, outcome in each(gate_again, works):
        own = works[number].own.run
        if isinstance(outcome, BiomarkersError):
            bench().faults.append(
                f"Acquisition '{own.name}' could not be gated with its batch; its own result counts: {outcome}"
            )
            before = members[own.run_id].standing
            made += [] if before is None else [before]
            continue
        keep(outcome.analysis.run.run_id, outcome.files, of=outcome.analysis.run.analysis_id)
        made.append(outcome.analysis)
    return made


def _on_record(reading: Reading) -> tuple[tuple[_Member, ...], Mapping[str, _Controls]]:
    """Read the specimens' tubes that may take part, and the batches' controls.

    A tube whose gates a person corrected keeps that person's numbers; one of which nothing is reportable tells nothing about
    others.
    """
    tubes = batched_tubes(reading, with_cuts=True)
    if not any(tube.role is TubeRole.SPECIMEN for tube in tubes):
        return (), {}
    runs = {run.run_id: run for run in current_runs(reading, assay=Assay.CYTOMETRY)}
    own, joint, rejected = tube_results(reading), tube_results(reading, step=STEP), rejected_tubes(reading)
    standing = standing_derivations(reading, step=STEP)
    specimens = current_roster(reading).specimens
    names = [name for tube in tubes for name in (tube.run_id, joint_run_id(tube.run_id))]
    signed = standings(reading, names)
    members = []
    for tube in tubes:
        results, further = own.get(tube.run_id, ()), joint.get(joint_run_id(tube.run_id), ())
        decisions = [one.decision for one in (*results, *further) if one.decision is not None]
        specimen = specimens.get(results[0].accession_id) if results else None
        corrected = any(source.role == "gates" for source in runs[tube.run_id].sources)
        aside = any(all(one.decision in SET_ASIDE for one in several) for several in (results, further) if several)
        if tube.role is not TubeRole.SPECIMEN or specimen is None or not tube.found:
            continue
        if corrected or tube.run_id in rejected:
            continue
        before = standing.get(joint_run_id(tube.run_id))
        is_of_these = before is not None and before.parent_ids == {one.result_id for one in results}
        members.append(
            _Member(
                tube=tube,
                run=runs[tube.run_id],
                results=results,
                subject_id=specimen.subject_id,
                is_decided=bool(decisions) or bool({signed[tube.run_id], signed[joint_run_id(tube.run_id)]} & LASTING),
                is_aside=aside,
                standing=before if is_of_these else None,
            )
        )
    return tuple(members), _controls(tubes, runs)


def _controls(tubes: Iterable[StoredTube], runs: Mapping[str, RecordedRun]) -> Mapping[str, _Controls]:
    """Take of each batch and marker the FMO with most events."""
    best: dict[tuple[str, str], StoredTube] = {}
    for tube in sorted((one for one in tubes if one.control_cuts), key=lambda one: one.run_id):
        key = tube.batch, tube.marker
        if key not in best or _events(tube) > _events(best[key]):
            best[key] = tube
    found: dict[str, _Controls] = {}
    for (batch, _), tube in sorted(best.items()):
        before = found.get(batch, _Controls())
        found[batch] = _Controls(cuts=(*before.cuts, *tube.control_cuts), runs=(*before.runs, runs[tube.run_id]))
    return found


def _events(tube: StoredTube) -> int:
    return max(cut.events for cut in tube.control_cuts)


def _batches(members: Iterable[_Member]) -> Mapping[tuple[str, str], tuple[_Member, ...]]:
    found: dict[tuple[str, str], tuple[_Member, ...]] = {}
    for one in sorted(members, key=lambda member: member.run.run_id):
        key = one.tube.batch, one.tube.panel
        found[key] = (*found.get(key, ()), one)
    return found


def _fresh(
    whole: WholeSet, name: str, members: Sequence[_Member]
) -> tuple[tuple[_Member, ...], PanelReference | None, Panel | None]:
    """Tell the tubes that were gated by today's declarations; others wait until they are computed again."""
    reference = next((one for one in whole.definition.panels if one.name == name), None)
    try:
        panel = read_panel(whole.folder.panels / f"{name}.toml")
    except BiomarkersError:
        panel = None  # it can no longer be read; `check` says why
    if reference is None or panel is None:
        return (), None, None
    declared = set(declared_inputs(reference, panel))
    return tuple(one for one in members if declared <= set(one.run.inputs)), reference, panel


def _held_cuts(reading: Reading, members: Sequence[_Member]) -> Mapping[str, tuple[JointCut, ...]]:
    """Read the joint cuts of those subjects about whose numbers a person has decided; others' are found anew."""
    decided = {(one.tube.batch, one.subject_id) for one in members if one.is_decided}
    held = {}
    for one in members:
        if one.standing is not None and (one.tube.batch, one.subject_id) in decided:
            analysis = read_analysis(reading, analysis_id=one.standing.analysis_id)
            held[one.run.run_id] = analysis.cuts if isinstance(analysis, JointAnalysis) else ()
    return held


def _batch_tube(one: _Member, held: Mapping[str, tuple[JointCut, ...]]) -> BatchTube:
    return BatchTube(
        run_id=one.run.run_id,
        accession_id=one.results[0].accession_id,
        subject_id=one.subject_id,
        own=TubeCuts.of_records(one.run.name, one.tube.found, tube=one.run.run_id),
        is_decided=one.is_decided,
        standing=None if one.standing is None else held.get(one.run.run_id, ()),
    )


def _kept(tubes: Sequence[BatchTube]) -> frozenset[str]:
    subjects = {tube.subject_id for tube in tubes}
    return frozenset().union(*(kept_runs([tube for tube in tubes if tube.subject_id == one]) for one in subjects))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    """What a tube is gated among."""

    reference: PanelReference
    panel: Panel
    batch: Sequence[_Member]


def _provenance(whole: WholeSet, one: _Member, plan: TubePlan, around: _Around, controls: _Controls) -> Provenance:
    kinds = {cut.kind for cut in plan.outside}
    others = [member for member in around.batch if member.run.run_id in plan.companions]
    if "group" in kinds:
        others = [member for member in around.batch if member is not one]
    asked = controls.runs if "control" in kinds else ()
    document = content_digest(_document(plan))
    return whole.provenance(
        (
            *one.run.sources,
            *(_as_source("visit", member.run) for member in others),
            *(_as_source("fmo", run) for run in asked),
        ),
        (
            *(parent_input(result.result_id) for result in one.results),
            *(run_input(member.run.run_id, member.run.analysis_id) for member in others),
            *(run_input(run.run_id, run.analysis_id) for run in asked),
            *declared_inputs(around.reference, around.panel),
            Input(kind="cuts", name=one.tube.batch, sha256=document),
        ),
        canonical_json(
            {
                "step": STEP,
                "batch": one.tube.batch,
                "cuts": [[cut.population, cut.marker, cut.kind, cut.value, cut.quality] for cut in plan.outside],
            }
        ),
    )


def _document(plan: TubePlan) -> str:
    """Write down all that decides how the tube is gated and what is said of it."""
    said = [[one.population, one.finding.code, one.finding.message] for one in plan.of_gates]
    about = [[finding.code, finding.message] for finding in plan.of_tube]
    cuts = [[cut.population, cut.marker, cut.kind, cut.value, cut.quality, list(cut.draws)] for cut in plan.outside]
    return canonical_json([cuts, said, about])


def _as_source(role: str, run: RecordedRun) -> Source:
    return Source(role=role, name=run.sources[0].name, sha256=run.sources[0].sha256)


def _is_made_so(whole: WholeSet, standing: StandingDerivation, provenance: Provenance) -> bool:
    """Whether what stands was made from the same, and its page is there."""
    same = standing.provenance.identity == provenance.identity and not standing.is_empty
    return same and is_shown(whole.folder, standing.run_id, of=standing.content_id)


def _work(whole: WholeSet, one: _Member, plan: TubePlan, reference: PanelReference, provenance: Provenance) -> JointWork:
    with whole.database.read() as reading:
        own = read_analysis(reading, analysis_id=one.run.analysis_id)
    assert isinstance(own, AcquisitionAnalysis), "it was read as a tube"
    return JointWork(
        folder=whole.folder,
        files=TubeFiles.of(one.run.sources),
        own=own,
        reference=reference,
        plan=plan,
        run_id=joint_run_id(one.run.run_id),
        parents=tuple(
            Parent(analysis_id=result.analysis_id, result_id=result.result_id, replaces=True) for result in one.results
        ),
        provenance=provenance,
    )
