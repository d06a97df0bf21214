"""A strategy applied to an acquisition: compensated once, transformed once, each gate on its parent's events only.

Knows how to be quick without being inexact. Must not know files or templates. Columns are kept in single precision, scales come
from tables; whatever lies so close to a border that either could decide it is computed again from the events by the definitions
in double precision, so that the memberships are those of the exact computation, event by event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.gate_columns import GateColumns, plan_columns
from biomarkers.cytometry.gate_shapes import (
    Combination,
    Ellipsoid,
    Floats64,
    Mask,
    Polygon,
    Rectangle,
    Side,
    inside_polygon,
    square_distances,
)
from biomarkers.cytometry.strategy import Gate, Strategy, dimensions_of

Rows: TypeAlias = npt.NDArray[np.intp]

FEW = 8
"""A parent's events are picked out where they are less than an eighth; otherwise comparing whole columns is quicker."""

BLOCK = 1 << 16
"""Events taken through all gates at a time, so that memory stays small and columns near the processor from gate to gate."""


def evaluate(strategy: Strategy, acquisition: Acquisition) -> Mapping[str, Mask]:
    """Tell which events each gate keeps, those of its parent included in the rule.

    Returns
    -------
    Mapping
        One boolean an event, in file order, by gate id, in the strategy's order.

    Raises
    ------
    GatingError
        The file lacks channels the gates look at, or a matrix cannot be undone; all of them at once.
    """
    axes = dict.fromkeys(axis for gate in strategy.gates for axis in dimensions_of(gate.shape))
    plan = plan_columns(acquisition, strategy, tuple(axes))
    count = acquisition.event_count
    members = {gate.gate_id: np.zeros(count, dtype=np.bool_) for gate in strategy.gates}
    with np.errstate(invalid="ignore", over="ignore"):  # events that are no measurement lie outside of every shape
        buffer = plan.buffer(min(count, BLOCK))
        for start in range(0, count, BLOCK):
            stop = min(count, start + BLOCK)
            columns = plan.block(start, stop, buffer)
            here = {gate_id: mask[start:stop] for gate_id, mask in members.items()}
            for gate in strategy.gates:
                _gate_block(gate, columns, here)
    return members


def _gate_block(gate: Gate, columns: GateColumns, members: Mapping[str, Mask]) -> None:
    """Enter which of a block's events a gate keeps."""
    into = members[gate.gate_id]
    parent = members[gate.parent] if gate.parent is not None else None
    if isinstance(gate.shape, Combination):
        _combine(gate.shape, members, into)
    else:
        rows = None
        if parent is not None:
            count = int(np.count_nonzero(parent))
            if count == 0:
                return
            if count * FEW <= columns.event_count:
                rows = np.flatnonzero(parent)
        kept = _inside(gate.shape, columns, rows)
        into[slice(None) if rows is None else rows] = kept
    if parent is not None:
        np.logical_and(into, parent, out=into)


def _combine(shape: Combination, members: Mapping[str, Mask], into: Mask) -> None:
    masks = [~members[one.gate] if one.complement else members[one.gate] for one in shape.references]
    if shape.operation == "not":
        np.logical_not(masks[0], out=into)
    elif shape.operation == "and":
        np.logical_and.reduce(masks, out=into)
    else:
        np.logical_or.reduce(masks, out=into)


def _inside(shape: Rectangle | Polygon | Ellipsoid, columns: GateColumns, rows: Rows | None) -> Mask:
    match shape:
        case Rectangle():
            kept = _in_rectangle(shape, columns, rows)
            return kept if shape.inside else ~kept
        case Polygon():
            kept = _in_polygon(shape, columns, rows)
            return kept if shape.inside else ~kept
        case Ellipsoid():
            return _in_ellipsoid(shape, columns, rows)


def _in_rectangle(shape: Rectangle, columns: GateColumns, rows: Rows | None) -> Mask:
    kept: Mask | None = None
    for side in shape.sides:
        for border, is_upper in ((side.minimum, False), (side.maximum, True)):
            if border is not None:
                mask = _beside(columns, side, border, rows, is_upper=is_upper)
                kept = mask if kept is None else np.logical_and(kept, mask, out=kept)
    if kept is None:  # no side has a limit: all events
        return np.ones(columns.event_count if rows is None else rows.size, dtype=np.bool_)
    return kept


