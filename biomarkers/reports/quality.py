"""The evidence a run leaves behind as files: its quality page, and what other programs open.

Knows which files each assay gives, by name and bytes. Must not know where they are kept. All of it can be made again from the
raw bytes and the recorded analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.gating import Gating
from biomarkers.elisa.control_charts import ControlSeries
from biomarkers.elisa.records import PlateAnalysis
from biomarkers.ihc.analysis import SlideAnalysis, TileMeasurement, outline_tile, slide_cells, tile_tasks
from biomarkers.ihc.calibration import SlideCalibration
from biomarkers.ihc.overlay import draw_cells
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.slide import SlideImage
from biomarkers.readers.cell_files import write_cells_geojson
from biomarkers.reports.acquisition_page import acquisition_page
from biomarkers.reports.figures import png_bytes
from biomarkers.reports.gate_densities import gate_densities
from biomarkers.reports.plate_page import plate_page
from biomarkers.reports.slide_page import slide_page
from biomarkers.reports.slide_pictures import slide_pictures

QUALITY_PAGE = "quality.html"
CELLS = "cells.geojson.gz"
OVERLAY = "overlay.png"

__all__ = [
    "CELLS",
    "OVERLAY",
    "QUALITY_PAGE",
    "acquisition_evidence",
    "acquisition_page",
    "plate_evidence",
    "plate_page",
    "slide_evidence",
    "slide_page",
]


def plate_evidence(analysis: PlateAnalysis, charts: Sequence[ControlSeries] = ()) -> dict[str, bytes]:
    """Make the evidence of a plate: file names with their bytes.

    Parameters
    ----------
    charts
        Controls over the runs of their lots, where other runs are known.
    """
    return {QUALITY_PAGE: plate_page(analysis, title=f"Plate {analysis.run.name}", charts=charts).encode()}


def acquisition_evidence(analysis: AcquisitionAnalysis, gating: Gating) -> dict[str, bytes]:
    """Make the evidence of an acquisition: file names with their bytes.

    Parameters
    ----------
    gating
        The acquisition gated again by the panel of the analysis; the same events and panel always give the same gates.
    """
    page = acquisition_page(analysis, gate_densities(gating), title=f"Acquisition {analysis.run.name}")
    return {QUALITY_PAGE: page.encode()}


def slide_evidence(
    analysis: SlideAnalysis,
    slide: SlideImage,
    calibration: SlideCalibration,
    protocol: StainProtocol,
    measurements: Sequence[TileMeasurement],
) -> dict[str, bytes]:
    """Make the evidence of a slide: the page, every cell with its outline as QuPath opens it, every cell on a picture.

    Parameters
    ----------
    calibration, measurements
        Of the slide, calibrated and measured again or kept from the analysis. Outlines are drawn by finding the cells of each
        tile anew, which takes as long as measuring did.
    """
    cells = slide_cells(measurements)
    pictures = slide_pictures(slide, calibration, protocol, cells)
    return {
        QUALITY_PAGE: slide_page(analysis, pictures, title=f"Slide {analysis.run.name}").encode(),
        CELLS: cells_geojson(slide, calibration, protocol, measurements),
        OVERLAY: png_bytes(draw_cells(slide, calibration, cells)),
    }


def cells_geojson(
    slide: SlideImage, calibration: SlideCalibration, protocol: StainProtocol, measurements: Sequence[TileMeasurement]
) -> bytes:
    """Return the compressed GeoJSON of every cell with its outline; the same cells give the same bytes."""
    tasks = {task.tile.index: task for task in tile_tasks(calibration, protocol)}
    ordered = sorted(measurements, key=lambda measurement: measurement.tile_index)
    tiles = (
        (measured.cells, outline_tile(slide, tasks[measured.tile_index], calibration.optics, protocol)) for measured in ordered
    )
    # The writer streams to a file, for a whole slide holds more cells than should wait in memory uncompressed.
    with TemporaryDirectory() as folder:
        path = Path(folder) / CELLS
        write_cells_geojson(path, tiles)
        return path.read_bytes()
