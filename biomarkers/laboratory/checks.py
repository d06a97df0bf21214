"""Every declaration of a laboratory read, and all that is wrong gathered.

Knows which declarations a laboratory has. Must not know what any of them means.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biomarkers.errors import BiomarkersError, Fault
from biomarkers.lab.folders import LabSettings, existing_lab
from biomarkers.readers.declarations import read_declaration
from biomarkers.readers.panels import read_panel
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.stain_protocols import protocol_named
from biomarkers.readers.study_files import read_study
from biomarkers.study.definition import StudyDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was checked, all that is wrong, and what the laboratory assumes."""

    checked: tuple[str, ...]
    faults: tuple[Fault, ...]
    assumptions: tuple[str, ...]


def check_declarations(target: Path) -> CheckReport:
    """Read every declaration of a laboratory, or the one file named, and gather all that is wrong.

    Raises
    ------
    LabFolderError
        The folder is not a laboratory.
    """
    if target.is_dir():
        folder = existing_lab(target)
        files = [folder.settings_file, folder.study_file, *sorted(folder.layouts.glob("*.csv"))]
        files += sorted(folder.panels.glob("*.toml"))
        files += sorted(folder.stain_protocols.glob("*.toml"))
    else:
        files = [target]
    checked: list[str] = []
    faults: list[Fault] = []
    assumptions: list[str] = []
    for path in files:
        checked.append(path.name if path.parent == target else f"{path.parent.name}/{path.name}")
        try:
            declared = _read_any(path)
        except BiomarkersError as error:
            faults += error.faults
        else:
            if isinstance(declared, StudyDefinition):
                assumptions += declared.assumptions()
    return CheckReport(checked=tuple(checked), faults=tuple(faults), assumptions=tuple(assumptions))


def _read_any(path: Path) -> object:
    if path.name == "lab.toml":
        return read_declaration(path, LabSettings)
    if path.suffix == ".csv":
        return read_layout(path)
    if path.parent.name == "panels":
        return read_panel(path)
    if path.parent.name == "stain_protocols":
        return protocol_named(path.stem, path.parent)
    return read_study(path)
