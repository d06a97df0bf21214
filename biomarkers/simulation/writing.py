"""A described study into files: what instruments and clinic drop, and the truth beside it.

Knows folders and how files are made in parallel. Must not know what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import TypeAlias

from biomarkers.simulation.bad_files import FileJob
from biomarkers.simulation.expectations import expected_cells
from biomarkers.simulation.plates import Mishap
from biomarkers.simulation.ratios import true_ratios
from biomarkers.simulation.study import SimulatedStudy
from biomarkers.simulation.study_lists import (
    write_arms,
    write_haematology,
    write_lots,
    write_roster,
    write_rows,
    write_specimens,
    write_visits,
)
from biomarkers.simulation.truth import TrueValue, write_truth

Progress: TypeAlias = Callable[[int, int, str], None]

STUDY_FOLDER = "study"


def write_study(
    study: SimulatedStudy, drop: Path, truth: Path, *, executor: Executor | None = None, progress: Progress | None = None
) -> None:
    """Write every file of a study.

    Parameters
    ----------
    drop
        Gets a folder for each assay and one for the study's lists, laid out as a laboratory's inbox.
    truth
        Gets ``truth.csv``, ``arms.csv``, ``bad_files.csv``, ``rejected_plates.csv``, ``expected_status.csv`` and
        ``study.json``. Keep it out of the laboratory.
    executor
        Makes instrument files, each in a call of its own; None makes them here, one after the other. The bytes are the same.
    progress
        Called with files done, files in all, and the name of the one just done.
    """
    true_values = _write_instrument_files(study, drop, executor, progress)
    lists = drop / STUDY_FOLDER
    lists.mkdir(parents=True, exist_ok=True)
    write_roster(lists / "roster.csv", (person.subject for person in study.subjects))
    write_specimens(lists / "specimens.csv", (one.specimen for one in study.specimens))
    write_visits(lists / "visits.csv", study.visits)
    write_lots(lists / "lots.csv", study.lots)
    if study.haematology:
        write_haematology(lists / "haematology.csv", study.haematology)
    truth.mkdir(parents=True, exist_ok=True)
    write_truth(truth / "truth.csv", (*true_values, *true_ratios(study.definition, true_values)))
    write_arms(truth / "arms.csv", study.arm_by_subject)
    write_rows(
        truth / "rejected_plates.csv",
        ("plate_id", "why"),
        ((plate.plate_id, plate.mishap.value) for plate in study.plates if plate.mishap is not Mishap.NONE),
    )
    write_rows(truth / "bad_files.csv", ("assay", "name", "why"), ((bad.assay, bad.name, bad.why) for bad in study.bad_files))
    write_rows(
        truth / "expected_status.csv",
        ("subject_id", "visit", "measurand", "status"),
        ((cell.subject_id, cell.visit, cell.measurand, cell.status) for cell in expected_cells(study)),
    )
    (truth / "study.json").write_text(_description(study), encoding="utf-8")


def _write_instrument_files(
    study: SimulatedStudy, drop: Path, executor: Executor | None, progress: Progress | None
) -> tuple[TrueValue, ...]:
    jobs = (*study.jobs, *study.bad_jobs)
    for assay in sorted({job.assay for job in jobs}):
        (drop / assay).mkdir(parents=True, exist_ok=True)
    found: dict[int, tuple[TrueValue, ...]] = {}
    for done, (index, values) in enumerate(_made(jobs, drop, executor), start=1):
        found[index] = values
        if progress is not None:
            progress(done, len(jobs), jobs[index].file_name)
    return tuple(value for index in range(len(study.jobs)) for value in found[index])


def _made(jobs: tuple[FileJob, ...], drop: Path, executor: Executor | None) -> Iterator[tuple[int, tuple[TrueValue, ...]]]:
    if executor is None:
        for index, job in enumerate(jobs):
            yield index, job.write(drop / job.assay)
        return
    # Slow files first: two cores then end together.
    order = sorted(range(len(jobs)), key=lambda index: jobs[index].assay, reverse=True)
    index_by_future = {executor.submit(jobs[index].write, drop / jobs[index].assay): index for index in order}
    for future in as_completed(index_by_future):
        yield index_by_future[future], future.result()


def _description(study: SimulatedStudy) -> str:
    described = {
        "study_id": study.definition.study.id,
        "seed": study.seed,
        "subjects": len(study.subjects),
        "events": study.events,
        "slide_px": study.slide_px,
        "as_of": study.as_of.isoformat(),
    }
    return json.dumps(described, indent=2) + "\n"
