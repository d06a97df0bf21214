"""A template applied to an acquisition: gates, memberships, and how far each gate can be trusted.

Knows how populations hang together. Must not know which frequencies a study reports, nor any file. The same events and template
always give the same memberships: nothing here depends on time, on the order of files or on an unseeded generator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from biomarkers.cytometry import cloud_gates
from biomarkers.cytometry import cuts as placing
from biomarkers.cytometry.acquisition import Acquisition, quality_findings
from biomarkers.cytometry.compensation import compensate, resolution_findings
from biomarkers.cytometry.cuts import Column, Cut, Mask, Scene, Selection
from biomarkers.cytometry.ellipses import Ellipse
from biomarkers.cytometry.gated import GatedPopulation, Gating, OutsideCut
from biomarkers.cytometry.identity import check_identity, identity_markers
from biomarkers.cytometry.judging import LEAST_PERCENT_BEYOND, WEAK_VALLEY_QUALITY, Judge
from biomarkers.cytometry.markers import match_markers
from biomarkers.cytometry.panel import (
    ROOT,
    BooleanGate,
    EllipseGate,
    FixedGate,
    Gate,
    GateTemplate,
    MixtureGate,
    Panel,
    QuantileGate,
    SeedGate,
    SharedGate,
    SingletGate,
    TailGate,
    ValleyGate,
    ingredients_of,
    markers_of,
    required_markers_of,
)
from biomarkers.cytometry.scales import check_scale, choose_transform
from biomarkers.cytometry.transforms import Transform

__all__ = [
    "LEAST_PERCENT_BEYOND",
    "WEAK_VALLEY_QUALITY",
    "GatedPopulation",
    "Gating",
    "OutsideCut",
    "check_scale",
    "choose_transform",
    "gate_acquisition",
]

_ORIGINS = {"joint": "joint with other visits", "control": "quantile of control"}
"""What is said of cuts from outside that are not lent."""

OneSidedGate: TypeAlias = ValleyGate | SharedGate | TailGate | QuantileGate | MixtureGate | FixedGate


def gate_acquisition(
    acquisition: Acquisition,
    panel: Panel,
    *,
    outside: Sequence[OutsideCut] = (),
    controls: Mapping[str, Gating] = MappingProxyType({}),
    usable: Mask | None = None,
) -> Gating:
    """Find every population of the panel.

    Parameters
    ----------
    outside
        Cuts from other acquisitions; none in an acquisition's own first result, which depends on its own events only.
    controls
        The batch's FMO controls, gated by the same panel, by the marker they lack.
    usable
        One boolean an event, in file order: events that may belong to populations; by default all.

    Raises
    ------
    GatingError
        The acquisition lacks markers the panel requires, or its events are scaled otherwise than the panel says.
    """
    check_scale(acquisition, panel)
    columns = match_markers(panel, acquisition)
    compensated = compensate(acquisition, panel, columns)
    needed = {name for population in panel.populations for name in markers_of(population)}
    needed |= {name for pair in panel.exclusive for name in pair.markers}
    linear = {name: np.ascontiguousarray(compensated.values[:, column]) for name, column in columns.items()}
    identity = check_identity(acquisition.name, panel, {name: linear[name] for name in identity_markers(panel) & set(linear)})
    linear |= {name: linear[carrier] for name, carrier in identity.carriers.items()}
    columns = {**columns, **{name: columns[carrier] for name, carrier in identity.carriers.items()}}
    declared = {marker.name: marker for marker in panel.markers}
    transforms = {
        name: choose_transform(declared[name], panel, values, acquisition.channels[columns[name]].top)
        for name, values in linear.items()
        if name in needed
    }
    scaled = {name: transform.apply(linear[name]) for name, transform in transforms.items()}
    work = _Work(
        name=acquisition.name,
        panel=panel,
        event_count=acquisition.event_count,
        scaled=scaled,
        transforms=transforms,
        outside=outside,
        controls=controls,
        usable=usable,
    )
    for template in panel.populations:
        work.populations[template.name] = work.gate(template)
    members = {name: population.membership for name, population in work.populations.items()}
    findings = (
        *acquisition.findings,
        *quality_findings(acquisition, panel.quality),
        *compensated.findings,
        *identity.findings,
        *resolution_findings(acquisition.name, panel, scaled, members),
    )
    return Gating(
        acquisition=acquisition.name,
        panel=panel,
        event_count=acquisition.event_count,
        populations=work.populations,
        linear=linear,
        scaled=scaled,
        findings=findings,
        transforms=transforms,
        spillover=compensated.spillover,
        detectors={name: acquisition.channels[column].detector for name, column in columns.items()},
        usable=usable,
    )


@dataclass(slots=True, kw_only=True)
class _Work:
    """What is known while the populations are gated one after another."""

    name: str
    panel: Panel
    event_count: int
    scaled: Mapping[str, Column]
    transforms: Mapping[str, Transform]
    outside: Sequence[OutsideCut]
    controls: Mapping[str, Gating]
    usable: Mask | None = None
    populations: dict[str, GatedPopulation] = field(default_factory=dict)

    @property
    def judge(self) -> Judge:
        return Judge(acquisition=self.name, panel=self.panel, populations=self.populations, stained=frozenset(self.scaled))

    def members(self, name: str) -> Mask:
        if name != ROOT:
            return self.populations[name].membership
        return np.ones(self.event_count, dtype=np.bool_) if self.usable is None else self.usable

    def gate(self, template: GateTemplate) -> GatedPopulation:
        """Find one population; trouble becomes findings, so that the others are gated all the same."""
        parent = self.members(template.parent)
        missing = [name for name in dict.fromkeys(required_markers_of(template)) if name not in self.scaled]
        if missing:
            return GatedPopulation(
                name=template.name,
                parent=template.parent,
                membership=parent.copy() if template.pass_through else np.zeros(self.event_count, dtype=np.bool_),
                cuts=(),
                findings=(self.judge.missing_markers(template, missing),),
            )
        parent_count = int(np.count_nonzero(parent))
        findings = [self.judge.few_events(template, parent_count)] if parent_count < template.min_events else []
        kept = parent.copy()
        cuts: list[Cut] = []
        shapes: list[Ellipse] = []
        for gate in template.gates:
            if isinstance(gate, ValleyGate) and gate.where_present and gate.marker not in self.scaled:
                continue
            selection = self._select(template, gate, parent, kept)
            if selection is None:
                findings.append(self.judge.no_cut(template, gate))
                kept = np.zeros(self.event_count, dtype=np.bool_)
                continue
            kept = kept & selection.mask
            cuts.extend(selection.cuts)
            shapes.extend(selection.ellipses)
            findings.extend(self.judge.unresolved(template, selection))
        population = GatedPopulation(
            name=template.name,
            parent=template.parent,
            membership=kept,
            cuts=tuple(cuts),
            findings=(),
            ellipses=self._crowded(parent, cuts, shapes),
            combined_quality=self._combined_quality(template),
        )
        findings.extend(self.judge.population(template, population, parent_count))
        return replace(population, findings=tuple(findings))

    def _select(self, template: GateTemplate, gate: Gate, parent: Mask, kept: Mask) -> Selection | None:
        """Apply one gate; None where it cannot be placed."""
        scene = Scene(
            population=template.name,
            scaled=self.scaled,
            members={name: population.membership for name, population in self.populations.items()},
            cuts={name: population.cuts for name, population in self.populations.items()},
            parent=parent,
            kept=kept,
            above=template.parent,
            lent=self._lent(template.name),
            controls=self._control_values(template, gate),
            control_cut=self._control_cut(template, gate),
        )
        match gate:
            case BooleanGate():
                return Selection(cuts=(), mask=self._combined(gate))
            case SingletGate():
                return cloud_gates.select_singlets(scene, gate)
            case SeedGate():
                return cloud_gates.select_around_seed(scene, gate)
            case EllipseGate():
                return cloud_gates.select_in_ellipse(scene, gate)
            case SharedGate():
                cut = placing.shared_cut(scene, gate)
            case _:
                joint = self._outside_cut(template.name, gate.marker, "joint")
                cut = _place(scene, gate) if joint is None else replace(joint, sign=gate.sign)
        if self._passes(gate, cut):
            return Selection(cuts=(), mask=kept)
        return None if cut is None else Selection(cuts=(cut,), mask=cut.keeps(self.scaled[gate.marker]))

    def _crowded(self, parent: Mask, cuts: Sequence[Cut], shapes: Sequence[Ellipse]) -> tuple[Ellipse, ...]:
        """Count the events just outside each ellipse that all other gates of the population would keep."""
        crowded = []
        for number, shape in enumerate(shapes):
            others = parent.copy()
            for cut in cuts:
                if cut.marker in self.scaled:
                    others &= cut.keeps(self.scaled[cut.marker])
            for other in (*shapes[:number], *shapes[number + 1 :]):
                others &= other.keeps(*(self.scaled[marker] for marker in other.markers))
            x, y = (self.scaled[marker][others] for marker in shape.markers)
            crowded.append(replace(shape, beyond_percent=shape.percent_just_outside(x, y)))
        return tuple(crowded)

    def _lent(self, population: str) -> Mapping[str, tuple[Cut, ...]]:
        """Cuts lent from elsewhere, by marker, on this acquisition's scale."""
        lent: dict[str, tuple[Cut, ...]] = {}
        for outside in self.outside:
            lends = outside.kind in {"visits", "group"} and outside.population == population
            if lends and outside.marker in self.transforms:
                lent[outside.marker] = (*lent.get(outside.marker, ()), self._on_scale(outside))
        return lent

    def _outside_cut(self, population: str, marker: str, kind: str) -> Cut | None:
        wanted = (population, marker, kind)
        return next(
            (
                self._on_scale(outside)
                for outside in self.outside
                if (outside.population, outside.marker, outside.kind) == wanted and marker in self.transforms
            ),
            None,
        )

    def _on_scale(self, outside: OutsideCut) -> Cut:
        values = self.transforms[outside.marker].exact(np.array([outside.value, *outside.draws], dtype=np.float64))
        return Cut(
            marker=outside.marker,
            sign="+",
            value=float(values[0]),
            quality=outside.quality,
            origin=_ORIGINS.get(outside.kind, f"borrowed from {outside.kind}"),
            draws=values[1:],
            lacks_valley=outside.lacks_valley,
        )

    def _control_cut(self, template: GateTemplate, gate: Gate) -> Cut | None:
        if not isinstance(gate, QuantileGate | ValleyGate) or not gate.control:
            return None
        return self._outside_cut(template.name, gate.marker, "control")

    def _control_values(self, template: GateTemplate, gate: Gate) -> Mapping[str, Column]:
        """Linear values of the control's parent population, brought to this acquisition's scale."""
        if not isinstance(gate, QuantileGate | ValleyGate) or not gate.control or gate.marker not in self.controls:
            return {}
        control = self.controls[gate.marker]
        known = template.parent == ROOT or template.parent in control.populations
        if not known or gate.marker not in control.linear:
            return {}
        members = control.root_membership
        if template.parent != ROOT:
            members = control.populations[template.parent].membership
        values = self.transforms[gate.marker].apply(control.linear[gate.marker][members])
        return {gate.marker: values[np.isfinite(values)]}

    def _passes(self, gate: OneSidedGate, cut: Cut | None) -> bool:
        """Whether a gate without a valley lets every event through, itself or where it was shared from."""
        if isinstance(gate, ValleyGate):
            return gate.without == "pass" and (cut is None or not cut.is_trusted)
        if isinstance(gate, SharedGate) and cut is None:
            template = self.panel.population(gate.of)
            origins = template.gates if template is not None else ()
            return any(self._may_pass(origin, gate.marker) for origin in origins)
        return False

    def _may_pass(self, origin: Gate, marker: str) -> bool:
        if isinstance(origin, ValleyGate):
            return origin.marker == marker and origin.without == "pass"
        return isinstance(origin, SharedGate) and origin.marker == marker and self._passes(origin, None)

    def _combined_quality(self, template: GateTemplate) -> float | None:
        qualities = [self.populations[name].quality for name in ingredients_of(template)]
        return min((quality for quality in qualities if quality is not None), default=None)

    def _combined(self, gate: BooleanGate) -> Mask:
        mask = self.members(ROOT).copy()
        for name in gate.all_of:
            mask &= self.members(name)
        if gate.any_of:
            mask &= np.logical_or.reduce([self.members(name) for name in gate.any_of])
        for name in gate.none_of:
            mask &= ~self.members(name)
        return mask


def _place(scene: Scene, gate: OneSidedGate) -> Cut | None:
    match gate:
        case ValleyGate():
            return placing.valley_cut(scene, gate)
        case SharedGate():
            return placing.shared_cut(scene, gate)
        case TailGate():
            return placing.tail_cut(scene, gate)
        case QuantileGate():
            return placing.quantile_cut(scene, gate)
        case MixtureGate():
            return placing.mixture_cut(scene, gate)
        case FixedGate():
            return placing.fixed_cut(scene, gate)
