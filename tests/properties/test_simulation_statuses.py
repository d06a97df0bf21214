"""What the simulation knows of every cell against what the rules of visits and table find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.results import Assay
from biomarkers.simulation.bench import TOO_FEW_EVENTS
from biomarkers.simulation.expectations import Expected, expected_cells
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.study.roster import Roster
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import AlignedInput, timepoint_rows
from biomarkers.timepoints.due import due_cells


def _study(project_root: Path, subjects: int, seed: int) -> SimulatedStudy:
    layouts = {path.stem: read_layout(path) for path in (project_root / "plate_layouts").glob("*.csv")}
    return simulate_study(packaged_study(), layouts=layouts, subjects=subjects, seed=seed)


def _roster(study: SimulatedStudy) -> Roster:
    return Roster(
        subjects={person.subject_id: person.subject for person in study.subjects},
        specimens={one.accession_id: one.specimen for one in study.specimens},
        visits={(visit.subject_id, visit.visit): visit for visit in study.visits},
    )


def _results(study: SimulatedStudy) -> Iterator[AlignedInput]:
    for plate in study.plates:
        for placed in plate.specimens:
            yield _result(placed.accession_id, plate.assay, plate.analyte.code, evaluable=True)
    for job in study.acquisitions:
        for measurand in job.measurands:
            yield _result(job.accession_id, job.assay, measurand.code, evaluable=job.events > TOO_FEW_EVENTS)
    for slide in study.slides:
        for score in slide.scores:
            yield _result(slide.accession_id, slide.assay, f"{slide.stain}_{score}", evaluable=not slide.is_scrap)


def _result(accession_id: str, assay: Assay, measurand: str, *, evaluable: bool) -> AlignedInput:
    return AlignedInput(
        accession_id=accession_id,
        assay=assay,
        measurand=measurand,
        value=1.0 if evaluable else None,
        comparator="",
        unit="u",
        lower=None,
        upper=None,
        denominator="",
        n_replicates=None,
        evaluable=evaluable,
        finding_codes="",
        run_id=accession_id,
        result_id=f"{accession_id} {measurand}",
        source_sha256s="",
        order=0,
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_every_specimen_is_aligned_to_the_visit_it_was_taken_at(project_root: Path, seed: int) -> None:
    study = _study(project_root, 100, seed)
    true_visit = {one.accession_id: one.visit for one in study.specimens}
    found = {one.accession_id: one.visit for one in align_specimens(study.definition, _roster(study))}
    assert found == true_visit


@pytest.mark.parametrize(("subjects", "seed"), [(3, 1), (12, 1), (12, 2), (100, 3)])
def test_every_due_cell_has_the_status_that_was_simulated(project_root: Path, subjects: int, seed: int) -> None:
    study = _study(project_root, subjects, seed)
    roster = _roster(study)
    rows = timepoint_rows(
        study.definition.study.id,
        align_specimens(study.definition, roster),
        due_cells(study.definition, roster),
        _results(study),
        as_of=study.as_of,
    )
    found = {(row.subject_id, row.visit, row.measurand): str(row.status) for row in rows}
    for cell in expected_cells(study):
        expected = "measured" if cell.status is Expected.RESULTED else str(cell.status)
        assert found[cell.subject_id, cell.visit, cell.measurand] == expected, cell
