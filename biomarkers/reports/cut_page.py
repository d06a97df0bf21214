"""The study's page of cuts: every gate over all acquisitions, batch by batch, and the control PBMC's charts.

Knows what a cytometrist looks for across batches: a cut that wanders, one far from its neighbours, one without a valley. Must
not know how a cut was found. One HTML document that needs nothing besides itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from biomarkers.cytometry.cut_records import CutRecord, Place
from biomarkers.cytometry.cuts import NO_VALLEY_QUALITY
from biomarkers.laboratory.cut_overview import BatchOverview, CutOverview, TubeOverview
from biomarkers.reports.control_chart import control_chart
from biomarkers.reports.figures import Axis, Drawing, Frame, Tick, linear_axis, number
from biomarkers.reports.page import environment
from biomarkers.study.cellular import TubeRole

COFACTOR = 150.0
"""Of the inverse hyperbolic sine on which cuts are drawn: straight around zero, logarithmic far from it, for every marker."""

STEP = 13.0
"""Pixels from one acquisition to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFigure:
    """One gate over the acquisitions.

    Attributes
    ----------
    acquisitions, without_valley, far, joint
        How many acquisitions have the cut, and of how many it lacks a valley, lies far from its batch or is joint.
    """

    population: str
    marker: str
    picture: Markup
    acquisitions: int
    without_valley: int
    far: int
    joint: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch in words."""

    batch: str
    first_day: str
    specimens: int
    control: str
    failed: tuple[str, ...]
    others: tuple[str, ...]


def cut_page(overview: CutOverview, *, title: str, panel: str = "") -> str:
    """Write the page.

    Parameters
    ----------
    panel
        Only acquisitions gated by this template; all where empty.
    """
    tubes = [tube for tube in overview.tubes if panel in {"", tube.panel}]
    places = dict.fromkeys(place for tube in tubes for place in tube.found)
    page = (
        environment()
        .get_template("cuts.html")
        .render(
            title=title,
            acquisitions=len(tubes),
            gates=[gate_figure(place, tubes) for place in places],
            batches=[_row(batch) for batch in overview.batches],
            charts=[(series, control_chart(series, "")) for series in overview.charts if panel in {"", series.kit_lot}],
        )
    )
    return "\n".join(line.rstrip() for line in page.splitlines() if line.strip()) + "\n"


def gate_figure(place: Place, tubes: Sequence[TubeOverview]) -> GateFigure:
    """Draw one gate's cut over the acquisitions that have it, in the order given."""
    having = [tube for tube in tubes if place in tube.found]
    cuts = [tube.found[place] for tube in having]
    is_linear = cuts[0].scale.kind == "linear"
    drawing = Drawing(
        120 + STEP * max(len(having), 24), 236, f"Cut of {place[0]} on {place[1]} over {len(having)} acquisitions"
    )
    values = [value for tube, cut in zip(having, cuts, strict=True) for value in _shown(tube, cut, place, is_linear=is_linear)]
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.5
    frame = Frame(
        left=70,
        top=30,
        width=STEP * max(len(having), 24),
        height=158,
        x=Axis(low=-0.8, high=max(len(having), 24) - 0.2, label="", ticks=()),
        y=_value_axis(low - room, high + room, is_linear=is_linear),
    )
    drawing.axes(frame)
    _draw_batches(drawing, frame, having)
    for index, (tube, cut) in enumerate(zip(having, cuts, strict=True)):
        _draw_cut(drawing, frame, index, tube, cut)
    return GateFigure(
        population=place[0],
        marker=place[1],
        picture=drawing.markup(),
        acquisitions=len(having),
        without_valley=sum(_lacks_valley(cut) for cut in cuts),
        far=sum(place in tube.far for tube in having),
        joint=sum(place in tube.joint for tube in having),
    )


def _scaled(value: float, *, is_linear: bool) -> float:
    return value if is_linear else math.asinh(value / COFACTOR)


def _ends(cut: CutRecord) -> tuple[float, float]:
    ordered = sorted(cut.draws) or [cut.value]
    reach = len(ordered) // 40
    return ordered[reach], ordered[-1 - reach]


