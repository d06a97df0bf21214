"""The gates a template found on an acquisition, in Gating-ML's shapes, so that other software can show and correct them.

Knows how cuts, ellipses and combinations become rectangles, polygons and ellipsoids of one or two axes, as every cytometry
software draws them. Must not know files. What is handed out was applied to the events again and keeps the same ones, event by
event: a border lies in the middle of the gap between the last event kept and the first one dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import cos, pi, sin
from typing import Literal

import numpy as np

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.cuts import Column, Cut, Mask
from biomarkers.cytometry.ellipses import Ellipse, square_distance
from biomarkers.cytometry.evaluation import evaluate
from biomarkers.cytometry.gate_shapes import (
    UNCOMPENSATED,
    Combination,
    Dimension,
    Ellipsoid,
    Polygon,
    Rectangle,
    Reference,
    Shape,
    Side,
)
from biomarkers.cytometry.gated import GatedPopulation, Gating
from biomarkers.cytometry.gating_scales import Identity, Scale, scale_of
from biomarkers.cytometry.panel import ROOT, BooleanGate, GateTemplate, SingletGate
from biomarkers.cytometry.strategy import Gate, SpilloverMatrix, Strategy, assemble
from biomarkers.errors import GatingError

MATRIX = "Spillover"
"""Id under which the matrix that was undone goes along."""

ELLIPSE_CORNERS = 128
"""Corners of the polygon drawn where software has no ellipses of Gating-ML's kind; more where events lie between."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundGates:
    """A gating as a strategy.

    Attributes
    ----------
    strategy
        The last gate of each population has the population's name as id and name; gates on the way to it have names of their
        own, such as "NK 1: CD3- CD19-".
    left_out
        Populations whose gate could not be placed, and those below them: there is no gate to show.
    """

    strategy: Strategy
    left_out: tuple[str, ...]


def found_gates(gated: Gating, acquisition: Acquisition, *, ellipses_as_polygons: bool = False) -> FoundGates:
    """Say a gating in Gating-ML's shapes.

    Parameters
    ----------
    acquisition
        The one that was gated.
    ellipses_as_polygons
        For software that writes ellipses in steps of its plots: polygons, with as many corners as keep the same events.

    Raises
    ------
    GatingError
        The shapes do not keep the same events; this would be an error of this software.
    """
    building = _Building(gated=gated, acquisition=acquisition, ellipses_as_polygons=ellipses_as_polygons)
    for template in gated.panel.populations:
        building.add(template)
    matrices = {}
    if gated.spillover is not None:
        own = gated.spillover
        matrices[MATRIX] = SpilloverMatrix(fluorochromes=own.detectors, detectors=own.detectors, coefficients=own.matrix)
    strategy = assemble(building.gates, scales=building.scales, matrices=matrices)
    members = evaluate(strategy, acquisition)
    for name, population in gated.populations.items():
        if name in building.left_out:
            continue
        differing = int(np.count_nonzero((members[name] & gated.root_membership) != population.membership))
        if differing:
            raise GatingError(
                what=f"Written as Gating-ML, the gate of '{name}' keeps {differing} other events than the one that was found.",
                where=f"Acquisition '{gated.acquisition}'.",
                remedy="Report this with the file: the gates were not written.",
            )
    return FoundGates(strategy=strategy, left_out=tuple(building.left_out))


