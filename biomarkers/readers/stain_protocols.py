"""Stain protocols in TOML → :class:`~biomarkers.ihc.protocol.StainProtocol`.

Knows where packaged protocols lie, and that a laboratory's own of the same name goes before. Must not know what their settings
do.
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


def protocol_named(name: str, own: Path) -> StainProtocol:
    """Read the stain protocol of a name: the laboratory's own where there is one, else the packaged one.

    Parameters
    ----------
    own
        The laboratory's folder of stain protocols; it may be absent.

    Raises
    ------
    StudyDefinitionError
        There is none of that name, or the laboratory's own cannot be used. The packaged one is never taken in its place.
    """
    path = own / f"{name.casefold()}.toml"
    if not path.exists():
        return packaged_protocol(name, own)
    protocol = read_protocol(path)
    if protocol.name != name.casefold():
        raise StudyDefinitionError(
            what=f"The protocol calls itself '{protocol.name}'.",
            where=f"File '{path.parent.name}/{path.name}', name.",
            remedy="File and protocol share their name; change one of them.",
        )
    return protocol


def packaged_protocol(name: str, own: Path | None = None) -> StainProtocol:
    """Read a packaged stain protocol by its name, whatever its case.

    Parameters
    ----------
    own
        Where one of that name was sought before, for the message.

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
            remedy=f"Use one of {', '.join(known)}, or "
            + ("a TOML file of your own." if own is None else f"write one of your own: '{own.name}/{name.casefold()}.toml'."),
        )
    entry = resources.files("biomarkers.ihc") / "protocols" / f"{name.casefold()}.toml"
    return parse_declaration(entry.read_text(encoding="utf-8"), StainProtocol, name=entry.name)
