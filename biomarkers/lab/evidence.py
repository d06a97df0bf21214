"""What lies behind a run's numbers, as files for people: quality pages, cells, overlays.

Knows where they lie, how they are written whole, and of which analysis they were made. Must not know what is in them; they can
be made again from the archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from biomarkers.lab.drafts import write_whole
from biomarkers.lab.folders import LabFolder

OF = ".made-of.json"
"""Says of which analysis the files beside it were made, and which they are; written last, so that it never says too much."""


def write_evidence(folder: LabFolder, run_id: str, files: Mapping[str, bytes], *, of: str) -> None:
    """Write a run's evidence, each file whole or not at all; an older version of a file is replaced.

    Parameters
    ----------
    of
        The content of the analysis it was made of; see :func:`is_shown`. No files mean that this analysis has none.
    """
    place = folder.evidence / run_id
    place.mkdir(parents=True, exist_ok=True)
    before = _said(place)
    said = _Said(of=of, files=tuple(sorted(files)))
    for name, content in {**files, OF: said.model_dump_json().encode()}.items():
        write_whole(folder, place / name, content)
    for name in set(before.files) - files.keys():
        (place / Path(name).name).unlink(missing_ok=True)


def is_shown(folder: LabFolder, run_id: str, *, of: str) -> bool:
    """Whether the evidence that lies there is this analysis's, and whole; a run's older evidence is not."""
    place = folder.evidence / run_id
    said = _said(place)
    return said.of == of and all((place / name).is_file() for name in said.files)


class _Said(BaseModel):
    """What stands in :data:`OF`."""

    model_config = ConfigDict(frozen=True)

    of: str = ""
    files: tuple[str, ...] = ()


def _said(place: Path) -> _Said:
    try:
        return _Said.model_validate_json((place / OF).read_bytes())
    except (OSError, ValidationError):
        return _Said()
