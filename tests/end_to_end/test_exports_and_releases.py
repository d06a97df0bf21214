"""What leaves a laboratory: tables, figures, worklists, exports and releases, and that no arm leaves it unasked."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyreadstat
import pytest
from typer.testing import CliRunner, Result

from biomarkers.cli import app
from biomarkers.elisa.records import PlateAnalysis
from biomarkers.errors import BiomarkersError
from biomarkers.lab.archive import raw_path
from biomarkers.lab.folders import LabFolder
from biomarkers.laboratory import create_laboratory, open_lab
from biomarkers.readers.plate_layouts import read_layout, read_plate_map
from biomarkers.readers.study_files import packaged_study_text
from biomarkers.store import sources
from biomarkers.store.results import current_runs, read_analysis
from biomarkers.store.signatures import Meaning, sign, signed_digest
from flows.server import Announcement

AS_OF = ("--as-of", "2026-06-30")
DAY = date(2026, 6, 30)
KINDS = ("elisa", "study")
CANARY = "CANARYWORD"
"""Stands in the code and the label of every arm of the study, and nowhere else."""


class Dropped(Protocol):
    """A simulated study's files."""

    inbox: Path
    truth: Path


def canary_study(folder: Path) -> Path:
    text = packaged_study_text()
    for code, label in (("A", "gemcitabine + berzosertib"), ("B", "gemcitabine")):
        text = text.replace(
            f'code = "{code}"\nlabel = "{label}"\nratio', f'code = "{CANARY}-{code}"\nlabel = "{CANARY} {label}"\nratio'
        )
    assert text.count(CANARY) == 4
    path = folder / "study.toml"
    path.write_text(text)
    return path


@dataclass(frozen=True, kw_only=True)
class Made:
    """A laboratory with results and allocations, whose store of allocations lies where its role cannot read it."""

    root: Path
    allocations: Path


def make_lab(root: Path, study: Path, server: Announcement) -> None:
    with create_laboratory(root, study=study) as laboratory:
        folder = laboratory.folder
    folder.settings_file.write_text(folder.settings_file.read_text().replace("settling_seconds = 10", "settling_seconds = 0"))
    folder.orchestration.mkdir()
    Announcement(url=server.url, pid=server.pid, lasting=True).write(folder.orchestration / "server.json")


