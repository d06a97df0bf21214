"""Strategies → Gating-ML 2.0.

Knows the standard's elements and what XML allows as an id. Must not know events or templates. Everything the gates refer to is
in the document itself: it can be read without this software.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from biomarkers.cytometry.gate_shapes import EMBEDDED, UNCOMPENSATED, Combination, Dimension, Ellipsoid, Polygon, Rectangle
from biomarkers.cytometry.gating_scales import (
    Bounded,
    Hyperlog,
    ParametricAsinh,
    ParametricLinear,
    ParametricLog,
    ParametricLogicle,
    Scale,
)
from biomarkers.cytometry.strategy import Gate, Ratio, SpilloverMatrix, Strategy
from biomarkers.errors import GatingError, SourceFileError
from biomarkers.readers.gate_xml import DATA_TYPE, GATING, TRANSFORMS

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_gatingml(path: Path, strategy: Strategy) -> None:
    """Write a strategy as a Gating-ML 2.0 document.

    Raises
    ------
    GatingError
        It holds what the standard has no words for: FlowJo's own scales, gates that keep what lies outside.
    SourceFileError
        The file cannot be written there.
    """
    write_xml(path, gatingml_document(strategy))


def gatingml_document(strategy: Strategy) -> ET.Element:
    """Return the document's root."""
    root = ET.Element(
        "gating:Gating-ML", {"xmlns:gating": GATING, "xmlns:transforms": TRANSFORMS, "xmlns:data-type": DATA_TYPE}
    )
    ids = _Ids((*strategy.scales, *strategy.ratios), strategy.matrices, (gate.gate_id for gate in strategy.gates))
    for name, scale in strategy.scales.items():
        _add_scale(root, ids.function[name], scale)
    for name, ratio in strategy.ratios.items():
        _add_ratio(root, ids.function[name], ratio)
    for name, matrix in strategy.matrices.items():
        _add_matrix(root, ids.matrix[name], matrix)
    for gate in strategy.gates:
        _add_gate(root, ids, gate)
    return root


def write_xml(path: Path, root: ET.Element) -> None:
    """Write a document, indented for people.

    Raises
    ------
    SourceFileError
        The file cannot be written there.
    """
    content = xml_bytes(root)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SourceFileError(
            what=f"The gates cannot be written: {error.strerror or error}.",
            where=f"File '{path}'.",
            remedy="Choose a folder that exists and that this account may write to.",
        ) from error


def xml_bytes(root: ET.Element) -> bytes:
    """Return a document as bytes, indented for people."""
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def clean(text: str) -> str:
    """Leave out characters no XML document may hold."""
    return _NOT_XML.sub("", text)


class _Ids:
    """XML ids of everything in a document, each used once."""

    def __init__(self, functions: Iterable[str], matrices: Iterable[str], gates: Iterable[str]) -> None:
        self._used: set[str] = set()
        self.gate: Mapping[str, str] = {name: self._id(name, "Gate") for name in gates}
        self.function: Mapping[str, str] = {name: self._id(f"Scale_{name}", "Scale") for name in functions}
        self.matrix: Mapping[str, str] = {name: self._id(name, "Matrix") for name in matrices}

    def _id(self, name: str, kind: str) -> str:
        """Replace what an XML name may not hold by its code: ``CD3+`` becomes ``CD3_x2B_``."""
        letters = "".join(
            letter if letter.isascii() and (letter.isalnum() or letter in "_-.") else f"_x{ord(letter):X}_" for letter in name
        )
        if not letters or not (letters[0].isalpha() or letters[0] == "_") or letters in {UNCOMPENSATED, EMBEDDED}:
            letters = f"{kind}_{letters}"
        free, number = letters, 1
        while free in self._used:
            number += 1
            free = f"{letters}_{number}"
        self._used.add(free)
        return free


def _add_scale(root: ET.Element, scale_id: str, scale: Scale) -> None:
    element = ET.SubElement(root, "transforms:transformation", {"transforms:id": scale_id})
    if isinstance(scale, Bounded):
        if scale.low > float("-inf"):
            element.set("transforms:boundMin", repr(scale.low))
        if scale.high < float("inf"):
            element.set("transforms:boundMax", repr(scale.high))
        scale = scale.scale
    match scale:
        case ParametricLinear(top=top, offset=offset):
            _add_function(element, "flin", T=top, A=offset)
        case ParametricLog(top=top, decades=decades):
            _add_function(element, "flog", T=top, M=decades)
        case ParametricAsinh(top=top, decades=decades, negative_decades=negative):
            _add_function(element, "fasinh", T=top, M=decades, A=negative)
        case ParametricLogicle(top=top, width=width, decades=decades, negative_decades=negative):
            _add_function(element, "logicle", T=top, W=width, M=decades, A=negative)
        case Hyperlog(top=top, width=width, decades=decades, negative_decades=negative):
            _add_function(element, "hyperlog", T=top, W=width, M=decades, A=negative)
        case _:
            raise GatingError(
                what=f"Gating-ML 2.0 has no scale like '{type(scale).__name__}'.",
                where=f"Transformation '{scale_id}'.",
                remedy="Write a FlowJo workspace instead.",
            )


