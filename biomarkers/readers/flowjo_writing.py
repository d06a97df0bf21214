"""Strategies → FlowJo 10 workspaces.

Knows what FlowJo wants of a workspace: one scale a channel, gates of one or two axes in linear values, the spillover matrix in
every sample, compensated channels under a prefix. Must not know templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.gate_shapes import UNCOMPENSATED, Combination, Dimension, Polygon, Rectangle
from biomarkers.cytometry.gating_scales import (
    FlowJoBiex,
    FlowJoLog,
    ParametricAsinh,
    ParametricLinear,
    ParametricLogicle,
    Scale,
)
from biomarkers.cytometry.strategy import Gate, SpilloverMatrix, Strategy, dimensions_of
from biomarkers.errors import GatingError
from biomarkers.readers.gate_xml import DATA_TYPE, GATING, TRANSFORMS
from biomarkers.readers.gatingml_writing import clean, write_xml

PREFIX = "Comp-"
"""How FlowJo calls channels after compensation."""

_NODES = {"and": "AndNode", "or": "OrNode", "not": "NotNode"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkspaceSample:
    """One file and its gates.

    Attributes
    ----------
    file_name
        As on disk, by which FlowJo finds it beside the workspace.
    counts
        Events of each gate, by gate id, shown until FlowJo counts itself.
    """

    file_name: str
    acquisition: Acquisition
    strategy: Strategy
    counts: Mapping[str, int]


def write_workspace(path: Path, samples: Sequence[WorkspaceSample]) -> None:
    """Write a workspace FlowJo 10 opens.

    Raises
    ------
    GatingError
        A strategy holds what FlowJo has no words for.
    SourceFileError
        The file cannot be written there.
    """
    write_xml(path, workspace_document(samples))


def workspace_document(samples: Sequence[WorkspaceSample]) -> ET.Element:
    """Return the document's root."""
    root = ET.Element(
        "Workspace",
        {
            "version": "20.0",
            "flowJoVersion": "10.8.1",
            "curGroup": "All Samples",
            "xmlns:gating": GATING,
            "xmlns:transforms": TRANSFORMS,
            "xmlns:data-type": DATA_TYPE,
        },
    )
    matrices = ET.SubElement(root, "Matrices")
    _add_groups(root, len(samples))
    listed = ET.SubElement(root, "SampleList")
    for number, sample in enumerate(samples, start=1):
        matrix = _matrix_of(sample)
        if matrix is not None:
            _add_matrix(matrices, matrix, number)
        _add_sample(listed, sample, matrix, number)
    return root


def _add_groups(root: ET.Element, count: int) -> None:
    name = "All Samples"
    node = ET.SubElement(
        ET.SubElement(root, "Groups"), "GroupNode", {"name": name, "annotation": "", "owningGroup": name, "expanded": "1"}
    )
    group = ET.SubElement(
        node, "Group", {"name": name, "live": "1", "role": "ws.group.dlog.test", "key": "", "synchronized": "0"}
    )
    ET.SubElement(group, "Criteria")
    references = ET.SubElement(group, "SampleRefs")
    for number in range(1, count + 1):
        ET.SubElement(references, "SampleRef", {"sampleID": str(number)})


def _matrix_of(sample: WorkspaceSample) -> SpilloverMatrix | None:
    used = {axis.compensation for gate in sample.strategy.gates for axis in dimensions_of(gate.shape)} - {UNCOMPENSATED}
    if not used:
        return None
    known = [sample.strategy.matrices.get(name) for name in used]
    matrix = known[0]
    if len(known) != 1 or matrix is None or matrix.is_inverted or matrix.fluorochromes != matrix.detectors:
        raise GatingError(
            what="FlowJo takes one spillover matrix a sample, named by its detectors.",
            where=f"Sample '{sample.file_name}'.",
            remedy="Write the gates as Gating-ML 2.0 instead.",
        )
    return matrix