@dataclass(slots=True, kw_only=True)
class _Building:
    """Gates made so far."""

    gated: Gating
    acquisition: Acquisition
    ellipses_as_polygons: bool
    gates: list[Gate] = field(default_factory=list)
    scales: dict[str, Scale] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, template: GateTemplate) -> None:
        population = self.gated.populations[template.name]
        placed = self._placed(template, population)
        if placed is None:
            self.left_out.append(template.name)
            return
        steps = [*self._combined(template), *placed]
        above = None if template.parent == ROOT else template.parent
        for number, step in enumerate(steps, start=1):
            is_last = number == len(steps)
            gate_id = template.name if is_last else f"{template.name} {number}: {step.words}"
            self.gates.append(Gate(gate_id=gate_id, name=gate_id, parent=above, shape=step.shape))
            above = gate_id

    def _placed(self, template: GateTemplate, population: GatedPopulation) -> list[_Step] | None:
        """Return the shapes that follow the combinations; None where the population has no gate of its own to show."""
        needed = {name for gate in template.gates if isinstance(gate, BooleanGate) for name in gate.all_of}
        if needed & set(self.left_out) or template.parent in self.left_out:
            return None
        expected = self.gated.parent_membership(template.name).copy()
        for gate in template.gates:
            if isinstance(gate, BooleanGate):
                if gate.any_of and set(gate.any_of) <= set(self.left_out):
                    return None
                expected &= self._members(gate)
        steps: list[_Step] = []
        for ratio in self._singlets(template, population):
            steps.append(ratio)
            expected &= ratio.mask
        for ellipse in population.ellipses:
            expected &= ellipse.keeps(*(self.gated.scaled[marker] for marker in ellipse.markers))
            steps.append(self._ellipse(ellipse))
        single = [cut for cut in population.cuts if cut.marker in self.gated.scaled]
        for cut in single:
            expected &= cut.keeps(self.gated.scaled[cut.marker])
        steps.extend(self._rectangles(single))
        if not np.array_equal(expected, population.membership):
            return None  # one of its gates could not be placed, so that the population is empty
        if not steps and not any(self._combined(template)):
            steps.append(_Step(shape=Rectangle(sides=(Side(dimension=self._any_axis()),)), words="all"))
        return steps

    def _members(self, gate: BooleanGate) -> Mask:
        members = self.gated.membership
        mask = np.ones(self.gated.event_count, dtype=np.bool_)
        for name in gate.all_of:
            mask &= members[name]
        if gate.any_of:
            mask &= np.logical_or.reduce([members[name] for name in gate.any_of])
        for name in gate.none_of:
            mask &= ~members[name]
        return mask

    def _combined(self, template: GateTemplate) -> Iterator[_Step]:
        """Give combinations every format can hold: without complements and, but for "not", of two gates or more."""
        for gate in template.gates:
            if not isinstance(gate, BooleanGate):
                continue
            # Being in the parent goes without saying, and some readers lose a gate that names its own parent.
            every = [name for name in gate.all_of if name != template.parent]
            if every:
                yield self._joined("and", every)
            some = [name for name in gate.any_of if name not in self.left_out]
            if some and template.parent not in some:
                yield self._joined("or", some)
            for name in gate.none_of:
                if name not in self.left_out:  # nothing is in it
                    yield _Step(shape=Combination(operation="not", references=(Reference(gate=name),)), words=f"not {name}")

    def _joined(self, operation: Literal["and", "or"], names: Sequence[str]) -> _Step:
        listed = names if len(names) > 1 else [*names, *names]  # the standard wants two operands
        references = tuple(Reference(gate=name) for name in listed)
        return _Step(shape=Combination(operation=operation, references=references), words=f" {operation} ".join(names))

    def _rectangles(self, cuts: Sequence[Cut]) -> Iterator[_Step]:
        """Rectangles of one or two axes, in the order of the cuts."""
        markers = list(dict.fromkeys(cut.marker for cut in cuts))
        for start in range(0, len(markers), 2):
            pair = markers[start : start + 2]
            yield _Step(
                shape=Rectangle(
                    sides=tuple(self._side(marker, [cut for cut in cuts if cut.marker == marker]) for marker in pair)
                ),
                words=" ".join(_sign_of(marker, [cut for cut in cuts if cut.marker == marker]) for marker in pair),
            )

    def _side(self, marker: str, cuts: Sequence[Cut]) -> Side:
        axis = self._axis(marker)
        lower = max((cut.value for cut in cuts if cut.sign == "+"), default=None)
        upper = min((cut.value for cut in cuts if cut.sign == "-"), default=None)
        return Side(
            dimension=axis,
            minimum=None if lower is None else self._border(marker, lower),
            maximum=None if upper is None else self._border(marker, upper),
        )

    def _border(self, marker: str, value: float) -> float:
        """Return the border, on the scale, in the middle of the gap in which a cut lies.

        Linear values keep their order on the scale, by table or by definition, so their middle parts the same events on either.
        """
        scale = self._scale(marker)
        column, linear = self.gated.scaled[marker], self.gated.linear[marker].astype(np.float64)
        below, above = linear[column <= np.float32(value)], linear[column > np.float32(value)]
        at = float(scale.inverse(np.array([value]))[0])
        if below.size and above.size:
            at = (float(below.max()) + float(above.min())) / 2
        elif below.size:
            at = max(at, float(np.nextafter(below.max(), np.inf)))
        elif above.size:
            at = min(at, float(above.min()))
        return float(scale.exact(np.array([at]))[0])

    def _singlets(self, template: GateTemplate, population: GatedPopulation) -> Iterator[_Step]:
        """Draw the strip between two ratios of area and height, in the plane of both."""
        for gate in template.gates:
            if not isinstance(gate, SingletGate):
                continue
            limits = [cut for cut in population.cuts if cut.marker == f"{gate.area}/{gate.height}"]
            if len(limits) != 2:
                continue
            area, height = (self.gated.scaled[marker] for marker in (gate.area, gate.height))
            usable = (area > 0) & (height > 0)
            ratio = np.full(area.size, np.nan, dtype=np.float32)
            ratio[usable] = np.log(area[usable] / height[usable])
            mask = usable & limits[0].keeps(ratio) & limits[1].keeps(ratio)
            quotient = np.full(area.size, np.nan)
            quotient[usable] = area[usable].astype(np.float64) / height[usable]
            low, high = sorted(cut.value for cut in limits)
            least, most = (_gap(ratio, quotient, value) for value in (low, high))
            nearest = float(area[mask].min()) / 2 if mask.any() else 1.0
            farthest = float(area[usable].max()) * 2 if usable.any() else 2.0
            corners = (
                (nearest, nearest / least),
                (farthest, farthest / least),
                (farthest, farthest / most),
                (nearest, nearest / most),
            )
            axes = (self._axis(gate.area), self._axis(gate.height))
            yield _Step(shape=Polygon(dimensions=axes, vertices=corners), words="singlets", mask=mask)

    def _ellipse(self, ellipse: Ellipse) -> _Step:
        x, y = (self.gated.scaled[marker] for marker in ellipse.markers)
        squares = square_distance(x, y, ellipse.centre, ellipse.covariance)
        inside, outside = squares[squares <= ellipse.distance_square], squares[squares > ellipse.distance_square]
        limit = ellipse.distance_square
        if inside.size and outside.size:
            limit = (float(inside.max()) + float(outside.min())) / 2
        words = f"{ellipse.markers[0]} {ellipse.markers[1]} ellipse"
        axes = (self._axis(ellipse.markers[0]), self._axis(ellipse.markers[1]))
        if self.ellipses_as_polygons:
            vertices = _corners(ellipse, limit, x, y, squares)
            return _Step(shape=Polygon(dimensions=axes, vertices=vertices), words=words)
        (xx, xy), (yx, yy) = ((float(value) for value in row) for row in ellipse.covariance)
        centre = (float(ellipse.centre[0]), float(ellipse.centre[1]))
        return _Step(
            shape=Ellipsoid(dimensions=axes, mean=centre, covariance=((xx, xy), (yx, yy)), distance_square=limit), words=words
        )

    def _axis(self, marker: str) -> Dimension:
        detector = self.gated.detectors[marker]
        is_undone = self.gated.spillover is not None and detector.casefold() in {
            name.casefold() for name in self.gated.spillover.detectors
        }
        scale = self._scale(marker)
        if not isinstance(scale, Identity):
            self.scales[detector] = scale
        return Dimension(
            channel=detector,
            compensation=MATRIX if is_undone else UNCOMPENSATED,
            scale="" if isinstance(scale, Identity) else detector,
        )

    def _scale(self, marker: str) -> Scale:
        column = self.acquisition.detector_index(self.gated.detectors[marker])
        top = self.acquisition.channels[column].top if column is not None else 0.0
        return scale_of(self.gated.transforms[marker], top if top > 0 else 262_144.0)

    def _any_axis(self) -> Dimension:
        return Dimension(channel=self.acquisition.channels[0].detector)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """One shape on the way to a population, what to call what it keeps, and which events those are."""

    shape: Shape
    words: str
    mask: Mask = field(default_factory=lambda: np.empty(0, dtype=np.bool_))


