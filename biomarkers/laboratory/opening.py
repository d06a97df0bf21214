"""A laboratory made or opened.

Knows what a laboratory's folder starts with. Must not know what is done in it.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from biomarkers.lab.folders import LabSettings, create_lab, existing_lab
from biomarkers.laboratory.face import Laboratory
from biomarkers.readers.declarations import read_declaration
from biomarkers.readers.study_files import packaged_study_text, read_study
from biomarkers.store.database import Database


def open_lab(path: Path | str) -> Laboratory:
    """Open a laboratory.

    Raises
    ------
    LabFolderError
        The folder is not a laboratory.
    StudyDefinitionError
        lab.toml or study.toml is wrong.
    StoreError
        The database is missing, or of another version.
    """
    folder = existing_lab(Path(path))
    settings = read_declaration(folder.settings_file, LabSettings)
    definition = read_study(folder.study_file)
    # Creating is repeatable, and makes the tables of a laboratory whose settings now name another database.
    database = Database.create(folder.database_url(settings))
    return Laboratory(folder=folder, settings=settings, definition=definition, database=database)


def create_laboratory(path: Path, *, study: Path | None = None) -> Laboratory:
    """Make a laboratory from the packaged study, or from another study.toml, and open it.

    Raises
    ------
    LabFolderError
        Something is already there.
    StudyDefinitionError
        The study's definition is wrong; nothing is made then.
    """
    if study is None:
        text = packaged_study_text()
    else:
        read_study(study)
        text = study.read_text(encoding="utf-8-sig")
    create_lab(path, study=text, layouts=_packaged_layouts(), panels=_packaged_panels())
    laboratory = open_lab(path)
    laboratory.note_definition()
    return laboratory


def _packaged_layouts() -> dict[str, str]:
    return _texts(resources.files("plate_layouts"), ".csv")


def _packaged_panels() -> dict[str, str]:
    return _texts(resources.files("biomarkers.cytometry") / "panels", ".toml")


def _texts(folder: Traversable, ending: str) -> dict[str, str]:
    return {place.name: place.read_text(encoding="utf-8") for place in folder.iterdir() if place.name.endswith(ending)}