def run(*words: str | Path, status: int = 0) -> Result:
    """Run a command in this process; what the package refuses is told in the output, as the command line tells it."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, BiomarkersError):
        assert status == 1, result.exception
        return result
    assert result.exit_code == status, f"{words}\n{result.output}\n{result.exception!r}"
    return result


def ingest(root: Path, *, status: int) -> None:
    """Take files in, in a process of its own: orchestration keeps connections open until its process ends."""
    command = Path(sys.executable).with_name("biomarkers")
    done = subprocess.run([command, "ingest", str(root), "--json"], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, server: Announcement, small_study: Dropped) -> Made:
    place = tmp_path_factory.mktemp("canary")
    root = place / "lab"
    make_lab(root, canary_study(place), server)
    for kind in KINDS:
        for file in sorted((small_study.inbox / kind).iterdir()):
            shutil.copyfile(file, root / "inbox" / kind / file.name)
    ingest(root, status=1)
    with (small_study.truth / "arms.csv").open() as file:
        arms = [f"{row['subject_id']},{CANARY}-{row['arm']}" for row in csv.DictReader(file)]
    loaded = place / "arms.csv"
    loaded.write_text("\n".join(["subject_id,arm", *arms, ""]))
    run("arms", "load", root, loaded)
    shutil.move(root / "arms.db", place / "arms.db")
    return Made(root=root, allocations=place / "arms.db")


@pytest.fixture
def lab(tmp_path: Path, made: Made) -> Path:
    """Give a copy of the laboratory to somebody who may not know arms."""
    shutil.copytree(made.root, tmp_path / "lab", symlinks=True)
    return tmp_path / "lab"


@pytest.fixture
def unblinded(lab: Path, made: Made) -> Path:
    shutil.copy2(made.allocations, lab / "arms.db")
    return lab


PRODUCED = (
    ("timepoints", "--format", "csv"),
    ("timepoints", "--wide", "--format", "csv"),
    ("timepoints", "--output", "OUT/table.xlsx"),
    ("timepoints", "--output", "OUT/table.parquet"),
    ("timepoints", "--summary", "--json"),
    ("timepoints", "--changes"),
    ("timepoints", "--transitions"),
    ("timepoints", "--tests"),
    ("attrition",),
    ("attrition", "--names", "--json"),
    ("completeness",),
    ("completeness", "--long", "--json"),
    ("worklist", "--assay", "elisa", "--output", "OUT/elisa"),
    ("worklist", "--assay", "ihc", "--json"),
    ("figures", "--kind", "course", "--measurand", "IL6", "--output", "OUT/course.html"),
    ("figures", "--kind", "waterfall", "--measurand", "IL6", "--visit", "C2D1", "--output", "OUT/waterfall.svg"),
    ("figures", "--kind", "paired", "--measurand", "IL6", "--visit", "C2D1", "--output", "OUT/paired.svg"),
    ("figures", "--kind", "completeness", "--output", "OUT/completeness.svg"),
    ("figures", "--kind", "correlation", "--visit", "BASELINE", "--output", "OUT/correlation.html"),
    ("export", "--as", "sdtm", "--output", "OUT/sdtm"),
    ("export", "--as", "adam", "--output", "OUT/adam"),
    ("export", "--as", "cidc", "--output", "OUT/cidc"),
)

REFUSED = (
    ("timepoints", "--arm"),
    ("timepoints", "--wide", "--arm"),
    ("timepoints", "--summary", "--arm"),
    ("timepoints", "--changes", "--arm"),
    ("timepoints", "--transitions", "--arm"),
    ("timepoints", "--tests", "--arm"),
    ("timepoints", "--between-arms"),
    ("timepoints", "--mixed-model", "--measurand", "IL6", "--arm"),
    ("attrition", "--arm"),
    ("figures", "--kind", "course", "--measurand", "IL6", "--arm", "--output", "OUT/refused.html"),
    ("export", "--as", "adam", "--arm", "--output", "OUT/refused"),
)


def test_without_the_right_no_arm_is_in_anything_that_can_be_produced(lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    said: dict[str, str] = {}
    for words in PRODUCED:
        command, *rest = (word.replace("OUT", str(out)) for word in words)
        dated = () if command == "status" else AS_OF
        said[" ".join(words)] = run(command, lab, *rest, *dated).output
    for words in REFUSED:
        command, *rest = (word.replace("OUT", str(out)) for word in words)
        result = run(command, lab, *rest, status=1)
        said[" ".join(words)] = f"{result.output} {result.exception}"
    said["release"] = run("release", lab, "first", *AS_OF).output
    said["status"] = run("status", lab, "--json").output
    said["check"] = run("audit", "verify", lab).output
    assert [words for words, text in said.items() if CANARY in text] == []
    looked_at = [path for folder in (out, lab) for path in folder.rglob("*") if path.is_file() and path.name != "study.toml"]
    telling = [str(path) for path in looked_at if any(CANARY in text for text in texts_of(path))]
    assert len(looked_at) > 60
    assert telling == []
    for left in ("refused.html", "refused"):
        assert not (out / left).exists()


def texts_of(path: Path) -> Iterator[str]:
    """Everything a file says; what is packed or kept in a database is unpacked first."""
    yield path.name
    if path.suffix == ".xlsx":
        yield from (sheet.to_csv() for sheet in pd.read_excel(path, sheet_name=None).values())
    elif path.suffix == ".parquet":
        yield pd.read_parquet(path).to_csv()
    elif path.suffix == ".db":
        connection = sqlite3.connect(path)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            # The study's definition says which arms there are, as study.toml does; who is in which stands nowhere in it.
            if table != "definition":
                yield from (str(row) for row in connection.execute(f'SELECT * FROM "{table}"'))  # noqa: S608  - own tables
        connection.close()
    elif not path.name.endswith(("-wal", "-shm")):
        yield path.read_bytes().decode("utf-8", "replace")


def test_with_the_right_arms_stand_side_by_side(unblinded: Path, tmp_path: Path) -> None:
    table = run("timepoints", unblinded, "--summary", "--arm", "--format", "csv", *AS_OF)
    assert CANARY in table.stdout
    assert "not compared" in table.stderr
    run("export", unblinded, "--as", "adam", "--arm", "--output", tmp_path / "adam", *AS_OF)
    frame, _ = pyreadstat.read_xport(tmp_path / "adam" / "adlb.xpt")
    assert frame["TRTP"].str.contains(CANARY).all()
    figure = tmp_path / "course.html"
    run("figures", unblinded, "--kind", "course", "--measurand", "IL6", "--arm", "--output", figure, *AS_OF)
    assert CANARY in figure.read_text()
    release = run("release", unblinded, "first", *AS_OF)
    assert CANARY not in release.output
    held = [path for path in (unblinded / "releases").rglob("*") if path.is_file()]
    assert [path for path in held if any(CANARY in text for text in texts_of(path))] == []


def rebuilt(lab: Path, folder: Path, server: Announcement) -> Path:
    """Make the laboratory again; raw bytes and the names they came under are all that is taken over."""
    again = folder / "again"
    make_lab(again, canary_study(folder), server)
    with open_lab(lab) as laboratory, laboratory.database.read() as reading:
        received = sources.all_sources(reading)
    for file in received:
        shutil.copyfile(raw_path(LabFolder(root=lab), file.sha256), again / "inbox" / file.assay / file.first_name)
    ingest(again, status=1)
    return again


def test_a_release_built_again_from_the_raw_bytes_is_the_same(lab: Path, tmp_path: Path, server: Announcement) -> None:
    first = json.loads(run("release", lab, "interim", *AS_OF, "--json").stdout)
    again = rebuilt(lab, tmp_path, server)
    second = json.loads(run("release", again, "interim", *AS_OF, "--json").stdout)
    assert second["files"] == first["files"]
    for path, digest in first["files"].items():
        one, other = (root / "releases" / "interim" / path for root in (lab, again))
        assert one.read_bytes() == other.read_bytes(), (path, digest)
    manifests = [json.loads((root / "releases" / "interim" / "manifest.json").read_text()) for root in (lab, again)]
    for manifest in manifests:
        assert manifest.pop("audit_head")["number"] > 10
        assert manifest.pop("locked_at")
    assert manifests[0] == manifests[1]
    assert manifests[0]["study"]["assumptions"]


def in_a_process(*words: str | Path, status: int = 0) -> str:
    """Run a command that needs orchestration, which keeps connections open until its process ends."""
    command = Path(sys.executable).with_name("biomarkers")
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_decisions_told_again_make_the_release_of_a_rebuilt_laboratory_the_same(
    lab: Path, tmp_path: Path, server: Announcement
) -> None:
    untouched = json.loads(run("release", lab, "before", *AS_OF, "--json").stdout)
    with open_lab(lab) as laboratory:
        table = laboratory.timepoints(measurand=["IL6", "IL8"], as_of=DAY)
        measured = table[table["status"] == "measured"].sort_values("measurand", kind="stable")
        masked_run = measured["run_id"].iloc[0]
        other = measured[measured["run_id"] != masked_run]
        with laboratory.database.read() as reading:
            analysis_id = next(one for one in current_runs(reading) if one.run_id == masked_run).analysis_id
            plate = read_analysis(reading, analysis_id=analysis_id)
        assert isinstance(plate, PlateAnalysis)
        well = next(one.position for one in plate.wells if one.accession_id == measured["accession_id"].iloc[0])
    in_a_process("mask", lab, masked_run, well, "--reason", "a bubble")
    in_a_process("dispose", lab, other["result_id"].iloc[0], "--as", "excluded", "--reason", "wrong tube")
    in_a_process("ingest", lab)
    with open_lab(lab) as laboratory, laboratory.database.write() as transaction:
        sign(
            transaction,
            run_id=masked_run,
            meaning=Meaning.REVIEWED,
            digest=signed_digest(transaction, run_id=masked_run),
            signed_by="maria",
            full_name="Maria Weiss",
            signed_at=datetime(2026, 7, 1, 9, 30, tzinfo=UTC),
            reason="looked at",
        )
    first = json.loads(run("release", lab, "interim", *AS_OF, "--json").stdout)
    assert first["files"]["timepoints.csv"] != untouched["files"]["timepoints.csv"]
    told = lab / "releases" / "interim" / "decisions.jsonl"
    assert sorted(json.loads(line)["kind"] for line in told.read_text().splitlines()) == ["result", "run", "wells"]
    again = rebuilt(lab, tmp_path, server)
    plain = json.loads(run("release", again, "raw-alone", *AS_OF, "--json").stdout)
    assert plain["files"]["timepoints.csv"] == untouched["files"]["timepoints.csv"]
    counts = json.loads(in_a_process("decisions", "replay", again, told, "--json"))
    assert counts["decisions"] == {kind: {"taken": 1, "known": 0, "passed_over": 0} for kind in ("wells", "result", "run")}
    second = json.loads(run("release", again, "interim", *AS_OF, "--json").stdout)
    assert second["files"] == first["files"]
    counts = json.loads(in_a_process("decisions", "replay", again, told, "--json"))
    assert counts["decisions"] == {kind: {"taken": 0, "known": 1, "passed_over": 0} for kind in ("wells", "result", "run")}
    assert "whole" in run("audit", "verify", again).output.lower()


def test_a_release_is_locked_audited_and_never_made_twice(lab: Path) -> None:
    made = json.loads(run("release", lab, "one", *AS_OF, "--json").stdout)
    folder = lab / "releases" / "one"
    assert {path.stat().st_mode & 0o222 for path in folder.rglob("*") if path.is_file()} == {0}
    refused = run("release", lab, "one", status=1)
    assert "There is a release 'one' already" in str(refused.exception)
    assert "cannot name a release" in str(run("release", lab, "../one", status=1).exception)
    connection = sqlite3.connect(lab / "lab.db")
    ((detail,),) = connection.execute("SELECT detail FROM audit_event WHERE action = 'release.locked'")
    connection.close()
    assert made["manifest_sha256"] in detail
    assert "whole" in run("audit", "verify", lab).output.lower()
    csv_rows = pd.read_csv(folder / "timepoints.csv")
    assert len(csv_rows) == len(pd.read_parquet(folder / "timepoints.parquet"))
    assert "arm" not in csv_rows
    assert not list((lab / "releases").glob(".*"))


def test_a_planned_plate_map_is_one_the_laboratory_reads(lab: Path, tmp_path: Path) -> None:
    run("worklist", lab, "--assay", "elisa", "--output", tmp_path / "work", *AS_OF)
    maps = sorted((tmp_path / "work").glob("*.map.csv"))
    listed = list(csv.DictReader(io.StringIO((tmp_path / "work" / "worklist-elisa-2026-06-30.csv").read_text())))
    assert maps
    assert listed
    for path in maps:
        (plate_map,) = read_plate_map(path)
        layout = read_layout(lab / "plate_layouts" / f"{plate_map.layout}.csv")
        assert plate_map.plate_id == path.name.removesuffix(".map.csv")
        assert {entry.slot for entry in plate_map.entries} <= set(layout.slots(layout.wells_of("S01")[0].role))
        wanted = {row["accession_id"] for row in listed if row["measurand"] == plate_map.entries[0].analyte}
        assert {entry.accession_id for entry in plate_map.entries} == wanted
    (sheet,) = (tmp_path / "work").glob("*.html")
    assert "staff masked to arm" in sheet.read_text()


def test_sdtm_is_read_back_by_a_foreign_reader_with_its_source_digests(lab: Path, tmp_path: Path) -> None:
    run("export", lab, "--as", "sdtm", "--output", tmp_path / "sdtm", *AS_OF)
    frame, meta = pyreadstat.read_xport(tmp_path / "sdtm" / "lb.xpt")
    document = json.loads((tmp_path / "sdtm" / "lb.json").read_text())
    assert len(frame) == document["records"] > 0
    assert list(frame.columns) == [column["name"] for column in document["columns"]] == list(meta.column_names)
    assert frame["SRCSHA"].str.fullmatch("[0-9a-f]{64}").all()
    bounds = frame[frame["LBSTRESC"].str.startswith(("<", ">"))]
    assert bounds["LBSTRESN"].isna().all()


def test_dates_that_cannot_be_right_are_findings_in_python_and_in_sql(lab: Path, made: Made) -> None:
    roster = next(path for path in (lab / "done").rglob("roster*.csv"))
    lines = list(csv.DictReader(io.StringIO(roster.read_text())))
    subject = lines[0]
    subject["treatment_end"] = "2001-01-01"
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(subject))
    writer.writeheader()
    writer.writerows(lines)
    (lab / "inbox" / "study" / "roster.csv").write_text(buffer.getvalue())
    (lab / "inbox" / "study" / "shipments.csv").write_text("accession_id,shipped_on,box\nATR-999999,2026-01-02,B7\n")
    ingest(lab, status=1)  # what was quarantined for an unknown accession is tried again
    with open_lab(lab) as laboratory:
        table = laboratory.timepoints(subject=subject["subject_id"], as_of=DAY)
        told = laboratory.irregularities(as_of=DAY)
    measured = table[table["result_id"].notna() & (table["measurand"] == "IL6")]
    assert measured["findings"].str.contains("IMPOSSIBLE_DATE").all()
    assert len(measured) > 0
    assert any("end of treatment" in finding.message for finding in told)
    assert any(finding.code == "SHIPPED_NOT_LISTED" and "box B7" in finding.message for finding in told)
    connection = sqlite3.connect(lab / "lab.db")
    in_sql = connection.execute(
        "SELECT result_id FROM timepoint WHERE findings LIKE '%IMPOSSIBLE_DATE%' AND subject_id = ?", (subject["subject_id"],)
    ).fetchall()
    connection.close()
    assert {result_id for (result_id,) in in_sql} == set(table[table["findings"].str.contains("IMPOSSIBLE_DATE")]["result_id"])
    untouched = run("timepoints", made.root, "--format", "csv", *AS_OF)
    assert "IMPOSSIBLE_DATE" not in untouched.stdout
