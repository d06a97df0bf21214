"""`biomarkers elisa compare` on the public exports that carry their vendor's own results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import pytest
from typer.testing import CliRunner

from biomarkers.cli.elisa import app
from biomarkers.errors import SourceFileError

pytestmark = pytest.mark.real

PRINTED_TO = 0.0005
"""SoftMax Pro prints three decimals."""


class Row(TypedDict):
    """One difference as printed."""

    quantity: str
    wells: list[str]
    vendor: str
    ours: float | None


class Answer(TypedDict):
    """One plate as printed."""

    plate: str
    model: str | None
    model_source: str
    replicates: str | None
    response: str
    parameters: dict[str, float]
    vendor_parameters: dict[str, float]
    compared: int
    max_abs_difference: float
    max_relative_difference: float
    words_compared: int
    summaries_compared: int
    differences: list[Row]
    disagreements: list[Row]
    attempts: list[dict[str, object]]
    findings: list[dict[str, str]]


def compared(path: Path, *options: str) -> list[Answer]:
    ran = CliRunner().invoke(app, ["compare", str(path), *options, "--json"])
    assert ran.exit_code == 0, ran.output
    plates: list[Answer] = json.loads(ran.stdout)["plates"]
    return plates


@pytest.mark.parametrize(
    ("name", "plates"),
    [
        # Parameters to the digits the data's README gives, found there with another fitter; 72 wells less masked and
        # "Range?" ones.
        ("ELISAtools_Assay_2.txt", [("Plate1", 63, (0.024081, 1.048152, 4830.654, 6.385789))]),
        (
            "ELISAtools_Assay_3_and_4.txt",
            [
                ("Plate1", 69, (0.003028, 0.968798, 4394.606, 5.297682)),
                ("Plate1#2", 70, (0.023143, 1.171158, 2535.538, 3.757553)),
            ],
        ),
    ],
)
def test_every_back_calculated_value_of_softmax_pro_comes_back_within_its_print(
    real_data: Path, name: str, plates: list[tuple[str, int, tuple[float, ...]]]
) -> None:
    answers = compared(real_data / "elisa" / "softmax" / name)
    assert [(one["plate"], one["compared"]) for one in answers] == [(plate, count) for plate, count, _ in plates]
    for answer, (_, count, parameters) in zip(answers, plates, strict=True):
        assert answer["max_abs_difference"] <= PRINTED_TO
        assert (answer["model"], answer["replicates"]) == ("4pl", "mean")
        assert (answer["model_source"], answer["response"]) == ("identified", "450 nm - 620 nm")
        assert list(answer["parameters"].values()) == pytest.approx(parameters, rel=2e-7, abs=5.1e-7)
        assert answer["disagreements"] == []
        assert len(answer["differences"]) == count
        assert answer["words_compared"] == 72 - count
        assert "MODEL_IDENTIFIED" in [finding["code"] for finding in answer["findings"]]


def test_the_means_and_diluted_means_of_softmax_pro_are_compared_too(real_data: Path) -> None:
    (answer,) = compared(real_data / "elisa" / "softmax" / "ELISAtools_Assay_2.txt")
    # 8 standards with mean, SD and CV; 15 specimens with mean, SD, CV and diluted mean; one control with four columns.
    assert answer["summaries_compared"] == 8 * 3 + 15 * 4 + 4
    # Flags such as "R - outside standard range" are told as left out, not passed over.
    (left_out,) = [finding for finding in answer["findings"] if finding["code"] == "NOT_RECOMPUTED"]
    assert "Unk_Dilution: R" in left_out["message"]


def test_a_log_log_line_pooled_over_two_plates_is_told_from_a_logistic_and_every_try_is_shown(real_data: Path) -> None:
    answers = compared(real_data / "elisa" / "softmax" / "MD_SMP_absorbance_endpoint_example01.txt")
    assert [(one["plate"], one["model"], one["compared"]) for one in answers] == [
        ("Plate01", "loglog", 93),
        ("Plate02", "loglog", 93),
    ]
    assert answers[0]["parameters"] == answers[1]["parameters"]
    for answer in answers:
        assert answer["max_abs_difference"] <= PRINTED_TO
        assert answer["disagreements"] == []
        tried = {(attempt["model"], attempt["replicates"]) for attempt in answer["attempts"]}
        assert len(tried) == 8
        assert sum(attempt["agreeing"] == attempt["compared"] for attempt in answer["attempts"]) == 1


def test_a_model_stated_by_the_caller_is_taken_and_its_differences_are_told(real_data: Path) -> None:
    answers = compared(real_data / "elisa" / "softmax" / "MD_SMP_absorbance_endpoint_example01.txt", "--model", "4pl")
    assert {one["model_source"] for one in answers} == {"given"}
    assert all(one["model"] == "4pl" and len(one["disagreements"]) > 80 for one in answers)


def test_negative_concentrations_of_a_straight_line_are_recomputed(real_data: Path) -> None:
    (answer,) = compared(real_data / "elisa" / "softmax" / "MD_SMP_absorbance_endpoint_partial_plate_example01.txt")
    assert (answer["model"], answer["compared"], answer["disagreements"]) == ("linear", 80, [])
    # Its calibrators are printed as 0.062 and 0.031, which explains a unit of the last digit.
    assert answer["max_abs_difference"] < 0.001
    assert min(row["ours"] or 0.0 for row in answer["differences"]) < -2


def test_an_export_edited_by_hand_is_found_out(real_data: Path) -> None:
    (answer,) = compared(real_data / "elisa" / "softmax" / "group_cols_with_int_sample_names.txt")
    assert (answer["model"], answer["model_source"]) == ("4pl", "assumed")
    # A02 is said to be masked, yet the printed mean holds it.
    (mean,) = [row for row in answer["disagreements"] if row["quantity"] == "Std: AvgOD" and row["wells"] == ["A01"]]
    assert (mean["vendor"], mean["ours"]) == ("1.728", 1.785)
    (assumed,) = [finding for finding in answer["findings"] if finding["code"] == "MODEL_ASSUMED"]
    assert "SoftMax Pro's ELISA protocols" in assumed["message"]


def test_the_parameters_of_gen5_come_back_to_every_printed_digit(real_data: Path) -> None:
    path = real_data / "elisa" / "gen5" / "Kinetic_Analysis_Mean_Slope_and_Standard_Curve_tab.txt"
    (answer,) = compared(path)
    assert (answer["model"], answer["model_source"], answer["response"]) == ("4pl", "stated", "Mean V [420]")
    ours = answer["parameters"]
    assert f"{ours['zero_dose']:.2f} {ours['slope']:.2f} {ours['inflection']:.1f} {ours['infinite_dose']:.1f}" == (
        "1.23 3.52 14.8 34.9"
    )
    assert answer["vendor_parameters"] == {
        "zero_dose": 1.23,
        "slope": 3.52,
        "inflection": 14.8,
        "infinite_dose": 34.9,
        "r_squared": 0.995,
    }
    assert answer["compared"] == 73
    assert answer["max_relative_difference"] < 0.011
    # "<0.000" and ">40.000" are compared as bounds: 16 wells of the two lowest calibrators' columns, and 7 above the highest.
    assert answer["words_compared"] == 96 - 73
    assert answer["disagreements"] == []


@pytest.mark.parametrize(
    ("name", "plates", "slopes"),
    [
        ("endpoint_stdcurve_singleplate_2.txt", ["Plate 1"], ["0.00336"]),
        ("endpoint_stdcurve_multiplate.txt", ["Plate 1", "Plate 2", "Plate 3"], ["0.00173", "0.00173", "0.00171"]),
    ],
)
def test_a_straight_line_of_gen5_is_found_to_run_through_the_blanked_values(
    real_data: Path, name: str, plates: list[str], slopes: list[str]
) -> None:
    answers = compared(real_data / "elisa" / "gen5" / name)
    assert [one["plate"] for one in answers] == plates
    for answer, slope in zip(answers, slopes, strict=True):
        assert (answer["model"], answer["compared"], answer["disagreements"]) == ("linear", 96, [])
        assert answer["response"].startswith("Blank ")
        assert f"{answer['parameters']['slope']:.5f}" == slope
        assert "RESPONSE_IDENTIFIED" in [finding["code"] for finding in answer["findings"]]


def test_skanit_blank_subtraction_and_formulas_are_recomputed(real_data: Path) -> None:
    answers = {one["plate"]: one for one in compared(real_data / "elisa" / "skanit" / "skanit_different_plate_pattern.xlsx")}
    sample = answers["Sample Plate"]
    assert (sample["model"], sample["compared"], sample["disagreements"]) == (None, 5, [])
    ours = {row["quantity"]: row["ours"] for row in sample["differences"]}
    # ((0.01378 - 0.0007121) / 0.049) / 13.7 * 10, by hand.
    assert ours["Concentration mg/mL"] == pytest.approx(0.1946655, abs=1e-6)
    # 0/0 on the blank plate: SkanIt writes NaN, and we have no number either.
    assert (answers["Blank plate"]["compared"], answers["Blank plate"]["words_compared"]) == (4, 1)


def test_one_number_changed_in_an_export_is_the_one_disagreement(real_data: Path, tmp_path: Path) -> None:
    content = (real_data / "elisa" / "softmax" / "ELISAtools_Assay_2.txt").read_bytes()
    assert content.count(b"\t842.746\t") == 1
    changed = tmp_path / "changed.txt"
    changed.write_bytes(content.replace(b"\t842.746\t", b"\t842.756\t"))
    (answer,) = compared(changed, "--model", "4pl", "--replicates", "mean")
    (row,) = answer["disagreements"]
    assert (row["wells"], row["vendor"]) == (["C02"], "842.756")
    assert row["ours"] == pytest.approx(842.746, abs=PRINTED_TO)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("softmax/abs_endpoint_plates.txt", "readings only, and no results of its own software"),
        ("skanit/multi-plate_example01.xlsx", "readings only, and no results of its own software"),
        ("gen5/240411_172731_BNCH2345883_abs450_96well_non_numeric_values.txt", "readings only, and no results"),
        ("bmg/BMG Labtech format.CSV", "no export whose own results are understood"),
    ],
)
def test_an_export_without_results_is_refused(real_data: Path, name: str, what: str) -> None:
    ran = CliRunner().invoke(app, ["compare", str(real_data / "elisa" / name)])
    assert isinstance(ran.exception, SourceFileError)
    assert what in str(ran.exception)
