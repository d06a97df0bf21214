"""FlowJo 10 workspaces → a strategy for each sample.

Knows how FlowJo writes gates: rectangles and polygons in linear values, ellipses in the 256 steps of its plots, scales by
channel, compensated channels under a prefix. Must not know events or templates. FlowJo joins a polygon's corners by straight
lines on the plot, so corners are brought to the scale; an ellipse becomes the polygon FlowJo itself makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import atan2, cos, pi, sin, sqrt
from typing import Literal
from xml.etree import ElementTree as ET

import numpy as np

from biomarkers.cytometry.gate_shapes import UNCOMPENSATED, Combination, Dimension, Polygon, Rectangle, Reference, Shape, Side
from biomarkers.cytometry.gating_scales import (
    BIEX_CHANNELS,
    FlowJoBiex,
    FlowJoLog,
    ParametricLinear,
    Scale,
)
from biomarkers.cytometry.strategy import Gate, SpilloverMatrix, Strategy, assemble
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
    text_of,
)
from biomarkers.readers.gatingml_files import (
    MOST_GATES,
    checked_matrix,
    coordinates,
    parametric_scale,
    polygon,
    rectangle,
)

MOST_SAMPLES = 5000

PLOT_STEPS = 256.0
"""Steps of a FlowJo plot, in which ellipses are written."""

ELLIPSE_CORNERS = 128
"""Corners of the polygon that stands for an ellipse, as many as FlowKit takes."""

_OPERATIONS: Mapping[str, Literal["and", "or", "not"]] = {"AndNode": "and", "OrNode": "or", "NotNode": "not"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSamples:
    """What a workspace says of its samples.

    Attributes
    ----------
    strategies
        By sample name.
    refused
        Why a sample's gates cannot be read, by sample name; one bad sample does not stop the others.
    """

    strategies: Mapping[str, Strategy]
    refused: Mapping[str, SourceFileError]


def samples_of(root: ET.Element, name: str) -> WorkspaceSamples:
    """Read every sample of a workspace.

    Raises
    ------
    SourceFileError
        It is of another version than 10, or holds no samples.
    """
    where = f"File '{name}'"
    version = root.get("flowJoVersion", "")
    if version.partition(".")[0] != "10":
        raise SourceFileError(
            what=f"The workspace was saved by FlowJo '{version[:20]}'; version 10 is read.",
            where=f"{where}.",
            remedy="Save it with FlowJo 10, or export the gates as Gating-ML 2.0.",
        )
    elements = root.findall("SampleList/Sample")
    if not 0 < len(elements) <= MOST_SAMPLES:
        raise SourceFileError(
            what=f"The workspace holds {len(elements)} samples.",
            where=f"{where}.",
            remedy=f"Save a workspace with 1 to {MOST_SAMPLES} samples.",
        )
    strategies: dict[str, Strategy] = {}
    refused: dict[str, SourceFileError] = {}
    for number, element in enumerate(elements, start=1):
        node = element.find("SampleNode")
        sample = (node.get("name", "") if node is not None else "")[:300] or f"number {number}"
        try:
            strategies[sample] = _strategy(element, f"{where}, sample '{sample}'")
        except SourceFileError as error:
            refused[sample] = error
    return WorkspaceSamples(strategies=strategies, refused=refused)


def _strategy(sample: ET.Element, where: str) -> Strategy:
    faults: list[Fault] = []
    try:
        matrix = _compensation(sample)
    except ValueError as error:
        raise SourceFileError(
            what=f"The spillover matrix cannot be read: {error}.", where=f"{where}.", remedy="Save the workspace again."
        ) from error
    reading = _Reading(matrix=matrix, scales=_scales(sample))
    gates: list[Gate] = []
    node = sample.find("SampleNode")
    for population in _populations(node) if node is not None else ():
        try:
            gates.append(reading.gate(population))
        except ValueError as error:
            faults.append(
                Fault(
                    where=f"{where}, population '{population.path[-1][:60]}'.",
                    what=f"Its gate cannot be read: {error}.",
                    remedy="Draw it as rectangle, polygon, ellipse or Boolean gate on linear, log, biex or logicle axes.",
                )
            )
        if len(gates) > MOST_GATES:
            faults.append(Fault(where=f"{where}.", what=f"It has more than {MOST_GATES} gates.", remedy="Save fewer gates."))
            break
    if faults:
        raise SourceFileError.gathered(faults)
    matrices = {matrix.name: matrix.matrix} if matrix else {}
    try:
        used = {name: scale for name, scale in reading.scales.items() if not isinstance(scale, _Unreadable)}
        return assemble(gates, scales=used, matrices=matrices, where=f"{where}. ")
    except GatingError as error:
        raise SourceFileError(what=error.what, where=error.where, remedy=error.remedy, faults=error.faults) from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Compensation:
    """A sample's matrix and how FlowJo calls channels it was applied to."""

    name: str
    prefix: str
    suffix: str
    matrix: SpilloverMatrix


