"""Sidecars in the cytometry inbox: what one says of its FCS file, or who answers for corrected gates.

Knows the keys that tell the two apart. Must not know which file a sidecar stands beside.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from biomarkers.errors import SourceFileError, StudyDefinitionError
from biomarkers.readers.declarations import read_declaration
from biomarkers.study.cellular import TubeSidecar

LARGEST_BYTES = 1 << 20
"""No sidecar is longer; a longer file is left to the reader that refuses it."""


def read_tube_sidecar(path: Path) -> TubeSidecar:
    """Read a sidecar with any of ``role``, ``accession_id``, ``marker``, ``batch`` and ``data_set``.

    Raises
    ------
    SourceFileError
        With all that is wrong at once.
    """
    try:
        return read_declaration(path, TubeSidecar)
    except StudyDefinitionError as error:
        raise SourceFileError.gathered(error.faults) from error


def signs_gates(path: Path) -> bool:
    """Whether a sidecar holds a person's name or reason, and so belongs to corrected gates and not to the FCS file."""
    if path.stat().st_size > LARGEST_BYTES:
        return False
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):  # no TOML, no UTF-8, or a number of thousands of digits
        return False
    return bool(held.keys() & {"by", "reason"})
