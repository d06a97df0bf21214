"""One slide from tiles to scores.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.

A slide is calibrated once (:func:`~biomarkers.ihc.calibration.calibrate_slide`), its tiles are measured one by one in any
order and in any process (:func:`measure_tile`), and :func:`score_slide` joins what they found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from biomarkers.ihc.calibration import Optics, SlideCalibration, TileTask, calibrate_slide, tile_tasks
from biomarkers.ihc.detection import Segmentation, detect_cells
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.scoring import (
    BlockCounts,
    CellTable,
    Estimate,
    density_per_mm2,
    h_score,
    measure_cells,
    positive_percent,
)
from biomarkers.ihc.slide import SlideImage, SlideOpener, read_working
from biomarkers.ihc.stains import separate_stains
from biomarkers.provenance import JsonValue, Provenance
from biomarkers.results import Assay, Finding, Interval, Quantity, Result, Run, Severity
from biomarkers.study.tissue import IHC_UNITS

__all__ = [
    "ScoreRecord",
    "SlideAnalysis",
    "TileMeasurement",
    "calibrate_slide",
    "measure_tile",
    "measure_tiles",
    "outline_tile",
    "parameters",
    "score_slide",
    "slide_cells",
    "tile_tasks",
]

StudyScore: TypeAlias = Literal["DENSITY_TISSUE", "PCT_POSITIVE", "HSCORE"]

_SCORE_NAMES: Mapping[StudyScore, str] = {
    "DENSITY_TISSUE": "density_per_mm2",
    "PCT_POSITIVE": "positive_percent",
    "HSCORE": "h_score",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """The scores of one region of a slide.

    Attributes
    ----------
    region
        ``"tissue"`` for the whole tissue mask, else the annotation's name.
    area_mm2
        None without a pixel size.
    class_counts
        Cells by intensity class, keys ``"0"``, ``"1+"``, ``"2+"``, ``"3+"``.
    positive_percent, density_per_mm2, h_score
        None where they cannot be given; the findings say why.
    intervals
        95 % limits by score name: ``positive_percent``, ``density_per_mm2``, ``h_score``. They cover the spread of cells over
        the section, never the choice of section, block or lesion.
    """

    region: str
    stain: str
    area_mm2: float | None
    cells: int
    positive: int
    class_counts: Mapping[str, int]
    positive_percent: float | None
    density_per_mm2: float | None
    h_score: float | None
    intervals: Mapping[str, Interval]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideAnalysis:
    """A slide analysed: the run with its results, and the scores behind them."""

    run: Run
    stain: str
    pixel_size_um: float | None
    stain_vectors: Mapping[str, tuple[float, float, float]]
    white_point: tuple[float, float, float]
    scores: tuple[ScoreRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileMeasurement:
    """The cells a tile owns; positions in level-0 pixels."""

    tile_index: int
    cells: CellTable


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
    _, cells, owned = _found_cells(slide, task, optics, protocol)
    return TileMeasurement(tile_index=task.tile.index, cells=cells.kept(owned))


def outline_tile(slide: SlideImage, task: TileTask, optics: Optics, protocol: StainProtocol) -> tuple[NDArray[np.float64], ...]:
    """Draw the outline of every nucleus :func:`measure_tile` finds in the tile, in the same order.

    Returns
    -------
    tuple of NDArray[np.float64]
        Corners in level-0 pixels, shape (corners, 2), x first; whole numbers are pixel borders, as viewers draw.
    """
    segmentation, _, owned = _found_cells(slide, task, optics, protocol)
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


def _found_cells(
    slide: SlideImage, task: TileTask, optics: Optics, protocol: StainProtocol
) -> tuple[Segmentation, CellTable, NDArray[np.bool_]]:
    """Return the tile's segmentation, its cells placed in level-0 pixels, and which of them the tile owns."""
    scale, padded, core = optics.scale, task.tile.padded, task.tile.core
    stains = separate_stains(read_working(slide, scale, padded), optics.white, optics.vectors)
    segmentation = detect_cells(
        stains,
        protocol.detection,
        pixel_size_um=scale.pixel_size_um,
        threshold=optics.seed_threshold,
        is_nuclear_stain=protocol.scoring.compartment == "nucleus",
    )
    dab = np.ascontiguousarray(stains[..., 1])
    cells = measure_cells(segmentation, dab, protocol.scoring, pixel_size_um=scale.pixel_size_um)
    x, y = cells.x_px + padded.x, cells.y_px + padded.y
    owned = core.holds(x, y)
    owned[owned] = _on_tissue(x[owned] - core.x, y[owned] - core.y, task)
    area = cells.nucleus_area_um2 if not scale.is_assumed else np.full(len(cells), np.nan)
    placed = replace(cells, x_px=scale.to_level_0(x), y_px=scale.to_level_0(y), nucleus_area_um2=area)
    return segmentation, placed, owned


