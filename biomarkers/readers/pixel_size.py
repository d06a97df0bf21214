"""How wide a pixel is, and who says so.

Knows the law: declared by a person, then OME or vendor metadata, then the resolution tag; sources that contradict each other
are an error. Must not know how any file stores these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biomarkers.errors import SourceFileError

SMALLEST_PIXEL_UM, LARGEST_PIXEL_UM = 0.02, 20.0
"""No light microscope's picture lies outside; a resolution tag that does speaks of paper or screens."""

LARGEST_DISAGREEMENT = 0.02
"""Sources round differently (0.25 and 0.2523 of one scanner); farther apart, one of them is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPixelSize:
    """One statement about the width and height of a pixel in micrometres.

    ``origin`` is ``"declared"``, ``"OME metadata"``, ``"vendor metadata"`` or ``"resolution tag"``.
    """

    origin: str
    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSize:
    """The pixel size to use; None where nobody states one."""

    um: float | None
    origin: str


def settle_pixel_size(statements: Sequence[StatedPixelSize], *, name: str) -> PixelSize:
    """Apply the law to statements given in the order of their weight.

    Raises
    ------
    SourceFileError
        A declared or recorded size is impossible, pixels are not square, or two statements contradict each other.
    """
    usable: list[StatedPixelSize] = []
    for stated in statements:
        possible = all(SMALLEST_PIXEL_UM <= side <= LARGEST_PIXEL_UM for side in (stated.x_um, stated.y_um))
        if not possible and stated.origin == "resolution tag":
            continue  # dots per inch of a printer or a screen; says nothing about tissue
        if not possible:
            raise SourceFileError(
                what=f"The pixel size {stated.x_um:g} x {stated.y_um:g} µm ({stated.origin}) is impossible.",
                where=f"File '{name}'.",
                remedy="Export the slide with its true pixel size, or correct the declaration.",
            )
        if abs(stated.x_um - stated.y_um) > LARGEST_DISAGREEMENT * stated.x_um:
            raise SourceFileError(
                what=f"Pixels are not square: {stated.x_um:g} x {stated.y_um:g} µm ({stated.origin}).",
                where=f"File '{name}'.",
                remedy="Export the slide with square pixels.",
            )
        usable.append(stated)
    if not usable:
        return PixelSize(um=None, origin="")
    first = usable[0]
    for other in usable[1:]:
        if abs(first.x_um - other.x_um) > LARGEST_DISAGREEMENT * first.x_um:
            raise SourceFileError(
                what=f"The pixel size is {first.x_um:g} µm by {_said(first)} but {other.x_um:g} µm by {_said(other)}.",
                where=f"File '{name}'.",
                remedy="Find out which is true; correct the declaration, or export the slide again.",
            )
    return PixelSize(um=first.x_um, origin=first.origin)


def _said(stated: StatedPixelSize) -> str:
    return "declaration" if stated.origin == "declared" else f"the file's {stated.origin}"
