"""Cells and pictures of a slide → files that other programs open.

Knows Parquet, the GeoJSON that QuPath reads, and PNG. Must not know how cells were found.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biomarkers.ihc.scoring import COMPARTMENTS, INTENSITY_CLASSES, CellTable
from biomarkers.ihc.slide import RgbImage

_COLOUR_BY_CLASS = ((112, 112, 225), (255, 215, 0), (255, 140, 0), (200, 0, 0))


def write_cells_parquet(path: Path, cells: CellTable, *, pixel_size_um: float | None) -> None:
    """Write one row a cell; micrometres are null where the pixel size is not known."""
    unknown = pa.nulls(len(cells), pa.float64())
    table = pa.table(
        {
            "x_px": cells.x_px,
            "y_px": cells.y_px,
            "x_um": unknown if pixel_size_um is None else cells.x_px * pixel_size_um,
            "y_um": unknown if pixel_size_um is None else cells.y_px * pixel_size_um,
            "nucleus_area_um2": unknown if pixel_size_um is None else cells.nucleus_area_um2,
            "dab_od": cells.dab_od,
            "compartment": pa.array([COMPARTMENTS[index] for index in cells.compartment], pa.string()),
            "intensity_class": pa.array([INTENSITY_CLASSES[index] for index in cells.intensity_class], pa.string()),
            "positive": cells.intensity_class > 0,
        }
    )
    pq.write_table(table, path)


def write_cells_geojson(path: Path, tiles: Iterable[tuple[CellTable, tuple[NDArray[np.float64], ...]]]) -> None:
    """Stream a feature collection of QuPath detections, compressed where the name ends in ``.gz``.

    Parameters
    ----------
    tiles
        Cells with their outlines in level-0 pixels, one pair a tile; only one is held at a time.
    """
    # A fixed time of day, so that equal cells give equal bytes.
    with path.open("wb") as raw:
        file = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if path.suffix == ".gz" else raw
        file.write(b'{"type":"FeatureCollection","features":[')
        separator = b"\n"
        for cells, outlines in tiles:
            for feature in _features(cells, outlines):
                file.write(separator + json.dumps(feature, separators=(",", ":")).encode())
                separator = b",\n"
        file.write(b"\n]}\n")
        if file is not raw:
            file.close()


def write_picture(path: Path, picture: RgbImage) -> None:
    """Write a picture as PNG."""
    PIL.Image.fromarray(picture).save(path, format="PNG")


def _features(cells: CellTable, outlines: tuple[NDArray[np.float64], ...]) -> Iterator[dict[str, object]]:
    for index, outline in enumerate(outlines):
        ring = [[round(float(x), 1), round(float(y), 1)] for x, y in outline]
        while len(ring) < 3:
            ring.append(ring[-1])
        grade = int(cells.intensity_class[index])
        measurements = {"DAB OD": round(float(cells.dab_od[index]), 4)}
        if not np.isnan(cells.nucleus_area_um2[index]):
            measurements["Nucleus area µm^2"] = round(float(cells.nucleus_area_um2[index]), 2)
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {
                "objectType": "detection",
                "classification": {
                    "name": "Negative" if grade == 0 else f"Positive {INTENSITY_CLASSES[grade]}",
                    "color": list(_COLOUR_BY_CLASS[grade]),
                },
                "measurements": measurements,
            },
        }
