"""Which part of a slide is scored: tissue less masks, and the regions a pathologist drew.

Knows masks and annotations on one coarse grid. Must not know how cells were found, stains or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.artefacts import FOCUS_BLOCK, Artefact
from biomarkers.ihc.calibration import SlideCalibration
from biomarkers.ihc.records import AreaRecord
from biomarkers.ihc.regions import REMOVED_KINDS, Annotation, RegionKind, covered_share, inside
from biomarkers.ihc.scoring import CellTable

SCORED_KINDS = (RegionKind.TUMOUR, RegionKind.STROMA, RegionKind.INVASIVE_MARGIN)
"""Kinds of annotation that are scored by themselves, in the order of their records."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FocusReading:
    """Fine over broad detail in blocks of one tile; ``row`` and ``column`` count blocks over the whole slide."""

    row: int
    column: int
    ratio: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRegion:
    """One region to be scored.

    Attributes
    ----------
    weight
        Share of each pixel of the tissue mask that belongs to the region and can be evaluated.
    annotations
        What was drawn; empty for the whole tissue.
    """

    name: str
    weight: NDArray[np.float32]
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideAreas:
    """The areas of one slide.

    Attributes
    ----------
    evaluable
        Pixels of the tissue mask that are tissue and show no artefact; annotations are not in it.
    removed
        Annotations of necrosis and exclusion.
    """

    evaluable: NDArray[np.bool_]
    removed: tuple[Annotation, ...]
    regions: tuple[ScoredRegion, ...]
    records: tuple[AreaRecord, ...]
    pixel: float

    def evaluable_cells(self, cells: CellTable) -> NDArray[np.bool_]:
        """Tell which cells, placed in level-0 pixels, lie where the slide can be evaluated."""
        rows, columns = self.evaluable.shape
        row = np.clip(((cells.y_px + 0.5) / self.pixel).astype(np.intp), 0, rows - 1)
        column = np.clip(((cells.x_px + 0.5) / self.pixel).astype(np.intp), 0, columns - 1)
        keep: NDArray[np.bool_] = _near(self.evaluable)[row, column]
        for annotation in self.removed:
            keep &= ~inside(cells.x_px + 0.5, cells.y_px + 0.5, annotation)
        return keep


def region_cells(region: ScoredRegion, cells: CellTable) -> NDArray[np.bool_]:
    """Tell which cells lie in a region; all do where nothing was drawn."""
    if not region.annotations:
        return np.ones(len(cells), dtype=np.bool_)
    found = np.zeros(len(cells), dtype=np.bool_)
    for annotation in region.annotations:
        found |= inside(cells.x_px + 0.5, cells.y_px + 0.5, annotation)
    return found


def slide_areas(
    calibration: SlideCalibration,
    focus: Iterable[FocusReading],
    annotations: Sequence[Annotation],
    *,
    least_focus: float,
) -> SlideAreas:
    """Put masks and annotations together.

    Parameters
    ----------
    focus
        Of all tiles; a block without reading counts as in focus.
    least_focus
        Ratio of fine to broad detail below which a block is out of focus.
    """
    tissue, shape = calibration.tissue.mask, calibration.tissue.mask.shape
    pixel = calibration.tissue.step * calibration.optics.scale.factor
    blurred = _out_of_focus(focus, shape, least_focus) & tissue
    evaluable = tissue & ~calibration.artefacts.any & ~blurred
    removed = tuple(annotation for annotation in annotations if annotation.kind in REMOVED_KINDS)
    left = evaluable.astype(np.float32)
    shares = {annotation: covered_share(annotation, shape=shape, pixel=pixel) for annotation in annotations}
    for annotation in removed:
        left *= 1.0 - shares[annotation]
    regions = [ScoredRegion(name="tissue", weight=left, annotations=())]
    for name, drawn in _named(annotations):
        covered = np.zeros(shape, dtype=np.float32)
        for annotation in drawn:
            np.maximum(covered, shares[annotation], out=covered)
        regions.append(ScoredRegion(name=name, weight=left * covered, annotations=drawn))
    masks = [("tissue", tissue.astype(np.float32))]
    masks += [
        (artefact.value, (calibration.artefacts.mask(artefact) & tissue).astype(np.float32))
        for artefact in Artefact
        if artefact is not Artefact.OUT_OF_FOCUS
    ]
    masks.append((Artefact.OUT_OF_FOCUS.value, blurred.astype(np.float32)))
    for kind in sorted(REMOVED_KINDS):
        covered = np.zeros(shape, dtype=np.float32)
        for annotation in removed:
            if annotation.kind is kind:
                np.maximum(covered, shares[annotation], out=covered)
        masks.append((kind.value, covered * tissue))
    masks.append(("evaluable", left))
    return SlideAreas(
        evaluable=evaluable,
        removed=removed,
        regions=tuple(regions),
        records=tuple(_records(masks, calibration)),
        pixel=pixel,
    )


def _named(annotations: Sequence[Annotation]) -> Iterator[tuple[str, tuple[Annotation, ...]]]:
    """All annotations of a kind together, then each by itself where there are several; equal names belong together."""
    for kind in SCORED_KINDS:
        drawn = tuple(annotation for annotation in annotations if annotation.kind is kind)
        if drawn:
            yield kind.value, drawn
        names = dict.fromkeys(annotation.name for annotation in drawn if annotation.name)
        if len(names) > 1:
            for name in names:
                yield f"{kind.value}: {name}", tuple(annotation for annotation in drawn if annotation.name == name)


def _records(masks: Sequence[tuple[str, NDArray[np.float32]]], calibration: SlideCalibration) -> Iterator[AreaRecord]:
    scale = calibration.optics.scale
    pixel_mm2 = (calibration.tissue.step * scale.pixel_size_um / 1000.0) ** 2
    tissue = max(float(masks[0][1].sum(dtype=np.float64)), 1.0)
    for name, mask in masks:
        covered = float(mask.sum(dtype=np.float64))
        yield AreaRecord(
            name=name, area_mm2=None if scale.is_assumed else covered * pixel_mm2, share_of_tissue=covered / tissue
        )


def _out_of_focus(focus: Iterable[FocusReading], shape: tuple[int, ...], least_focus: float) -> NDArray[np.bool_]:
    rows, columns = (-(-side // FOCUS_BLOCK) for side in shape)
    ratio = np.full((rows, columns), np.nan, dtype=np.float32)
    for reading in focus:
        height, width = reading.ratio.shape
        ratio[reading.row : reading.row + height, reading.column : reading.column + width] = reading.ratio[
            : rows - reading.row, : columns - reading.column
        ]
    blurred = np.repeat(np.repeat(ratio < least_focus, FOCUS_BLOCK, axis=0), FOCUS_BLOCK, axis=1)
    return blurred[: shape[0], : shape[1]]


def _near(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Spread a mask by one pixel: a nucleus at the very edge of the tissue has its centre just outside the coarse mask."""
    padded = np.pad(mask, 1)
    near = np.zeros_like(mask)
    for row in range(3):
        for column in range(3):
            near |= padded[row : row + mask.shape[0], column : column + mask.shape[1]]
    return near
