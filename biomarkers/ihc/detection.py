"""Cells in one tile: nuclei by haematoxylin and blobs by chromogen, found separately and merged.

Knows arrays of stain amounts and how large cells are. Must not know slides, scores or where the tile lies. Every step looks
at most some cell widths far, so that a cell is found alike whichever tile shows it.

Haematoxylin separates nuclei best but dark DAB hides it; DAB blobs find the positive cells but merge neighbours. A nuclear
stain hides the haematoxylin of its own cells, so its blobs come first; a membrane stain surrounds a visible nucleus, so
nuclei come first and blobs are added where no nucleus explains the DAB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.basins import Basins, rejoined
from biomarkers.ihc.protocol import DetectionSettings
from biomarkers.ihc.stains import FloatImage

WEAKEST_RESPONSE = 0.01
"""Responses below this are noise on any slide and do not inform its typical response."""

FEWEST_RESPONSES = 20
"""From fewer nuclei no typical response is taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """Cells of one tile.

    Attributes
    ----------
    labels
        Shape (height, width): 0 outside cells, else the cell's number from 1.
    by_chromogen
        By cell number less 1: found as a blob of chromogen rather than by its haematoxylin.
    """

    labels: NDArray[np.int32]
    by_chromogen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSides:
    """Sides at which a tile ends because the picture ends there, so that nuclei are seen in part."""

    left: bool = False
    top: bool = False
    right: bool = False
    bottom: bool = False


WHOLE = CutSides()


@dataclass(frozen=True, slots=True, kw_only=True)
class NuclearLevel:
    """What nuclei look like on one slide.

    Attributes
    ----------
    scale
        Factor that brings the haematoxylin of a dark slide down to the usual strength; 1 for all others. Pale slides are not
        scaled up, for their noise would be too.
    threshold
        Least response of a nuclear seed.
    """

    scale: float
    threshold: float


