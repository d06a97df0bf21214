"""How densely the events lie where each gate cuts: what a gate's picture is drawn from.

Knows a gating with its events. Must not know how a picture looks. The counts are small and can be made again from the raw file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.cuts import Column, Cut, Mask
from biomarkers.cytometry.ellipses import Ellipse
from biomarkers.cytometry.gated import GatedPopulation, Gating
from biomarkers.cytometry.panel import GateTemplate, SingletGate
from biomarkers.reports.figures import MINUS, Tick, linear_axis

BINS = 96
"""Along each side of a plane; a marker alone gets twice as many."""

_TAILS_PERCENT = (0.05, 99.95)
"""Of the events, shown; the few beyond would squeeze the others together."""

_DECADES = (-1e4, -1e3, -1e2, 0.0, 1e2, 1e3, 1e4, 1e5, 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCut:
    """A cut as its picture shows it.

    Attributes
    ----------
    axis
        0 for the first marker, 1 for the second; -1 for a ratio of the second to the first, drawn as a ray.
    sign
        ``"+"`` keeps what lies above.
    value
        On the marker's display scale; for a ratio, its natural logarithm.
    linear
        The same in linear units, as near as the events tell; the ratio itself for a ratio. None without events.
    """

    axis: int
    sign: str
    value: float
    linear: float | None
    quality: float | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateOutline:
    """An ellipse as its picture shows it.

    Attributes
    ----------
    points
        Shape (corners, 2): first marker, second marker, on the display scale.
    """

    points: npt.NDArray[np.float64]
    quality: float | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateDensity:
    """The events one step of a population's gating looks at, counted on a grid, with the cuts drawn through them.

    Attributes
    ----------
    markers
        One or two.
    counts
        Events in each bin: shape (bins,) for one marker, (bins of the first, bins of the second) for two.
    kept
        Of them those that end up in the population; the same shape.
    edges
        Borders of the bins by marker, on the display scale.
    ticks
        Places along each marker's scale, labelled in linear units.
    events
        All events looked at, whether or not they lie within the edges.
    members
        Those of them in the population.
    outline
        The ellipse the picture is about; None where it is about cuts.
    """

    population: str
    parent: str
    markers: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    edges: tuple[npt.NDArray[np.float64], ...]
    ticks: tuple[tuple[Tick, ...], ...]
    cuts: tuple[GateCut, ...]
    events: int
    members: int
    outline: GateOutline | None = None


def gate_densities(gating: Gating) -> tuple[GateDensity, ...]:
    """Count events for a picture of every gate, populations in the template's order, two markers to a picture.

    A population with more than two markers gives several pictures; each shows what the earlier ones left. Populations without
    a cut, such as combinations of others, give none.
    """
    densities: list[GateDensity] = []
    for population in gating.populations.values():
        template = gating.panel.population(population.name)
        if template is None or not (population.cuts or population.ellipses):
            continue
        densities.extend(_of_population(gating, population, template))
    return tuple(densities)


def _of_population(gating: Gating, population: GatedPopulation, template: GateTemplate) -> list[GateDensity]:
    seen = gating.parent_membership(population.name).copy()
    found: list[GateDensity] = []
    for gate in template.gates:
        if isinstance(gate, SingletGate):
            cuts = tuple(cut for cut in population.cuts if cut.marker == f"{gate.area}/{gate.height}")
            if cuts:
                found.append(_ratio(gating, population, gate, cuts, seen))
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = np.log(gating.scaled[gate.area] / gating.scaled[gate.height]).astype(np.float32)
                seen &= _passing(cuts, ratio)
    for ellipse in population.ellipses:
        found.append(_elliptic(gating, population, ellipse, seen))
        seen &= ellipse.keeps(*(gating.scaled[marker] for marker in ellipse.markers))
    own = [cut for cut in population.cuts if cut.marker in gating.scaled]
    markers = list(dict.fromkeys(cut.marker for cut in own))
    for start in range(0, len(markers), 2):
        pair = tuple(markers[start : start + 2])
        cuts = tuple(cut for cut in own if cut.marker in pair)
        found.append(_plain(gating, population, pair, cuts, seen))
        for cut in cuts:
            seen &= cut.keeps(gating.scaled[cut.marker])
    return found


def _passing(cuts: Sequence[Cut], column: Column) -> Mask:
    mask = np.ones(column.size, dtype=np.bool_)
    for cut in cuts:
        mask &= cut.keeps(column)
    return mask


def _ratio(gating: Gating, population: GatedPopulation, gate: SingletGate, cuts: tuple[Cut, ...], seen: Mask) -> GateDensity:
    drawn = tuple(_gate_cut(cut, -1, math.exp(cut.value)) for cut in cuts)
    return _counted(gating, population, (gate.height, gate.area), drawn, seen)


def _plain(
    gating: Gating, population: GatedPopulation, markers: tuple[str, ...], cuts: tuple[Cut, ...], seen: Mask
) -> GateDensity:
    drawn = tuple(_gate_cut(cut, markers.index(cut.marker), _in_linear_units(gating, cut)) for cut in cuts)
    return _counted(gating, population, markers, drawn, seen)


def _elliptic(gating: Gating, population: GatedPopulation, ellipse: Ellipse, seen: Mask) -> GateDensity:
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    half_axes = np.linalg.cholesky(ellipse.covariance) * math.sqrt(ellipse.distance_square)
    outline = GateOutline(
        points=np.asarray(ellipse.centre + circle @ half_axes.T, dtype=np.float64),
        quality=ellipse.quality,
        origin=ellipse.origin,
    )
    return _counted(gating, population, ellipse.markers, (), seen, outline=outline)


def _gate_cut(cut: Cut, axis: int, linear: float | None) -> GateCut:
    return GateCut(axis=axis, sign=cut.sign, value=cut.value, linear=linear, quality=cut.quality, origin=cut.origin)


def _in_linear_units(gating: Gating, cut: Cut) -> float | None:
    scale = _Scale.of(gating, cut.marker)
    if scale.linear.size == 0:
        return None
    return cut.value if scale.is_linear else float(np.interp(cut.value, scale.scaled, scale.linear))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scale:
    """A marker's display scale, read off its events: it rises throughout, so that linear and scaled values sort alike."""

    linear: Column
    scaled: Column

    @classmethod
    def of(cls, gating: Gating, marker: str) -> _Scale:
        linear, scaled = gating.linear[marker], gating.scaled[marker]
        finite = np.isfinite(linear) & np.isfinite(scaled)
        return cls(linear=np.sort(linear[finite]), scaled=np.sort(scaled[finite]))

    @property
    def is_linear(self) -> bool:
        return np.array_equal(self.linear, self.scaled)


