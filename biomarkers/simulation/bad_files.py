"""Files made bad on purpose: what a laboratory drops by mistake, and must find in quarantine.

Knows how each is broken. Each assay has at least one; nothing else of a simulated study may be quarantined.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from biomarkers.results import Assay
from biomarkers.simulation.truth import TrueValue


class FileJob(Protocol):
    """One instrument's file or files, to be made anywhere; survives pickling."""

    @property
    def assay(self) -> Assay:
        """Whose inbox the files belong into."""
        ...

    @property
    def file_name(self) -> str:
        """Name of the instrument's file."""
        ...

    def write(self, folder: Path) -> tuple[TrueValue, ...]:
        """Write the files and return what is true of the specimens in them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BadFile:
    """A file that must end in quarantine, and why."""

    assay: Assay
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """What writes bad files, and the names that must end in quarantine because of it."""

    job: FileJob
    files: tuple[BadFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesJob:
    """A file of fixed content; nothing is true of it."""

    assay: Assay
    file_name: str
    content: bytes

    def write(self, folder: Path) -> tuple[TrueValue, ...]:
        """Write the file."""
        (folder / self.file_name).write_bytes(self.content)
        return ()


def small_png() -> bytes:
    """Return a valid picture of 8 by 8 grey pixels: sound, and no FCS file."""
    rows = b"".join(b"\x00" + bytes(range(8 * row, 8 * row + 8)) for row in range(8))
    chunks = (
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)),
        # Stored, not deflated: the bytes do not depend on the version of zlib.
        _chunk(b"IDAT", zlib.compress(rows, 0)),
        _chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