def nuclear_level(samples: Sequence[FloatImage], settings: DetectionSettings, pixel_size_um: float) -> NuclearLevel:
    """Find how strongly a slide's nuclei are stained from sample regions of its haematoxylin.

    Seeds are weighed by their response: fibres and noise give many weak seeds, nuclei fewer strong ones.
    """
    found = [_seeds(sample, 1.0, settings, pixel_size_um) for sample in samples]
    density = _weighted_median([seeds.density for seeds in found], [seeds.response for seeds in found])
    scale = 1.0 if density is None else min(1.0, settings.usual_density / density)
    if scale < 1.0:
        found = [_seeds(sample, scale, settings, pixel_size_um) for sample in samples]
    response = _weighted_median([seeds.response for seeds in found], [seeds.response for seeds in found])
    return NuclearLevel(
        scale=scale, threshold=max(settings.seed_floor, 0.0 if response is None else settings.seed_share * response)
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seeds:
    response: NDArray[np.float64]
    density: NDArray[np.float64]


def _seeds(haematoxylin: FloatImage, scale: float, settings: DetectionSettings, pixel_size_um: float) -> _Seeds:
    compressed = _compress(haematoxylin, settings.haematoxylin_ceiling, scale)
    foreground = _solid(
        _near(compressed, settings, pixel_size_um) > _around(compressed, settings, pixel_size_um), settings, pixel_size_um
    )
    response = _blob_response(compressed, settings, pixel_size_um)
    basins = Basins.climb(response, foreground, settings.seed_distance_um / pixel_size_um, WEAKEST_RESPONSE)
    density = _near(haematoxylin, settings, pixel_size_um).ravel()[basins.seeds]
    return _Seeds(response=basins.peaks.astype(np.float64), density=density.astype(np.float64))


def _weighted_median(values: Sequence[NDArray[np.float64]], weights: Sequence[NDArray[np.float64]]) -> float | None:
    """Value that halves the weight; None from too few values."""
    value, weight = np.concatenate([np.empty(0), *values]), np.concatenate([np.empty(0), *weights])
    if len(value) < FEWEST_RESPONSES:
        return None
    order = np.argsort(value, kind="stable")
    below = np.cumsum(weight[order])
    return float(value[order][np.searchsorted(below, 0.5 * below[-1])])


def detect_cells(
    stains: FloatImage,
    settings: DetectionSettings,
    *,
    pixel_size_um: float,
    level: NuclearLevel,
    is_nuclear_stain: bool,
    cut: CutSides = WHOLE,
) -> Segmentation:
    """Find the cells of a tile.

    Parameters
    ----------
    stains
        Haematoxylin, DAB and residual in optical density, shape (height, width, 3).
    level
        What nuclei look like on the slide, from :func:`nuclear_level`.
    is_nuclear_stain
        Whether the chromogen lies in the nucleus.
    cut
        Sides at which the tile ends because the picture ends.
    """
    haematoxylin, dab = np.ascontiguousarray(stains[..., 0]), np.ascontiguousarray(stains[..., 1])
    compressed = _compress(haematoxylin, settings.haematoxylin_ceiling, level.scale)
    blobs = _blurred(dab, settings.smoothing_um / pixel_size_um) > settings.chromogen_density
    chromogen: NDArray[np.int32] | None = None
    hidden: NDArray[np.bool_] | None = None
    if is_nuclear_stain:
        blobs = _solid(blobs, settings, pixel_size_um)
        chromogen = _split_stained_nuclei(blobs, dab, settings, pixel_size_um)
        hidden = blobs
    around = _around(compressed, settings, pixel_size_um, hidden=hidden)
    seen, free = compressed, np.ones(dab.shape, dtype=np.bool_)
    if hidden is not None:
        # Under a dark blob haematoxylin cannot be told; its surroundings' level there makes no false rim next to it.
        seen = np.where(hidden, around, compressed).astype(np.float32, copy=False)
        free = np.asarray(cv2.dilate(hidden.astype(np.uint8), _disk(settings.chromogen_rim_um / pixel_size_um))) == 0
    foreground = _solid(_near(compressed, settings, pixel_size_um) > around, settings, pixel_size_um) & free
    response = _blob_response(seen, settings, pixel_size_um)
    basins = Basins.climb(response, foreground, settings.seed_distance_um / pixel_size_um, level.threshold)
    nuclei = rejoined(basins.painted(), response, basins.peaks, settings, pixel_size_um)
    nuclei = _tightened(nuclei, compressed, settings, pixel_size_um)
    nuclei = _of_possible_size(nuclei, compressed, settings, pixel_size_um, cut)
    if chromogen is None:
        taken = cv2.dilate((nuclei > 0).astype(np.uint8), _disk(4.0 * settings.opening_um / pixel_size_um))
        chromogen = _split_blobs(_solid(blobs & (taken == 0), settings, pixel_size_um), settings, pixel_size_um)
    return _merged(nuclei, chromogen)


def _merged(nuclei: NDArray[np.int32], chromogen: NDArray[np.int32]) -> Segmentation:
    n_nuclei, n_chromogen = int(nuclei.max(initial=0)), int(chromogen.max(initial=0))
    labels = np.where(chromogen > 0, chromogen + n_nuclei, nuclei)
    by_chromogen = np.arange(n_nuclei + n_chromogen) >= n_nuclei
    return Segmentation(labels=labels.astype(np.int32), by_chromogen=by_chromogen)


def _compress(amount: FloatImage, ceiling: float, scale: float) -> FloatImage:
    """Level dark nuclei to pale ones; negative amounts are noise."""
    return np.asarray(ceiling * np.tanh(np.maximum(amount, 0.0) * (scale / ceiling)), dtype=np.float32)


def _near(compressed: FloatImage, settings: DetectionSettings, pixel_size_um: float) -> FloatImage:
    return _blurred(compressed, settings.smoothing_um / pixel_size_um)


def _around(
    compressed: FloatImage, settings: DetectionSettings, pixel_size_um: float, hidden: NDArray[np.bool_] | None = None
) -> FloatImage:
    """Haematoxylin of the surroundings, to which nuclei are compared; pixels whose haematoxylin is hidden do not count."""
    sigma = settings.local_mean_um / pixel_size_um
    if hidden is None or not hidden.any():
        return _blurred(compressed, sigma)
    weight = (~hidden).astype(np.float32)
    level = _blurred(compressed * weight, sigma) / np.maximum(_blurred(weight, sigma), np.float32(1e-3))
    return level.astype(np.float32, copy=False)


def _blob_response(compressed: FloatImage, settings: DetectionSettings, pixel_size_um: float) -> FloatImage:
    """Scale-normalised Laplacian of Gaussian, the largest over the nuclear scales (Lindeberg 1998, IJCV 30:79)."""
    response = np.full(compressed.shape, -np.inf, dtype=np.float32)
    for scale_um in settings.seed_scales_um:
        sigma = scale_um / pixel_size_um / np.sqrt(2.0)
        curvature = cv2.Laplacian(_blurred(compressed, sigma), cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT)
        np.maximum(response, np.asarray(curvature, dtype=np.float32) * np.float32(-(sigma**2)), out=response)
    return response


def _solid(mask: NDArray[np.bool_], settings: DetectionSettings, pixel_size_um: float) -> NDArray[np.bool_]:
    """Open away specks and bridges, fill holes no larger than a nucleus."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disk(settings.opening_um / pixel_size_um))
    holes, labels, statistics, _ = cv2.connectedComponentsWithStats(1 - opened, connectivity=4)
    largest_px = 0.25 * settings.largest_nucleus_um2 / pixel_size_um**2
    is_hole = np.asarray(statistics)[:, cv2.CC_STAT_AREA] <= largest_px
    is_hole[0] = True
    assert holes == len(is_hole)
    return is_hole[np.asarray(labels)]


def _split_blobs(blobs: NDArray[np.bool_], settings: DetectionSettings, pixel_size_um: float) -> NDArray[np.int32]:
    depth = np.asarray(cv2.distanceTransform(blobs.astype(np.uint8), cv2.DIST_L2, 5), dtype=np.float32)
    smooth = _blurred(depth, settings.smoothing_um / pixel_size_um)
    basins = Basins.climb(smooth, blobs, settings.seed_distance_um / pixel_size_um, settings.smoothing_um / pixel_size_um)
    return _sized(basins.painted(), settings, pixel_size_um)


def _split_stained_nuclei(
    blobs: NDArray[np.bool_], dab: FloatImage, settings: DetectionSettings, pixel_size_um: float
) -> NDArray[np.int32]:
    """Tell touching nuclei of a nuclear stain apart by their chromogen, as haematoxylin tells unstained ones apart.

    Where positive nuclei crowd, their blobs grow together until the outline no longer shows how many there are, but each
    nucleus still stands out by its own density.
    """
    response = _blob_response(_compress(dab, settings.chromogen_ceiling, 1.0), settings, pixel_size_um)
    basins = Basins.climb(response, blobs, settings.seed_distance_um / pixel_size_um, WEAKEST_RESPONSE)
    return _sized(rejoined(basins.painted(), response, basins.peaks, settings, pixel_size_um), settings, pixel_size_um)


def _sized(labels: NDArray[np.int32], settings: DetectionSettings, pixel_size_um: float) -> NDArray[np.int32]:
    """Keep cells of a possible size."""
    area_um2 = np.bincount(labels.ravel()) * pixel_size_um**2
    return _kept(labels, (area_um2 >= settings.smallest_nucleus_um2) & (area_um2 <= settings.largest_nucleus_um2))


def _tightened(
    labels: NDArray[np.int32], compressed: FloatImage, settings: DetectionSettings, pixel_size_um: float
) -> NDArray[np.int32]:
    """Draw each nucleus in to where its haematoxylin lies half-way to that of its surroundings, as a blurred edge does.

    The foreground reaches farther than that where the surroundings are even, and into paler neighbours out of focus.
    """
    count = int(labels.max(initial=0))
    near = _near(compressed, settings, pixel_size_um)
    total = np.bincount(labels.ravel(), weights=near.ravel(), minlength=count + 1)
    # Weighed by itself, the mean is that of the nucleus's body rather than of its soft edge.
    body = np.bincount(labels.ravel(), weights=np.square(near).ravel(), minlength=count + 1) / np.maximum(total, 1e-9)
    outside = (labels == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    owner = np.zeros(int(np.max(nearest)) + 1, dtype=np.int32)
    inner = labels > 0
    owner[np.asarray(nearest)[inner]] = labels[inner]
    far = np.asarray(distance) * pixel_size_um
    ring = (far > settings.rim_um[0]) & (far <= settings.rim_um[1])
    owned = owner[np.asarray(nearest)[ring]]
    pixels = np.bincount(owned, minlength=count + 1)
    surroundings = np.bincount(owned, weights=near[ring], minlength=count + 1) / np.maximum(pixels, 1)
    # A nucleus wedged between others has no surroundings of its own and stays as it is.
    limit = np.where(pixels > 0, surroundings + settings.edge_share * (body - surroundings), -np.inf).astype(np.float32)
    kept = cv2.morphologyEx((inner & (near >= limit[labels])).astype(np.uint8), cv2.MORPH_OPEN, _disk(0.0))
    return np.where(np.asarray(kept) > 0, labels, 0).astype(np.int32)


def _of_possible_size(
    labels: NDArray[np.int32], compressed: FloatImage, settings: DetectionSettings, pixel_size_um: float, cut: CutSides
) -> NDArray[np.int32]:
    """Keep nuclei of a possible size that hold enough haematoxylin; half of either will do where the picture cuts them."""
    area_um2 = np.bincount(labels.ravel()) * pixel_size_um**2
    amount_um2 = np.bincount(labels.ravel(), weights=compressed.ravel()) * pixel_size_um**2
    needed = np.ones(len(area_um2))
    for is_cut, side in zip(
        (cut.left, cut.top, cut.right, cut.bottom), (labels[:, 0], labels[0], labels[:, -1], labels[-1]), strict=True
    ):
        if is_cut:
            needed[side] = 0.5
    keep = (area_um2 >= needed * settings.smallest_nucleus_um2) & (area_um2 <= settings.largest_nucleus_um2)
    return _kept(labels, keep & (amount_um2 >= needed * settings.least_haematoxylin_um2))


def _kept(labels: NDArray[np.int32], keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Keep some labels and number them from 1."""
    wanted = keep.copy()
    wanted[0] = False
    return np.where(wanted, np.cumsum(wanted), 0).astype(np.int32)[labels]


def _blurred(values: FloatImage, sigma: float) -> FloatImage:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def _disk(radius_px: float) -> NDArray[np.uint8]:
    radius = max(1, round(radius_px))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), dtype=np.uint8)
