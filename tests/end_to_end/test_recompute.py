"""New results from the same bytes; what was recorded stays, superseded with its reason."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from typing import TYPE_CHECKING

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
