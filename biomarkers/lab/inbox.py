"""Which dropped files are there, and which of them have come to rest.

Knows names, sizes and times. Must not open a file, nor know what is recorded. The scan is the truth: whatever lies in an inbox
is found by looking, whether or not an event told of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from biomarkers.lab.folders import INBOXES, LabFolder, LabSettings

TEMPORARY_ENDINGS = (".tmp", ".part", ".partial", ".crdownload", ".filepart")
TEMPORARY_BEGINNINGS = (".", "~$")


class DroppedFile(NamedTuple):
    """A file in an inbox as seen at one moment; a tuple, because ten thousand are made anew at every look.

    Attributes
    ----------
    kind
        The inbox: an assay's name, or ``study``.
    folder, name
        Where it lies, and its own name.
    instrument
        The subfolder's name, or empty.
    """

    folder: Path
    name: str
    kind: str
    instrument: str
    size: int
    mtime_ns: int
    inode: int

    @property
    def path(self) -> Path:
        """Where the file lies; made when asked for, since of ten thousand files at rest few are taken at a time."""
        return self.folder / self.name

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells the file from every other in the inboxes."""
        return self.kind, self.instrument, self.name

    @property
    def state(self) -> tuple[int, int, int]:
        """What changes when somebody still writes: size, time, inode."""
        return self.size, self.mtime_ns, self.inode


_IN_ORDER = itemgetter(*(DroppedFile._fields.index(name) for name in ("kind", "instrument", "name")))


def scan(folder: LabFolder, settings: LabSettings, inboxes: Collection[str] = INBOXES) -> tuple[DroppedFile, ...]:
    """List every file in the inboxes, or in some of them, sorted by kind, instrument and name.

    Symbolic links, hidden files and files that programs write for the moment are left alone.
    """
    found: list[DroppedFile] = []
    for kind in inboxes:
        found += _files(folder.inbox(kind), kind, "")
        for instrument in settings.instruments:
            if instrument.kind == kind:
                found += _files(folder.inbox(kind) / instrument.folder, kind, instrument.folder)
    return tuple(sorted(found, key=_IN_ORDER))


def _files(place: Path, kind: str, instrument: str) -> Iterator[DroppedFile]:
    try:
        entries = os.scandir(place)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            name = entry.name
            if name.startswith(TEMPORARY_BEGINNINGS) or name.lower().endswith(TEMPORARY_ENDINGS):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # taken away between listing and looking
            if stat.S_ISREG(status.st_mode):
                yield DroppedFile(place, name, kind, instrument, status.st_size, status.st_mtime_ns, status.st_ino)


class Settling:
    """Remembers what was seen when, to tell which files have come to rest.

    A file has settled when its size, time and inode have not changed for the settling time. A file whose own modification time
    lies that far back has rested already; a time in the future proves nothing, so such a file is watched instead.
    """

    def __init__(self, settling_seconds: float) -> None:
        self._settling_seconds = settling_seconds
        self._first_seen: dict[tuple[str, str, str], tuple[tuple[int, int, int], float]] = {}

    def settled(
        self, files: Iterable[DroppedFile], *, monotonic: float, wall_clock: float
    ) -> tuple[tuple[DroppedFile, ...], float]:
        """Return the files at rest, and the seconds until the next of the others may be; infinite if there is none.

        Parameters
        ----------
        monotonic, wall_clock
            The present moment by both clocks, in seconds.
        """
        resting, remaining = [], float("inf")
        seen: dict[tuple[str, str, str], tuple[tuple[int, int, int], float]] = {}
        for file in files:
            place = file.place
            state, since = self._first_seen.get(place, (file.state, monotonic))
            if state != file.state:
                since = monotonic
            seen[place] = (file.state, since)
            age = wall_clock - file.mtime_ns / 1e9
            rested = max(monotonic - since, age if age > 0 else 0.0)
            if rested >= self._settling_seconds:
                resting.append(file)
            else:
                remaining = min(remaining, self._settling_seconds - rested)
        self._first_seen = seen
        return tuple(resting), remaining


def by_stem(files: Iterable[DroppedFile]) -> Mapping[tuple[str, str], tuple[DroppedFile, ...]]:
    """Group files that belong together: those of one kind whose names are equal up to their endings."""
    groups: dict[tuple[str, str], list[DroppedFile]] = {}
    for file in files:
        groups.setdefault((file.kind, stem(file.name)), []).append(file)
    return {key: tuple(group) for key, group in groups.items()}


LABEL_ENDINGS = (".labels.tif", ".labels.tiff", ".labels.png", ".labels.npy")
CLASS_ENDINGS = (".classes.csv",)
COMPOUND_ENDINGS = (
    *(".map.csv", ".map.xlsx", ".map.toml", ".ome.tiff", ".ome.tif", ".geojson.gz"),
    *LABEL_ENDINGS,
    *CLASS_ENDINGS,
)


def stem(name: str) -> str:
    """Return a file's name without its ending: ``P1.map.csv`` and ``P1.txt`` share ``P1``."""
    small = name.lower()
    if small.endswith(COMPOUND_ENDINGS):
        return next(name[: -len(ending)] for ending in COMPOUND_ENDINGS if small.endswith(ending))
    return name.rpartition(".")[0] or name


def is_plate_map(name: str) -> bool:
    """Whether a file of the ELISA inbox is a plate map, by the ending the laboratory gives it."""
    return name.lower().endswith((".map.csv", ".map.xlsx"))


def is_annotation(name: str) -> bool:
    """Whether a file holds regions drawn on the slide beside it."""
    return name.lower().endswith((".geojson", ".geojson.gz"))


def is_label_image(name: str) -> bool:
    """Whether a file holds nuclei that another program found on the slide beside it."""
    return name.lower().endswith(LABEL_ENDINGS)


def is_class_list(name: str) -> bool:
    """Whether a file says what the cells of a label image are."""
    return name.lower().endswith(CLASS_ENDINGS)


def is_sidecar(name: str) -> bool:
    """Whether a file says something about the one beside it that shares its name."""
    return name.lower().endswith(".toml")
