"""Gating templates: which markers a panel has, which populations it tells apart, and how each is found.

Knows the declarations a scientist reads and edits. Must not know events, files or results. Refuses templates that contradict
themselves, with all contradictions at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from biomarkers.provenance import content_digest

ROOT = "root"
"""Parent of the first populations: every event of the acquisition."""

Sign: TypeAlias = Literal["+", "-"]
PopulationName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=60)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]


class _Declaration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogicleScale(_Declaration):
    """Logicle; width from the data of each acquisition, top from the channel's range, unless given here."""

    kind: Literal["logicle"] = "logicle"
    width: Annotated[float, Field(ge=0, lt=2.25)] | None = None
    top: Positive | None = None


class AsinhScale(_Declaration):
    """Inverse hyperbolic sine."""

    kind: Literal["asinh"]
    cofactor: Positive = 150.0


class LinearScale(_Declaration):
    """The values as they are."""

    kind: Literal["linear"]


Scale: TypeAlias = Annotated[LogicleScale | AsinhScale | LinearScale, Field(discriminator="kind")]


class Marker(_Declaration):
    """A channel the template speaks of, by the name gates use.

    Attributes
    ----------
    name
        As gates, medians and cuts name it: "CD3", or "FSC-A" for light scatter.
    aliases
        Other ways operators write it; upper and lower case, spaces, hyphens and dots never matter.
    kind
        Scatter is found by detector name, is never compensated and stays linear.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    aliases: tuple[str, ...] = ()
    kind: Literal["fluorescence", "scatter"] = "fluorescence"
    scale: Scale | None = None


class ValleyGate(_Declaration):
    """Cut one marker at the density's valley.

    Attributes
    ----------
    among
        Whether the valley is looked for in the parent, or in what this population's earlier gates left of it.
    pool_with
        A population added to it, at most as many events, when it holds too few negatives of its own.
    borrow
        Populations whose own valley is used when this one has none, or a clearly worse one.
    choice
        Where a dim population lies between negatives and positives: ``"deepest"`` cuts where the density is lowest,
        ``"highest"`` always above the dim ones.
    adjust
        Factor on the bandwidth: larger smooths more.
    without
        What to do where there is no valley at all: part by a mixture, which never is reportable, or pass every event, for a
        gate that removes a population many people do not have.
    within
        Limits, on the marker's scale, outside which a cut is not believed.
    """

    method: Literal["valley"]
    marker: str
    sign: Sign
    among: Literal["parent", "remaining"] = "parent"
    pool_with: PopulationName | None = None
    borrow: tuple[PopulationName, ...] = ()
    choice: Literal["deepest", "highest"] = "deepest"
    adjust: Positive = 1.5
    without: Literal["mixture", "pass"] = "mixture"
    within: tuple[float, float] | None = None


class SharedGate(_Declaration):
    """Use another population's cut of the same marker, so that one side's events are never the other's."""

    method: Literal["shared"]
    marker: str
    sign: Sign
    of: PopulationName


class TailGate(_Declaration):
    """Cut at a distance from a peak, for a marker whose other side forms no peak of its own.

    Attributes
    ----------
    peak
        The highest peak, or the one with the least or the greatest values.
    side
        On which side of the peak the cut lies; the peak's width is measured on its other side.
    widths
        Distance in standard deviations of the peak.
    """

    method: Literal["tail"]
    marker: str
    sign: Sign
    among: Literal["parent", "remaining"] = "parent"
    peak: Literal["highest", "lower", "upper"] = "highest"
    side: Literal["above", "below"] = "above"
    widths: Positive = 3.0
    adjust: Positive = 1.5


class QuantileGate(_Declaration):
    """Cut at a quantile of a population known to be negative (or positive) for the marker."""

    method: Literal["quantile"]
    marker: str
    sign: Sign
    of: PopulationName
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99


class FixedGate(_Declaration):
    """Cut at a given place of the marker's scale."""

    method: Literal["fixed"]
    marker: str
    sign: Sign
    cut: float


class SingletGate(_Declaration):
    """Keep events whose pulse area fits their pulse height.

    Attributes
    ----------
    widths
        Standard deviations of the singlets' own area/height ratio kept on each side of the commonest ratio.
    least_excess
        Ratio, relative to the commonest, that is kept whatever the standard deviation: two cells seen as one have at least
        this much more area for their height, while a smaller excess is only a larger cell, such as a monocyte.
    """

    method: Literal["singlet_ratio"]
    area: str
    height: str
    widths: Positive = 3.0
    least_excess: Annotated[float, Field(ge=1)] = 1.2


class SeedSide(_Declaration):
    """One valley that unambiguous cells lie beyond."""

    marker: str
    sign: Sign


class Window(_Declaration):
    """How far from the seed's median, in the seed's robust standard deviations, cells may lie on one channel.

    Attributes
    ----------
    below, above
        Widths kept on either side; no limit where absent.
    valley_above
        Two widths between which the upper limit is set at the lowest density instead, if there is a valley.
    """

    marker: str
    below: Positive | None = None
    above: Positive | None = None
    valley_above: tuple[Positive, Positive] | None = None
    adjust: Positive = 1.0


class SeedGate(_Declaration):
    """Keep cells that look like an unambiguous seed population: the lymphocyte gate drawn around the T cells.

    The seed's sides are applied in order; one after the first counts only where the earlier ones left something to part.
    Windows are applied in order; each later one sees what the earlier ones left.
    """

    method: Literal["around_seed"]
    seed: Annotated[tuple[SeedSide, ...], Field(min_length=1)]
    windows: Annotated[tuple[Window, ...], Field(min_length=1)]


