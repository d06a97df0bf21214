"""Cells and pictures of a slide → files that other programs open.

Knows Parquet, the GeoJSON that QuPath reads, and PNG. Must not know how cells were found.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biomarkers.ihc.scoring import COMPARTMENTS, INTENSITY_CLASSES, CellTable
from biomarkers.ihc.slide import RgbImage

CLASS_NAMES = ("Negative", *INTENSITY_CLASSES[1:])
"""As QuPath calls its intensity classes, so that its own H-score and percentage can be computed from the file."""

_COLOUR_BY_CLASS = ((112, 112, 225), (255, 215, 0), (255, 140, 0), (200, 0, 0))

_USUAL_NUCLEUS_UM2 = 40.0

_COMPRESSION = 5
"""Level 9, the default of gzip, takes four times as long for a twentieth less."""


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

    Each cell carries its class, its optical density of DAB and its nuclear area. The same cells give the same bytes.

    Parameters
    ----------
    tiles
        Cells with their outlines in level-0 pixels, one pair a tile; only one is held at a time.
    """
    with path.open("wb") as raw:
        if path.suffix != ".gz":
            _write_collection(raw, tiles)
            return
        # A fixed time of day and no name, so that equal cells give equal bytes.
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_COMPRESSION, mtime=0) as packed:
            _write_collection(packed, tiles)


def _write_collection(
    file: BinaryIO | gzip.GzipFile, tiles: Iterable[tuple[CellTable, tuple[NDArray[np.float64], ...]]]
) -> None:
    file.write(b'{"type":"FeatureCollection","features":[')
    separator = "\n"
    for cells, outlines in tiles:
        if len(cells) != len(outlines):
            raise ValueError("every cell needs its outline")
        if text := ",\n".join(_features(cells, outlines)):
            file.write((separator + text).encode())
            separator = ",\n"
    file.write(b"\n]}\n")


def write_picture(path: Path, picture: RgbImage) -> None:
    """Write a picture as PNG."""
    PIL.Image.fromarray(picture).save(path, format="PNG")


def _features(cells: CellTable, outlines: tuple[NDArray[np.float64], ...]) -> Iterator[str]:
    """Write each cell as text; ten times as fast as through dictionaries, which counts with a million of them."""
    classes = [
        json.dumps({"name": name, "color": colour}, separators=(",", ":"))
        for name, colour in zip(CLASS_NAMES, _COLOUR_BY_CLASS, strict=True)
    ]
    for outline, grade, dab, area in zip(
        outlines, cells.intensity_class.tolist(), cells.dab_od.tolist(), cells.nucleus_area_um2.tolist(), strict=True
    ):
        # JSON has no NaN: what was not measured is left out.
        measured = [f'"{name}":{value:.4f}' for name, value in (("DAB OD", dab), ("Nucleus area µm^2", area)) if value == value]  # noqa: PLR0124
        ring = ",".join(f"[{x:.1f},{y:.1f}]" for x, y in _closed(outline))
        yield (
            f'{{"type":"Feature","geometry":{{"type":"Polygon","coordinates":[[{ring}]]}},'
            f'"properties":{{"objectType":"detection","classification":{classes[grade]},'
            f'"measurements":{{{",".join(measured)}}}}}}}'
        )


def _closed(outline: NDArray[np.float64]) -> list[list[float]]:
    """Close a ring; a cell too small to have an area is drawn as a square of one pixel around it."""
    if len(outline) < 3:
        x, y = outline.mean(axis=0)
        outline = np.asarray([[x - 0.5, y - 0.5], [x + 0.5, y - 0.5], [x + 0.5, y + 0.5], [x - 0.5, y + 0.5]])
    corners: list[list[float]] = outline.tolist()
    return [*corners, corners[0]]


def octagons(cells: CellTable, *, pixel_size_um: float) -> tuple[NDArray[np.float64], ...]:
    """Draw every cell as an octagon of its place and nuclear area, where its true border is not at hand.

    Parameters
    ----------
    pixel_size_um
        Of level 0; cells whose area is not known are drawn as large as a usual nucleus is with such pixels.

    Returns
    -------
    tuple of NDArray[np.float64]
        Corners in level-0 pixels as viewers draw them, where whole numbers are pixel borders.
    """
    area_um2 = np.where(np.isnan(cells.nucleus_area_um2), _USUAL_NUCLEUS_UM2, cells.nucleus_area_um2)
    # A regular octagon of circumradius 1 has the area 2 √2.
    radius_px = np.sqrt(area_um2 / (2.0 * np.sqrt(2.0))) / pixel_size_um
    angle = np.pi * (np.arange(8) / 4.0 + 0.125)
    centre = np.stack([cells.x_px, cells.y_px], axis=-1)[:, None, :] + 0.5
    return tuple(centre + radius_px[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
