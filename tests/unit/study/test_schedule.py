"""Study days and target dates, worked out by hand with a calendar."""

from __future__ import annotations

from datetime import date
from importlib.resources import files

import pytest

from biomarkers.readers.declarations import parse_declaration
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import ActualVisit, Moment, Roster, Subject
from biomarkers.study.schedule import DateRange, date_of_study_day, shifted, study_day, subject_schedule

FIRST_DOSE = date(2025, 3, 10)


@pytest.fixture(scope="module")
def definition() -> StudyDefinition:
    packaged = (files("biomarkers.study") / "targeting_atr_sts.toml").read_text(encoding="utf-8")
    return parse_declaration(packaged, StudyDefinition, name="study.toml")


def subject(*, start: date | None = FIRST_DOSE, progression: date | None = None) -> Subject:
    return Subject(
        subject_id="S0001",
        site="LONDON",
        treatment_start=None if start is None else Moment(day=start),
        progression_date=progression,
    )


def with_visits(**actual: date | None) -> Roster:
    return Roster(
        visits={
            ("S0001", code): ActualVisit(subject_id="S0001", visit=code, actual_date=actual_date)
            for code, actual_date in actual.items()
        }
    )


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2025, 3, 10), 1),
        (date(2025, 3, 9), -1),
        (date(2025, 3, 11), 2),
        (date(2025, 3, 31), 22),
        (date(2025, 6, 23), 106),
        (date(2025, 2, 10), -28),
    ],
)
def test_the_first_dose_is_day_1_and_the_day_before_is_day_minus_1(day: date, expected: int) -> None:
    assert study_day(day, FIRST_DOSE) == expected
    assert date_of_study_day(expected, FIRST_DOSE) == day


def test_there_is_no_study_day_0() -> None:
    with pytest.raises(ValueError, match="there is no study day 0"):
        date_of_study_day(0, FIRST_DOSE)


def test_dates_at_the_ends_of_the_calendar_stay_dates() -> None:
    assert shifted(date.max, 30) == date.max
    assert shifted(date.min, -30) == date.min


def test_visits_are_planned_from_the_first_dose_by_cycles_of_21_days(definition: StudyDefinition) -> None:
    schedule = subject_schedule(definition, subject(), Roster())
    assert [(code, visit.target_date) for code, visit in schedule.items()] == [
        ("BASELINE", date(2025, 3, 10)),
        ("C2D1", date(2025, 3, 31)),
        ("C6D1", date(2025, 6, 23)),
        ("PROGRESSION", None),
    ]
    assert schedule["BASELINE"].window(Material.PLASMA) == DateRange(first=date(2025, 2, 10), last=date(2025, 3, 10))
    assert schedule["BASELINE"].window(Material.FFPE_SECTION) == DateRange(first=None, last=date(2025, 3, 10))
    assert schedule["C2D1"].window(Material.PBMC) == DateRange(first=date(2025, 3, 28), last=date(2025, 4, 3))
    assert schedule["C6D1"].window(Material.FFPE_SECTION) is None
    assert schedule["PROGRESSION"].window(Material.PLASMA) is None


def test_without_a_first_dose_nothing_is_planned(definition: StudyDefinition) -> None:
    schedule = subject_schedule(definition, subject(start=None), with_visits(C2D1=date(2025, 4, 7)))
    assert {visit.target_date for visit in schedule.values()} == {None}
    assert {visit.window(Material.PLASMA) for visit in schedule.values()} == {None}


def test_a_delayed_cycle_moves_its_own_and_all_later_targets_and_windows(definition: StudyDefinition) -> None:
    schedule = subject_schedule(definition, subject(), with_visits(C2D1=date(2025, 4, 7)))
    assert schedule["C2D1"].target_date == date(2025, 4, 7)
    assert schedule["C2D1"].took_place
    assert schedule["C6D1"].target_date == date(2025, 6, 30)
    assert schedule["C6D1"].window(Material.PLASMA) == DateRange(first=date(2025, 6, 27), last=date(2025, 7, 3))
    assert schedule["BASELINE"].target_date == FIRST_DOSE


def test_a_visit_without_an_actual_date_moves_nothing(definition: StudyDefinition) -> None:
    assert subject_schedule(definition, subject(), with_visits(C2D1=None)) == subject_schedule(definition, subject(), Roster())


def test_a_later_actual_date_replaces_the_delay_carried_so_far(definition: StudyDefinition) -> None:
    schedule = subject_schedule(definition, subject(), with_visits(C2D1=date(2025, 4, 7), C6D1=date(2025, 6, 24)))
    assert schedule["C6D1"].target_date == date(2025, 6, 24)


def test_an_early_baseline_visit_delays_no_cycle_and_moves_no_window(definition: StudyDefinition) -> None:
    schedule = subject_schedule(definition, subject(), with_visits(BASELINE=date(2025, 3, 3)))
    assert schedule["BASELINE"].target_date == date(2025, 3, 3)
    assert schedule["BASELINE"].window(Material.PLASMA) == DateRange(first=date(2025, 2, 10), last=date(2025, 3, 10))
    assert schedule["C2D1"].target_date == date(2025, 3, 31)


def test_progression_is_anchored_on_its_date_and_on_the_visit_while_the_roster_does_not_know_it(
    definition: StudyDefinition,
) -> None:
    dated = subject_schedule(definition, subject(progression=date(2025, 6, 20)), Roster())["PROGRESSION"]
    assert dated.target_date == date(2025, 6, 20)
    assert dated.window(Material.PLASMA) == DateRange(first=date(2025, 6, 13), last=date(2025, 7, 18))
    visited = subject_schedule(definition, subject(), with_visits(PROGRESSION=date(2025, 6, 25)))["PROGRESSION"]
    assert visited.target_date == date(2025, 6, 25)
    assert visited.window(Material.PLASMA) == DateRange(first=date(2025, 6, 18), last=date(2025, 7, 23))