def _compensation(sample: ET.Element) -> _Compensation | None:
    elements = list(children(sample, TRANSFORMS, "spilloverMatrix"))
    if len(elements) > 1:
        raise ValueError("there are several")
    if not elements:
        return None
    element = elements[0]
    named = [
        text_of(part, DATA_TYPE, "name") for part in children(child(element, DATA_TYPE, "parameters"), DATA_TYPE, "parameter")
    ]
    spills = list(children(element, TRANSFORMS, "spillover"))
    parts = [list(children(spill, TRANSFORMS, "coefficient")) for spill in spills]
    rows = [[number_of(part, TRANSFORMS, "value") for part in row] for row in parts]
    detectors = named
    if element.get("spectral") == "1":
        if element.get("weightOptAlgorithmType") != "OLS":
            raise ValueError("only spectral matrices of ordinary least squares are read")
        detectors = [text_of(part, DATA_TYPE, "parameter") for part in parts[0]] if parts else []
    else:
        rows = _in_order(spills, parts, named)
    name = (element.get("name") or "spillover")[:300]
    return _Compensation(
        name=f"{name} (FlowJo)" if name in {UNCOMPENSATED, "FCS"} else name,
        prefix=element.get("prefix", ""),
        suffix=element.get("suffix", ""),
        matrix=checked_matrix(tuple(named), tuple(detectors), rows),
    )


def _in_order(spills: list[ET.Element], parts: list[list[ET.Element]], named: list[str]) -> list[list[float]]:
    """Rows and columns in the order of the parameters, by the names they carry themselves."""
    by_name: dict[tuple[str, str], float] = {}
    for spill, row in zip(spills, parts, strict=True):
        above = attribute(spill, DATA_TYPE, "parameter") or ""
        for part in row:
            by_name[above, attribute(part, DATA_TYPE, "parameter") or ""] = number_of(part, TRANSFORMS, "value")
    if len(by_name) != len(named) ** 2 or any((one, other) not in by_name for one in named for other in named):
        raise ValueError("its coefficients do not fit its channels")
    return [[by_name[one, other] for other in named] for one in named]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unreadable:
    """A scale that cannot be read; it matters only where a gate lies on it."""

    why: str


def _scales(sample: ET.Element) -> dict[str, Scale | _Unreadable]:
    found: dict[str, Scale | _Unreadable] = {}
    for element in sample.findall("Transformations/*"):
        try:
            name = text_of(child(element, DATA_TYPE, "parameter"), DATA_TYPE, "name")
        except ValueError:
            continue  # a scale of no channel serves no gate
        try:
            found[name] = _scale(element)
        except ValueError as error:
            found[name] = _Unreadable(why=str(error))
    return found


def _scale(element: ET.Element) -> Scale:
    kind = local_name(element)

    def number(name: str, low: float, high: float) -> float:
        value = number_of(element, TRANSFORMS, name)
        if not low <= value <= high:
            raise ValueError(f"'{name}' of its {kind} scale is {value:g}")
        return value

    match kind:
        case "linear":
            low, high = number("minRange", -1e15, 1e15), number("maxRange", -1e15, 1e15)
            if high + low <= 0:
                raise ValueError(f"its linear scale from {low:g} to {high:g} has no extent")
            return ParametricLinear(top=high, offset=low)
        case "log":
            return FlowJoLog(offset=number("offset", 1e-9, 1e12), decades=number("decades", 1e-3, 25))
        case "biex":
            if attribute(element, TRANSFORMS, "length") != "256":
                raise ValueError("its biex scale has another length than 256")
            # FlowJo offers widths of -1 to -1000 and up to one negative decade.
            return FlowJoBiex(
                top=number("maxRange", 1e-3, 1e15),
                width=number("width", -1e4, -1.0),
                positive=number("pos", 2.1, 12.0),
                negative=number("neg", 0.0, 2.0),
            )
        case "logicle" | "fasinh":
            return parametric_scale(element)
        case _:
            raise ValueError(f"its scale '{kind[:40]}' is not documented")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Population:
    """A population's element with the names above it and its own."""

    element: ET.Element
    path: tuple[str, ...]

    @property
    def gate_id(self) -> str:
        """FlowJo tells populations apart by their path."""
        return "/".join(self.path)

    @property
    def parent(self) -> str | None:
        """Id of the population above."""
        return "/".join(self.path[:-1]) if len(self.path) > 1 else None


