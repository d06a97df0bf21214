"""Gates a person corrected over those the template found: the events they look at, both borders, both numbers.

Knows how gates of two strategies lie in one plane of markers. Must not know files, or who may correct. What is drawn can be
made again from the raw file; the numbers beside it are those on record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.corrections import GateComparison, PopulationChange
from biomarkers.cytometry.found_gates import found_gates
from biomarkers.cytometry.gate_shapes import Dimension, Ellipsoid, Polygon, Rectangle
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.panel import ROOT
from biomarkers.cytometry.strategy import Gate, Strategy
from biomarkers.reports.figures import MINUS, Axis, Drawing, Frame, Tick, density_picture, linear_axis

COMPARED_FILE = "gates-compared.json"
BINS = 96
_PLOT = 236.0
_EDGE_STEPS = 24
"""Points along an edge: straight on the scale it was drawn on, it may be bent on the one it is shown on."""

_TAILS_PERCENT = (0.05, 99.95)
_DRAWN_KINDS = ("moved", "redrawn", "drawn", "removed")
_DECADES = (-1e3, 0.0, 1e3, 1e4, 1e5)

Line = tuple[tuple[float, float], ...]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComparedAxis(_Frozen):
    """A marker's display scale over what is shown of it, with ticks in linear units."""

    marker: str
    low: _Number
    high: _Number
    ticks: tuple[tuple[_Number, str], ...]


class ComparedGate(_Frozen):
    """One plane in which a population's gate was corrected.

    Attributes
    ----------
    counts
        Events of the found parent in bins of both axes, the first axis outermost; of one axis where ``axes`` has one.
    ours, corrected
        Borders as lines on the display scales; for one axis each is a place on it, given twice.
    """

    population: str
    parent: str
    kind: str
    axes: tuple[ComparedAxis, ...] = Field(min_length=1, max_length=2)
    counts: tuple[tuple[int, ...], ...]
    ours: tuple[tuple[tuple[_Number, _Number], ...], ...]
    corrected: tuple[tuple[tuple[_Number, _Number], ...], ...]


class ComparedGates(_Frozen):
    """Every corrected gate of an acquisition."""

    acquisition: str
    gates: tuple[ComparedGate, ...]


def compared_gates(gated: Gating, acquisition: Acquisition, comparison: GateComparison) -> ComparedGates:
    """Put a person's gates over those found, plane by plane, for the populations whose own gate was corrected.

    Parameters
    ----------
    gated
        As the template found it.
    """
    found = found_gates(gated, acquisition, ellipses_as_polygons=True).strategy
    gates: list[ComparedGate] = []
    for change in comparison.changes:
        if change.kind in _DRAWN_KINDS:
            gates.extend(_of_population(gated, found, comparison, change))
    return ComparedGates(acquisition=gated.acquisition, gates=tuple(gates))


def _of_population(
    gated: Gating, found: Strategy, comparison: GateComparison, change: PopulationChange
) -> Iterator[ComparedGate]:
    template = gated.panel.population(change.population)
    if template is None:
        return
    ours = _planes(_chain(found, change.population, {one.name for one in gated.panel.populations}), found, gated)
    corrected = _planes(comparison.gates.get(change.population, ()), comparison.strategy, gated)
    seen = gated.parent_membership(change.population)
    for markers in dict.fromkeys((*ours, *corrected)):
        if ours.get(markers) == corrected.get(markers):
            continue  # a gate on the way that was left as it is
        lines = [*ours.get(markers, ()), *corrected.get(markers, ())]
        axes = tuple(_axis(gated, marker, seen, lines, at) for at, marker in enumerate(markers))
        yield ComparedGate(
            population=change.population,
            parent="all events" if template.parent == ROOT else template.parent,
            kind=change.kind,
            axes=axes,
            counts=_counts(gated, axes, seen),
            ours=_clipped(ours.get(markers, ()), axes),
            corrected=_clipped(corrected.get(markers, ()), axes),
        )


