"""Cells as GeoJSON that QuPath opens: valid, in bounded memory, and with what was measured."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from biomarkers.ihc.regions import ring_area
from biomarkers.ihc.scoring import CellTable
from biomarkers.readers.cell_files import write_cells_geojson

POSITION = {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "number"}}
LINEAR_RING = {"type": "array", "minItems": 4, "items": POSITION}
POLYGON = {
    "type": "object",
    "required": ["type", "coordinates"],
    "properties": {"type": {"const": "Polygon"}, "coordinates": {"type": "array", "minItems": 1, "items": LINEAR_RING}},
}
FEATURE = {
    "type": "object",
    "required": ["type", "geometry", "properties"],
    "properties": {
        "type": {"const": "Feature"},
        "geometry": POLYGON,
        "properties": {
            "type": "object",
            "required": ["objectType", "classification", "measurements"],
            "properties": {
                "objectType": {"enum": ["annotation", "detection", "cell", "tile", "tmaCore"]},
                "classification": {
                    "type": "object",
                    "required": ["name", "color"],
                    "properties": {
                        "name": {"type": "string"},
                        "color": {
                            "type": "array",
                            "minItems": 3,
                            "maxItems": 3,
                            "items": {"type": "integer", "minimum": 0, "maximum": 255},
                        },
                    },
                },
                "measurements": {"type": "object", "additionalProperties": {"type": "number"}},
            },
        },
    },
}
COLLECTION = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["type", "features"],
    "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array", "items": FEATURE}},
}
"""RFC 7946 for what we write, and QuPath's properties on top."""

Outlines = tuple[NDArray[np.float64], ...]


def tiles(count: int, cells_a_tile: int, seed: int = 1) -> Iterator[tuple[CellTable, Outlines]]:
    generator = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 18)[:-1]
    for _ in range(count):
        x, y = generator.uniform(20, 80_000, (2, cells_a_tile))
        radius = generator.uniform(6, 14, cells_a_tile)
        corners = np.stack(
            [x[:, None] + radius[:, None] * np.cos(angles), y[:, None] + radius[:, None] * np.sin(angles)], axis=-1
        )
        yield (
            CellTable(
                x_px=x,
                y_px=y,
                nucleus_area_um2=np.pi * (radius / 4) ** 2,
                dab_od=generator.uniform(-0.02, 1.2, cells_a_tile),
                compartment=np.zeros(cells_a_tile, dtype=np.uint8),
                intensity_class=generator.integers(0, 4, cells_a_tile).astype(np.uint8),
            ),
            tuple(corners),
        )


def no_constant(word: str) -> float:
    raise AssertionError(word)


@pytest.mark.parametrize("name", ["cells.geojson", "cells.geojson.gz"])
def test_the_file_is_valid_geojson_with_qupaths_properties(tmp_path: Path, name: str) -> None:
    given = list(tiles(3, 200))
    write_cells_geojson(tmp_path / name, given)
    content = (tmp_path / name).read_bytes()
    collection = json.loads(gzip.decompress(content) if name.endswith(".gz") else content, parse_constant=no_constant)
    jsonschema.Draft202012Validator(COLLECTION).validate(collection)
    features = collection["features"]
    assert len(features) == 600
    outlines = [outline for _, tile in given for outline in tile]
    cells = CellTable.joined([cells for cells, _ in given])
    names = ("Negative", "1+", "2+", "3+")
    for index, (feature, outline) in enumerate(zip(features, outlines, strict=True)):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        # Corners are rounded to a tenth of a pixel: the area moves by at most the perimeter times half of that.
        assert abs(abs(ring_area(ring)) - abs(ring_area(outline))) < 0.05 * 2 * np.pi * 14
        properties = feature["properties"]
        assert properties["classification"]["name"] == names[cells.intensity_class[index]]
        assert properties["measurements"]["DAB OD"] == pytest.approx(cells.dab_od[index], abs=5e-5)
        assert properties["measurements"]["Nucleus area µm^2"] == pytest.approx(cells.nucleus_area_um2[index], abs=5e-5)


def test_what_was_not_measured_is_left_out_and_a_speck_still_has_an_area(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"
    cells = CellTable(
        x_px=np.asarray([5.0]),
        y_px=np.asarray([6.0]),
        nucleus_area_um2=np.asarray([np.nan]),
        dab_od=np.asarray([0.5]),
        compartment=np.zeros(1, dtype=np.uint8),
        intensity_class=np.asarray([2], dtype=np.uint8),
    )
    write_cells_geojson(path, [(cells, (np.asarray([[5.5, 6.5], [6.5, 6.5]]),))])
    collection = json.loads(path.read_text())
    jsonschema.Draft202012Validator(COLLECTION).validate(collection)
    (feature,) = collection["features"]
    assert feature["properties"]["measurements"] == {"DAB OD": 0.5}
    assert ring_area(feature["geometry"]["coordinates"][0]) == 1.0


def test_no_cell_gives_an_empty_collection_and_equal_cells_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"
    write_cells_geojson(path, [])
    assert json.loads(path.read_text()) == {"type": "FeatureCollection", "features": []}
    for name in ("a.geojson.gz", "b.geojson.gz"):
        write_cells_geojson(tmp_path / name, tiles(2, 10))
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()


def test_a_missing_outline_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    (cells, outlines), *_ = tiles(1, 3)
    with pytest.raises(ValueError, match="every cell needs its outline"):
        write_cells_geojson(tmp_path / "cells.geojson", [(cells, outlines[:-1])])


def _write_many(path: Path, count: int) -> None:
    write_cells_geojson(path, tiles(count // 2000, 2000))
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write(str(int(status["VmHWM"].split()[0]) * 1024))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_half_a_million_cells_take_less_than_300_megabytes_and_every_one_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.geojson.gz"
    child = subprocess.run([sys.executable, __file__, str(path), "500000"], capture_output=True, text=True, check=True)
    with capsys.disabled():
        sys.stdout.write(
            f"\n500 000 cells: {int(child.stdout) / 1e6:.0f} MB at most, a file of {path.stat().st_size / 1e6:.0f} MB\n"
        )
    assert int(child.stdout) < 300_000_000
    count = 0
    validator = jsonschema.Draft202012Validator(FEATURE)
    with gzip.open(path, "rt") as lines:
        assert next(lines) == '{"type":"FeatureCollection","features":[\n'
        for line in lines:
            if line == "]}\n":
                break
            feature = json.loads(line.rstrip(",\n"), parse_constant=no_constant)
            if count % 50 == 0:  # the schema's own program is slow; every line is parsed
                validator.validate(feature)
            count += 1
    assert count == 500_000


if __name__ == "__main__":
    _write_many(Path(sys.argv[1]), int(sys.argv[2]))
