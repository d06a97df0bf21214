"""Tiles of a slide: they cover it once, at every halving, whatever levels the file has."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import pytest

from biomarkers.ihc.slide import Region, RgbImage, SlideLevel
from biomarkers.readers.slide_tiles import TILE_PX, TilePyramid, tile_jpeg
from biomarkers.results import Finding


class Smooth:
    """A slide of slow colours, with the levels asked for, that remembers how much was read at once."""

    def __init__(self, width: int, height: int, downsamples: Sequence[int]) -> None:
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        full = np.stack([255 * columns / width, 255 * rows / height, 128 + 60 * np.sin(columns / 200)], axis=-1)
        self.pictures = [
            full[: height // step * step, : width // step * step]
            .reshape(height // step, step, width // step, step, 3)
            .mean(axis=(1, 3))
            .astype(np.uint8)
            for step in downsamples
        ]
        self.levels = tuple(
            SlideLevel(width=picture.shape[1], height=picture.shape[0], downsample=float(step))
            for picture, step in zip(self.pictures, downsamples, strict=True)
        )
        self.most_read = 0
        self.name, self.acquired_at, self.pixel_size_origin = "smooth", "", ""
        self.pixel_size_um: float | None = None
        self.scanner = ""
        self.findings: tuple[Finding, ...] = ()

    def read_region(self, level: int, region: Region) -> RgbImage:
        picture = self.pictures[level]
        height, width, _ = picture.shape
        assert region.x >= 0
        assert region.y >= 0
        assert region.x + region.width <= width
        assert region.y + region.height <= height
        self.most_read = max(self.most_read, region.width * region.height)
        return np.ascontiguousarray(picture[region.y : region.y + region.height, region.x : region.x + region.width])


@pytest.mark.parametrize("downsamples", [(1,), (1, 4), (1, 2, 4, 8), (1, 3)])
@pytest.mark.parametrize("size", [(1999, 1177), (513, 40), (512, 512), (1, 1)])
def test_tiles_of_every_level_show_the_slide_once_without_gap_or_shift(
    size: tuple[int, int], downsamples: tuple[int, ...]
) -> None:
    width, height = size
    slide = Smooth(width, height, [one for one in downsamples if one <= min(size)])
    full = slide.pictures[0].astype(float)
    pyramid = TilePyramid(width=width, height=height)
    assert TILE_PX * 2**pyramid.top >= max(size)
    for level in range(pyramid.top + 1):
        reduction, covered, column, row = pyramid.reduction(level), 0, 0, 0
        while (region := pyramid.tile(level, column, row)) is not None:
            while region is not None:
                tile = np.asarray(PIL.Image.open(io.BytesIO(tile_jpeg(slide, region, reduction))), dtype=float)
                assert tile.shape[:2] == (-(-region.height // reduction), -(-region.width // reduction))
                meant = full[region.y : region.y + region.height, region.x : region.x + region.width]
                # Of slowly changing colours a tile's mean tells a shift of a few pixels; its edge may round to glass.
                assert np.abs(tile.mean(axis=(0, 1)) - meant.mean(axis=(0, 1))).max() < 3.5, (level, column, row)
                covered += region.width * region.height
                column += 1
                region = pyramid.tile(level, column, row)
            column, row = 0, row + 1
        assert covered == width * height


def test_a_slide_without_a_pyramid_is_read_in_bands() -> None:
    slide = Smooth(4000, 2500, [1])
    whole = TilePyramid(width=4000, height=2500)
    region = whole.tile(0, 0, 0)
    assert region is not None
    picture = PIL.Image.open(io.BytesIO(tile_jpeg(slide, region, whole.reduction(0))))
    assert picture.size == (500, 313)
    assert slide.most_read < 4_200_000 < 4000 * 2500


def test_there_is_no_tile_beyond_the_slide() -> None:
    pyramid = TilePyramid(width=1000, height=600)
    assert pyramid.top == 1
    assert pyramid.tile(1, 1, 1) == Region(x=512, y=512, width=488, height=88)
    assert [pyramid.tile(*one) for one in ((1, 2, 0), (1, 0, 2), (0, 1, 0), (2, 0, 0), (-1, 0, 0), (1, -1, 0))] == [None] * 6