def _sign_of(marker: str, cuts: Sequence[Cut]) -> str:
    signs = {cut.sign for cut in cuts}
    return f"{marker}{next(iter(signs))}" if len(signs) == 1 else f"{marker} between"


def _gap(ratio: Column, quotient: np.ndarray[tuple[int], np.dtype[np.float64]], value: float) -> float:
    """Return the quotient in the middle of the gap in which a limit of its logarithm lies."""
    below, above = quotient[ratio <= np.float32(value)], quotient[ratio > np.float32(value)]
    if below.size and above.size:
        return (float(below.max()) + float(above.min())) / 2
    return float(np.exp(value))


def _corners(
    ellipse: Ellipse, limit: float, x: Column, y: Column, squares: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[tuple[float, float], ...]:
    """Corners on an ellipse, with one more beside each event that lies between the ellipse and its polygon's edges.

    A polygon with its corners on the ellipse keeps nothing outside of it; with the added corners it loses nothing inside.
    """
    factor = np.linalg.cholesky(ellipse.covariance)
    nearest = limit * cos(pi / ELLIPSE_CORNERS) ** 2
    between = np.flatnonzero((squares > nearest * (1 - 1e-9)) & (squares <= limit))
    points = np.vstack((x[between], y[between])).astype(np.float64) - np.asarray(ellipse.centre)[:, np.newaxis]
    round_points = np.linalg.solve(factor, points)
    angles = {2 * pi * corner / ELLIPSE_CORNERS for corner in range(ELLIPSE_CORNERS)}
    angles |= {float(angle) % (2 * pi) for angle in np.arctan2(round_points[1], round_points[0])}
    radius = float(np.sqrt(limit))
    corners = []
    for angle in sorted(angles):
        place = np.asarray(ellipse.centre) + factor @ np.array([radius * cos(angle), radius * sin(angle)])
        corners.append((float(place[0]), float(place[1])))
    return tuple(corners)
