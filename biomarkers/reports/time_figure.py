"""How signal and flow of an acquisition went over time, drawn.

Knows what judging over time gave. Must not know how it was judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.cytometry.time_quality import Slice, TimeQuality
from biomarkers.reports.figures import Axis, Drawing, Frame, Point, Tick, linear_axis

_WIDTH = 640.0
_RATE_HEIGHT = 84.0
_SIGNAL_HEIGHT = 130.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Neighbouring slices of one fate."""

    kind: Slice
    begin: float
    end: float


def time_figure(quality: TimeQuality, limits: QualityLimits) -> Markup:
    """Draw flow rate and the largest deviation of any channel by slice; what was left out is shaded."""
    borders = _borders(quality)
    label = "events" if quality.seconds is None else "time on the instrument's clock"
    plain = linear_axis(float(borders[0]), float(borders[-1]), label, wanted=6)
    x_axis = Axis(low=plain.low, high=plain.high, label=plain.label, ticks=tuple(_brief(tick) for tick in plain.ticks))
    has_rate = quality.rate is not None
    height = (_RATE_HEIGHT + 26 if has_rate else 0) + _SIGNAL_HEIGHT + 52
    drawing = Drawing(_WIDTH + 70, height, "Flow rate and signal over time", kind="figure time")
    top = 10.0
    if quality.rate is not None:
        high = max(limits.rate_factor.value * 1.15, min(float(quality.rate.max()), 2 * limits.rate_factor.value))
        bare = Axis(low=x_axis.low, high=x_axis.high, label="", ticks=())
        frame = Frame(left=58, top=top, width=_WIDTH, height=_RATE_HEIGHT, x=bare, y=linear_axis(0, high, "rate", wanted=3))
        _shade(drawing, frame, quality, borders)
        drawing.axes(frame)
        for limit in (limits.rate_factor.value, 1 / limits.rate_factor.value):
            drawing.line(frame.at(x_axis.low, limit), frame.at(x_axis.high, limit), "limit")
        drawing.path(_steps(frame, borders, quality.rate), "curve")
        top = frame.bottom + 26
    high = max(1.3 * limits.deviation.value, min(float(quality.deviation.max()) * 1.05, 5 * limits.deviation.value))
    y_axis = linear_axis(0, high, "deviation", wanted=4)
    frame = Frame(left=58, top=top, width=_WIDTH, height=_SIGNAL_HEIGHT, x=x_axis, y=y_axis)
    _shade(drawing, frame, quality, borders)
    drawing.axes(frame)
    drawing.line(frame.at(x_axis.low, limits.deviation.value), frame.at(x_axis.high, limits.deviation.value), "limit")
    drawing.path(_steps(frame, borders, quality.deviation), "curve")
    return drawing.markup()


def _borders(quality: TimeQuality) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Where slices begin and the last one ends, on the clock or in events."""
    if quality.seconds is None:
        return quality.edges.astype(np.float64)
    # The last slice lasts about as long as the others do.
    last = (
        quality.seconds[-1] + float(np.median(np.diff(quality.seconds))) if quality.seconds.size > 1 else quality.seconds[0] + 1
    )
    return np.append(quality.seconds, last)


def _steps(frame: Frame, borders: np.ndarray[tuple[int, ...], np.dtype[np.float64]], values: object) -> list[Point]:
    points: list[Point] = []
    for begin, end, value in zip(borders[:-1], borders[1:], np.asarray(values, dtype=np.float64), strict=True):
        points += [frame.at(float(begin), float(value)), frame.at(float(end), float(value))]
    return points


def _shade(
    drawing: Drawing, frame: Frame, quality: TimeQuality, borders: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> None:
    for stretch in _stretches(quality, borders):
        if stretch.kind is Slice.GOOD:
            continue
        left, right = frame.at_x(stretch.begin), frame.at_x(stretch.end)
        size = (max(right - left, 1.0), frame.height)
        drawing.rectangle((left, frame.top), size, f"left-out-{stretch.kind}", title=f"left out: {_WORDS[stretch.kind]}")


_WORDS = {
    Slice.GOOD: "",
    Slice.SIGNAL: "its signal deviates",
    Slice.RATE: "its flow rate deviates",
    Slice.BETWEEN: "too short between others",
}


def _stretches(quality: TimeQuality, borders: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Iterator[_Stretch]:
    begin = 0
    for place in range(1, len(quality.slices) + 1):
        if place == len(quality.slices) or quality.slices[place] is not quality.slices[begin]:
            yield _Stretch(kind=quality.slices[begin], begin=float(borders[begin]), end=float(borders[place]))
            begin = place


def _brief(tick: Tick) -> Tick:
    return Tick(at=tick.at, label=f"{tick.at / 1000:.10g}k") if tick.at >= 10_000 else tick
