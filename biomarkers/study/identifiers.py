"""Accession and subject ids: what they look like and where a file name holds them.

Knows the study's patterns. Must not know which ids exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from biomarkers.errors import IdentifierError
from biomarkers.study.definition import IdentifierPatterns


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideName:
    """What a slide's file name says."""

    accession_id: str
    stain: str
    section: str = ""
    batch: str = ""


def is_accession_id(patterns: IdentifierPatterns, text: str) -> bool:
    """Whether a text is an accession id of the study, whole."""
    return re.fullmatch(patterns.accession_id, text) is not None


def is_subject_id(patterns: IdentifierPatterns, text: str) -> bool:
    """Whether a text is a subject id of the study, whole."""
    return re.fullmatch(patterns.subject_id, text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FcsName:
    """What a specimen's FCS file name says; the batch is empty where the pattern does not hold it."""

    accession_id: str
    batch: str = ""


def specimen_from_fcs_name(patterns: IdentifierPatterns, name: str) -> FcsName | None:
    """Return what an FCS file's name says of its specimen, or None where it does not fit the study's pattern."""
    found = _match(patterns, patterns.fcs_file, name)
    if found is None:
        return None
    return FcsName(accession_id=found["accession_id"], batch=found.groupdict().get("batch") or "")


def slide_from_name(patterns: IdentifierPatterns, name: str) -> SlideName:
    """Return the accession id and stain in a slide's name, with section and batch where the pattern holds them.

    Parameters
    ----------
    name
        The file's name; everything after the pattern's end must be an extension such as ``.ome.tiff``.

    Raises
    ------
    IdentifierError
        The name does not fit the pattern. Nothing is guessed.
    """
    found = _match(patterns, patterns.slide_file + r"{extension}", name)
    if found is None:
        raise IdentifierError(
            what="The file name does not say which specimen and stain the slide shows.",
            where=f"File '{name}'.",
            remedy=f"Name it '{patterns.slide_file}' with its extension, or put a sidecar '.toml' beside it.",
        )
    said = found.groupdict()
    return SlideName(
        accession_id=found["accession_id"],
        stain=found["stain"],
        section=said.get("section") or "",
        batch=said.get("batch") or "",
    )


def _match(patterns: IdentifierPatterns, file_pattern: str, name: str) -> re.Match[str] | None:
    places = {
        "{accession_id}": f"(?P<accession_id>{patterns.accession_id})",
        "{stain}": r"(?P<stain>[A-Za-z0-9-]+)",
        "{section}": r"(?P<section>[A-Za-z0-9-]+)",
        "{batch}": r"(?P<batch>[A-Za-z0-9-]+)",
        "{extension}": r"(?:\.[A-Za-z0-9]+)+",
    }
    parts = re.split(r"(\{[a-z_]+\})", file_pattern)
    expression = "".join(places.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(expression, name, flags=re.IGNORECASE)
