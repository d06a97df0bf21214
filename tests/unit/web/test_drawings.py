"""Figures as the pages draw them."""

from __future__ import annotations

import re

import pytest

from biomarkers.elisa.control_charts import ControlPoint, levey_jennings
from biomarkers.reports.control_chart import control_chart
from biomarkers.reports.figures import unit_words
from biomarkers.reports.study_figures import STUDY_DAY, Bar, FigurePanel, Line, Point, StudyFigure
from biomarkers.web.drawings import panels
from biomarkers.web.templates_made import bounded, instrument_moment


def arm(count: int) -> FigurePanel:
    bars = tuple(Bar(x=float(at), low=0.0, high=float(at), is_bound=False, words="") for at in range(1, count + 1))
    return FigurePanel(title="", colour="#000", bars=bars, counts=(("C2D1", count),))


def test_bars_of_a_small_arm_beside_a_large_one_do_not_lie_over_each_other() -> None:
    drawn = panels(StudyFigure(title="x", caption="", panels=(arm(12), arm(3))))
    for text in drawn:
        found = re.findall(r'<rect[^>]*class="bar-change[^>]*>', text)
        places = [(float(re.search(rf'\b{name}="([^"]+)"', one)[1])) for one in found for name in ("x", "width")]  # type: ignore[index]
        lefts, widths = places[::2], places[1::2]
        assert len(found) in {3, 12}
        assert all(left + wide <= following for left, wide, following in zip(lefts, widths, lefts[1:], strict=False))
    assert ">n: C2D1 12<" in drawn[0]
    assert ">n: C2D1 3<" in drawn[1]


def test_there_is_no_study_day_0() -> None:
    points = tuple(Point(x=float(day), y=3.0, mark="value", words="") for day in (-1, 22, 106))
    panel = FigurePanel(title="", colour="#000", lines=(Line(name="S0001", points=points),))
    ticks = {
        label: re.findall(r">(-?\d+)</text>", panels(StudyFigure(title="x", caption="", x_label=label, panels=(panel,)))[0])
        for label in (STUDY_DAY, "week")
    }
    assert "0" in ticks["week"]
    assert "0" not in ticks[STUDY_DAY]
    assert "1" in ticks[STUDY_DAY]


def test_a_control_chart_names_its_unit_and_shows_the_lots_range_until_the_laboratory_has_its_own() -> None:
    points = [
        ControlPoint(
            run_id=f"r{at:02d}",
            measured_at=f"2026-01-{at + 1:02d}",
            analyte="IL6",
            level="CTRL1",
            kit_lot="A",
            value=6.0 + 0.1 * (at % 3),
            is_accepted=True,
        )
        for at in range(25)
    ]
    (few,), (many,) = levey_jennings(points[:2]), levey_jennings(points)
    assert "mean, pg/mL" in control_chart(few, "", unit="pg/mL")
    assert control_chart(few, "", declared=(5.04, 7.56)).count(">kit<") == 2
    assert ">kit<" not in control_chart(many, "", declared=(5.04, 7.56))


@pytest.mark.parametrize(
    ("unit", "told"),
    [("cells/mm2", "cells/mm²"), ("cells/uL", "cells/µL"), ("uM/uM", "µM/µM"), ("pg/mL", "pg/mL"), ("%", "%"), ("ratio", "")],
)
def test_units_are_written_as_people_print_them(unit: str, told: str) -> None:
    assert unit_words(unit) == told
    assert re.sub(r"<[^>]+>", "", bounded(2.5, "", unit)) == f"2.500 {told}".strip()


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("07-JAN-2025 14:43:00", "2025-01-07 14:43"),
        ("2025-01-07T14:43:00", "2025-01-07 14:43"),
        ("<b>soon</b>", "&lt;b&gt;soon"),
    ],
)
def test_an_instruments_moment_is_written_as_all_others_or_word_for_word(told: str, shown: str) -> None:
    assert shown in instrument_moment(told)
