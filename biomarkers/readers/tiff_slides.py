"""TIFF in its many forms (OME-TIFF, SVS, NDPI, QPTIFF, tiled and pyramidal) → levels and regions.

Knows which pages of a TIFF are the slide and how to read a part of one. Must not know stains or the study. Only claims that
the file's own bytes can keep are believed, and label and macro pictures are never read.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region, RgbImage, SlideLevel
from biomarkers.readers import tiff_metadata
from biomarkers.readers.described_slides import DescribedSlide
from biomarkers.readers.pixel_size import StatedPixelSize, settle_pixel_size

LARGEST_SEGMENT_PIXELS = 64_000_000
"""A tile or strip is decoded in one piece; a larger one would take a GB."""

LARGEST_CLAIM_PER_BYTE = 1000
"""Uncompressed bytes that one byte of a large file may stand for; JPEG on empty glass reaches about 300."""

SMALL_CLAIM_PIXELS = 100_000_000
"""Below this a blank picture may compress as well as it likes."""

_JPEG, _JPEG_2000, _LZW, _WEBP = frozenset({6, 7}), frozenset({33003, 33004, 33005, 34712}), 5, 50001
_COMPRESSIONS = frozenset({1, _LZW, 8, 32946, 32773, 34925, 50000, _WEBP}) | _JPEG | _JPEG_2000
"""None, LZW, deflate, pack bits, LZMA, Zstandard, WebP, JPEG and JPEG 2000: what scanners and programs write slides with."""

_LARGEST_UNCHECKED_LZW = 200_000
"""LZW packs up to 1300 bytes into one; shorter pieces stay harmless whatever they hold."""

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


class StitchedSlideError(Exception):
    """The tiles of the TIFF overlap and have to be stitched, which OpenSlide does."""


class TiffSlide(DescribedSlide):
    """A slide in an open TIFF file; made by :func:`open_tiff`. Belongs to the process that opened it."""

    def __init__(self, file: tifffile.TiffFile, path: Path, declared: tuple[StatedPixelSize, ...]) -> None:
        number, series = _slide_series(file, path.name)
        planes = [page for page in series.levels[0].pages if isinstance(page, tifffile.TiffPage)]
        plane = tiff_metadata.in_focus(planes)
        self._pages = tuple(_checked_page(level, plane, number, file, path) for number, level in enumerate(series.levels))
        self._handle = file.filehandle
        stated = (*declared, *tiff_metadata.stated_sizes(file, self._pages[0], number))
        super().__init__(
            name=path.name,
            levels=_levels_of(self._pages, path.name),
            pixel_size=settle_pixel_size(stated, name=path.name),
            acquired_at=tiff_metadata.acquired_at(file, self._pages[0]),
            scanner=tiff_metadata.scanner(file, self._pages[0]),
            findings=tuple(tiff_metadata.findings(file, series, len(planes), path.name)),
        )

    def read_region(self, level: int, region: Region) -> RgbImage:
        """Decode the tiles or strips a region touches.

        Raises
        ------
        SourceFileError
            One of them is damaged.
        """
        self._require_own_process()
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
            _refuse_bomb(page, data, has_header=header is not None)
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
    StitchedSlideError
        It is a Ventana BIF.
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


def _refuse_bomb(page: tifffile.TiffPage, data: bytes, *, has_header: bool) -> None:
    """Refuse a tile that would grow beyond all tiles when it is decoded; deflate, LZMA and Zstandard are held by tifffile."""
    claimed = 0
    if page.compression in _JPEG and not has_header:
        claimed = jpeg_pixels(data)
        if not claimed:
            raise ValueError("its JPEG does not say how large it is")
    elif page.compression in _JPEG_2000:
        claimed = jpeg_2000_pixels(data)
    elif page.compression == _WEBP:
        claimed = webp_pixels(data)
    if claimed > LARGEST_SEGMENT_PIXELS:
        raise ValueError("it claims more pixels than any tile has")
    if page.compression == _LZW and len(data) > _LARGEST_UNCHECKED_LZW:
        most = (
            page.tilelength * page.tilewidth if page.is_tiled else page.rowsperstrip * page.imagewidth
        ) * page.samplesperpixel
        if len(imagecodecs.lzw_decode(data, out=most + 4097)) > most + 4096:
            raise ValueError("it holds more pixels than a tile has")


def jpeg_pixels(data: bytes) -> int:
    """Count the pixels a JPEG claims in its frame header, before a decoder makes room for them; 0 where there is none."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:  # every header begins with this byte
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xFF:
            place += 1  # headers may be padded
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[place + 5 : place + 7], "big") * int.from_bytes(data[place + 7 : place + 9], "big")
        place += 2 + length
    return 0


