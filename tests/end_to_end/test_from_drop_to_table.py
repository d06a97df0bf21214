"""Files dropped as a technician would, taken in by the real command, asked for by the real command."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from biomarkers.laboratory import open_lab
from biomarkers.timepoints.table import TIMEPOINT_COLUMNS

if TYPE_CHECKING:
    from tests.conftest import PostgresServer
    from tests.end_to_end.conftest import Dropped, Lab


def test_a_study_goes_the_whole_way_and_its_truth_comes_back(ingested: Lab, small_study: Dropped) -> None:
    lab = ingested
    bad = {(file.assay.value, file.name) for file in small_study.study.bad_files}
    assert {(kind, name) for kind in ("elisa", "cytometry", "ihc", "study") for name in lab.quarantined(kind)} == bad
    rows = list(csv.DictReader(io.StringIO(lab.table("--as-of", str(small_study.study.as_of)))))
    assert tuple(rows[0]) == TIMEPOINT_COLUMNS
    found = {(row["subject_id"], row["visit"], row["measurand"]): row["status"] for row in rows}
    with (small_study.truth / "expected_status.csv").open(newline="") as file:
        expected = {(row["subject_id"], row["visit"], row["measurand"]): row["status"] for row in csv.DictReader(file)}
    resulted = {"measured": "resulted", "below_range": "resulted", "above_range": "resulted"}
    assert {key: resulted.get(status, status) for key, status in found.items() if key in expected} == expected
    assert "whole" in lab.run("audit verify").stdout


def test_every_recorded_plate_and_acquisition_has_its_quality_page(ingested: Lab) -> None:
    connection = sqlite3.connect(ingested.root / "lab.db")
    runs = connection.execute("SELECT run_id FROM analysis WHERE assay IN ('elisa', 'cytometry') AND step = ''").fetchall()
    connection.close()
    assert len(runs) > 10
    for (run_id,) in runs:
        page = (ingested.root / "evidence" / run_id / "quality.html").read_text(encoding="utf-8")
        assert run_id in page
        assert "<script" not in page


def test_python_command_line_and_sql_give_the_same_rows(ingested: Lab) -> None:
    lab = ingested
    with open_lab(lab.root) as laboratory:
        table = laboratory.timepoints()
        for measurand in sorted(set(table["measurand"])):  # one alone is read from the rows kept of it
            alone = table[table["measurand"] == measurand].reset_index(drop=True)
            pd.testing.assert_frame_equal(laboratory.timepoints(measurand=measurand), alone)
    in_python = [tuple(None if pd.isna(value) else value for value in row) for row in table.itertuples(index=False)]
    with sqlite3.connect(lab.root / "lab.db") as connection:
        cursor = connection.execute("SELECT * FROM timepoint")
        assert tuple(column[0] for column in cursor.description) == TIMEPOINT_COLUMNS
        in_sql = cursor.fetchall()
    connection.close()
    # The view has no order of its own.
    key = [TIMEPOINT_COLUMNS.index(name) for name in ("subject_id", "visit", "measurand", "accession_id")]
    in_order = [sorted(rows, key=lambda row: [row[place] or "" for place in key]) for rows in (in_sql, in_python)]
    assert in_order[0] == in_order[1]
    on_command_line = list(csv.reader(io.StringIO(lab.run("timepoints", "--format", "csv").stdout)))
    assert len(on_command_line) == len(in_python) + 1
    as_json = json.loads(lab.run("timepoints", "--json").stdout)
    assert [tuple(row.values()) for row in as_json] == in_python


def test_the_arm_is_there_with_the_right_to_it_and_nowhere_without(
    new_lab: Callable[..., Lab], small_study: Dropped, tmp_path: Path
) -> None:
    canary = "ARMCANARY"
    study = tmp_path / "study.toml"
    text = (new_lab("packaged").root / "study.toml").read_text()
    study.write_text(text.replace('code = "A"\n', f'code = "{canary}"\n', 1))
    lab = new_lab(study=study)
    small_study.into(lab, kinds=("study", "elisa"))
    lab.ingest(status=1)
    arms = tmp_path / "arms.csv"
    subjects = sorted(subject.subject_id for subject in small_study.study.subjects)
    arms.write_text("subject_id,arm\n" + "".join(f"{subject},{canary}\n" for subject in subjects))
    lab.run("arms load", str(arms))
    assert canary in lab.table("--arm")
    assert next(csv.reader(io.StringIO(lab.table("--arm"))))[:3] == ["study_id", "subject_id", "arm"]
    assert "arm" not in lab.table().splitlines()[0].split(",")
    allowed = {"study.toml", "arms.db", "arms.db-wal", "arms.db-shm"}
    told = [
        str(path.relative_to(lab.root))
        for path in lab.root.rglob("*")
        if path.is_file() and path.name not in allowed and canary.encode() in path.read_bytes()
    ]
    # The definition of the study is on record with its arms; whose arm it is, is not.
    assert told in (["lab.db"], ["lab.db", "lab.db-wal"], [])
    assert (lab.root / "arms.db").stat().st_mode & 0o077 == 0
    for words in (["status"], ["timepoints"], ["timepoints", "--summary"], ["audit verify"], ["ingest"]):
        assert canary not in lab.run(*words, status=None).stdout


def test_the_same_bytes_again_renamed_or_not_change_nothing_but_a_sighting(ingested: Lab, small_study: Dropped) -> None:
    lab = ingested
    before = lab.table()
    small_study.into(lab, kinds=("study",))
    fcs = next(path for path in sorted((small_study.inbox / "cytometry").iterdir()) if path.stem in before)
    slide = next(path for path in sorted((small_study.inbox / "ihc").iterdir()) if path.name[:10] in before)
    lab.drop("cytometry", fcs)
    lab.write("cytometry", "ATR-999999.fcs", fcs.read_bytes())
    lab.write("ihc", "renamed_CD8.ome.tiff", slide.read_bytes())
    plate = next(path for path in sorted((small_study.inbox / "elisa").glob("IL6*")) if ".map." not in path.name)
    lab.write("elisa", f"again{plate.suffix}", plate.read_bytes())
    lab.write("elisa", "again.map.csv", (plate.parent / f"{plate.stem}.map.csv").read_bytes())
    states = {file["name"]: file["state"] for file in lab.ingest() if file["state"] != "waiting"}
    assert set(states.values()) == {"seen"}, states
    assert len(states) == len(list((small_study.inbox / "study").iterdir())) + 2 + 1 + 2
    assert lab.table() == before


def test_a_corrected_map_supersedes_and_the_old_results_stay(new_lab: Callable[..., Lab], small_study: Dropped) -> None:
    lab = new_lab()
    small_study.into(lab, kinds=("study",))
    plate = next(path for path in sorted((small_study.inbox / "elisa").glob("IL6*")) if ".map." not in path.name)
    lab.drop("elisa", plate)
    assert {file["name"]: file["state"] for file in lab.ingest()}[plate.name] == "waiting"
    rows = list(csv.reader(io.StringIO((plate.parent / f"{plate.stem}.map.csv").read_text())))
    lab.drop("elisa", plate.parent / f"{plate.stem}.map.csv")
    assert {file["state"] for file in lab.ingest()} == {"recorded"}
    before = lab.table("--measurand", "IL6")
    dilution = rows[0].index("dilution_factor")
    for row in rows[1:]:
        row[dilution] = "20"
    corrected = io.StringIO()
    csv.writer(corrected).writerows(rows)
    lab.write("elisa", f"{plate.stem}.map.csv", corrected.getvalue())
    lab.write("elisa", f"{plate.stem}.toml", 'by = "A. Person"\nreason = "The dilution was 20."\n')
    assert {file["state"] for file in lab.ingest()} == {"recorded"}
    assert lab.table("--measurand", "IL6") != before
    connection = sqlite3.connect(lab.root / "lab.db")
    (reason,) = connection.execute("SELECT reason FROM supersession").fetchone()
    (analyses,) = connection.execute("SELECT count(*) FROM analysis").fetchone()
    connection.close()
    assert "corrected plate map" in reason
    assert analyses == 2


def test_a_file_quarantined_for_an_unknown_accession_goes_through_when_the_list_brings_it(
    new_lab: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = new_lab()
    recorded = small_study.study.acquisitions[0].file_name
    lab.drop("cytometry", small_study.inbox / "cytometry" / recorded)
    assert [file["state"] for file in lab.ingest(status=1)] == ["quarantined"]
    note = (lab.root / "quarantine" / "cytometry" / f"{recorded}.reason.txt").read_text()
    assert "is not in the specimen list" in note
    small_study.into(lab, kinds=("study",))
    states = {file["name"]: file["state"] for file in lab.ingest()}
    assert states[recorded] == "recorded"
    assert lab.quarantined("cytometry") == set()
    assert not (lab.root / "quarantine" / "cytometry" / f"{recorded}.reason.txt").exists()


def test_a_list_with_vanished_rows_goes_to_quarantine_and_the_old_one_stays(
    new_lab: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = new_lab()
    small_study.into(lab, kinds=("study",))
    lab.ingest()
    before = lab.table()
    lines = (small_study.inbox / "study" / "specimens.csv").read_text().splitlines()
    lab.write("study", "specimens.csv", "\n".join(lines[:-1]))
    assert [file["state"] for file in lab.ingest(status=1)] == ["quarantined"]
    note = (lab.root / "quarantine" / "study" / "specimens.csv.reason.txt").read_text()
    assert "1 rows of the list on record are not in this one" in note
    assert lab.table() == before


@pytest.mark.postgres
def test_a_laboratory_on_postgresql_gives_the_same_table(
    new_lab: Callable[..., Lab], small_study: Dropped, postgres_server: PostgresServer
) -> None:
    on_file, on_server = new_lab("on_file"), new_lab("on_server")
    settings = on_server.root / "lab.toml"
    url = postgres_server.url(postgres_server.new_database())
    settings.write_text(settings.read_text().replace('database_url = ""', f'database_url = "{url}"'))
    for lab in (on_file, on_server):
        small_study.into(lab, kinds=("study", "elisa"))
        lab.ingest(status=1)
        lab.run("arms load", str(small_study.truth / "arms.csv"))
    assert on_server.table("--arm") == on_file.table("--arm")
    assert on_server.states() == on_file.states()
    assert "whole" in on_server.run("audit verify").stdout


def test_two_demonstrations_of_one_seed_give_identical_tables(
    tmp_path: Path, command: Path, lab_at: Callable[[Path], Lab]
) -> None:
    tables = []
    for name in ("one", "two"):
        demo = subprocess.run(
            [command, "demo", name, "--subjects", "3", "--seed", "7"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert demo.returncode == 0, demo.stdout + demo.stderr
        for line in ("ELISA, as of", "Flow cytometry, as of", "Immunohistochemistry, as of", "Quarantined", "elisa: "):
            assert line in demo.stdout
        as_of = json.loads((tmp_path / f"{name}.truth" / "study.json").read_text())["as_of"]
        tables.append(lab_at(tmp_path / name).run("timepoints", "--format", "csv", "--as-of", as_of).stdout)
    assert tables[0] == tables[1]
    assert tables[0].count("\n") > 100