def _shown(tube: TubeOverview, cut: CutRecord, place: Place, *, is_linear: bool) -> list[float]:
    joint = [tube.joint[place]] if place in tube.joint else []
    return [_scaled(value, is_linear=is_linear) for value in (cut.value, *_ends(cut), *joint)]


def _value_axis(low: float, high: float, *, is_linear: bool) -> Axis:
    if is_linear:
        return linear_axis(low, high, "cut", wanted=4)
    candidates = sorted(
        {sign * factor * 10.0**decade for sign in (-1, 1) for decade in range(1, 7) for factor in (1, 3)} | {0.0}
    )
    inside = [value for value in candidates if low <= math.asinh(value / COFACTOR) <= high]
    if len(inside) < 2:
        ends = [COFACTOR * math.sinh(place) for place in (low, (low + high) / 2, high)]
        inside = [float(f"{value:.3g}") for value in ends]
    ticks = tuple(Tick(at=math.asinh(value / COFACTOR), label=f"{value:.10g}") for value in inside)
    return Axis(low=low, high=high, label="cut, compensated linear", ticks=ticks)


def _draw_batches(drawing: Drawing, frame: Frame, tubes: Sequence[TubeOverview]) -> None:
    starts = [index for index, tube in enumerate(tubes) if index == 0 or tubes[index - 1].batch != tube.batch]
    last = -math.inf
    for index in starts:
        x = frame.at_x(index - 0.5)
        if index:
            drawing.line((x, frame.top), (x, frame.bottom), "axis")
        words = (tubes[index].batch or "no batch")[:14]
        if x > last:  # names of narrow batches would lie on each other
            drawing.text((x + 2, frame.bottom + 15), words, "tick", anchor="start")
            last = x + 7.0 * len(words)
    drawing.text(
        (frame.left, frame.bottom + 36), "acquisitions by staining batch, in the order of acquisition", "label", anchor="start"
    )


def _draw_cut(drawing: Drawing, frame: Frame, index: int, tube: TubeOverview, cut: CutRecord) -> None:
    place, is_linear = (cut.population, cut.marker), cut.scale.kind == "linear"
    low, high = (_scaled(value, is_linear=is_linear) for value in _ends(cut))
    at = frame.at(index, _scaled(cut.value, is_linear=is_linear))
    drawing.line(frame.at(index, low), frame.at(index, high), "whisker")
    quality = "" if cut.quality is None else f", quality {cut.quality:.2f}"
    told = f"{tube.name} {tube.day} {tube.batch}: {number(cut.value)}, {cut.origin}{quality}"
    if place in tube.joint:
        joint = _scaled(tube.joint[place], is_linear=is_linear)
        drawing.diamond(frame.at(index, joint), 4.2, "joint", title=f"{tube.name}: joint {number(tube.joint[place])}")
    if tube.role is TubeRole.CONTROL_PBMC:
        drawing.rectangle((at[0] - 3.2, at[1] - 3.2), (6.4, 6.4), "mark-control", title=f"control PBMC {told}")
    else:
        drawing.circle(at, 3.4, "mark-rejected" if _lacks_valley(cut) else "mark-accepted", title=told)
    if place in tube.far:
        drawing.circle(at, 7.2, "far", title=f"{told}; {tube.far[place]:+.1f} robust standard deviations from its batch")


def _lacks_valley(cut: CutRecord) -> bool:
    return cut.lacks_valley or cut.quality is None or cut.quality < NO_VALLEY_QUALITY


def _row(batch: BatchOverview) -> BatchRow:
    control = "failed" if batch.failed else "in order" if batch.has_control else "none"
    return BatchRow(
        batch=batch.batch,
        first_day=batch.first_day,
        specimens=batch.specimens,
        control=control,
        failed=tuple(f"{name} {why}" for name, why in sorted(batch.failed.items())),
        others=tuple(f"{role.value}: {', '.join(names)}" for role, names in sorted(batch.others.items())),
    )
