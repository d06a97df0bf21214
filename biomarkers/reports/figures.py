"""Drawing: axes, ticks, marks and pictures as inline SVG.

Knows places, scales and how a number is printed. Must not know any assay, nor how a page is laid out. The same input always
gives the same bytes: no clock, no random ids. Every text passes through an XML writer, so that no name becomes markup.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from xml.etree import ElementTree as ET

import numpy as np
import PIL.Image
from markupsafe import Markup
from numpy.typing import NDArray

Point: TypeAlias = tuple[float, float]
Anchor: TypeAlias = Literal["start", "middle", "end"]

HEAT = ((247, 250, 250), (196, 221, 225), (110, 168, 179), (38, 104, 121), (11, 47, 59))
"""Light to dark, even in lightness, so that it reads in grey print and by colour-blind eyes alike."""

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace what neither HTML nor XML can hold, such as control characters in a file's own words."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def number(value: float, digits: int = 4) -> str:
    """Print a number with so many significant digits, plainly where that is readable.

    Examples
    --------
    >>> number(0.012344), number(123456.7), number(98.0), number(2.5e-7), number(0)
    ('0.01234', '123457', '98.00', '2.5e-07', '0')
    """
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return DASH if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    if size < 1e-4 or size >= 1e9:
        return f"{value:.{digits}g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:.{decimals}f}"


_UNIT_SIGNS = (("mm2", "mm²"), ("um2", "µm²"), ("uL", "µL"), ("uM", "µM"), ("ug", "µg"), ("umol", "µmol"), ("um", "µm"))


def unit_words(unit: str) -> str:
    """Write a unit as people print it; files and tables keep its plain letters. A ratio has none.

    Examples
    --------
    >>> unit_words("cells/mm2"), unit_words("uM/uM"), unit_words("pg/mL"), unit_words("ratio")
    ('cells/mm²', 'µM/µM', 'pg/mL', '')
    """
    if unit == "ratio":
        return ""
    parts = unit.split("/")
    return "/".join(dict(_UNIT_SIGNS).get(part, part) for part in parts)


def short(value: float) -> str:
    """Print a number as its declaration would write it: up to six digits, no trailing zeros."""
    return f"{value:.6g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis; an unlabelled one is drawn shorter."""

    at: float
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A scale from ``low`` to ``high``, linear or logarithmic, with its ticks."""

    low: float
    high: float
    label: str
    ticks: tuple[Tick, ...]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Place of a value between 0 and 1; beyond the ends it is held there."""
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            place = math.log10(value) if value > 0 else low
        else:
            low, high, place = self.low, self.high, value
        return min(1.0, max(0.0, (place - low) / ((high - low) or 1.0)))


def linear_axis(low: float, high: float, label: str, *, wanted: int = 5) -> Axis:
    """Make a linear axis with about the wanted number of round ticks."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    step = _round_step((high - low) / wanted)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    ticks = tuple(Tick(at=index * step, label=f"{index * step:.10g}") for index in range(first, last + 1))
    return Axis(low=low, high=high, label=label, ticks=ticks)


def log_axis(low: float, high: float, label: str) -> Axis:
    """Make a logarithmic axis: decades labelled, and 2 and 5 as well where there are few decades."""
    if not high > low:
        low, high = low / 2, high * 2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    labelled = (1, 2, 5) if math.log10(high / low) < 2.2 else (1,)
    ticks = tuple(
        Tick(at=factor * 10.0**decade, label=f"{factor * 10.0**decade:.10g}" if factor in labelled else "")
        for decade in decades
        for factor in range(1, 10)
        if low * (1 - 1e-9) <= factor * 10.0**decade <= high * (1 + 1e-9)
    )
    return Axis(low=low, high=high, label=label, ticks=ticks, is_log=True)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / rough)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A plotting area within a drawing, and the axes on it."""

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis
    inset: float = 0.0

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    def at_x(self, value: float) -> float:
        """Place of an x value; ``inset`` keeps room on the left for what has no place on a logarithmic axis."""
        return self.left + self.inset + (self.width - self.inset) * self.x.share(value)

    def at_y(self, value: float) -> float:
        """Place of a y value."""
        return self.bottom - self.height * self.y.share(value)

    def at(self, x: float, y: float) -> Point:
        """Place of a point."""
        return (self.at_x(x), self.at_y(y))


