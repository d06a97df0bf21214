"""A stained section as amounts of dye: where tissue lies, which cells it holds, and how brown each is.

Knows tissue outlines, nuclei, membranes and intensity classes. Must not know light, files or subjects. Lengths are pixels of
0.5 um unless their name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from biomarkers.simulation.courses import TissueStain

PIXEL_SIZE_UM = 0.5

GRADE_OD = (0.0, 0.30, 0.50, 0.82)
"""Optical density of DAB on the membrane of 0, 1+, 2+ and 3+ cells: each well inside its class of the usual cut-offs."""

SPACING_PX = 31
"""Cells stand on a shaken grid of this pitch, so that two nuclei may touch and never lie on each other."""

_SHAKE_PX = 7
_HALF_PX = 18
_SHAPES = 48
_CELL_SHARE_OF_GRID = 0.86
_OD_SPREAD = 0.035
"""Spread of the natural logarithm of a membrane's optical density within its grade."""

_NUCLEAR_DAB = 0.22
"""Share of the membrane's DAB that lies over the nucleus: sections are thicker than a membrane."""

_TISSUE_SHARE = (0.48, 0.72)
_SCRAP_SHARE = 0.003
_ONE = np.float32(1.0)
_OUTLINE_KNOTS = 7
_NEST_KNOTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSection:
    """Dyes on glass, with the truth of what was drawn.

    Attributes
    ----------
    haematoxylin, dab
        Optical density along the dye's own vector, shape (size, size).
    tissue_area_mm2
        Area of the drawn outline.
    grades
        Cells by grade: 0, 1+, 2+, 3+.
    centres
        Row and column of each cell, shape (cells, 2).
    cell_grades
        Grade of each cell, 0 to 3.
    """

    haematoxylin: NDArray[np.float32]
    dab: NDArray[np.float32]
    tissue_area_mm2: float
    grades: tuple[int, int, int, int]
    centres: NDArray[np.intp]
    cell_grades: NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """One drawn nucleus with its surroundings, each from 0 to 1."""

    nucleus: NDArray[np.float32]
    membrane: NDArray[np.float32]


def draw_section(
    stain: TissueStain, size_px: int, *, is_scrap: bool, rng: Generator, tissue_share: float | None = None
) -> DrawnSection:
    """Draw a section of ``size_px`` squared; a scrap is what is left when the tissue came off the glass.

    Parameters
    ----------
    tissue_share
        Share of the picture that is tissue, up to 1; by default each section has its own.
    """
    outline = _smooth_field(size_px, _OUTLINE_KNOTS, rng)
    share = _SCRAP_SHARE if is_scrap else float(rng.uniform(*_TISSUE_SHARE))
    share = share if tissue_share is None else tissue_share
    level = float(np.quantile(outline[::4, ::4], 1.0 - share))
    tissue = outline > level
    ground = _ground(outline, level, rng)
    cells = _places(tissue, rng)
    area_mm2 = float(np.count_nonzero(tissue)) * (PIXEL_SIZE_UM / 1000.0) ** 2
    grades = _grades(stain, cells, area_mm2, size_px, rng)
    haematoxylin = np.float32(0.085) * ground
    dab = np.float32(0.018) * ground
    _stamp(haematoxylin, dab, cells, grades, is_lymphoid=stain.density_per_mm2 is not None, rng=rng)
    counts = np.bincount(grades, minlength=len(GRADE_OD))
    return DrawnSection(
        haematoxylin=haematoxylin,
        dab=dab,
        tissue_area_mm2=area_mm2,
        grades=(int(counts[0]), int(counts[1]), int(counts[2]), int(counts[3])),
        centres=cells,
        cell_grades=grades,
    )


def _smooth_field(size: int, knots: int, rng: Generator) -> NDArray[np.float32]:
    """Random hills over a square picture: values on a coarse grid, joined smoothly."""
    coarse = rng.standard_normal((knots, knots), dtype=np.float32)
    below, part = _between(np.linspace(0.0, knots - 1.0, size, dtype=np.float64), knots)
    rest = _ONE - part
    rows = coarse[below] * rest[:, None] + coarse[below + 1] * part[:, None]
    return _as_float32(rows[:, below] * rest + rows[:, below + 1] * part)


