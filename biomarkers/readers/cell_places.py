"""The cell table of a slide (Parquet) → places and classes of its cells, to be drawn where somebody looks.

Knows the columns of the table that drawing needs. Must not know how cells were found, nor change any number: what is thinned
here is drawn thinner, and counted whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biomarkers.errors import SourceFileError
from biomarkers.ihc.scoring import INTENSITY_CLASSES

MOST_HELD = 4_000_000
"""Cells of one slide held for drawing, 17 bytes each; of a slide with more, every second, third ... is."""

NEAR_OD = 0.05
"""A cell whose optical density lies this near to the cut-off might as well have been called the other way."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellPlaces:
    """Cells of a slide as they are drawn.

    Attributes
    ----------
    x_px, y_px
        Centroids in level-0 pixels that count pixel borders as whole numbers, shape (cells,).
    radius_px
        Of a disc of the nucleus's area; NaN where the area is not known.
    grade
        Place in :data:`~biomarkers.ihc.scoring.INTENSITY_CLASSES`.
    dab_od
        Optical density of DAB by which the class was given.
    total
        Cells in the table; more than are held where it is very long.
    """

    x_px: NDArray[np.float32]
    y_px: NDArray[np.float32]
    radius_px: NDArray[np.float32]
    grade: NDArray[np.uint8]
    dab_od: NDArray[np.float32]
    total: int

    def kept(self, chosen: NDArray[np.intp]) -> CellPlaces:
        """Return some of the cells, in the order given."""
        return CellPlaces(
            x_px=self.x_px[chosen],
            y_px=self.y_px[chosen],
            radius_px=self.radius_px[chosen],
            grade=self.grade[chosen],
            dab_od=self.dab_od[chosen],
            total=self.total,
        )

    def __len__(self) -> int:
        return len(self.x_px)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellsInView:
    """Cells within a rectangle: how many lie there, and those to draw, the weakest first so that the strongest lie on top."""

    places: CellPlaces
    inside: int


def read_cell_places(path: Path) -> CellPlaces:
    """Read where a slide's cells lie.

    Raises
    ------
    SourceFileError
        The file is no cell table.
    """
    try:
        file = pq.ParquetFile(path)
        total = file.metadata.num_rows
        step = max(1, -(-total // MOST_HELD))
        names = ["x_px", "y_px", "x_um", "nucleus_area_um2", "dab_od", "intensity_class"]
        parts, seen = [], 0
        for batch in file.iter_batches(batch_size=200_000, columns=names):
            parts.append(batch.take(pa.array(np.arange((-seen) % step, batch.num_rows, step))))
            seen += batch.num_rows
        table = pa.Table.from_batches(parts, schema=pa.schema([file.schema_arrow.field(name) for name in names]))
        return _places(table, total)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise SourceFileError(
            what=f"The cell table cannot be read: {error}.",
            where=f"File '{path.name}'.",
            remedy="Remove it; the next sweep that finds no quality page draws the slide's evidence again.",
        ) from error


def _places(table: pa.Table, total: int) -> CellPlaces:
    x, y = (table[name].to_numpy().astype(np.float32) + 0.5 for name in ("x_px", "y_px"))
    um = table["x_um"].to_numpy(zero_copy_only=False).astype(np.float64)
    area = table["nucleus_area_um2"].to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel_um = np.nanmedian(um / table["x_px"].to_numpy()) if np.isfinite(um).any() else np.nan
        radius = np.sqrt(area / np.pi) / pixel_um
    number = {name: index for index, name in enumerate(INTENSITY_CLASSES)}
    words = table["intensity_class"].combine_chunks().dictionary_encode()
    by_code = np.asarray([number[word] for word in words.dictionary.to_pylist()], dtype=np.uint8)
    codes = words.indices.to_numpy(zero_copy_only=False)
    grade = by_code[codes] if len(by_code) else np.zeros(0, dtype=np.uint8)
    dab = table["dab_od"].to_numpy(zero_copy_only=False).astype(np.float32)
    return CellPlaces(x_px=x, y_px=y, radius_px=radius.astype(np.float32), grade=grade, dab_od=dab, total=total)


def cells_in_view(cells: CellPlaces, *, left: float, top: float, right: float, bottom: float, most: int) -> CellsInView:
    """Choose the cells to draw within a rectangle: all, or evenly fewer of them, positive ones before negative ones.

    Parameters
    ----------
    left, top, right, bottom
        In level-0 pixels.
    """
    inside = np.flatnonzero((cells.x_px >= left) & (cells.x_px < right) & (cells.y_px >= top) & (cells.y_px < bottom))
    positive = _thinned(inside[cells.grade[inside] > 0], most)
    negative = _thinned(inside[cells.grade[inside] == 0], most - len(positive))
    chosen = np.concatenate([negative, positive])
    chosen = chosen[np.argsort(cells.grade[chosen], kind="stable")]
    return CellsInView(places=cells.kept(chosen), inside=len(inside))


def _thinned(indices: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, max(0, most)).astype(np.intp)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TellingField:
    """A square field worth a look: its corner in level-0 pixels, and how many cells of which sort it was chosen for."""

    x: int
    y: int
    cells: int
    sort: Literal["near the cut-off", "positive", "in all"]


def telling_field(cells: CellPlaces, *, cutoff_od: float, side_px: int) -> TellingField | None:
    """Find the field whose count is least sure: the one with most cells near the cut-off between 0 and 1+.

    Where no cell lies near the cut-off, the field with most positive cells, and without those the one with most cells; None on
    a slide without cells.
    """
    near = np.abs(cells.dab_od - cutoff_od) <= NEAR_OD
    sorts: tuple[tuple[Literal["near the cut-off", "positive", "in all"], NDArray[np.bool_]], ...] = (
        ("near the cut-off", near),
        ("positive", cells.grade > 0),
        ("in all", np.ones(len(cells), dtype=np.bool_)),
    )
    for sort, chosen in sorts:
        if chosen.any():
            columns = (cells.x_px[chosen] // side_px).astype(np.int64)
            rows = (cells.y_px[chosen] // side_px).astype(np.int64)
            wide = int(columns.max()) + 1
            blocks, counts = np.unique(rows * wide + columns, return_counts=True)
            row, column = divmod(int(blocks[np.argmax(counts)]), wide)
            return TellingField(x=column * side_px, y=row * side_px, cells=int(counts.max()), sort=sort)
    return None
