"""Cells in one tile: nuclei by haematoxylin and blobs by chromogen, found separately and merged.

Knows arrays of stain amounts and how large cells are. Must not know slides, scores or where the tile lies. Every step looks
at most some cell widths far, so that a cell is found alike whichever tile shows it.

Haematoxylin separates nuclei best but dark DAB hides it; DAB blobs find the positive cells but merge neighbours. A nuclear
stain hides the haematoxylin of its own cells, so its blobs come first; a membrane stain surrounds a visible nucleus, so
nuclei come first and blobs are added where no nucleus explains the DAB.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

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


def typical_response(haematoxylin: FloatImage, settings: DetectionSettings, pixel_size_um: float) -> NDArray[np.float64]:
    """Responses of the nuclear seeds of a sample region; a slide's threshold is a share of their upper quartile."""
    compressed = _compress(haematoxylin, settings.haematoxylin_ceiling)
    foreground = _nuclear_foreground(compressed, settings, pixel_size_um)
    response = _blob_response(compressed, settings, pixel_size_um)
    basins = _Basins.climb(response, foreground, settings.seed_distance_um / pixel_size_um, WEAKEST_RESPONSE)
    return basins.peaks.astype(np.float64)


def seed_threshold(responses: NDArray[np.float64], settings: DetectionSettings) -> float:
    """Turn the responses of sample regions into the least response of a nucleus on this slide."""
    if len(responses) < FEWEST_RESPONSES:
        return settings.seed_floor
    share = settings.seed_share * float(np.percentile(responses, 75))
    return float(np.clip(share, settings.seed_floor, settings.seed_ceiling))


def detect_cells(
    stains: FloatImage, settings: DetectionSettings, *, pixel_size_um: float, threshold: float, is_nuclear_stain: bool
) -> Segmentation:
    """Find the cells of a tile.

    Parameters
    ----------
    stains
        Haematoxylin, DAB and residual in optical density, shape (height, width, 3).
    threshold
        Least response of a nuclear seed, from :func:`seed_threshold`.
    is_nuclear_stain
        Whether the chromogen lies in the nucleus.
    """
    haematoxylin, dab = np.ascontiguousarray(stains[..., 0]), np.ascontiguousarray(stains[..., 1])
    compressed = _compress(haematoxylin, settings.haematoxylin_ceiling)
    foreground = _nuclear_foreground(compressed, settings, pixel_size_um)
    blobs = _blurred(dab, settings.smoothing_um / pixel_size_um) > settings.chromogen_density
    response = _blob_response(compressed, settings, pixel_size_um)
    if is_nuclear_stain:
        blobs = _solid(blobs, settings, pixel_size_um)
        chromogen = _split_blobs(blobs, settings, pixel_size_um)
        nuclei = _split_nuclei(response, foreground & ~blobs, settings, pixel_size_um, threshold)
    else:
        nuclei = _split_nuclei(response, foreground, settings, pixel_size_um, threshold)
        taken = cv2.dilate((nuclei > 0).astype(np.uint8), _disk(4.0 * settings.opening_um / pixel_size_um))
        chromogen = _split_blobs(_solid(blobs & (taken == 0), settings, pixel_size_um), settings, pixel_size_um)
    nuclei = _with_enough(compressed, nuclei, settings.least_haematoxylin_um2 / pixel_size_um**2)
    return _merged(nuclei, chromogen)


def _merged(nuclei: NDArray[np.int32], chromogen: NDArray[np.int32]) -> Segmentation:
    n_nuclei, n_chromogen = int(nuclei.max(initial=0)), int(chromogen.max(initial=0))
    labels = np.where(chromogen > 0, chromogen + n_nuclei, nuclei)
    by_chromogen = np.arange(n_nuclei + n_chromogen) >= n_nuclei
    return Segmentation(labels=labels.astype(np.int32), by_chromogen=by_chromogen)


def _compress(haematoxylin: FloatImage, ceiling: float) -> FloatImage:
    """Level dark nuclei to pale ones; negative amounts are noise."""
    return np.asarray(ceiling * np.tanh(np.maximum(haematoxylin, 0.0) / ceiling), dtype=np.float32)


def _nuclear_foreground(compressed: FloatImage, settings: DetectionSettings, pixel_size_um: float) -> NDArray[np.bool_]:
    """Pixels with more haematoxylin than their surroundings."""
    near = _blurred(compressed, settings.smoothing_um / pixel_size_um)
    around = _blurred(compressed, settings.local_mean_um / pixel_size_um)
    return _solid(near > around, settings, pixel_size_um)


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


def _split_nuclei(
    response: FloatImage, mask: NDArray[np.bool_], settings: DetectionSettings, pixel_size_um: float, threshold: float
) -> NDArray[np.int32]:
    basins = _Basins.climb(response, mask, settings.seed_distance_um / pixel_size_um, threshold)
    return _sized(_rejoined(basins.painted(), response, basins.peaks, settings), settings, pixel_size_um)


def _rejoined(
    labels: NDArray[np.int32], response: FloatImage, peaks: FloatImage, settings: DetectionSettings
) -> NDArray[np.int32]:
    """Join neighbours that are two ends of one long nucleus, as smooth muscle has them.

    Between the ends the response hardly falls, and together they fill an ellipse; two nuclei that touch leave a waist.
    """
    pairs, saddles = [], []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        first, second = labels[one], labels[other]
        meets = np.flatnonzero((first != second) & (first > 0) & (second > 0))
        pairs.append(np.stack([first.ravel()[meets], second.ravel()[meets]]))
        saddles.append(np.minimum(response[one].ravel()[meets], response[other].ravel()[meets]))
    first, second = np.concatenate(pairs, axis=1) - 1
    level = np.concatenate(saddles) >= settings.saddle_share * np.minimum(peaks[first], peaks[second])
    first, second = first[level], second[level]
    moments = _moments(labels, len(peaks))
    joins = _ellipse_share(moments[:, first] + moments[:, second]) >= settings.ellipse_share
    shape = (len(peaks), len(peaks))
    joined = sparse.coo_array((np.ones(int(joins.sum())), (first[joins], second[joins])), shape=shape)
    _, piece = sparse.csgraph.connected_components(joined, directed=False)
    return np.concatenate([[0], piece + 1]).astype(np.int32)[labels]


