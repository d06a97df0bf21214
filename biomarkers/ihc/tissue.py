"""Where tissue is on a slide, and how large it is.

Knows a coarse mask of tissue against empty glass. Must not know cells, stains or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.protocol import TissueSettings
from biomarkers.ihc.slide import Region, RgbImage
from biomarkers.ihc.stains import Vector, optical_density

BARE_GLASS_SHARE = 0.01
"""A picture with less bright glass than this has no glass to tell tissue from; all of it is tissue."""

GLASS_NOISES = 4.0
"""Standard deviations of the glass (noise and uneven light) that tissue has to exceed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueMap:
    """A coarse mask of the whole slide.

    Attributes
    ----------
    mask
        Shape (rows, columns); True where tissue is.
    step
        Working pixels a pixel of the mask is wide.
    """

    mask: NDArray[np.bool_]
    step: int

    @property
    def share(self) -> float:
        """Share of the slide that is tissue."""
        return float(self.mask.mean()) if self.mask.size else 0.0

    def area_mm2(self, working_pixel_um: float) -> float:
        """Area of tissue in square millimetres."""
        return float(self.mask.sum()) * (self.step * working_pixel_um / 1000.0) ** 2

    def crop(self, region: Region) -> NDArray[np.bool_]:
        """Cut the mask of a region given in working pixels; the region has to begin on a pixel of the mask."""
        top, left = region.y // self.step, region.x // self.step
        bottom, right = -(-(region.y + region.height) // self.step), -(-(region.x + region.width) // self.step)
        return self.mask[top:bottom, left:right]

    def block_pixels(self, block: int) -> NDArray[np.int64]:
        """Count tissue pixels of the mask in square blocks of ``block`` mask pixels, shape (block rows, block columns)."""
        rows, columns = (-(-side // block) for side in self.mask.shape)
        padded = np.zeros((rows * block, columns * block), dtype=np.int64)
        padded[: self.mask.shape[0], : self.mask.shape[1]] = self.mask
        return np.asarray(padded.reshape(rows, block, columns, block).sum(axis=(1, 3)), dtype=np.int64)


def find_tissue(
    coarse: RgbImage, white: Vector, glass_share: float, settings: TissueSettings, pixel_size_um: float
) -> NDArray[np.bool_]:
    """Tell tissue from empty glass in a coarse picture.

    Tissue absorbs. A first pass keeps what exceeds the noise of the glass, and at least ``smallest_density``; the border then
    lies half-way between glass and the palest tenth of that tissue, where a blurred edge crosses the true one. Clefts narrower
    than twice ``bridged_um`` belong to the tissue; wider lumina and gaps are glass and do not count as area.

    Parameters
    ----------
    pixel_size_um
        Of the coarse picture.

    Returns
    -------
    NDArray[np.bool_]
        Shape (height, width).
    """
    density = optical_density(coarse, white).mean(axis=2)
    if glass_share < BARE_GLASS_SHARE:
        return np.ones(density.shape, dtype=np.bool_)
    smooth = np.asarray(cv2.GaussianBlur(density, (0, 0), settings.pixel_size_um / pixel_size_um), dtype=np.float32)
    below = smooth[smooth < 0]
    noise = float(np.sqrt(np.mean(below**2))) if below.size else 0.0
    least = max(settings.smallest_density, GLASS_NOISES * noise)
    rough = smooth > least
    if not rough.any():
        return np.zeros(density.shape, dtype=np.bool_)
    border = max(least, 0.5 * float(np.percentile(smooth[rough], 10)))
    mask = _bridged(smooth > border, settings.bridged_um / pixel_size_um)
    mask = _drop_small(mask, settings.smallest_piece_um2 / pixel_size_um**2)
    return ~_drop_small(~mask, settings.smallest_hole_um2 / pixel_size_um**2)


def _bridged(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    """Close clefts; a straight outer border stays where it is."""
    radius = round(radius_px)
    if radius < 1:
        return mask
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = np.pad(mask.astype(np.uint8), radius, mode="edge")  # the picture's edge is no border of tissue
    closed = np.asarray(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disk), dtype=np.bool_)
    return closed[radius:-radius, radius:-radius]


def _drop_small(mask: NDArray[np.bool_], smallest_px: float) -> NDArray[np.bool_]:
    """Remove connected pieces of fewer pixels; pieces cut by the picture's edge stay, for their size is not known."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = np.asarray(statistics)[:, cv2.CC_STAT_AREA] >= smallest_px
    found = np.asarray(labels)
    for edge in (found[0], found[-1], found[:, 0], found[:, -1]):
        keep[edge] = True
    keep[0] = False
    assert count == len(keep)
    kept: NDArray[np.bool_] = keep[found]
    return kept
