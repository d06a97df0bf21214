"""The quality page of one acquisition: the tree of populations, every gate on its density, the frequencies reported.

Knows what a cytometrist asks of a gating. Must not know how a gate was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from biomarkers.cytometry.analysis import AcquisitionAnalysis, PopulationRecord
from biomarkers.cytometry.panel import ROOT
from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.cytometry.time_quality import TimeQuality
from biomarkers.reports.figures import Axis, Drawing, Frame, Point, Tick, density_picture, linear_axis
from biomarkers.reports.gate_densities import GateCut, GateDensity
from biomarkers.reports.joint_values import JointValues
from biomarkers.reports.page import Fact, all_findings, render
from biomarkers.reports.population_tree import population_tree
from biomarkers.reports.time_figure import time_figure
from biomarkers.results import Finding, Interval

_PLOT = 236.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationRow:
    """A population in the tree.

    Attributes
    ----------
    depth
        Steps below all events.
    place
        Its frequency with the interval, on an axis from 0 to 100 %.
    """

    record: PopulationRecord
    depth: int
    interval: Interval | None
    place: Markup
    quality: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePart:
    """A gate's picture with what stands below it."""

    population: str
    parent: str
    picture: Markup
    events: int
    kept: int
    cuts: tuple[CutRow, ...]
    outline: OutlineRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutRow:
    """One cut in words."""

    cut: GateCut
    marker: str
    quality: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineRow:
    """An ellipse in words."""

    markers: str
    origin: str
    quality: float | None
    mark: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePart:
    """Signal and flow over time, with what was left out."""

    picture: Markup
    slices: int
    removed: int
    removed_percent: float
    has_rate: bool


def acquisition_page(
    analysis: AcquisitionAnalysis,
    densities: Sequence[GateDensity] = (),
    *,
    title: str,
    over_time: TimeQuality | None = None,
    limits: QualityLimits | None = None,
    beside: JointValues | None = None,
) -> str:
    """Write the quality page of an acquisition: one HTML document that needs nothing besides itself.

    Parameters
    ----------
    densities
        From :func:`~biomarkers.reports.gate_densities.gate_densities`; without them the page shows no gates.
    title
        Heading of the page, such as the acquisition's name.
    over_time
        From :func:`~biomarkers.cytometry.time_quality.judge_time`; without it the page shows nothing over time.
    limits
        The panel's, drawn into the figure over time.
    beside
        The acquisition's own values and cuts, where it was gated together with others.
    """
    run = analysis.run
    depths = _depths(analysis.populations)
    of_populations: list[Finding] = [finding for record in analysis.populations for finding in record.findings]
    return render(
        "acquisition.html",
        title=title,
        provenance=run.provenance,
        findings=all_findings(run.findings, of_populations, results=run.results),
        facts=(
            Fact(name="acquisition", value=run.name),
            Fact(name="acquired", value=run.acquired_at),
            Fact(name="panel", value=analysis.panel),
            Fact(name="events", value=str(analysis.events)),
            Fact(name="accession", value=", ".join(dict.fromkeys(result.accession_id for result in run.results))),
            Fact(name="run", value=run.run_id),
        ),
        results=run.results,
        populations=[
            PopulationRow(
                record=record,
                depth=depths[record.name],
                interval=None if record.lower is None else Interval(lower=record.lower, upper=record.upper),
                place=frequency_place(record),
                quality=quality_mark(record.quality),
            )
            for record in depth_first(analysis.populations)
        ],
        tree=population_tree(analysis.populations, analysis.events),
        gates=[_gate_part(density) for density in densities],
        over_time=None if over_time is None else _time_part(over_time, limits or QualityLimits()),
        beside=beside,
    )


def _time_part(over_time: TimeQuality, limits: QualityLimits) -> TimePart | None:
    if len(over_time.slices) < 2:
        return None
    return TimePart(
        picture=time_figure(over_time, limits),
        slices=len(over_time.slices),
        removed=over_time.removed,
        removed_percent=over_time.removed_percent,
        has_rate=over_time.rate is not None,
    )


