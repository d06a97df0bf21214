"""Looking into a dropped file for what tells who a subject is, in a process that a damaged file may end.

Knows where the file lies and what to look for. Must not know the store, nor decide what becomes of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biomarkers.readers.free_texts import free_texts
from biomarkers.study.definition import IdentifierPatterns
from biomarkers.study.identifying import Identifying, IdentifyingPolicy, identifying


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorWork:
    """A file in its inbox, and what counts as identifying in this laboratory and its study."""

    path: Path
    policy: IdentifyingPolicy
    identifiers: IdentifierPatterns


def look(work: DoorWork) -> tuple[Identifying, ...]:
    """Find where the file's own words tell who a subject is; what they say is not among what is returned.

    Raises
    ------
    TemporarilyUnavailableError
        The file cannot be read at the moment, or is gone.
    SourceFileError
        The file may not be read.
    """
    return tuple(identifying(free_texts(work.path), work.policy, work.identifiers))
