"""TIFF in its many forms (OME-TIFF, SVS, tiled and pyramidal) → levels and regions.

Knows which pages of a TIFF are the slide and how to read a part of one. Must not know stains or the study. Only claims that
the file's own bytes can keep are believed, and label and macro pictures are never read.
"""

from __future__ import annotations

import contextlib
import html
import logging
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region, RgbImage, SlideLevel
from biomarkers.readers.pixel_size import PixelSize, StatedPixelSize, settle_pixel_size
from biomarkers.results import Finding, Severity

LARGEST_SEGMENT_PIXELS = 64_000_000
"""A tile or strip is decoded in one piece; a larger one would take a GB."""

LARGEST_PAGES = 10_000
"""A slide has some ten pages; a chain of many thousand is no slide."""

LARGEST_CLAIM_PER_BYTE = 1000
"""Uncompressed bytes that one byte of a large file may stand for; JPEG on empty glass reaches about 300."""

SMALL_CLAIM_PIXELS = 100_000_000
"""Below this a blank picture may compress as well as it likes."""

NOT_THE_SLIDE = ("label", "macro", "thumbnail", "overview", "map")

_JPEG_COMPRESSIONS = (6, 7)

# What is wrong with a file is told once, in our own words; tifffile would add its own to the terminal.
tifffile.logger().setLevel(logging.CRITICAL)

_FOREIGN = (
    tifffile.TiffFileError,
    OSError,
    ValueError,
    LookupError,
    struct.error,
    ArithmeticError,
    TypeError,
    AttributeError,
    MemoryError,
    RuntimeError,  # the codecs' errors and a too deep recursion
)
"""What tifffile and its codecs raise for damaged files."""

_UM_BY_OME_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
_UM_BY_RESOLUTION_UNIT = {2: 25_400.0, 3: 10_000.0, 4: 1000.0, 5: 1.0}


class TiffSlide:
    """A slide in an open TIFF file; made by :func:`open_tiff`. Belongs to the process that opened it."""

    def __init__(self, file: tifffile.TiffFile, path: Path, declared: tuple[StatedPixelSize, ...]) -> None:
        self._name = path.name
        number, series = _slide_series(file, path.name)
        self._pages = tuple(_checked_page(level, number, file, path) for number, level in enumerate(series.levels))
        self._levels = _levels_of(self._pages, path.name)
        self._handle = file.filehandle
        description = self._pages[0].description
        ome = (file.ome_metadata or "") if file.is_ome else ""
        stated = (*declared, *_stated_by(self._pages[0], description, ome, number))
        self._pixel_size: PixelSize = settle_pixel_size(stated, name=path.name)
        self._acquired_at = _acquired_at(self._pages[0], description, ome)
        self._findings = tuple(_label_findings(file, path.name))

    @property
    def name(self) -> str:
        """The file's name."""
        return self._name

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        """The pyramid, full resolution first."""
        return self._levels

    @property
    def pixel_size_um(self) -> float | None:
        """Width of a level-0 pixel in micrometres."""
        return self._pixel_size.um

    @property
    def pixel_size_origin(self) -> str:
        """Who states the pixel size."""
        return self._pixel_size.origin

    @property
    def acquired_at(self) -> str:
        """Date and time of the scan, verbatim."""
        return self._acquired_at

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the file gives reason to say."""
        return self._findings

    def read_region(self, level: int, region: Region) -> RgbImage:
        """Decode the tiles or strips a region touches.

        Raises
        ------
        SourceFileError
            One of them is damaged.
        """
        page = self._pages[level]
        # Tiles a writer left out are empty glass.
        pixels = np.full((region.height, region.width, 3), 255, dtype=np.uint8)
        high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        columns = -(-page.imagewidth // wide)
        for row in range(region.y // high, -(-(region.y + region.height) // high)):
            for column in range(region.x // wide, -(-(region.x + region.width) // wide)):
                segment = self._segment(page, row * columns + column)
                if segment is not None:
                    _paste(pixels, segment, region, x=column * wide, y=row * high)
        return pixels

    def _segment(self, page: tifffile.TiffPage, index: int) -> RgbImage | None:
        size = page.databytecounts[index]
        if size == 0:
            return None
        try:
            # These are read lazily and move the handle: ask for all of them before moving it ourselves.
            decode, offset, tables, header = page.decode, page.dataoffsets[index], page.jpegtables, page.jpegheader
            self._handle.seek(offset)
            data = self._handle.read(size)
            if page.compression in _JPEG_COMPRESSIONS and jpeg_pixels(data) > LARGEST_SEGMENT_PIXELS:
                raise ValueError("its JPEG claims more pixels than any tile has")
            segment, _, shape = decode(data, index, jpegtables=tables, jpegheader=header)
        except _FOREIGN as error:
            raise SourceFileError(
                what=f"A tile of the slide cannot be decoded: {error}.",
                where=f"File '{self._name}', {page.imagewidth} x {page.imagelength} px level, tile {index}.",
                remedy="Copy or export the slide again.",
            ) from error
        if segment is None:
            return None
        return np.asarray(segment[0, : shape[1], : shape[2], :3], dtype=np.uint8)


@contextlib.contextmanager
def open_tiff(path: Path, declared: tuple[StatedPixelSize, ...]) -> Iterator[TiffSlide]:
    """Open a slide in a TIFF file.

    Raises
    ------
    SourceFileError
        The file is cut off, claims what it cannot hold, or is not a slide in 8-bit colour.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Damaged tags overflow in tifffile's arithmetic before they are refused; the warning tells nobody anything.
            with np.errstate(all="ignore"):
                file = stack.enter_context(tifffile.TiffFile(path, _multifile=False))
                slide = TiffSlide(file, path, declared)
        except _FOREIGN as error:
            raise SourceFileError(
                what=f"The TIFF file is damaged or cut off: {error}.",
                where=f"File '{path.name}'.",
                remedy="Copy or export the slide again.",
            ) from error
        yield slide


