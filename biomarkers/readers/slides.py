"""Pictures of tissue sections → :class:`~biomarkers.ihc.slide.SlideImage`.

Knows how a slide file is recognised by its first bytes, and reads plain PNG and JPEG fields. Must not know stains or the study.
TIFF in all its forms is read without OpenSlide, which is several times slower, sees no pyramid in an OME-TIFF and no pixel
size; what it alone reads is left to it.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import numpy as np
import PIL.Image

from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region, RgbImage, SlideImage, SlideLevel
from biomarkers.readers.described_slides import DescribedSlide
from biomarkers.readers.openslide_slides import is_known_to_openslide, open_with_openslide
from biomarkers.readers.pixel_size import PixelSize, StatedPixelSize, settle_pixel_size
from biomarkers.readers.tiff_slides import StitchedSlideError, open_tiff

LARGEST_FIELD_PIXELS = 80_000_000
"""A PNG or JPEG is decoded whole; larger pictures belong into a tiled TIFF."""

_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_FIELD_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_UM_PER_INCH = 25_400.0

_FOREIGN = (
    OSError,
    ValueError,
    SyntaxError,
    PIL.Image.DecompressionBombError,
    LookupError,
    struct.error,
    zlib.error,
    ArithmeticError,
    TypeError,
    AttributeError,
    MemoryError,
    RuntimeError,
)
"""What Pillow raises for damaged files."""


class FieldPicture(DescribedSlide):
    """A plain picture held in memory: one level."""

    def __init__(self, pixels: RgbImage, *, name: str, pixel_size: PixelSize) -> None:
        height, width, _ = pixels.shape
        super().__init__(name=name, levels=[SlideLevel(width=width, height=height, downsample=1.0)], pixel_size=pixel_size)
        self._pixels = pixels

    def read_region(self, level: int, region: Region) -> RgbImage:
        """Cut a region out of the picture."""
        assert level == 0
        cut = self._pixels[region.y : region.y + region.height, region.x : region.x + region.width]
        return np.ascontiguousarray(cut)


def open_slide(path: Path, *, pixel_size_um: float | None = None) -> AbstractContextManager[SlideImage]:
    """Open a slide or field for reading; use it in a ``with`` statement, in the process that opened it.

    Parameters
    ----------
    pixel_size_um
        Declared by a person; has to agree with what the file says.

    Raises
    ------
    SourceFileError
        Nobody recognises the file, it is damaged or claims what it cannot hold, or its pixel size contradicts the declared one.
    """
    return _opened(path, pixel_size_um)


@contextlib.contextmanager
def _opened(path: Path, pixel_size_um: float | None) -> Iterator[SlideImage]:
    declared = () if pixel_size_um is None else (StatedPixelSize(origin="declared", x_um=pixel_size_um, y_um=pixel_size_um),)
    start = _first_bytes(path)
    if start.startswith(_TIFF_STARTS):
        with _opened_tiff(path, declared) as slide:
            yield slide
    elif start and (path.suffix.casefold() == ".mrxs" or (not start.startswith(_FIELD_STARTS) and is_known_to_openslide(path))):
        # An MRXS begins as the JPEG of its thumbnail does, which is not the slide.
        with open_with_openslide(path, declared) as scan:
            yield scan
    elif start.startswith(_FIELD_STARTS):
        yield _read_field(path, declared)
    else:
        raise SourceFileError(
            what="The file is empty." if not start else "The file is no picture this laboratory reads.",
            where=f"File '{path.name}'.",
            remedy="Drop a TIFF, OME-TIFF, SVS, NDPI, PNG or JPEG file.",
        )


@contextlib.contextmanager
def _opened_tiff(path: Path, declared: tuple[StatedPixelSize, ...]) -> Iterator[SlideImage]:
    with contextlib.ExitStack() as stack:
        slide: SlideImage
        try:
            slide = stack.enter_context(open_tiff(path, declared))
        except StitchedSlideError:
            slide = stack.enter_context(open_with_openslide(path, declared))
        yield slide


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise SourceFileError(
            what=f"The file cannot be opened: {error.strerror}.", where=f"File '{path.name}'.", remedy="Check its rights."
        ) from error


def _read_field(path: Path, declared: tuple[StatedPixelSize, ...]) -> FieldPicture:
    try:
        _refuse_png_claims(path)
        with warnings.catch_warnings():
            # Pillow warns of large pictures; the limit here is lower and is told in our words.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=("PNG", "JPEG")) as picture:
                _refuse_unusable(picture, path.name)
                stated = (*declared, *_resolution(picture))
                pixels = _as_rgb(picture)
    except _FOREIGN as error:
        raise SourceFileError(
            what=f"The picture is damaged, cut off or too large: {str(error).rstrip('.')}.",
            where=f"File '{path.name}'.",
            remedy="Copy or export the picture again.",
        ) from error
    return FieldPicture(pixels, name=path.name, pixel_size=settle_pixel_size(stated, name=path.name))


def _refuse_png_claims(path: Path) -> None:
    """Refuse a PNG with a part longer than the file, before Pillow makes room for it."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        place = len(_FIELD_STARTS[0])
        file.seek(0)
        if file.read(place) != _FIELD_STARTS[0]:
            return
        while place + 8 <= size:
            file.seek(place)
            place += 12 + int.from_bytes(file.read(4), "big")
            if file.read(4) == b"IEND":
                return
    raise ValueError(f"it ends after {size} bytes, within one of its parts")


def _refuse_unusable(picture: PIL.Image.Image, name: str) -> None:
    if picture.width * picture.height > LARGEST_FIELD_PIXELS:
        raise SourceFileError(
            what=f"The picture claims {picture.width} x {picture.height} pixels; fields have at most "
            f"{LARGEST_FIELD_PIXELS // 1_000_000} million.",
            where=f"File '{name}'.",
            remedy="Export it as a tiled TIFF.",
        )
    if picture.mode not in ("RGB", "RGBA", "P"):
        raise SourceFileError(
            what=f"The picture is not in 8-bit colour (mode '{picture.mode}').",
            where=f"File '{name}'.",
            remedy="Export the field as 8-bit RGB.",
        )


def _as_rgb(picture: PIL.Image.Image) -> RgbImage:
    if picture.mode == "RGB":
        return np.asarray(picture, dtype=np.uint8)
    # What is transparent shows the light behind it.
    ground = PIL.Image.new("RGBA", picture.size, (255, 255, 255, 255))
    ground.alpha_composite(picture.convert("RGBA"))
    return np.asarray(ground.convert("RGB"), dtype=np.uint8)


def _resolution(picture: PIL.Image.Image) -> Iterator[StatedPixelSize]:
    dots = cast("object", picture.info.get("dpi"))
    if isinstance(dots, tuple) and len(dots) == 2 and all(float(count) > 0 for count in dots):
        across, down = (float(count) for count in dots)
        yield StatedPixelSize(origin="resolution tag", x_um=_UM_PER_INCH / across, y_um=_UM_PER_INCH / down)
