"""`biomarkers cytometry gate` as a person and as a program call it."""

from __future__ import annotations

import json
from pathlib import Path

import flowio
import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from biomarkers.cli.cytometry import app
from biomarkers.cytometry.examined import examine
from biomarkers.errors import GatingError, SourceFileError, StudyDefinitionError
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.panels import read_panel
from biomarkers.simulation.fcs_bytes import Detector, fcs_bytes

PANEL = """
name = "two"
title = "Two populations"
compensation = "none"
markers = [{ name = "CD3" }]
[[populations]]
name = "CD3+"
gates = [{ method = "valley", marker = "CD3", sign = "+" }]
[[populations]]
name = "CD3-"
gates = [{ method = "shared", marker = "CD3", sign = "-", of = "CD3+" }]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 100, 1000), rng.normal(20_000, 2_000, 500)]).astype(np.float32)
    fcs, panel = tmp_path / "tube.fcs", tmp_path / "two.toml"
    with fcs.open("wb") as file:
        flowio.create_fcs(file, values.tolist(), ["PE-A"], ["CD3"], {"P1R": "262144"}).close()
    panel.write_text(PANEL)
    return fcs, panel


def test_the_document_has_every_field_programs_rely_on(files: tuple[Path, Path]) -> None:
    fcs, panel = files
    done = CliRunner().invoke(app, ["gate", str(fcs), "--panel", str(panel), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["events"] == 1500
    assert document["panel"] == "two"
    positive, negative = document["populations"]
    assert {
        "name", "parent", "count", "parent_count", "frequency_percent", "denominator", "lower", "upper", "median_intensity",
        "quality", "reportable", "findings",
    } <= set(positive)  # fmt: skip
    assert (positive["name"], positive["parent"], positive["count"], negative["count"]) == ("CD3+", "root", 500, 1000)
    assert positive["median_intensity"]["CD3"] == pytest.approx(20_000, rel=0.02)
    assert positive["lower"] < positive["frequency_percent"] < positive["upper"]
    assert {finding["code"] for finding in document["findings"]} == {"TIME_MISSING"}
    assert set(document["findings"][0]) == {"code", "severity", "where", "message", "remedy"}


def test_the_membership_has_one_column_a_population_and_one_row_an_event(files: tuple[Path, Path], tmp_path: Path) -> None:
    fcs, panel = files
    out = tmp_path / "members.parquet"
    assert CliRunner().invoke(app, ["gate", str(fcs), "--panel", str(panel), "--membership", str(out)]).exit_code == 0
    table = parquet.read_table(out)
    assert table.column_names == ["CD3+", "CD3-"]
    assert table.num_rows == 1500
    np.testing.assert_array_equal(table["CD3+"].to_numpy(), np.arange(1500) >= 1000)


def test_people_see_a_table_and_hear_findings_apart_from_it(files: tuple[Path, Path]) -> None:
    fcs, panel = files
    done = CliRunner().invoke(app, ["gate", str(fcs), "--panel", str(panel)])
    assert "tube: 1500 events, panel two" in done.stdout
    assert "note TIME_MISSING" in done.stderr
    assert "TIME_MISSING" not in done.stdout


def test_a_panel_that_does_not_fit_is_refused_with_every_marker_named(files: tuple[Path, Path]) -> None:
    fcs, _ = files
    done = CliRunner().invoke(app, ["gate", str(fcs), "--panel", "pbmc-lineage"])
    assert isinstance(done.exception, GatingError)
    assert "marker 'CD4'" in str(done.exception)
    assert "marker 'FSC-A'" in str(done.exception)


def test_an_unknown_panel_is_refused_by_name(files: tuple[Path, Path]) -> None:
    done = CliRunner().invoke(app, ["gate", str(files[0]), "--panel", "nonsense"])
    assert isinstance(done.exception, StudyDefinitionError)


def test_a_call_without_a_panel_is_wrong(files: tuple[Path, Path]) -> None:
    assert CliRunner().invoke(app, ["gate", str(files[0])]).exit_code == 2


@pytest.mark.parametrize(("option", "name"), [("--gatingml", "gates.xml"), ("--workspace", "gates.wsp")])
def test_gates_written_by_one_command_are_applied_and_compared_by_the_others(
    files: tuple[Path, Path], tmp_path: Path, option: str, name: str
) -> None:
    fcs, panel = files
    gates = tmp_path / name
    assert CliRunner().invoke(app, ["gate", str(fcs), "--panel", str(panel), option, str(gates)]).exit_code == 0
    applied = CliRunner().invoke(app, ["apply", str(fcs), str(gates), "--json"])
    assert applied.exit_code == 0, applied.output
    counts = {one["path"][-1]: one["count"] for one in json.loads(applied.stdout)["populations"]}
    assert counts == {"CD3+": 500, "CD3-": 1000}
    compared = CliRunner().invoke(app, ["compare", str(fcs), str(gates), "--panel", str(panel), "--json"])
    assert compared.exit_code == 0, compared.output
    assert [one["change"] for one in json.loads(compared.stdout)["populations"]] == ["unchanged", "unchanged"]


def test_gate_leaves_out_what_the_laboratory_leaves_out_and_takes_the_data_set_it_is_told(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    _, panel = files
    rng = np.random.default_rng(2)
    light = np.where(rng.random(20_000) < 0.4, rng.normal(20_000, 2_000, 20_000), rng.normal(0, 100, 20_000))
    light[9_000:11_000] *= 5
    table = np.column_stack([light, 0.01 * np.arange(20_000)]).astype(np.float32)
    disturbed, sound, both = (tmp_path / name for name in ("tube.fcs", "sound.fcs", "both.fcs"))
    detectors = (Detector(name="PE-A", marker="CD3"), Detector(name="Time"))
    first, second = (fcs_bytes(events, detectors, {"$NEXTDATA": "00000000"}) for events in (table, table[:5000]))
    disturbed.write_bytes(first)
    sound.write_bytes(second)
    both.write_bytes(first.replace(b"$NEXTDATA|00000000", f"$NEXTDATA|{len(first):08d}".encode()) + second)
    done = CliRunner().invoke(app, ["gate", str(disturbed), "--panel", str(panel), "--json"])
    document = json.loads(done.stdout)
    examined = examine(read_fcs(disturbed), read_panel(panel))
    assert document["removed_events"] == examined.over_time.removed > 1500
    counts = {one["name"]: one["count"] for one in document["populations"]}
    assert counts == {name: population.count for name, population in examined.gated.populations.items()}
    assert "TIME_SLICES_REMOVED" in {finding["code"] for finding in document["findings"]}
    refused = CliRunner().invoke(app, ["gate", str(sound), "--panel", str(panel), "--data-set", "2"])
    assert isinstance(refused.exception, SourceFileError)
    assert "number 2 was asked for" in str(refused.exception)
    of_second = CliRunner().invoke(app, ["gate", str(both), "--panel", str(panel), "--data-set", "2", "--json"])
    assert of_second.exit_code == 0, of_second.output
    assert json.loads(of_second.stdout)["events"] == 5000


def test_a_matrix_of_its_own_takes_the_place_of_the_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    fcs, panel = files
    panel.write_text(panel.read_text().replace('compensation = "none"', 'compensation = "embedded"'))
    matrix = tmp_path / "matrix.csv"
    matrix.write_text("PE-A\n2\n")
    done = CliRunner().invoke(app, ["gate", str(fcs), "--panel", str(panel), "--spillover", str(matrix), "--json"])
    assert done.exit_code == 0, done.output
    # Twice the light was seen of every cell, says the matrix: medians are halved.
    assert json.loads(done.stdout)["populations"][0]["median_intensity"]["CD3"] == pytest.approx(10_000, rel=0.02)
