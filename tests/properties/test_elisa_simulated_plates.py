"""Plates of the simulated study: sound ones are accepted, and those made bad, and no others, are rejected."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from biomarkers.elisa.analysis import PlateAnalysis, analyse_plate
from biomarkers.elisa.plate import LayoutWell, PlateLayout, PlateRead, WellRole, reads_by_plate
from biomarkers.errors import CurveFitError
from biomarkers.provenance import Provenance
from biomarkers.readers.plate_layouts import read_layout, read_plate_map
from biomarkers.readers.plate_reads import read_plates
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.plates import Mishap, PlateJob
from biomarkers.simulation.study import simulate_study

NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))
STUDY = packaged_study()

Spoil = Callable[[PlateRead, PlateLayout], PlateRead]


def layouts(project_root: Path) -> Mapping[str, PlateLayout]:
    names = [f"{analyte.code.lower()}-96" for analyte in STUDY.analytes]
    return {name: read_layout(project_root / "plate_layouts" / f"{name}.csv") for name in names}


def jobs(project_root: Path, seeds: range, subjects: int) -> Iterator[PlateJob]:
    designs = layouts(project_root)
    for seed in seeds:
        study = simulate_study(STUDY, layouts=designs, subjects=subjects, seed=seed, events=10, slide_px=64)
        yield from (plate for plate in study.plates if plate.mishap is Mishap.NONE)


def analysed(job: PlateJob, folder: Path, spoil: Spoil | None = None) -> PlateAnalysis:
    job.write(folder)
    reads = next(iter(reads_by_plate(read_plates(folder / job.file_name)).values()))
    return analyse_plate(
        [spoil(read, job.layout) for read in reads] if spoil else reads,
        read_plate_map(folder / job.map_name)[0],
        job.layout,
        analytes={analyte.code: analyte for analyte in STUDY.analytes},
        run_id="run",
        provenance=NOWHERE,
        lots=[job.lot] if job.lot else [],
    )


def changed(read: PlateRead, layout: PlateLayout, factor_of: Callable[[LayoutWell], float]) -> PlateRead:
    """Multiply what a well absorbs at its measuring wavelength; the reference reading stays."""
    if read.wavelength_nm is not None and read.wavelength_nm > 500:
        return read
    by_position = {well.position: well for well in layout.wells}
    wells = [
        one if one.value is None else replace(one, value=one.value * factor_of(by_position[one.position])) for one in read.wells
    ]
    return replace(read, wells=tuple(wells))


def swapped(read: PlateRead, layout: PlateLayout) -> PlateRead:
    """The second and the fourth calibrator change places."""
    by_position = read.by_position()
    partner = {}
    for one, other in zip(layout.wells_of("STD2"), layout.wells_of("STD4"), strict=True):
        partner[one.position], partner[other.position] = other.position, one.position
    wells = [replace(well, value=by_position[partner.get(well.position, well.position)].value) for well in read.wells]
    return replace(read, wells=tuple(wells))


def weak_controls(read: PlateRead, layout: PlateLayout) -> PlateRead:
    """Both controls have lost a third of their colour, or gained it."""
    return changed(read, layout, lambda well: 0.55 if well.role is WellRole.CONTROL else 1.0)


def dead(read: PlateRead, layout: PlateLayout) -> PlateRead:
    """The calibrators never developed."""
    return changed(read, layout, lambda well: 0.0 if well.role is WellRole.CALIBRATOR else 1.0)


def diluted_twice(read: PlateRead, layout: PlateLayout) -> PlateRead:
    """Every second calibrator was pipetted with half the volume."""
    return changed(
        read, layout, lambda well: 0.6 if well.role is WellRole.CALIBRATOR and well.slot in ("STD1", "STD3", "STD5") else 1.0
    )


SPOILS: Mapping[str, Spoil] = {
    "swapped calibrators": swapped,
    "weak controls": weak_controls,
    "dead calibrators": dead,
    "half-filled calibrators": diluted_twice,
}


def test_no_sound_plate_of_the_study_is_rejected(project_root: Path, tmp_path: Path) -> None:
    verdicts = [analysed(job, tmp_path).verdicts[0] for job in jobs(project_root, range(1, 3), 24)]
    assert len(verdicts) > 20
    assert [one.sentence for one in verdicts if one.verdict == "rejected"] == []


@pytest.mark.parametrize("wound", SPOILS)
def test_every_plate_made_bad_is_rejected(project_root: Path, tmp_path: Path, wound: str) -> None:
    for job in itertools.islice(jobs(project_root, range(1, 2), 8), 7):
        try:
            plate = analysed(job, tmp_path, SPOILS[wound])
        except CurveFitError:
            continue  # refused as no curve at all, with its reason
        assert plate.verdicts[0].verdict == "rejected", (job.plate_id, plate.verdicts[0])
        assert all(result.quantity is None for result in plate.run.results)


@pytest.mark.slow
def test_of_hundreds_of_plates_those_made_bad_are_rejected_and_none_other(project_root: Path, tmp_path: Path) -> None:
    wounds = list(SPOILS.values())
    wrong = []
    for index, job in enumerate(jobs(project_root, range(30, 42), 60)):
        spoil = wounds[index // 5 % len(wounds)] if index % 5 == 0 else None
        try:
            is_rejected = analysed(job, tmp_path, spoil).verdicts[0].verdict == "rejected"
        except CurveFitError:
            is_rejected = True
        if is_rejected is not (spoil is not None):
            wrong.append((index, job.plate_id))
    assert index > 300
    assert wrong == []
