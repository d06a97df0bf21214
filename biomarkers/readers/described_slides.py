"""What every opened slide tells of itself, whichever library reads it.

Knows the facts that are settled once, when a slide is opened. Must not know how pixels are read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from biomarkers.ihc.slide import SlideLevel
from biomarkers.readers.pixel_size import PixelSize
from biomarkers.results import Finding


class DescribedSlide:
    """Name, pyramid, pixel size, time, scanner and findings of a slide that belongs to the process that opened it."""

    def __init__(
        self,
        *,
        name: str,
        levels: Sequence[SlideLevel],
        pixel_size: PixelSize,
        acquired_at: str = "",
        scanner: str = "",
        findings: Sequence[Finding] = (),
    ) -> None:
        self._name = name
        self._levels = tuple(levels)
        self._pixel_size = pixel_size
        self._acquired_at = acquired_at
        self._scanner = scanner
        self._findings = tuple(findings)
        self._process = os.getpid()

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
        """Date and time of the scan, verbatim; empty where the file does not say."""
        return self._acquired_at

    @property
    def scanner(self) -> str:
        """Which scanner made the picture, by its own name; empty where the file does not say."""
        return self._scanner

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the file gives reason to say."""
        return self._findings

    def _require_own_process(self) -> None:
        """Raise where another process reads: two would move one position in the file and take each other's bytes for pixels."""
        if os.getpid() != self._process:
            raise RuntimeError("a slide belongs to the process that opened it; open it again in this one")
