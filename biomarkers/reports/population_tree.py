"""The tree of an acquisition's populations with their frequencies, drawn.

Knows populations and their parents. Must not know how they were gated.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from markupsafe import Markup

from biomarkers.cytometry.analysis import PopulationRecord
from biomarkers.cytometry.panel import ROOT
from biomarkers.reports.figures import Drawing, Point

_STEP = 168.0
_BOX = (142.0, 34.0)
_ROW = 40.0
_ALL = "all events"


def population_tree(populations: Sequence[PopulationRecord], events: int) -> Markup:
    """Draw the tree from left to right; a branch is the broader the larger its share of the parent."""
    children: dict[str, list[PopulationRecord]] = {}
    for record in populations:
        children.setdefault(record.parent, []).append(record)
    places: dict[str, Point] = {}
    rows = _place(ROOT, 0, 0.0, children, places)
    depth = max((int(x / _STEP) for x, _ in places.values()), default=0)
    drawing = Drawing(8 + depth * _STEP + _BOX[0] + 8, rows * _ROW + 8, "Tree of populations", kind="figure tree-figure")
    for record in populations:
        if record.parent in places and record.name in places:
            _branch(drawing, places[record.parent], places[record.name], record.frequency_percent)
    _box(drawing, places[ROOT], _ALL, str(events), "node")
    for record in populations:
        if record.name not in places:
            continue
        share = "" if record.frequency_percent is None else f"{record.frequency_percent:.3g} %"
        kind = "node" if record.reportable else "node-off"
        _box(drawing, places[record.name], record.name, f"{share} · {record.count}" if share else str(record.count), kind)
    return drawing.markup()


def _place(name: str, depth: int, row: float, children: dict[str, list[PopulationRecord]], places: dict[str, Point]) -> float:
    """Give a population and those below it their places; return how many rows they take."""
    taken = 0.0
    for child in children.get(name, []):
        taken += _place(child.name, depth + 1, row + taken, children, places)
    places[name] = (8 + depth * _STEP, 4 + (row + (taken - 1) / 2 if taken else row) * _ROW)
    return max(taken, 1.0)


def _branch(drawing: Drawing, parent: Point, child: Point, percent: float | None) -> None:
    start = (parent[0] + _BOX[0], parent[1] + _BOX[1] / 2)
    end = (child[0], child[1] + _BOX[1] / 2)
    half = 0.75 + 3.0 * (percent or 0.0) / 100.0
    # Square to the branch, so that a steep one is as broad as a level one.
    across, down = end[0] - start[0], end[1] - start[1]
    length = hypot(across, down)
    x, y = -down / length * half, across / length * half
    corners = [(start[0] + x, start[1] + y), (end[0] + x, end[1] + y), (end[0] - x, end[1] - y), (start[0] - x, start[1] - y)]
    drawing.path(corners, "branch-line", closed=True)


def _box(drawing: Drawing, corner: Point, name: str, below: str, kind: str) -> None:
    drawing.rectangle(corner, _BOX, kind, rounded=5)
    x = corner[0] + _BOX[0] / 2
    shown = name if len(name) <= 22 else f"{name[:21]}…"
    drawing.text((x, corner[1] + 14), shown, "node-name")
    drawing.text((x, corner[1] + 28), below, "tick")
