"""What the simulation knows of every cell against what the rules of visits and table find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from biomarkers.provenance import content_digest
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.results import Assay
from biomarkers.simulation.bench import TOO_FEW_EVENTS
from biomarkers.simulation.expectations import Expected, expected_cells
from biomarkers.simulation.plates import Mishap
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
            yield _result(placed.accession_id, plate.assay, plate.analyte.code, evaluable=plate.mishap is Mishap.NONE)
    yield from _ratios(study)
    for job in study.acquisitions:
        for code in [one.code for one in job.measurands] + [one.code for one in job.counts]:
            yield _result(job.accession_id, job.assay, code, evaluable=job.events > TOO_FEW_EVENTS)
    for slide in study.slides:
        for score in slide.scores:
            yield _result(slide.accession_id, slide.assay, f"{slide.stain}_{score}", evaluable=not slide.is_scrap)


def _ratios(study: SimulatedStudy) -> Iterator[AlignedInput]:
    sound = {
        (placed.accession_id, plate.analyte.code): plate.mishap is Mishap.NONE
        for plate in study.plates
        for placed in plate.specimens
    }
    for accession_id in {accession_id for accession_id, _ in sound}:
        parts = [sound[accession_id, code] for code in ("KYN", "TRP") if (accession_id, code) in sound]
        if len(parts) == 2:
            yield _result(accession_id, Assay.ELISA, "KYN_TRP_RATIO", evaluable=all(parts))


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


@pytest.mark.parametrize(("subjects", "seed"), [(3, 1), (12, 1), (12, 2), (200, 3)])
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


def _value(accession_id: str, measurand: str) -> float:
    """A value of its own for every specimen and measurand."""
    return 1.0 + int(content_digest([accession_id, measurand])[:6], 16) / 1e4


def test_every_change_is_the_difference_of_the_values_of_the_true_visits(project_root: Path) -> None:
    study = _study(project_root, 200, 4)
    roster = _roster(study)
    results = [replace(one, value=_value(one.accession_id, one.measurand)) if one.evaluable else one for one in _results(study)]
    rows = timepoint_rows(
        study.definition.study.id,
        align_specimens(study.definition, roster),
        due_cells(study.definition, roster),
        results,
        as_of=study.as_of,
    )
    measured = {(one.accession_id, one.measurand) for one in results if one.evaluable}
    baselines: dict[str, list[str]] = {}
    for specimen in study.specimens:
        if specimen.visit == "BASELINE":
            baselines.setdefault(specimen.specimen.subject_id, []).append(specimen.accession_id)
    compared = 0
    for row in rows:
        of_baseline = [one for one in baselines.get(row.subject_id, []) if (one, row.measurand) in measured]
        if row.value is None or row.visit == "BASELINE" or not of_baseline:
            assert row.change is None
        elif len(of_baseline) == 1:
            assert row.accession_id is not None
            before = _value(of_baseline[0], row.measurand)
            assert row.change == _value(row.accession_id, row.measurand) - before
            assert row.percent_change == pytest.approx(100 * row.change / before, rel=1e-12)
            compared += 1
    assert compared > 3000