def _depths(populations: Sequence[PopulationRecord]) -> dict[str, int]:
    depths = {ROOT: -1}
    for record in populations:
        depths[record.name] = depths.get(record.parent, -1) + 1
    return depths


def depth_first(populations: Sequence[PopulationRecord]) -> list[PopulationRecord]:
    """Put every population below its parent, siblings in the panel's order."""
    ordered: list[PopulationRecord] = []

    def descend(parent: str) -> None:
        for record in populations:
            if record.parent == parent:
                ordered.append(record)
                descend(record.name)

    descend(ROOT)
    return ordered


def frequency_place(record: PopulationRecord) -> Markup:
    """Draw a frequency as a bar of its parent with its 95 % limits."""
    drawing = Drawing(150, 22, f"Share of {record.parent}", kind="figure strip")
    drawing.rectangle((4, 6), (142, 10), "allowed", rounded=2)
    if record.frequency_percent is not None:
        drawing.rectangle((4, 6), (1.42 * record.frequency_percent, 10), "bar", rounded=2)
    if record.lower is not None and record.upper is not None:
        drawing.line((4 + 1.42 * record.lower, 11), (4 + 1.42 * record.upper, 11), "whisker-dark")
        for limit in (record.lower, record.upper):
            drawing.line((4 + 1.42 * limit, 7.5), (4 + 1.42 * limit, 14.5), "whisker-dark")
    return drawing.markup()


def quality_mark(quality: float | None) -> Markup:
    """Draw a quality from 0 to 1 as five squares filled from the left; nothing where a cut has none."""
    if quality is None:
        return Markup("")
    drawing = Drawing(54, 12, f"quality {quality:.2f}", kind="mark")
    for index in range(5):
        part = min(1.0, max(0.0, 5 * quality - index))
        drawing.rectangle((1 + 10.6 * index, 1.5), (8.6, 9), "quality-empty", rounded=1.5)
        drawing.rectangle((1 + 10.6 * index, 1.5), (8.6 * part, 9), "quality-full", rounded=1.5)
    return drawing.markup()


def _gate_part(density: GateDensity) -> GatePart:
    return GatePart(
        population=density.population,
        parent="all events" if density.parent == ROOT else density.parent,
        picture=gate_picture(density),
        events=density.events,
        kept=density.members,
        cuts=tuple(
            CutRow(cut=cut, marker=_cut_marker(density, cut), quality=quality_mark(cut.quality)) for cut in density.cuts
        ),
        outline=None
        if density.outline is None
        else OutlineRow(
            markers=" and ".join(density.markers),
            origin=density.outline.origin,
            quality=density.outline.quality,
            mark=quality_mark(density.outline.quality),
        ),
    )


def _cut_marker(density: GateDensity, cut: GateCut) -> str:
    if cut.axis < 0:
        return f"{density.markers[1]} / {density.markers[0]}"
    return density.markers[cut.axis]


def gate_picture(density: GateDensity) -> Markup:
    """Draw a gate on its density: a plane of two markers, or the outline of one, with its cuts and what they keep."""
    drawing = Drawing(
        _PLOT + 64, _PLOT + 56, f"{density.population} within {density.parent} on {' and '.join(density.markers)}"
    )
    axes = [
        Axis(low=float(edges[0]), high=float(edges[-1]), label=marker, ticks=ticks)
        for marker, edges, ticks in zip(density.markers, density.edges, density.ticks, strict=True)
    ]
    if len(axes) == 1:
        _draw_outline(drawing, density, axes[0])
    else:
        _draw_plane(drawing, density, axes[0], axes[1])
    return drawing.markup()


