"""Original bytes kept by their digest, and dropped files moved to where they end.

Knows how bytes are taken in without being lost or changed: copy while hashing, flush, rename, make read-only; the dropped file
stays until what it led to is committed. Must not know what a file means.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biomarkers.errors import (
    BiomarkersError,
    LabFolderError,
    SourceFileError,
    TemporarilyUnavailableError,
    is_of_the_machine,
)
from biomarkers.lab.drafts import is_left_behind, own_name, write_whole
from biomarkers.lab.folders import LabFolder, sync_folder
from biomarkers.lab.pressure import require_room

CHUNK_BYTES = 1 << 20


INCOMING = ".incoming-"
"""How the names of files begin that are being copied in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Bytes that are now in the archive."""

    sha256: str
    size: int


def raw_path(folder: LabFolder, sha256: str) -> Path:
    """Return where the bytes of a digest lie."""
    return folder.raw / sha256[:2] / sha256[2:4] / sha256


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in portions."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def altered_bytes(folder: LabFolder) -> Iterator[str]:
    """Read every original again and give the name of each whose bytes are no longer those of its digest."""
    for path in sorted(folder.raw.glob("*/*/*")):
        if file_digest(path) != path.name:
            yield path.name


def admit(folder: LabFolder, dropped: Path) -> Admitted:
    """Copy a dropped file into the archive under its digest; the dropped file is left as it is.

    Raises
    ------
    TemporarilyUnavailableError
        The file changed while it was read, or the disk is nearly full; it is tried again.
    SourceFileError
        The file is no regular file or cannot be read.
    LabFolderError
        The archive cannot be written.
    """
    incoming = folder.raw / f"{INCOMING}{own_name()}"
    require_room(folder.raw, for_bytes=_size(dropped))
    try:
        digest, size = _copy(dropped, incoming)
        target = raw_path(folder, digest)
        if target.exists():
            incoming.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            incoming.chmod(0o444)
            incoming.rename(target)
            sync_folder(target.parent)
    except BaseException:
        incoming.unlink(missing_ok=True)
        raise
    return Admitted(sha256=digest, size=size)


def _size(dropped: Path) -> int:
    try:
        return dropped.lstat().st_size
    except OSError as error:
        raise _unreadable(dropped, error) from error


def _copy(dropped: Path, incoming: Path) -> tuple[str, int]:
    try:
        descriptor = os.open(dropped, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise _unreadable(dropped, error) from error
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as source:
        before = os.fstat(source.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise SourceFileError(
                what="This is no regular file.", where=f"File '{dropped.name}'.", remedy="Drop the instrument's file itself."
            )
        try:
            with incoming.open("xb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
        except OSError as error:
            raise _unwritable(dropped, error) from error
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise TemporarilyUnavailableError(
            what="The file changed while it was read.",
            where=f"File '{dropped.name}'.",
            remedy="Nothing to do; it is taken when it rests.",
        )
    return digest.hexdigest(), after.st_size


def _unreadable(dropped: Path, error: OSError) -> BiomarkersError:
    if error.errno == errno.ENOENT or is_of_the_machine(error):
        return TemporarilyUnavailableError(
            what=f"The file cannot be read at the moment: {error.strerror}.",
            where=f"File '{dropped.name}'.",
            remedy="Nothing to do; it is tried again.",
        )
    return SourceFileError(
        what=f"The file cannot be read: {error.strerror}.", where=f"File '{dropped.name}'.", remedy="Check its rights."
    )


def _unwritable(dropped: Path, error: OSError) -> BiomarkersError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
        return TemporarilyUnavailableError(
            what=f"The archive takes no more bytes: {error.strerror}.",
            where=f"File '{dropped.name}'.",
            remedy="Free space on the laboratory's disk; the file waits in its inbox.",
        )
    return LabFolderError(
        what=f"The archive cannot be written: {error.strerror}.", where="Folder 'raw'.", remedy="Check its rights."
    )


@contextmanager
def named(folder: LabFolder, owner: str, files: dict[str, str]) -> Iterator[Path]:
    """Give archived bytes their own names for as long as they are worked on.

    Readers name the file in their messages and some look at its ending, so a folder of links is made: name to digest.

    Parameters
    ----------
    owner
        Unique among those at work at one time.
    files
        Digest by file name.
    """
    place = folder.work / owner
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        for name, sha256 in files.items():
            (place / name).symlink_to(os.path.relpath(raw_path(folder, sha256), place))
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def put_away(folder: LabFolder, dropped: Path, target_folder: Path, *, why: BiomarkersError | None = None) -> str | None:
    """Move a dropped file into a folder, never over another; return the name it got there.

    A second file of the same name gets a suffix. Safe to call again after a crash at any point. A file on a share that may
    only be read stays where it is; then None is returned.

    Parameters
    ----------
    why
        For quarantine: what the note beside the file says. It is there before the file leaves its inbox.
    """
    target_folder.mkdir(parents=True, exist_ok=True)
    if not os.access(dropped.parent, os.W_OK):
        _explain(folder, dropped, target_folder, why)
        return None
    for name in _candidates(dropped.name):
        target = target_folder / name
        if not _linked(dropped, target):
            continue
        if why is not None:
            write_reason(folder, target_folder, name, why)
        try:
            _leave(dropped, target)
        except OSError as error:
            if error.errno not in _MAY_NOT_BE_MOVED or not dropped.exists():
                raise
            target.unlink()
            _explain(folder, dropped, target_folder, why)
            return None
        sync_folder(target_folder)
        return name
    raise AssertionError("there are endless names")


def moved_to(path: Path, target: Path) -> bool:
    """Move a file to a name, never over another file; False where that name is taken. Safe to call again after a crash."""
    if not _linked(path, target):
        return False
    _leave(path, target)
    sync_folder(target.parent)
    return True


_MAY_NOT_BE_MOVED = {errno.EACCES, errno.EPERM, errno.EROFS}


def _explain(folder: LabFolder, dropped: Path, target_folder: Path, why: BiomarkersError | None) -> None:
    """Put the note of a file that cannot be moved to where the file would have gone."""
    if why is not None:
        write_reason(folder, target_folder, dropped.name, why)


def _linked(dropped: Path, target: Path) -> bool:
    """Give the file a second name, or claim that name where there are no hard links; False where another file has it."""
    try:
        os.link(dropped, target, follow_symlinks=False)
    except FileExistsError:
        return target.samefile(dropped)  # linked before a crash, not yet removed
    except OSError:
        return _claim(target)
    return True


def _leave(dropped: Path, target: Path) -> None:
    """Give up the first of two names, or move the bytes where the second was only claimed."""
    if target.samefile(dropped):
        dropped.unlink()
    else:
        shutil.move(dropped, target)


def _claim(target: Path) -> bool:
    try:
        target.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _candidates(name: str) -> Iterator[str]:
    yield name
    stem, dot, ending = name.partition(".")
    count = 2
    while True:
        yield f"{stem}~{count}{dot}{ending}"
        count += 1


def write_reason(folder: LabFolder, target_folder: Path, name: str, error: BiomarkersError) -> None:
    """Write the note beside a quarantined file: what happened, where, what to do; whole or not at all."""
    target_folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for fault in error.faults:
        parts = {"What happened: ": fault.what, "Where:         ": fault.where, "What to do:    ": fault.remedy}
        lines += [*(f"{heading}{told}" for heading, told in parts.items() if told), ""]
    write_whole(folder, target_folder / f"{name}.reason.txt", "\n".join(lines).encode())


def remove_leftovers(folder: LabFolder, *, is_alive: Collection[int]) -> None:
    """Remove half-copied files, drafts and links of processes that are no more; ``is_alive`` holds this host's living ones."""
    for leftover in folder.raw.glob(f"{INCOMING}*"):
        if is_left_behind(leftover, leftover.name.removeprefix(INCOMING), is_alive=is_alive):
            leftover.unlink(missing_ok=True)
    if not folder.work.is_dir():
        return
    for place in folder.work.iterdir():
        if not is_left_behind(place, place.name, is_alive=is_alive):
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
