"""Slides that only OpenSlide reads (MRXS, VMS, DICOM, CZI, BIF and others) → levels and regions.

Knows OpenSlide's names for what such files say. Must not know stains or the study. Label and macro pictures are never read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region, RgbImage, SlideLevel
from biomarkers.readers.described_slides import DescribedSlide
from biomarkers.readers.pixel_size import StatedPixelSize, settle_pixel_size
from biomarkers.results import Finding, Severity

if TYPE_CHECKING:
    import openslide

LARGEST_CLAIM_PER_BYTE = 1000
"""Uncompressed bytes that one byte of a slide's files may stand for; empty parts of a scan are left out of the files."""

_DATES = (
    "aperio.Date",
    "dicom.AcquisitionDateTime",
    "hamamatsu.Created",
    "leica.creation-date",
    "mirax.GENERAL.SLIDE_CREATIONDATETIME",
    "ventana.ScanDate",
    "zeiss.Information.Image.AcquisitionDateAndTime",
    "tiff.DateTime",
)

_SCANNERS = (
    "aperio.ScanScope ID",
    "dicom.ManufacturerModelName",
    "leica.device-model",
    "ventana.UnitNumber",
    "tiff.Model",
)


class OpenSlideSlide(DescribedSlide):
    """A slide opened by OpenSlide; made by :func:`open_with_openslide`. Belongs to the process that opened it."""

    def __init__(self, slide: openslide.OpenSlide, path: Path, declared: tuple[StatedPixelSize, ...]) -> None:
        properties = slide.properties
        super().__init__(
            name=path.name,
            levels=_levels(slide, path),
            pixel_size=settle_pixel_size((*declared, *_stated(slide)), name=path.name),
            acquired_at=next((properties[key] for key in _DATES if properties.get(key)), ""),
            scanner=next((properties[key] for key in _SCANNERS if properties.get(key)), ""),
            findings=tuple(_label_findings(slide, path.name)),
        )
        self._slide = slide
        # OpenSlide gives the colour of places that were never scanned as six hexadecimal digits.
        self._empty = "#" + properties.get("openslide.background-color", "FFFFFF")

    def read_region(self, level: int, region: Region) -> RgbImage:
        """Decode a region.

        Raises
        ------
        SourceFileError
            A part of it is damaged.
        """
        import openslide  # noqa: PLC0415  - most slides never need the library

        self._require_own_process()
        corner = tuple(round(place * self._levels[level].downsample) for place in (region.x, region.y))
        try:
            picture = self._slide.read_region((corner[0], corner[1]), level, (region.width, region.height))
        except (openslide.OpenSlideError, OSError, ValueError) as error:
            raise SourceFileError(
                what=f"A part of the slide cannot be decoded: {error}.",
                where=f"File '{self._name}', level {level}, from pixel {region.x}, {region.y}.",
                remedy="Copy or export the slide again.",
            ) from error
        ground = PIL.Image.new("RGBA", picture.size, self._empty)
        ground.alpha_composite(picture)
        return np.asarray(ground.convert("RGB"), dtype=np.uint8)


@contextlib.contextmanager
def open_with_openslide(path: Path, declared: tuple[StatedPixelSize, ...]) -> Iterator[OpenSlideSlide]:
    """Open a slide with OpenSlide.

    Raises
    ------
    SourceFileError
        OpenSlide does not know the file, or finds it damaged or incomplete.
    """
    import openslide  # noqa: PLC0415  - most slides never need the library

    with contextlib.ExitStack() as stack:
        try:
            slide = stack.enter_context(openslide.OpenSlide(path))
            opened = OpenSlideSlide(slide, path, declared)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise _unknown(path) from error
        except (openslide.OpenSlideError, OSError, ValueError) as error:
            raise SourceFileError(
                what=f"The slide is damaged or incomplete: {error}.",
                where=f"File '{path.name}'.",
                remedy="Copy the slide again, with every file and folder that belongs to it.",
            ) from error
        yield opened


def is_known_to_openslide(path: Path) -> bool:
    """Whether OpenSlide recognises the file, and it is no plain TIFF, which is read without it."""
    import openslide  # noqa: PLC0415  - most slides never need the library

    return openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff")


def _unknown(path: Path) -> SourceFileError:
    if path.suffix.casefold() == ".mrxs" and not path.with_suffix("").is_dir():
        return SourceFileError(
            what="The slide is incomplete: an MRXS slide is a file and a folder of the same name, and the folder is missing.",
            where=f"File '{path.name}'.",
            remedy="Put the folder beside the file, or convert the slide to OME-TIFF, which is a single file.",
        )
    return SourceFileError(
        what="The file is no picture this laboratory reads.",
        where=f"File '{path.name}'.",
        remedy="Export the slide as OME-TIFF or SVS.",
    )


def _levels(slide: openslide.OpenSlide, path: Path) -> tuple[SlideLevel, ...]:
    (width, height), *_ = slide.level_dimensions
    if min(width, height) < 1 or width * height * 3 > LARGEST_CLAIM_PER_BYTE * _size(path):
        raise SourceFileError(
            what=f"The slide claims {width} x {height} pixels, more than its files can hold.",
            where=f"File '{path.name}'.",
            remedy="Export the slide again; if this repeats, have the file examined.",
        )
    levels: list[SlideLevel] = []
    for number, (across, down) in enumerate(slide.level_dimensions):
        if min(across, down) < 1:
            raise SourceFileError(
                what="The pyramid level is empty.",
                where=f"File '{path.name}', pyramid level {number}.",
                remedy="Export the slide again.",
            )
        downsample = float(slide.level_downsamples[number])
        whole = round(downsample)
        # Sizes are rounded to whole pixels; the factor is not.
        downsample = float(whole) if abs(width / whole - across) <= 1 else downsample
        if not levels or downsample > levels[-1].downsample:
            levels.append(SlideLevel(width=across, height=down, downsample=downsample))
    return tuple(levels)


def _size(path: Path) -> int:
    """Bytes of the slide with what belongs to it: a folder of its name, else the files beside it."""
    beside = path.with_suffix("")
    folder = beside if beside.is_dir() else path.parent
    return path.stat().st_size + sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _stated(slide: openslide.OpenSlide) -> Iterator[StatedPixelSize]:
    across, down = (slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy")
    if across is not None and down is not None:
        yield StatedPixelSize(origin="vendor metadata", x_um=float(across), y_um=float(down))


def _label_findings(slide: openslide.OpenSlide, name: str) -> Iterator[Finding]:
    # Only their names are asked for: reading one would bring the label into this process.
    shown = sorted(kind for kind in slide.associated_images if kind != "thumbnail")
    if shown:
        yield Finding(
            code="LABEL_IMAGE",
            severity=Severity.NOTE,
            where=f"File '{name}'.",
            message="Besides the slide the file holds pictures that may show its label "
            f"({', '.join(shown)}); they were not read.",
            remedy="A label may show a name; export slides without it where they leave the laboratory.",
        )
    if "openslide.barcode" in slide.properties:
        yield Finding(
            code="LABEL_TEXT",
            severity=Severity.NOTE,
            where=f"File '{name}'.",
            message="The file holds the words of the slide's label; they were not read.",
            remedy="A label may hold a name; export slides without it where they leave the laboratory.",
        )