class Drawing:
    """An SVG being drawn; coordinates from the upper left corner, looks by class from the page's stylesheet.

    Parameters
    ----------
    title
        What the figure shows, for those who hear the page rather than see it.
    """

    def __init__(self, width: float, height: float, title: str, *, kind: str = "figure") -> None:
        self.width, self.height = width, height
        self._root = ET.Element("svg", {"viewBox": f"0 0 {_n(width)} {_n(height)}", "role": "img", "class": kind})
        # As long as no one scales it, a unit of the drawing is a pixel; pages let it shrink.
        self._root.set("width", _n(width))
        self._root.set("height", _n(height))
        ET.SubElement(self._root, "title").text = printable(title)

    def _add(self, tag: str, kind: str, title: str = "", **attributes: str) -> ET.Element:
        element = ET.SubElement(self._root, tag, {"class": kind})
        for name, value in attributes.items():
            element.set(name.rstrip("_").replace("_", "-"), value)
        if title:
            ET.SubElement(element, "title").text = printable(title)
        return element

    def line(self, start: Point, end: Point, kind: str) -> None:
        """Draw a straight line."""
        self._add("line", kind, x1=_n(start[0]), y1=_n(start[1]), x2=_n(end[0]), y2=_n(end[1]))

    def path(self, points: Iterable[Point], kind: str, *, closed: bool = False, title: str = "", fill: str = "") -> None:
        """Draw a line through points, or the area within them."""
        steps = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        if steps:
            extra = {"fill": fill} if fill else {}
            self._add("polygon" if closed else "polyline", kind, title, points=steps, **extra)

    def circle(self, centre: Point, radius: float, kind: str, *, title: str = "", fill: str = "") -> None:
        """Draw a circle."""
        extra = {"fill": fill} if fill else {}
        self._add("circle", kind, title, cx=_n(centre[0]), cy=_n(centre[1]), r=_n(radius), **extra)

    def diamond(self, centre: Point, radius: float, kind: str, *, title: str = "", fill: str = "") -> None:
        """Draw a square on its corner."""
        x, y = centre
        corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
        self.path(corners, kind, closed=True, title=title, fill=fill)

    def rectangle(
        self, corner: Point, size: Point, kind: str, *, title: str = "", fill: str = "", rounded: float = 0.0
    ) -> None:
        """Draw a rectangle from its upper left corner."""
        extra = {"fill": fill} if fill else {}
        if rounded:
            extra["rx"] = _n(rounded)
        width, height = max(0.0, size[0]), max(0.0, size[1])
        self._add("rect", kind, title, x=_n(corner[0]), y=_n(corner[1]), width=_n(width), height=_n(height), **extra)

    def text(self, place: Point, words: str, kind: str = "label", *, anchor: Anchor = "middle", turned: bool = False) -> None:
        """Write; ``turned`` reads from below to above."""
        extra = {"transform": f"rotate(-90 {_n(place[0])} {_n(place[1])})"} if turned else {}
        element = self._add("text", kind, x=_n(place[0]), y=_n(place[1]), text_anchor=anchor, **extra)
        element.text = printable(words)

    def scaled_text(self, place: Point, words: str, size: float) -> None:
        """Write in a size that goes with the drawing, for pictures whose pixels are its unit."""
        element = self._add("text", "on-picture", x=_n(place[0]), y=_n(place[1]), text_anchor="middle")
        element.set("style", f"font-size:{_n(size)}px")
        element.text = printable(words)

    def picture(self, corner: Point, size: Point, source: str, *, crisp: bool = False) -> None:
        """Place a picture given as a ``data:`` address."""
        if not source.startswith("data:image/"):
            raise ValueError("a page holds its pictures itself")
        element = self._add("image", "crisp" if crisp else "picture", x=_n(corner[0]), y=_n(corner[1]))
        element.set("width", _n(size[0]))
        element.set("height", _n(size[1]))
        element.set("href", source)
        element.set("preserveAspectRatio", "none")

    def axes(self, frame: Frame, *, grid: bool = True) -> None:
        """Draw a frame's axes with ticks, labels and faint lines across."""
        for tick in frame.y.ticks:
            y = frame.at_y(tick.at)
            if grid and tick.label:
                self.line((frame.left, y), (frame.right, y), "grid")
            if tick.label:
                self.text((frame.left - 6, y + 3.5), tick.label, "tick", anchor="end")
        for tick in frame.x.ticks:
            x = frame.at_x(tick.at)
            self.line((x, frame.bottom), (x, frame.bottom + (5 if tick.label else 3)), "axis")
            if tick.label:
                self.text((x, frame.bottom + 17), tick.label, "tick")
        self.line((frame.left, frame.bottom), (frame.right, frame.bottom), "axis")
        if frame.x.label:
            self.text(((frame.left + frame.right) / 2, frame.bottom + 34), frame.x.label, "label")
        if frame.y.label:
            self.text((12, (frame.top + frame.bottom) / 2), frame.y.label, "label", turned=True)

    def markup(self) -> Markup:
        """Return the drawing, safe to be placed into a page."""
        return Markup(ET.tostring(self._root, encoding="unicode"))  # noqa: S704  - the XML writer has escaped every text


