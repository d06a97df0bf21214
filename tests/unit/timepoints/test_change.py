"""Change from baseline, worked by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from biomarkers.results import Comparator
from biomarkers.study.declaration import Material
from biomarkers.timepoints.change import Change, Observation, PossibleValues, change_from_baseline


def observed(value: float, comparator: Comparator = "", day: date = date(2025, 3, 31)) -> Observation:
    return Observation(
        value=value, comparator=comparator, unit="pg/mL", material=Material.PLASMA, collected_on=day, run_id="now"
    )


def before(value: float, comparator: Comparator = "") -> Observation:
    return replace(observed(value, comparator, date(2025, 3, 10)), run_id="then")


def test_two_values_give_the_difference_and_its_percentage_of_the_baseline() -> None:
    assert change_from_baseline(observed(30.0), before(20.0)) == Change(
        baseline=20.0, change=10.0, percent_change=50.0, baseline_run_id="then"
    )
    assert change_from_baseline(observed(5.0), before(20.0)).percent_change == -75.0


def test_the_percentage_of_a_baseline_of_zero_is_undefined_and_the_difference_is_not() -> None:
    found = change_from_baseline(observed(30.0), before(0.0))
    assert (found.baseline, found.change, found.percent_change) == (0.0, 30.0, None)


@pytest.mark.parametrize(
    ("now", "then", "expected"),
    [
        # value       baseline     least possible change, greatest possible change
        (("<", 3.0), ("", 10.0), (-10.0, -7.0)),
        (("", 10.0), ("<", 3.0), (7.0, 10.0)),
        (("<", 3.0), ("<", 4.0), (-4.0, 3.0)),
        ((">", 200.0), ("", 50.0), (150.0, None)),
        (("", 50.0), (">", 200.0), (None, -150.0)),
        ((">", 200.0), (">", 100.0), (None, None)),
        ((">", 200.0), ("<", 3.0), (197.0, None)),
        (("<", 3.0), (">", 200.0), (None, -197.0)),
    ],
)
def test_a_bound_gives_the_possible_changes_and_never_a_number(
    now: tuple[Comparator, float], then: tuple[Comparator, float], expected: tuple[float | None, float | None]
) -> None:
    found = change_from_baseline(observed(now[1], now[0]), before(then[1], then[0]))
    assert found.bounds == PossibleValues(least=expected[0], greatest=expected[1])
    assert (found.change, found.percent_change) == (None, None)
    assert found.baseline == (None if then[0] else then[1])
    assert found.baseline_run_id == "then"


def test_plasma_is_not_compared_with_serum() -> None:
    found = change_from_baseline(observed(30.0), replace(before(20.0), material=Material.SERUM))
    assert found == Change(finding_codes=("MATRIX_CHANGED",))


def test_different_units_are_not_compared() -> None:
    found = change_from_baseline(observed(30.0), replace(before(20.0), unit="ng/mL", material=Material.SERUM))
    assert found == Change(finding_codes=("MATRIX_CHANGED", "UNIT_CHANGED"))


def test_without_a_baseline_or_with_a_later_one_there_is_no_change() -> None:
    assert change_from_baseline(observed(30.0), None) == Change()
    assert change_from_baseline(observed(30.0, day=date(2025, 3, 9)), before(20.0)) == Change()
