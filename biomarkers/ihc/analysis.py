"""One slide from tiles to scores.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.

A slide is calibrated once (:func:`~biomarkers.ihc.calibration.calibrate_slide`), its tiles are measured one by one in any
order and in any process (:func:`measure_tile`), and :func:`score_slide` joins what they found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomarkers.ihc.areas import FocusReading
from biomarkers.ihc.artefacts import FOCUS_BLOCK, focus_readings
from biomarkers.ihc.calibration import Optics, TileTask, calibrate_slide, tile_tasks
from biomarkers.ihc.detection import CutSides, Segmentation, detect_cells
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.records import AreaRecord, ScoreRecord, SlideAnalysis
from biomarkers.ihc.scoring import CellTable, measure_cells
from biomarkers.ihc.section import StudyScore, TileMeasurement, areas_of, score_slide, slide_cells
from biomarkers.ihc.slide import Region, SlideImage, SlideOpener, WorkingScale, read_working
from biomarkers.ihc.stains import FloatImage, optical_density, unmixed
from biomarkers.provenance import JsonValue

__all__ = [
    "AreaRecord",
    "ScoreRecord",
    "SlideAnalysis",
    "StudyScore",
    "TileMeasurement",
    "areas_of",
    "calibrate_slide",
    "measure_tile",
    "measure_tiles",
    "outline_tile",
    "parameters",
    "placed_cells",
    "score_slide",
    "slide_cells",
    "tile_tasks",
]


def parameters(protocol: StainProtocol) -> JsonValue:
    """Every setting of the method, for the provenance of a slide."""
    return {"stain_protocol": protocol.parameters()}


def measure_tile(slide: SlideImage, task: TileTask, optics: Optics, protocol: StainProtocol) -> TileMeasurement:
    """Find and measure the cells whose centroid lies in a tile's core and on tissue.

    Returns
    -------
    TileMeasurement
        The same whatever other tiles are measured, where and in which order.
    """
    view = _view(slide, task, optics)
    _, cells, owned = _found_cells(view, task, optics, protocol)
    focus = _focus(view, task, optics, protocol)
    return TileMeasurement(tile_index=task.tile.index, cells=cells.kept(owned), focus=focus)


def outline_tile(slide: SlideImage, task: TileTask, optics: Optics, protocol: StainProtocol) -> tuple[NDArray[np.float64], ...]:
    """Draw the outline of every nucleus :func:`measure_tile` finds in the tile, in the same order.

    Returns
    -------
    tuple of NDArray[np.float64]
        Corners in level-0 pixels, shape (corners, 2), x first; whole numbers are pixel borders, as viewers draw.
    """
    segmentation, _, owned = _found_cells(_view(slide, task, optics), task, optics, protocol)
    corner = np.asarray([task.tile.padded.x, task.tile.padded.y], dtype=np.float64)
    boxes = ndimage.find_objects(segmentation.labels)
    outlines = []
    for index in np.flatnonzero(owned):
        rows, columns = boxes[index]
        part = (segmentation.labels[rows, columns] == index + 1).astype(np.uint8)
        contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        largest = max((np.asarray(contour).reshape(-1, 2) for contour in contours), key=len)
        outlines.append((largest + corner + [columns.start, rows.start] + 0.5) * optics.scale.factor)
    return tuple(outlines)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _View:
    """What a tile looks like: optical density and amounts of the stains, both of the padded tile."""

    density: FloatImage
    stains: FloatImage


def _view(slide: SlideImage, task: TileTask, optics: Optics) -> _View:
    density = optical_density(read_working(slide, optics.scale, task.tile.padded), optics.white)
    return _View(density=density, stains=unmixed(density, optics.vectors))


def _focus(view: _View, task: TileTask, optics: Optics, protocol: StainProtocol) -> FocusReading:
    padded, core = task.tile.padded, task.tile.core
    block = FOCUS_BLOCK * task.tissue_step
    mean = np.asarray(cv2.transform(view.density, np.full((1, 3), 1.0 / 3.0, dtype=np.float32)), dtype=np.float32)
    inner = np.s_[core.y - padded.y : core.y - padded.y + core.height, core.x - padded.x : core.x - padded.x + core.width]
    settings = protocol.artefacts
    ratio = focus_readings(mean, inner, optics.scale.pixel_size_um, block, settings.least_focus_contrast)
    return FocusReading(row=core.y // block, column=core.x // block, ratio=ratio)


def _found_cells(
    view: _View, task: TileTask, optics: Optics, protocol: StainProtocol
) -> tuple[Segmentation, CellTable, NDArray[np.bool_]]:
    """Return the tile's segmentation, its cells placed in level-0 pixels, and which of them the tile owns."""
    segmentation = detect_cells(
        view.stains,
        protocol.detection,
        pixel_size_um=optics.scale.pixel_size_um,
        level=optics.nuclei,
        is_nuclear_stain=protocol.scoring.compartment == "nucleus",
        cut=_cut_sides(task.tile.padded, optics.scale),
    )
    cells, owned = placed_cells(segmentation, np.ascontiguousarray(view.stains[..., 1]), task, optics, protocol)
    return segmentation, cells, owned


def placed_cells(
    segmentation: Segmentation, dab: FloatImage, task: TileTask, optics: Optics, protocol: StainProtocol
) -> tuple[CellTable, NDArray[np.bool_]]:
    """Measure the cells of a padded tile, place them in level-0 pixels, and tell which of them the tile owns."""
    scale, padded, core = optics.scale, task.tile.padded, task.tile.core
    cells = measure_cells(segmentation, dab, protocol.scoring, pixel_size_um=scale.pixel_size_um)
    x, y = cells.x_px + padded.x, cells.y_px + padded.y
    owned = core.holds(x, y)
    owned[owned] = _on_tissue(x[owned] - core.x, y[owned] - core.y, task)
    area = cells.nucleus_area_um2 if not scale.is_assumed else np.full(len(cells), np.nan)
    return replace(cells, x_px=scale.to_level_0(x), y_px=scale.to_level_0(y), nucleus_area_um2=area), owned


def _cut_sides(padded: Region, scale: WorkingScale) -> CutSides:
    return CutSides(
        left=padded.x == 0,
        top=padded.y == 0,
        right=padded.x + padded.width >= scale.width,
        bottom=padded.y + padded.height >= scale.height,
    )


def measure_tiles(
    open_slide: SlideOpener, tasks: Sequence[TileTask], optics: Optics, protocol: StainProtocol
) -> tuple[TileMeasurement, ...]:
    """Measure some tiles in this process, which opens the slide for itself; what an executor maps over."""
    # One thread a process: the executor already gives every core a process.
    cv2.setNumThreads(1)
    with open_slide() as slide:
        return tuple(measure_tile(slide, task, optics, protocol) for task in tasks)


def _on_tissue(x: NDArray[np.float64], y: NDArray[np.float64], task: TileTask) -> NDArray[np.bool_]:
    """Whether points of the core, in working pixels from its corner, lie on tissue or within one mask pixel of it."""
    near = np.asarray(cv2.dilate(task.tissue.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)), dtype=np.bool_)
    rows = ((y + 0.5) / task.tissue_step).astype(np.intp)
    columns = ((x + 0.5) / task.tissue_step).astype(np.intp)
    return near[rows, columns]
