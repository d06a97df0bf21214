"""Cells that another program found → :class:`~biomarkers.ihc.labels.LabelImage`.

Knows the files StarDist, Cellpose and InstanSeg are saved to (TIFF, PNG, NPY: one plane of whole numbers, 0 outside nuclei) and
a list of classes. Must not know how those programs work, nor what becomes of the cells.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from biomarkers.errors import Fault, SourceFileError
from biomarkers.ihc.classes import CellClass
from biomarkers.ihc.labels import LabelImage
from biomarkers.readers.list_tables import ListTable

LARGEST_LABEL_PIXELS = 400_000_000
"""A label image is held whole: 1.6 gigabytes."""

LARGEST_SHAPE_DIFFERENCE = 0.01
"""Columns and rows may say by so much differently how coarse the label image is: its last pixels may be cut off."""

_FOREIGN = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    struct.error,
    ArithmeticError,
    TypeError,
    AttributeError,
    MemoryError,
    RuntimeError,
    PIL.Image.DecompressionBombError,
)
"""What the libraries raise for damaged files."""


def read_label_image(path: Path, *, width: int, height: int, classes: Path | None = None) -> LabelImage:
    """Read a label image of a whole slide, at full resolution or coarser.

    Parameters
    ----------
    width, height
        Of the slide's finest level; the label image covers it, and its size says how much coarser it is.
    classes
        A list with the columns ``label`` and ``class`` (tumour, lymphocyte, macrophage, other, unclassed).

    Raises
    ------
    SourceFileError
        The picture is damaged, holds no whole numbers, or is not one of this slide.
    StainError
        It has several planes or negative numbers.
    """
    labels = _labels(path)
    if labels.ndim == 2 and labels.size:
        downsample = width / labels.shape[1]
        other = height / labels.shape[0]
        if downsample < 1 - LARGEST_SHAPE_DIFFERENCE or abs(other / downsample - 1) > LARGEST_SHAPE_DIFFERENCE:
            raise SourceFileError(
                what=f"The label image has {labels.shape[1]} x {labels.shape[0]} pixels, the slide {width} x {height}.",
                where=f"File '{path.name}'.",
                remedy="Give the labels of this whole picture, at its full resolution or evenly coarser.",
            )
    else:
        downsample = 1.0
    return LabelImage(
        labels=labels, downsample=downsample, class_by_label=None if classes is None else read_label_classes(classes)
    )


def _labels(path: Path) -> NDArray[np.int32]:
    try:
        found = _decoded(path)
    except _FOREIGN as error:
        raise SourceFileError(
            what=f"The label image is damaged, too large, or none: {error}.",
            where=f"File '{path.name}'.",
            remedy="Save the labels again as TIFF, PNG or NPY: one plane of whole numbers, 0 outside nuclei.",
        ) from error
    if not np.issubdtype(found.dtype, np.integer) or (found.size and int(found.max()) > np.iinfo(np.int32).max):
        raise SourceFileError(
            what=f"The label image holds {found.dtype} numbers; whole numbers below two thousand million are needed.",
            where=f"File '{path.name}'.",
            remedy="Save labels, not probabilities or colours.",
        )
    return found.astype(np.int32, copy=False)


def _decoded(path: Path) -> NDArray[np.generic]:
    suffix = path.suffix.casefold()
    if suffix == ".npy":
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        _refuse_large(mapped.size)
        return np.asarray(mapped)
    if suffix in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            _refuse_large(int(np.prod(series.shape)))
            return np.squeeze(np.asarray(series.asarray()))
    with PIL.Image.open(path, formats=("PNG",)) as picture:
        _refuse_large(picture.width * picture.height)
        if picture.mode not in ("L", "I", "I;16", "I;16B"):
            raise ValueError(f"its mode is '{picture.mode}', not one plane of whole numbers")
        return np.asarray(picture)


def _refuse_large(pixels: int) -> None:
    if pixels > LARGEST_LABEL_PIXELS:
        raise ValueError(f"it claims {pixels / 1e6:.0f} million pixels; at most {LARGEST_LABEL_PIXELS / 1e6:.0f} are read")


def read_label_classes(path: Path) -> dict[int, CellClass]:
    """Read what each labelled cell is.

    Raises
    ------
    SourceFileError
        With all that is wrong at once.
    """
    table = ListTable.read(path, required=("label", "class"), optional=())
    found: dict[int, CellClass] = {}
    known = {kind.value: kind for kind in CellClass}
    for line, cells in table.lines:
        label, word = cells["label"], cells["class"].casefold()
        if not label.isascii() or not label.isdigit() or word not in known or int(label) in found:
            table.faults.append(
                Fault(
                    where=f"File '{path.name}', line {line}.",
                    what=f"'{label}, {cells['class']}' gives no label a class, or one that has one already.",
                    remedy=f"Write each label once, with one of {', '.join(known)}.",
                )
            )
            continue
        found[int(label)] = known[word]
    if table.faults:
        raise SourceFileError.gathered(table.faults)
    return found