def _moments(labels: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Sum 1, x, y, x², y² and xy over each label's pixels, shape (6, count); they add when labels join."""
    flat = np.flatnonzero(labels)
    owner = labels.ravel()[flat]
    y, x = (axis.astype(np.float64) for axis in np.divmod(flat, labels.shape[1]))
    terms = (None, x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(owner, weights=term, minlength=count + 1)[1:] for term in terms]).astype(np.float64)


def _ellipse_share(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area over that of the ellipse with the same second moments: 1 for an ellipse, less with a waist or a bend."""
    area, x, y, xx, yy, xy = moments
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_x, spread_y = xx / area - (x / area) ** 2 + 1 / 12, yy / area - (y / area) ** 2 + 1 / 12
        mixed = xy / area - x * y / area**2
        share: NDArray[np.float64] = area / (4.0 * np.pi * np.sqrt(np.maximum(spread_x * spread_y - mixed**2, 1e-12)))
    return share


def _split_blobs(blobs: NDArray[np.bool_], settings: DetectionSettings, pixel_size_um: float) -> NDArray[np.int32]:
    depth = np.asarray(cv2.distanceTransform(blobs.astype(np.uint8), cv2.DIST_L2, 5), dtype=np.float32)
    smooth = _blurred(depth, settings.smoothing_um / pixel_size_um)
    basins = _Basins.climb(smooth, blobs, settings.seed_distance_um / pixel_size_um, settings.smoothing_um / pixel_size_um)
    return _sized(basins.painted(), settings, pixel_size_um)


def _sized(labels: NDArray[np.int32], settings: DetectionSettings, pixel_size_um: float) -> NDArray[np.int32]:
    """Keep cells of a possible size."""
    area_um2 = np.bincount(labels.ravel()) * pixel_size_um**2
    return _kept(labels, (area_um2 >= settings.smallest_nucleus_um2) & (area_um2 <= settings.largest_nucleus_um2))


def _with_enough(compressed: FloatImage, labels: NDArray[np.int32], least_px: float) -> NDArray[np.int32]:
    """Keep nuclei that hold enough haematoxylin."""
    return _kept(labels, np.bincount(labels.ravel(), weights=compressed.ravel()) >= least_px)


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Basins:
    """Which seed every pixel of a mask climbs to.

    A watershed without a queue: each pixel points to its highest neighbour, pointers are followed to the top, and tops that
    are no seed point to the highest pixel within the seed distance. Ten times as fast as flooding on these images, with the
    same borders but for ties.
    """

    shape: tuple[int, int]
    pixels: NDArray[np.int64]
    labels: NDArray[np.int32]
    peaks: FloatImage

    @classmethod
    def climb(cls, height: FloatImage, mask: NDArray[np.bool_], distance_px: float, least: float) -> _Basins:
        rows, columns = mask.shape
        margin = max(1, int(distance_px))
        width = columns + 2 * margin
        padded = np.full((rows + 2 * margin, width), -np.inf, dtype=np.float32)
        padded[margin : margin + rows, margin : margin + columns] = np.where(mask, height, -np.inf)
        flat = padded.ravel()
        _, piece = cv2.connectedComponents((padded > -np.inf).astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        pieces = np.asarray(piece, dtype=np.int32).ravel()
        pixels = np.flatnonzero(flat > -np.inf)
        target = _highest(flat, pixels, [dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx], None)
        tops = pixels[target == pixels]
        disk = [
            dy * width + dx
            for dy in range(-margin, margin + 1)
            for dx in range(-margin, margin + 1)
            if 0 < dy * dy + dx * dx <= distance_px**2
        ]
        beyond = _highest(flat, tops, disk, pieces)
        is_seed = (beyond == tops) & (flat[tops] > least)
        pointer = np.zeros(flat.size, dtype=np.int64)
        pointer[pixels] = target
        pointer[tops] = beyond
        reached = pointer[pixels]
        while True:
            further = pointer[reached]
            if np.array_equal(further, reached):
                break
            pointer[pixels] = further
            reached = pointer[further]
        seeds = tops[is_seed]
        number = np.zeros(flat.size, dtype=np.int32)
        number[seeds] = np.arange(1, len(seeds) + 1, dtype=np.int32)
        inner = (pixels // width - margin) * columns + (pixels % width - margin)
        return cls(shape=(rows, columns), pixels=inner, labels=number[reached], peaks=flat[seeds])

    def painted(self) -> NDArray[np.int32]:
        """Labels of all pixels, shape (rows, columns)."""
        labels = np.zeros(self.shape[0] * self.shape[1], dtype=np.int32)
        labels[self.pixels] = self.labels
        return labels.reshape(self.shape)


def _highest(
    flat: FloatImage, pixels: NDArray[np.int64], offsets: list[int], pieces: NDArray[np.int32] | None
) -> NDArray[np.int64]:
    """Point each pixel to the highest of itself and its neighbours at the offsets, of the same piece where pieces are given."""
    best, target = flat[pixels], pixels.copy()
    for offset in offsets:
        other = pixels + offset
        value = flat[other]
        higher = value > best
        if pieces is not None:
            higher &= pieces[other] == pieces[pixels]
        best[higher] = value[higher]
        target[higher] = other[higher]
    return target
