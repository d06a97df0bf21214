"""Gating templates in TOML → Panel.

Knows where packaged panels lie. Must not know what a panel's gates do.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from biomarkers.cytometry.panel import Panel
from biomarkers.errors import StudyDefinitionError
from biomarkers.readers.declarations import parse_declaration, read_declaration


def read_panel(path: Path) -> Panel:
    """Read and validate a panel file.

    Raises
    ------
    StudyDefinitionError
        The file is absent, is not TOML, or contradicts itself; all faults are reported together.
    """
    return read_declaration(path, Panel)


def packaged_panels() -> tuple[str, ...]:
    """Name the panels that come with the software, in alphabetical order."""
    folder = resources.files("biomarkers.cytometry") / "panels"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def packaged_panel(name: str) -> Panel:
    """Read a panel that comes with the software.

    Raises
    ------
    StudyDefinitionError
        There is none of that name.
    """
    known = packaged_panels()
    if name not in known:
        raise StudyDefinitionError(
            what=f"There is no packaged panel '{name}'.",
            where=f"Packaged are {', '.join(known)}.",
            remedy="Use one of these names, or the path of a panel file ending in '.toml'.",
        )
    text = (resources.files("biomarkers.cytometry") / "panels" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_declaration(text, Panel, name=f"{name}.toml")
