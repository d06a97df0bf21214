from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from biomarkers.elisa.plate import PlateLayout
from biomarkers.provenance import bytes_digest
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.simulation.writing import write_study


@pytest.fixture(scope="module")
def layouts(project_root: Path) -> Mapping[str, PlateLayout]:
    return {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}


def _study(layouts: Mapping[str, PlateLayout], seed: int = 5) -> SimulatedStudy:
    return simulate_study(packaged_study(), layouts=layouts, subjects=4, seed=seed, events=300, slide_px=256)


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): bytes_digest(path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_also_from_other_processes(
    layouts: Mapping[str, PlateLayout], tmp_path: Path
) -> None:
    write_study(_study(layouts), tmp_path / "one" / "drop", tmp_path / "one" / "truth")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        write_study(_study(layouts), tmp_path / "two" / "drop", tmp_path / "two" / "truth", executor=executor)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")


def test_another_seed_gives_other_files(layouts: Mapping[str, PlateLayout], tmp_path: Path) -> None:
    one, two = _study(layouts, seed=5), _study(layouts, seed=6)
    for index, (job, other) in enumerate(((one.plates[0], two.plates[0]), (one.acquisitions[0], two.acquisitions[0]))):
        for name, written in (("a", job), ("b", other)):
            (tmp_path / f"{index}{name}").mkdir()
            written.write(tmp_path / f"{index}{name}")
        assert set(_digests(tmp_path / f"{index}a").values()) != set(_digests(tmp_path / f"{index}b").values())


def test_a_file_does_not_depend_on_the_files_made_before_it(layouts: Mapping[str, PlateLayout], tmp_path: Path) -> None:
    study = _study(layouts)
    (tmp_path / "forward").mkdir()
    (tmp_path / "backward").mkdir()
    for job in study.jobs[::3]:
        job.write(tmp_path / "forward")
    for job in reversed(study.jobs[::3]):
        job.write(tmp_path / "backward")
    assert _digests(tmp_path / "forward") == _digests(tmp_path / "backward")


def test_a_specimens_file_stays_the_same_when_another_is_changed(layouts: Mapping[str, PlateLayout], tmp_path: Path) -> None:
    first, second = _study(layouts).acquisitions[:2]
    for folder, other in (("plain", second), ("changed", replace(second, events=77))):
        (tmp_path / folder).mkdir()
        other.write(tmp_path / folder)
        first.write(tmp_path / folder)
    assert (tmp_path / "plain" / first.file_name).read_bytes() == (tmp_path / "changed" / first.file_name).read_bytes()
