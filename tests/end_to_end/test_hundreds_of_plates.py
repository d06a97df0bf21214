"""Hundreds of plates of a simulated study through the real command: those made bad are rejected, and none other."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.plates import Mishap
from biomarkers.simulation.study import simulate_study
from biomarkers.simulation.study_lists import write_lots, write_roster, write_specimens, write_visits

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Lab

FEWEST_PLATES = 300


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_rejected_plates_are_those_made_bad_and_none_other(
    new_lab: Callable[..., Lab], project_root: Path, command: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
    study = simulate_study(packaged_study(), layouts=layouts, subjects=560, seed=17)
    assert len(study.plates) >= FEWEST_PLATES
    lab = new_lab()
    lists, plates = lab.root / "inbox" / "study", lab.root / "inbox" / "elisa"
    write_roster(lists / "roster.csv", (person.subject for person in study.subjects))
    write_specimens(lists / "specimens.csv", (one.specimen for one in study.specimens))
    write_visits(lists / "visits.csv", study.visits)
    write_lots(lists / "lots.csv", study.lots)
    for plate in study.plates:
        plate.write(plates)
    run = subprocess.run(
        [command, "ingest", str(lab.root), "--json"], capture_output=True, text=True, check=False, timeout=3600
    )
    assert run.returncode == 0, run.stderr
    assert {file["state"] for file in json.loads(run.stdout)["files"]} == {"recorded"}
    connection = sqlite3.connect(lab.root / "lab.db")
    rows = connection.execute(
        "SELECT analysis.name, verdict.verdict FROM verdict JOIN analysis USING (analysis_id)"
        " WHERE analysis_id NOT IN (SELECT old_analysis_id FROM supersession)"
    ).fetchall()
    (ratios,) = connection.execute("SELECT count(*) FROM result WHERE measurand = 'KYN_TRP_RATIO'").fetchone()
    connection.close()
    rejected = {name for name, verdict in rows if verdict == "rejected"}
    spoilt = {plate.plate_id for plate in study.plates if plate.mishap is not Mishap.NONE}
    with capsys.disabled():
        told = f"{len(rows)} plates, {len(spoilt)} made bad, {len(rejected)} rejected, {ratios} ratios"
        sys.stdout.write(f"\n{told}\n")
    assert len(rows) == len(study.plates)
    assert rejected == spoilt