def _hills_at(places: NDArray[np.intp], size: int, knots: int, rng: Generator) -> NDArray[np.float32]:
    """Random hills as in :func:`_smooth_field`, at some places only; ``places`` are rows and columns."""
    coarse = rng.standard_normal((knots, knots), dtype=np.float32)
    scaled = places.astype(np.float64) * ((knots - 1.0) / (size - 1.0))
    (top, down), (left, right) = _between(scaled[:, 0], knots), _between(scaled[:, 1], knots)
    upper = coarse[top, left] * (_ONE - right) + coarse[top, left + 1] * right
    lower = coarse[top + 1, left] * (_ONE - right) + coarse[top + 1, left + 1] * right
    return _as_float32(upper * (_ONE - down) + lower * down)


def _between(place: NDArray[np.float64], knots: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Knot below each place, and how far the place lies towards the next one, eased at both ends."""
    below = np.minimum(place.astype(np.intp), knots - 2)
    part = place - below
    return below, _as_float32(part * part * (3.0 - 2.0 * part))


def _as_float32(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Keep pictures in 32 bits: half the memory to walk through, twice the speed."""
    return values.astype(np.float32, copy=False)


@cache
def _grain() -> NDArray[np.float32]:
    """Fibrous texture that tiles the plane, mean 1; the same for all slides, as fixation is."""
    rng = np.random.Generator(np.random.PCG64(20250113))
    noise: NDArray[np.float64] = rng.standard_normal((512, 512))
    for axis, reach in ((0, 4), (1, 9)):
        noise = np.sum([np.roll(noise, shift, axis) for shift in range(-reach, reach + 1)], axis=0)
    return _as_float32(1.0 + 0.28 * np.clip(noise / noise.std(), -2.5, 2.5))


def _ground(outline: NDArray[np.float32], level: float, rng: Generator) -> NDArray[np.float32]:
    """Stroma: 0 on glass, about 1 in tissue, with a soft edge."""
    steep = np.float32(0.004 * 2048.0 / outline.shape[0])
    ground: NDArray[np.float32] = np.clip((outline - np.float32(level)) / steep + np.float32(0.5), 0.0, 1.0)
    grain = np.roll(_grain(), [int(shift) for shift in rng.integers(0, 512, 2)], (0, 1))
    size = outline.shape[0]
    for top in range(0, size, 512):
        for left in range(0, size, 512):
            part = ground[top : top + 512, left : left + 512]
            part *= grain[: part.shape[0], : part.shape[1]]
    return ground


def _places(tissue: NDArray[np.bool_], rng: Generator) -> NDArray[np.intp]:
    """Centres of cells, row and column, well inside tissue and picture."""
    size = tissue.shape[0]
    axis = np.arange(SPACING_PX // 2, size, SPACING_PX)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    centres = grid + rng.integers(-_SHAKE_PX, _SHAKE_PX + 1, grid.shape)
    kept = rng.random(len(centres)) < _CELL_SHARE_OF_GRID
    inside = ((centres > _HALF_PX) & (centres < size - _HALF_PX - 1)).all(axis=1)
    centres = centres[kept & inside]
    reach = _HALF_PX - 4
    for down, right in ((-reach, 0), (reach, 0), (0, -reach), (0, reach)):
        centres = centres[tissue[centres[:, 0] + down, centres[:, 1] + right]]
    inner: NDArray[np.intp] = centres.astype(np.intp)
    return inner


def _grades(stain: TissueStain, cells: NDArray[np.intp], area_mm2: float, size_px: int, rng: Generator) -> NDArray[np.intp]:
    """Grade each cell; positive ones cluster, as lymphocytes and stained nests do."""
    grades = np.zeros(len(cells), dtype=np.intp)
    if len(cells) == 0:
        return grades
    if stain.density_per_mm2 is not None:
        wanted = stain.density_per_mm2 * area_mm2
    else:
        assert stain.positive_share is not None, "a stain wants a density or a share"
        wanted = stain.positive_share * len(cells)
    nests = np.exp(1.1 * _hills_at(cells, size_px, _NEST_KNOTS, rng))
    count = min(round(wanted), int(0.7 * len(cells)))
    positive = rng.choice(len(cells), size=count, replace=False, p=nests / nests.sum(dtype=np.float64))
    grades[positive] = 1 + rng.choice(3, size=count, p=np.array(stain.grade_shares) / sum(stain.grade_shares))
    return grades


@cache
def _shapes(*, is_lymphocyte: bool) -> tuple[_Shape, ...]:
    """Small pictures of cells, drawn once a process: round lymphocytes, or the long nuclei of a spindle cell tumour."""
    rng = np.random.Generator(np.random.PCG64(11 if is_lymphocyte else 12))
    return tuple(_shape(rng, is_lymphocyte=is_lymphocyte) for _ in range(_SHAPES))


def _shape(rng: Generator, *, is_lymphocyte: bool) -> _Shape:
    axis = np.arange(-_HALF_PX, _HALF_PX + 1, dtype=np.float64)
    down, right = np.meshgrid(axis - rng.uniform(-0.5, 0.5), axis - rng.uniform(-0.5, 0.5), indexing="ij")
    turn = rng.uniform(0.0, np.pi)
    along = np.cos(turn) * right + np.sin(turn) * down
    across = -np.sin(turn) * right + np.cos(turn) * down
    long, short = (
        (rng.uniform(6.3, 7.3), rng.uniform(5.8, 6.6)) if is_lymphocyte else (rng.uniform(9, 12), rng.uniform(5.2, 6.6))
    )
    # Distance to the outline: the ellipse's own radius in that direction is near enough for a cell.
    radius = np.hypot(along / long, across / short)
    beyond = (radius - 1.0) * np.hypot(along, across) / np.maximum(radius, 1e-6)
    beyond = np.where(radius < 1e-6, -short, beyond)
    chromatin = 1.0 + 0.2 * _smooth_field(len(axis), 8, rng)
    inside = np.clip(0.5 - beyond / 2.0, 0.0, 1.0)
    width = 3.6 if is_lymphocyte else 3.2
    ring = np.clip(beyond / 1.2 + 0.5, 0.0, 1.0) * np.clip((width - beyond) / 1.2 + 0.5, 0.0, 1.0)
    return _Shape(
        nucleus=(inside * np.clip(chromatin, 0.65, 1.35)).astype(np.float32),
        membrane=np.maximum(ring, _NUCLEAR_DAB * inside).astype(np.float32),
    )


def _stamp(
    haematoxylin: NDArray[np.float32],
    dab: NDArray[np.float32],
    cells: NDArray[np.intp],
    grades: NDArray[np.intp],
    *,
    is_lymphoid: bool,
    rng: Generator,
) -> None:
    """Lay every cell's dyes over the ground; where two meet the darker one counts."""
    # Among unstained cells a fifth are lymphocytes too; stained ones are what the antibody finds.
    is_round = np.where(grades > 0, is_lymphoid, rng.random(len(cells)) < 0.2)
    shape = rng.integers(0, _SHAPES, len(cells))
    nuclear = np.where(is_round, 0.68, 0.46) * np.exp(0.13 * rng.standard_normal(len(cells)))
    brown = np.array(GRADE_OD)[grades] * np.exp(_OD_SPREAD * rng.standard_normal(len(cells)))
    kinds = {kind: _shapes(is_lymphocyte=kind) for kind in (False, True)}
    for index, (row, column) in enumerate(cells):
        drawn = kinds[bool(is_round[index])][shape[index]]
        place = (slice(row - _HALF_PX, row + _HALF_PX + 1), slice(column - _HALF_PX, column + _HALF_PX + 1))
        blue = haematoxylin[place]
        np.maximum(blue, drawn.nucleus * np.float32(nuclear[index]), out=blue)
        if grades[index]:
            stained = dab[place]
            np.maximum(stained, drawn.membrane * np.float32(brown[index]), out=stained)