def _chain(strategy: Strategy, name: str, populations: set[str]) -> tuple[Gate, ...]:
    """Return a population's own gates, from below its parent down to itself."""
    by_id = {gate.gate_id: gate for gate in strategy.gates}
    gate = next((one for one in strategy.gates if one.name == name), None)
    chain: list[Gate] = []
    while gate is not None and (not chain or gate.name not in populations):
        chain.append(gate)
        gate = None if gate.parent is None else by_id.get(gate.parent)
    return tuple(reversed(chain))


def _planes(chain: Sequence[Gate], strategy: Strategy, gated: Gating) -> dict[tuple[str, ...], tuple[Line, ...]]:
    """Return the borders of gates by the markers of their plane; a gate on a ratio or another's combination has none."""
    marker_by_detector = {detector.casefold(): marker for marker, detector in gated.detectors.items()}
    planes: dict[tuple[str, ...], list[Line]] = {}
    for gate in chain:
        if not isinstance(gate.shape, Rectangle | Polygon | Ellipsoid):
            continue
        found = [marker_by_detector.get(one.channel.casefold(), "") for one in gate.shape.dimensions]
        if not all(marker in gated.scaled for marker in found) or len(found) > 2:
            continue
        for line in _lines(gate.shape, strategy, gated, found):
            order = sorted(range(len(found)), key=lambda at: found[at])
            turned = tuple((point[order[0]], point[order[-1]]) for point in line)
            planes.setdefault(tuple(found[at] for at in order), []).append(turned)
    return {markers: tuple(lines) for markers, lines in planes.items()}


def _lines(shape: Rectangle | Polygon | Ellipsoid, strategy: Strategy, gated: Gating, markers: Sequence[str]) -> Iterator[Line]:
    if isinstance(shape, Rectangle):
        sides = [
            [_shown(value, side.dimension, strategy, gated, marker) for value in (side.minimum, side.maximum)]
            for side, marker in zip(shape.sides, markers, strict=True)
        ]
        if len(sides) == 1:
            yield from (((place, place), (place, place)) for place in sides[0] if place is not None)
            return
        (left, right), (low, high) = (
            [(-np.inf if side[0] is None else side[0]), (np.inf if side[1] is None else side[1])] for side in sides
        )
        yield ((left, low), (right, low), (right, high), (left, high), (left, low))
        return
    corners = np.asarray(shape.vertices if isinstance(shape, Polygon) else _ellipse(shape), dtype=np.float64)
    following = np.roll(corners, -1, axis=0)
    steps = np.linspace(0.0, 1.0, _EDGE_STEPS if len(corners) < 40 else 2, endpoint=False)
    points = (corners[:, None, :] + steps[None, :, None] * (following - corners)[:, None, :]).reshape(-1, 2)
    columns = [
        _display(points[:, at], dimension, strategy, gated, marker)
        for at, (dimension, marker) in enumerate(zip(shape.dimensions, markers, strict=True))
    ]
    line = [(float(x), float(y)) for x, y in zip(*columns, strict=True) if np.isfinite(x) and np.isfinite(y)]
    if line:
        yield (*line, line[0])


def _ellipse(shape: Ellipsoid) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    half_axes = np.linalg.cholesky(np.asarray(shape.covariance)) * np.sqrt(shape.distance_square)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return np.asarray(np.asarray(shape.mean) + circle @ half_axes.T, dtype=np.float64)


def _shown(value: float | None, axis: Dimension, strategy: Strategy, gated: Gating, marker: str) -> float | None:
    return None if value is None else float(_display(np.asarray([value]), axis, strategy, gated, marker)[0])


def _display(
    values: NDArray[np.float64], axis: Dimension, strategy: Strategy, gated: Gating, marker: str
) -> NDArray[np.float64]:
    """Bring a gate's own values over linear ones to the scale the found gates are shown on."""
    linear = np.asarray(strategy.scales[axis.scale].inverse(values) if axis.scale else values, dtype=np.float64)
    transform = gated.transforms.get(marker)
    return linear if transform is None else np.asarray(transform.exact(linear), dtype=np.float64)


