"""Levels, working grid and tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from biomarkers.ihc.slide import Region, SlideLevel, TileGrid, WorkingScale, read_working, working_scale


class _Pyramid:
    """Levels without pixels, and pixels that tell where they lie."""

    name = "pyramid"
    pixel_size_origin = "declared"
    acquired_at = ""
    findings = ()

    def __init__(self, pixel_size_um: float | None, *downsamples: float) -> None:
        self.pixel_size_um = pixel_size_um
        self.levels = tuple(SlideLevel(width=int(8000 / d), height=int(6000 / d), downsample=d) for d in downsamples)

    def read_region(self, level: int, region: Region) -> np.ndarray:
        rows, columns = np.mgrid[region.y : region.y + region.height, region.x : region.x + region.width]
        return np.stack([columns % 256, rows % 256, np.full_like(rows, level)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixel_size_um", "downsamples", "level", "reduction", "working_um"),
    [
        (0.25, (1.0,), 0, 2, 0.5),
        (0.25, (1.0, 2.0, 4.0), 1, 1, 0.5),
        (0.25, (1.0, 4.0, 16.0), 0, 2, 0.5),
        (0.499, (1.0, 4.0), 0, 1, 0.499),
        (0.1725, (1.0, 4.0), 0, 3, 0.5175),
        (1.0, (1.0,), 0, 1, 1.0),
        (None, (1.0,), 0, 2, 0.5),
    ],
)
def test_the_working_grid_is_made_of_whole_pixels_of_the_coarsest_level_that_resolves_it(
    pixel_size_um: float | None, downsamples: tuple[float, ...], level: int, reduction: int, working_um: float
) -> None:
    scale = working_scale(_Pyramid(pixel_size_um, *downsamples), target_um=0.5, assumed_pixel_size_um=0.25)
    assert (scale.level, scale.reduction) == (level, reduction)
    assert scale.pixel_size_um == pytest.approx(working_um)
    assert scale.is_assumed == (pixel_size_um is None)


def test_working_pixels_are_block_means_and_read_alike_from_any_region() -> None:
    slide = _Pyramid(0.25, 1.0)
    scale = working_scale(slide, target_um=0.5, assumed_pixel_size_um=0.25)
    whole = read_working(slide, scale, Region(x=0, y=0, width=60, height=40))
    part = read_working(slide, scale, Region(x=17, y=9, width=20, height=11))
    np.testing.assert_array_equal(part, whole[9:20, 17:37])
    # Columns 2 and 3 of the level have the mean 2.5.
    assert whole[0, 1, 0] in (2, 3)


def test_a_working_pixel_maps_to_the_middle_of_its_level_0_pixels() -> None:
    scale = WorkingScale(level=0, reduction=2, factor=2.0, pixel_size_um=0.5, is_assumed=False, width=10, height=10)
    np.testing.assert_allclose(scale.to_level_0(np.array([0.0, 1.0])), [0.5, 2.5])
    np.testing.assert_allclose(replace(scale, factor=1.0).to_level_0(np.array([3.25])), [3.25])


@pytest.mark.parametrize(("width", "height", "tile", "halo"), [(1000, 700, 256, 32), (100, 100, 256, 64), (513, 256, 256, 0)])
def test_every_pixel_of_the_grid_is_owned_by_one_tile(width: int, height: int, tile: int, halo: int) -> None:
    owners = np.zeros((height, width), dtype=int)
    for each in TileGrid(width=width, height=height, tile=tile, halo=halo):
        core, padded = each.core, each.padded
        owners[core.y : core.y + core.height, core.x : core.x + core.width] += 1
        assert padded.x == max(0, core.x - halo)
        assert padded.x + padded.width == min(width, core.x + core.width + halo)
        assert padded.y + padded.height == min(height, core.y + core.height + halo)
    assert (owners == 1).all()


def test_a_centroid_between_two_tiles_belongs_to_one_of_them() -> None:
    tiles = list(TileGrid(width=512, height=256, tile=256, halo=32))
    x, y = np.array([255.4, 255.5, 255.6]), np.array([10.0, 10.0, 10.0])
    held = np.stack([tile.core.holds(x, y) for tile in tiles])
    np.testing.assert_array_equal(held, [[True, False, False], [False, True, True]])
