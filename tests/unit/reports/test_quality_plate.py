"""The page of a plate: what it tells, what it must not do, and the band around the curve."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.elisa.control_charts import ControlPoint, levey_jennings
from biomarkers.reports.plate_figures import curve_band, curve_of
from biomarkers.reports.plate_page import acceptance_rules, plate_page, replicate_cv
from biomarkers.reports.quality import plate_evidence
from biomarkers.results import Finding, Severity

if TYPE_CHECKING:
    from tests.unit.reports.conftest import Page

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=y>&amp;\x00\x1b[2J"


def test_the_page_needs_nothing_from_anywhere_and_runs_nothing(
    make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]
) -> None:
    text = plate_page(make_plate(), title="Plate P1")
    assert "http" not in text
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text
    page = read_page(text)
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert (page.unbalanced, page.left_open) == ([], [])


def test_names_from_files_stay_text(make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]) -> None:
    plain, hostile = make_plate(), make_plate(name=HOSTILE, accession=HOSTILE, reason=HOSTILE)
    finding = Finding(code="X", severity=Severity.WARNING, where=HOSTILE, message=HOSTILE, remedy=HOSTILE)
    hostile = replace(hostile, run=replace(hostile.run, acquired_at=HOSTILE, findings=(*hostile.run.findings, finding)))
    text = plate_page(hostile, title=HOSTILE)
    page = read_page(text)
    assert set(page.tags) <= set(read_page(plate_page(plain, title="P")).tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "<script" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    # As text it is there, letter by letter, with the two control characters replaced.
    assert HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd") in page.text


def test_the_same_plate_gives_the_same_bytes(make_plate: Callable[..., PlateAnalysis]) -> None:
    assert plate_evidence(make_plate()) == plate_evidence(make_plate())
    assert list(plate_evidence(make_plate())) == ["quality.html"]


def test_every_finding_is_told_with_place_and_remedy(
    make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]
) -> None:
    plate = make_plate()
    findings = {finding for result in plate.run.results for finding in result.findings} | set(plate.run.findings)
    assert len(findings) > 3
    text = read_page(plate_page(plate, title="P")).text
    for finding in findings:
        for part in (finding.code, finding.message, finding.where, finding.remedy):
            assert part in text


def test_every_number_shown_is_the_records_own(
    make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]
) -> None:
    plate = make_plate()
    shown = set(read_page(plate_page(plate, title="P")).values)
    curve, control = plate.curves[0], plate.controls[0]
    expected = [*curve.parameters.values(), *curve.standard_errors.values(), curve.rss, control.mean, control.lower]
    expected += [part for level in curve.calibrators for part in (level.back_calculated, level.recovery_percent)]
    for result in plate.run.results:
        expected += [result.quantity.value] if result.quantity else []
        expected += [result.interval.lower, result.interval.upper] if result.interval else []
    numbers = {repr(value) for value in expected if value is not None}
    assert len(numbers) > 30
    assert numbers <= shown


def test_verdict_and_each_rule_are_told(make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]) -> None:
    plate = make_plate()
    page = read_page(plate_page(plate, title="P"))
    assert plate.verdicts[0].sentence in page.text
    assert plate.verdicts[0].verdict in page.classes
    for rule in plate.verdicts[0].rules:
        assert rule.sentence in page.text


def test_overflow_masked_and_missing_carry_three_different_marks(
    make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]
) -> None:
    marks = {"overflow", "masked", "missing"}
    page = read_page(plate_page(make_plate(), title="P"))
    assert {f"mark-{mark}" for mark in marks} <= page.classes
    for mark in marks:
        others = [(place, flag) for place, flag in (("C03", "overflow"), ("D03", "masked"), ("E03", "missing")) if flag != mark]
        # The plate without such a well shows no such mark, not even in the legend.
        assert f"mark-{mark}" not in read_page(plate_page(make_plate(flags=others), title="P")).classes


def test_a_value_below_the_range_is_shown_with_its_comparator(make_plate: Callable[..., PlateAnalysis]) -> None:
    plate = make_plate()
    below = [result for result in plate.run.results if result.quantity and result.quantity.comparator == "<"]
    assert below
    assert f'<span class="comparator">{html.escape("<")}</span>' in plate_page(plate, title="P")


def test_a_plate_without_a_curve_has_a_page_that_says_so(
    make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]
) -> None:
    plate = make_plate()
    page = read_page(plate_page(replace(plate, curves=(), controls=()), title="P"))
    assert "No curve could be fitted" in page.text
    assert all(result.accession_id in page.text for result in plate.run.results)


def test_records_from_before_there_were_verdicts_and_bands_have_a_page(make_plate: Callable[..., PlateAnalysis]) -> None:
    plate = make_plate()
    old = replace(plate, verdicts=(), controls=(), curves=tuple(replace(curve, band=()) for curve in plate.curves))
    assert "Recovery of each calibrator" in plate_page(old, title="P")


def test_a_plate_of_384_wells_is_drawn_whole(make_plate: Callable[..., PlateAnalysis]) -> None:
    text = plate_page(make_plate(rows=16, columns=24), title="P")
    assert "Plate of 16 by 24 wells" in text
    assert text.count('class="well-empty"') >= 384 - 35


@pytest.mark.parametrize("model", ["4pl", "5pl", "linear", "loglog"])
def test_the_band_of_the_curve_holds_what_parameters_drawn_from_their_covariance_give(
    make_plate: Callable[..., PlateAnalysis], model: str
) -> None:
    record = make_plate(model=model, weights="1/y", flags=()).curves[0]
    # A ten thousandth of the uncertainty, so that the curve is straight within it and the delta method exact.
    small = {one: {other: value * 1e-8 for other, value in row.items()} for one, row in record.covariance.items()}
    record = replace(record, covariance=small, degrees_of_freedom=100_000)
    places = np.array([20.0, 200.0, 900.0])
    curve = curve_of(record)
    covariance = np.array([[small[one][other] for other in curve.names] for one in curve.names])
    root = np.linalg.cholesky(covariance + 1e-18 * np.diag(np.diag(covariance)))
    draws = np.array(list(record.parameters.values())) + np.random.default_rng(2).standard_normal((20_000, len(root))) @ root.T
    drawn = (replace(record, parameters=dict(zip(curve.names, draw, strict=True))) for draw in draws)
    responses = np.array([curve_of(one).response(places) for one in drawn])
    low, high = np.percentile(responses, [2.5, 97.5], axis=0)
    band = curve_band(record, places)
    # 20 000 draws place each end within some 2 % of the band's width.
    width = high - low
    assert np.all(np.abs(np.array([point.lower for point in band]) - low) < 0.03 * width)
    assert np.all(np.abs(np.array([point.upper for point in band]) - high) < 0.03 * width)
    flags = (("D03", "masked"), ("E03", "missing"))
    assert "</svg>" in plate_page(make_plate(model=model, weights="1/y", flags=flags), title="P")


def test_deviations_allowed_are_those_the_analyte_was_judged_by(make_plate: Callable[..., PlateAnalysis]) -> None:
    plate = make_plate()
    usual = acceptance_rules(plate, "IL6")
    assert (usual.calibrator_deviation_percent, usual.calibrator_deviation_at_limits_percent) == (20.0, 25.0)
    settings = plate.run.provenance.parameters.replace(
        '"calibrator_deviation_percent":20.0', '"calibrator_deviation_percent":7.5'
    )
    stricter = replace(plate, run=replace(plate.run, provenance=replace(plate.run.provenance, parameters=settings)))
    assert acceptance_rules(stricter, "IL6").calibrator_deviation_percent == 7.5


def test_replicate_variation_is_that_of_usable_wells_of_one_dilution(make_plate: Callable[..., PlateAnalysis]) -> None:
    wells = [well for well in make_plate().wells if well.slot == "S08"]
    two = [replace(well, concentration=value) for well, value in zip(wells, (90.0, 110.0), strict=True)]
    assert replicate_cv(two) == pytest.approx(100 * np.std([90, 110], ddof=1) / 100)
    assert replicate_cv([two[0], replace(two[1], flag="masked")]) is None
    assert replicate_cv([two[0], replace(two[1], dilution_factor=4.0)]) is None


def test_control_charts_show_this_run_ringed_and_rejected_runs_hollow(
    make_plate: Callable[..., PlateAnalysis], read_page: Callable[[str], Page]
) -> None:
    plate = make_plate()
    values = [250.0 + 5.0 * (-1) ** index for index in range(24)]
    points = [
        ControlPoint(
            run_id=plate.run.run_id if index == 23 else f"elisa-x{index}",
            measured_at=f"2025-01-{index + 1:02d}",
            analyte="IL6",
            level="CTRL1",
            kit_lot=HOSTILE,
            value=300.0 if index == 23 else value,
            is_accepted=index != 5,
        )
        for index, value in enumerate(values)
    ]
    (series,) = levey_jennings(points)
    text = plate_page(plate, title="P", charts=(series,))
    page = read_page(text)
    assert "<script" not in text
    assert text.count('class="mark-this"') == text.count('class="mark-rejected"') == 1
    assert text.count('class="mark-accepted"') == 23
    # The last point lies far out, and the last rule it breaks stands beside it.
    assert series.points[-1].violated[-1] in page.text
    assert repr(series.mean) in page.values
    assert "mark-this" not in read_page(plate_page(plate, title="P")).classes
