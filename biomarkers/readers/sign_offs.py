"""Sidecars by which a person answers for a file: who, why, and what becomes of the file it stands beside.

Knows the keys of such a sidecar. Must not know what is signed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from biomarkers.errors import SourceFileError, StudyDefinitionError
from biomarkers.readers.declarations import read_declaration

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class SignOff(BaseModel):
    """A person's word for a file that nobody may take in unasked: a corrected map, or a second read of a plate.

    ``replaces`` says of a second read that it counts in place of the first; otherwise it is kept beside it as a repeat.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: _Text
    reason: _Text
    replaces: bool = False


def read_sign_off(path: Path) -> SignOff:
    """Read a sidecar with ``by`` and ``reason``.

    Raises
    ------
    SourceFileError
        With all that is wrong at once.
    """
    try:
        return read_declaration(path, SignOff)
    except StudyDefinitionError as error:
        raise SourceFileError.gathered(error.faults) from error


def sign_off_text(*, by: str, reason: str, replaces: bool) -> str:
    """Write a sidecar."""
    lines = [f"by = {quoted(by)}", f"reason = {quoted(reason)}", *(["replaces = true"] if replaces else [])]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Write a text as a basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\u{ord(one):04x}" if ord(one) < 0x20 or ord(one) == 0x7F else one for one in escaped) + '"'
