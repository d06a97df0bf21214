"""Annotations drawn in QuPath: what they are, how large they are, and what cannot be used."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biomarkers.errors import SourceFileError
from biomarkers.ihc.regions import RegionKind
from biomarkers.readers.annotations import LARGEST_FILE_BYTES, read_annotations


def ring(*corners: tuple[float, float]) -> list[list[float]]:
    return [[*corner] for corner in (*corners, corners[0])]


SQUARE = ring((0, 0), (100, 0), (100, 100), (0, 100))
HOLE = ring((10, 10), (10, 40), (40, 40), (40, 10))


def feature(coordinates: Any = None, *, shape: str = "Polygon", **properties: Any) -> dict[str, Any]:
    told = {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}} | properties
    return {
        "type": "Feature",
        "id": "6b1b8e0e-2f5a-4a2c-9f0e-1d1f4b8f8f01",
        "geometry": {"type": shape, "coordinates": [SQUARE] if coordinates is None else coordinates},
        "properties": told,
    }


@pytest.fixture
def drop(tmp_path: Path) -> Callable[..., Path]:
    def write(*features: Any, document: Any = None) -> Path:
        path = tmp_path / "ATR-000001_CD8.geojson"
        path.write_text(json.dumps(document if document is not None else {"type": "FeatureCollection", "features": features}))
        return path

    return write


def test_a_polygon_with_a_hole_has_the_area_of_the_one_less_the_other(drop: Callable[..., Path]) -> None:
    (tumour,) = read_annotations(drop(feature([SQUARE, HOLE], name="nest 1")))
    assert (tumour.name, tumour.kind) == ("nest 1", RegionKind.TUMOUR)
    assert tumour.area_px == 100 * 100 - 30 * 30


def test_several_polygons_and_an_island_in_a_hole_are_one_region(drop: Callable[..., Path]) -> None:
    island = ring((20, 20), (30, 20), (30, 30), (20, 30))
    far = ring((500.25, 500.5), (600.25, 500.5), (600.25, 510.5))
    (tumour,) = read_annotations(drop(feature([[SQUARE, HOLE], [island], [far]], shape="MultiPolygon")))
    assert tumour.area_px == 10_000 - 900 + 100 + 500


@settings(max_examples=60, deadline=None)
@given(
    corners=st.integers(3, 60),
    radius=st.floats(5, 4000),
    hole=st.floats(0.05, 0.6),
    x=st.floats(0, 90_000),
    y=st.floats(0, 90_000),
    reversed_hole=st.booleans(),
)
def test_areas_are_those_of_regular_polygons_wherever_they_lie_and_whichever_way_they_turn(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    corners: int,
    radius: float,
    hole: float,
    x: float,
    y: float,
    reversed_hole: bool,  # noqa: FBT001
) -> None:
    angles = 2 * np.pi * np.arange(corners) / corners
    outer = ring(*[(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles])
    # A regular polygon's inner circle has the radius cos(pi/n), so the hole lies inside.
    shrunk = hole * math.cos(math.pi / corners)
    inner = ring(*[(x + shrunk * radius * math.cos(a), y + shrunk * radius * math.sin(a)) for a in angles])
    path = tmp_path_factory.mktemp("a") / "a.geojson"
    path.write_text(json.dumps(feature([outer, inner[::-1] if reversed_hole else inner])))
    (region,) = read_annotations(path)
    exact = 0.5 * corners * math.sin(2 * math.pi / corners) * radius**2 * (1 - shrunk**2)
    assert region.area_px == pytest.approx(exact, rel=1e-9, abs=1e-6)


def test_an_ellipse_has_the_area_of_an_ellipse_as_in_qupath_though_its_file_holds_a_polygon(drop: Callable[..., Path]) -> None:
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    drawn = feature([ring(*[(300 + 80 * math.cos(a), 200 + 50 * math.sin(a)) for a in angles])])
    drawn["geometry"]["isEllipse"] = True
    (region,) = read_annotations(drop(drawn))
    assert region.area_px == pytest.approx(math.pi * 80 * 50, rel=1e-12)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("Tumor", RegionKind.TUMOUR),
        ("tumour", RegionKind.TUMOUR),
        ("Stroma", RegionKind.STROMA),
        ("Invasive margin", RegionKind.INVASIVE_MARGIN),
        ("Necrosis", RegionKind.NECROSIS),
        ("Ignore*", RegionKind.EXCLUDE),
        ("exclude", RegionKind.EXCLUDE),
    ],
)
def test_classes_are_known_by_the_words_people_use(drop: Callable[..., Path], word: str, kind: RegionKind) -> None:
    assert read_annotations(drop(feature(classification={"name": word})))[0].kind is kind
    assert read_annotations(drop(feature(classification={"names": [word]})))[0].kind is kind
    assert read_annotations(drop(feature(classification=None, name=word)))[0].kind is kind


def test_every_way_qupath_has_written_annotations_is_read(drop: Callable[..., Path]) -> None:
    older = feature() | {"id": "PathAnnotationObject"}
    del older["properties"]["objectType"]
    nested = feature()
    nested["properties"]["childObjects"] = [feature(classification={"name": "Necrosis"})]
    cell = feature(objectType="cell")
    for document in (
        {"type": "FeatureCollection", "features": [feature(), older, nested, cell]},
        [feature(), older, nested, cell],
    ):
        found = read_annotations(drop(document=document))
        assert [annotation.kind.value for annotation in found] == ["tumour", "tumour", "tumour", "necrosis"]
    assert len(read_annotations(drop(document=feature(object_type="annotation", objectType=None)))) == 1


def test_a_compressed_file_reads_the_same(drop: Callable[..., Path], tmp_path: Path) -> None:
    plain = drop(feature([SQUARE, HOLE]))
    packed = tmp_path / "a.geojson.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_annotations(packed) == read_annotations(plain)


FAULTY = {
    "unknown class": (
        feature(classification={"name": "Immune cells"}),
        "The class 'Immune cells' is not known; known are tumour",
    ),
    "no class": (feature(classification=None), "The annotation has no class"),
    "a line": (feature([[0, 0], [1, 1]], shape="LineString"), "It is drawn as LineString, which has no area."),
    "points": (feature([[0, 0]], shape="MultiPoint"), "It is drawn as MultiPoint, which has no area."),
    "no geometry": (feature() | {"geometry": None}, "It is drawn as nothing, which has no area."),
    "no corners": (feature([]), "It has no corners."),
    "two corners": (feature([[[0, 0], [1, 1], [0, 0]]]), "One of its lines has fewer than four corners."),
    "open": (feature([SQUARE[:-1]]), "One of its lines is not closed."),
    "flat": (feature([[[0, 0], [1, 1], [2, 2], [0, 0]]]), "One of its lines encloses nothing."),
    "words": (feature([[["a", 0], [1, 1], [2, 2], [0, 0]]]), "One of its corners is no pair of numbers."),
    "far away": (feature([ring((0, 0), (1e300, 0), (5, 5))]), "One of its corners is no pair of numbers."),
    "another slide's": (
        feature([ring((9000, 9000), (9100, 9000), (9100, 9100))]),
        "It lies outside the slide of 2048 x 1024 pixels.",
    ),
}


@pytest.mark.parametrize(("faulty", "what"), FAULTY.values(), ids=FAULTY.keys())
def test_an_annotation_that_cannot_be_used_is_told_with_its_number(
    drop: Callable[..., Path], faulty: dict[str, Any], what: str
) -> None:
    path = drop(feature(), faulty)
    with pytest.raises(SourceFileError) as caught:
        read_annotations(path, width=2048, height=1024)
    assert caught.value.what.startswith(what)
    assert caught.value.where == "File 'ATR-000001_CD8.geojson', annotation 2."
    assert caught.value.remedy.endswith(".")


def test_all_faults_are_told_at_once(drop: Callable[..., Path]) -> None:
    with pytest.raises(SourceFileError, match=r"2 things are wrong.*annotation 1 \(name 'x'\).*annotation 3"):
        read_annotations(drop(feature([], name="x"), feature(), feature(classification=None)))


def test_a_region_around_the_whole_slide_lies_on_it(drop: Callable[..., Path]) -> None:
    around = ring((-10, -10), (5000, -10), (5000, 5000), (-10, 5000))
    assert len(read_annotations(drop(feature([around])), width=2048, height=1024)) == 1


BROKEN = {
    "nothing": b"",
    "text": b"tumour",
    "cut off": json.dumps(feature()).encode()[:-30],
    "another JSON": b'{"plates": []}',
    "a list of numbers": b"[1, 2]",
    "not a number": b'{"type": "FeatureCollection", "features": [NaN]}',
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 50_000 + b"]" * 50_000,
    "no UTF-8": b"\xff\xfe{",
    "cut gzip": gzip.compress(json.dumps(feature()).encode())[:-20],
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_geojson_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(content)
    with pytest.raises(SourceFileError, match=r"^The file is (damaged or )?no GeoJSON"):
        read_annotations(path)


@pytest.mark.parametrize("packed", [False, True])
def test_too_large_a_file_is_refused_before_it_is_unpacked_whole(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    path = tmp_path / "a.geojson"
    content = b" " * (LARGEST_FILE_BYTES + 10)
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(SourceFileError, match="holds more than 24 MB"):
        read_annotations(path)


def test_a_file_of_detections_alone_holds_no_annotation(drop: Callable[..., Path]) -> None:
    with pytest.raises(SourceFileError, match="The file holds no annotation"):
        read_annotations(drop(feature(objectType="detection")))


def test_shapes_with_more_lines_than_any_hand_draws_are_refused(drop: Callable[..., Path]) -> None:
    holes = [ring((x, y), (x + 1, y), (x + 1, y + 1)) for x in range(2, 90, 2) for y in range(2, 98, 2)]
    with pytest.raises(SourceFileError, match=r"The annotations have 2113 lines with 8453 corners.*Simplify the shapes"):
        read_annotations(drop(feature([SQUARE, *holes])))
