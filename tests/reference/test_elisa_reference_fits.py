"""Curves against R: nls and drc on public data sets, inverse prediction against the package investr.

Frozen answers and their sources lie beside the data in expected_fits.json (R 4.2.2, drc 3.0-1, investr 1.4.2).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.logistic import Curve, FloatArray, FourPL
from biomarkers.elisa.quantitation import confidence_limits, standard_error
from biomarkers.readers.plate_reads import read_plates

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Case:
    file: str
    x: str
    y: str
    keep: Callable[[dict[str, str]], bool]
    model: str = "4pl"
    log_response: bool = False


def dnase(run: int) -> Case:
    return Case("DNase_ELISA_runs_1-6.csv", "conc", "density", lambda row: row["Run"] == str(run))


def mcp(run: int) -> Case:
    return Case(
        "nCal_MCP-1_luminex_runs_1_3_4.csv",
        "expected_conc",
        "fi",
        lambda row: row["assay_id"] == f"Run {run}",
        log_response=True,
    )


NLS = {f"DNase ELISA run {run} SSfpl": dnase(run) for run in range(1, 7)} | {
    "ria (competitive, decreasing; Belanger et al. 1996)": Case(
        "nlreg_ria_competitive_RIA.csv", "conc", "count", lambda _: True
    )
}
DRC = {
    "ryegrass LL.4": Case("drc_ryegrass.csv", "conc", "rootl", lambda _: True),
    "ryegrass LL.5": Case("drc_ryegrass.csv", "conc", "rootl", lambda _: True, model="5pl"),
    "secalonic LL.4": Case("drc_secalonic.csv", "dose", "rootl", lambda _: True),
} | {f"MCP-1 log(fi) Run {run} LL.4": mcp(run) for run in (1, 3, 4)}


def points(folder: Path, case: Case) -> tuple[FloatArray, FloatArray]:
    with (folder / case.file).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if case.keep(row)]
    x = np.array([float(row[case.x]) for row in rows])
    y = np.array([float(row[case.y]) for row in rows])
    return x, np.log(y) if case.log_response else y


def fitted(folder: Path, case: Case) -> CalibrationCurve:
    x, y = points(folder, case)
    model = "5pl" if case.model == "5pl" else "4pl"
    return fit_calibration(x, y, model=model, weights="none", replicates="wells", where="Reference.")


def frozen(folder: Path, name: str) -> dict[str, list[float]]:
    fits = json.loads((folder / "expected_fits.json").read_text(encoding="utf-8"))
    found = next(one for one in fits if one["name"] == name)
    return {
        "estimate": found["estimate"],
        "std_error": found["std_error"],
        "residual_se": [found["residual_se"]],
        "df": [found["df"]],
    }


@pytest.fixture
def reference(real_data: Path) -> Path:
    return real_data / "elisa" / "reference"


@pytest.mark.parametrize("name", NLS)
def test_the_four_parameter_fit_is_at_least_as_good_as_that_of_r_nls_and_equal_to_it(reference: Path, name: str) -> None:
    curve = fitted(reference, NLS[name])
    expected = frozen(reference, name)
    a, b, c, d = curve.curve.parameters.values()
    error = dict(zip(curve.curve.names, curve.standard_errors(), strict=True))
    if name.startswith("ria"):
        ours = [d, a, b, c]
        errors = [error["infinite_dose"], error["zero_dose"], error["slope"], error["inflection"]]
    else:  # SSfpl has the logarithm of the inflection and the reciprocal of the slope
        ours = [a, d, np.log(c), 1.0 / b]
        errors = [error["zero_dose"], error["infinite_dose"], error["inflection"] / c, error["slope"] / b**2]
    # nls stops once its next step is below 1e-5 standard errors, so its own digits end there: 2e-5 standard errors, which for
    # parameters near 0 is up to 5e-5 relative where the bar is 1e-6. That it is nls that stopped short is shown below.
    for mine, theirs, spread in zip(ours, expected["estimate"], expected["std_error"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6, abs=2e-5 * spread)
    assert errors == pytest.approx(expected["std_error"], rel=1e-5)
    assert curve.residual_sd == pytest.approx(expected["residual_se"][0], rel=1e-8)
    assert curve.degrees_of_freedom == expected["df"][0]


def of_r(name: str, estimate: list[float]) -> FourPL:
    if name.startswith("ria"):
        return FourPL(zero_dose=estimate[1], slope=estimate[2], inflection=estimate[3], infinite_dose=estimate[0])
    return FourPL(
        zero_dose=estimate[0], slope=1.0 / estimate[3], inflection=float(np.exp(estimate[2])), infinite_dose=estimate[1]
    )


def squares(curve: Curve, x: FloatArray, y: FloatArray) -> float:
    return float(np.sum((y - curve.response(x)) ** 2))


def steepness(curve: Curve, x: FloatArray, y: FloatArray) -> float:
    """Largest cosine between the residual and a direction a parameter can take: 0 at the optimum."""
    jacobian, residual = curve.jacobian(x), y - curve.response(x)
    return float(np.max(np.abs(jacobian.T @ residual) / (np.linalg.norm(jacobian, axis=0) * np.linalg.norm(residual))))


@pytest.mark.parametrize("name", NLS)
def test_where_a_digit_differs_from_r_nls_ours_is_the_lower_sum_of_squares_and_nls_walks_on_to_it(
    reference: Path, name: str
) -> None:
    x, y = points(reference, NLS[name])
    curve = fitted(reference, NLS[name]).curve
    theirs = of_r(name, frozen(reference, name)["estimate"])
    assert squares(curve, x, y) < squares(theirs, x, y)
    assert steepness(curve, x, y) < 1e-9
    assert steepness(theirs, x, y) > 1e-8
    walking = np.array(list(theirs.parameters.values()))
    for _ in range(6):
        here = FourPL(**dict(zip(FourPL.names, walking.tolist(), strict=True)))
        walking = walking + np.linalg.lstsq(here.jacobian(x), y - here.response(x), rcond=None)[0]
    assert list(curve.parameters.values()) == pytest.approx(walking.tolist(), rel=1e-6)


@pytest.mark.parametrize("name", DRC)
def test_the_fit_agrees_with_r_drc_whose_standard_errors_follow_another_convention(reference: Path, name: str) -> None:
    curve = fitted(reference, DRC[name])
    expected = frozen(reference, name)
    found = dict(curve.curve.parameters)
    rising = found["infinite_dose"] > found["zero_dose"]
    low, high = sorted((found["zero_dose"], found["infinite_dose"]))
    ours = [-found["slope"] if rising else found["slope"], low, high, found["inflection"], found.get("asymmetry", 1.0)]
    # drc stops early: 1e-3 is as far as its digits go.
    assert ours[: len(expected["estimate"])] == pytest.approx(expected["estimate"], rel=1e-3)
    assert curve.residual_sd <= expected["residual_se"][0] * (1 + 1e-7)
    # Numerical Hessian there, Gauss-Newton here; secalonic has three degrees of freedom and the largest difference.
    order = [
        "slope",
        *(("zero_dose", "infinite_dose") if rising else ("infinite_dose", "zero_dose")),
        "inflection",
        "asymmetry",
    ]
    error = dict(zip(curve.curve.names, curve.standard_errors(), strict=True))
    ours_spread = [error[name] for name in order if name in error]
    assert ours_spread == pytest.approx(expected["std_error"], rel=0.10)


def test_limits_of_inverse_prediction_equal_those_of_r_investr(reference: Path) -> None:
    curve = fitted(reference, dnase(1))
    with (reference / "DNase_run1_inverse_prediction_investr.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    # The frozen answers rest on R's nls, which stopped 1e-5 standard errors short of the optimum.
    for row in rows:
        response = float(row["y0"])
        limits = confidence_limits(curve, response, 1)
        assert float(curve.curve.concentration(np.array([response]))[0]) == pytest.approx(float(row["estimate"]), rel=2e-5)
        # investr differentiates numerically, which costs it four digits.
        assert standard_error(curve, response, 1) == pytest.approx(float(row["se_delta"]), rel=3e-4)
        assert limits.lower == pytest.approx(float(row["inv_lo"]), rel=3e-4)
        assert limits.upper == pytest.approx(float(row["inv_hi"]), rel=3e-4)


def test_a_line_through_logarithms_gives_every_concentration_softmax_pro_printed(real_data: Path) -> None:
    export = real_data / "elisa" / "softmax" / "MD_SMP_absorbance_endpoint_example01.txt"
    responses = {
        (plate.plate_id, str(well.position)): well.value for plate in read_plates(export) for well in plate.wells if well.value
    }
    rows = [[cell.strip() for cell in line.split("\t")] for line in export.read_text(encoding="utf-16").splitlines()]
    start = next(index for index, row in enumerate(rows) if row[0] == "Group: Standards")
    nominals, measured, printed = [], [], []
    nominal = ""
    for row in rows[start + 2 :]:
        if len(row) < 9 or not row[3]:
            break
        nominal = row[1] or nominal
        nominals.append(float(nominal))
        measured.append(responses[row[8], f"{row[3][0]}{int(row[3][1:]):02d}"])
        printed.append(float(row[2]))
    assert len(printed) == 42
    curve = fit_calibration(
        np.array(nominals), np.array(measured), model="loglog", weights="none", replicates="mean", where="Reference."
    )
    # Three decimals are printed.
    assert curve.curve.concentration(np.array(measured)) == pytest.approx(printed, abs=0.0005)