def measure_tiles(
    open_slide: SlideOpener, tasks: Sequence[TileTask], optics: Optics, protocol: StainProtocol
) -> tuple[TileMeasurement, ...]:
    """Measure some tiles in this process, which opens the slide for itself; what an executor maps over."""
    # One thread a process: the executor already gives every core a process.
    cv2.setNumThreads(1)
    with open_slide() as slide:
        return tuple(measure_tile(slide, task, optics, protocol) for task in tasks)


def slide_cells(measurements: Iterable[TileMeasurement]) -> CellTable:
    """Join the cells of all tiles, in the order of the tiles."""
    ordered = sorted(measurements, key=lambda measurement: measurement.tile_index)
    return CellTable.joined([measurement.cells for measurement in ordered])


def score_slide(
    measurements: Iterable[TileMeasurement],
    calibration: SlideCalibration,
    protocol: StainProtocol,
    *,
    scores: Sequence[StudyScore],
    accession_id: str,
    run_id: str,
    provenance: Provenance,
) -> SlideAnalysis:
    """Join the tiles of a slide into its scores.

    Parameters
    ----------
    scores
        Which of the scores the study reports; each gives one result.
    """
    counts = _block_counts(slide_cells(measurements), calibration, protocol)
    record = _score(counts, calibration, protocol)
    results = tuple(_result(score, record, accession_id=accession_id, run_id=run_id, provenance=provenance) for score in scores)
    vectors = calibration.stains.vectors
    return SlideAnalysis(
        run=Run(
            run_id=run_id,
            assay=Assay.IHC,
            name=calibration.slide_name,
            acquired_at=calibration.acquired_at,
            findings=calibration.findings,
            results=results,
            provenance=provenance,
        ),
        stain=protocol.stain,
        pixel_size_um=calibration.pixel_size_um,
        stain_vectors={"haematoxylin": vectors.haematoxylin, "dab": vectors.dab, "residual": vectors.residual},
        white_point=calibration.white_point.rgb,
        scores=(record,),
    )


def _on_tissue(x: NDArray[np.float64], y: NDArray[np.float64], task: TileTask) -> NDArray[np.bool_]:
    """Whether points of the core, in working pixels from its corner, lie on tissue or within one mask pixel of it."""
    near = np.asarray(cv2.dilate(task.tissue.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)), dtype=np.bool_)
    rows = ((y + 0.5) / task.tissue_step).astype(np.intp)
    columns = ((x + 0.5) / task.tissue_step).astype(np.intp)
    return near[rows, columns]


def _block_counts(cells: CellTable, calibration: SlideCalibration, protocol: StainProtocol) -> BlockCounts:
    """Count cells and tissue in blocks that do not depend on how the slide was tiled."""
    scale, tissue = calibration.optics.scale, calibration.tissue
    mask_pixel_um = tissue.step * scale.pixel_size_um
    block = max(1, round(protocol.evaluability.block_um / mask_pixel_um))
    pixels = tissue.block_pixels(block)
    side_px = block * tissue.step * scale.factor
    row = np.minimum(((cells.y_px + 0.5) / side_px).astype(np.intp), pixels.shape[0] - 1)
    column = np.minimum(((cells.x_px + 0.5) / side_px).astype(np.intp), pixels.shape[1] - 1)
    index = (row * pixels.shape[1] + column) * 4 + cells.intensity_class
    by_block = np.bincount(index, minlength=pixels.size * 4).reshape(pixels.size, 4).astype(np.int64)
    area_mm2 = None if scale.is_assumed else pixels.ravel().astype(np.float64) * (mask_pixel_um / 1000.0) ** 2
    return BlockCounts(cells=by_block, area_mm2=area_mm2)


