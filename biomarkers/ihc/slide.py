"""A slide as the methods see it: levels, pixel size, regions, and the tiles it is measured in.

Knows the geometry of pyramids and tiles. Must not know file formats, stains or what a tissue section is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from biomarkers.results import Finding

RgbImage: TypeAlias = NDArray[np.uint8]
"""Shape (height, width, 3), red first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rectangle in whole pixels of one level; the right and lower edges are outside."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points, in coordinates that count pixel centres from 0, lie inside."""
        inside_x = (x >= self.x - 0.5) & (x < self.x + self.width - 0.5)
        return inside_x & (y >= self.y - 0.5) & (y < self.y + self.height - 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideLevel:
    """One level of a pyramid; ``downsample`` is how many level-0 pixels one of its pixels is wide."""

    width: int
    height: int
    downsample: float


class SlideImage(Protocol):
    """A slide or field that can be read region by region.

    Readers implement it; the methods below need nothing else.
    """

    @property
    def name(self) -> str:
        """What people call the picture, for messages."""

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        """The pyramid, full resolution first; never empty."""

    @property
    def pixel_size_um(self) -> float | None:
        """Width of a level-0 pixel in micrometres, or None where nobody says."""

    @property
    def pixel_size_origin(self) -> str:
        """Who says so: ``"declared"``, the kind of metadata, or empty."""

    @property
    def acquired_at(self) -> str:
        """Date and time of the scan, verbatim, or empty."""

    @property
    def scanner(self) -> str:
        """Which scanner made the picture, or empty where nobody says."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the reader noticed about the file."""

    def read_region(self, level: int, region: Region) -> RgbImage:
        """Read pixels of one level.

        Parameters
        ----------
        region
            In pixels of that level, wholly inside it.

        Returns
        -------
        RgbImage
            Of the region's shape.
        """


SlideOpener: TypeAlias = Callable[[], AbstractContextManager[SlideImage]]
"""Opens the same slide anew, in whatever process it is called; has to pickle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingScale:
    """The grid a slide is measured on: blocks of ``reduction`` by ``reduction`` pixels of one level.

    Working pixels are whole blocks of whole pixels, so that a region reads the same whichever tile asks for it.

    Attributes
    ----------
    factor
        Level-0 pixels a working pixel is wide.
    pixel_size_um
        Of a working pixel. When ``is_assumed``, good for finding cells and for nothing that is reported.
    width, height
        Of the slide in working pixels.
    """

    level: int
    reduction: int
    factor: float
    pixel_size_um: float
    is_assumed: bool
    width: int
    height: int

    def to_level_0(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn working coordinates into level-0 coordinates; both count pixel centres from 0."""
        return (position + 0.5) * self.factor - 0.5


def working_scale(slide: SlideImage, *, target_um: float, assumed_pixel_size_um: float) -> WorkingScale:
    """Choose the coarsest level that still resolves the target, and the whole number of its pixels nearest to the target.

    Parameters
    ----------
    target_um
        Wished width of a working pixel; the actual one lies within a factor of √2 unless the slide itself is coarser.
    assumed_pixel_size_um
        Used where the slide does not state its pixel size.
    """
    stated = slide.pixel_size_um
    level_0_um = assumed_pixel_size_um if stated is None else stated
    chosen = 0
    for index, level in enumerate(slide.levels):
        if level_0_um * level.downsample <= target_um * 1.05:
            chosen = index
    level = slide.levels[chosen]
    reduction = max(1, round(target_um / (level_0_um * level.downsample)))
    reduction = min(reduction, level.width, level.height)
    return WorkingScale(
        level=chosen,
        reduction=reduction,
        factor=level.downsample * reduction,
        pixel_size_um=level_0_um * level.downsample * reduction,
        is_assumed=stated is None,
        width=level.width // reduction,
        height=level.height // reduction,
    )


def read_working(slide: SlideImage, scale: WorkingScale, region: Region) -> RgbImage:
    """Read a region of the working grid as the mean of its blocks."""
    step = scale.reduction
    pixels = slide.read_region(
        scale.level, Region(x=region.x * step, y=region.y * step, width=region.width * step, height=region.height * step)
    )
    if step == 1:
        return pixels
    reduced = cv2.resize(pixels, (region.width, region.height), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A part of the working grid: ``core`` owns the cells whose centroid it holds, ``padded`` is what is read."""

    index: int
    core: Region
    padded: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """Cores that cover a grid without gap or overlap, each read with a halo.

    Parameters
    ----------
    width, height
        Of the grid.
    tile
        Side of a core.
    halo
        Read beyond the core on each side, where the grid goes on; wider than a cell and its surroundings.
    """

    width: int
    height: int
    tile: int
    halo: int

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.tile) < 1 or self.halo < 0:
            raise ValueError("a tile grid needs a positive size and tile, and a halo of 0 or more")

    def __iter__(self) -> Iterator[Tile]:
        index = 0
        for y in range(0, self.height, self.tile):
            for x in range(0, self.width, self.tile):
                core = Region(x=x, y=y, width=min(self.tile, self.width - x), height=min(self.tile, self.height - y))
                yield Tile(index=index, core=core, padded=self._padded(core))
                index += 1

    def _padded(self, core: Region) -> Region:
        left, top = max(0, core.x - self.halo), max(0, core.y - self.halo)
        right = min(self.width, core.x + core.width + self.halo)
        bottom = min(self.height, core.y + core.height + self.halo)
        return Region(x=left, y=top, width=right - left, height=bottom - top)
