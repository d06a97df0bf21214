"""The methods a gating template names: how one gate of a population is placed.

Knows the declarations of valley, tail, quantile, mixture, ellipse and their kin. Must not know panels, events or how a method
works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

BORROWED_WORDS = frozenset({"parent", "visits", "group"})
"""Words of ``borrow`` that name no population: the parent, the subject's other visits, the staining batch."""

Sign: TypeAlias = Literal["+", "-"]
PopulationName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=60)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]


class _Declaration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ValleyGate(_Declaration):
    """Cut one marker at the density's valley.

    Attributes
    ----------
    among
        Whether the valley is looked for in the parent, or in what this population's earlier gates left of it.
    pool_with
        A population added to it, at most as many events, when it holds too few negatives of its own.
    borrow
        Where a cut is taken from when this population has no valley, or a clearly worse one: populations by name (a sibling,
        say), ``"parent"``; ``"visits"``, the same subject's other visits, and ``"group"``, the other acquisitions of the
        staining batch. The last two are known only in a second step, over acquisitions that have results of their own.
    choice
        Where a dim population lies between negatives and positives: ``"deepest"`` cuts where the density is lowest,
        ``"highest"`` always above the dim ones.
    adjust
        Factor on the bandwidth: larger smooths more.
    without
        What to do where there is no valley at all: ``"mixture"`` parts by one, which never is reportable; ``"quantile"`` cuts
        at a quantile of the population named ``reference``, which is known to be negative, and says so; ``"pass"`` lets
        every event through, for a gate that removes a population many people do not have.
    reference, quantile
        That population, and its quantile.
    control
        Take the quantile of the parent population in the batch's control for this marker (its FMO) instead of the reference's,
        where one was acquired; known only in a second step.
    within
        Limits, on the marker's scale, outside which a cut is not believed.
    where_present
        Whether the gate is left out where the file has no such marker: for what only some stain, such as CD14.
    """

    method: Literal["valley"]
    marker: str
    sign: Sign
    among: Literal["parent", "remaining"] = "parent"
    pool_with: PopulationName | None = None
    borrow: tuple[PopulationName, ...] = ()
    choice: Literal["deepest", "highest"] = "deepest"
    adjust: Positive = 1.5
    without: Literal["mixture", "pass", "quantile"] = "mixture"
    reference: PopulationName | None = None
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99
    control: bool = False
    within: tuple[float, float] | None = None
    where_present: bool = False

    @model_validator(mode="after")
    def _has_reference(self) -> Self:
        if (self.without == "quantile") != (self.reference is not None):
            raise ValueError(
                "'reference' names the population whose quantile is used where without = 'quantile', and only there"
            )
        if self.control and self.reference is None:
            raise ValueError("'control' takes the place of 'reference', which is needed where no control was acquired")
        return self


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
    of
        A reference population whose peak is meant instead of the parent's.
    """

    method: Literal["tail"]
    marker: str
    sign: Sign
    among: Literal["parent", "remaining"] = "parent"
    of: PopulationName | None = None
    peak: Literal["highest", "lower", "upper"] = "highest"
    side: Literal["above", "below"] = "above"
    widths: Positive = 3.0
    adjust: Positive = 1.5


class QuantileGate(_Declaration):
    """Cut at a quantile of events known to be negative (or positive) for the marker.

    Attributes
    ----------
    of
        A population of the same acquisition.
    control
        Take the parent population of the batch's control for this marker (its FMO) instead, where one was acquired.
    """

    method: Literal["quantile"]
    marker: str
    sign: Sign
    of: PopulationName
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99
    control: bool = False


class MixtureGate(_Declaration):
    """Cut where two overlapping Gaussians, fitted to the events, are equally likely.

    For two populations that form one hump with a shoulder. Its quality is how far apart the two lie; a fit whose halves
    cannot be told from one population is not reportable.
    """

    method: Literal["mixture"]
    marker: str
    sign: Sign
    among: Literal["parent", "remaining"] = "parent"
    pool_with: PopulationName | None = None
    adjust: Positive = 1.5


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


class EllipseGate(_Declaration):
    """Keep cells inside an ellipse around a known cloud, in the plane of two channels.

    Attributes
    ----------
    seed
        Sides of unambiguous cells, as in :class:`SeedGate`, around which the ellipse is drawn; looked for in what the earlier
        gates left.
    of
        A population gated before, instead of a seed. With neither, the ellipse is drawn around the main cloud itself.
    widths
        Half axes in robust standard deviations of the cloud.
    without
        Where there are too few events to draw an ellipse around: ``"reject"``, or ``"pass"`` every event, for a gate that only
        trims what others found.
    """

    method: Literal["ellipse"]
    markers: tuple[str, str]
    seed: tuple[SeedSide, ...] = ()
    of: PopulationName | None = None
    widths: Positive = 4.0
    without: Literal["reject", "pass"] = "reject"


class BooleanGate(_Declaration):
    """Combine populations gated before: in all of these, in at least one of those, in none of the others."""

    method: Literal["boolean"]
    all_of: tuple[PopulationName, ...] = ()
    any_of: tuple[PopulationName, ...] = ()
    none_of: tuple[PopulationName, ...] = ()


Gate: TypeAlias = Annotated[
    ValleyGate
    | SharedGate
    | TailGate
    | QuantileGate
    | MixtureGate
    | FixedGate
    | SingletGate
    | SeedGate
    | EllipseGate
    | BooleanGate,
    Field(discriminator="method"),
]


def markers_of_gate(gate: Gate) -> Iterator[str]:
    """Name every marker a gate needs."""
    match gate:
        case SingletGate():
            yield from (gate.area, gate.height)
        case SeedGate():
            yield from (side.marker for side in gate.seed)
            yield from (window.marker for window in gate.windows)
        case EllipseGate():
            yield from (side.marker for side in gate.seed)
            yield from gate.markers
        case BooleanGate():
            pass
        case _:
            yield gate.marker


def populations_of_gate(gate: Gate) -> Iterator[str]:
    """Name every population a gate refers to."""
    match gate:
        case ValleyGate():
            yield from (name for name in gate.borrow if name not in BORROWED_WORDS)
            yield from (name for name in (gate.pool_with, gate.reference) if name is not None)
        case MixtureGate(pool_with=str() as name) | TailGate(of=str() as name) | EllipseGate(of=str() as name):
            yield name
        case SharedGate() | QuantileGate():
            yield gate.of
        case BooleanGate():
            yield from (*gate.all_of, *gate.any_of, *gate.none_of)
        case _:
            pass