def _beside(columns: GateColumns, side: Side, border: float, rows: Rows | None, *, is_upper: bool) -> Mask:
    """Events below an upper border, or from a lower one on: by the quick column where that is certain, else by definition."""
    column = columns.quick(side.dimension, rows)
    margin = columns.margin(side.dimension, border)
    low, high = np.float32(border - margin), np.float32(border + margin)
    certain: Mask = column < low if is_upper else column > high
    maybe = column <= high if is_upper else column >= low
    if np.count_nonzero(maybe) != np.count_nonzero(certain):
        near = np.flatnonzero(maybe & ~certain)
        exact = columns.exact(side.dimension, near if rows is None else rows[near])
        certain[near] = exact < border if is_upper else exact >= border
    return certain


def _in_polygon(shape: Polygon, columns: GateColumns, rows: Rows | None) -> Mask:
    corners = np.array(shape.vertices)
    near = np.ones(columns.event_count if rows is None else rows.size, dtype=np.bool_)
    reach = []
    for axis, values in zip(shape.dimensions, corners.T, strict=True):
        column, margin = columns.quick(axis, rows), columns.margin(axis, float(np.abs(values).max()))
        near &= column >= np.float32(values.min() - margin)
        near &= column <= np.float32(values.max() + margin)
        reach.append(margin)
    place = np.flatnonzero(near)
    kept = np.zeros(near.size, dtype=np.bool_)
    events = place if rows is None else rows[place]
    points = np.empty((place.size, 2))
    for number, axis in enumerate(shape.dimensions):
        points[:, number] = columns.quick(axis, events)
    inside = inside_polygon(shape, points)
    is_exact = all(columns.is_exact(axis) for axis in shape.dimensions)
    unsure = np.empty(0, dtype=np.intp) if is_exact else _near_border(corners, points, reach)
    if unsure.size:
        exact = np.column_stack([columns.exact(axis, events[unsure]) for axis in shape.dimensions])
        inside[unsure] = inside_polygon(shape, exact)
    kept[place] = inside
    return kept


def _near_border(corners: Floats64, points: Floats64, reach: Sequence[float]) -> Rows:
    """Find points whose box of uncertainty touches the line through one of a polygon's edges."""
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    touching = np.zeros(x.size, dtype=np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        across = x * (y2 - y1)
        across -= y * (x2 - x1)
        across -= x1 * (y2 - y1) - y1 * (x2 - x1)
        np.abs(across, out=across)
        touching |= across <= reach[0] * abs(y2 - y1) + reach[1] * abs(x2 - x1)
    return np.flatnonzero(touching)


def _in_ellipsoid(shape: Ellipsoid, columns: GateColumns, rows: Rows | None) -> Mask:
    points = np.column_stack([columns.quick(axis, rows).astype(np.float64) for axis in shape.dimensions])
    squares = square_distances(shape, points)
    kept: Mask = squares <= shape.distance_square
    # Farthest the ellipsoid reaches on an axis from zero: values are rounded in proportion to it.
    half = np.sqrt(np.diag(np.array(shape.covariance)) * shape.distance_square)
    farthest = np.abs(np.array(shape.mean)) + np.abs(half)
    step = np.array([columns.margin(axis, float(reach)) for axis, reach in zip(shape.dimensions, farthest, strict=True)])
    # The distance changes by no more than this when every axis is off by its margin.
    length = float(np.sqrt(np.linalg.norm(np.linalg.inv(np.array(shape.covariance)), 2) * (step**2).sum()))
    slack = 2 * length * float(np.sqrt(shape.distance_square)) + 2 * length**2
    unsure = np.flatnonzero(np.abs(squares - shape.distance_square) <= 2 * slack)
    if unsure.size:
        events = unsure if rows is None else rows[unsure]
        exact = np.column_stack([columns.exact(axis, events) for axis in shape.dimensions])
        kept[unsure] = square_distances(shape, exact) <= shape.distance_square
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationCount:
    """How many events a gate keeps, and of how many."""

    gate_id: str
    path: tuple[str, ...]
    count: int
    parent_count: int

    @property
    def percent(self) -> float | None:
        """Frequency of the parent; None where that is empty."""
        return 100.0 * self.count / self.parent_count if self.parent_count else None


def count_populations(strategy: Strategy, members: Mapping[str, Mask]) -> tuple[PopulationCount, ...]:
    """Count every gate's events, in the strategy's order."""
    total = next((mask.size for mask in members.values()), 0)
    counts = {gate_id: int(np.count_nonzero(mask)) for gate_id, mask in members.items()}
    return tuple(
        PopulationCount(
            gate_id=gate.gate_id,
            path=strategy.path(gate.gate_id),
            count=counts[gate.gate_id],
            parent_count=total if gate.parent is None else counts[gate.parent],
        )
        for gate in strategy.gates
    )