def _axis(gated: Gating, marker: str, seen: NDArray[np.bool_], lines: Sequence[Line], at: int) -> ComparedAxis:
    """Span nearly all events and every border that is not open."""
    values = gated.scaled[marker][seen]
    finite = values[np.isfinite(values)]
    low, high = (float(edge) for edge in np.percentile(finite, _TAILS_PERCENT)) if finite.size else (0.0, 1.0)
    room = (high - low) or 1.0
    # A border far from all events would squeeze them together: it is drawn at the edge.
    places = [point[at] for line in lines for point in line if low - room <= point[at] <= high + room]
    low, high = min([low, *places]), max([high, *places])
    low, high = low - 0.03 * room, high + 0.03 * room
    transform = gated.transforms.get(marker)
    decades = np.asarray(_DECADES) if transform is None else transform.exact(np.asarray(_DECADES))
    is_linear = transform is None or np.allclose(decades, _DECADES)
    ticks = (
        [(tick.at, f"{tick.at / 1000:.10g}k") for tick in linear_axis(low, high, marker, wanted=4).ticks]
        if is_linear
        else [(float(place), _decade(value)) for place, value in zip(decades, _DECADES, strict=True)]
    )
    return ComparedAxis(marker=marker, low=low, high=high, ticks=tuple(one for one in ticks if low <= one[0] <= high))


def _decade(value: float) -> str:
    return "0" if value == 0 else f"{MINUS if value < 0 else ''}10{'⁰¹²³⁴⁵'[round(np.log10(abs(value)))]}"


def _counts(gated: Gating, axes: Sequence[ComparedAxis], seen: NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    columns = [gated.scaled[axis.marker][seen] for axis in axes]
    finite = np.logical_and.reduce([np.isfinite(column) for column in columns])
    edges = [np.linspace(axis.low, axis.high, (BINS if len(axes) == 2 else 2 * BINS) + 1) for axis in axes]
    counts, _ = np.histogramdd(np.column_stack([column[finite] for column in columns]), bins=edges)
    return tuple(tuple(int(count) for count in row) for row in counts.reshape(len(edges[0]) - 1, -1))


def _clipped(lines: Sequence[Line], axes: Sequence[ComparedAxis]) -> tuple[Line, ...]:
    """Keep lines within the picture; an open side lies on its edge."""
    first, last = axes[0], axes[-1]
    return tuple(
        tuple((min(max(x, first.low), first.high), min(max(y, last.low), last.high)) for x, y in line) for line in lines
    )


def compared_picture(gate: ComparedGate) -> Markup:
    """Draw both borders over the events: ours as a full line, the corrected one dashed."""
    drawing = Drawing(
        _PLOT + 64, _PLOT + 56, f"{gate.population}: found and corrected gate on {' and '.join(a.marker for a in gate.axes)}"
    )
    axes = [
        Axis(low=one.low, high=one.high, label=one.marker, ticks=tuple(Tick(at=at, label=label) for at, label in one.ticks))
        for one in gate.axes
    ]
    counts = np.asarray(gate.counts, dtype=np.int64)
    if len(axes) == 1:
        top = float(counts.max(initial=1)) or 1.0
        axes.append(linear_axis(0.0, 1.08 * top, "events", wanted=4))
    frame = Frame(left=54, top=10, width=_PLOT, height=_PLOT, x=axes[0], y=axes[1])
    if len(gate.axes) == 2:
        drawing.picture((frame.left, frame.top), (frame.width, frame.height), density_picture(counts), crisp=True)
    else:
        edges = np.linspace(gate.axes[0].low, gate.axes[0].high, counts.size + 1)
        heights = [float(count) for count in counts.ravel()]
        steps = [frame.at(float(edge), count) for at, count in enumerate(heights) for edge in (edges[at], edges[at + 1])]
        points = [frame.at(float(edges[0]), 0.0), *steps, frame.at(float(edges[-1]), 0.0)]
        drawing.path(points, "outline-all", closed=True)
    drawing.axes(frame, grid=False)
    for kind, lines in (("gate-ours", gate.ours), ("gate-corrected", gate.corrected)):
        for line in lines:
            if len(gate.axes) == 1:
                drawing.line((frame.at_x(line[0][0]), frame.top), (frame.at_x(line[0][0]), frame.bottom), kind)
            else:
                drawing.path([frame.at(x, y) for x, y in line], kind)
    return drawing.markup()
