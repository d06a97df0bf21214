"""A template applied to an acquisition: gates, memberships, and how far each gate can be trusted.

Knows how populations hang together and when a number must not be trusted. Must not know which frequencies a study reports, nor
any file. The same events and template always give the same memberships: nothing here depends on time, on the order of files or
on an unseeded generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from biomarkers.cytometry import cuts as placing
from biomarkers.cytometry.acquisition import Acquisition, quality_findings
from biomarkers.cytometry.compensation import compensate, resolution_findings
from biomarkers.cytometry.cuts import NO_VALLEY_QUALITY, Column, Cut, Mask, Scene, Selection
from biomarkers.cytometry.markers import match_markers
from biomarkers.cytometry.panel import (
    ROOT,
    AsinhScale,
    BooleanGate,
    FixedGate,
    Gate,
    GateTemplate,
    LinearScale,
    LogicleScale,
    Marker,
    Panel,
    QuantileGate,
    SeedGate,
    SharedGate,
    SingletGate,
    TailGate,
    ValleyGate,
    markers_of,
)
from biomarkers.cytometry.transforms import Asinh, Linear, Logicle, Transform, estimate_width
from biomarkers.errors import GatingError
from biomarkers.results import Finding, Severity

OneSidedGate: TypeAlias = ValleyGate | SharedGate | TailGate | QuantileGate | FixedGate

WEAK_VALLEY_QUALITY = 0.3
"""Quality below which a cut is reported with a warning; in the 13 healthy EuroFlow files such cuts were off by points."""

LEAST_PERCENT_BEYOND = 10.0
"""Events beyond a scatter limit, in percent, from which a limit drawn without a valley cuts through something."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GatedPopulation:
    """One population's members.

    Attributes
    ----------
    membership
        One boolean an event, in file order.
    findings
        About this population alone; those of its ancestors are not repeated here.
    """

    name: str
    parent: str
    membership: Mask
    cuts: tuple[Cut, ...]
    findings: tuple[Finding, ...]

    @property
    def quality(self) -> float | None:
        """The worst quality of its cuts; None where no cut has one."""
        qualities = [cut.quality for cut in self.cuts if cut.quality is not None]
        return min(qualities) if qualities else None

    @property
    def count(self) -> int:
        """Number of members."""
        return int(np.count_nonzero(self.membership))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gating:
    """An acquisition gated by a panel.

    Attributes
    ----------
    populations
        By name, in the template's order.
    linear
        Compensated linear values by marker, of every marker found.
    scaled
        The same on the display scale, of the markers gates use.
    findings
        About the acquisition as a whole.
    """

    acquisition: str
    panel: Panel
    event_count: int
    populations: Mapping[str, GatedPopulation]
    linear: Mapping[str, Column]
    scaled: Mapping[str, Column]
    findings: tuple[Finding, ...]

    @property
    def membership(self) -> Mapping[str, Mask]:
        """Membership by population."""
        return {name: population.membership for name, population in self.populations.items()}

    def parent_membership(self, name: str) -> Mask:
        """Membership of a population's parent."""
        parent = self.populations[name].parent
        return np.ones(self.event_count, dtype=np.bool_) if parent == ROOT else self.populations[parent].membership


def gate_acquisition(acquisition: Acquisition, panel: Panel) -> Gating:
    """Find every population of the panel.

    Raises
    ------
    GatingError
        The acquisition lacks markers the panel requires, or its events are scaled otherwise than the panel says.
    """
    check_scale(acquisition, panel)
    columns = match_markers(panel, acquisition)
    compensated = compensate(acquisition, panel, columns)
    declared = {marker.name: marker for marker in panel.markers}
    linear = {name: np.ascontiguousarray(compensated.values[:, column]) for name, column in columns.items()}
    gated = {name for population in panel.populations for name in markers_of(population)}
    gated |= {name for pair in panel.exclusive for name in pair.markers}
    scaled = {
        name: choose_transform(declared[name], panel, values, acquisition.channels[columns[name]].top).apply(values)
        for name, values in linear.items()
        if name in gated
    }
    work = _Work(name=acquisition.name, panel=panel, event_count=acquisition.event_count, scaled=scaled)
    for template in panel.populations:
        work.populations[template.name] = work.gate(template)
    members = {name: population.membership for name, population in work.populations.items()}
    findings = (
        *acquisition.findings,
        *quality_findings(acquisition),
        *compensated.findings,
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
    )