def _draw_outline(drawing: Drawing, density: GateDensity, axis: Axis) -> None:
    top = float(density.counts.max(initial=1)) or 1.0
    y_axis = linear_axis(0, 1.08 * top, "events", wanted=4)
    y_axis = Axis(low=0, high=1.08 * top, label="events", ticks=tuple(_brief(tick) for tick in y_axis.ticks))
    frame = Frame(left=54, top=10, width=_PLOT, height=_PLOT, x=axis, y=y_axis)
    drawing.path(_steps(frame, density, density.counts), "outline-all", closed=True)
    drawing.path(_steps(frame, density, density.kept), "outline-kept", closed=True)
    drawing.axes(frame, grid=False)
    for cut in density.cuts:
        x = frame.at_x(cut.value)
        drawing.line((x, frame.top), (x, frame.bottom), "cut")
        side = 1 if cut.sign == "+" else -1
        drawing.path(((x, frame.top), (x + side * 9, frame.top + 5), (x, frame.top + 10)), "cut-side", closed=True)


def _brief(tick: Tick) -> Tick:
    return Tick(at=tick.at, label=f"{tick.at / 1000:.10g}k") if tick.at >= 1000 else tick


def _steps(frame: Frame, density: GateDensity, counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[Point]:
    edges = density.edges[0]
    points = [frame.at(float(edges[0]), 0)]
    for index, count in enumerate(counts):
        points += [frame.at(float(edges[index]), float(count)), frame.at(float(edges[index + 1]), float(count))]
    return [*points, frame.at(float(edges[-1]), 0)]


def _draw_plane(drawing: Drawing, density: GateDensity, x_axis: Axis, y_axis: Axis) -> None:
    frame = Frame(left=54, top=10, width=_PLOT, height=_PLOT, x=x_axis, y=y_axis)
    drawing.picture((frame.left, frame.top), (frame.width, frame.height), density_picture(density.counts), crisp=True)
    drawing.axes(frame, grid=False)
    drawing.line((frame.left, frame.top), (frame.left, frame.bottom), "axis")
    if density.outline is not None:
        drawing.path([frame.at(float(x), float(y)) for x, y in density.outline.points], "gate", closed=True)
        return
    rays = sorted((cut.value for cut in density.cuts if cut.axis < 0), reverse=True)
    if rays:
        _draw_rays(drawing, frame, rays)
        return
    limits = [[axis.low, axis.high] for axis in (x_axis, y_axis)]
    for cut in density.cuts:
        side = limits[cut.axis]
        if cut.sign == "+":
            side[0] = max(side[0], cut.value)
        else:
            side[1] = min(side[1], cut.value)
    (left, right), (low, high) = limits
    corners = [frame.at(left, high), frame.at(right, high), frame.at(right, low), frame.at(left, low)]
    if left < right and low < high:
        drawing.path(corners, "gate", closed=True)
    for cut in density.cuts:
        if cut.axis == 0:
            drawing.line(frame.at(cut.value, y_axis.low), frame.at(cut.value, y_axis.high), "cut")
        else:
            drawing.line(frame.at(x_axis.low, cut.value), frame.at(x_axis.high, cut.value), "cut")


def _draw_rays(drawing: Drawing, frame: Frame, rays: Sequence[float]) -> None:
    """Draw lines of constant ratio of the upright marker to the level one, and what lies between the outermost two."""
    places = np.linspace(max(frame.x.low, 0.0), frame.x.high, 60)
    outlines: list[list[Point]] = []
    for ray in rays:
        heights = places * float(np.exp(ray))
        inside = (heights >= frame.y.low) & (heights <= frame.y.high)
        drawing.path([frame.at(float(x), float(y)) for x, y in zip(places[inside], heights[inside], strict=True)], "cut")
        outlines.append([frame.at(float(x), float(y)) for x, y in zip(places, heights, strict=True)])
    if len(outlines) > 1:
        drawing.path([*outlines[0], *reversed(outlines[-1])], "gate", closed=True)
