"""Slides kept open while somebody looks at them: tiles, cells and regions, in bounded memory.

Knows where a slide's bytes, cells and annotation lie, and what of it is worth keeping. Must not know requests or pages.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from biomarkers.errors import BiomarkersError
from biomarkers.ihc.regions import Annotation
from biomarkers.ihc.slide import Region, SlideImage
from biomarkers.lab.archive import raw_path
from biomarkers.laboratory import Laboratory
from biomarkers.readers.annotations import read_annotations
from biomarkers.readers.cell_places import CellPlaces, read_cell_places
from biomarkers.readers.slide_tiles import TilePyramid, pyramid_of, tile_jpeg
from biomarkers.readers.slides import open_slide
from biomarkers.store import lookups
from biomarkers.web.refusals import nothing_here

OPEN_BYTES = 320_000_000
"""Of pictures held whole; a slide in tiles counts as little, a plain field as its pixels. One is always kept."""

TILE_BYTES = 48_000_000
CELL_BYTES = 96_000_000
REGION_BYTES = 16_000_000

_TILED_COST = 8_000_000
_CELL_COST = 17
_CORNER_COST = 64

CELL_TABLE = "cells.parquet"

Kept = TypeVar("Kept")


class Shelf(Generic[Kept]):
    """What was made last, by name, up to so many bytes; of several who ask for one thing at once, one makes it."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[str, tuple[Kept, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes_held(self) -> int:
        """Count what is held."""
        with self._lock:
            return sum(cost for _, cost in self._held.values())

    def everything(self) -> list[Kept]:
        """Return all that is held."""
        with self._lock:
            return [kept for kept, _ in self._held.values()]

    def get(self, name: str) -> Kept | None:
        """Return what is held under a name, and note that it was asked for."""
        with self._lock:
            found = self._held.get(name)
            if found is None:
                return None
            self._held.move_to_end(name)
            return found[0]

    def put(self, name: str, kept: Kept, cost: int) -> list[Kept]:
        """Hold something; return what had to go for it, the longest unasked first. The newest stays whatever its size."""
        with self._lock:
            self._held[name] = (kept, cost)
            self._held.move_to_end(name)
            gone: list[Kept] = []
            while len(self._held) > 1 and sum(one for _, one in self._held.values()) > self._most:
                gone.append(self._held.popitem(last=False)[1][0])
            return gone


@dataclass(slots=True, kw_only=True)
class _OpenSlide:
    """A slide's open file; one at a time reads from it, for its position is shared."""

    slide: SlideImage
    pyramid: TilePyramid
    closing: ExitStack
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False

    def close(self) -> None:
        with self.lock:
            if not self.is_closed:
                self.is_closed = True
                self.closing.close()


class SlideKeeper:
    """Opens slides of one laboratory when they are looked at, and lets go of those nobody looks at any more."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._opening = threading.Lock()
        self._slides: Shelf[_OpenSlide] = Shelf(OPEN_BYTES)
        self._tiles: Shelf[bytes] = Shelf(TILE_BYTES)
        self._cells: Shelf[CellPlaces] = Shelf(CELL_BYTES)
        self._regions: Shelf[tuple[Annotation, ...]] = Shelf(REGION_BYTES)

    def pyramid(self, run_id: str) -> TilePyramid:
        """Return the size of a slide and its levels.

        Raises
        ------
        RequestRefusedError
            There is no such slide.
        SourceFileError
            Its bytes cannot be read.
        """
        with self._reading(run_id) as held:
            return held.pyramid

    def tile(self, run_id: str, level: int, column: int, row: int) -> bytes:
        """Return a tile as JPEG.

        Raises
        ------
        RequestRefusedError
            There is no such slide or tile.
        SourceFileError
            Its bytes cannot be read.
        """

        def region(pyramid: TilePyramid) -> tuple[Region | None, int]:
            return pyramid.tile(level, column, row), pyramid.reduction(level) if 0 <= level <= pyramid.top else 1

        return self._picture(run_id, f"{run_id}/{level}/{column}/{row}", region)

    def field(self, run_id: str, x: int, y: int, side: int) -> bytes:
        """Return a square field at full resolution as JPEG, moved onto the slide where it would lie beyond its edge."""

        def region(pyramid: TilePyramid) -> tuple[Region | None, int]:
            width, height = min(side, pyramid.width), min(side, pyramid.height)
            left, top = min(max(0, x), pyramid.width - width), min(max(0, y), pyramid.height - height)
            return Region(x=left, y=top, width=width, height=height), 1

        return self._picture(run_id, f"{run_id}/field/{x}/{y}/{side}", region)

    def _picture(self, run_id: str, name: str, region: Callable[[TilePyramid], tuple[Region | None, int]]) -> bytes:
        found = self._tiles.get(name)
        if found is None:
            with self._reading(run_id) as held:
                place, reduction = region(held.pyramid)
                if place is None:
                    raise nothing_here("The slide has no such tile.")
                found = tile_jpeg(held.slide, place, reduction)
            self._tiles.put(name, found, len(found))
        return found

    def cells(self, run_id: str) -> CellPlaces | None:
        """Return where a slide's cells lie; None where there is no table of them, or none that can be read."""
        table = self._laboratory.folder.evidence / run_id / CELL_TABLE
        try:
            changed = table.stat().st_mtime_ns
        except OSError:
            return None
        name = f"{run_id}/{changed}"
        found = self._cells.get(name)
        if found is None:
            try:
                found = read_cell_places(table)
            except BiomarkersError:  # evidence can be made again at any time, and no number hangs on it
                return None
            self._cells.put(name, found, _CELL_COST * len(found))
        return found

    def regions(self, *, sha256: str, width: int, height: int) -> tuple[Annotation, ...]:
        """Return the regions of an archived annotation.

        Raises
        ------
        SourceFileError
            It cannot be read.
        """
        found = self._regions.get(sha256)
        if found is None:
            found = read_annotations(raw_path(self._laboratory.folder, sha256), width=width, height=height)
            corners = sum(len(ring) for annotation in found for ring in annotation.rings)
            self._regions.put(sha256, found, _CORNER_COST * corners)
        return found

    def close(self) -> None:
        """Let go of every file."""
        for held in self._slides.everything():
            held.close()

    @contextmanager
    def _reading(self, run_id: str) -> Iterator[_OpenSlide]:
        """Give an open slide to one reader at a time."""
        while True:
            held = self._slides.get(run_id) or self._opened(run_id)
            with held.lock:
                if held.is_closed:  # let go of between being found and being asked for
                    continue
                yield held
                return

    def _opened(self, run_id: str) -> _OpenSlide:
        with self._opening:
            held = self._slides.get(run_id)
            if held is not None and not held.is_closed:
                return held
            with self._laboratory.database.read() as reading:
                entry = lookups.current_analysis(reading, run_id=run_id)
            if entry is None or entry.assay != "ihc" or entry.step:
                raise nothing_here("There is no such slide.")
            stack = ExitStack()
            slide = stack.enter_context(open_slide(raw_path(self._laboratory.folder, entry.instrument_sha256)))
            pyramid = pyramid_of(slide)
            held = _OpenSlide(slide=slide, pyramid=pyramid, closing=stack)
            is_plain = len(slide.levels) == 1 and pyramid.width * pyramid.height <= 80_000_000
            gone = self._slides.put(run_id, held, 3 * pyramid.width * pyramid.height if is_plain else _TILED_COST)
        for one in gone:
            one.close()
        return held
