"""Gating templates: which markers a panel has, which populations it tells apart, and how each is found.

Knows the declarations a scientist reads and edits. Must not know events, files or results. Refuses templates that contradict
themselves, with all contradictions at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from biomarkers.cytometry.methods import (
    BORROWED_WORDS,
    BooleanGate,
    EllipseGate,
    FixedGate,
    Gate,
    MixtureGate,
    PopulationName,
    Positive,
    QuantileGate,
    SeedGate,
    SeedSide,
    SharedGate,
    Sign,
    SingletGate,
    TailGate,
    ValleyGate,
    Window,
    markers_of_gate,
    populations_of_gate,
)
from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.provenance import content_digest

__all__ = [
    "BORROWED_WORDS",
    "ROOT",
    "AsinhScale",
    "BooleanGate",
    "EllipseGate",
    "Exclusive",
    "Expectation",
    "FixedGate",
    "Gate",
    "GateTemplate",
    "Identity",
    "LinearScale",
    "LogicleScale",
    "Marker",
    "MixtureGate",
    "Panel",
    "PopulationName",
    "Positive",
    "QuantileGate",
    "Scale",
    "SeedGate",
    "SeedSide",
    "SharedGate",
    "Sign",
    "SingletGate",
    "TailGate",
    "ValleyGate",
    "Window",
    "ingredients_of",
    "markers_of",
    "markers_of_gate",
    "required_markers_of",
]

ROOT = "root"
"""Parent of the first populations: every event of the acquisition."""

FEWEST_COUNTED = 50
"""Events of a population below which its number is flagged unless the template says otherwise: a count of 50 has a coefficient
of variation of 14 %, and 50 is the usual limit of quantification of cytometry (CLSI H62, 2021, leaves the number to the
laboratory)."""


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
    """The values as they are: scatter, and data that come scaled already."""

    kind: Literal["linear", "none"]


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
        Markers that would prove the population pure; where the file has none of them the numbers say so.
    min_count
        Events of the population itself below which its number is flagged: its limit of quantification.
    definition
        How the population is defined, in the words of the field, where laboratories differ.
    """

    name: PopulationName
    parent: PopulationName = ROOT
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    min_events: Annotated[int, Field(ge=1)] = 100
    expected_percent: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=100)]] | None = None
    required: bool = True
    pass_through: bool = False
    purity_markers: tuple[str, ...] = ()
    min_count: Annotated[int, Field(ge=1)] = FEWEST_COUNTED
    definition: str = ""


class Exclusive(_Declaration):
    """Two markers no cell of a population carries together; if they rise together there, compensation does not resolve."""

    markers: tuple[str, str]
    among: PopulationName


class Expectation(_Declaration):
    """What a marker's ranks show in every sample.

    Attributes
    ----------
    beside
        Another marker: then ``least`` and ``most`` bound their rank correlation on cells with the anchor. Without it they bound
        how often a cell with the anchor has more of the marker than a cell without, 0.5 meaning neither more nor less.
    """

    marker: str
    beside: str | None = None
    least: float | None = None
    most: float | None = None


class Identity(_Declaration):
    """How to see that channels carry the markers their names say.

    Attributes
    ----------
    anchor
        A marker that is taken for granted, because most would notice it missing: CD3.
    scatter
        Two channels of light scatter, in which cells like the anchored ones are looked for.
    exchangeable
        Markers whose names may have been exchanged among each other.
    on_contradiction
        ``"reject"`` reports nothing; ``"rename"`` gates with the names set right, with a finding, where exactly one exchange
        agrees with everything: for archives whose columns are known to have been shuffled, never for a trial.
    """

    anchor: str
    scatter: tuple[str, str]
    exchangeable: tuple[str, ...] = ()
    expect: Annotated[tuple[Expectation, ...], Field(min_length=1)]
    on_contradiction: Literal["reject", "rename"] = "reject"


class DeclaredSpillover(_Declaration):
    """A spillover matrix the laboratory computed itself, for files that carry none or a wrong one.

    Attributes
    ----------
    detectors
        As the files name them ($PnN).
    rows
        One a dye, in the order of the detectors: its light in each of them, relative to its own.
    """

    detectors: Annotated[tuple[str, ...], Field(min_length=1)]
    rows: tuple[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], ...]

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        size = len(self.detectors)
        if len(self.rows) != size or any(len(row) != size for row in self.rows):
            raise ValueError(f"a spillover matrix of {size} detectors has {size} rows of {size} numbers")
        if len(set(self.detectors)) != size or any(row[place] <= 0 for place, row in enumerate(self.rows)):
            raise ValueError("each detector stands once, and each dye shines in its own")
        return self


class Panel(_Declaration):
    """A gating template.

    Attributes
    ----------
    data
        ``"raw"`` as acquired; ``"scaled"`` already compensated and transformed, as published data often are.
    compensation
        ``"embedded"`` takes the file's own matrix and refuses numbers without one; ``"panel"`` takes the one declared here as
        ``spillover``, whatever the file carries; ``"none"`` for data unmixed already.
    exclusive
        What tells whether the compensation resolves.
    identity
        What tells whether channels bear the right names.
    quality
        Limits an acquisition is held against before its gates are believed, each with its source.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]
    title: str
    version: Annotated[int, Field(ge=1)] = 1
    data: Literal["raw", "scaled"] = "raw"
    compensation: Literal["embedded", "panel", "none"] = "embedded"
    spillover: DeclaredSpillover | None = None
    exclusive: tuple[Exclusive, ...] = ()
    identity: Identity | None = None
    quality: QualityLimits = QualityLimits()
    markers: Annotated[tuple[Marker, ...], Field(min_length=1)]
    populations: Annotated[tuple[GateTemplate, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.compensation == "panel") != (self.spillover is not None):
            raise ValueError("'spillover' is declared where compensation = \"panel\", and only there")
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
        for word in (ROOT, *sorted(BORROWED_WORDS)):
            if any(population.name == word for population in self.populations):
                yield f"'{word}' has a meaning of its own and cannot be a population"

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
        if self.identity is not None:
            expected = [name for one in self.identity.expect for name in (one.marker, one.beside) if name is not None]
            for name in dict.fromkeys([self.identity.anchor, *self.identity.scatter, *self.identity.exchangeable, *expected]):
                if name not in known:
                    yield f"'identity' names marker '{name}', which the panel does not declare"

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
                if isinstance(gate, ValleyGate | TailGate | QuantileGate | MixtureGate | FixedGate | SharedGate):
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
        yield from markers_of_gate(gate)


def required_markers_of(population: GateTemplate) -> Iterator[str]:
    """Name every marker without which the population cannot be told apart."""
    for gate in population.gates:
        if not (isinstance(gate, ValleyGate) and gate.where_present):
            yield from markers_of_gate(gate)


def ingredients_of(population: GateTemplate) -> tuple[str, ...]:
    """Name the populations a population is combined of, each once."""
    gates = [gate for gate in population.gates if isinstance(gate, BooleanGate)]
    return tuple(dict.fromkeys(name for gate in gates for name in populations_of_gate(gate)))


def _references(population: GateTemplate) -> Iterator[str]:
    for gate in population.gates:
        yield from populations_of_gate(gate)
