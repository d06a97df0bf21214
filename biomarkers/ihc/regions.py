"""Regions that a pathologist drew: what each is, and which points and how much area lie inside.

Knows polygons in level-0 pixels of a slide, as viewers draw them: whole numbers are pixel borders. Must not know files, cells
or tissue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_FINER = 4
"""A pixel's covered share is counted over so many sample points in both directions."""

_BAND = 256
"""Rows of the grid painted at a time: a whole slide would take a hundred megabytes."""

_MOST_EDGES, _MOST_PAIRS = 1_000_000, 4_000_000
"""Edges, and edges with a corner beside them, looked at in one go: some tens of megabytes."""

Ring: TypeAlias = tuple[tuple[float, float], ...]
"""Corners x, y of one closed line; the first corner may or may not be repeated at the end."""


class RegionKind(StrEnum):
    """What an annotation encloses."""

    TUMOUR = "tumour"
    STROMA = "stroma"
    INVASIVE_MARGIN = "invasive margin"
    NECROSIS = "necrosis"
    EXCLUDE = "exclude"


REMOVED_KINDS = frozenset({RegionKind.NECROSIS, RegionKind.EXCLUDE})
"""Inside these nothing is counted and no area is viable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A region drawn on a slide.

    Attributes
    ----------
    name
        The drawer's own name for it, or empty.
    rings
        Outer lines and holes alike: a point is inside when it lies within an odd number of rings, so that a hole is a ring
        within a ring and several separate parts are several rings.
    """

    name: str
    kind: RegionKind
    rings: tuple[Ring, ...]

    @property
    def area_px(self) -> float:
        """Area in level-0 pixels: outer rings less holes, whatever way round they were drawn."""
        areas = np.asarray([abs(ring_area(ring)) for ring in self.rings])
        return float(np.where(_is_hole(self.rings), -areas, areas).sum()) if len(areas) else 0.0


def ring_area(ring: Ring) -> float:
    """Signed area of a ring by the shoelace formula, in square pixels."""
    corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    if len(corners) < 3:
        return 0.0
    x, y = (corners - corners[0]).T
    return float(0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _is_hole(rings: tuple[Ring, ...]) -> NDArray[np.bool_]:
    """Whether each ring lies within an odd number of others; rings of one annotation do not cross.

    Each ring's first corner is taken, and the edges of all other rings to its right are counted. An edge concerns the corners
    of its own height alone, which lie together once they are sorted: the work grows with the edges and the corners beside them,
    not with rings times rings.
    """
    if len(rings) < 2:
        return np.zeros(len(rings), dtype=np.bool_)
    corners = np.asarray([ring[0] if ring else (np.nan, np.nan) for ring in rings], dtype=np.float64)
    order = np.argsort(corners[:, 1], kind="stable")
    x, y = corners[order].T
    count = np.zeros(len(rings), dtype=np.int64)
    for start, stop in _edge_blocks(rings):
        edges = [_edges_of(ring) for ring in rings[start:stop]]
        (x1, y1, x2, y2) = np.concatenate(edges).T
        owner = np.repeat(np.arange(start, stop), [len(each) for each in edges])
        first = np.searchsorted(y, np.minimum(y1, y2), side="left")
        beside = np.searchsorted(y, np.maximum(y1, y2), side="left") - first
        for part in _parts(beside):
            edge = np.repeat(np.arange(part.start, part.stop), beside[part])
            place = np.arange(len(edge)) - np.repeat(np.cumsum(beside[part]) - beside[part], beside[part]) + first[edge]
            crossing = x1[edge] + (y[place] - y1[edge]) * (x2[edge] - x1[edge]) / (y2[edge] - y1[edge])
            hit = (x[place] < crossing) & (order[place] != owner[edge])
            count += np.bincount(order[place[hit]], minlength=len(rings))
    return (count & 1).astype(np.bool_)


def _edges_of(ring: Ring) -> NDArray[np.float64]:
    """Edges of a ring, x1, y1, x2, y2 each, shape (edges, 4); one with fewer than three corners encloses nothing."""
    corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    return np.concatenate([corners, np.roll(corners, -1, axis=0)], axis=1) if len(corners) >= 3 else np.empty((0, 4))


def _edge_blocks(rings: tuple[Ring, ...]) -> Iterator[tuple[int, int]]:
    """Cut rings into runs of not too many edges, as places from and to."""
    start, edges = 0, 0
    for index, ring in enumerate(rings):
        edges += len(ring)
        if edges >= _MOST_EDGES:
            yield start, index + 1
            start, edges = index + 1, 0
    if start < len(rings):
        yield start, len(rings)


def _parts(beside: NDArray[np.intp]) -> Iterator[slice]:
    """Cut edges into runs with not too many corners beside them together."""
    ends = np.cumsum(beside)
    start = 0
    while start < len(beside):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _MOST_PAIRS, side="right")))
        yield slice(start, stop)
        start = stop