def check_scale(acquisition: Acquisition, panel: Panel) -> None:
    """Refuse events that say of themselves that they were compensated and scaled, where the panel expects them as acquired.

    Raises
    ------
    GatingError
        The file's keyword DATA_SCALE contradicts the panel.
    """
    said = acquisition.keywords.get("DATA_SCALE", "")
    if panel.data == "raw" and "scaled" in said.casefold():
        raise GatingError(
            what=f"The file says its values are '{said}'; panel '{panel.name}' would compensate and scale them again.",
            where=f"Acquisition '{acquisition.name}', keyword DATA_SCALE.",
            remedy='Use a panel with data = "scaled", or drop the file as the cytometer wrote it.',
        )


def choose_transform(marker: Marker, panel: Panel, values: Column, top: float) -> Transform:
    """Return the scale a marker is gated on; a logicle's width follows from the values unless the panel gives it."""
    if panel.data == "scaled" or (marker.scale is None and marker.kind == "scatter"):
        return Linear()
    match marker.scale:
        case LinearScale():
            return Linear()
        case AsinhScale(cofactor=cofactor):
            return Asinh(cofactor=cofactor)
        case LogicleScale() | None:
            given = marker.scale or LogicleScale()
            upper = given.top or _reach(values, top)
            width = estimate_width(values, upper) if given.width is None else given.width
            return Logicle(top=upper, width=width)


