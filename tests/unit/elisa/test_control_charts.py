"""Levey-Jennings series, the eight Westgard rules, bridging of lots, effects of place on the plate."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.elisa.control_charts import (
    WESTGARD_RULES,
    ControlPoint,
    levey_jennings,
    out_of_family,
    violated_rules,
    westgard_findings,
)
from biomarkers.elisa.lot_bridging import BridgedSpecimen, bridge_lots
from biomarkers.elisa.plate import WellPosition
from biomarkers.elisa.plate_effects import PlacedWell, plate_effects
from biomarkers.errors import AssayError
from biomarkers.results import Severity


@pytest.mark.parametrize(
    ("rule", "just", "not_quite"),
    [
        ("1-2s", [0.0, 2.1], [0.0, 1.9]),
        ("1-3s", [0.0, -3.1], [0.0, -2.9]),
        ("2-2s", [2.1, 2.2], [2.1, -2.2]),
        ("3-1s", [1.1, 1.2, 1.3], [1.1, 0.9, 1.3]),
        ("4-1s", [-1.1, -1.2, -1.3, -1.1], [-1.1, -1.2, 1.3, -1.1]),
        ("7-T", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("10-x", [0.1] * 10, [0.1] * 9),
    ],
)
def test_each_rule_is_completed_by_its_last_control_and_not_a_control_before(
    rule: str, just: list[float], not_quite: list[float]
) -> None:
    assert rule in violated_rules(just)
    assert rule not in violated_rules(not_quite)


def test_a_trend_that_falls_counts_like_one_that_rises() -> None:
    assert "7-T" in violated_rules([0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_controls_in_line_violate_nothing() -> None:
    assert violated_rules([0.3, -0.8, 0.1, 1.2, -0.4]) == ()
    assert len(WESTGARD_RULES) == 8


def points(values: list[float], level: str = "CTRL1", lot: str = "A", *, accepted: bool = True) -> list[ControlPoint]:
    return [
        ControlPoint(
            run_id=f"run{index:03d}",
            measured_at=f"2026-01-{index + 1:02d}",
            analyte="IL6",
            level=level,
            kit_lot=lot,
            value=value,
            is_accepted=accepted,
        )
        for index, value in enumerate(values)
    ]


STEADY = [100.0 + offset for offset in (1, -2, 3, 0, -1, 2, -3, 1, 0, -2, 2, -1, 3, -3, 0, 1, -1, 2, -2, 0)]


def test_twenty_accepted_runs_set_the_limits_and_later_ones_do_not_move_them() -> None:
    (series,) = levey_jennings(points([*STEADY, 120.0, 90.0]))
    assert series.is_established
    assert series.mean == pytest.approx(np.mean(STEADY))
    assert series.sd == pytest.approx(np.std(STEADY, ddof=1))
    assert series.cv_percent == pytest.approx(100 * np.std(STEADY, ddof=1) / np.mean(STEADY))
    assert "1-3s" in series.points[20].violated


def test_until_then_limits_are_preliminary_and_the_rules_only_warn() -> None:
    (series,) = levey_jennings(points([*STEADY[:10], 130.0]))
    assert not series.is_established
    assert series.points[-1].z is not None
    findings = westgard_findings(series)
    assert findings
    assert all(finding.severity is not Severity.REJECT for finding in findings)
    assert "limits preliminary: 11 of 20 accepted runs" in findings[0].message


def test_two_runs_are_held_against_nothing() -> None:
    (series,) = levey_jennings(points([100.0, 500.0]))
    assert (series.mean, series.points[-1].z, series.points[-1].violated) == (None, None, ())
    assert westgard_findings(series) == ()


def test_rejected_runs_are_drawn_and_set_no_limits() -> None:
    (series,) = levey_jennings([*points(STEADY), *points([500.0], accepted=False)[:1]])
    assert series.runs_behind_limits == 20
    assert len(series.points) == 21
    assert series.mean == pytest.approx(np.mean(STEADY))


def test_levels_and_lots_have_charts_of_their_own() -> None:
    series = levey_jennings([*points(STEADY), *points(STEADY, "CTRL2"), *points(STEADY[:5], lot="B")])
    assert [(one.kit_lot, one.level, len(one.points)) for one in series] == [
        ("A", "CTRL1", 20),
        ("A", "CTRL2", 20),
        ("B", "CTRL1", 5),
    ]


def test_levels_of_one_run_on_opposite_sides_violate_r_4s() -> None:
    low, high = points([*STEADY, 95.0]), points([*STEADY, 105.0], "CTRL2")
    for one in levey_jennings([*low, *high]):
        assert "R-4s" in one.points[-1].violated
        assert "R-4s" not in one.points[-2].violated


def test_the_order_in_which_runs_are_given_does_not_matter() -> None:
    given = points([*STEADY, 104.0])
    assert levey_jennings(given) == levey_jennings(given[::-1])


def test_a_curve_that_scatters_far_more_than_its_sisters_is_told() -> None:
    assert out_of_family(0.05, [0.03, 0.04, 0.05], where="P1.") == ()
    assert [one.code for one in out_of_family(0.2, [0.03, 0.04, 0.05], where="P1.")] == ["RESIDUALS_OUT_OF_FAMILY"]
    assert out_of_family(0.2, [0.03], where="P1.") == ()


def bridged(ratio: float, scatter: float, count: int = 20) -> list[BridgedSpecimen]:
    rng = np.random.default_rng(5)
    old = np.exp(rng.uniform(np.log(10), np.log(500), count))
    new = old * ratio * np.exp(scatter * rng.standard_normal(count))
    return [
        BridgedSpecimen(accession_id=f"ATR-{index:06d}", old=float(a), new=float(b))
        for index, (a, b) in enumerate(zip(old, new, strict=True))
    ]


@pytest.mark.parametrize(
    ("ratio", "scatter", "verdict"), [(1.01, 0.05, "equivalent"), (1.3, 0.05, "different"), (1.08, 0.3, "not shown")]
)
def test_lots_are_equivalent_different_or_neither_is_shown(ratio: float, scatter: float, verdict: str) -> None:
    found = bridge_lots(bridged(ratio, scatter))
    assert found.verdict == verdict
    assert found.interval.lower is not None
    assert found.interval.upper is not None
    assert found.interval.lower < found.ratio < found.interval.upper


def test_a_ratio_that_depends_on_the_concentration_shows_in_the_slope() -> None:
    tilted = [BridgedSpecimen(accession_id="x", old=one.old, new=one.old**1.2) for one in bridged(1.0, 0.0)]
    assert bridge_lots(tilted).slope == pytest.approx(0.2 / 1.1, rel=1e-6)


def test_four_specimens_bridge_nothing() -> None:
    with pytest.raises(AssayError, match="4 specimens bridge two lots"):
        bridge_lots(bridged(1.0, 0.1, 4))


def validation_plate(*, edge: float = 0.0, drift: float = 0.0, noise: float = 0.03) -> list[PlacedWell]:
    rng = np.random.default_rng(6)
    wells = []
    for row in range(8):
        for column in range(12):
            on_edge = row in (0, 7) or column in (0, 11)
            factor = (1.0 + edge * on_edge) * (1.0 + drift * column / 11) * np.exp(noise * rng.standard_normal())
            wells.append(PlacedWell(position=WellPosition(row=row, column=column), slot="QC", value=float(1.5 * factor)))
    return wells


def test_an_edge_effect_is_measured_on_a_plate_of_one_material() -> None:
    by_name = {one.name: one for one in plate_effects(validation_plate(edge=0.15), rows=8, columns=12, where="P1.")}
    assert by_name["edge"].percent == pytest.approx(15.0, abs=3.0)
    assert [finding.code for finding in by_name["edge"].findings] == ["PLATE_EFFECT"]
    assert by_name["row drift"].findings == ()


def test_a_drift_along_the_columns_is_measured_likewise() -> None:
    by_name = {one.name: one for one in plate_effects(validation_plate(drift=-0.2), rows=8, columns=12, where="P1.")}
    assert by_name["column drift"].percent == pytest.approx(-20.0, abs=4.0)
    assert by_name["column drift"].findings


def test_an_even_plate_has_no_effect_of_place() -> None:
    effects = plate_effects(validation_plate(), rows=8, columns=12, where="P1.")
    assert len(effects) == 3
    assert all(not one.findings for one in effects)


def test_duplicates_side_by_side_tell_nothing_of_rows() -> None:
    rng = np.random.default_rng(7)
    wells = [
        PlacedWell(
            position=WellPosition(row=row, column=2 * pair + side),
            slot=f"S{row}{pair}",
            value=float(np.exp(0.03 * rng.standard_normal())),
        )
        for row in range(8)
        for pair in range(6)
        for side in (0, 1)
    ]
    names = {one.name for one in plate_effects(wells, rows=8, columns=12, where="P1.")}
    assert "row drift" not in names
    assert plate_effects(wells[:1], rows=8, columns=12, where="P1.") == ()
