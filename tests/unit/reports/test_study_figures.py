"""Study figures: what they draw, that they need no network, and that they keep arms to those who have the right."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from biomarkers.readers.study_files import packaged_study
from biomarkers.reports.figure_files import figure_html, figure_picture
from biomarkers.reports.study_figures import (
    StudyFigure,
    completeness_figure,
    correlation_figure,
    course_figure,
    paired_figure,
    rank_correlation,
    waterfall_figure,
)
from biomarkers.results import Assay
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import AlignedInput, TimepointRow, timepoint_rows
from biomarkers.timepoints.change_details import change_rows
from biomarkers.timepoints.completeness import completeness_matrix
from biomarkers.timepoints.due import due_cells

CANARY = "CANARY & <b>"
FIRST_DOSE = date(2025, 3, 10)
SUBJECTS = tuple(f"S{number:04d}" for number in range(1, 9))
ARMS = ArmAssignments(arm_by_subject={name: "A" if at % 2 else "B" for at, name in enumerate(SUBJECTS)})


def definition() -> StudyDefinition:
    content = packaged_study().model_dump()
    content["arms"][0]["label"] = CANARY
    return StudyDefinition.model_validate(content)


def roster() -> Roster:
    specimens = {}
    for at, name in enumerate(SUBJECTS):
        for visit, days in (("BASELINE", -1), ("C2D1", 21)):
            accession = f"ATR-{at:04d}{days + 1:02d}"
            specimens[accession] = Specimen(
                accession_id=accession,
                subject_id=name,
                material=Material.PLASMA,
                collected_at=Moment(day=FIRST_DOSE + timedelta(days=days)),
                nominal_visit=visit,
            )
    subjects = {name: Subject(subject_id=name, site="L", treatment_start=Moment(day=FIRST_DOSE)) for name in SUBJECTS}
    return Roster(subjects=subjects, specimens=specimens)


def rows() -> tuple[TimepointRow, ...]:
    rng = np.random.default_rng(1)
    results = []
    for order, accession in enumerate(sorted(roster().specimens)):
        for measurand in ("IL6", "IL8"):
            value = float(rng.lognormal(3.0, 0.5))
            below = order == 3 and measurand == "IL6"
            results.append(
                AlignedInput(
                    accession_id=accession,
                    assay=Assay.ELISA,
                    measurand=measurand,
                    value=3.1 if below else value,
                    comparator="<" if below else "",
                    unit="pg/mL",
                    lower=None,
                    upper=None,
                    denominator="",
                    n_replicates=2,
                    evaluable=True,
                    finding_codes="",
                    run_id=f"run-{order % 2}",
                    result_id=f"r-{accession}-{measurand}",
                    source_sha256s="0",
                    order=order,
                )
            )
    study = definition()
    return timepoint_rows(
        study.study.id, align_specimens(study, roster()), due_cells(study, roster()), results, as_of=date(2025, 9, 1)
    )


def figures(assignments: ArmAssignments | None = None) -> dict[str, StudyFigure]:
    study, table = definition(), rows()
    changes = change_rows(table, study)
    cells = completeness_matrix(study, table, due_cells(study, roster()))
    return {
        "course": course_figure(study, table, "IL6", assignments),
        "waterfall": waterfall_figure(study, changes, "IL6", "C2D1", assignments),
        "paired": paired_figure(study, table, "IL6", "C2D1", assignments),
        "completeness": completeness_figure(study, cells),
        "correlation": correlation_figure(study, table, "C2D1"),
    }


KINDS = tuple(figures())


def test_a_course_has_a_line_a_subject_a_panel_an_arm_and_the_limits_of_the_range() -> None:
    figure = figures(ARMS)["course"]
    assert [len(panel.lines) for panel in figure.panels] == [4, 4]
    assert {level.name for panel in figure.panels for level in panel.levels} == {"lower limit", "upper limit"}
    marks = [point.mark for panel in figure.panels for line in panel.lines for point in line.points]
    assert (marks.count("below"), marks.count("value")) == (1, 15)
    assert figure.is_log


def test_a_waterfall_is_in_ascending_order_and_a_bound_reaches_from_end_to_end() -> None:
    (panel,) = figures()["waterfall"].panels
    assert len(panel.bars) == 8
    (bound,) = (bar for bar in panel.bars if bar.is_bound)
    assert bound.low is None or bound.high is None
    heights = [(bar.low or 0.0) + (bar.high or 0.0) for bar in panel.bars if not bar.is_bound]
    assert heights == sorted(heights)


def test_n_stands_under_every_course_by_visit_and_arm_and_visits_without_anybody_say_so() -> None:
    (together,) = figures()["course"].panels
    assert together.n_words == "n: BASELINE 8 · C2D1 8 · C6D1 0 · PROGRESSION 0"
    assert [panel.counts[1] for panel in figures(ARMS)["course"].panels] == [("C2D1", 4), ("C2D1", 4)]
    assert [panel.counts for panel in figures(ARMS)["waterfall"].panels] == [(("C2D1", 4),), (("C2D1", 4),)]


def test_a_number_from_another_batch_than_its_baseline_is_ringed_and_the_caption_says_what_a_ring_is() -> None:
    table = tuple(replace(row, findings="BATCH_CHANGED") if row.subject_id == "S0001" else row for row in rows())
    figure = course_figure(definition(), table, "IL6")
    (panel,) = figure.panels
    assert {line.name for line in panel.lines if any(point.is_ringed for point in line.points)} == {"S0001"}
    assert "A ring marks another lot, batch" in figure.caption
    assert "ring" not in figures()["course"].caption


def test_a_number_measured_with_another_kit_lot_than_its_baseline_is_ringed_and_names_its_lot() -> None:
    ran = {row.run_id for row in rows() if row.run_id}
    one_lot = course_figure(definition(), rows(), "IL6", batch_by_run=dict.fromkeys(ran, "LOT-1")).panels[0]
    two_lots = course_figure(definition(), rows(), "IL6", batch_by_run={"run-0": "LOT-1", "run-1": "LOT-2"}).panels[0]
    ringed = {
        name: [point.words for line in panel.lines for point in line.points if point.is_ringed]
        for name, panel in (("one", one_lot), ("two", two_lots))
    }
    changed = [row for row in rows() if row.measurand == "IL6" and row.baseline_run_id and row.baseline_run_id != row.run_id]
    assert ringed["one"] == []
    assert len(ringed["two"]) == len([row for row in changed if row.value is not None]) > 0
    assert all("LOT-" in words for words in ringed["two"])


def test_pairs_are_subjects_with_both_visits() -> None:
    (panel,) = figures()["paired"].panels
    assert panel.title == "8 pairs"
    assert all([point.x for point in line.points] == [0.0, 1.0] for line in panel.lines)


def test_completeness_has_a_cell_for_every_subject_visit_and_assay() -> None:
    grid = figures()["completeness"].grid
    assert grid is not None
    assert (len(grid.rows), len(grid.columns)) == (8, 12)
    assert all(colour for line in grid.colours for colour in line)
    assert "NOT_DUE" in grid.words[0][grid.columns.index("C6D1 ihc")]


def test_rank_correlation_takes_bounds_as_ties_and_needs_five_subjects() -> None:
    one = {str(at): float(at) for at in range(6)}
    assert rank_correlation(one, {name: -value for name, value in one.items()}).value == pytest.approx(-1.0)
    assert rank_correlation(one, dict.fromkeys(one, 3.0)).value is None
    assert rank_correlation(one, {"0": 1.0, "1": 2.0, "2": 3.0, "3": 4.0}).count == 4


def test_no_figure_holds_a_p_value_and_all_say_how_the_study_is_masked() -> None:
    for figure in figures(ARMS).values():
        assert not re.search(r"\bp\s*[=<]", figure.caption + figure.title)
        assert "open-label trial; laboratory staff masked to arm" in figure.caption


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_one_file_that_asks_nobody_for_anything(kind: str) -> None:
    page = figure_html(figures()[kind])
    assert page == figure_html(figures()[kind])
    text = page.decode()
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)\s*=", text)
    assert "<h1" in text


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_svg_with_words_and_png_and_always_the_same(kind: str) -> None:
    figure = figures()[kind]
    picture = figure_picture(figure, "svg")
    assert picture == figure_picture(figure, "svg")
    assert figure.title in "".join(ET.fromstring(picture).itertext())  # noqa: S314  - we have just written it
    assert figure_picture(figure, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", KINDS)
def test_without_assignments_no_arm_is_anywhere_in_a_figure(kind: str) -> None:
    figure = figures()[kind]
    for content in (figure_html(figure), figure_picture(figure, "svg"), repr(figure).encode()):
        assert b"CANARY" not in content
        assert b"gemcitabine" not in content


@pytest.mark.parametrize("kind", ["course", "waterfall", "paired"])
def test_with_assignments_arms_are_shown_and_their_words_become_no_markup(kind: str) -> None:
    figure = figures(ARMS)[kind]
    page = figure_html(figure).decode()
    assert "CANARY" in page
    assert "CANARY & <b>" not in page
    assert b"CANARY" in figure_picture(figure, "svg")
    assert "CANARY" not in repr(figure)
