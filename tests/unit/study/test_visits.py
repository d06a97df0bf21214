"""Which visit a specimen belongs to: one subject, small enough to check by eye.

First dose Monday 10 March 2025 at 10:00; C2D1 on 31 March (window 28 March to 3 April), C6D1 on 23 June (20 to 26 June).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, time
from importlib.resources import files

import pytest

from biomarkers.readers.declarations import parse_declaration
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import ActualVisit, Moment, Roster, Specimen, Subject
from biomarkers.study.visits import Alignment, Rule, align_specimens

SUBJECT = Subject(subject_id="S0001", site="LONDON", treatment_start=Moment(day=date(2025, 3, 10), time=time(10)))
DAY_1 = date(2025, 3, 10)


@pytest.fixture(scope="module")
def definition() -> StudyDefinition:
    packaged = (files("biomarkers.study") / "targeting_atr_sts.toml").read_text(encoding="utf-8")
    return parse_declaration(packaged, StudyDefinition, name="study.toml")


def tube(number: int, collected: date | Moment, label: str = "", material: Material = Material.PLASMA) -> Specimen:
    return Specimen(
        accession_id=f"ATR-{number:06d}",
        subject_id="S0001",
        material=material,
        collected_at=collected if isinstance(collected, Moment) else Moment(day=collected),
        nominal_visit=label,
    )


def align(
    definition: StudyDefinition, *specimens: Specimen, subject: Subject = SUBJECT, visits: tuple[ActualVisit, ...] = ()
) -> tuple[Alignment, ...]:
    roster = Roster(
        subjects={subject.subject_id: subject},
        specimens={specimen.accession_id: specimen for specimen in specimens},
        visits={(visit.subject_id, visit.visit): visit for visit in visits},
    )
    return align_specimens(definition, roster)


def align_one(definition: StudyDefinition, specimen: Specimen, subject: Subject = SUBJECT) -> Alignment:
    (alignment,) = align(definition, specimen, subject=subject)
    return alignment


def test_the_label_decides_and_the_day_is_counted_from_first_dose_and_target(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, date(2025, 4, 1), "C2D1"))
    assert (found.visit, found.visit_number, found.rule, found.chosen) == ("C2D1", 2, Rule.LABEL, True)
    assert (found.study_day, found.days_from_target, found.in_window) == (23, 1, True)
    assert (found.findings, found.note, found.collected_on) == ((), "", date(2025, 4, 1))


def test_the_window_only_checks_a_label(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, date(2025, 6, 23), "C2D1"))
    assert (found.visit, found.rule, found.in_window, found.chosen) == ("C2D1", Rule.LABEL, False, True)
    (finding,) = found.findings
    assert finding.code == "OUT_OF_WINDOW"
    assert finding.where == "Specimen 'ATR-000001' (PLASMA) of subject 'S0001'."
    assert finding.message == "Collected on 2025-06-23, outside the window of C2D1 from 2025-03-28 to 2025-04-03."


def test_a_window_assigns_a_specimen_without_a_label(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, date(2025, 6, 20)))
    assert (found.visit, found.rule, found.days_from_target, found.in_window) == ("C6D1", Rule.WINDOW, -3, True)


def test_a_specimen_without_a_label_outside_all_windows_waits(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, date(2025, 5, 5)))
    assert (found.visit, found.rule, found.chosen) == (None, Rule.WAITING, False)
    assert found.note == "It has no label, and its day 2025-05-05 lies in the window of no visit."
    assert found.finding_codes == "VISIT_UNDECIDED"
    assert found.study_day == 57


def test_progression_inside_the_window_of_c6d1_is_decided_by_the_label_and_waits_without_one(
    definition: StudyDefinition,
) -> None:
    progressed = replace(SUBJECT, progression_date=date(2025, 6, 20))
    day = date(2025, 6, 23)
    assert align_one(definition, tube(1, day, "C6D1"), progressed).visit == "C6D1"
    labelled = align_one(definition, tube(1, day, "PROGRESSION"), progressed)
    assert (labelled.visit, labelled.days_from_target, labelled.in_window) == ("PROGRESSION", 3, True)
    waiting = align_one(definition, tube(1, day), progressed)
    assert waiting.rule is Rule.WAITING
    assert waiting.note == "It has no label, and its day 2025-06-23 lies in the window of C6D1 and PROGRESSION."


def test_windows_are_those_of_the_material(definition: StudyDefinition) -> None:
    assert align_one(definition, tube(1, date(2025, 4, 5), material=Material.FFPE_SECTION)).visit == "C2D1"
    assert align_one(definition, tube(1, date(2025, 4, 5), material=Material.PBMC)).rule is Rule.WAITING


def test_a_label_for_a_visit_without_a_window_for_the_material_is_kept_and_not_checked(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, date(2025, 6, 23), "C6D1", Material.FFPE_SECTION))
    assert (found.visit, found.rule, found.in_window, found.findings) == ("C6D1", Rule.LABEL, None, ())


def test_archival_tissue_of_any_age_is_baseline(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, date(2016, 5, 17), material=Material.FFPE_SECTION))
    assert (found.visit, found.rule, found.in_window) == ("BASELINE", Rule.WINDOW, True)


def test_actual_visit_dates_move_targets_and_windows(definition: StudyDefinition) -> None:
    delayed = ActualVisit(subject_id="S0001", visit="C2D1", actual_date=date(2025, 4, 7))
    found = align(definition, tube(1, date(2025, 4, 7), "C2D1"), tube(2, date(2025, 7, 1)), visits=(delayed,))
    assert [(one.visit, one.rule, one.days_from_target, one.in_window) for one in found] == [
        ("C2D1", Rule.LABEL, 0, True),
        ("C6D1", Rule.WINDOW, 1, True),
    ]


def test_an_unknown_label_makes_no_visit(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, date(2025, 3, 31), "C2 D1"))
    assert (found.visit, found.rule, found.finding_codes) == (None, Rule.WAITING, "VISIT_UNKNOWN")
    assert found.note == "Its label 'C2 D1' is no visit of the study."


@pytest.mark.parametrize("label", ["UNSCHEDULED", "END_OF_TREATMENT"])
def test_unplanned_visits_are_kept_even_inside_a_window_and_however_many(definition: StudyDefinition, label: str) -> None:
    found = align(definition, tube(1, date(2025, 3, 31), label), tube(2, date(2025, 5, 5), label))
    assert [(one.visit, one.visit_number, one.rule, one.chosen) for one in found] == [
        (label, None, Rule.UNSCHEDULED, True),
        (label, None, Rule.UNSCHEDULED, True),
    ]
    assert [one.study_day for one in found] == [22, 57]


# --- the baseline lies before the first dose ---------------------------------------------------------------------------


def test_a_specimen_of_day_1_is_baseline_if_its_time_lies_before_the_dose(definition: StudyDefinition) -> None:
    before = align_one(definition, tube(1, Moment(day=DAY_1, time=time(9, 59))))
    assert (before.visit, before.rule, before.study_day, before.in_window) == ("BASELINE", Rule.WINDOW, 1, True)
    for at in (time(10), time(10, 1)):
        assert align_one(definition, tube(1, Moment(day=DAY_1, time=at))).rule is Rule.WAITING


def test_a_specimen_of_day_1_without_a_time_needs_the_label_and_gets_a_finding(definition: StudyDefinition) -> None:
    labelled = align_one(definition, tube(1, DAY_1, "BASELINE"))
    assert (labelled.visit, labelled.chosen, labelled.in_window) == ("BASELINE", True, True)
    assert labelled.finding_codes == "BASELINE_TIME_ASSUMED"
    unlabelled = align_one(definition, tube(1, DAY_1))
    assert unlabelled.rule is Rule.WAITING
    assert unlabelled.note == (
        "It has no label and was collected on the day of the first dose; one of the two times is unknown."
    )


def test_an_unknown_time_of_the_first_dose_is_assumed_the_same_way(definition: StudyDefinition) -> None:
    untimed = replace(SUBJECT, treatment_start=Moment(day=DAY_1))
    found = align_one(definition, tube(1, Moment(day=DAY_1, time=time(8)), "BASELINE"), untimed)
    assert (found.chosen, found.finding_codes) == (True, "BASELINE_TIME_ASSUMED")


def test_a_baseline_label_on_a_specimen_of_after_the_dose_makes_it_no_baseline(definition: StudyDefinition) -> None:
    late = align_one(definition, tube(1, Moment(day=DAY_1, time=time(11)), "BASELINE"))
    assert (late.visit, late.rule, late.chosen, late.in_window) == ("BASELINE", Rule.NOT_CHOSEN, False, False)
    assert late.finding_codes == "COLLECTED_AFTER_FIRST_DOSE"
    assert late.note == "Collected at 2025-03-10T11:00:00, not before the first dose at 2025-03-10T10:00:00."
    next_day = align_one(definition, tube(1, date(2025, 3, 11), "BASELINE"))
    assert next_day.finding_codes == "COLLECTED_AFTER_FIRST_DOSE;OUT_OF_WINDOW"


def test_the_last_acceptable_specimen_before_the_first_dose_is_the_baseline(definition: StudyDefinition) -> None:
    found = align(
        definition,
        tube(1, date(2025, 3, 3), "BASELINE"),
        tube(2, Moment(day=date(2025, 3, 9), time=time(16)), "BASELINE"),
        tube(3, Moment(day=date(2025, 3, 9), time=time(8)), "BASELINE"),
        tube(4, Moment(day=DAY_1, time=time(12)), "BASELINE"),
    )
    assert [one.accession_id for one in found if one.chosen] == ["ATR-000002"]
    assert found[0].note == "Another specimen of PLASMA for BASELINE was collected later, before the first dose."


def test_times_with_and_without_an_offset_are_compared_as_the_wall_clock_showed_them(definition: StudyDefinition) -> None:
    found = align_one(definition, tube(1, Moment(day=DAY_1, time=time(9, tzinfo=UTC)), "BASELINE"))
    assert (found.chosen, found.findings) == (True, ())


def test_without_a_first_dose_labels_hold_unchecked_and_nothing_else_is_assigned(definition: StudyDefinition) -> None:
    untreated = replace(SUBJECT, treatment_start=None)
    found = align(
        definition,
        tube(1, date(2025, 3, 3), "BASELINE"),
        tube(2, date(2025, 3, 5), "BASELINE"),
        tube(3, DAY_1),
        subject=untreated,
    )
    assert [(one.visit, one.rule, one.study_day, one.days_from_target, one.in_window) for one in found] == [
        ("BASELINE", Rule.NOT_CHOSEN, None, None, None),
        ("BASELINE", Rule.LABEL, None, None, None),
        (None, Rule.WAITING, None, None, None),
    ]


# --- two specimens for one visit ---------------------------------------------------------------------------------------


def test_of_two_specimens_the_nearest_to_the_target_is_chosen_and_the_other_stays_visible(
    definition: StudyDefinition,
) -> None:
    found = align(definition, tube(1, date(2025, 3, 28), "C2D1"), tube(2, date(2025, 4, 2)))
    assert [(one.rule, one.chosen, one.visit) for one in found] == [
        (Rule.NOT_CHOSEN, False, "C2D1"),
        (Rule.WINDOW, True, "C2D1"),
    ]
    assert found[0].note == "Another specimen of PLASMA for C2D1 is nearer its target day or earlier."


def test_on_a_tie_the_earlier_specimen_is_chosen(definition: StudyDefinition) -> None:
    by_day = align(definition, tube(1, date(2025, 4, 1), "C2D1"), tube(2, date(2025, 3, 30), "C2D1"))
    assert [one.chosen for one in by_day] == [False, True]
    day = date(2025, 3, 31)
    by_time = align(definition, tube(1, Moment(day=day, time=time(14)), "C2D1"), tube(2, Moment(day=day, time=time(9)), "C2D1"))
    assert [one.chosen for one in by_time] == [False, True]


def test_each_material_is_chosen_for_itself(definition: StudyDefinition) -> None:
    found = align(
        definition,
        tube(1, date(2025, 3, 30), "C2D1"),
        tube(2, date(2025, 4, 3), "C2D1", Material.PBMC),
        tube(3, date(2025, 4, 9), "C2D1", Material.FFPE_SECTION),
    )
    assert all(one.chosen for one in found)


def test_tubes_of_one_collection_are_chosen_together(definition: StudyDefinition) -> None:
    drawn = Moment(day=date(2025, 3, 31), time=time(9))
    found = align(definition, tube(1, drawn, "C2D1"), tube(2, drawn, "C2D1"), tube(3, date(2025, 4, 1), "C2D1"))
    assert [one.chosen for one in found] == [True, True, False]


def test_two_lesions_biopsied_on_one_day_are_two_collections(definition: StudyDefinition) -> None:
    section = tube(1, date(2025, 4, 2), "C2D1", Material.FFPE_SECTION)
    found = align(
        definition,
        replace(section, lesion="PRIMARY"),
        replace(section, accession_id="ATR-000002", lesion="LUNG"),
        replace(section, accession_id="ATR-000003", lesion="LUNG"),
    )
    assert [one.chosen for one in found] == [False, True, True]


# --- aliquots ----------------------------------------------------------------------------------------------------------


def aliquot(number: int, parent: Specimen, material: Material = Material.PLASMA) -> Specimen:
    return replace(
        parent,
        accession_id=f"ATR-{number:06d}",
        material=material,
        nominal_visit="",
        parent_accession_id=parent.accession_id,
    )


def test_aliquots_take_the_place_of_their_parent_over_any_generation(definition: StudyDefinition) -> None:
    blood = tube(1, date(2025, 4, 20), "C2D1", Material.WHOLE_BLOOD)
    plasma, cells = aliquot(2, blood), aliquot(3, blood, Material.PBMC)
    found = align(definition, blood, plasma, cells, aliquot(4, plasma))
    assert {(one.visit, one.rule, one.chosen, one.study_day, one.finding_codes) for one in found} == {
        ("C2D1", Rule.LABEL, True, 42, "OUT_OF_WINDOW")
    }
    assert [one.material for one in found] == [Material.WHOLE_BLOOD, Material.PLASMA, Material.PBMC, Material.PLASMA]


def test_an_aliquot_competes_with_other_specimens_of_its_own_material(definition: StudyDefinition) -> None:
    blood = tube(1, date(2025, 4, 3), "C2D1", Material.WHOLE_BLOOD)
    found = align(definition, blood, aliquot(2, blood), tube(3, date(2025, 4, 1), "C2D1"))
    assert [one.chosen for one in found] == [True, False, True]


def test_an_aliquot_that_contradicts_its_parent_is_told_and_never_fills_another_visit(definition: StudyDefinition) -> None:
    parent = tube(1, date(2025, 3, 31), "C2D1")
    contradicting = replace(aliquot(2, parent), nominal_visit="C6D1", collected_at=Moment(day=date(2025, 6, 23)))
    found = align(definition, parent, contradicting)[1]
    assert (found.visit, found.study_day, found.collected_on) == ("C2D1", 22, date(2025, 3, 31))
    assert [finding.message for finding in found.findings] == [
        "Collected on 2025-06-23, its parent 'ATR-000001' on 2025-03-31.",
        "It is labelled 'C6D1', its parent 'ATR-000001' 'C2D1'.",
    ]


def test_an_aliquot_of_another_subjects_specimen_waits(definition: StudyDefinition) -> None:
    parent = tube(1, date(2025, 3, 31), "C2D1")
    found = align(definition, parent, replace(aliquot(2, parent), subject_id="S0002"))[1]
    assert (found.rule, found.finding_codes) == (Rule.WAITING, "PARENT_OF_OTHER_SUBJECT")


def test_an_unknown_or_circular_parent_is_told_and_the_specimen_stands_for_itself(definition: StudyDefinition) -> None:
    orphan = replace(tube(1, date(2025, 3, 31), "C2D1"), parent_accession_id="ATR-999999")
    found = align_one(definition, orphan)
    assert (found.visit, found.finding_codes) == ("C2D1", "PARENT_UNKNOWN")
    one = replace(tube(1, date(2025, 3, 31), "C2D1"), parent_accession_id="ATR-000002")
    other = replace(tube(2, date(2025, 6, 23), "C6D1"), parent_accession_id="ATR-000001")
    circular = align(definition, one, other)
    assert [(found.visit, found.finding_codes) for found in circular] == [
        ("C2D1", "PARENT_UNKNOWN"),
        ("C6D1", "PARENT_UNKNOWN"),
    ]


# --- what cannot be ----------------------------------------------------------------------------------------------------


def test_a_specimen_of_an_unknown_subject_waits(definition: StudyDefinition) -> None:
    found = align_one(definition, replace(tube(1, date(2025, 3, 31), "C2D1"), subject_id="S0404"))
    assert (found.rule, found.visit, found.study_day, found.finding_codes) == (Rule.WAITING, None, None, "SUBJECT_UNKNOWN")
    assert found.note == "Subject 'S0404' is not in the roster."


def test_a_specimen_collected_after_death_keeps_its_label_with_a_finding_and_waits_without_one(
    definition: StudyDefinition,
) -> None:
    dead = replace(SUBJECT, death_date=date(2025, 3, 20))
    labelled = align_one(definition, tube(1, date(2025, 3, 31), "C2D1"), dead)
    assert (labelled.visit, labelled.chosen, labelled.finding_codes) == ("C2D1", True, "COLLECTED_AFTER_DEATH")
    unlabelled = align_one(definition, tube(1, date(2025, 3, 31)), dead)
    assert unlabelled.rule is Rule.WAITING
    assert unlabelled.finding_codes == "COLLECTED_AFTER_DEATH;VISIT_UNDECIDED"


def test_a_specimen_received_before_it_was_collected_gets_a_finding(definition: StudyDefinition) -> None:
    early = replace(tube(1, date(2025, 3, 31), "C2D1"), received_at=Moment(day=date(2025, 3, 30)))
    assert align_one(definition, early).finding_codes == "RECEIVED_BEFORE_COLLECTED"


def test_the_ends_of_the_calendar_crash_nothing(definition: StudyDefinition) -> None:
    last = replace(SUBJECT, treatment_start=Moment(day=date.max), progression_date=date.max)
    found = align(definition, tube(1, date.max, "C6D1"), tube(2, date.min), subject=last)
    assert [one.rule for one in found] == [Rule.LABEL, Rule.WAITING]
