"""Stain protocols in TOML → :class:`~biomarkers.ihc.protocol.StainProtocol`.

Knows where packaged protocols lie. Must not know what their settings do.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from biomarkers.errors import StudyDefinitionError
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.readers.declarations import parse_declaration, read_declaration


def read_protocol(path: Path) -> StainProtocol:
    """Read a stain protocol.

    Raises
    ------
    StudyDefinitionError
        The file says something a protocol does not allow; all faults are reported together.
    """
    return read_declaration(path, StainProtocol)


def packaged_protocols() -> tuple[str, ...]:
    """Names of the protocols that come with the package."""
    folder = resources.files("biomarkers.ihc") / "protocols"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def packaged_protocol(name: str) -> StainProtocol:
    """Read a packaged stain protocol by its name, whatever its case.

    Raises
    ------
    StudyDefinitionError
        There is none of that name.
    """
    known = packaged_protocols()
    if name.casefold() not in known:
        raise StudyDefinitionError(
            what=f"There is no packaged stain protocol '{name}'.",
            where="Stain protocols.",
            remedy=f"Use one of {', '.join(known)}, or a TOML file of your own.",
        )
    entry = resources.files("biomarkers.ihc") / "protocols" / f"{name.casefold()}.toml"
    return parse_declaration(entry.read_text(encoding="utf-8"), StainProtocol, name=entry.name)
