"""An open slide → square tiles of a pyramid of halves, as JPEG, for looking at it piece by piece.

Knows which part of which level of the file a tile is made from. Must not know pages, stains or the study. However large the
slide, a tile is read in bands of bounded size; nothing but the picture of the tissue is ever read, no label and no macro.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import PIL.Image

from biomarkers.ihc.slide import Region, RgbImage, SlideImage

TILE_PX = 512
"""Side of a tile: a screen needs a dozen, and each is read in a few milliseconds."""

JPEG_QUALITY = 85
"""What scanners compress slides with themselves; higher adds bytes and no tissue."""

_BAND_PIXELS = 4_000_000
"""Read at a time where the file has no level as coarse as the tile: 12 MB."""

_GLASS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePyramid:
    """A slide cut into tiles at every halving of its size, as Deep Zoom counts them.

    Attributes
    ----------
    width, height
        Of the slide in level-0 pixels.
    """

    width: int
    height: int

    @property
    def top(self) -> int:
        """Return the number of the finest level, where one pixel is one of the slide; level 0 shows the whole in one tile."""
        return max(0, math.ceil(math.log2(max(self.width, self.height) / TILE_PX)))

    def reduction(self, level: int) -> int:
        """Return how many level-0 pixels a pixel of a level is wide."""
        return 1 << (self.top - level)

    def tile(self, level: int, column: int, row: int) -> Region | None:
        """Return a tile's place in level-0 pixels, cut off at the slide's edge; None where there is no such tile."""
        if not 0 <= level <= self.top or column < 0 or row < 0:
            return None
        side = TILE_PX * self.reduction(level)
        x, y = column * side, row * side
        if x >= self.width or y >= self.height:
            return None
        return Region(x=x, y=y, width=min(side, self.width - x), height=min(side, self.height - y))


def pyramid_of(slide: SlideImage) -> TilePyramid:
    """Return the pyramid a slide is shown as."""
    full = slide.levels[0]
    return TilePyramid(width=full.width, height=full.height)


def tile_jpeg(slide: SlideImage, region: Region, reduction: int) -> bytes:
    """Read a region and give it as JPEG, without metadata.

    Parameters
    ----------
    region
        In level-0 pixels, wholly on the slide.
    reduction
        Level-0 pixels a pixel of the picture is wide; the mean of them is shown.

    Raises
    ------
    SourceFileError
        A piece of the file is damaged.
    """
    picture = PIL.Image.fromarray(_reduced(slide, region, reduction))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _reduced(slide: SlideImage, region: Region, reduction: int) -> RgbImage:
    wide, high = -(-region.width // reduction), -(-region.height // reduction)
    number = max(index for index, one in enumerate(slide.levels) if index == 0 or one.downsample <= reduction)
    level = slide.levels[number]
    step = reduction / level.downsample
    picture = np.full((high, wide, 3), _GLASS, dtype=np.uint8)
    left = min(round(region.x / level.downsample), level.width - 1)
    top = min(round(region.y / level.downsample), level.height - 1)
    across = min(level.width - left, max(1, round(wide * step)))
    # A slide without a pyramid is read at full resolution; one band of it at a time stays small.
    band = max(1, int(_BAND_PIXELS / (across * step)))
    for start in range(0, high, band):
        stop = min(high, start + band)
        first = min(top + round(start * step), level.height - 1)
        last = min(max(first + 1, top + round(stop * step)), level.height)
        pixels = slide.read_region(number, Region(x=left, y=first, width=across, height=last - first))
        # What rounding leaves over at the slide's edge is glass.
        part = (min(wide, max(1, round(across / step))), min(stop - start, max(1, round((last - first) / step))))
        if part != (across, last - first):
            pixels = np.asarray(PIL.Image.fromarray(pixels).resize(part, PIL.Image.Resampling.BOX), dtype=np.uint8)
        picture[start : start + part[1], : part[0]] = pixels
    return picture
