"""What gates look like as numbers, so that two of them can be held against each other: borders by channel, and other shapes.

Knows which differences are rounding. Must not know whose gates they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from biomarkers.cytometry.gate_shapes import Combination, Dimension, Ellipsoid, Polygon, Rectangle
from biomarkers.cytometry.strategy import Gate, Strategy

SAME = 1e-6
"""Relative difference up to which two borders are one: other software rounds what it saves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderMove:
    """One border of a rectangle that was moved, added or taken away; compensated linear values."""

    channel: str
    side: Literal["lower", "upper"]
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A chain of gates as borders by channel, and everything else as numbers; all in linear values."""

    borders: Mapping[tuple[str, str], float]
    shapes: tuple[tuple[str, tuple[str, ...], tuple[float, ...]], ...]

    @classmethod
    def of(cls, chain: Sequence[Gate], strategy: Strategy) -> Outline:
        """Outline gates that follow one another; of several borders at one side the narrower counts."""
        borders: dict[tuple[str, str], float] = {}
        shapes: list[tuple[str, tuple[str, ...], tuple[float, ...]]] = []
        names = {gate.gate_id: gate.name for gate in strategy.gates}
        for gate in chain:
            match gate.shape:
                case Rectangle(sides=sides, inside=True):
                    for side in sides:
                        if side.minimum is not None:
                            low, key = _linear(side.dimension, side.minimum, strategy), (_channel(side.dimension), "lower")
                            borders[key] = max(low, borders.get(key, low))
                        if side.maximum is not None:
                            high, key = _linear(side.dimension, side.maximum, strategy), (_channel(side.dimension), "upper")
                            borders[key] = min(high, borders.get(key, high))
                case Rectangle(sides=sides):
                    limits = [value for side in sides for value in (side.minimum, side.maximum) if value is not None]
                    shapes.append(("outside", tuple(_channel(side.dimension) for side in sides), tuple(limits)))
                case Polygon(dimensions=axes, vertices=vertices, inside=inside):
                    corners = [
                        _linear(axis, value, strategy) for vertex in vertices for axis, value in zip(axes, vertex, strict=True)
                    ]
                    kind = "polygon" if inside else "outside polygon"
                    shapes.append((kind, tuple(_channel(axis) for axis in axes), tuple(corners)))
                case Ellipsoid(dimensions=dimensions, mean=mean, covariance=covariance, distance_square=square):
                    numbers = (*mean, *(value for row in covariance for value in row), square)
                    shapes.append(("ellipsoid", tuple(_channel(axis) for axis in dimensions), numbers))
                case Combination(operation=operation, references=references):
                    named = tuple(f"{'not ' if one.complement else ''}{names[one.gate]}" for one in references)
                    shapes.append((operation, tuple(sorted(named)), ()))
        return cls(borders=borders, shapes=tuple(shapes))


def _channel(axis: Dimension) -> str:
    return axis.channel or axis.ratio


def _linear(axis: Dimension, value: float, strategy: Strategy) -> float:
    return float(strategy.scales[axis.scale].inverse(np.array([value]))[0]) if axis.scale else value


def moved_borders(old: Outline, new: Outline) -> tuple[BorderMove, ...]:
    """List the borders that differ by more than rounding."""
    return tuple(
        BorderMove(
            channel=channel,
            side="lower" if side == "lower" else "upper",
            before=old.borders.get((channel, side)),
            after=new.borders.get((channel, side)),
        )
        for channel, side in dict.fromkeys((*old.borders, *new.borders))
        if not _is_same(old.borders.get((channel, side)), new.borders.get((channel, side)))
    )


def _is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME * max(abs(one), abs(other), 1.0)


def have_same_shapes(old: Outline, new: Outline) -> bool:
    """Whether everything but the borders is the same, but for rounding."""
    if [(kind, channels, len(numbers)) for kind, channels, numbers in old.shapes] != [
        (kind, channels, len(numbers)) for kind, channels, numbers in new.shapes
    ]:
        return False
    return all(
        _is_same(one, other)
        for (_, _, before), (_, _, after) in zip(old.shapes, new.shapes, strict=True)
        for one, other in zip(before, after, strict=True)
    )


def axes_of(gate: Gate) -> tuple[Dimension, ...]:
    """Return the channels a gate is drawn on; none for one that combines others."""
    return () if isinstance(gate.shape, Combination) else gate.shape.dimensions