def _counted(
    gating: Gating,
    population: GatedPopulation,
    markers: tuple[str, ...],
    cuts: tuple[GateCut, ...],
    seen: Mask,
    *,
    outline: GateOutline | None = None,
) -> GateDensity:
    bins = BINS if len(markers) == 2 else 2 * BINS
    edges = tuple(_edges(gating.scaled[marker][seen], _shown(cuts, outline, axis), bins) for axis, marker in enumerate(markers))
    inside = seen & population.membership
    return GateDensity(
        population=population.name,
        parent=population.parent,
        markers=markers,
        counts=_histogram(gating, markers, edges, seen),
        kept=_histogram(gating, markers, edges, inside),
        edges=edges,
        ticks=tuple(_ticks(gating, marker, edge) for marker, edge in zip(markers, edges, strict=True)),
        cuts=cuts,
        events=int(np.count_nonzero(seen)),
        members=int(np.count_nonzero(inside)),
        outline=outline,
    )


def _shown(cuts: Sequence[GateCut], outline: GateOutline | None, axis: int) -> list[float]:
    """List the places on an axis that a picture must hold."""
    places = [cut.value for cut in cuts if cut.axis == axis]
    if outline is not None:
        places += [float(outline.points[:, axis].min()), float(outline.points[:, axis].max())]
    return places


def _edges(values: Column, cuts: Sequence[float], bins: int) -> npt.NDArray[np.float64]:
    """Borders of equal bins over nearly all values and every cut."""
    finite = values[np.isfinite(values)]
    low, high = (float(edge) for edge in np.percentile(finite, _TAILS_PERCENT)) if finite.size else (0.0, 1.0)
    low, high = min([low, *cuts]), max([high, *cuts])
    room = 0.03 * (high - low) or 0.5
    return np.linspace(low - room, high + room, bins + 1)


def _histogram(
    gating: Gating, markers: tuple[str, ...], edges: tuple[npt.NDArray[np.float64], ...], events: Mask
) -> npt.NDArray[np.int64]:
    columns = [gating.scaled[marker][events] for marker in markers]
    finite = np.logical_and.reduce([np.isfinite(column) for column in columns])
    if len(columns) == 1:
        counts, _ = np.histogram(columns[0][finite], bins=edges[0])
        return counts.astype(np.int64)
    grid, _, _ = np.histogram2d(columns[0][finite], columns[1][finite], bins=(edges[0], edges[1]))
    return grid.astype(np.int64)


def _ticks(gating: Gating, marker: str, edges: npt.NDArray[np.float64]) -> tuple[Tick, ...]:
    """Ticks in linear units: decades where the scale bends, round numbers where it does not."""
    scale = _Scale.of(gating, marker)
    low, high = float(edges[0]), float(edges[-1])
    x, y = scale.linear, scale.scaled
    if x.size == 0 or scale.is_linear:
        return tuple(_round_tick(tick) for tick in linear_axis(low, high, marker, wanted=4).ticks)
    places = [(decade, float(np.interp(decade, x, y))) for decade in _DECADES if x[0] <= decade <= x[-1]]
    shown = [(decade, at) for decade, at in places if low <= at <= high]
    kept: list[tuple[float, float]] = []
    for decade, at in sorted(shown, key=lambda place: (abs(place[0]) not in (0.0, 1e3, 1e4, 1e5), -abs(place[0]))):
        if all(abs(at - other) > 0.11 * (high - low) for _, other in kept):
            kept.append((decade, at))
    return tuple(Tick(at=at, label=_decade_label(decade)) for decade, at in sorted(kept))


def _round_tick(tick: Tick) -> Tick:
    thousands = tick.at / 1000
    return Tick(at=tick.at, label=f"{thousands:.10g}k") if abs(tick.at) >= 1000 else tick


def _decade_label(decade: float) -> str:
    if decade == 0:
        return "0"
    powers = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    power = str(round(math.log10(abs(decade)))).translate(powers)
    return f"{MINUS if decade < 0 else ''}10{power}"