def heat_colour(share: float) -> str:
    """Colour of a share between 0 and 1, as ``#rrggbb``."""
    place = min(1.0, max(0.0, share)) * (len(HEAT) - 1)
    index = min(int(place), len(HEAT) - 2)
    part = place - index
    mixed = (round(one + part * (other - one)) for one, other in zip(HEAT[index], HEAT[index + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def density_picture(counts: NDArray[np.integer]) -> str:
    """Picture how densely a plane is filled, empty places clear and dense ones dark, as a ``data:`` address.

    Parameters
    ----------
    counts
        Shape (columns along x, rows along y), y upwards, as ``numpy.histogram2d`` gives them.
    """
    upright = np.log1p(counts.T[::-1].astype(np.float64))
    top = float(upright.max(initial=0.0)) or 1.0
    shade = np.where(upright > 0, 24 + np.rint(231 * upright / top), 0).astype(np.uint8)
    palette = [channel for index in range(256) for channel in _rgb(heat_colour(index / 255))]
    palette[:3] = [255, 255, 255]
    picture = PIL.Image.fromarray(shade)
    picture.putpalette(palette)
    return _address(picture, "PNG")


def photograph(pixels: NDArray[np.uint8]) -> str:
    """Put a picture of shape (height, width, 3) into a ``data:`` address, as JPEG."""
    return _address(PIL.Image.fromarray(np.ascontiguousarray(pixels)), "JPEG")


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Write a picture of shape (height, width, 3) as PNG."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def _address(picture: PIL.Image.Image, picture_format: Literal["PNG", "JPEG"]) -> str:
    buffer = io.BytesIO()
    if picture_format == "JPEG":
        picture.save(buffer, format="JPEG", quality=85, subsampling=0)
    else:
        picture.save(buffer, format="PNG", optimize=True)
    kind = picture_format.casefold()
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def rgb_colour(rgb: Sequence[float]) -> str:
    """Write light of 0 to 255 per channel as ``#rrggbb``."""
    return "#" + "".join(f"{min(255, max(0, round(channel))):02x}" for channel in rgb)


def _rgb(colour: str) -> tuple[int, int, int]:
    return (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))


def _n(value: float) -> str:
    """Write a coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
