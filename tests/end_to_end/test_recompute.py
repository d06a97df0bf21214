"""New results from the same bytes; what was recorded stays, superseded with its reason."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from biomarkers.laboratory import open_lab
from biomarkers.provenance import utc_now
from biomarkers.store.results import current_runs
from biomarkers.store.signatures import Meaning, sign, signed_digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import Lab


def supersessions(root: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(root / "lab.db")
    rows = connection.execute(
        "SELECT analysis.name, supersession.reason FROM supersession"
        " JOIN analysis ON analysis.analysis_id = supersession.old_analysis_id ORDER BY 1"
    ).fetchall()
    connection.close()
    return rows


def test_by_the_same_definition_and_code_everything_comes_out_the_same(ingested: Lab) -> None:
    before = ingested.table()
    report = json.loads(ingested.run("recompute", "--reason", "To see that nothing changes.", "--json").stdout)
    assert report["changed"] == 0
    assert report["unchanged"] == 7 + len(list((ingested.root / "done").rglob("*.fcs"))) + len(
        list((ingested.root / "done").rglob("*.tiff"))
    )
    assert ingested.table() == before
    assert supersessions(ingested.root) == []


def test_a_changed_layout_changes_its_plates_and_no_other_and_the_reason_is_kept(ingested: Lab) -> None:
    layout = ingested.root / "plate_layouts" / "il6-96.csv"
    layout.write_text(layout.read_text().replace("200,200", "220,220"))
    before = ingested.table("--measurand", "IL8")
    ingested.run("recompute", "--reason", "The kit leaflet says 220.")
    changed = supersessions(ingested.root)
    assert [reason for _, reason in changed] == ["The kit leaflet says 220."]
    assert "IL6" in changed[0][0]
    assert ingested.table("--measurand", "IL8") == before
    assert "whole" in ingested.run("audit verify").stdout


def test_what_can_no_longer_be_computed_stays_as_it_was(ingested: Lab) -> None:
    (ingested.root / "plate_layouts" / "il6-96.csv").unlink()
    before = ingested.table()
    told = ingested.run("recompute", "--reason", "A layout was lost.", status=1).stdout
    assert "kept as it was" in told
    assert "il6-96" in told
    assert ingested.table() == before


def test_an_excluded_result_leaves_the_table_and_its_reason_stays(ingested: Lab) -> None:
    rows = [row for row in csv.DictReader(io.StringIO(ingested.table("--measurand", "IL6"))) if row["value"]]
    chosen = rows[0]["result_id"]
    ingested.run("dispose", chosen, "--as", "excluded", "--reason", "The tube had leaked.")
    after = {row["result_id"] for row in csv.DictReader(io.StringIO(ingested.table("--measurand", "IL6")))}
    assert chosen not in after
    connection = sqlite3.connect(ingested.root / "lab.db")
    (reason,) = connection.execute("SELECT reason FROM disposition").fetchone()
    connection.close()
    assert reason == "The tube had leaked."


@pytest.mark.slow
def test_a_reviewed_plate_keeps_its_results_until_a_person_accepts_what_a_changed_layout_makes_of_it(ingested: Lab) -> None:
    layout = ingested.root / "plate_layouts" / "il6-96.csv"
    with open_lab(ingested.root) as laboratory, laboratory.database.write() as transaction:
        (run,) = [run for run in current_runs(transaction) if "IL6" in run.name]
        sign(
            transaction,
            run_id=run.run_id,
            meaning=Meaning.REVIEWED,
            digest=signed_digest(transaction, run_id=run.run_id),
            signed_by="maria",
            full_name="Maria Reviewer",
            signed_at=utc_now(),
            reason="",
        )
    layout.write_text(layout.read_text().replace("2,2,2,2,2,2,2,2", "4,4,4,4,4,4,4,4"))
    before = ingested.table("--measurand", "IL6")
    assert json.loads(ingested.run("recompute", "--reason", "Specimens were diluted by 4.", "--json").stdout)["proposed"] == 1
    assert ingested.table("--measurand", "IL6") == before
    (waiting,) = json.loads(ingested.run("proposals list", "--json").stdout)["proposals"]
    assert waiting["run_id"] == run.run_id
    assert any(change["before"] != change["after"] for change in waiting["changes"])
    (stale,) = json.loads(ingested.run("status", "--json").stdout)["stale"]
    assert (stale["run_id"], stale["proposed"]) == (run.run_id, f"proposal {waiting['id']} waits for a decision")
    ingested.run("proposals accept", str(waiting["id"]), "--reason", "The bench book says so.")
    assert ingested.table("--measurand", "IL6") != before
    ((_, why),) = supersessions(ingested.root)
    assert "Specimens were diluted by 4." in why
    assert "The bench book says so." in why
    assert json.loads(ingested.run("proposals list", "--json").stdout)["proposals"] == []
    assert "whole" in ingested.run("audit verify").stdout
