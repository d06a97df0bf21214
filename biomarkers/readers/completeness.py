"""Whether a dropped file is all there, as far as its own format tells before it is read.

Knows where each format says how long it is. Must not judge contents: a file that is complete may still be wrong, and one of
a format that says nothing of its length counts as complete once it rests.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ZIP_END = b"PK\x05\x06"
ZIP_END_MOST_BYTES = 22 + 65_535
"""A zip file ends with its directory's end record, after which at most a comment of this length follows."""

MOST_DIRECTORIES = 64
"""Image directories followed in a TIFF before the rest is believed; a slide has some ten."""

MOST_ENTRIES = 4096
"""Entries of one image directory; real ones have some thirty."""


def is_whole(path: Path) -> bool:
    """Tell whether a file has arrived whole, by its format's own account.

    A file that cannot be read at the moment counts as not whole; it is looked at again.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(58)
            probe = _probe(start)
            return True if probe is None else probe(file, start, size)
    except OSError:
        return False


def _probe(start: bytes) -> Callable[[BinaryIO, bytes, int], bool] | None:
    if start.startswith(b"FCS"):
        return _fcs_is_whole
    if start.startswith(b"PK\x03\x04"):
        return _zip_is_whole
    if start[:4] in {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}:
        return _tiff_is_whole
    if start.startswith(b"\x89PNG"):
        return _png_is_whole
    if start.startswith(b"\xff\xd8"):
        return _jpeg_is_whole
    return None


def _fcs_is_whole(file: BinaryIO, start: bytes, size: int) -> bool:
    """Hold the file's size against the last bytes its header names; a 0 there means that the text names them."""
    try:
        text_end, data_end = int(start[18:26]), int(start[34:42] or b"0")
    except ValueError:
        return True  # not for this module to judge
    if max(text_end, data_end) >= size:
        return False
    if data_end > 0:
        return True
    file.seek(0)
    text = file.read(text_end + 1)
    found = text.upper().rpartition(b"$ENDDATA")[2]
    digits = found[1:].split(found[:1])[0].strip() if found else b""
    return not digits.isdigit() or int(digits) < size


def _zip_is_whole(file: BinaryIO, _start: bytes, size: int) -> bool:
    file.seek(max(0, size - ZIP_END_MOST_BYTES))
    return ZIP_END in file.read()


def _png_is_whole(file: BinaryIO, _start: bytes, size: int) -> bool:
    file.seek(max(0, size - 12))
    return file.read(8)[4:] == b"IEND"


def _jpeg_is_whole(file: BinaryIO, _start: bytes, size: int) -> bool:
    file.seek(max(0, size - 64))
    return b"\xff\xd9" in file.read()


TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325


def _tiff_is_whole(file: BinaryIO, start: bytes, size: int) -> bool:
    """Follow the image directories; each, and the last picture bytes it names, must lie within the file."""
    tiff = _Tiff(file=file, size=size, order="<" if start[:2] == b"II" else ">", is_big=start[2:4] in {b"+\x00", b"\x00+"})
    (place,) = struct.unpack_from(tiff.word, start, 8 if tiff.is_big else 4)
    for _ in range(MOST_DIRECTORIES):
        if place == 0:
            return True
        following = tiff.directory(place)
        if following is None:
            return False
        place = following
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiff:
    """A TIFF of 32-bit or 64-bit offsets in either byte order, and how much of it has arrived."""

    file: BinaryIO
    size: int
    order: str
    is_big: bool

    @property
    def word(self) -> str:
        return f"{self.order}{'Q' if self.is_big else 'I'}"

    def directory(self, place: int) -> int | None:
        """Return where the next directory lies; None if this one, or what it names, is not all there."""
        count_form, entry_bytes = (f"{self.order}Q", 20) if self.is_big else (f"{self.order}H", 12)
        width = struct.calcsize(self.word)
        if place + struct.calcsize(count_form) > self.size:
            return None
        self.file.seek(place)
        (entries,) = struct.unpack(count_form, self.file.read(struct.calcsize(count_form)))
        table = self.file.read(entries * entry_bytes) if entries <= MOST_ENTRIES else b""
        tail = self.file.read(width)
        if len(table) < entries * entry_bytes or len(tail) < width:
            return None
        values = {}
        for number in range(entries):
            (tag,) = struct.unpack_from(f"{self.order}H", table, number * entry_bytes)
            if tag in {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}:
                values[tag] = self._last_value(table, number * entry_bytes)
        for offsets, lengths in ((STRIP_OFFSETS, STRIP_BYTES), (TILE_OFFSETS, TILE_BYTES)):
            last, long = values.get(offsets, 0), values.get(lengths, 0)
            if last is None or long is None or last + long > self.size:
                return None
        (following,) = struct.unpack(self.word, tail)
        return int(following)

    def _last_value(self, table: bytes, entry: int) -> int | None:
        """Read the last of a tag's values; None if it lies outside the file."""
        _, kind, length = struct.unpack_from(f"{self.order}HH{self.word[1]}", table, entry)
        width = TYPE_BYTES.get(kind, 0)
        form = {2: "H", 4: "I", 8: "Q"}.get(width)
        if form is None or length == 0:
            return 0
        inline, start = (8, entry + 12) if self.is_big else (4, entry + 8)
        if width * length <= inline:
            return int(struct.unpack_from(f"{self.order}{form}", table, start + width * (length - 1))[0])
        (outside,) = struct.unpack_from(self.word, table, start)
        last = outside + width * (length - 1)
        if last + width > self.size:
            return None
        self.file.seek(last)
        return int(struct.unpack(f"{self.order}{form}", self.file.read(width))[0])
