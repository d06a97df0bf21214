"""`biomarkers elisa read` and `biomarkers elisa fit` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from biomarkers.cli.elisa import app
from biomarkers.elisa.logistic import FourPL
from biomarkers.errors import SourceFileError

RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)


def points_file(tmp_path: Path, *unknowns: str) -> Path:
    # Responses of RISING at these concentrations, alternately 1 % high and low.
    levels = [0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]
    lines = ["concentration,response,name"]
    for level in levels:
        ratio = (level / RISING.inflection) ** RISING.slope
        response = RISING.infinite_dose + (RISING.zero_dose - RISING.infinite_dose) / (1 + ratio)
        lines += [f"{level},{response * 1.01:.6f},", f"{level},{response * 0.99:.6f},"]
    path = tmp_path / "points.csv"
    path.write_text("\n".join([*lines, *unknowns]) + "\n", encoding="utf-8")
    return path


def test_a_fit_is_printed_as_one_json_document_with_the_agreed_names(tmp_path: Path) -> None:
    file = points_file(tmp_path, ",0.6,a", ",0.62,a", ",9,b", ",0.001,c", ",OVRFLW,d")
    ran = CliRunner().invoke(app, ["fit", str(file), "--json"])
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    names = ["zero_dose", "slope", "inflection", "infinite_dose"]
    assert answer["model"] == "4pl"
    assert list(answer["parameters"]) == list(answer["standard_errors"]) == list(answer["covariance"]) == names
    assert answer["parameters"] == pytest.approx(dict(RISING.parameters), rel=0.02)
    assert answer["degrees_of_freedom"] == 12
    assert [level["nominal"] for level in answer["calibrators"]] == [0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]
    assert answer["calibrators"][0]["recovery_percent"] is None
    unknowns = {one["name"]: one for one in answer["unknowns"]}
    assert unknowns["a"]["response"] == pytest.approx(0.61)
    assert unknowns["a"]["lower"] < unknowns["a"]["concentration"] < unknowns["a"]["upper"]
    assert [(unknowns[name]["concentration"], unknowns[name]["comparator"]) for name in "bcd"] == [
        (None, ">"),
        (None, "<"),
        (None, ">"),
    ]
    assert [finding["code"] for finding in answer["findings"]] == ["WELL_OVERFLOW"]


@pytest.mark.parametrize("model", ["4pl", "5pl", "linear", "loglog"])
@pytest.mark.parametrize("weights", ["none", "1/y", "1/y2", "fitted"])
def test_every_model_takes_every_weight_and_keeps_the_identity_of_its_figures(tmp_path: Path, model: str, weights: str) -> None:
    ran = CliRunner().invoke(app, ["fit", str(points_file(tmp_path)), "--model", model, "--weights", weights, "--json"])
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    assert answer["residual_sd"] ** 2 * answer["degrees_of_freedom"] == pytest.approx(answer["rss"])
    for name, error in answer["standard_errors"].items():
        assert answer["covariance"][name][name] == pytest.approx(error**2)


def test_without_json_a_table_is_printed(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["fit", str(points_file(tmp_path, ",0.6,patient"))])
    assert ran.exit_code == 0, ran.output
    assert "inflection" in ran.stdout
    assert "patient" in ran.stdout


def test_an_unknown_model_is_a_wrong_call(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["fit", str(points_file(tmp_path)), "--model", "3pl"]).exit_code == 2


def test_a_file_without_the_columns_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("dose,response\n1,2\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["fit", str(path)])
    assert isinstance(ran.exception, SourceFileError)
    assert str(ran.exception) == (
        "The column 'concentration' is missing. File 'points.csv', row 1. "
        "Name the columns concentration, response and, where wanted, name."
    )


def test_an_export_is_printed_as_wells_with_null_and_flag_for_an_overflow(tmp_path: Path) -> None:
    lines = [",1,2,3,4,5,6,7,8,9,10,11,12", "A,0.5,OVRFLW" + ",0.1" * 10, *(letter + ",0.1" * 12 for letter in "BCDEFGH")]
    path = tmp_path / "P1.csv"
    path.write_text("\n".join(["450 nm", *lines]), encoding="utf-8")
    ran = CliRunner().invoke(app, ["read", str(path), "--json"])
    assert ran.exit_code == 0, ran.output
    (plate,) = json.loads(ran.stdout)["plates"]
    assert {key: plate[key] for key in ("plate", "wavelength_nm", "reference_nm", "rows", "columns")} == {
        "plate": "P1",
        "wavelength_nm": 450.0,
        "reference_nm": None,
        "rows": 8,
        "columns": 12,
    }
    assert (plate["wells"]["A01"], plate["wells"]["A02"], plate["flags"]) == (0.5, None, {"A02": "overflow"})
    assert len(plate["wells"]) == 96
    assert "overflow" in CliRunner().invoke(app, ["read", str(path)]).stdout
