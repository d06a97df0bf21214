"""Tests within an arm, their correction, the refusal between arms, and the mixed model."""

from __future__ import annotations

import math
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from biomarkers.errors import AssayError, StudyDefinitionError
from biomarkers.readers.study_files import packaged_study
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Moment, Roster, Subject
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.mixed_model import fit_mixed_model
from biomarkers.timepoints.significance import (
    between_arms_test,
    holm,
    multiplicity,
    refuse_between_arms,
    within_arm_tests,
)

AS_OF = date(2025, 8, 1)
ROSTER = Roster(
    subjects={
        f"S{number:04d}": Subject(subject_id=f"S{number:04d}", site="L", treatment_start=Moment(day=date(2025, 1, 6)))
        for number in range(60)
    }
)


def row(
    subject: int,
    value: float,
    comparator: str = "",
    *,
    visit: str = "C2D1",
    number: int = 2,
    change: float | None = None,
    bounds: tuple[float | None, float | None] = (None, None),
    measurand: str = "IL6",
) -> TimepointRow:
    return TimepointRow(
        study_id="study",
        subject_id=f"S{subject:04d}",
        visit=visit,
        visit_number=number,
        study_day=None,
        days_from_target=None,
        in_window=None,
        assay="elisa",
        measurand=measurand,
        status="measured",
        value=value,
        comparator=comparator,
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
        baseline_run_id=None if visit == "BASELINE" else "run",
        result_id=None,
        source_sha256=None,
    )


def test_numbers_are_tested_by_signed_ranks_as_in_scipy() -> None:
    changes = [1.2, -0.4, 2.5, 3.1, 0.7, -0.2, 4.0, 1.9]
    (found,) = within_arm_tests([row(at, 9.0, change=change) for at, change in enumerate(changes)], ROSTER, as_of=AS_OF)
    assert (found.test, found.n_used, found.n_undecided, found.family_size) == ("signed-rank", 8, 0, 1)
    assert found.p_value == pytest.approx(stats.wilcoxon(changes).pvalue)
    assert found.p_holm == found.p_value


def test_with_bounds_the_signs_are_tested_and_what_lies_on_both_sides_of_0_decides_nothing() -> None:
    rows = [row(at, 9.0, change=1.0 + at) for at in range(5)]
    rows += [row(5, 3.0, "<", bounds=(-5.0, -2.0)), row(6, 3.0, "<", bounds=(-5.0, 2.0)), row(7, 9.0, bounds=(2.0, None))]
    (found,) = within_arm_tests(rows, ROSTER, as_of=AS_OF)
    assert (found.test, found.n_used, found.n_undecided) == ("sign", 7, 1)
    assert found.p_value == pytest.approx(stats.binomtest(6, 7).pvalue)


def test_fewer_than_six_changes_are_not_tested() -> None:
    (found,) = within_arm_tests([row(at, 9.0, change=1.0 + at) for at in range(5)], ROSTER, as_of=AS_OF)
    assert (found.p_value, found.p_holm, found.family_size) == (None, None, 0)


def test_all_tests_asked_for_together_are_corrected_for_and_the_words_say_over_how_many() -> None:
    rows = [row(at, 9.0, change=1.0 + at, measurand=name) for name in ("IL2", "IL6", "IL8") for at in range(7)]
    found = within_arm_tests(rows, ROSTER, as_of=AS_OF)
    assert [test.family_size for test in found] == [3, 3, 3]
    assert all(test.p_holm == pytest.approx(3 * (test.p_value or 0)) for test in found)
    assert "corrected by Holm over all 3 tests" in multiplicity(found)
    assert "nothing about a difference between arms" in multiplicity(found)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_corrected_p_values_are_not_smaller_keep_their_order_and_stay_below_1(values: list[float]) -> None:
    corrected = holm(values)
    assert all(old <= new <= 1 or new == 1 for old, new in zip(values, corrected, strict=True))
    order = sorted(range(len(values)), key=lambda at: values[at])
    assert all(corrected[one] <= corrected[other] for one, other in pairwise(order))


