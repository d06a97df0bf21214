"""QuPath's cell detection with its defaults, written with scikit-image: the peer of the slide benchmark, run as a program.

From the source of WatershedCellDetection and PositiveCellDetection: .5 um pixels, haematoxylin by the default vectors and a
white of 255, background by opening with reconstruction (8 um), median off, sigma 1.5 um, threshold .1, largest background 2,
split by shape, nuclei of 10 to 400 um2, cells expanded by 5 um, positive by mean DAB of the nucleus or, for membranes, of the
cell at .2, .4, .6. ImageJ's own maxima and watershed differ in detail.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import feature, filters, measure, morphology, segmentation

from biomarkers.ihc.slide import Region, Tile, TileGrid
from biomarkers.readers.slides import open_slide

PIXEL_UM = 0.5
TILE_PX, HALO_PX = 1024, 64
BACKGROUND_PX, SIGMA_PX, THRESHOLD, LARGEST_BACKGROUND = 16, 3.0, 0.1, 2.0
SMALLEST_PX, LARGEST_PX, EXPANSION_PX = 40, 1600, 10
HAEMATOXYLIN, DAB = (0.65, 0.70, 0.29), (0.27, 0.57, 0.78)


def stains(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    first, second = (np.asarray(vector) / np.linalg.norm(vector) for vector in (HAEMATOXYLIN, DAB))
    third = np.cross(first, second)
    mixing = np.stack([first, second, third / np.linalg.norm(third)])
    table = np.maximum(0.0, -np.log10(np.maximum(np.arange(256), 1) / 255.0)).astype(np.float32)
    return np.asarray(table[rgb] @ np.linalg.inv(mixing).astype(np.float32), dtype=np.float32)


def cells_of(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Rows of x, y and DAB."""
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    small = rgb[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    amounts = stains(small)
    haematoxylin, dab = amounts[..., 0], amounts[..., 1]
    eroded = morphology.erosion(haematoxylin, morphology.disk(BACKGROUND_PX, decomposition="sequence"))
    mask = morphology.dilation(eroded > LARGEST_BACKGROUND, morphology.disk(2 * BACKGROUND_PX, decomposition="sequence"))
    image = haematoxylin - morphology.reconstruction(eroded, haematoxylin, method="dilation")
    response = -ndimage.laplace(filters.gaussian(image, SIGMA_PX, mode="reflect"))
    peaks = measure.label(morphology.local_maxima(response) & (response > 0))
    pieces = segmentation.watershed(-response, peaks, mask=response > 0)
    mean = ndimage.mean(image, pieces, np.arange(pieces.max() + 1))
    kept = (mean > THRESHOLD)[pieces] & (pieces > 0) & ~mask
    joined = ndimage.binary_fill_holes(morphology.dilation(kept, np.ones((3, 3))) & (response > 0))
    depth = ndimage.distance_transform_edt(joined)
    seeds = np.zeros(joined.shape, dtype=np.int32)
    tops = feature.peak_local_max(filters.gaussian(depth, 1.0), min_distance=3, labels=measure.label(joined))
    seeds[tuple(tops.T)] = np.arange(1, len(tops) + 1)
    nuclei = segmentation.watershed(-depth, seeds, mask=joined)
    area = np.bincount(nuclei.ravel())
    strong = ndimage.mean(image, nuclei, np.arange(len(area))) > THRESHOLD
    good = (area >= SMALLEST_PX) & (area <= LARGEST_PX) & strong
    good[0] = False
    nuclei = np.where(good, np.cumsum(good), 0)[nuclei].astype(np.int32)
    whole = segmentation.expand_labels(nuclei, EXPANSION_PX)
    table = measure.regionprops_table(nuclei, haematoxylin, properties=("centroid", "area", "mean_intensity"))
    brown = measure.regionprops_table(whole, dab, properties=("label", "mean_intensity", "max_intensity", "min_intensity"))
    return np.column_stack([2 * table["centroid-1"] + 0.5, 2 * table["centroid-0"] + 0.5, brown["mean_intensity"]])


def tile_cells(path: Path, tiles: list[Tile]) -> NDArray[np.float64]:
    found = []
    with open_slide(path) as slide:
        for tile in tiles:
            part = tile.padded
            rgb = slide.read_region(0, Region(x=2 * part.x, y=2 * part.y, width=2 * part.width, height=2 * part.height))
            if rgb.min() > 230:
                continue
            cells = np.add(cells_of(rgb), [2 * part.x, 2 * part.y, 0.0])
            inner = tile.core.holds((cells[:, 0] - 0.5) / 2, (cells[:, 1] - 0.5) / 2)
            found.append(cells[inner])
    return np.concatenate([np.empty((0, 3)), *found])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("slide", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tiles", type=int, default=0, help="only so many tiles from the first on; 0 for all")
    arguments = parser.parse_args()
    with open_slide(arguments.slide) as slide:
        level = slide.levels[0]
    tiles = list(TileGrid(width=level.width // 2, height=level.height // 2, tile=TILE_PX, halo=HALO_PX))
    tiles = tiles[: arguments.tiles or None]
    work = [tiles[start : start + 2] for start in range(0, len(tiles), 2)]
    with ProcessPoolExecutor(arguments.processes, mp_context=multiprocessing.get_context("spawn")) as executor:
        list(executor.map(abs, range(4 * arguments.processes)))
        begun = time.perf_counter()
        cells = np.concatenate(list(executor.map(partial(tile_cells, arguments.slide), work)))
        taken = time.perf_counter() - begun
    pixels = sum(4.0 * tile.core.width * tile.core.height for tile in tiles)
    np.savez(arguments.result, cells=cells, seconds=taken, pixels=pixels)


if __name__ == "__main__":
    main()
