"""Readers beside a laboratory: which scores stand beside which, what is left out and why, and the figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree
from typer.testing import CliRunner

from biomarkers.cli.ihc import app
from biomarkers.laboratory import create_laboratory
from biomarkers.readers.reader_scores import ReaderScore, ReaderScores
from biomarkers.reports.reader_agreement import OURS, AgreementStudy, agreement_figure, agreement_study

# Shrout and Fleiss (1979), Psychol Bull 86:420, table 2: six targets, four judges; they give ICC(2,1) = .29.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)


def _scores(values: np.ndarray, readers: tuple[str, ...], measurand: str = "CD8_PCT_POSITIVE") -> ReaderScores:
    lines = tuple(
        ReaderScore(
            line=row + 2,
            accession_id=f"ATR-{row:06d}",
            measurand=measurand,
            value_by_reader={reader: value for reader, value in zip(readers, line, strict=True) if np.isfinite(value)},
        )
        for row, line in enumerate(values.tolist())
    )
    return ReaderScores(readers=readers, lines=lines)


def _study(**options: object) -> AgreementStudy:
    ours = {(f"ATR-{row:06d}", "CD8_PCT_POSITIVE"): float(value) for row, value in enumerate(JUDGES[:, 0])}
    return agreement_study(_scores(JUDGES[:, 1:], ("A", "B", "C")), ours, {}, **options)


def test_all_raters_together_give_the_published_correlation() -> None:
    (one,) = _study().measurands
    assert one.raters == (OURS, "A", "B", "C")
    assert one.all_raters is not None
    assert one.all_raters.value == pytest.approx(0.29, abs=0.005)
    assert one.readers_alone is not None
    assert one.readers_alone.readers == 3
    assert len(one.pairs) == 6


def test_differences_are_ours_less_the_readers_and_no_class_is_assumed() -> None:
    pair = _study().measurands[0].pairs[0]
    assert (pair.first, pair.second) == ("A", OURS)
    assert pair.differences.tolist() == (JUDGES[:, 0] - JUDGES[:, 1]).tolist()
    assert pair.limits is not None
    assert pair.limits.bias == pytest.approx(np.mean(JUDGES[:, 0] - JUDGES[:, 1]))
    assert pair.kappa is None


def test_classes_begin_at_the_cutoffs_given() -> None:
    equal = np.array([[1.0, 1.0], [4.9, 0.0], [5.0, 5.0], [20.0, 90.0]])
    ours = {(f"ATR-{row:06d}", "CD8_PCT_POSITIVE"): 1.0 for row in range(4)}
    study = agreement_study(_scores(equal, ("A", "B")), ours, {}, cutoffs=(5.0,))
    pair = next(pair for pair in study.measurands[0].pairs if OURS not in (pair.first, pair.second))
    assert pair.kappa is not None
    assert pair.kappa.value == 1.0


def test_a_line_without_a_measurement_is_told_with_the_reason_and_readers_are_still_compared() -> None:
    scores = _scores(JUDGES[:, 1:], ("A", "B", "C"))
    key = ("ATR-000002", "CD8_PCT_POSITIVE")
    study = agreement_study(scores, {}, {key: "its status is not_evaluable (TOO_FEW_CELLS)"})
    assert len(study.unmatched) == 6
    assert {line.line: line.reason for line in study.unmatched}[4] == "its status is not_evaluable (TOO_FEW_CELLS)"
    (one,) = study.measurands
    assert one.all_raters is None
    assert one.readers_alone is not None
    ours = [pair for pair in one.pairs if OURS in (pair.first, pair.second)]
    assert all(pair.icc is None and pair.limits is None and pair.reasons for pair in ours)


def test_the_figure_is_a_whole_svg_with_a_point_for_every_slide_and_hostile_names_stay_text() -> None:
    values = JUDGES[:, :2]
    scores = _scores(values, ("<script>", "B"), "PDL1_TPS")
    study = agreement_study(scores, {(f"ATR-{row:06d}", "PDL1_TPS"): 5.0 + row for row in range(6)}, {}, cutoffs=(1.0, 50.0))
    root = ElementTree.fromstring(agreement_figure(study))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    points = [element for element in root.iter("{http://www.w3.org/2000/svg}circle") if element.get("class") == "point"]
    assert len(points) == 3 * 6
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def test_the_command_matches_readers_with_a_laboratorys_results(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    create_laboratory(lab).close()
    readers, figure = tmp_path / "readers.csv", tmp_path / "figure.svg"
    lines = [f"ATR-{row:06d},CD8,PCT_POSITIVE,{line[0]},{line[1]}" for row, line in enumerate(JUDGES)]
    readers.write_text("accession_id,stain,score,Dr A,Dr B\n" + "\n".join(lines) + "\n")
    outcome = CliRunner().invoke(
        app,
        ["agreement", str(readers), str(lab), "--json", "--figure", str(figure), "--cutoffs", "5"],
        catch_exceptions=False,
    )
    assert outcome.exit_code == 0
    told = json.loads(outcome.stdout)
    (one,) = told["measurands"]
    assert one["raters"] == [OURS, "Dr A", "Dr B"]
    assert one["icc_of_all"] is None
    assert one["icc_of_readers"]["slides"] == 6
    assert len(told["unmatched"]) == 6
    assert figure.read_text().startswith("<svg xmlns=")
    table = CliRunner().invoke(app, ["agreement", str(readers), str(lab)], catch_exceptions=False)
    assert "Dr A - Dr B" in table.stdout


def test_a_figure_of_another_kind_is_a_wrong_call(tmp_path: Path) -> None:
    readers = tmp_path / "readers.csv"
    readers.write_text("accession_id,stain,score,A\n")
    outcome = CliRunner().invoke(app, ["agreement", str(readers), str(tmp_path), "--figure", "out.png"])
    assert outcome.exit_code == 2