def _score(counts: BlockCounts, calibration: SlideCalibration, protocol: StainProtocol) -> ScoreRecord:
    findings = (*calibration.findings, *_refusals(counts, calibration, protocol))
    given = _estimates(counts, findings)
    return ScoreRecord(
        region="tissue",
        stain=protocol.stain,
        area_mm2=None if counts.area_mm2 is None else float(counts.area_mm2.sum()),
        cells=counts.total,
        positive=counts.positive,
        class_counts=counts.class_counts,
        positive_percent=_value(given.get("positive_percent")),
        density_per_mm2=_value(given.get("density_per_mm2")),
        h_score=_value(given.get("h_score")),
        intervals={name: estimate.interval for name, estimate in given.items()},
        findings=findings,
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


REFUSED_SCORES_BY_CODE: Mapping[str, tuple[str, ...]] = {
    "WRONG_STAIN": ("positive_percent", "density_per_mm2", "h_score"),
    "RESOLUTION_TOO_LOW": ("positive_percent", "density_per_mm2", "h_score"),
    "TOO_LITTLE_TISSUE": ("positive_percent", "density_per_mm2", "h_score"),
    "TOO_FEW_CELLS": ("positive_percent", "h_score"),
    "DENSITY_WITHOUT_PIXEL_SIZE": ("density_per_mm2",),
    "NEEDS_TUMOUR_CLASS": ("h_score",),
}
"""Which scores a finding of severity REJECT forbids."""


def _estimates(counts: BlockCounts, findings: Sequence[Finding]) -> dict[str, Estimate]:
    refused = {name for finding in findings for name in REFUSED_SCORES_BY_CODE.get(finding.code, ())}
    methods = {"positive_percent": positive_percent, "density_per_mm2": density_per_mm2, "h_score": h_score}
    return {name: method(counts) for name, method in methods.items() if name not in refused}


def _refusals(counts: BlockCounts, calibration: SlideCalibration, protocol: StainProtocol) -> Iterable[Finding]:
    """Reasons found while scoring why some score cannot be given, each a finding of severity REJECT."""
    where = f"Slide '{calibration.slide_name}', stain {protocol.stain}."
    needs = protocol.evaluability
    area = None if counts.area_mm2 is None else float(counts.area_mm2.sum())
    if area is None:
        yield Finding(
            code="DENSITY_WITHOUT_PIXEL_SIZE",
            severity=Severity.REJECT,
            where=where,
            message="Density is not evaluable: the tissue area is unknown without a pixel size.",
            remedy="Declare the pixel size (--pixel-size-um, or pixel_size_um in the sidecar).",
        )
    elif area < needs.smallest_tissue_mm2:
        yield Finding(
            code="TOO_LITTLE_TISSUE",
            severity=Severity.REJECT,
            where=where,
            message=f"The slide holds {area:.3g} mm² of tissue; {needs.smallest_tissue_mm2:g} mm² are needed.",
            remedy="Cut a further section, or record the specimen as not evaluable.",
        )
    if counts.total < needs.fewest_cells:
        yield Finding(
            code="TOO_FEW_CELLS",
            severity=Severity.REJECT,
            where=where,
            message=f"{counts.total} cells were found; {needs.fewest_cells} are needed for a percentage or an H-score.",
            remedy="Cut a further section, or record the specimen as not evaluable.",
        )
    if protocol.scoring.needs_tumour_class:
        yield Finding(
            code="NEEDS_TUMOUR_CLASS",
            severity=Severity.REJECT,
            where=where,
            message="The H-score, TPS and CPS are not evaluable: they need cells classed as tumour, lymphocyte or macrophage.",
            remedy="Give cell classes; the percentage and density of positive cells of any kind need none.",
        )


def _result(score: StudyScore, record: ScoreRecord, *, accession_id: str, run_id: str, provenance: Provenance) -> Result:
    name = _SCORE_NAMES[score]
    value = {
        "positive_percent": record.positive_percent,
        "density_per_mm2": record.density_per_mm2,
        "h_score": record.h_score,
    }[name]
    area = "tissue of unknown area" if record.area_mm2 is None else f"{record.area_mm2:.4g} mm² of tissue"
    concerning = tuple(
        finding
        for finding in record.findings
        if finding.severity is Severity.WARNING
        or (finding.severity is Severity.REJECT and name in REFUSED_SCORES_BY_CODE.get(finding.code, ()))
        or finding.code == "STAIN_VECTORS_DEFAULTED"
    )
    return Result(
        accession_id=accession_id,
        assay=Assay.IHC,
        measurand=f"{record.stain}_{score}",
        quantity=None if value is None else Quantity(value=value, unit=IHC_UNITS[score]),
        interval=record.intervals.get(name),
        denominator=area if score == "DENSITY_TISSUE" else "all cells in tissue",
        n_replicates=record.cells,
        run_id=run_id,
        findings=concerning,
        provenance=provenance,
    )