def _add_matrix(parent: ET.Element, matrix: SpilloverMatrix, number: int) -> None:
    element = ET.SubElement(
        parent,
        "transforms:spilloverMatrix",
        {
            "spectral": "0",
            "prefix": PREFIX,
            "name": f"Acquisition-defined {number}",
            "editable": "0",
            "version": "FlowJo-10.8.1",
            "status": "FINALIZED",
            "transforms:id": f"matrix-{number}",
            "suffix": "",
        },
    )
    named = ET.SubElement(element, "data-type:parameters")
    for detector in matrix.detectors:
        ET.SubElement(
            named, "data-type:parameter", {"data-type:name": clean(detector), "userProvidedCompInfix": PREFIX + clean(detector)}
        )
    for detector, row in zip(matrix.detectors, matrix.coefficients, strict=True):
        spill = ET.SubElement(
            element,
            "transforms:spillover",
            {"data-type:parameter": clean(detector), "userProvidedCompInfix": PREFIX + clean(detector)},
        )
        for other, value in zip(matrix.detectors, row, strict=True):
            ET.SubElement(
                spill,
                "transforms:coefficient",
                {"data-type:parameter": clean(other), "transforms:value": repr(float(value))},
            )


def _add_sample(listed: ET.Element, sample: WorkspaceSample, matrix: SpilloverMatrix | None, number: int) -> None:
    element = ET.SubElement(listed, "Sample")
    ET.SubElement(element, "DataSet", {"uri": f"file:{quote(sample.file_name)}", "sampleID": str(number)})
    if matrix is not None:
        _add_matrix(element, matrix, number)
    scales = _scales_by_channel(sample)
    transformations = ET.SubElement(element, "Transformations")
    undone = set(matrix.detectors) if matrix is not None else set()
    for channel, scale in scales.items():
        _add_scale(transformations, channel, scale)
        if channel in undone:
            _add_scale(transformations, PREFIX + channel, scale)
    keywords = ET.SubElement(element, "Keywords")
    for name, value in _keywords(sample):
        ET.SubElement(keywords, "Keyword", {"name": name, "value": clean(value)})
    node = ET.SubElement(
        element,
        "SampleNode",
        {
            "name": clean(sample.file_name),
            "annotation": "",
            "owningGroup": "",
            "expanded": "1",
            "sortPriority": "10",
            "count": str(sample.acquisition.event_count),
            "sampleID": str(number),
        },
    )
    _Gates(sample=sample, scales=scales).add_below(node, None)


def _keywords(sample: WorkspaceSample) -> Iterator[tuple[str, str]]:
    yield "FJ_FCS_VERSION", sample.acquisition.version[:1] or "3"
    yield "$FIL", sample.file_name
    yield "$TOT", str(sample.acquisition.event_count)
    yield "$PAR", str(len(sample.acquisition.channels))
    for number, channel in enumerate(sample.acquisition.channels, start=1):
        yield f"$P{number}N", channel.detector
        if channel.marker:
            yield f"$P{number}S", channel.marker
        yield f"$P{number}R", repr(channel.top)


def _scales_by_channel(sample: WorkspaceSample) -> dict[str, Scale]:
    """Choose the scale of every channel: the gates' own, linear over its range elsewhere."""
    scales: dict[str, Scale] = {
        channel.detector: ParametricLinear(top=channel.top if channel.top > 0 else 262_144.0, offset=0.0)
        for channel in sample.acquisition.channels
    }
    chosen: dict[str, str] = {}
    for gate in sample.strategy.gates:
        for axis in dimensions_of(gate.shape):
            if axis.ratio or chosen.setdefault(axis.channel, axis.scale) != axis.scale:
                raise GatingError(
                    what=f"FlowJo takes one scale a channel and no ratios; '{axis.channel or axis.ratio}' is used otherwise.",
                    where=f"Sample '{sample.file_name}', gate '{gate.name}'.",
                    remedy="Write the gates as Gating-ML 2.0 instead.",
                )
            if axis.scale:
                scales[axis.channel] = sample.strategy.scales[axis.scale]
    return scales