class BooleanGate(_Declaration):
    """Combine populations gated before: in all of these, in at least one of those, in none of the others."""

    method: Literal["boolean"]
    all_of: tuple[PopulationName, ...] = ()
    any_of: tuple[PopulationName, ...] = ()
    none_of: tuple[PopulationName, ...] = ()


Gate: TypeAlias = Annotated[
    ValleyGate | SharedGate | TailGate | QuantileGate | FixedGate | SingletGate | SeedGate | BooleanGate,
    Field(discriminator="method"),
]


class GateTemplate(_Declaration):
    """One population: its parent and the gates an event must pass, all of them.

    Attributes
    ----------
    min_events
        Events of the parent below which nothing is reported.
    expected_percent
        Range of the frequency of parent outside which the number is flagged.
    required
        Whether an acquisition without this population's markers is refused as a whole.
    pass_through
        Without its markers the population is its parent, with a finding: for viability, where no dye was used.
    purity_markers
        Markers that would prove the population pure; where the template has none of them the numbers say so.
    """

    name: PopulationName
    parent: PopulationName = ROOT
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    min_events: Annotated[int, Field(ge=1)] = 100
    expected_percent: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=100)]] | None = None
    required: bool = True
    pass_through: bool = False
    purity_markers: tuple[str, ...] = ()


class Exclusive(_Declaration):
    """Two markers no cell of a population carries together; if they rise together there, compensation does not resolve."""

    markers: tuple[str, str]
    among: PopulationName


class Panel(_Declaration):
    """A gating template.

    Attributes
    ----------
    data
        ``"raw"`` as acquired; ``"scaled"`` already compensated and transformed, as published data often are.
    compensation
        ``"embedded"`` takes the file's own matrix and refuses numbers without one; ``"none"`` for data unmixed already.
    exclusive
        What tells whether the compensation resolves.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]
    title: str
    version: Annotated[int, Field(ge=1)] = 1
    data: Literal["raw", "scaled"] = "raw"
    compensation: Literal["embedded", "none"] = "embedded"
    exclusive: tuple[Exclusive, ...] = ()
    markers: Annotated[tuple[Marker, ...], Field(min_length=1)]
    populations: Annotated[tuple[GateTemplate, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._doubled(), *self._unknown_markers(), *self._unknown_populations()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _doubled(self) -> Iterator[str]:
        for kind, names in (
            ("marker", [marker.name for marker in self.markers]),
            ("population", [population.name for population in self.populations]),
        ):
            for name, count in Counter(names).items():
                if count > 1:
                    yield f"{kind} '{name}' is declared {count} times"
        if any(population.name == ROOT for population in self.populations):
            yield f"'{ROOT}' means all events and cannot be a population"

    def _unknown_markers(self) -> Iterator[str]:
        known = {marker.name for marker in self.markers}
        for population in self.populations:
            for name in dict.fromkeys(markers_of(population)):
                if name not in known:
                    yield f"population '{population.name}' uses marker '{name}', which the panel does not declare"
        for pair in self.exclusive:
            for name in pair.markers:
                if name not in known:
                    yield f"'exclusive' names marker '{name}', which the panel does not declare"

    def _unknown_populations(self) -> Iterator[str]:
        earlier = {ROOT}
        cut_by: set[tuple[str, str]] = set()
        for population in self.populations:
            for name in dict.fromkeys([population.parent, *_references(population)]):
                if name not in earlier:
                    yield f"population '{population.name}' refers to '{name}', which is not declared before it"
            for gate in population.gates:
                if isinstance(gate, SharedGate) and gate.of in earlier and (gate.of, gate.marker) not in cut_by:
                    yield f"population '{population.name}' shares a cut of '{gate.marker}' that '{gate.of}' does not make"
                if isinstance(gate, ValleyGate | TailGate | QuantileGate | FixedGate | SharedGate):
                    cut_by.add((population.name, gate.marker))
            earlier.add(population.name)
        for pair in self.exclusive:
            if pair.among not in earlier:
                yield f"'exclusive' names population '{pair.among}', which the panel does not declare"

    def population(self, name: str) -> GateTemplate | None:
        """Return the population of that name, or None."""
        return next((population for population in self.populations if population.name == name), None)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return the populations above the named one, its parent first, without the root."""
        above: list[str] = []
        current = self.population(name)
        while current is not None and current.parent != ROOT:
            above.append(current.parent)
            current = self.population(current.parent)
        return tuple(above)

    def digest(self) -> str:
        """SHA-256 of the template's content, the same for equal content however the file was laid out."""
        return content_digest(self.model_dump(mode="json"))


def markers_of(population: GateTemplate) -> Iterator[str]:
    """Name every marker a population's gates need."""
    for gate in population.gates:
        match gate:
            case SingletGate():
                yield from (gate.area, gate.height)
            case SeedGate():
                yield from (side.marker for side in gate.seed)
                yield from (window.marker for window in gate.windows)
            case BooleanGate():
                pass
            case _:
                yield gate.marker


def _references(population: GateTemplate) -> Iterator[str]:
    for gate in population.gates:
        match gate:
            case ValleyGate():
                yield from gate.borrow
                if gate.pool_with is not None:
                    yield gate.pool_with
            case SharedGate() | QuantileGate():
                yield gate.of
            case BooleanGate():
                yield from (*gate.all_of, *gate.any_of, *gate.none_of)
            case _:
                pass
