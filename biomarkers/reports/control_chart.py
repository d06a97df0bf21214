"""A Levey-Jennings chart: one control level of one lot over its runs.

Knows a control's series. Must not know how its limits were set, nor the page around it.
"""

from __future__ import annotations

from markupsafe import Markup

from biomarkers.elisa.control_charts import ControlSeries
from biomarkers.reports.figures import Axis, Drawing, Frame, Tick, linear_axis, number, unit_words

LATEST_RUNS = 40
"""Runs drawn; earlier ones have set the limits and are left out of the picture."""


def control_chart(series: ControlSeries, run_id: str, *, unit: str = "", declared: tuple[float, float] | None = None) -> Markup:
    """Draw a control's means over runs between its limits; this run is ringed, rejected runs are hollow.

    Parameters
    ----------
    run_id
        The run the page is about.
    unit
        Of the control's concentration.
    declared
        The range the lot's certificate gives; drawn until the laboratory's own runs have set limits.
    """
    points = series.points[-LATEST_RUNS:]
    values = [point.point.value for point in points]
    if series.mean is not None and series.sd is not None:
        values += [series.mean - 3.2 * series.sd, series.mean + 3.2 * series.sd]
    if declared is not None and not series.is_established:
        values += declared
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low)
    drawing = Drawing(560, 212, f"Control {series.level} of {series.analyte}, lot {series.kit_lot}, over {len(points)} runs")
    first = len(series.points) - len(points)
    ticks = tuple(
        Tick(at=float(index), label=str(first + index + 1))
        for index in range(len(points))
        if index in (0, len(points) - 1) or (first + index + 1) % 10 == 0
    )
    frame = Frame(
        left=62,
        top=24,
        width=442,
        height=140,
        x=Axis(low=-0.7, high=max(1.0, len(points) - 0.3), label="run", ticks=ticks),
        y=linear_axis(low - room, high + room, f"mean, {unit_words(unit)}" if unit else "mean", wanted=4),
    )
    drawing.axes(frame, grid=False)
    _limits(drawing, frame, series)
    for end in declared if declared is not None and not series.is_established else ():
        drawing.line((frame.left, frame.at_y(end)), (frame.right, frame.at_y(end)), "chart-warning")
        drawing.text((frame.right + 4, frame.at_y(end) + 3.5), "kit", "tick", anchor="start")
    drawing.path((frame.at(index, point.point.value) for index, point in enumerate(points)), "chart-line")
    for index, point in enumerate(points):
        place = frame.at(index, point.point.value)
        told = f"{point.point.measured_at} {number(point.point.value)} {', '.join(point.violated)}".strip()
        drawing.circle(place, 3.4, "mark-accepted" if point.point.is_accepted else "mark-rejected", title=told)
        if point.point.run_id == run_id:
            drawing.circle(place, 7.5, "mark-this")
        if point.violated:
            drawing.text((place[0], place[1] - 10), point.violated[-1], "value-off")
    return drawing.markup()


def _limits(drawing: Drawing, frame: Frame, series: ControlSeries) -> None:
    if series.mean is None or series.sd is None:
        return
    for distance in (-3, -2, 0, 2, 3):
        y = frame.at_y(series.mean + distance * series.sd)
        kind = "chart-mean" if distance == 0 else "limit" if abs(distance) == 3 else "chart-warning"
        drawing.line((frame.left, y), (frame.right, y), kind)
        drawing.text((frame.right + 4, y + 3.5), f"{distance:+d} s" if distance else "mean", "tick", anchor="start")
