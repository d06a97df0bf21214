"""Regions a pathologist drew in QuPath (GeoJSON) → :class:`~biomarkers.ihc.regions.Annotation`.

Knows how QuPath writes annotations, in its newer and its older way, and by which class names regions are called. Must not know
slides, cells or scores. Nothing drawn is passed over in silence: what cannot be used is told, all of it at once.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from biomarkers.errors import Fault, SourceFileError
from biomarkers.ihc.regions import Annotation, RegionKind, Ring, ring_area
from biomarkers.provenance import JsonValue

LARGEST_FILE_BYTES = 24_000_000
"""Half a million corners; parsed JSON takes up to twenty-five times its text, and that has to stay below a GB."""

LARGEST_COORDINATE_PX = 10_000_000
"""No slide is wider."""

MOST_RINGS, MOST_CORNERS = 2000, 200_000
"""Of all annotations of a slide together; every cell is held against every line of them."""

MOST_FAULTS_TOLD = 20

ELLIPSE_CORNERS = 360

JsonObject: TypeAlias = Mapping[str, JsonValue]

KIND_BY_CLASS: Mapping[str, RegionKind] = {
    "tumor": RegionKind.TUMOUR,
    "tumour": RegionKind.TUMOUR,
    "stroma": RegionKind.STROMA,
    "invasive margin": RegionKind.INVASIVE_MARGIN,
    "invasive_margin": RegionKind.INVASIVE_MARGIN,
    "margin": RegionKind.INVASIVE_MARGIN,
    "necrosis": RegionKind.NECROSIS,
    "exclude": RegionKind.EXCLUDE,
    "ignore": RegionKind.EXCLUDE,
}
"""Class names as people give them in QuPath, whatever their case; a star at the end, as in ``Ignore*``, makes no difference."""

_DETECTIONS = frozenset({"detection", "cell", "tile", "pathdetectionobject", "pathcellobject", "pathtileobject"})
_CONTAINERS = frozenset({"root", "tmacore", "pathrootobject", "tmacoreobject"})


def read_annotations(path: Path, *, width: int | None = None, height: int | None = None) -> tuple[Annotation, ...]:
    """Read the annotations of a GeoJSON file, plain or ``.gz``, in the order they stand there.

    Detections and cells in the file are passed over; annotations nested in others are read.

    Parameters
    ----------
    width, height
        Of the slide in level-0 pixels; an annotation that lies wholly outside is refused then.

    Raises
    ------
    SourceFileError
        The file is no GeoJSON of areas, is too large, holds no annotation, or some of them cannot be used; told all at once.
    """
    gathering = _Gathering(name=path.name, width=width, height=height)
    annotations: list[Annotation] = []
    rings = corners = 0
    for number, feature in enumerate(_features(_parsed(path), path.name), start=1):
        annotation = gathering.annotation(feature, number)
        if annotation is not None:
            annotations.append(annotation)
            rings += len(annotation.rings)
            corners += sum(len(ring) for ring in annotation.rings)
    if rings > MOST_RINGS or corners > MOST_CORNERS:
        raise SourceFileError(
            what=f"The annotations have {rings} lines with {corners} corners; "
            f"{MOST_RINGS} lines and {MOST_CORNERS} corners are the most that are read.",
            where=f"File '{path.name}'.",
            remedy="Simplify the shapes in QuPath and fill small holes, then export them again.",
        )
    if gathering.faults:
        raise SourceFileError.gathered(gathering.faults[:MOST_FAULTS_TOLD])
    if not annotations:
        raise SourceFileError(
            what="The file holds no annotation.",
            where=f"File '{path.name}'.",
            remedy="Draw the regions in QuPath and export them as GeoJSON, annotations included.",
        )
    return tuple(annotations)


def _parsed(path: Path) -> JsonValue:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            content = (gzip.GzipFile(fileobj=raw) if packed else raw).read(LARGEST_FILE_BYTES + 1)
        if len(content) > LARGEST_FILE_BYTES:
            raise SourceFileError(
                what=f"The file holds more than {LARGEST_FILE_BYTES // 1_000_000} MB of text, more than annotations need.",
                where=f"File '{path.name}'.",
                remedy="Export the annotations alone, without detections.",
            )
        document: JsonValue = json.loads(content.decode("utf-8-sig"))
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise SourceFileError(
            what=f"The file is damaged or no GeoJSON: {_reason(error)}.",
            where=f"File '{path.name}'.",
            remedy="Export the annotations from QuPath again (File, Export objects as GeoJSON).",
        ) from error
    return document


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _features(document: JsonValue, name: str) -> Iterator[JsonObject]:
    """Yield every feature of a collection, a list or a single one, and after each those nested in it."""
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        listed = document.get("features")
    else:
        listed = document if isinstance(document, list) else [document]
    if not isinstance(listed, list):
        listed = [None]
    waiting = list(reversed(listed))
    while waiting:
        feature = waiting.pop()
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise SourceFileError(
                what="The file is no GeoJSON of features.",
                where=f"File '{name}'.",
                remedy="Export the annotations from QuPath again (File, Export objects as GeoJSON).",
            )
        yield feature
        properties = _object(feature.get("properties"))
        nested = properties.get("childObjects", properties.get("children"))
        if isinstance(nested, list):
            waiting.extend(reversed(nested))


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: JsonValue) -> str:
    return value.strip() if isinstance(value, str) else ""


@dataclass(kw_only=True)
class _Gathering:
    """Annotations being read from one file, with what is wrong with them."""

    name: str
    width: int | None
    height: int | None
    faults: list[Fault] = field(default_factory=list)

    def annotation(self, feature: JsonObject, number: int) -> Annotation | None:
        """Make an annotation of a feature; None for what is no annotation or is faulty."""
        properties = _object(feature.get("properties"))
        what = _object_type(feature, properties).casefold()
        if what in _DETECTIONS or what in _CONTAINERS:
            return None
        called, classified = _text(properties.get("name")), _class_name(properties)
        where = f"File '{self.name}', annotation {number}{f' (name {called!r})' if called else ''}."
        try:
            kind = _kind(classified, called)
            rings = list(_rings(_object(feature.get("geometry"))))
            self._check_place(rings)
        except _FaultyError as error:
            self.faults.append(Fault(where=where, what=error.what, remedy=error.remedy))
            return None
        return Annotation(name=called, kind=kind, rings=tuple(rings))

    def _check_place(self, rings: Sequence[Ring]) -> None:
        if self.width is None or self.height is None:
            return
        inside = any(0 <= x <= self.width and 0 <= y <= self.height for ring in rings for x, y in ring)
        # A region that contains the whole slide has all its corners outside.
        xs, ys = zip(*(corner for ring in rings for corner in ring), strict=True)
        spans = min(xs) < self.width and max(xs) > 0 and min(ys) < self.height and max(ys) > 0
        if not (inside or spans):
            raise _FaultyError(
                f"It lies outside the slide of {self.width} x {self.height} pixels.",
                "Check that the annotations belong to this slide and count pixels of its full resolution.",
            )


class _FaultyError(Exception):
    """What is wrong with one annotation; turned into a fault with its place."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what)