def jpeg_pixels(data: bytes) -> int:
    """Count the pixels a JPEG claims in its frame header, before a decoder makes room for them; 0 where there is none."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:  # every header begins with this byte
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[place + 5 : place + 7], "big") * int.from_bytes(data[place + 7 : place + 9], "big")
        place += 2 + length
    return 0


def _slide_series(file: tifffile.TiffFile, name: str) -> tuple[int, tifffile.TiffPageSeries]:
    """Take the largest picture that is not a label, macro or thumbnail, with its number."""
    _refuse_long_chain(file, name)
    slides = [(number, series) for number, series in enumerate(file.series) if not _is_aside(series)]
    if not slides:
        raise SourceFileError(
            what="The file holds no picture of a slide.", where=f"File '{name}'.", remedy="Export the slide again."
        )
    return max(slides, key=lambda slide: slide[1].size)


def _refuse_long_chain(file: tifffile.TiffFile, name: str) -> None:
    try:
        file.pages[LARGEST_PAGES]
    except IndexError:
        return
    raise SourceFileError(
        what=f"The file has more than {LARGEST_PAGES} pages.", where=f"File '{name}'.", remedy="Export the slide again."
    )


def _is_aside(series: tifffile.TiffPageSeries) -> bool:
    return any(word in series.name.casefold() for word in NOT_THE_SLIDE)


def _checked_page(level: tifffile.TiffPageSeries, number: int, file: tifffile.TiffFile, path: Path) -> tifffile.TiffPage:
    """Return a level's page once its claims fit the file's bytes."""
    page = level.pages[0]
    where = f"File '{path.name}', pyramid level {number}."
    if not isinstance(page, tifffile.TiffPage):
        raise SourceFileError(what="The level has no page of its own.", where=where, remedy="Export the slide again.")
    wide, long = page.imagewidth, page.imagelength
    if page.samplesperpixel not in (3, 4) or page.bitspersample != 8 or page.planarconfig != 1:
        raise SourceFileError(
            what=f"The picture has {page.samplesperpixel} channels of {page.bitspersample} bits; "
            "brightfield slides have red, green and blue of 8 bits, stored together.",
            where=where,
            remedy="Export the slide as 8-bit RGB; fluorescence is not scored.",
        )
    high, across = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, wide)
    if wide < 1 or long < 1 or high < 1 or across < 1 or min(high, long) * across > LARGEST_SEGMENT_PIXELS:
        raise SourceFileError(
            what=f"The picture claims {wide} x {long} pixels in pieces of {across} x {high}.",
            where=where,
            remedy="Export the slide as a tiled TIFF with tiles of 256 to 2048 pixels.",
        )
    size = file.filehandle.size
    if wide * long > SMALL_CLAIM_PIXELS and wide * long * 3 > LARGEST_CLAIM_PER_BYTE * size:
        raise SourceFileError(
            what=f"The picture claims {wide} x {long} pixels, more than its {size} bytes can hold.",
            where=where,
            remedy="Export the slide again; if this repeats, have the file examined.",
        )
    expected = -(-wide // across) * -(-long // high)
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != expected or len(counts) != expected:
        raise SourceFileError(
            what=f"The picture needs {expected} tiles or strips, and the file lists {len(offsets)}.",
            where=where,
            remedy="Export the slide again.",
        )
    if not any(counts):
        raise SourceFileError(what="The pyramid level is empty.", where=where, remedy="Export the slide again.")
    if any(offset + count > size for offset, count in zip(offsets, counts, strict=True)):
        raise SourceFileError(
            what=f"The file is cut off: it ends after {size} bytes, before its pictures do.",
            where=where,
            remedy="Copy the slide again.",
        )
    return page


def _levels_of(pages: tuple[tifffile.TiffPage, ...], name: str) -> tuple[SlideLevel, ...]:
    full = pages[0]
    levels: list[SlideLevel] = []
    for number, page in enumerate(pages):
        across, down = full.imagewidth / page.imagewidth, full.imagelength / page.imagelength
        whole = round(across)
        if whole >= 1 and abs(full.imagewidth / whole - page.imagewidth) <= 1:
            across = float(whole)  # sizes are rounded to whole pixels; the factor is not
        rounding = 2.0 / min(page.imagewidth, page.imagelength)
        if across < 1 or abs(across - down) > (0.01 + rounding) * across or (levels and across <= levels[-1].downsample):
            raise SourceFileError(
                what=f"The pyramid level of {page.imagewidth} x {page.imagelength} pixels does not show the same picture as "
                f"{full.imagewidth} x {full.imagelength} pixels.",
                where=f"File '{name}', pyramid level {number}.",
                remedy="Export the slide again.",
            )
        levels.append(SlideLevel(width=page.imagewidth, height=page.imagelength, downsample=across))
    return tuple(levels)


def _paste(pixels: RgbImage, segment: RgbImage, region: Region, *, x: int, y: int) -> None:
    """Copy the part of a segment at (x, y) of the level that lies in the region."""
    left, top = max(x, region.x), max(y, region.y)
    right = min(x + segment.shape[1], region.x + region.width)
    bottom = min(y + segment.shape[0], region.y + region.height)
    if right > left and bottom > top:
        pixels[top - region.y : bottom - region.y, left - region.x : right - region.x] = segment[
            top - y : bottom - y, left - x : right - x
        ]


def _stated_by(page: tifffile.TiffPage, description: str, ome: str, series_index: int) -> Iterator[StatedPixelSize]:
    if ome:
        yield from _stated_by_ome(ome, series_index)
    elif found := re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", description):
        size = float(found.group(1))
        yield StatedPixelSize(origin="vendor metadata", x_um=size, y_um=size)
    unit = page.tags.get("ResolutionUnit")
    across, down = page.tags.get("XResolution"), page.tags.get("YResolution")
    um = _UM_BY_RESOLUTION_UNIT.get(int(unit.value)) if unit is not None else None
    if um is not None and across is not None and down is not None:
        (x_count, x_per), (y_count, y_per) = across.value, down.value
        if x_count > 0 and y_count > 0:
            yield StatedPixelSize(origin="resolution tag", x_um=um * x_per / x_count, y_um=um * y_per / y_count)


def _stated_by_ome(ome: str, series_index: int) -> Iterator[StatedPixelSize]:
    pictures = re.findall(r"<(?:\w+:)?Pixels\b([^>]*)>", html.unescape(ome))
    if series_index >= len(pictures):
        return
    attributes = dict(re.findall(r"(\w+)\s*=\s*[\"']([^\"']*)[\"']", pictures[series_index]))
    sizes = []
    for axis in ("X", "Y"):
        um = _UM_BY_OME_UNIT.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"))
        if um is None or f"PhysicalSize{axis}" not in attributes:
            return
        sizes.append(um * float(attributes[f"PhysicalSize{axis}"]))
    yield StatedPixelSize(origin="OME metadata", x_um=sizes[0], y_um=sizes[1])


def _acquired_at(page: tifffile.TiffPage, description: str, ome: str) -> str:
    if found := re.search(r"<(?:\w+:)?AcquisitionDate>([^<]*)<", ome):
        return found.group(1).strip()
    date, time = (re.search(rf"\b{word}\s*=\s*([^|]+)", description) for word in ("Date", "Time"))
    if date:
        return " ".join(part.group(1).strip() for part in (date, time) if part)
    tag = page.tags.get("DateTime")
    return str(tag.value).strip() if tag is not None else ""


def _label_findings(file: tifffile.TiffFile, name: str) -> Iterator[Finding]:
    labels = [series.name for series in file.series if any(word in series.name.casefold() for word in ("label", "macro"))]
    if labels:
        yield Finding(
            code="LABEL_IMAGE",
            severity=Severity.NOTE,
            where=f"File '{name}'.",
            message=f"The file holds a picture of the slide's label or whole glass ({', '.join(labels)}); it was not read.",
            remedy="A label may show a name; export slides without it where they leave the laboratory.",
        )
