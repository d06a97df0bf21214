"""What lies behind a run's numbers, as files for people: quality pages, cells, overlays.

Knows where they lie and how they are written whole. Must not know what is in them; they can be made again from the archive.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from biomarkers.lab.folders import LabFolder


def write_evidence(folder: LabFolder, run_id: str, files: Mapping[str, bytes]) -> None:
    """Write a run's evidence, each file whole or not at all; an older version of a file is replaced."""
    place = folder.evidence / run_id
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        draft = place / f".{name}.{os.getpid()}"
        draft.write_bytes(content)
        draft.replace(place / name)


def has_evidence(folder: LabFolder, run_id: str, name: str) -> bool:
    """Whether a file of a run's evidence is there."""
    return (folder.evidence / run_id / name).is_file()


def remove_evidence(folder: LabFolder, run_id: str, name: str) -> None:
    """Take away what no longer shows the run as it stands; it is made again."""
    (folder.evidence / run_id / name).unlink(missing_ok=True)