def _add_scale(parent: ET.Element, channel: str, scale: Scale) -> None:
    match scale:
        case ParametricLinear(top=top, offset=offset):
            kind, values = "linear", {"minRange": repr(offset), "maxRange": repr(top)}
        case ParametricLogicle(top=top, width=width, decades=decades, negative_decades=negative):
            kind = "logicle"
            values = {"length": "256", "T": repr(top), "W": repr(width), "M": repr(decades), "A": repr(negative)}
        case ParametricAsinh(top=top, decades=decades, negative_decades=negative):
            kind = "fasinh"
            values = {"length": "256", "maxRange": repr(top), "T": repr(top), "W": "0", "M": repr(decades), "A": repr(negative)}
        case FlowJoBiex(top=top, width=width, positive=positive, negative=negative):
            kind = "biex"
            values = {
                "length": "256",
                "maxRange": repr(top),
                "neg": repr(negative),
                "width": repr(width),
                "pos": repr(positive),
            }
        case FlowJoLog(offset=offset, decades=decades):
            kind, values = "log", {"offset": repr(offset), "decades": repr(decades)}
        case _:
            raise GatingError(
                what=f"FlowJo has no scale like '{type(scale).__name__}'.",
                where=f"Channel '{channel}'.",
                remedy="Write the gates as Gating-ML 2.0 instead.",
            )
    element = ET.SubElement(parent, f"transforms:{kind}", {f"transforms:{name}": value for name, value in values.items()})
    if kind == "linear":
        element.set("gain", "1")
    ET.SubElement(element, "data-type:parameter", {"data-type:name": clean(channel)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Gates:
    """Writes a sample's populations as FlowJo nests them."""

    sample: WorkspaceSample
    scales: Mapping[str, Scale]

    def add_below(self, node: ET.Element, parent: str | None) -> None:
        below = [gate for gate in self.sample.strategy.gates if gate.parent == parent]
        if not below:
            return
        populations = ET.SubElement(node, "Subpopulations")
        for gate in below:
            kind = _NODES[gate.shape.operation] if isinstance(gate.shape, Combination) else "Population"
            element = ET.SubElement(
                populations,
                kind,
                {
                    "name": clean(gate.name),
                    "annotation": "",
                    "owningGroup": "",
                    "expanded": "1",
                    "sortPriority": "10",
                    "count": str(self.sample.counts.get(gate.gate_id, -1)),
                },
            )
            if isinstance(gate.shape, Combination):
                self._add_combination(element, gate, gate.shape)
            else:
                self._add_shape(element, gate)
            self.add_below(element, gate.gate_id)

    def _add_combination(self, element: ET.Element, gate: Gate, shape: Combination) -> None:
        if any(reference.complement for reference in shape.references):
            raise self._unknown(gate, "combinations with complements")
        dependents = ET.SubElement(element, "Dependents")
        for reference in shape.references:
            ET.SubElement(dependents, "Dependent", {"name": clean("/".join(self.sample.strategy.path(reference.gate)))})

    def _add_shape(self, element: ET.Element, gate: Gate) -> None:
        number = [one.gate_id for one in self.sample.strategy.gates].index(gate.gate_id)
        holder = ET.SubElement(element, "Gate", {"gating:id": f"ID{number + 1}"})
        common = {"eventsInside": "1", "userDefined": "1", "tint": "#000000", "isTinted": "0", "lineWeight": "Normal"}
        match gate.shape:
            case Rectangle(sides=sides, inside=inside) if len(sides) <= 2:
                drawn = ET.SubElement(holder, "gating:RectangleGate", {**common, "percentX": "0", "percentY": "0"})
                for side in sides:
                    axis = self._add_axis(drawn, side.dimension)
                    if side.minimum is not None:
                        axis.set("gating:min", repr(self._linear(side.dimension, side.minimum)))
                    if side.maximum is not None:
                        axis.set("gating:max", repr(self._linear(side.dimension, side.maximum)))
            case Polygon(dimensions=axes, vertices=vertices, inside=inside):
                drawn = ET.SubElement(holder, "gating:PolygonGate", {**common, "quadId": "-1", "gateResolution": "256"})
                for dimension in axes:
                    self._add_axis(drawn, dimension)
                for vertex in vertices:
                    corner = ET.SubElement(drawn, "gating:vertex")
                    for dimension, value in zip(axes, vertex, strict=True):
                        ET.SubElement(corner, "gating:coordinate", {"data-type:value": repr(self._linear(dimension, value))})
            case _:
                raise self._unknown(gate, "ellipsoids, or gates of more than two axes")
        if not inside:
            drawn.set("eventsInside", "0")

    def _unknown(self, gate: Gate, what: str) -> GatingError:
        return GatingError(
            what=f"FlowJo has no {what}.",
            where=f"Sample '{self.sample.file_name}', gate '{gate.name}'.",
            remedy="Write the gates as Gating-ML 2.0 instead.",
        )

    def _add_axis(self, drawn: ET.Element, dimension: Dimension) -> ET.Element:
        axis = ET.SubElement(drawn, "gating:dimension")
        prefix = "" if dimension.compensation == UNCOMPENSATED else PREFIX
        ET.SubElement(axis, "data-type:fcs-dimension", {"data-type:name": prefix + clean(dimension.channel)})
        return axis

    def _linear(self, dimension: Dimension, value: float) -> float:
        if not dimension.scale:
            return float(value)
        return float(self.sample.strategy.scales[dimension.scale].inverse(np.array([value]))[0])
