from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from biomarkers.errors import StudyDefinitionError
from biomarkers.simulation.study import SimulatedStudy
from biomarkers.simulation.subjects import AS_OF, numbered_id, simulate_subjects
from biomarkers.study.definition import StudyDefinition


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_arms_are_two_to_one_at_every_third_subject(definition: StudyDefinition, seed: int) -> None:
    arms = [person.arm for person in simulate_subjects(definition, subjects=30, seed=seed)]
    for start in range(0, 30, 3):
        assert Counter(arms[start : start + 3]) == {"A": 2, "B": 1}


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_a_good_part_progresses_before_cycle_six_whatever_the_seed(definition: StudyDefinition, seed: int) -> None:
    people = simulate_subjects(definition, subjects=60, seed=seed)
    early = [
        person
        for person in people
        if person.subject.progression_date is not None and (person.subject.progression_date - person.first_dose).days < 105
    ]
    assert 0.2 < len(early) / len(people) < 0.6
    assert all("C6D1" not in person.visit_dates for person in early)


def test_dose_delays_move_cycles_by_whole_weeks(definition: StudyDefinition) -> None:
    people = simulate_subjects(definition, subjects=60, seed=1)
    moved = [(person.visit_dates["C6D1"] - person.first_dose).days - 105 for person in people if "C6D1" in person.visit_dates]
    assert set(moved) == {0, 7, 14}
    assert moved.count(0) > len(moved) / 3


def test_some_withdraw_and_some_die_and_neither_has_a_later_visit(definition: StudyDefinition) -> None:
    people = simulate_subjects(definition, subjects=60, seed=1)
    left = [person for person in people if person.subject.off_study_date is not None]
    assert {person.subject.off_study_reason for person in left} == {"withdrawal by subject", "death"}
    for person in left:
        off = person.subject.off_study_date
        assert off is not None
        assert all(when < off for when in person.visit_dates.values())
        assert (person.subject.death_date is not None) == (person.subject.off_study_reason == "death")


def test_nothing_is_known_of_days_after_the_data_cut(definition: StudyDefinition) -> None:
    for person in simulate_subjects(definition, subjects=200, seed=9):
        known = [*person.visit_dates.values(), person.subject.progression_date, person.subject.death_date]
        assert all(when is None or when <= AS_OF for when in known)


def test_the_default_study_enrols_over_eight_months_and_ends_before_the_last_c6d1(study: SimulatedStudy) -> None:
    starts = [person.first_dose for person in study.subjects]
    assert starts == sorted(starts)
    assert timedelta(days=200) < starts[-1] - starts[0] < timedelta(days=260)
    assert starts[-1] + timedelta(days=105) > study.as_of


def test_a_pattern_that_cannot_be_counted_is_refused() -> None:
    with pytest.raises(StudyDefinitionError, match="No id number 7 can be made for the pattern 'X\\[A-Z\\]'"):
        numbered_id("X[A-Z]", 7)
