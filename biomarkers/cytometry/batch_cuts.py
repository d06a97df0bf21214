"""With which cuts from elsewhere each tube of a staining batch is gated again.

Knows what a subject's visits have in common, what a batch lends, what controls decide, and that nothing a person has decided
about moves any more. Must not know files, events or the store. The answer depends on the set of tubes alone, never on the order
in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.cytometry.cut_records import ControlCut, Place, TubeCuts
from biomarkers.cytometry.cuts import BORROW_BELOW_QUALITY, NO_VALLEY_QUALITY
from biomarkers.cytometry.found_cuts import FoundCut, lend
from biomarkers.cytometry.gated import OutsideCut
from biomarkers.cytometry.joint_gating import JointCut, borrows_from, common_cuts, cut_findings
from biomarkers.cytometry.methods import populations_of_gate
from biomarkers.cytometry.panel import Panel, QuantileGate
from biomarkers.results import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchTube:
    """A specimen's tube among those stained with it.

    Attributes
    ----------
    own
        The cuts it found itself.
    is_decided
        Whether a person reviewed, released or otherwise decided about a number of this tube, its own or a joint one.
    standing
        The joint cuts its numbers on record were made with; None where only its own stand.
    """

    run_id: str
    accession_id: str
    subject_id: str
    own: TubeCuts
    is_decided: bool = False
    standing: tuple[JointCut, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFinding:
    """A finding about one population."""

    population: str
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class TubePlan:
    """How a tube is gated again.

    Attributes
    ----------
    outside
        Cuts that take the place of its own, or are lent to it.
    cuts
        What the subject's visits have in common; empty where the subject has no other visit in the batch.
    companions
        Runs of the subject's other tubes it is gated with.
    of_gates, of_tube
        Findings about single populations, and about every number of the tube.
    """

    outside: tuple[OutsideCut, ...]
    cuts: tuple[JointCut, ...] = ()
    companions: tuple[str, ...] = ()
    of_gates: tuple[GateFinding, ...] = ()
    of_tube: tuple[Finding, ...] = ()


def plan_batch(tubes: Sequence[BatchTube], panel: Panel, controls: Sequence[ControlCut] = ()) -> Mapping[str, TubePlan]:
    """Say with which cuts each tube is gated again, by run; tubes that keep what stands on record are left out.

    Parameters
    ----------
    tubes
        The specimens of one batch, of one panel.
    controls
        Of the batch's FMOs.
    """
    by_subject: dict[str, list[BatchTube]] = {}
    for tube in sorted(tubes, key=lambda one: one.run_id):
        by_subject.setdefault(tube.subject_id, []).append(tube)
    valleys = [cut for tube in sorted(tubes, key=lambda one: one.run_id) for cut in tube.own.cuts.values()]
    plans: dict[str, TubePlan] = {}
    for visits in by_subject.values():
        kept = kept_runs(visits)
        several = len({visit.accession_id for visit in visits}) > 1
        frozen = _frozen(visits, kept)
        cuts = common_cuts({visit.run_id: visit.own for visit in visits}, panel=panel, frozen=frozen) if several else ()
        for visit in visits:
            if visit.run_id not in kept:
                plan = _plan(visit, visits, cuts, _Batch(panel=panel, controls=controls, valleys=valleys))
                if plan.outside or plan.of_gates:
                    plans[visit.run_id] = plan
    return plans


def kept_runs(visits: Sequence[BatchTube]) -> frozenset[str]:
    """Name a subject's tubes whose numbers stay as they are on record.

    Once a person has decided about any of them, all that were there then stay, each as it stood: with joint cuts or its own.
    """
    if not any(visit.is_decided for visit in visits):
        return frozenset()
    return frozenset(visit.run_id for visit in visits if visit.is_decided or visit.standing is not None)


def _frozen(visits: Sequence[BatchTube], kept: frozenset[str]) -> tuple[JointCut, ...]:
    """Gather the cuts that kept numbers were made with: joint ones, and where there are none the tubes' own valleys."""
    held: dict[Place, JointCut] = {}
    staying = [visit for visit in visits if visit.run_id in kept]
    for visit in staying:
        for cut in visit.standing or ():
            if visit.run_id in cut.members:
                held.setdefault((cut.population, cut.marker), cut)
    for visit in staying:
        if visit.standing is not None:
            continue
        for place, own in sorted(visit.own.cuts.items()):
            if own.quality is not None and own.quality >= NO_VALLEY_QUALITY:
                held.setdefault(place, _alone(visit.run_id, own))
    return tuple(held.values())


