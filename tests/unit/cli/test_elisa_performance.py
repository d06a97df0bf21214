"""`biomarkers elisa performance` and the options of `biomarkers elisa fit` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from biomarkers.cli.elisa import app
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.plate import WellRole, row_letters
from biomarkers.readers.plate_layouts import read_layout

IL6 = FourPL(zero_dose=0.05, slope=1.1, inflection=160.0, infinite_dose=3.2)
PLATES = 6
CV = 0.03
CONSTANT = 0.003


def plates(project_root: Path, folder: Path, *, count: int = PLATES) -> tuple[list[str], str]:
    """Validation plates whose kits differ by some percent in colour, and the layout."""
    layout_file = project_root / "plate_layouts" / "il6-validation-96.csv"
    layout = read_layout(layout_file)
    rng = np.random.default_rng(41)
    files = []
    for number in range(count):
        gain = float(np.exp(0.05 * rng.standard_normal()))
        grid = np.full((layout.rows, layout.columns), 0.04)
        for well in layout.used_wells:
            content = well.concentration if well.role in (WellRole.CALIBRATOR, WellRole.CONTROL) else 60.0 / well.dilution
            clean = float(IL6.response(np.array([0.0 if well.role is WellRole.BLANK else content or 0.0]))[0])
            noisy = clean * (1 + CV * rng.standard_normal()) + CONSTANT * rng.standard_normal()
            grid[well.position.row, well.position.column] = gain * noisy
        lines = [",".join(["", *(str(column + 1) for column in range(layout.columns))])]
        lines += [",".join([row_letters(row), *(f"{value:.4f}" for value in grid[row])]) for row in range(layout.rows)]
        path = folder / f"V{number}.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files.append(str(path))
    return files, str(layout_file)


def test_validation_plates_give_precision_functional_limits_noise_and_limits_of_detection(
    project_root: Path, tmp_path: Path
) -> None:
    files, layout = plates(project_root, tmp_path)
    ran = CliRunner().invoke(app, ["performance", *files, "--layout", layout, "--json"])
    assert ran.exit_code == 0, ran.output
    (answer,) = json.loads(ran.stdout)["analytes"]
    assert (answer["analyte"], answer["unit"], answer["plates"], answer["plates_without_curve"]) == ("IL6", "pg/mL", PLATES, 0)
    assert [level["level"] for level in answer["levels"]] == ["ULOQ", "HIGH", "MID", "LOW", "LLOQ"]
    assert all((level["runs"], level["readings"]) == (PLATES, 6 * PLATES) for level in answer["levels"])
    assert all(abs(level["bias_percent"]) < 6.0 for level in answer["levels"])
    assert answer["functional_limits"]["lower"] <= 1.1 * 3.1
    crossover, power = answer["noise_crossover"], answer["variance_power"]
    assert crossover["interval"]["lower"] < CONSTANT / CV < crossover["interval"]["upper"]
    assert crossover["cv_percent"] == pytest.approx(100 * CV, rel=0.25)
    assert crossover["constant_sd"] == pytest.approx(CONSTANT, rel=0.4)
    assert 1.0 < power["power"] < 2.3
    detection = answer["detection"]
    assert (detection["plates"], detection["blanks"]) == (PLATES, 6 * PLATES)
    assert 0 < detection["limit_of_blank"] < detection["limit_of_detection"] < 3.1
    assert answer["findings"] == []


def test_performance_is_printed_as_tables_and_what_two_plates_cannot_tell_is_said(project_root: Path, tmp_path: Path) -> None:
    files, layout = plates(project_root, tmp_path, count=2)
    ran = CliRunner().invoke(app, ["performance", *files, "--layout", layout])
    assert ran.exit_code == 0, ran.output
    assert "IL6, pg/mL: 2 plates, 0 without a curve" in ran.stdout
    assert "functional lower limit" in ran.stdout
    assert "limits of blank and detection. 12 blanks were read in replicates" in ran.stderr


def test_a_plate_without_a_curve_is_left_out_and_said(project_root: Path, tmp_path: Path) -> None:
    files, layout = plates(project_root, tmp_path, count=3)
    flat = Path(files[1]).read_text(encoding="utf-8").splitlines()
    rows = [flat[0], *(",".join([line.split(",", 1)[0], *["0.5"] * 12]) for line in flat[1:])]
    Path(files[1]).write_text("\n".join(rows) + "\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["performance", *files, "--layout", layout])
    assert ran.exit_code == 0, ran.output
    assert "IL6, pg/mL: 2 plates" in ran.stdout
    assert "File 'V1.csv'" in ran.stderr
    assert "is left out" in ran.stderr


def points_file(folder: Path, *, wild: float = 1.0) -> Path:
    levels = np.repeat([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0], 2)
    truth = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
    rng = np.random.default_rng(3)
    response = truth.response(levels) * (1 + 0.02 * rng.standard_normal(len(levels)))
    response[8] *= wild
    lines = ["concentration,response,name", *(f"{x},{y:.6f}," for x, y in zip(levels, response, strict=True))]
    lines += [",0.30,a", ",0.31,a", ",1.2,b", ",1.25,b"]
    path = folder / "points.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fit(path: Path, *options: str) -> dict[str, object]:
    ran = CliRunner().invoke(app, ["fit", str(path), "--json", *options])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


def slope(answer: dict[str, object]) -> float:
    parameters = answer["parameters"]
    assert isinstance(parameters, dict)
    return float(parameters["slope"])


def widths(answer: dict[str, object]) -> list[float]:
    unknowns = answer["unknowns"]
    assert isinstance(unknowns, list)
    return [one["upper"] - one["lower"] for one in unknowns]


def test_a_robust_fit_is_asked_for_and_names_the_wild_calibrator(tmp_path: Path) -> None:
    sound, wild = fit(points_file(tmp_path)), fit(points_file(tmp_path, wild=1.9))
    robust = fit(points_file(tmp_path, wild=1.9), "--robust")
    assert abs(slope(robust) - slope(sound)) < 0.5 * abs(slope(wild) - slope(sound))
    findings = robust["findings"]
    assert isinstance(findings, list)
    assert [one["code"] for one in findings] == ["CALIBRATOR_HELD_BACK"]


def test_the_power_of_the_variance_moves_the_curve_and_the_crossover_the_limits_alone(tmp_path: Path) -> None:
    plain, unweighted = fit(points_file(tmp_path)), fit(points_file(tmp_path), "--weights", "none")
    flat = fit(points_file(tmp_path), "--variance-power", "0")
    assert flat["parameters"] == pytest.approx(unweighted["parameters"], rel=1e-6)
    noisy = fit(points_file(tmp_path), "--noise-crossover", "0.5")
    assert noisy["parameters"] == plain["parameters"]
    assert widths(noisy) != widths(plain)
    assert set(noisy) == set(plain)


@pytest.mark.parametrize("option", [("--variance-power", "5"), ("--noise-crossover", "0"), ("--noise-crossover", "much")])
def test_a_power_or_crossover_that_cannot_be_is_a_wrong_call(tmp_path: Path, option: tuple[str, str]) -> None:
    assert CliRunner().invoke(app, ["fit", str(points_file(tmp_path)), *option]).exit_code == 2
