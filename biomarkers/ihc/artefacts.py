"""What on a slide cannot be scored: pen, folds, places without light, places out of focus.

Knows coarse pictures and the fine detail of tissue. Must not know cells, stains' scores or files. A mask says where not to
look; it is meant to miss a doubtful place rather than to hide tissue, for dense lymphoid tissue is dark as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from biomarkers.ihc.protocol import ArtefactSettings
from biomarkers.ihc.slide import RgbImage
from biomarkers.ihc.stains import FloatImage, StainVectors, Vector, optical_density


class Artefact(StrEnum):
    """Why a place is not scored."""

    PEN = "pen"
    FOLD = "fold"
    NO_LIGHT = "saturated"
    OUT_OF_FOCUS = "out of focus"


FOCUS_BLOCK = 16
"""A focus reading covers so many pixels of the tissue mask in both directions, 64 µm at the usual 4 µm."""

_FINE_UM, _BROAD_UM = 0.7, 2.8
"""Chromatin and membranes against whole nuclei: out of focus the former fade long before the latter."""

_GREY = np.full(3, 3.0**-0.5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArtefactMasks:
    """Artefacts on the grid of the tissue mask; a pixel may show several.

    Attributes
    ----------
    flags
        One bit an artefact, shape of the mask; one small array, for it travels to the processes that measure tiles.
    """

    flags: NDArray[np.uint8]

    @classmethod
    def of(cls, shape: tuple[int, ...], masks: Mapping[Artefact, NDArray[np.bool_]]) -> ArtefactMasks:
        """Join masks, one an artefact."""
        flags = np.zeros(shape, dtype=np.uint8)
        for artefact, mask in masks.items():
            flags |= mask.astype(np.uint8) << _BIT_BY_ARTEFACT[artefact]
        return cls(flags=flags)

    def mask(self, artefact: Artefact) -> NDArray[np.bool_]:
        """Where one artefact is."""
        return (self.flags >> _BIT_BY_ARTEFACT[artefact]) & 1 > 0

    @property
    def any(self) -> NDArray[np.bool_]:
        """Where any of them is."""
        return self.flags > 0


_BIT_BY_ARTEFACT: Mapping[Artefact, int] = {artefact: bit for bit, artefact in enumerate(Artefact)}


def find_artefacts(
    coarse: RgbImage,
    white: Vector,
    vectors: StainVectors,
    tissue: NDArray[np.bool_],
    settings: ArtefactSettings,
    *,
    pixel_size_um: float,
) -> ArtefactMasks:
    """Find pen, folds and places without light in a coarse picture.

    - *No light*: all channels as dark as a closed shutter, as at the edge of a bubble or on a speck of dirt. Dark DAB does not
      count: it lets red through, and its cells are rightly 3+.
    - *Pen*: broad strokes of a colour that is neither stain, nor a mixture of both, or that are nearly black.
    - *Fold*: a long, narrow band much darker than tissue usually is on this slide. Round dark places are left alone.

    Parameters
    ----------
    pixel_size_um
        Of the coarse picture.
    """
    density = np.asarray(cv2.blur(optical_density(coarse, white), (3, 3)), dtype=np.float32)
    length = np.linalg.norm(density, axis=2)
    # A single nucleus may be as dark with DAB; a bubble's edge is wider than a nucleus.
    no_light = _opened(coarse.max(axis=2) <= settings.darkest_light, settings.dark_width_um / pixel_size_um)
    pen = _pen(density, length, vectors, settings, pixel_size_um)
    fold = _folds(length, tissue & ~pen & ~no_light, settings, pixel_size_um)
    dark = _grown(no_light, settings.margin_um / pixel_size_um)
    return ArtefactMasks.of(tissue.shape, {Artefact.PEN: pen, Artefact.FOLD: fold, Artefact.NO_LIGHT: dark})


def _pen(
    density: FloatImage, length: NDArray[np.floating], vectors: StainVectors, settings: ArtefactSettings, pixel_size_um: float
) -> NDArray[np.bool_]:
    amounts = density @ np.linalg.inv(vectors.mixing()).astype(np.float32)
    # How far the colour lies from every mixture of both stains; beyond one of them it needs less than nothing of the other.
    off = np.hypot(amounts[..., 2], np.minimum(amounts[..., :2].min(axis=2), 0.0))
    strange = (off > settings.pen_strange_share * length) & (length > settings.pen_density)
    grey = density @ _GREY.astype(np.float32)
    black = (grey > np.float32(settings.pen_grey_cosine) * length) & (length > settings.pen_black_density)
    # Even packed lymphocytes leave light between their nuclei; a blue this dark all over is ink.
    blue = (amounts[..., 1] < settings.pen_dab_share * length) & (length > settings.pen_blue_density)
    ink = strange | black | blue
    return _grown(_opened(ink, settings.pen_width_um / pixel_size_um), settings.margin_um / pixel_size_um)


def _folds(
    length: NDArray[np.floating], tissue: NDArray[np.bool_], settings: ArtefactSettings, pixel_size_um: float
) -> NDArray[np.bool_]:
    fold = np.zeros(tissue.shape, dtype=np.bool_)
    if not tissue.any():
        return fold
    smooth = cv2.GaussianBlur(length.astype(np.float32), (0, 0), settings.fold_smoothing_um / pixel_size_um)
    typical = float(np.median(smooth[tissue]))
    dark = tissue & (smooth > settings.fold_times_typical * typical)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=8)
    least_px = settings.fold_length_um * settings.fold_smoothing_um / pixel_size_um**2
    for label in np.flatnonzero(np.asarray(statistics)[:, cv2.CC_STAT_AREA] >= least_px):
        left, top, width, height, _ = (int(value) for value in np.asarray(statistics)[label])
        box = np.s_[top : top + height, left : left + width]
        piece = np.asarray(labels)[box] == label
        if label and _is_long_and_narrow(piece, settings, pixel_size_um):
            fold[box] |= piece
    return _grown(fold, settings.margin_um / pixel_size_um)


def _is_long_and_narrow(piece: NDArray[np.bool_], settings: ArtefactSettings, pixel_size_um: float) -> bool:
    """Judge by the widest circle inside, so that a bent fold is as narrow as a straight one."""
    depth = cv2.distanceTransform(np.pad(piece.astype(np.uint8), 1), cv2.DIST_L2, 5)
    width_um = 2.0 * float(np.max(depth)) * pixel_size_um
    length_um = float(piece.sum()) * pixel_size_um**2 / width_um
    return length_um >= max(settings.fold_length_um, settings.fold_elongation * width_um)


def focus_readings(
    density: FloatImage, inner: tuple[slice, slice], pixel_size_um: float, block: int, least_contrast: float
) -> NDArray[np.float32]:
    """Compare fine with broad detail in blocks of a tile's optical density.

    Parameters
    ----------
    density
        Mean optical density of the three channels of the padded tile, shape (height, width).
    inner
        The tile's core within it, which is divided into blocks.
    block
        Side of a block in pixels; the last row and column of blocks may be smaller.
    least_contrast
        Broad detail below which a block, such as one of pale collagen, shows nothing to be judged by.

    Returns
    -------
    NDArray[np.float32]
        Root mean square of fine over broad detail, shape (block rows, block columns); NaN where nothing can be judged.
        Sections in focus read .33 and more, blurred by 2 µm less than .22.
    """
    fine, broad = (_block_energy(density, inner, scale_um / pixel_size_um, block) for scale_um in (_FINE_UM, _BROAD_UM))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(broad >= least_contrast**2, np.sqrt(fine / broad), np.nan).astype(np.float32)


def _block_energy(density: FloatImage, inner: tuple[slice, slice], sigma: float, block: int) -> NDArray[np.float64]:
    """Mean squared scale-normalised Laplacian of Gaussian of each block."""
    blurred = cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    detail = np.asarray(cv2.Laplacian(blurred, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT))[inner]
    height, width = detail.shape
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    by_row = np.add.reduceat(np.square(detail), rows, axis=0, dtype=np.float64)
    energy = np.add.reduceat(by_row, columns, axis=1)
    heights, widths = np.diff(np.append(rows, height)), np.diff(np.append(columns, width))
    mean: NDArray[np.float64] = energy * sigma**4 / np.outer(heights, widths)
    return mean


def _opened(mask: NDArray[np.bool_], width_px: float) -> NDArray[np.bool_]:
    radius = max(1, round(0.5 * width_px))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    # A stroke that leaves the picture goes on beyond it.
    padded = np.pad(mask.astype(np.uint8), radius, mode="edge")
    return np.asarray(cv2.morphologyEx(padded, cv2.MORPH_OPEN, disk), dtype=np.bool_)[radius:-radius, radius:-radius]


def _grown(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    radius = max(1, round(radius_px))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disk), dtype=np.bool_)