def _object_type(feature: JsonObject, properties: JsonObject) -> str:
    """Tell what QuPath calls the object: as it writes it now, as it wrote it before 0.4, and as it did before 0.3."""
    for key in ("objectType", "object_type", "type"):
        if said := _text(properties.get(key)):
            return said
    return _text(feature.get("id"))


def _class_name(properties: JsonObject) -> str:
    classification = properties.get("classification")
    if isinstance(classification, str):
        return classification.strip()
    names = _object(classification).get("names")
    if isinstance(names, list):
        return ": ".join(_text(name) for name in names)
    return _text(_object(classification).get("name"))


def _kind(classified: str, called: str) -> RegionKind:
    """Take the kind from the class; from the name where a region has no class."""
    kind = KIND_BY_CLASS.get((classified or called).casefold().rstrip("*").strip())
    if kind is None:
        known = ", ".join(member.value for member in RegionKind)
        said = f"The class '{classified}' is not known" if classified else "The annotation has no class"
        raise _FaultyError(f"{said}; known are {known}.", "Give the annotation one of these classes in QuPath.")
    return kind


def _rings(geometry: JsonObject) -> Iterator[Ring]:
    shape, coordinates = _text(geometry.get("type")), geometry.get("coordinates")
    if shape == "Polygon":
        polygons: JsonValue = [coordinates]
    elif shape == "MultiPolygon":
        polygons = coordinates
    else:
        raise _FaultyError(
            f"It is drawn as {shape or 'nothing'}, which has no area.",
            "Draw the region as an area, or leave it out of the export.",
        )
    if not isinstance(polygons, list) or not polygons or not all(isinstance(polygon, list) and polygon for polygon in polygons):
        raise _FaultyError("It has no corners.", "Draw the region again.")
    is_ellipse = geometry.get("isEllipse") is True
    for polygon in polygons:
        assert isinstance(polygon, list)
        for line in polygon:
            ring = _ring(line)
            yield _ellipse(ring) if is_ellipse else ring


def _ring(line: JsonValue) -> Ring:
    if not isinstance(line, list) or len(line) < 4:
        raise _FaultyError("One of its lines has fewer than four corners.", "Draw the region again.")
    ring = tuple(_corner(corner) for corner in line)
    if ring[0] != ring[-1]:
        raise _FaultyError("One of its lines is not closed.", "Export the region again; first and last corner are the same.")
    if ring_area(ring) == 0:
        raise _FaultyError("One of its lines encloses nothing.", "Draw the region again.")
    return ring


def _corner(corner: JsonValue) -> tuple[float, float]:
    if isinstance(corner, list) and 2 <= len(corner) <= 4:
        x, y = corner[0], corner[1]
        if _is_place(x) and _is_place(y):
            return (float(x), float(y))
    raise _FaultyError("One of its corners is no pair of numbers.", "Export the region again.")


def _is_place(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_COORDINATE_PX


def _ellipse(ring: Ring) -> Ring:
    """Draw the ellipse that QuPath writes as a polygon of few corners and treats as an ellipse: of its box, and of its area."""
    xs, ys = zip(*ring, strict=True)
    x, y = 0.5 * (min(xs) + max(xs)), 0.5 * (min(ys) + max(ys))
    step = 2.0 * math.pi / ELLIPSE_CORNERS
    # Corners on the ellipse enclose less than it; moved outwards by this factor they enclose as much.
    outwards = math.sqrt(step / math.sin(step))
    half_width, half_height = 0.5 * outwards * (max(xs) - min(xs)), 0.5 * outwards * (max(ys) - min(ys))
    corners = tuple(
        (x + half_width * math.cos(index * step), y + half_height * math.sin(index * step)) for index in range(ELLIPSE_CORNERS)
    )
    return (*corners, corners[0])