def jpeg_2000_pixels(data: bytes) -> int:
    """Count the pixels a JPEG 2000 claims in its size header; of several headers the largest claim."""
    claims, place = [], data.find(b"\xff\x4f\xff\x51")
    while place >= 0 and place + 24 <= len(data):
        right, bottom, left, top = struct.unpack_from(">4I", data, place + 8)
        claims.append(int(max(0, right - left) * max(0, bottom - top)))
        place = data.find(b"\xff\x4f\xff\x51", place + 4)
    if not claims:
        raise ValueError("its JPEG 2000 does not say how large it is")
    return max(claims)


def webp_pixels(data: bytes) -> int:
    """Count the pixels a WebP claims."""
    kind = data[12:16]
    if data[:4] != b"RIFF" or len(data) < 30:
        raise ValueError("its WebP does not say how large it is")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        return (int.from_bytes(data[24:27], "little") + 1) * (int.from_bytes(data[27:30], "little") + 1)
    return (int.from_bytes(data[26:28], "little") & 0x3FFF) * (int.from_bytes(data[28:30], "little") & 0x3FFF)


def _slide_series(file: tifffile.TiffFile, name: str) -> tuple[int, tifffile.TiffPageSeries]:
    """Take the largest picture that is not a label, macro or thumbnail, with its number."""
    if tiff_metadata.chains_too_many_pages(file):
        raise SourceFileError(
            what=f"The file has more than {tiff_metadata.LARGEST_PAGES} pages.",
            where=f"File '{name}'.",
            remedy="Export the slide again.",
        )
    _refuse_cut_chain(file, name)
    if file.is_bif:
        raise StitchedSlideError
    slides = [(number, series) for number, series in enumerate(file.series) if not tiff_metadata.aside_kind(series)]
    if not slides:
        raise SourceFileError(
            what="The file holds no picture of a slide.", where=f"File '{name}'.", remedy="Export the slide again."
        )
    return max(slides, key=lambda slide: slide[1].size)


def _refuse_cut_chain(file: tifffile.TiffFile, name: str) -> None:
    """Refuse a file whose list of pictures goes on beyond its end: a copy that is not complete yet, or never was."""
    handle, form = file.filehandle, file.tiff
    place = form.offsetsize if form.offsetsize == 8 and not form.is_ndpi else 4
    if len(file.pages):
        last = file.pages[len(file.pages) - 1].offset
        handle.seek(last)
        (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
        place = last + form.tagnosize + tags * form.tagsize
    handle.seek(place)
    link = handle.read(form.offsetsize)
    if len(link) < form.offsetsize or struct.unpack(form.offsetformat, link)[0] >= handle.size:
        raise SourceFileError(
            what=f"The file is cut off: it ends after {handle.size} bytes, before the list of its pictures does.",
            where=f"File '{name}'.",
            remedy="Copy the slide again.",
        )


def _checked_page(
    level: tifffile.TiffPageSeries, plane: int, number: int, file: tifffile.TiffFile, path: Path
) -> tifffile.TiffPage:
    """Return a level's page once its claims fit the file's bytes."""
    page = level.pages[plane] if plane < len(level.pages) else None
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
    if page.compression not in _COMPRESSIONS:
        raise SourceFileError(
            what=f"The picture is compressed in a way (number {int(page.compression)}) that slides do not use.",
            where=where,
            remedy="Export the slide with JPEG, JPEG 2000, LZW or deflate.",
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