def _alone(run_id: str, own: FoundCut) -> JointCut:
    return JointCut(
        population=own.population,
        marker=own.marker,
        value=own.value,
        quality=own.quality,
        draws=tuple(float(draw) for draw in own.draws),
        members=(run_id,),
        shifted=(),
        probability=1.0,
        frozen=True,
        lacks_valley=own.lacks_valley,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Batch:
    """What all tubes of a batch share: panel, FMO cuts, and every cut any of them found."""

    panel: Panel
    controls: Sequence[ControlCut]
    valleys: Sequence[FoundCut]


def _plan(tube: BatchTube, visits: Sequence[BatchTube], cuts: Sequence[JointCut], batch: _Batch) -> TubePlan:
    panel = batch.panel
    by_control = {(control.population, control.marker): control for control in batch.controls}
    own_cuts = [cut for cut in cuts if tube.run_id in cut.members and not _control_decides(cut, panel, by_control)]
    joint = {(cut.population, cut.marker): cut.outside() for cut in own_cuts}
    asked = {
        place: _as_outside(control)
        for place, control in by_control.items()
        if place not in joint and _uses_control(tube, place, panel)
    }
    lent = {
        (cut.population, cut.marker): cut
        for cut in (lend(batch.valleys, tube.run_id) if _is_in_need(tube, panel) else ())
        if (cut.population, cut.marker) not in {*joint, *asked} and _wants(tube, cut, panel)
    }
    outside = [*joint.values(), *lent.values(), *asked.values()]
    frozen = [cut.marker for cut in own_cuts if cut.frozen]
    return TubePlan(
        outside=tuple(outside),
        cuts=tuple(cuts),
        companions=tuple(visit.run_id for visit in visits if visit.run_id != tube.run_id) if cuts else (),
        of_gates=tuple(_of_gates(tube, cuts, own_cuts, lent)),
        of_tube=(_frozen_finding(tube, frozen),) if frozen else (),
    )


def _control_decides(cut: JointCut, panel: Panel, by_control: Mapping[Place, ControlCut]) -> bool:
    """Whether an FMO is asked before a cut the visits have in common: always where no valley is looked for or found."""
    place = (cut.population, cut.marker)
    return place in by_control and (cut.lacks_valley or _is_quantile(panel, place))


def _is_quantile(panel: Panel, place: Place) -> bool:
    template = panel.population(place[0])
    gates = template.gates if template is not None else ()
    return any(isinstance(gate, QuantileGate) and gate.marker == place[1] for gate in gates)


def _uses_control(tube: BatchTube, place: Place, panel: Panel) -> bool:
    """Whether a control moves the tube's cut: not where it has a valley that its template trusts."""
    own = tube.own.cuts.get(place)
    return _is_quantile(panel, place) or own is None or own.lacks_valley


def _is_in_need(tube: BatchTube, panel: Panel) -> bool:
    """Whether any of a tube's gates would take a cut of its batch, were a better one offered."""
    return any(
        _own_quality(cut) < BORROW_BELOW_QUALITY and borrows_from(panel, place, "group") for place, cut in tube.own.cuts.items()
    )


def _own_quality(cut: FoundCut) -> float:
    """Quality of a tube's own valley: 0 where a limit was drawn without one, whose edge says something else than a valley's."""
    return 0.0 if cut.lacks_valley or cut.quality is None else cut.quality


def _wants(tube: BatchTube, offered: OutsideCut, panel: Panel) -> bool:
    """Whether a tube takes a cut of its batch: its template allows it, and its own valley is poor and the worse one."""
    place = (offered.population, offered.marker)
    own = tube.own.cuts.get(place)
    if own is None or not borrows_from(panel, place, "group"):
        return False
    quality = _own_quality(own)
    return quality < BORROW_BELOW_QUALITY and (offered.quality or 0.0) > quality


def _as_outside(control: ControlCut) -> OutsideCut:
    return OutsideCut(
        population=control.population,
        marker=control.marker,
        kind="control",
        value=control.value,
        quality=None,
        draws=control.draws,
        lacks_valley=True,
    )


def _of_gates(
    tube: BatchTube, cuts: Iterable[JointCut], used: Sequence[JointCut], lent: Mapping[Place, OutsideCut]
) -> list[GateFinding]:
    found = [
        GateFinding(population=cut.population, finding=finding)
        for cut in cuts
        if cut in used or tube.run_id in cut.shifted
        for finding in cut_findings(tube.run_id, cut, tube.own)
    ]
    for population, marker in sorted(lent):
        found.append(
            GateFinding(
                population=population,
                finding=Finding(
                    code="CUT_FROM_GROUP",
                    severity=Severity.NOTE,
                    where=f"Acquisition '{tube.own.acquisition}', population '{population}'.",
                    message=f"Its own valley on {marker} is poor or absent; that of the staining batch was offered.",
                    remedy="Look at the plot before the number is used.",
                ),
            )
        )
    return found


def _frozen_finding(tube: BatchTube, markers: Sequence[str]) -> Finding:
    listed = ", ".join(dict.fromkeys(markers))
    return Finding(
        code="CUTS_FROZEN",
        severity=Severity.NOTE,
        where=f"Acquisition '{tube.own.acquisition}'.",
        message=f"A person has decided about numbers of the subject's earlier visits; their cuts on {listed} were taken over, "
        "not found anew.",
        remedy="None needed: reviewed numbers never move with a later visit.",
    )


def foundations(panel: Panel, name: str) -> frozenset[str]:
    """Name the populations a population rests on: itself, those above it, and those whose cuts or events its gates refer to."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        template = panel.population(waiting.pop())
        if template is None or template.name in found:
            continue
        found.add(template.name)
        waiting += [template.parent, *(one for gate in template.gates for one in populations_of_gate(gate))]
    return frozenset(found)


def missing_controls(batch: str, asked: Iterable[str], there: Iterable[str]) -> tuple[Finding, ...]:
    """Say for which markers a panel asks for an FMO that the batch does not have."""
    missing = sorted(set(asked) - set(there))
    if not missing:
        return ()
    return (
        Finding(
            code="FMO_MISSING",
            severity=Severity.NOTE,
            where=f"Staining batch '{batch}'.",
            message=f"The panel places cuts by FMO on {', '.join(missing)}, and the batch has no usable one; where there is no "
            "valley, a population known to be negative stands in.",
            remedy="Stain an FMO of these markers with every batch.",
        ),
    )
