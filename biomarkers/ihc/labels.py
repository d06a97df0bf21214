"""Cells that another program found, measured as our own are.

Knows label images, as StarDist, Cellpose and InstanSeg give them, and classes by label. Must not know files or how those
programs work. Only where the cells lie comes from outside: white point, stains, compartments, cut-offs, masks and scores are
the slide's and the protocol's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from biomarkers.errors import StainError
from biomarkers.ihc.analysis import placed_cells
from biomarkers.ihc.calibration import Optics, TileTask
from biomarkers.ihc.classes import CELL_CLASSES, CellClass
from biomarkers.ihc.detection import Segmentation
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.section import TileMeasurement
from biomarkers.ihc.slide import SlideImage, read_working
from biomarkers.ihc.stains import separate_stains


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelImage:
    """Nuclei as another program labelled them; labels of whole cells would put the membrane's ring outside the membrane.

    Attributes
    ----------
    labels
        0 outside nuclei, else the nucleus's number; shape (rows, columns). Numbers may have gaps.
    x_px, y_px
        Level-0 pixel at which the label image begins.
    downsample
        Level-0 pixels a pixel of the label image is wide.
    class_by_label
        What each cell is; None where the program does not class cells. Labels missing from it are unclassed.
    """

    labels: NDArray[np.int32]
    x_px: float = 0.0
    y_px: float = 0.0
    downsample: float = 1.0
    class_by_label: Mapping[int, CellClass] | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or not np.issubdtype(self.labels.dtype, np.integer):
            raise StainError(
                what=f"The label image has {self.labels.ndim} dimensions of type {self.labels.dtype}; whole numbers in two are "
                "needed.",
                where="Label image.",
                remedy="Give one plane of labels, 0 outside cells; turn masks of several planes into labels first.",
            )
        if self.labels.size and int(self.labels.min()) < 0:
            raise StainError(
                what="The label image holds negative numbers.",
                where="Label image.",
                remedy="Give 0 outside cells and a positive number for each cell.",
            )


def measure_labels(
    slide: SlideImage, task: TileTask, optics: Optics, protocol: StainProtocol, labelled: LabelImage
) -> TileMeasurement:
    """Measure the labelled cells whose centroid lies in a tile's core and on tissue; the rest is as for our own cells."""
    scale, padded = optics.scale, task.tile.padded
    stains = separate_stains(read_working(slide, scale, padded), optics.white, optics.vectors)
    rows = _places(padded.y, padded.height, scale.factor, labelled.y_px, labelled.downsample)
    columns = _places(padded.x, padded.width, scale.factor, labelled.x_px, labelled.downsample)
    view = _sampled(labelled.labels, rows, columns)
    names, compact = np.unique(view, return_inverse=True)
    if not len(names) or names[0] != 0:
        names, compact = np.append(0, names), compact + 1
    labels = compact.reshape(view.shape).astype(np.int32)
    segmentation = Segmentation(labels=labels, by_chromogen=np.zeros(len(names) - 1, dtype=np.bool_))
    cells, owned = placed_cells(segmentation, np.ascontiguousarray(stains[..., 1]), task, optics, protocol)
    if labelled.class_by_label is not None:
        by_label = labelled.class_by_label
        classes = [CELL_CLASSES.index(by_label.get(int(name), CellClass.UNCLASSED)) for name in names[1:]]
        cells = replace(cells, cell_class=np.asarray(classes, dtype=np.uint8))
    return TileMeasurement(tile_index=task.tile.index, cells=cells.kept(owned))


def _places(start: int, count: int, factor: float, origin: float, downsample: float) -> NDArray[np.intp]:
    """Pixel of the label image under the centre of each working pixel."""
    centre = (start + np.arange(count) + 0.5) * factor
    places: NDArray[np.intp] = np.floor((centre - origin) / downsample).astype(np.intp)
    return places


def _sampled(labels: NDArray[np.int32], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.int32]:
    """Take the labels at some rows and columns; outside the label image there are no cells."""
    in_rows, in_columns = (rows >= 0) & (rows < labels.shape[0]), (columns >= 0) & (columns < labels.shape[1])
    view = np.zeros((len(rows), len(columns)), dtype=labels.dtype)
    view[np.ix_(in_rows, in_columns)] = labels[np.ix_(rows[in_rows], columns[in_columns])]
    return view
