"""`biomarkers elisa compare` as a user calls it, on exports made for these tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biomarkers.cli.elisa import app


@pytest.fixture
def export(project_root: Path) -> Path:
    return project_root / "tests" / "data" / "elisa" / "exports" / "softmax-with-results.txt"


def test_the_agreed_names_are_printed_and_the_masked_calibrator_is_left_out(export: Path) -> None:
    # The file's concentrations were computed with scipy: four parameters, unweighted, through means, D02 masked.
    ran = CliRunner().invoke(app, ["compare", str(export), "--json"])
    assert ran.exit_code == 0, ran.output
    (plate,) = json.loads(ran.stdout)["plates"]
    agreed = ["plate", "model", "parameters", "compared", "max_abs_difference", "max_relative_difference", "disagreements"]
    assert [name for name in plate if name in agreed] == agreed
    assert (plate["plate"], plate["model"], plate["compared"], plate["disagreements"]) == ("P17", "4pl", 94, [])
    assert plate["response"] == "450 nm - 620 nm"
    assert plate["max_abs_difference"] <= 0.0005
    assert plate["summaries_compared"] == 8 * 3 + 40 * 2


def test_a_difference_is_told_with_its_well_and_both_numbers(export: Path, tmp_path: Path) -> None:
    text = export.read_bytes().decode("utf-16")
    rows = [line for line in text.splitlines() if line.startswith("S7\t")]
    (row,) = rows
    cells = row.split("\t")
    cells[4] = f"{float(cells[4]) + 0.01:.3f}"
    path = tmp_path / "changed.txt"
    path.write_bytes(text.replace(row, "\t".join(cells)).encode("utf-16"))
    ran = CliRunner().invoke(app, ["compare", str(path), "--model", "4pl", "--replicates", "mean", "--json"])
    (plate,) = json.loads(ran.stdout)["plates"]
    (one,) = plate["disagreements"]
    assert (one["quantity"], one["wells"], one["vendor"]) == (
        "concentration",
        [cells[1][0] + f"{int(cells[1][1:]):02d}"],
        cells[4],
    )
    assert one["difference"] == pytest.approx(-0.01, abs=0.0006)
    shown = CliRunner().invoke(app, ["compare", str(path), "--model", "4pl", "--replicates", "mean"])
    assert "Not explained by the digits printed" in shown.stdout
    assert cells[4] in shown.stdout


def test_without_json_a_table_says_what_was_compared(export: Path) -> None:
    ran = CliRunner().invoke(app, ["compare", str(export)])
    assert ran.exit_code == 0, ran.output
    assert "P17: 4pl (identified), mean, from 450 nm - 620 nm" in ran.stdout
    assert "inflection" in ran.stdout
    assert "MODEL_IDENTIFIED" in ran.stderr


def test_calculated_steps_of_a_skanit_report_are_compared(project_root: Path) -> None:
    path = project_root / "tests" / "data" / "elisa" / "exports" / "skanit.xlsx"
    ran = CliRunner().invoke(app, ["compare", str(path), "--json"])
    assert ran.exit_code == 0, ran.output
    (plate,) = json.loads(ran.stdout)["plates"]
    assert (plate["model"], plate["parameters"], plate["compared"], plate["disagreements"]) == (None, {}, 2 * 94, [])


def test_an_unknown_model_is_a_wrong_call(export: Path) -> None:
    assert CliRunner().invoke(app, ["compare", str(export), "--model", "spline"]).exit_code == 2