def inside(x: NDArray[np.float64], y: NDArray[np.float64], annotation: Annotation) -> NDArray[np.bool_]:
    """Tell which points lie in an annotation.

    Parameters
    ----------
    x, y
        Level-0 coordinates that count pixel borders as whole numbers: a pixel's centre lies at .5.
    """
    points = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)], axis=-1).reshape(-1, 2)
    odd = np.zeros(len(points), dtype=np.bool_)
    for ring in annotation.rings:
        odd ^= _inside_ring(points, ring)
    return odd


def _inside_ring(points: NDArray[np.float64], ring: Ring) -> NDArray[np.bool_]:
    """Even-odd rule: a line to the right of the point crosses the ring an odd number of times."""
    corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    odd = np.zeros(len(points), dtype=np.bool_)
    if len(corners) < 3 or not len(points):
        return odd
    low, high = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    # Sorted by height, the points an edge can concern are one slice: long outlines of many corners stay cheap.
    near = near[np.argsort(points[near, 1], kind="stable")]
    x, y = points[near].T
    following = np.roll(corners, -1, axis=0)
    first = np.searchsorted(y, np.minimum(corners[:, 1], following[:, 1]), side="left")
    last = np.searchsorted(y, np.maximum(corners[:, 1], following[:, 1]), side="left")
    crossings = np.zeros(len(near), dtype=np.bool_)
    for (x1, y1), (x2, y2), start, end in zip(corners, following, first, last, strict=True):
        if start < end:
            crossings[start:end] ^= x[start:end] < x1 + (y[start:end] - y1) * (x2 - x1) / (y2 - y1)
    odd[near] = crossings
    return odd


def covered_share(annotation: Annotation, *, shape: tuple[int, int], pixel: float) -> NDArray[np.float32]:
    """Share of every pixel of a coarse grid that an annotation covers, 0 to 1, shape ``shape``.

    Parameters
    ----------
    pixel
        Level-0 pixels a pixel of the grid is wide; the grid begins at level-0 pixel 0, 0.
    """
    rows, columns = shape
    row, column = _crossings(annotation, _FINER / pixel, rows * _FINER, columns * _FINER)
    share = np.zeros(shape, dtype=np.float32)
    if not len(row):
        return share
    for start in range(int(row.min()) // _FINER, int(row.max()) // _FINER + 1, _BAND):
        height = min(_BAND, rows - start)
        here = (row >= start * _FINER) & (row < (start + height) * _FINER)
        canvas = np.zeros((height * _FINER, columns * _FINER + 1), dtype=np.uint8)
        np.add.at(canvas, (row[here] - start * _FINER, column[here]), 1)
        inner = (np.cumsum(canvas[:, :-1], axis=1, dtype=np.uint8) & 1).reshape(height, _FINER, columns, _FINER)
        share[start : start + height] = inner.mean(axis=(1, 3), dtype=np.float32)
    return share


def _crossings(annotation: Annotation, scale: float, rows: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and first column beyond each crossing of a line of sample points with an edge; sample points lie at .5."""
    found_rows, found_columns = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for ring in annotation.rings:
        corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2) * scale
        if len(corners) < 3:
            continue
        (x1, y1), (x2, y2) = corners.T, np.roll(corners, -1, axis=0).T
        first = np.clip(np.ceil(np.minimum(y1, y2) - 0.5), 0, rows).astype(np.int64)
        last = np.clip(np.ceil(np.maximum(y1, y2) - 0.5), 0, rows).astype(np.int64)
        edge = np.repeat(np.arange(len(corners)), last - first)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[edge]
        x = x1[edge] + (row + 0.5 - y1[edge]) * (x2[edge] - x1[edge]) / (y2[edge] - y1[edge])
        found_rows.append(row)
        found_columns.append(np.clip(np.ceil(x - 0.5), 0, columns).astype(np.int64))
    return np.concatenate(found_rows), np.concatenate(found_columns)
