"""The evidence of a slide as files: its page, its cells as other programs open them, pictures with every cell.

Knows which files a slide leaves behind, by name and bytes. Must not know where they are kept. Cheap enough to be made for every
slide: borders of cells are found again in a few fields alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.analysis import outline_tile
from biomarkers.ihc.areas import SlideAreas
from biomarkers.ihc.calibration import SlideCalibration, tile_tasks
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.records import SlideAnalysis
from biomarkers.ihc.regions import Annotation
from biomarkers.ihc.scoring import CellTable
from biomarkers.ihc.section import TileMeasurement, areas_of, slide_cells
from biomarkers.ihc.slide import SlideImage
from biomarkers.readers.cell_files import octagons, write_cells_geojson, write_cells_parquet
from biomarkers.reports.slide_overlays import overlay_pictures
from biomarkers.reports.slide_page import slide_page
from biomarkers.reports.slide_pictures import slide_pictures

QUALITY_PAGE = "quality.html"
CELL_TABLE = "cells.parquet"
CELLS = "cells.geojson.gz"


def slide_files(
    analysis: SlideAnalysis,
    slide: SlideImage,
    calibration: SlideCalibration,
    protocol: StainProtocol,
    measurements: Sequence[TileMeasurement],
    *,
    annotations: Sequence[Annotation] = (),
    are_found_elsewhere: bool = False,
) -> dict[str, bytes]:
    """Make the evidence of a slide: file names with their bytes; the same slide gives the same bytes.

    The cells of ``cells.geojson.gz`` are octagons of each nucleus's place and area; :func:`cells_with_borders` draws true ones.

    Parameters
    ----------
    slide
        Open in this process.
    calibration, measurements
        Kept from the analysis, or made again.
    annotations
        The regions the slide was scored in.
    are_found_elsewhere
        The cells are another program's.
    """
    areas = areas_of(measurements, calibration, protocol, annotations)
    scored = _scored(measurements, areas)
    cells = slide_cells(scored)
    pictures = slide_pictures(
        slide,
        calibration,
        protocol,
        cells,
        annotations=annotations,
        areas=areas,
        are_found_elsewhere=are_found_elsewhere,
    )
    page = slide_page(analysis, pictures, title=f"Slide {analysis.run.name}").encode()
    with TemporaryDirectory() as folder:
        table, outlines = Path(folder) / CELL_TABLE, Path(folder) / CELLS
        write_cells_parquet(table, cells, pixel_size_um=calibration.pixel_size_um)
        pixel_um = calibration.optics.scale.pixel_size_um / calibration.optics.scale.factor
        write_cells_geojson(outlines, ((one.cells, octagons(one.cells, pixel_size_um=pixel_um)) for one in scored))
        return {
            QUALITY_PAGE: page,
            CELL_TABLE: table.read_bytes(),
            CELLS: outlines.read_bytes(),
            **overlay_pictures(slide, calibration, cells, pictures.fields),
        }


def scored_cells(
    measurements: Sequence[TileMeasurement],
    calibration: SlideCalibration,
    protocol: StainProtocol,
    annotations: Sequence[Annotation] = (),
) -> CellTable:
    """Join the cells that count: without those in masks, necrosis and exclusions."""
    return slide_cells(_scored(measurements, areas_of(measurements, calibration, protocol, annotations)))


def _scored(measurements: Sequence[TileMeasurement], areas: SlideAreas) -> list[TileMeasurement]:
    ordered = sorted(measurements, key=lambda measurement: measurement.tile_index)
    return [replace(one, cells=one.cells.kept(areas.evaluable_cells(one.cells))) for one in ordered]


def cells_with_borders(
    path: Path,
    slide: SlideImage,
    calibration: SlideCalibration,
    protocol: StainProtocol,
    measurements: Sequence[TileMeasurement],
    *,
    annotations: Sequence[Annotation] = (),
) -> None:
    """Write the GeoJSON of every scored cell with its own border, which takes as long as measuring the slide did."""
    tasks = {task.tile.index: task for task in tile_tasks(calibration, protocol)}
    areas = areas_of(measurements, calibration, protocol, annotations)

    def tiles() -> Iterator[tuple[CellTable, tuple[NDArray[np.float64], ...]]]:
        for one in sorted(measurements, key=lambda measurement: measurement.tile_index):
            keep = areas.evaluable_cells(one.cells)
            outlines = outline_tile(slide, tasks[one.tile_index], calibration.optics, protocol)
            yield one.cells.kept(keep), tuple(outline for outline, kept in zip(outlines, keep, strict=True) if kept)

    write_cells_geojson(path, tiles())