def _populations(node: ET.Element, above: tuple[str, ...] = ()) -> Iterator[_Population]:
    for part in node.findall("Subpopulations"):
        for element in part:
            if local_name(element) != "Population" and local_name(element) not in _OPERATIONS:
                continue
            path = (*above, element.get("name", "")[:300])
            yield _Population(element=element, path=path)
            yield from _populations(element, path)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reading:
    """What a sample's gates are read with."""

    matrix: _Compensation | None
    scales: Mapping[str, Scale | _Unreadable]

    def gate(self, population: _Population) -> Gate:
        shape = self._shape(population.element)
        return Gate(gate_id=population.gate_id, name=population.path[-1], parent=population.parent, shape=shape)

    def _shape(self, element: ET.Element) -> Shape:
        if local_name(element) in _OPERATIONS:
            names = [part.get("name", "") for part in element.findall("Dependents/Dependent")]
            return Combination(
                operation=_OPERATIONS[local_name(element)], references=tuple(Reference(gate=name) for name in names)
            )
        parts = element.findall("Gate/*")
        if len(parts) != 1:
            raise ValueError(f"there are {len(parts)} shapes")
        inside = parts[0].get("eventsInside", "1") != "0"
        match local_name(parts[0]):
            case "RectangleGate":
                drawn = rectangle(parts[0])
                return Rectangle(sides=tuple(self._side(side) for side in drawn.sides), inside=inside)
            case "PolygonGate":
                return self._polygon(polygon(parts[0]), inside=inside)
            case "EllipsoidGate":
                return self._ellipse(parts[0], inside=inside)
            case other:
                raise ValueError(f"a '{other[:40]}' of FlowJo is not read")

    def _side(self, drawn: Side) -> Side:
        axis = self._axis(drawn.dimension.channel)
        low, high = (None if value is None else self._on(axis, value) for value in (drawn.minimum, drawn.maximum))
        return Side(dimension=axis, minimum=low, maximum=high)

    def _polygon(self, drawn: Polygon, *, inside: bool) -> Polygon:
        x, y = (self._axis(axis.channel) for axis in drawn.dimensions)
        vertices = tuple((self._on(x, across), self._on(y, up)) for across, up in drawn.vertices)
        return Polygon(dimensions=(x, y), vertices=vertices, inside=inside)

    def _ellipse(self, element: ET.Element, *, inside: bool) -> Polygon:
        channels = [
            text_of(child(part, DATA_TYPE, "fcs-dimension"), DATA_TYPE, "name")
            for part in children(element, GATING, "dimension")
        ]
        foci = [coordinates(part) for part in children(child(element, GATING, "foci"), GATING, "vertex")]
        edge = [coordinates(part) for part in children(child(element, GATING, "edge"), GATING, "vertex")]
        if len(channels) != 2 or len(foci) != 2 or len(edge) < 4 or any(len(point) != 2 for point in (*foci, *edge)):
            raise ValueError("an ellipse needs two dimensions, two foci and four points of its edge")
        x, y = (self._axis(channel) for channel in channels)
        ranges = [self._range(axis) for axis in (x, y)]
        centre = [(one + other) / 2 for one, other in zip(*foci, strict=True)]
        turned = atan2(foci[1][1] - foci[0][1], foci[1][0] - foci[0][0])
        along, across = (cos(turned), sin(turned)), (-sin(turned), cos(turned))
        # Of the two pairs of edge points the farther one ends the long axis; the short axis follows from the foci.
        long_axis = max(
            abs((point[0] - centre[0]) * axis[0] + (point[1] - centre[1]) * axis[1])
            for point in (edge[0], edge[2])
            for axis in (along, across)
        )
        focal = sqrt((foci[1][0] - foci[0][0]) ** 2 + (foci[1][1] - foci[0][1]) ** 2) / 2
        short_axis = sqrt(abs(focal**2 - long_axis**2))
        vertices = []
        for corner in range(ELLIPSE_CORNERS):
            angle = 2 * pi * corner / ELLIPSE_CORNERS
            forth, aside = long_axis * cos(angle), short_axis * sin(angle)
            place = [centre[k] + forth * along[k] + aside * across[k] for k in (0, 1)]
            vertices.append((place[0] / PLOT_STEPS * ranges[0], place[1] / PLOT_STEPS * ranges[1]))
        return Polygon(dimensions=(x, y), vertices=tuple(vertices), inside=inside)

    def _axis(self, name: str) -> Dimension:
        bare = name
        if self.matrix is not None:
            bare = name.removeprefix(self.matrix.prefix).removesuffix(self.matrix.suffix)
        is_compensated = self.matrix is not None and bare in self.matrix.matrix.fluorochromes
        scale = next((known for known in (name, bare) if known in self.scales), "")
        found = self.scales.get(scale)
        if isinstance(found, _Unreadable):
            raise ValueError(found.why)  # noqa: TRY004  - it is the file that is wrong, not a type
        return Dimension(
            channel=bare if is_compensated else name,
            compensation=self.matrix.name if self.matrix is not None and is_compensated else UNCOMPENSATED,
            scale=scale,
        )

    def _on(self, axis: Dimension, value: float) -> float:
        scale = self.scales.get(axis.scale)
        if scale is None or isinstance(scale, _Unreadable):
            return value
        scaled = float(scale.exact(np.array([value]))[0])
        if not np.isfinite(scaled):
            raise ValueError(f"the value {value:g} has no place on its scale")
        return scaled

    def _range(self, axis: Dimension) -> float:
        if not axis.scale:
            raise ValueError("an ellipse on a channel without scale has no place")
        return float(BIEX_CHANNELS) if isinstance(self.scales[axis.scale], FlowJoBiex) else 1.0
