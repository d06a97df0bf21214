"""The shapes of Gating-ML 2.0 and which events lie inside them.

Knows rectangles, polygons, ellipsoids and boolean combinations, with the standard's rules for borders: a rectangle keeps its
lower border and not its upper one; polygons and ellipsoids keep theirs. Must not know channels' values, files or populations. A
quadrant gate is read as the rectangles its quadrants are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from flowutils import gating as reference  # type: ignore[import-untyped]  # the library ships no types

Mask = npt.NDArray[np.bool_]
Floats64 = npt.NDArray[np.float64]

UNCOMPENSATED = "uncompensated"
"""Gating-ML's word for values as acquired."""

EMBEDDED = "FCS"
"""Gating-ML's word for the spillover matrix in the file; where there is none, values are taken as acquired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One axis of a gate.

    Attributes
    ----------
    channel
        A detector, or a matrix's fluorochrome; empty where the axis is a ratio.
    compensation
        ``"uncompensated"``, ``"FCS"``, or the id of a matrix.
    scale
        Id of a transformation; empty for none.
    ratio
        Id of a ratio transformation whose result the axis is; empty for none.
    """

    channel: str = ""
    compensation: str = UNCOMPENSATED
    scale: str = ""
    ratio: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What a rectangle keeps of one axis: from ``minimum`` on, up to but without ``maximum``; None where it is open."""

    dimension: Dimension
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """Range, rectangle or box; ``inside`` False keeps what lies outside (FlowJo alone has that)."""

    sides: tuple[Side, ...]
    inside: bool = True

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Its axes."""
        return tuple(side.dimension for side in self.sides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygon:
    """Two axes and at least three corners; where its line crosses itself, what is surrounded twice is outside."""

    dimensions: tuple[Dimension, Dimension]
    vertices: tuple[tuple[float, float], ...]
    inside: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """Events whose squared Mahalanobis distance from ``mean`` is at most ``distance_square``."""

    dimensions: tuple[Dimension, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    distance_square: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Another gate's events, or with ``complement`` all others."""

    gate: str
    complement: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """Gates combined: in all of them, in at least one, or not in the one."""

    operation: Literal["and", "or", "not"]
    references: tuple[Reference, ...]


Shape: TypeAlias = Rectangle | Polygon | Ellipsoid | Combination


def inside_polygon(polygon: Polygon, points: Floats64) -> Mask:
    """Tell which points, shape (points, 2), lie inside or on the border; points without a value lie outside."""
    if points.shape[0] == 0:
        return np.zeros(0, dtype=np.bool_)
    corners = np.array(polygon.vertices, dtype=np.float64)
    kept: Mask = reference.points_in_polygon(corners, np.ascontiguousarray(points))
    return kept & np.isfinite(points).all(axis=1)


def square_distances(ellipsoid: Ellipsoid, points: Floats64) -> Floats64:
    """Squared Mahalanobis distance of points, shape (points, axes)."""
    centred = points - np.array(ellipsoid.mean)
    distances: Floats64 = ((centred @ np.linalg.inv(np.array(ellipsoid.covariance))) * centred).sum(axis=1)
    return distances
