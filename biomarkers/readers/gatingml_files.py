"""Gating-ML 2.0 → Strategy, and back.

Knows the standard's elements. Must not know events, templates or FlowJo. Ids of the standard are XML names, which ``CD3+`` is
not: a population's own name stands beside its id in the gate's custom information, and is read from there.

References
----------
Spidlen J, Brinkman RR. Gating-ML 2.0: International Society for Advancement of Cytometry standard, 2013.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from xml.etree import ElementTree as ET

import numpy as np

from biomarkers.cytometry.gate_shapes import (
    UNCOMPENSATED,
    Combination,
    Dimension,
    Ellipsoid,
    Polygon,
    Rectangle,
    Reference,
    Shape,
    Side,
)
from biomarkers.cytometry.gating_scales import (
    Bounded,
    Hyperlog,
    ParametricAsinh,
    ParametricLinear,
    ParametricLog,
    ParametricLogicle,
    Scale,
)
from biomarkers.cytometry.strategy import Gate, Ratio, SpilloverMatrix, Strategy, assemble
from biomarkers.errors import Fault, GatingError, SourceFileError
from biomarkers.readers.gate_xml import (
    DATA_TYPE,
    GATING,
    TRANSFORMS,
    attribute,
    child,
    children,
    local_name,
    number_of,
    number_or_none,
    text_of,
    to_number,
)

MOST_GATES = 4000
MOST_VERTICES = 2000
"""Corners of a polygon; people draw some dozens, and software that follows a contour some hundreds."""

MOST_DIMENSIONS = 64
MOST_DETECTORS = 512

_Made = TypeVar("_Made")


def strategy_of(root: ET.Element, name: str) -> Strategy:
    """Read the strategy a Gating-ML document holds.

    Parameters
    ----------
    name
        The file's name, for messages.

    Raises
    ------
    SourceFileError
        Elements that are incomplete or contradict each other; all of them at once.
    """
    where = f"File '{name}'"
    reading = _Reading(where=where)
    scales: dict[str, Scale] = {}
    ratios: dict[str, Ratio] = {}
    for function_id, function in reading.all(root, "transformation", _transformation):
        if isinstance(function, Ratio):
            ratios[function_id] = function
        else:
            scales[function_id] = function
    matrices = dict(reading.all(root, "spectrumMatrix", _matrix))
    gates = [
        gate
        for element in root
        if element.tag.startswith(f"{{{GATING}}}") and element.tag.endswith("Gate")
        for gate in reading.made(element, _gates) or ()
    ]
    if not reading.faults and not 0 < len(gates) <= MOST_GATES:
        reading.faults.append(
            Fault(where=f"{where}.", what=f"It holds {len(gates) or 'no'} gates.", remedy=f"Export 1 to {MOST_GATES} gates.")
        )
    if reading.faults:
        raise SourceFileError.gathered(reading.faults)
    try:
        return assemble(gates, scales=scales, ratios=ratios, matrices=matrices, where=f"{where}. ")
    except GatingError as error:
        raise SourceFileError(what=error.what, where=error.where, remedy=error.remedy, faults=error.faults) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """Reads elements and keeps what is wrong with them, so that all faults are told together."""

    where: str
    faults: list[Fault] = field(default_factory=list)

    def made(self, element: ET.Element, make: Callable[[ET.Element], _Made]) -> _Made | None:
        try:
            return make(element)
        except ValueError as error:
            known = attribute(element, GATING, "id") or attribute(element, TRANSFORMS, "id") or "without id"
            self.faults.append(
                Fault(
                    where=f"{self.where}, {local_name(element)} '{known[:60]}'.",
                    what=f"It cannot be read: {error}.",
                    remedy="Export the gates again as Gating-ML 2.0.",
                )
            )
            return None

    def all(self, root: ET.Element, kind: str, make: Callable[[ET.Element], _Made]) -> Iterator[tuple[str, _Made]]:
        """Go through all elements of one kind that can be read, with their ids."""
        for element in children(root, TRANSFORMS, kind):
            made = self.made(element, make)
            if made is not None:
                yield attribute(element, TRANSFORMS, "id") or "", made


def _gates(element: ET.Element) -> tuple[Gate, ...]:
    gate_id = text_of(element, GATING, "id")
    parent = attribute(element, GATING, "parent_id")
    if local_name(element) == "QuadrantGate":
        return tuple(
            Gate(gate_id=quadrant_id, name=quadrant_id, parent=parent, shape=shape)
            for quadrant_id, shape in _quadrants(element)
        )
    return (
        Gate(gate_id=gate_id, name=_own_name(element) or gate_id, parent=parent, shape=_SHAPES[local_name(element)](element)),
    )


def _own_name(element: ET.Element) -> str:
    for information in children(element, DATA_TYPE, "custom_info"):
        for entry in information:
            if local_name(entry) == "population" and entry.get("name"):
                return entry.get("name", "")[:300]
    return ""


def _axis(element: ET.Element) -> Dimension:
    compensation = attribute(element, GATING, "compensation-ref") or UNCOMPENSATED
    scale = attribute(element, GATING, "transformation-ref") or ""
    named = element.find(f"{{{DATA_TYPE}}}fcs-dimension")
    if named is not None:
        return Dimension(channel=text_of(named, DATA_TYPE, "name"), compensation=compensation, scale=scale)
    ratio = text_of(child(element, DATA_TYPE, "new-dimension"), DATA_TYPE, "transformation-ref")
    return Dimension(compensation=compensation, scale=scale, ratio=ratio)


def axes(element: ET.Element) -> tuple[Dimension, ...]:
    """Read a gate's axes.

    Raises
    ------
    ValueError
        There are none, or more than anybody needs.
    """
    found = tuple(_axis(part) for part in children(element, GATING, "dimension"))
    if not 0 < len(found) <= MOST_DIMENSIONS:
        raise ValueError(f"it has {len(found)} dimensions")
    return found


def rectangle(element: ET.Element) -> Rectangle:
    """Read a rectangle gate."""
    sides = tuple(
        Side(dimension=axis, minimum=number_or_none(part, GATING, "min"), maximum=number_or_none(part, GATING, "max"))
        for axis, part in zip(axes(element), children(element, GATING, "dimension"), strict=True)
    )
    return Rectangle(sides=sides)


def polygon(element: ET.Element) -> Polygon:
    """Read a polygon gate."""
    found = axes(element)
    if len(found) != 2:
        raise ValueError(f"a polygon has two dimensions, not {len(found)}")
    corners = list(children(element, GATING, "vertex"))
    if len(corners) > MOST_VERTICES:
        raise ValueError(f"it has {len(corners)} corners, more than {MOST_VERTICES}")
    vertices = []
    for corner in corners:
        place = coordinates(corner)
        if len(place) != 2:
            raise ValueError(f"a corner has {len(place)} coordinates")
        vertices.append((place[0], place[1]))
    return Polygon(dimensions=(found[0], found[1]), vertices=tuple(vertices))


def coordinates(element: ET.Element) -> tuple[float, ...]:
    """Read a point."""
    return tuple(number_of(part, DATA_TYPE, "value") for part in children(element, GATING, "coordinate"))


def _ellipsoid(element: ET.Element) -> Ellipsoid:
    rows = children(child(element, GATING, "covarianceMatrix"), GATING, "row")
    square = number_of(child(element, GATING, "distanceSquare"), DATA_TYPE, "value")
    if square < 0:
        raise ValueError("its squared distance is below zero")
    return Ellipsoid(
        dimensions=axes(element),
        mean=coordinates(child(element, GATING, "mean")),
        covariance=tuple(
            tuple(number_of(entry, DATA_TYPE, "value") for entry in children(row, GATING, "entry")) for row in rows
        ),
        distance_square=square,
    )


def _combination(element: ET.Element) -> Combination:
    operations: tuple[Literal["and", "or", "not"], ...] = ("and", "or", "not")
    for operation in operations:
        part = element.find(f"{{{GATING}}}{operation}")
        if part is not None:
            references = tuple(
                Reference(
                    gate=text_of(one, GATING, "ref"),
                    complement=(attribute(one, GATING, "use-as-complement") or "").strip() in {"true", "1"},
                )
                for one in children(part, GATING, "gateReference")
            )
            return Combination(operation=operation, references=references)
    raise ValueError("it says neither 'and', 'or' nor 'not'")


def _quadrants(element: ET.Element) -> Iterator[tuple[str, Rectangle]]:
    dividers: dict[str, tuple[Dimension, list[float]]] = {}
    for part in children(element, GATING, "divider"):
        values = [to_number(value.text, "a divider's value") for value in children(part, GATING, "value")]
        dividers[text_of(part, GATING, "id")] = (_axis(part), sorted(values))
    for quadrant in children(element, GATING, "Quadrant"):
        sides = []
        for position in children(quadrant, GATING, "position"):
            divider = text_of(position, GATING, "divider_ref")
            if divider not in dividers:
                raise ValueError(f"a quadrant refers to divider '{divider}', which is not there")
            axis, values = dividers[divider]
            location = number_of(position, GATING, "location")
            below = [value for value in values if value <= location]
            above = [value for value in values if value > location]
            sides.append(Side(dimension=axis, minimum=below[-1] if below else None, maximum=above[0] if above else None))
        if not 0 < len(sides) <= MOST_DIMENSIONS:
            raise ValueError(f"a quadrant has {len(sides)} positions")
        yield text_of(quadrant, GATING, "id"), Rectangle(sides=tuple(sides))


_SHAPES: Mapping[str, Callable[[ET.Element], Shape]] = {
    "RectangleGate": rectangle,
    "PolygonGate": polygon,
    "EllipsoidGate": _ellipsoid,
    "BooleanGate": _combination,
}


def _transformation(element: ET.Element) -> Scale | Ratio:
    text_of(element, TRANSFORMS, "id")
    function = next((part for part in element if part.tag.startswith(f"{{{TRANSFORMS}}}")), None)
    if function is None:
        raise ValueError("it names no function")
    if local_name(function) == "fratio":
        return _ratio(function)
    scale = parametric_scale(function)
    low, high = number_or_none(element, TRANSFORMS, "boundMin"), number_or_none(element, TRANSFORMS, "boundMax")
    if low is None and high is None:
        return scale
    return Bounded(scale=scale, low=-np.inf if low is None else low, high=np.inf if high is None else high)


def parametric_scale(element: ET.Element) -> Scale:
    """Read a transformation's function and check its parameters against the standard's limits.

    Raises
    ------
    ValueError
        The function is not known, or its parameters describe no scale.
    """
    kind = local_name(element)
    needed = _PARAMETERS.get(kind)
    if needed is None:
        raise ValueError(f"the function '{kind[:40]}' is not one of Gating-ML 2.0")
    given = {name: number_of(element, TRANSFORMS, name) for name in needed}
    top, decades = given["T"], given.get("M", 1.0)
    # The standard's limits; far beyond them lies nothing that was ever measured.
    if not (1e-6 <= top <= 1e15 and 1e-3 <= decades <= 25):
        raise ValueError(f"T is {top:g} and M is {decades:g}, which describes no scale")
    width, negative = given.get("W", 0.0), given.get("A", 0.0)
    match kind:
        case "flin":
            if not 0 <= negative <= 1e15:
                raise ValueError(f"A is {negative:g}, not between 0 and T")
            return ParametricLinear(top=top, offset=negative)
        case "flog":
            return ParametricLog(top=top, decades=decades)
        case "fasinh":
            if not 0 <= negative <= decades:
                raise ValueError(f"A is {negative:g}, not between 0 and M")
            return ParametricAsinh(top=top, decades=decades, negative_decades=negative)
    if not 0 <= width <= decades / 2 or not -width <= negative <= decades - 2 * width or (kind == "hyperlog" and width == 0):
        raise ValueError(f"W is {width:g} and A is {negative:g}, outside of what M = {decades:g} allows")
    if kind == "hyperlog":
        return Hyperlog(top=top, width=width, decades=decades, negative_decades=negative)
    return ParametricLogicle(top=top, width=width, decades=decades, negative_decades=negative)


_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "flin": ("T", "A"),
    "flog": ("T", "M"),
    "fasinh": ("T", "M", "A"),
    "logicle": ("T", "W", "M", "A"),
    "hyperlog": ("T", "W", "M", "A"),
}


def _ratio(element: ET.Element) -> Ratio:
    channels = [text_of(part, DATA_TYPE, "name") for part in children(element, DATA_TYPE, "fcs-dimension")]
    if len(channels) != 2:
        raise ValueError(f"a ratio has two channels, not {len(channels)}")
    return Ratio(
        numerator=channels[0],
        denominator=channels[1],
        factor=number_of(element, TRANSFORMS, "A"),
        numerator_offset=number_of(element, TRANSFORMS, "B"),
        denominator_offset=number_of(element, TRANSFORMS, "C"),
    )


def _matrix(element: ET.Element) -> SpilloverMatrix:
    text_of(element, TRANSFORMS, "id")
    fluorochromes, detectors = (
        tuple(
            text_of(part, DATA_TYPE, "name") for part in children(child(element, TRANSFORMS, kind), DATA_TYPE, "fcs-dimension")
        )
        for kind in ("fluorochromes", "detectors")
    )
    rows = [
        [number_of(part, TRANSFORMS, "value") for part in children(row, TRANSFORMS, "coefficient")]
        for row in children(element, TRANSFORMS, "spectrum")
    ]
    inverted = (attribute(element, TRANSFORMS, "matrix-inverted-already") or "").strip() in {"true", "1"}
    return checked_matrix(fluorochromes, detectors, rows, is_inverted=inverted)


def checked_matrix(
    fluorochromes: tuple[str, ...], detectors: tuple[str, ...], rows: list[list[float]], *, is_inverted: bool = False
) -> SpilloverMatrix:
    """Make a matrix of its rows.

    Raises
    ------
    ValueError
        Names and coefficients do not fit each other.
    """
    if not 0 < len(fluorochromes) <= len(detectors) <= MOST_DETECTORS:
        raise ValueError(f"a matrix of {len(fluorochromes)} fluorochromes on {len(detectors)} detectors cannot be undone")
    if len(set(fluorochromes)) < len(fluorochromes) or len(set(detectors)) < len(detectors):
        raise ValueError("a fluorochrome or detector is named twice")
    if [len(row) for row in rows] != [len(detectors)] * len(fluorochromes):
        raise ValueError(f"{len(fluorochromes)} rows of {len(detectors)} coefficients are needed")
    if is_inverted and len(fluorochromes) != len(detectors):
        raise ValueError("an inverted matrix must be square")
    return SpilloverMatrix(
        fluorochromes=fluorochromes, detectors=detectors, coefficients=np.array(rows), is_inverted=is_inverted
    )
