"""From cells to scores: compartments, intensity classes, percentages, densities, and how sure they are.

Knows cells as arrays and blocks of tissue. Must not know images' stains, slides or files. An H-score is
1 · %1+ + 2 · %2+ + 3 · %3+, from 0 to 300.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from biomarkers.ihc.detection import Segmentation
from biomarkers.ihc.intervals import NORMAL_WIDTH, ratio_spread
from biomarkers.ihc.protocol import ScoringSettings
from biomarkers.ihc.stains import FloatImage
from biomarkers.results import Interval

INTENSITY_CLASSES = ("0", "1+", "2+", "3+")
COMPARTMENTS = ("nucleus", "membrane", "chromogen")
"""Where a cell's DAB was read; ``"chromogen"`` is the blob of a cell that was found without its nucleus."""

_DENSITY_STEPS = 2048
_DENSITY_LOWEST, _DENSITY_HIGHEST = -0.5, 3.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellTable:
    """Cells as equally long arrays.

    Attributes
    ----------
    x_px, y_px
        Centroid of the nucleus; in the pixels its maker says, counting pixel centres from 0.
    nucleus_area_um2
        NaN where the slide's pixel size is not known.
    dab_od
        Optical density of DAB in the cell's compartment.
    compartment
        Index into :data:`COMPARTMENTS`.
    intensity_class
        0 to 3.
    cell_class
        Index into :data:`~biomarkers.ihc.classes.CELL_CLASSES`; None where nobody classed the cells, as this package's own
        detection never does.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    nucleus_area_um2: NDArray[np.float64]
    dab_od: NDArray[np.float64]
    compartment: NDArray[np.uint8]
    intensity_class: NDArray[np.uint8]
    cell_class: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.x_px)

    def kept(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> CellTable:
        """Take some of the cells."""
        return CellTable(
            x_px=self.x_px[keep],
            y_px=self.y_px[keep],
            nucleus_area_um2=self.nucleus_area_um2[keep],
            dab_od=self.dab_od[keep],
            compartment=self.compartment[keep],
            intensity_class=self.intensity_class[keep],
            cell_class=None if self.cell_class is None else self.cell_class[keep],
        )

    @classmethod
    def joined(cls, tables: list[CellTable]) -> CellTable:
        """Append tables one after another; the cells are classed where those of all tables are."""
        classes = [table.cell_class for table in tables if table.cell_class is not None]
        return cls(
            x_px=np.concatenate([np.empty(0), *(table.x_px for table in tables)]),
            y_px=np.concatenate([np.empty(0), *(table.y_px for table in tables)]),
            nucleus_area_um2=np.concatenate([np.empty(0), *(table.nucleus_area_um2 for table in tables)]),
            dab_od=np.concatenate([np.empty(0), *(table.dab_od for table in tables)]),
            compartment=np.concatenate([np.empty(0, dtype=np.uint8), *(table.compartment for table in tables)]),
            intensity_class=np.concatenate([np.empty(0, dtype=np.uint8), *(table.intensity_class for table in tables)]),
            cell_class=np.concatenate(classes) if tables and len(classes) == len(tables) else None,
        )


def measure_cells(segmentation: Segmentation, dab: FloatImage, settings: ScoringSettings, *, pixel_size_um: float) -> CellTable:
    """Read position, size and DAB of every cell of a tile; positions in pixels of the tile.

    Parameters
    ----------
    dab
        Optical density of DAB, shape (height, width).
    pixel_size_um
        Of the tile's pixels.
    """
    labels, count = segmentation.labels, len(segmentation.by_chromogen)
    flat = np.flatnonzero(labels)
    owner = labels.ravel()[flat]
    area_px = np.bincount(owner, minlength=count + 1)[1:].astype(np.float64)
    width = labels.shape[1]
    x_px = np.bincount(owner, weights=flat % width, minlength=count + 1)[1:] / area_px
    y_px = np.bincount(owner, weights=flat // width, minlength=count + 1)[1:] / area_px
    inside = np.bincount(owner, weights=dab.ravel()[flat], minlength=count + 1)[1:] / area_px
    if settings.compartment == "membrane":
        ring = _ring_quantile(segmentation, dab, settings, pixel_size_um)
        # Where the knife met the membrane from above it lies over the nucleus, and the ring shows what is beside the cell.
        dab_od = np.where(segmentation.by_chromogen, inside, np.fmax(ring, inside))
    else:
        dab_od = inside
    where = COMPARTMENTS.index(settings.compartment)
    compartment = np.where(segmentation.by_chromogen, COMPARTMENTS.index("chromogen"), where)
    return CellTable(
        x_px=x_px,
        y_px=y_px,
        nucleus_area_um2=area_px * pixel_size_um**2,
        dab_od=dab_od,
        compartment=compartment.astype(np.uint8),
        intensity_class=intensity_class(dab_od, settings.cutoffs),
    )


def intensity_class(dab_od: NDArray[np.float64], cutoffs: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Class cells 0, 1+, 2+ or 3+; a cell on a cut-off has reached it."""
    return np.searchsorted(np.asarray(cutoffs), dab_od, side="right").astype(np.uint8)


