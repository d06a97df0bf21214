"""How much room the laboratory's disk still has, and when nothing more may be taken in.

Knows free bytes and thresholds. Must not know what the bytes are for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from biomarkers.errors import TemporarilyUnavailableError

LEAST_FREE_BYTES = 1_000_000_000
"""Below this much free space nothing is taken in: results, their pages and the database itself need room to be written."""

COPIES_OF_A_FILE = 2
"""A file needs room for its copy in the archive, and as much again for what is made of it."""

WARN_USED_FRACTION = 0.9
"""From this share of a full disk on, operators are warned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a file system holds, in bytes."""

    free_bytes: int
    total_bytes: int

    @property
    def used_fraction(self) -> float:
        """Share of the file system that is used."""
        return 1.0 - self.free_bytes / self.total_bytes if self.total_bytes else 1.0


def room(place: Path) -> Room:
    """Return the room on the file system of a folder, as far as this user may fill it."""
    found = os.statvfs(place)
    return Room(free_bytes=found.f_bavail * found.f_frsize, total_bytes=found.f_blocks * found.f_frsize)


def require_room(place: Path, *, for_bytes: int, least_free_bytes: int = LEAST_FREE_BYTES) -> None:
    """Refuse to take a file in while the disk is nearly full; the file waits where it is.

    Raises
    ------
    TemporarilyUnavailableError
        Less is free than :data:`LEAST_FREE_BYTES` and :data:`COPIES_OF_A_FILE` times the file.
    """
    needed = least_free_bytes + COPIES_OF_A_FILE * for_bytes
    found = room(place)
    if found.free_bytes < needed:
        raise TemporarilyUnavailableError(
            what=f"The disk is nearly full: {found.free_bytes / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed.",
            where=f"File system of '{place}'.",
            remedy="Free space on the laboratory's disk; the file waits in its inbox and nothing is lost.",
        )