def _add_function(element: ET.Element, kind: str, **parameters: float) -> ET.Element:
    return ET.SubElement(
        element, f"transforms:{kind}", {f"transforms:{name}": repr(value) for name, value in parameters.items()}
    )


def _add_ratio(root: ET.Element, ratio_id: str, ratio: Ratio) -> None:
    element = ET.SubElement(root, "transforms:transformation", {"transforms:id": ratio_id})
    function = _add_function(element, "fratio", A=ratio.factor, B=ratio.numerator_offset, C=ratio.denominator_offset)
    _add_channels(function, (ratio.numerator, ratio.denominator))


def _add_channels(element: ET.Element, names: Iterable[str]) -> None:
    for name in names:
        ET.SubElement(element, "data-type:fcs-dimension", {"data-type:name": clean(name)})


def _add_matrix(root: ET.Element, matrix_id: str, matrix: SpilloverMatrix) -> None:
    element = ET.SubElement(root, "transforms:spectrumMatrix", {"transforms:id": matrix_id})
    if matrix.is_inverted:
        element.set("transforms:matrix-inverted-already", "true")
    _add_channels(ET.SubElement(element, "transforms:fluorochromes"), matrix.fluorochromes)
    _add_channels(ET.SubElement(element, "transforms:detectors"), matrix.detectors)
    for row in matrix.coefficients:
        spectrum = ET.SubElement(element, "transforms:spectrum")
        for value in row:
            ET.SubElement(spectrum, "transforms:coefficient", {"transforms:value": repr(float(value))})


def _add_gate(root: ET.Element, ids: _Ids, gate: Gate) -> None:
    kind = {Rectangle: "RectangleGate", Polygon: "PolygonGate", Ellipsoid: "EllipsoidGate", Combination: "BooleanGate"}
    element = ET.SubElement(root, f"gating:{kind[type(gate.shape)]}", {"gating:id": ids.gate[gate.gate_id]})
    if gate.parent is not None:
        element.set("gating:parent_id", ids.gate[gate.parent])
    information = ET.SubElement(element, "data-type:custom_info")
    ET.SubElement(information, "population", {"name": clean(gate.name)})
    match gate.shape:
        case Rectangle(inside=True):
            _add_sides(element, ids, gate.shape)
        case Polygon(dimensions=axes, vertices=vertices, inside=True):
            for dimension in axes:
                _add_axis(element, ids, dimension)
            for vertex in vertices:
                _add_point(element, "gating:vertex", vertex)
        case Ellipsoid():
            _add_ellipsoid(element, ids, gate.shape)
        case Combination(operation=operation, references=references):
            operands = ET.SubElement(element, f"gating:{operation}")
            for reference in references:
                operand = ET.SubElement(operands, "gating:gateReference", {"gating:ref": ids.gate[reference.gate]})
                if reference.complement:
                    operand.set("gating:use-as-complement", "true")
        case _:
            raise GatingError(
                what="Gating-ML 2.0 has no gate that keeps what lies outside of its shape.",
                where=f"Gate '{gate.name}'.",
                remedy="Write a FlowJo workspace instead.",
            )


def _add_sides(element: ET.Element, ids: _Ids, shape: Rectangle) -> None:
    for side in shape.sides:
        axis = _add_axis(element, ids, side.dimension)
        if side.minimum is not None:
            axis.set("gating:min", repr(side.minimum))
        if side.maximum is not None:
            axis.set("gating:max", repr(side.maximum))


def _add_ellipsoid(element: ET.Element, ids: _Ids, shape: Ellipsoid) -> None:
    for dimension in shape.dimensions:
        _add_axis(element, ids, dimension)
    _add_point(element, "gating:mean", shape.mean)
    matrix = ET.SubElement(element, "gating:covarianceMatrix")
    for row in shape.covariance:
        entries = ET.SubElement(matrix, "gating:row")
        for value in row:
            ET.SubElement(entries, "gating:entry", {"data-type:value": repr(value)})
    ET.SubElement(element, "gating:distanceSquare", {"data-type:value": repr(shape.distance_square)})


def _add_axis(element: ET.Element, ids: _Ids, dimension: Dimension) -> ET.Element:
    named = ids.matrix.get(dimension.compensation, dimension.compensation)
    axis = ET.SubElement(element, "gating:dimension", {"gating:compensation-ref": named})
    if dimension.scale:
        axis.set("gating:transformation-ref", ids.function[dimension.scale])
    if dimension.ratio:
        ET.SubElement(axis, "data-type:new-dimension", {"data-type:transformation-ref": ids.function[dimension.ratio]})
    else:
        _add_channels(axis, (dimension.channel,))
    return axis


def _add_point(element: ET.Element, kind: str, place: Iterable[float]) -> None:
    point = ET.SubElement(element, kind)
    for value in place:
        ET.SubElement(point, "gating:coordinate", {"data-type:value": repr(float(value))})
