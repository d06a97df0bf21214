"""Files and folders that a process makes for the moment: names that tell whose they are, and what becomes of those left behind.

Knows processes and hosts by their names; several hosts may share one laboratory's folder. Must not know what the files are.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
import uuid
from collections.abc import Collection
from pathlib import Path

from biomarkers.lab.folders import INBOXES, LabFolder

OTHER_HOSTS_SECONDS = 86_400.0
"""How long what another host made for the moment is left alone: which of its processes live cannot be seen from here."""

RECEIVING = ".receiving-"
"""How the names of files begin that are being received into an inbox; hidden, so that no scan takes them."""


def own_name() -> str:
    """Make a name that no other process on any host makes, and that tells whose it is."""
    return f"{os.getpid()}-{uuid.uuid4().hex}-{socket.gethostname()}"


def living_processes() -> frozenset[int]:
    """Return the ids of this host's processes."""
    return frozenset(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def remove_unfinished_uploads(folder: LabFolder) -> None:
    """Remove what was being received into an inbox by a process that is no more; nobody was told that it had arrived."""
    alive = living_processes()
    for kind in INBOXES:
        for draft in folder.inbox(kind).rglob(f"{RECEIVING}*"):
            if is_left_behind(draft, draft.name.removeprefix(RECEIVING), is_alive=alive):
                draft.unlink(missing_ok=True)


def is_left_behind(path: Path, name: str, *, is_alive: Collection[int]) -> bool:
    """Whether whoever made something under a name of :func:`own_name` is no more.

    Parameters
    ----------
    path
        What was made; its age decides about another host's.
    is_alive
        Ids of the living processes of this host.
    """
    process, _, rest = name.partition("-")
    host = rest.partition("-")[2]
    if not process.isdigit():
        return False
    if host == socket.gethostname():
        return int(process) not in is_alive
    try:
        return time.time() - path.lstat().st_mtime > OTHER_HOSTS_SECONDS
    except FileNotFoundError:
        return False


def write_whole(folder: LabFolder, target: Path, content: bytes) -> None:
    """Write a file whole or not at all, in place of an older one; what a killed process leaves is a draft that is swept up."""
    folder.work.mkdir(exist_ok=True)
    draft = folder.work / own_name()
    draft.write_bytes(content)
    try:
        draft.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            draft.unlink(missing_ok=True)
            raise
        # The folder was put on another disk: there is a moment in which only a draft beside it can be whole.
        beside = target.with_name(f".{target.name.lstrip('.')}.{own_name()}")
        shutil.move(draft, beside)
        beside.replace(target)
