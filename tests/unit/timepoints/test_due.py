"""What is due and until when it is expected, one subject at a time. First dose 10 March 2025."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest

from biomarkers.readers.study_files import packaged_study
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import ActualVisit, Moment, Roster, Subject
from biomarkers.timepoints.due import DueCell, due_cells


@pytest.fixture(scope="module")
def definition() -> StudyDefinition:
    return packaged_study()


def subject(
    *,
    start: date | None = date(2025, 3, 10),
    progression: date | None = None,
    off_study: date | None = None,
    death: date | None = None,
    withdrawn: date | None = None,
) -> Subject:
    return Subject(
        subject_id="S0001",
        site="LONDON",
        treatment_start=None if start is None else Moment(day=start),
        progression_date=progression,
        off_study_date=off_study,
        death_date=death,
        consent_withdrawn_on=withdrawn,
    )


def ends(definition: StudyDefinition, one: Subject, **actual: date) -> dict[str, str]:
    """The reason and day from which each visit is not expected, in blood."""
    return {
        visit: f"{cell.not_expected_reason} {cell.not_expected_from}" if cell.not_expected_from else ""
        for visit, cell in blood(definition, one, **actual).items()
    }


def blood(definition: StudyDefinition, one: Subject, **actual: date) -> dict[str, DueCell]:
    visits = {("S0001", visit): ActualVisit(subject_id="S0001", visit=visit, actual_date=day) for visit, day in actual.items()}
    roster = Roster(subjects={"S0001": one}, visits=visits)
    return {cell.visit: cell for cell in due_cells(definition, roster) if cell.measurand == "IL6"}


def test_every_measurand_is_due_where_the_study_says_and_nowhere_else(definition: StudyDefinition) -> None:
    cells = due_cells(definition, Roster(subjects={"S0001": subject()}))
    measurands = Counter(measurand.assay.value for measurand in definition.measurands)
    assert Counter((cell.assay.value, cell.visit) for cell in cells) == {
        **{("elisa", visit): measurands["elisa"] for visit in ("BASELINE", "C2D1", "C6D1", "PROGRESSION")},
        **{("cytometry", visit): measurands["cytometry"] for visit in ("BASELINE", "C2D1", "C6D1", "PROGRESSION")},
        **{("ihc", visit): measurands["ihc"] for visit in ("BASELINE", "C2D1")},
    }
    assert [(cell.visit_number, cell.assay, cell.measurand) for cell in cells] == sorted(
        (cell.visit_number, cell.assay, cell.measurand) for cell in cells
    )


def test_a_cell_carries_unit_materials_window_and_target(definition: StudyDefinition) -> None:
    cell = blood(definition, subject())["C2D1"]
    assert (cell.unit, cell.materials) == ("pg/mL", (Material.PLASMA,))
    assert (cell.window_first, cell.target_date, cell.window_last) == (
        date(2025, 3, 28),
        date(2025, 3, 31),
        date(2025, 4, 3),
    )
    assert (cell.not_expected_from, cell.not_expected_reason, cell.hidden) == (None, "", False)


def test_who_progresses_before_a_visit_is_not_expected_there_but_at_progression(definition: StudyDefinition) -> None:
    assert ends(definition, subject(progression=date(2025, 5, 1))) == {
        "BASELINE": "",
        "C2D1": "",
        "C6D1": "PROGRESSED 2025-05-01",
        "PROGRESSION": "",
    }


def test_who_progresses_on_the_day_of_a_visit_is_still_expected_there(definition: StudyDefinition) -> None:
    assert ends(definition, subject(progression=date(2025, 6, 23)))["C6D1"] == ""
    assert ends(definition, subject(progression=date(2025, 6, 22)))["C6D1"] == "PROGRESSED 2025-06-22"


def test_a_delayed_cycle_moves_the_day_by_which_an_end_counts(definition: StudyDefinition) -> None:
    assert ends(definition, subject(progression=date(2025, 6, 25)))["C6D1"] == ""
    assert ends(definition, subject(progression=date(2025, 6, 25)), C2D1=date(2025, 4, 7))["C6D1"] == "PROGRESSED 2025-06-25"


def test_a_visit_that_took_place_after_progression_was_reached(definition: StudyDefinition) -> None:
    assert ends(definition, subject(progression=date(2025, 5, 1)), C6D1=date(2025, 6, 23))["C6D1"] == ""


def test_who_dies_or_leaves_before_progressing_is_not_expected_at_progression(definition: StudyDefinition) -> None:
    assert ends(definition, subject(death=date(2025, 4, 20)))["PROGRESSION"] == "DIED 2025-04-20"
    assert ends(definition, subject(off_study=date(2025, 4, 20)))["PROGRESSION"] == "OFF_STUDY 2025-04-20"
    assert ends(definition, subject(progression=date(2025, 5, 1), off_study=date(2025, 5, 1)))["PROGRESSION"] == ""
    assert ends(definition, subject(progression=date(2025, 5, 1), death=date(2025, 8, 1)))["PROGRESSION"] == ""


def test_the_first_end_counts_and_of_one_day_death_before_progression_before_leaving(definition: StudyDefinition) -> None:
    day = date(2025, 5, 1)
    assert ends(definition, subject(progression=day, off_study=date(2025, 4, 20)))["C6D1"] == "OFF_STUDY 2025-04-20"
    assert ends(definition, subject(progression=day, off_study=day))["C6D1"] == "PROGRESSED 2025-05-01"
    assert ends(definition, subject(progression=day, off_study=day, death=day))["C6D1"] == "DIED 2025-05-01"


def test_who_was_never_treated_is_expected_until_off_study(definition: StudyDefinition) -> None:
    untreated = blood(definition, subject(start=None))
    assert {(cell.window_last, cell.target_date, cell.not_expected_from) for cell in untreated.values()} == {(None, None, None)}
    assert set(ends(definition, subject(start=None, off_study=date(2025, 3, 20))).values()) == {"OFF_STUDY 2025-03-20"}


def test_withdrawn_consent_hides_every_cell_whatever_took_place(definition: StudyDefinition) -> None:
    withdrawn = subject(withdrawn=date(2025, 9, 1), death=date(2025, 4, 1))
    cells = blood(definition, withdrawn, C2D1=date(2025, 3, 31))
    assert {(cell.hidden, cell.not_expected_reason, cell.not_expected_from) for cell in cells.values()} == {
        (True, "CONSENT_WITHDRAWN", date(2025, 9, 1))
    }