def test_holms_worked_example() -> None:
    # Four hypotheses with p = 0.01, 0.04, 0.03, 0.005: rejected at 0.05 are the first and the last.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


# --- between arms ------------------------------------------------------------------------------------------------------


def comparative() -> StudyDefinition:
    content = packaged_study().model_dump()
    content["study"]["comparative"] = True
    return StudyDefinition.model_validate(content)


def test_arms_are_not_tested_against_each_other_and_the_message_says_why() -> None:
    with pytest.raises(StudyDefinitionError) as refusal:
        refuse_between_arms(packaged_study())
    assert refusal.value.what == (
        "Arms are not tested against each other: study 'targeting-atr-sts' declares comparative = false. It was not planned to "
        "answer that question, and late visits hold only those still on study, perhaps not alike in the arms."
    )
    with pytest.raises(StudyDefinitionError, match="comparative = false"):
        between_arms_test([], packaged_study(), ArmAssignments(arm_by_subject={}))


def test_a_comparative_study_may_test_arms_with_bounds_as_bounds() -> None:
    assignments = ArmAssignments(arm_by_subject={f"S{at:04d}": "A" if at < 10 else "B" for at in range(20)})
    rows = [row(at, 9.0, change=5.0 + at if at < 10 else -5.0 - at) for at in range(20)]
    (found,) = between_arms_test(rows, comparative(), assignments)
    assert (found.n_first, found.n_second) == (10, 10)
    # Without bounds Gehan's is the rank sum test; its normal form without continuity correction is SciPy's.
    oracle = stats.mannwhitneyu(
        [row.change for row in rows[:10]], [row.change for row in rows[10:]], method="asymptotic", use_continuity=False
    )
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-6)


# --- mixed model -------------------------------------------------------------------------------------------------------


def courses(*, censored: bool = False) -> list[TimepointRow]:
    rng = np.random.default_rng(5)
    rows = []
    for subject in range(40):
        height = 3.0 + 0.5 * rng.standard_normal()
        for number, (visit, shift) in enumerate((("BASELINE", 0.0), ("C2D1", 0.4), ("C6D1", -0.3)), start=1):
            value = math.exp(height + shift + 0.2 * rng.standard_normal())
            rows.append(row(subject, value, "<" if censored and value < 10 else "", visit=visit, number=number))
    return rows


def test_a_mixed_model_finds_the_folds_and_spreads_the_data_were_made_with_and_states_its_assumption() -> None:
    found = fit_mixed_model(courses(), measurand="IL6", scale="log")
    assert [effect.visit for effect in found.effects] == ["C2D1", "C6D1"]
    for effect, true in zip(found.effects, (0.4, -0.3), strict=True):
        assert effect.lower < math.exp(true) < effect.upper
        assert effect.n_subjects == 40
    # 40 subjects leave a standard error of about 11 % of the standard deviations.
    assert found.between_subjects_sd == pytest.approx(0.5, rel=0.35)
    assert found.within_subject_sd == pytest.approx(0.2, rel=0.25)
    assert "missing at random" in found.assumption


def test_a_mixed_model_with_balanced_data_has_the_paired_mean_as_its_effect() -> None:
    rows = [one for one in courses() if one.visit != "C6D1"]
    found = fit_mixed_model(rows, measurand="IL6", scale="linear")
    before = {one.subject_id: one.value or 0 for one in rows if one.visit == "BASELINE"}
    paired = [(one.value or 0) - before[one.subject_id] for one in rows if one.visit == "C2D1"]
    assert found.effects[0].change == pytest.approx(np.mean(paired), rel=1e-6)


def test_bounds_are_no_numbers_for_a_mixed_model() -> None:
    with pytest.raises(AssayError, match="values are only bounds, and the model takes numbers"):
        fit_mixed_model(courses(censored=True), measurand="IL6", scale="log")


def test_too_few_subjects_make_no_model() -> None:
    with pytest.raises(AssayError, match="The model needs 6 subjects"):
        fit_mixed_model([one for one in courses() if one.subject_id < "S0004"], measurand="IL6", scale="log")
