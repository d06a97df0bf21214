"""Study figures as inline SVG, coloured by class, so that a page needs neither script nor style within it.

Knows how panels, lines and bars are laid out. Must not know what a figure is about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from markupsafe import Markup

from biomarkers.reports.figures import Axis, Drawing, Frame, Tick, linear_axis, log_axis
from biomarkers.reports.study_figures import STUDY_DAY, FigurePanel, Point, StudyFigure

WIDTH, HEIGHT = 560.0, 350.0


def panels(figure: StudyFigure) -> tuple[Markup, ...]:
    """Draw each panel of a figure on the same axes, so that they can be compared by eye."""
    x_axis, y_axis = _x_axis(figure), _y_axis(figure)
    return tuple(_panel(figure, panel, at, x_axis, y_axis) for at, panel in enumerate(figure.panels))


def _panel(figure: StudyFigure, panel: FigurePanel, at: int, x_axis: Axis, y_axis: Axis) -> Markup:
    title = f"{figure.title}. {panel.title}".strip(" .")
    drawing = Drawing(WIDTH, HEIGHT, title)
    frame = Frame(left=64, top=26, width=WIDTH - 78, height=HEIGHT - 94, x=x_axis, y=y_axis)
    drawing.axes(frame)
    if panel.title:
        drawing.text((frame.left, 16), panel.title, "panel-title", anchor="start")
    for level in panel.levels:
        if y_axis.low <= level.y <= y_axis.high:
            y = frame.at_y(level.y)
            drawing.line((frame.left, y), (frame.right, y), "limit")
            drawing.text((frame.right, y - 4), level.name, "tick", anchor="end")
    shade = f"shade-{at % 6}"
    for line in panel.lines:
        drawing.path((frame.at(point.x, point.y) for point in line.points), f"course {shade}")
    for line in panel.lines:
        for point in line.points:
            _mark(drawing, frame.at(point.x, point.y), point, shade)
    for bar in panel.bars:
        low = frame.bottom if bar.low is None else frame.at_y(bar.low)
        high = frame.top if bar.high is None else frame.at_y(bar.high)
        wide = 0.8 * frame.width / (x_axis.high - x_axis.low)  # the axis is shared, however many bars this panel has
        kind = f"bar-change {shade}" + (" bar-bound" if bar.is_bound else "")
        drawing.rectangle((frame.at_x(bar.x) - wide / 2, high), (wide, max(1.0, low - high)), kind, title=bar.words)
    if not panel.lines and not panel.bars:
        drawing.text(((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2), "nothing to draw", "label")
    if panel.n_words:
        drawing.text(((frame.left + frame.right) / 2, HEIGHT - 8), panel.n_words, "label", anchor="middle")
    return drawing.markup()


def _mark(drawing: Drawing, place: tuple[float, float], point: Point, shade: str) -> None:
    """Draw a value as a filled circle; a bound hollow, pointing where the value may lie."""
    x, y = place
    if point.is_ringed:
        drawing.circle(place, 7.5, "mark-ring")
    if point.mark == "value":
        drawing.circle(place, 3.2, f"mark {shade}", title=point.words)
        return
    tip = 5.0 if point.mark == "below" else -5.0
    corners = ((x, y + tip), (x + 4.6, y - tip * 0.6), (x - 4.6, y - tip * 0.6))
    drawing.path(corners, f"mark-hollow {shade}", closed=True, title=point.words)


def _x_axis(figure: StudyFigure) -> Axis:
    if figure.x_ticks is not None:
        ticks = tuple(Tick(at=place, label=name) for place, name in figure.x_ticks.items())
        return Axis(low=min(figure.x_ticks) - 0.3, high=max(figure.x_ticks) + 0.3, label=figure.x_label, ticks=ticks)
    if any(panel.bars for panel in figure.panels):
        most = max(len(panel.bars) for panel in figure.panels)
        return Axis(low=0.0, high=most + 1.0, label=figure.x_label, ticks=())
    found = [point.x for panel in figure.panels for line in panel.lines for point in line.points]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    room = 0.03 * ((high - low) or 1.0)
    axis = linear_axis(low - room, high + room, figure.x_label)
    if figure.x_label != STUDY_DAY:
        return axis
    # There is no day 0: the day of the first dose is day 1.
    return replace(axis, ticks=tuple(Tick(at=1.0, label="1") if tick.at == 0 else tick for tick in axis.ticks))


def _y_axis(figure: StudyFigure) -> Axis:
    found = list(_heights(figure.panels))
    if not found:
        return linear_axis(0.0, 1.0, figure.y_label)
    low, high = min(found), max(found)
    if figure.is_log and low > 0:
        return log_axis(low / 1.25, high * 1.25, figure.y_label)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    return linear_axis(low - room, high + room, figure.y_label)


def _heights(drawn: Iterable[FigurePanel]) -> Iterable[float]:
    for panel in drawn:
        for line in panel.lines:
            yield from (point.y for point in line.points if math.isfinite(point.y))
        for bar in panel.bars:
            yield from (end for end in (bar.low, bar.high, 0.0) if end is not None)