def _ring_quantile(
    segmentation: Segmentation, dab: FloatImage, settings: ScoringSettings, pixel_size_um: float
) -> NDArray[np.float64]:
    """Quantile of DAB over the rim of each nucleus and a ring around it; ring pixels belong to the nearest nucleus."""
    labels, count = segmentation.labels, len(segmentation.by_chromogen)
    outside = (labels == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    near = np.asarray(nearest)
    owner_by_pixel = np.zeros(int(near.max()) + 1, dtype=np.int32)
    nucleus = labels > 0
    owner_by_pixel[near[nucleus]] = labels[nucleus]
    padded = np.pad(labels, 1, mode="edge")
    rim = nucleus & (
        (padded[:-2, 1:-1] != labels)
        | (padded[2:, 1:-1] != labels)
        | (padded[1:-1, :-2] != labels)
        | (padded[1:-1, 2:] != labels)
    )
    far = np.asarray(distance)
    ring = rim | ((far > 0) & (far <= settings.ring_um / pixel_size_um))
    owner = owner_by_pixel[near[ring]].astype(np.int64)
    span = _DENSITY_HIGHEST - _DENSITY_LOWEST
    step = np.clip((dab[ring] - _DENSITY_LOWEST) * (_DENSITY_STEPS / span), 0, _DENSITY_STEPS - 1).astype(np.int64)
    key = np.sort(owner * _DENSITY_STEPS + step)
    pixels = np.bincount(owner, minlength=count + 1)
    first = np.concatenate([[0], np.cumsum(pixels)])[1 : count + 1]
    pick = first + np.floor(settings.ring_quantile * np.maximum(pixels[1:] - 1, 0)).astype(np.int64)
    found = np.full(count, np.nan)
    some = pixels[1:] > 0
    found[some] = (key[pick[some]] % _DENSITY_STEPS + 0.5) * (span / _DENSITY_STEPS) + _DENSITY_LOWEST
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockCounts:
    """Cells and tissue area of one region in small square blocks, row after row.

    Attributes
    ----------
    cells
        By intensity class, shape (blocks, 4).
    area_mm2
        Tissue of each block; None where the slide has no pixel size.
    columns
        Blocks in a row: neighbours share nests of cells.
    """

    cells: NDArray[np.int64]
    area_mm2: NDArray[np.float64] | None
    columns: int = 1

    @property
    def class_counts(self) -> dict[str, int]:
        """Cells by intensity class."""
        return {name: int(count) for name, count in zip(INTENSITY_CLASSES, self.cells.sum(axis=0), strict=True)}

    @property
    def total(self) -> int:
        """All cells."""
        return int(self.cells.sum())

    @property
    def positive(self) -> int:
        """Cells of class 1+ or more."""
        return int(self.cells[:, 1:].sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A score and its limits.

    Attributes
    ----------
    inflation
        How many times larger the variance is than that of as many independent cells, with Student's t for few windows; 1 where
        cells do not cluster.
    standard_error
        In the score's unit.
    """

    value: float
    interval: Interval
    inflation: float
    standard_error: float


def positive_percent(counts: BlockCounts) -> Estimate:
    """Positive cells in percent of all cells.

    Limits are Wilson's for the effective number of cells: the number divided by how much more the blocks differ than
    independent cells would (Korn and Graubard 1998, Surv Methodol 24:193, with Student's t for few windows).
    """
    total, positive = counts.total, counts.positive
    share = positive / total
    simple = share * (1.0 - share) / total
    inflation = _inflation(counts.cells[:, 1:].sum(axis=1), counts.cells.sum(axis=1), simple, counts.columns)
    interval = wilson_percent(positive, total, inflation)
    return Estimate(
        value=100.0 * share, interval=interval, inflation=inflation, standard_error=100.0 * math.sqrt(simple * inflation)
    )


def wilson_percent(positive: float, total: float, inflation: float) -> Interval:
    """Wilson's limits of a percentage whose variance is ``inflation`` times that of independent cells."""
    lower, upper = _wilson(positive / total, total / inflation)
    return Interval(lower=0.0 if positive == 0 else 100.0 * lower, upper=100.0 if positive == total else 100.0 * upper)


def _wilson(share: float, effective: float) -> tuple[float, float]:
    """Wilson's limits of a share of ``effective`` independent cells."""
    width = NORMAL_WIDTH
    centre = (share + width**2 / (2 * effective)) / (1 + width**2 / effective)
    half = width * math.sqrt(share * (1 - share) / effective + width**2 / (4 * effective**2)) / (1 + width**2 / effective)
    return max(0.0, centre - half), min(1.0, centre + half)


def density_per_mm2(counts: BlockCounts) -> Estimate:
    """Positive cells per square millimetre of the region.

    Limits are the exact Poisson ones (Garwood 1936, Biometrika 28:437) for the effective count: the count divided by how much
    more the blocks differ than a Poisson process would. A count of 0 has an upper limit of 3.7 cells over the area.
    """
    assert counts.area_mm2 is not None
    area, positive = float(counts.area_mm2.sum()), counts.positive
    inflation = _inflation(counts.cells[:, 1:].sum(axis=1), counts.area_mm2, positive / area**2, counts.columns)
    return Estimate(
        value=positive / area,
        interval=garwood_density(positive, area, inflation),
        inflation=inflation,
        standard_error=math.sqrt(positive * inflation) / area,
    )


def garwood_density(positive: float, area: float, inflation: float) -> Interval:
    """Exact Poisson limits of a density whose variance is ``inflation`` times that of independent cells."""
    effective, scale = positive / inflation, inflation / area
    lower = float(stats.chi2.ppf(0.025, 2 * effective)) / 2 if positive else 0.0
    upper = float(stats.chi2.ppf(0.975, 2 * effective + 2)) / 2
    return Interval(lower=lower * scale, upper=upper * scale)


def h_score(counts: BlockCounts) -> Estimate:
    """H-score over all cells, with limits from the differences between blocks and no narrower than independent cells give."""
    weights = 100.0 * np.arange(4)
    total = counts.total
    value = float(counts.cells.sum(axis=0) @ weights) / total
    shares = counts.cells.sum(axis=0) / total
    simple = float(shares @ (weights - value) ** 2) / total
    inflation = _inflation(counts.cells @ weights, counts.cells.sum(axis=1), simple, counts.columns)
    error = math.sqrt(simple * inflation)
    if counts.positive == 0:
        # No spread was seen; as many cells might still hold the share of positives that Wilson's limits allow.
        upper = wilson_percent(0, total, inflation).upper
        return Estimate(value=value, interval=Interval(lower=0.0, upper=upper), inflation=inflation, standard_error=error)
    return Estimate(value=value, interval=wilson_h_score(value, error, total), inflation=inflation, standard_error=error)


def wilson_h_score(value: float, error: float, cells: float) -> Interval:
    """Wilson's limits of an H-score with a standard error, as a share of 300 and of as many cells as would give that error.

    A section that happens to hold few nests has a low score and shows little spread, so that limits as far above the score as
    below would miss high true ones. Without any spread, as where all cells are 1+, the cells themselves count.
    """
    share = value / 300.0
    lower, upper = _wilson(share, share * (1.0 - share) * (300.0 / error) ** 2 if error > 0 else cells)
    return Interval(lower=300.0 * lower, upper=300.0 * upper)


def _inflation(
    numerator: NDArray[np.int64] | NDArray[np.float64],
    size: NDArray[np.int64] | NDArray[np.float64],
    simple: float,
    columns: int,
) -> float:
    """How many times the variance of independent cells the blocks show; never less than 1."""
    spread = ratio_spread(numerator.astype(np.float64), size.astype(np.float64), columns=columns)
    if spread is None or simple <= 0 or spread.variance <= simple:
        return 1.0
    # Student's t enters as a further inflation: the limits themselves know only the normal width.
    return spread.variance / simple * (spread.width / NORMAL_WIDTH) ** 2