def _reach(values: Column, top: float) -> float:
    """Return the channel's range, or a wider power of two where software rescaled the events and left the range as it was."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return top
    high = float(np.percentile(finite, 99.9))
    return top if 0 < high <= top else float(2.0 ** np.ceil(np.log2(max(high, 1.0))))


@dataclass(slots=True, kw_only=True)
class _Work:
    """What is known while the populations are gated one after another."""

    name: str
    panel: Panel
    event_count: int
    scaled: Mapping[str, Column]
    populations: dict[str, GatedPopulation] = field(default_factory=dict)

    def members(self, name: str) -> Mask:
        return np.ones(self.event_count, dtype=np.bool_) if name == ROOT else self.populations[name].membership

    def gate(self, template: GateTemplate) -> GatedPopulation:
        """Find one population; trouble becomes findings, so that the others are gated all the same."""
        parent = self.members(template.parent)
        missing = [name for name in dict.fromkeys(markers_of(template)) if name not in self.scaled]
        if missing:
            return self._without_markers(template, parent, missing)
        findings: list[Finding] = []
        parent_count = int(np.count_nonzero(parent))
        if parent_count < template.min_events:
            findings.append(
                self._finding(
                    "FEW_EVENTS",
                    Severity.REJECT,
                    template,
                    f"'{template.parent}' holds {parent_count} events; '{template.name}' needs {template.min_events}.",
                    "Acquire more events of this tube.",
                )
            )
        kept = parent.copy()
        cuts: list[Cut] = []
        for gate in template.gates:
            selection = self._select(template, gate, parent, kept)
            if selection is None:
                findings.append(self._no_cut(template, gate))
                kept = np.zeros(self.event_count, dtype=np.bool_)
                continue
            kept = kept & selection.mask
            cuts.extend(selection.cuts)
            findings.extend(self._unresolved(template, selection))
        population = GatedPopulation(
            name=template.name, parent=template.parent, membership=kept, cuts=tuple(cuts), findings=tuple(findings)
        )
        return replace(population, findings=(*findings, *self._judge(template, population, parent_count)))

    def _without_markers(self, template: GateTemplate, parent: Mask, missing: list[str]) -> GatedPopulation:
        listed = ", ".join(missing)
        if template.pass_through:
            finding = self._finding(
                "MARKER_MISSING",
                Severity.WARNING,
                template,
                f"The file has no channel for {listed}; all of '{template.parent}' is taken as '{template.name}'.",
                "Stain with the panel's full set of markers.",
            )
            membership = parent.copy()
        else:
            finding = self._finding(
                "MARKER_MISSING",
                Severity.REJECT,
                template,
                f"The file has no channel for {listed}, without which this population cannot be told apart.",
                "Stain with the panel's full set of markers.",
            )
            membership = np.zeros(self.event_count, dtype=np.bool_)
        return GatedPopulation(name=template.name, parent=template.parent, membership=membership, cuts=(), findings=(finding,))

    def _select(self, template: GateTemplate, gate: Gate, parent: Mask, kept: Mask) -> Selection | None:
        """Apply one gate; None where it cannot be placed."""
        scene = Scene(
            population=template.name,
            scaled=self.scaled,
            members={name: population.membership for name, population in self.populations.items()},
            cuts={name: population.cuts for name, population in self.populations.items()},
            parent=parent,
            kept=kept,
        )
        match gate:
            case BooleanGate():
                return Selection(cuts=(), mask=self._combined(gate))
            case SingletGate():
                return placing.select_singlets(scene, gate)
            case SeedGate():
                return placing.select_around_seed(scene, gate)
            case _:
                cut = _place(scene, gate)
        if self._passes(gate, cut):
            return Selection(cuts=(), mask=kept)
        return None if cut is None else Selection(cuts=(cut,), mask=cut.keeps(self.scaled[gate.marker]))

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

    def _combined(self, gate: BooleanGate) -> Mask:
        mask = np.ones(self.event_count, dtype=np.bool_)
        for name in gate.all_of:
            mask &= self.members(name)
        if gate.any_of:
            mask &= np.logical_or.reduce([self.members(name) for name in gate.any_of])
        for name in gate.none_of:
            mask &= ~self.members(name)
        return mask

    def _unresolved(self, template: GateTemplate, selection: Selection) -> list[Finding]:
        return [
            self._finding(
                "SCATTER_UNRESOLVED",
                Severity.WARNING,
                template,
                f"{percent:.0f} % of events lie beyond the limit on {marker}, and no valley parts them.",
                "Look at the scatter plot; correct the gate by hand if other cells reach into it.",
            )
            for marker, percent in selection.unresolved.items()
            if percent > LEAST_PERCENT_BEYOND
        ]

    def _judge(self, template: GateTemplate, population: GatedPopulation, parent_count: int) -> list[Finding]:
        """Say what speaks against a population's number."""
        findings = []
        for cut in population.cuts:
            if cut.quality is None or cut.quality >= WEAK_VALLEY_QUALITY:
                continue
            rejected = cut.quality < NO_VALLEY_QUALITY
            findings.append(
                self._finding(
                    "NO_VALLEY" if rejected else "WEAK_VALLEY",
                    Severity.REJECT if rejected else Severity.WARNING,
                    template,
                    f"Negative and positive are not told apart on {cut.marker}: quality {cut.quality:.2f} ({cut.origin}).",
                    "Look at the plot: check staining, compensation and voltage of this channel.",
                )
            )
        known = {marker.name for marker in self.panel.markers}
        if template.purity_markers and not known & set(template.purity_markers):
            findings.append(
                self._finding(
                    "PURITY_UNVERIFIED",
                    Severity.NOTE,
                    template,
                    f"The panel stains neither {' nor '.join(template.purity_markers)}, so cells of like scatter may be in.",
                    "Read the number as an upper estimate; add one of these markers to prove purity.",
                )
            )
        if template.expected_percent is not None and parent_count >= template.min_events:
            low, high = template.expected_percent
            percent = 100.0 * population.count / parent_count
            if not low <= percent <= high:
                findings.append(
                    self._finding(
                        "UNEXPECTED_FREQUENCY",
                        Severity.WARNING,
                        template,
                        f"{percent:.1f} % of '{template.parent}' is outside the expected {low:g} to {high:g} %.",
                        "Look at the plot before the number is used.",
                    )
                )
        return findings

    def _no_cut(self, template: GateTemplate, gate: Gate) -> Finding:
        places = ", ".join(dict.fromkeys(markers_of(template.model_copy(update={"gates": (gate,)}))))
        return self._finding(
            "NO_VALLEY",
            Severity.REJECT,
            template,
            f"There are too few events, or all are alike, to place a cut on {places}.",
            "Check that the tube was stained and acquired; acquire more events.",
        )

    def _finding(self, code: str, severity: Severity, template: GateTemplate, message: str, remedy: str) -> Finding:
        where = f"Acquisition '{self.name}', population '{template.name}'."
        return Finding(code=code, severity=severity, where=where, message=message, remedy=remedy)


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
        case FixedGate():
            return placing.fixed_cut(gate)
