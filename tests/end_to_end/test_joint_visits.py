"""Ten subjects' four visits, stained in one batch with one drift of staining: what the table says of changes between visits."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pytest
from drawn_visits import BLOOD, DRIFT, share_percent, varied

from biomarkers.laboratory import open_lab
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.cells import COLOURS, DETECTORS, cytometer_day, draw_tube
from biomarkers.simulation.courses import BloodCells
from biomarkers.simulation.fcs_bytes import fcs_bytes, spillover_keyword

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Lab

pytestmark = pytest.mark.slow

SUBJECTS, EVENTS = 10, 8000
VISITS = {"BASELINE": date(2025, 3, 3), "C2D1": date(2025, 3, 31), "C6D1": date(2025, 6, 23), "PROGRESSION": date(2025, 9, 1)}
DRIFTED = "C6D1"


def accession(subject: int, visit: str) -> str:
    return f"ATR-{100 * subject + list(VISITS).index(visit) + 1:06d}"


def bloods() -> Iterator[tuple[int, str, BloodCells]]:
    for subject in range(SUBJECTS):
        person = varied(BLOOD, 1000 + subject)
        for number, visit in enumerate(VISITS):
            yield subject, visit, varied(person, 10 * subject + number)


def write_lists(lab: Lab) -> None:
    people = range(SUBJECTS)
    roster = ["subject_id,site,treatment_start,progression_date", *(f"S{at:04d},LONDON,2025-03-10,2025-09-01" for at in people)]
    specimens = ["accession_id,subject_id,material,collected_at,nominal_visit"]
    visits = ["subject_id,visit,actual_date"]
    for at in people:
        for visit, day in VISITS.items():
            specimens.append(f"{accession(at, visit)},S{at:04d},PBMC,{day},{visit}")
            visits.append(f"S{at:04d},{visit},{day}")
    for name, lines in (("roster", roster), ("specimens", specimens), ("visits", visits)):
        lab.write("study", f"{name}.csv", "\n".join(lines) + "\n")


def write_tubes(lab: Lab) -> None:
    day = cytometer_day(np.random.default_rng(1))
    for subject, visit, blood in bloods():
        rng = np.random.default_rng(7000 + 10 * subject + list(VISITS).index(visit))
        tube = draw_tube(blood, EVENTS, day, rng, DRIFT if visit == DRIFTED else {})
        name = accession(subject, visit)
        keywords = {"$FIL": f"{name}.fcs", "$SPILLOVER": spillover_keyword(COLOURS, tube.spillover), "$TIMESTEP": "0.01"}
        lab.write("cytometry", f"{name}.fcs", fcs_bytes(tube.events, DETECTORS, keywords))
        lab.write("cytometry", f"{name}.toml", 'batch = "B1"\n')


@pytest.mark.timeout(1800)
def test_changes_between_visits_are_recovered_by_the_recorded_table_in_spite_of_a_drift(new_lab: Callable[..., Lab]) -> None:
    lab = new_lab()
    write_lists(lab)
    write_tubes(lab)
    assert {file["state"] for file in lab.ingest()} == {"recorded"}
    written = lab.run("audit verify", status=0).stdout
    assert lab.ingest() == []
    assert lab.run("audit verify", status=0).stdout == written  # nothing has changed, and nothing was written
    rows = list(csv.DictReader(io.StringIO(lab.table())))
    with open_lab(lab.root) as laboratory:
        changes = laboratory.changes(as_of=date(2026, 6, 30))
    measured = {code.code: code for panel in packaged_study().panels for code in panel.measurands if code.kind == "frequency"}
    truth = {
        (accession(subject, visit), code): share_percent(blood, one.population, one.denominator)
        for subject, visit, blood in bloods()
        for code, one in measured.items()
        if one.denominator != "live"
    }
    found: dict[str, list[bool]] = {}
    for row in changes.to_dict("records"):
        key = row["accession_id"], row["measurand"]
        if key not in truth or row["visit"] == "BASELINE" or np.isnan(row["interval_lower"]):
            continue
        first = accession(int(row["subject_id"][1:]), "BASELINE")
        true = truth[key] - truth[first, row["measurand"]]
        found.setdefault(row["measurand"], []).append(row["interval_lower"] <= true <= row["interval_upper"])
    for code, held in sorted(found.items()):
        print(f"{code:32s} {sum(held):3d} of {len(held)}")  # noqa: T201  - what a reader of the run wants to see
    every = [one for held in found.values() for one in held]
    print(f"all: {np.mean(every):.3f} of {len(every)}")  # noqa: T201
    assert {row["findings"] for row in rows if row["value"]} != {""}
    # 95 in 100 should be recovered; those of one visit share its cells, so that chance takes 3 in 100.
    assert len(every) >= 300
    assert np.mean(every) >= 0.92
