"""A described study of the usual size, and a small one written once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from biomarkers.elisa.plate import PlateLayout
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.simulation.writing import write_study
from biomarkers.study.definition import StudyDefinition


@pytest.fixture(scope="session")
def definition() -> StudyDefinition:
    return packaged_study()


@pytest.fixture(scope="session")
def layouts(project_root: Path) -> Mapping[str, PlateLayout]:
    return {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}


@pytest.fixture(scope="session")
def study(definition: StudyDefinition, layouts: Mapping[str, PlateLayout]) -> SimulatedStudy:
    return simulate_study(definition, layouts=layouts)


@pytest.fixture(scope="session")
def written_study(definition: StudyDefinition, layouts: Mapping[str, PlateLayout]) -> SimulatedStudy:
    return simulate_study(definition, layouts=layouts, subjects=8, seed=3, events=1500, slide_px=512)


@pytest.fixture(scope="session")
def written(written_study: SimulatedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the small study lies: ``drop`` for the laboratory, ``truth`` beside it."""
    folder = tmp_path_factory.mktemp("simulated")
    write_study(written_study, folder / "drop", folder / "truth")
    return folder
