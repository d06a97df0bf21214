"""Summaries of a study small enough to count by eye."""

from __future__ import annotations

from dataclasses import fields
from datetime import date

from biomarkers.study.arms import ArmAssignments
from biomarkers.study.roster import Moment, Roster, Subject
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.summary import SummaryRow, summarise

AS_OF = date(2025, 8, 1)


def row(
    subject: int,
    status: str,
    value: float | None = None,
    comparator: str | None = None,
    *,
    change: float | None = None,
    bounds: tuple[float | None, float | None] = (None, None),
    visit: str = "C6D1",
) -> TimepointRow:
    is_paired = change is not None or bounds != (None, None)
    return TimepointRow(
        study_id="study",
        subject_id=f"S{subject:04d}",
        visit=visit,
        visit_number=None if visit == "UNSCHEDULED" else 3,
        study_day=None,
        days_from_target=None,
        in_window=None,
        assay="elisa",
        measurand="IL6",
        status=status,
        value=value,
        comparator="" if value is not None and comparator is None else comparator,
        unit="pg/mL",
        lower=None,
        upper=None,
        denominator=None,
        baseline=None,
        change=change,
        percent_change=None,
        change_bound_lower=bounds[0],
        change_bound_upper=bounds[1],
        n_replicates=None,
        findings="",
        accession_id=None,
        run_id=None,
        baseline_run_id="run" if is_paired else None,
        result_id=None,
        source_sha256=None,
    )


def roster(count: int, **changed: Subject) -> Roster:
    subjects = {
        f"S{number:04d}": Subject(subject_id=f"S{number:04d}", site="LONDON", treatment_start=Moment(day=date(2025, 1, 6)))
        for number in range(1, count + 1)
    }
    return Roster(subjects={**subjects, **changed})


def ended(
    number: int,
    *,
    progression: date | None = None,
    death: date | None = None,
    off_study: date | None = None,
    withdrawn: date | None = None,
) -> Subject:
    return Subject(
        subject_id=f"S{number:04d}",
        site="LONDON",
        progression_date=progression,
        death_date=death,
        off_study_date=off_study,
        consent_withdrawn_on=withdrawn,
    )


MEASURED = (
    row(1, "measured", 10.0, change=4.0),
    row(2, "measured", 20.0, change=-2.0),
    row(3, "measured", 40.0, change=1.0),
    row(4, "below_range", 3.0, "<", bounds=(-5.0, -2.0)),
    row(5, "above_range", 200.0, ">", bounds=(150.0, None)),
    row(6, "measured", 80.0, change=6.0),
    row(7, "measured", 15.0),
)
NOT_MEASURED = (
    row(8, "pending"),
    row(9, "missing"),
    row(10, "not_evaluable"),
    row(11, "not_yet_due"),
    row(12, "not_expected"),
    row(13, "not_expected"),
    row(14, "not_expected"),
    row(15, "not_expected"),
)
ROSTER = roster(
    16,
    S0012=ended(12, progression=date(2025, 3, 1), death=date(2025, 5, 1)),
    S0013=ended(13, death=date(2025, 3, 1)),
    S0014=ended(14, off_study=date(2025, 3, 1)),
    S0015=ended(15, withdrawn=date(2025, 3, 1)),
)


def test_the_columns_are_those_of_the_interface_in_their_order() -> None:
    assert ", ".join(field.name for field in fields(SummaryRow)) == (
        "visit, measurand, arm, n_randomised, n_on_study, n_progressed, n_died, n_withdrawn, n_due, n_received, n_measured, "
        "n_below, n_above, n_not_evaluable, n_paired, n_uncensored_pairs, median, q1, q3, geometric_mean, median_change, "
        "median_change_lower, median_change_upper, geometric_mean_lower, geometric_mean_upper, percent_below, percent_above, "
        "pseudo_median_change, pseudo_median_change_lower, pseudo_median_change_upper, individual_changes"
    )


def test_every_subject_is_counted_where_it_stands() -> None:
    (found,) = summarise([*MEASURED, *NOT_MEASURED], ROSTER, as_of=AS_OF)
    assert (found.visit, found.measurand, found.arm) == ("C6D1", "IL6", None)
    assert (found.n_randomised, found.n_progressed, found.n_died, found.n_withdrawn) == (16, 1, 1, 2)
    assert found.n_on_study == 12
    assert (found.n_due, found.n_received, found.n_measured) == (10, 9, 7)
    assert (found.n_below, found.n_above, found.n_not_evaluable) == (1, 1, 1)
    assert (found.n_paired, found.n_uncensored_pairs) == (6, 4)


def test_bounds_enter_at_their_place_in_the_order_and_not_as_numbers() -> None:
    (found,) = summarise(MEASURED, ROSTER, as_of=AS_OF)
    # In order: <3, 10, 15, 20, 40, 80, >200.
    assert (found.q1, found.median, found.q3) == (10.0, 20.0, 80.0)
    # Changes in order: -5 to -2 and -2, 1, 4, 6, above 150.
    assert found.median_change == 2.5
    assert (found.median_change_lower, found.median_change_upper) == (-5.0, None)


def test_a_median_of_which_only_a_bound_is_known_is_shown_as_one() -> None:
    low = [row(number, "below_range", 3.1, "<") for number in range(1, 5)]
    (found,) = summarise([*low, row(5, "measured", 9.0), row(6, "measured", 12.0)], ROSTER, as_of=AS_OF)
    assert (found.q1, found.median, found.q3) == ("<3.1", "<3.1", 9.0)
    assert found.geometric_mean is None
    high = [row(number, "above_range", 200.0, ">") for number in range(1, 5)]
    (found,) = summarise(high, ROSTER, as_of=AS_OF)
    assert found.median == ">200"


def test_a_median_between_a_bound_and_a_value_is_shown_with_both_its_ends() -> None:
    (found,) = summarise([row(1, "below_range", 3.0, "<"), row(2, "measured", 5.0)], ROSTER, as_of=AS_OF)
    assert found.median == "2.5 to 4"


def test_nothing_measured_gives_counts_and_no_estimate() -> None:
    (found,) = summarise(NOT_MEASURED, ROSTER, as_of=AS_OF)
    assert (found.n_due, found.n_measured) == (3, 0)
    assert (found.median, found.q1, found.geometric_mean, found.median_change, found.median_change_lower) == (None,) * 5


def test_unplanned_visits_are_never_summarised() -> None:
    assert summarise([row(1, "measured", 9.0, visit="UNSCHEDULED")], ROSTER, as_of=AS_OF) == ()


def test_arms_stand_side_by_side_and_who_has_none_is_left_out() -> None:
    assignments = ArmAssignments(arm_by_subject={"S0001": "A", "S0002": "A", "S0003": "B", "S0012": "B", "S0016": "B"})
    found = summarise([*MEASURED, *NOT_MEASURED], ROSTER, assignments, as_of=AS_OF)
    assert [(one.arm, one.n_randomised, one.n_on_study, one.n_progressed, one.n_measured, one.median) for one in found] == [
        ("A", 2, 2, 0, 2, 15.0),
        ("B", 3, 2, 1, 1, 40.0),
    ]


def test_who_was_randomised_later_is_not_counted_yet() -> None:
    later = Subject(subject_id="S0016", site="LONDON", randomised_on=date(2025, 9, 1))
    (found,) = summarise(MEASURED, roster(15, S0016=later), as_of=AS_OF)
    assert found.n_randomised == 15
