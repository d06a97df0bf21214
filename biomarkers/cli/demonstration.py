"""`biomarkers demo`: a simulated study from dropped files to the timepoint table, held against its known truth."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from biomarkers.cli.lab import sweep_once
from biomarkers.cli.output import print_json, print_table, say
from biomarkers.errors import LabFolderError
from biomarkers.laboratory import Laboratory, create_laboratory, open_lab
from biomarkers.provenance import JsonValue
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.results import Assay
from biomarkers.simulation.agreement import AssayAgreement, MeasuredValue, agreement
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.simulation.truth import read_truth
from biomarkers.simulation.writing import write_study
from biomarkers.timepoints.alignment import TimepointRow

MARK = ".demo"
"""Says that a demonstration made the folder, so that the next one may remake it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quarantined:
    assay: str
    name: str
    what: str
    remedy: str


def run_demo(lab: Path, *, subjects: int, seed: int, as_json: bool) -> int:
    """Run the demonstration; return its exit status: 0 when exactly the files made bad were quarantined."""
    truth = lab.with_name(f"{lab.name}.truth")
    _make_room(lab, truth)
    with create_laboratory(lab) as made:
        settings = made.folder.settings_file
        settings.write_text(settings.read_text(encoding="utf-8").replace("settling_seconds = 10", "settling_seconds = 0"))
    (lab / MARK).write_text("Made by 'biomarkers demo', which remakes it.\n", encoding="utf-8")
    with open_lab(lab) as laboratory:
        study = _simulate(laboratory, truth, subjects=subjects, seed=seed)
        laboratory.load_arms(truth / "arms.csv")
        say("Ingesting ...")
        report = sweep_once(laboratory, [])
        rows = laboratory.rows(as_of=study.as_of)
        found = agreement(_measured(rows), read_truth(truth / "truth.csv"))
    quarantined = [
        _Quarantined(assay=file.assay, name=file.name, what=file.reason.what, remedy=file.reason.remedy)
        for file in report.files
        if file.state == "quarantined"
    ]
    bad = _bad_files(truth)
    as_meant = {(file.assay, file.name) for file in quarantined} == bad and not report.faults
    if as_json:
        print_json(_document(rows, quarantined, found, as_meant=as_meant))
    else:
        _print(study, rows, quarantined, found, lab)
        if not as_meant:
            say(f"Quarantined were not exactly the files made bad: {sorted(bad)}. {' '.join(report.faults)}")
    return 0 if as_meant else 1


def _make_room(lab: Path, truth: Path) -> None:
    if lab.exists() and any(lab.iterdir()) and not (lab / MARK).is_file():
        raise LabFolderError(
            what="The folder was not made by a demonstration, so it is not remade.",
            where=f"Folder '{lab}'.",
            remedy="Name another folder: biomarkers demo NAME.",
        )
    for folder in (lab, truth):
        if folder.exists():
            shutil.rmtree(folder)


def _simulate(laboratory: Laboratory, truth: Path, *, subjects: int, seed: int) -> SimulatedStudy:
    layouts = {path.stem: read_layout(path) for path in sorted(laboratory.folder.layouts.glob("*.csv"))}
    study = simulate_study(laboratory.definition, layouts=layouts, subjects=subjects, seed=seed)
    dropping = truth / "dropping"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    context = multiprocessing.get_context("forkserver")
    say(f"Simulating a study of {subjects} subjects (seed {seed}) ...")
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
        ProcessPoolExecutor(os.cpu_count(), mp_context=context) as executor,
    ):
        line = bar.add_task("simulating", total=None)
        write_study(
            study,
            dropping,
            truth,
            executor=executor,
            progress=lambda done, known, name: bar.update(line, completed=done, total=known, description=name),
        )
    for place in sorted(dropping.iterdir()):
        for file in sorted(place.iterdir()):
            file.rename(laboratory.folder.inbox(place.name) / file.name)
    shutil.rmtree(dropping)
    return study


def _measured(rows: Sequence[TimepointRow]) -> list[MeasuredValue]:
    return [
        MeasuredValue(
            accession_id=row.accession_id,
            assay=Assay(row.assay),
            measurand=row.measurand,
            value=row.value,
            comparator=row.comparator or "",  # type: ignore[arg-type]  # the table's text holds a comparator or nothing
            lower=row.lower,
            upper=row.upper,
        )
        for row in rows
        if row.accession_id is not None and row.value is not None
    ]


def _bad_files(truth: Path) -> set[tuple[str, str]]:
    with (truth / "bad_files.csv").open(encoding="utf-8", newline="") as file:
        return {(row["assay"], row["name"]) for row in csv.DictReader(file)}


def _document(
    rows: Sequence[TimepointRow], quarantined: Sequence[_Quarantined], found: Sequence[AssayAgreement], *, as_meant: bool
) -> dict[str, JsonValue]:
    return {
        "rows": len(rows),
        "quarantined": [{"assay": q.assay, "name": q.name, "what": q.what, "remedy": q.remedy} for q in quarantined],
        "agreement": [str(line) for line in found],
        "as_meant": as_meant,
    }


def _print(
    study: SimulatedStudy,
    rows: Sequence[TimepointRow],
    quarantined: Sequence[_Quarantined],
    found: Sequence[AssayAgreement],
    lab: Path,
) -> None:
    for assay, title in (("elisa", "ELISA"), ("cytometry", "Flow cytometry"), ("ihc", "Immunohistochemistry")):
        _print_assay([row for row in rows if row.assay == assay], f"\n{title}, as of {study.as_of}")
    print_table(
        ["assay", "file", "what happened", "what to do"],
        [(file.assay, file.name, file.what, file.remedy) for file in quarantined],
        title="\nQuarantined",
    )
    typer.echo("\nAgreement with the truth of the simulation")
    for line in found:
        typer.echo(str(line))
    typer.echo(
        f"\nLook further: biomarkers status {lab}; biomarkers timepoints {lab} --as-of {study.as_of} --summary;"
        f" the truth lies in {lab}.truth."
    )


def _print_assay(rows: Sequence[TimepointRow], title: str) -> None:
    measurands = list(dict.fromkeys(row.measurand for row in rows))
    cells = {(row.subject_id, row.visit, row.measurand): _cell(row) for row in rows}
    places = list(dict.fromkeys((row.subject_id, row.visit, row.study_day) for row in rows))
    print_table(
        ["subject", "visit", "day", *measurands],
        [
            (subject, visit, day, *(cells.get((subject, visit, measurand), "") for measurand in measurands))
            for subject, visit, day in places
        ],
        title=title,
    )


def _cell(row: TimepointRow) -> str:
    return row.status if row.value is None else f"{row.comparator or ''}{row.value:.4g}"
