"""The rows of the timepoint table: a study small enough to check by eye.

S0001 was first dosed on 10 March 2025; C2D1 was due on 31 March (window to 3 April), C6D1 on 23 June (window to 26 June).
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, time

import pytest

from biomarkers.readers.study_files import packaged_study
from biomarkers.results import Assay, Comparator
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import AlignedInput, Decision, TimepointRow, timepoint_rows
from biomarkers.timepoints.due import due_cells

SUBJECT = Subject(subject_id="S0001", site="LONDON", treatment_start=Moment(day=date(2025, 3, 10), time=time(10)))
BEFORE_DOSE = date(2025, 3, 9)
C2D1 = date(2025, 4, 1)


@pytest.fixture(scope="module")
def definition() -> StudyDefinition:
    """The packaged study with interleukin-6 from plasma or serum."""
    content = packaged_study().model_dump()
    for analyte in content["analytes"]:
        if analyte["code"] == "IL6":
            analyte["materials"] = (Material.PLASMA, Material.SERUM)
    return StudyDefinition.model_validate(content)


def tube(number: int, day: date, label: str, material: Material = Material.PLASMA, *, parent: int = 0) -> Specimen:
    return Specimen(
        accession_id=f"ATR-{number:06d}",
        subject_id="S0001",
        material=material,
        collected_at=Moment(day=day, time=time(8)),
        nominal_visit=label,
        parent_accession_id=f"ATR-{parent:06d}" if parent else "",
    )


def il6(
    number: int, value: float | None, comparator: Comparator = "", *, order: int = 1, disposition: Decision = ""
) -> AlignedInput:
    return AlignedInput(
        accession_id=f"ATR-{number:06d}",
        assay=Assay.ELISA,
        measurand="IL6",
        value=value,
        comparator=comparator,
        unit="" if value is None else "pg/mL",
        lower=None if value is None or comparator else value - 1,
        upper=None if value is None or comparator else value + 1,
        denominator="",
        n_replicates=2,
        evaluable=value is not None,
        finding_codes="" if value is not None else "REPLICATE_CV;WELL_MASKED",
        run_id=f"elisa-{order}",
        result_id=f"r-{number}-{order}",
        source_sha256s=f"{order:064x};{0:064x}",
        order=order,
        disposition=disposition,
    )


def rows(
    definition: StudyDefinition,
    specimens: tuple[Specimen, ...],
    *results: AlignedInput,
    subject: Subject = SUBJECT,
    as_of: date = date(2025, 8, 1),
) -> tuple[TimepointRow, ...]:
    roster = Roster(
        subjects={subject.subject_id: subject}, specimens={specimen.accession_id: specimen for specimen in specimens}
    )
    return timepoint_rows(
        "targeting-atr-sts", align_specimens(definition, roster), due_cells(definition, roster), results, as_of=as_of
    )


def il6_rows(
    definition: StudyDefinition,
    specimens: tuple[Specimen, ...],
    *results: AlignedInput,
    subject: Subject = SUBJECT,
    as_of: date = date(2025, 8, 1),
) -> dict[str, TimepointRow]:
    found = rows(definition, specimens, *results, subject=subject, as_of=as_of)
    return {row.visit: row for row in found if row.measurand == "IL6"}


def test_the_columns_are_those_of_the_interface_in_their_order() -> None:
    assert ", ".join(field.name for field in fields(TimepointRow)) == (
        "study_id, subject_id, visit, visit_number, study_day, days_from_target, in_window, assay, measurand, status, value, "
        "comparator, unit, lower, upper, denominator, baseline, change, percent_change, change_bound_lower, "
        "change_bound_upper, n_replicates, findings, accession_id, run_id, baseline_run_id, result_id, source_sha256"
    )


def test_a_measured_row_holds_the_result_its_specimens_day_and_the_change(definition: StudyDefinition) -> None:
    specimens = (tube(1, BEFORE_DOSE, "BASELINE"), tube(2, C2D1, "C2D1"))
    found = il6_rows(definition, specimens, il6(1, 20.0, order=1), il6(2, 30.0, order=2))
    assert found["C2D1"] == TimepointRow(
        study_id="targeting-atr-sts",
        subject_id="S0001",
        visit="C2D1",
        visit_number=2,
        study_day=23,
        days_from_target=1,
        in_window=True,
        assay="elisa",
        measurand="IL6",
        status="measured",
        value=30.0,
        comparator="",
        unit="pg/mL",
        lower=29.0,
        upper=31.0,
        denominator="",
        baseline=20.0,
        change=10.0,
        percent_change=50.0,
        change_bound_lower=None,
        change_bound_upper=None,
        n_replicates=2,
        findings="",
        accession_id="ATR-000002",
        run_id="elisa-2",
        baseline_run_id="elisa-1",
        result_id="r-2-2",
        source_sha256=f"{2:064x};{0:064x}",
    )
    baseline = found["BASELINE"]
    assert (baseline.value, baseline.study_day, baseline.days_from_target) == (20.0, -1, -1)
    assert (baseline.baseline, baseline.change, baseline.percent_change, baseline.baseline_run_id) == (None, None, None, None)


def test_bounds_have_their_status_and_changes_become_intervals(definition: StudyDefinition) -> None:
    specimens = (tube(1, BEFORE_DOSE, "BASELINE"), tube(2, C2D1, "C2D1"), tube(3, date(2025, 6, 23), "C6D1"))
    found = il6_rows(definition, specimens, il6(1, 20.0), il6(2, 6.2, "<"), il6(3, 400.0, ">"))
    below, above = found["C2D1"], found["C6D1"]
    assert (below.status, below.value, below.comparator) == ("below_range", 6.2, "<")
    assert (below.change, below.percent_change, below.change_bound_lower, below.change_bound_upper) == (
        None,
        None,
        -20.0,
        6.2 - 20.0,
    )
    assert (above.status, above.value, above.comparator) == ("above_range", 400.0, ">")
    assert (above.change_bound_lower, above.change_bound_upper, above.baseline) == (380.0, None, 20.0)


def test_a_censored_baseline_is_never_shown_as_a_number(definition: StudyDefinition) -> None:
    specimens = (tube(1, BEFORE_DOSE, "BASELINE"), tube(2, C2D1, "C2D1"))
    found = il6_rows(definition, specimens, il6(1, 6.2, "<", order=1), il6(2, 30.0, order=2))["C2D1"]
    assert (found.baseline, found.change, found.baseline_run_id) == (None, None, "elisa-1")
    assert (found.change_bound_lower, found.change_bound_upper) == (30.0 - 6.2, 30.0)


def test_a_result_that_failed_quality_has_no_value_and_says_why(definition: StudyDefinition) -> None:
    late = tube(2, date(2025, 4, 9), "C2D1")
    found = il6_rows(definition, (tube(1, BEFORE_DOSE, "BASELINE"), late), il6(1, 20.0), il6(2, None))["C2D1"]
    assert (found.status, found.value, found.comparator, found.unit) == ("not_evaluable", None, None, "pg/mL")
    assert found.findings == "OUT_OF_WINDOW;REPLICATE_CV;WELL_MASKED"
    assert (found.in_window, found.run_id, found.baseline, found.baseline_run_id) == (False, "elisa-1", None, None)


def test_a_baseline_that_failed_quality_is_no_baseline(definition: StudyDefinition) -> None:
    specimens = (tube(1, BEFORE_DOSE, "BASELINE"), tube(2, C2D1, "C2D1"))
    found = il6_rows(definition, specimens, il6(1, None), il6(2, 30.0))["C2D1"]
    assert (found.status, found.baseline, found.change, found.baseline_run_id) == ("measured", None, None, None)


def test_plasma_against_serum_is_told_and_not_subtracted(definition: StudyDefinition) -> None:
    specimens = (tube(1, BEFORE_DOSE, "BASELINE", Material.SERUM), tube(2, C2D1, "C2D1"))
    found = il6_rows(definition, specimens, il6(1, 20.0), il6(2, 30.0))["C2D1"]
    assert (found.baseline, found.change, found.baseline_run_id, found.findings) == (None, None, None, "MATRIX_CHANGED")


# --- why a cell is empty -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (date(2025, 3, 8), ("not_yet_due", "not_yet_due", "not_yet_due")),
        (date(2025, 3, 10), ("pending", "not_yet_due", "not_yet_due")),
        (date(2025, 4, 3), ("pending", "not_yet_due", "not_yet_due")),
        (date(2025, 4, 4), ("pending", "missing", "not_yet_due")),
        (date(2025, 5, 1), ("pending", "missing", "not_expected")),
    ],
)
def test_an_empty_cell_has_the_status_of_the_day(
    definition: StudyDefinition, as_of: date, expected: tuple[str, str, str]
) -> None:
    progressed = replace(SUBJECT, progression_date=date(2025, 5, 1))
    found = il6_rows(definition, (tube(1, BEFORE_DOSE, "BASELINE"),), subject=progressed, as_of=as_of)
    assert (found["BASELINE"].status, found["C2D1"].status, found["C6D1"].status) == expected


def test_a_pending_cell_shows_its_specimen(definition: StudyDefinition) -> None:
    found = il6_rows(definition, (tube(1, date(2025, 4, 8), "C2D1"),))["C2D1"]
    assert (found.status, found.accession_id, found.study_day, found.findings) == (
        "pending",
        "ATR-000001",
        30,
        "OUT_OF_WINDOW",
    )
    assert (found.value, found.unit, found.run_id, found.comparator) == (None, "pg/mL", None, None)


def test_only_a_specimen_of_the_right_material_makes_a_cell_pending(definition: StudyDefinition) -> None:
    found = rows(definition, (tube(1, C2D1, "C2D1", Material.SERUM), tube(2, C2D1, "C2D1", Material.FFPE_SECTION)))
    status = {row.measurand: row.status for row in found if row.visit == "C2D1"}
    assert (status["IL6"], status["KYN"], status["CD4_PCT_T"], status["CD8_HSCORE"]) == (
        "pending",
        "missing",
        "missing",
        "pending",
    )


def test_a_result_counts_whatever_ended_before_it(definition: StudyDefinition) -> None:
    progressed = replace(SUBJECT, progression_date=date(2025, 5, 1))
    found = il6_rows(definition, (tube(1, date(2025, 6, 23), "C6D1"),), il6(1, 9.0), subject=progressed)["C6D1"]
    assert found.status == "measured"


def test_progression_is_not_yet_due_on_study_and_not_expected_after_it(definition: StudyDefinition) -> None:
    assert il6_rows(definition, ())["PROGRESSION"].status == "not_yet_due"
    left = replace(SUBJECT, off_study_date=date(2025, 6, 1))
    assert il6_rows(definition, (), subject=left)["PROGRESSION"].status == "not_expected"
    assert il6_rows(definition, (), subject=left, as_of=date(2025, 5, 31))["PROGRESSION"].status == "not_yet_due"


def test_a_result_of_a_specimen_collected_later_is_not_shown_yet(definition: StudyDefinition) -> None:
    specimens = (tube(1, C2D1, "C2D1"),)
    assert il6_rows(definition, specimens, il6(1, 9.0), as_of=C2D1)["C2D1"].status == "measured"
    before = il6_rows(definition, specimens, il6(1, 9.0), as_of=date(2025, 3, 31))["C2D1"]
    assert (before.status, before.value, before.accession_id) == ("not_yet_due", None, None)


def test_withdrawn_consent_hides_results_of_planned_and_unplanned_visits(definition: StudyDefinition) -> None:
    withdrawn = replace(SUBJECT, consent_withdrawn_on=date(2025, 7, 1))
    specimens = (tube(1, C2D1, "C2D1"), tube(2, date(2025, 5, 5), "UNSCHEDULED"))
    found = rows(definition, specimens, il6(1, 9.0), il6(2, 9.0), subject=withdrawn)
    assert {(row.status, row.value, row.accession_id, row.study_day) for row in found} == {("not_expected", None, None, None)}
    assert "UNSCHEDULED" not in {row.visit for row in found}


# --- which result counts -----------------------------------------------------------------------------------------------


def test_the_first_evaluable_result_of_a_specimen_is_reported(definition: StudyDefinition) -> None:
    specimens = (tube(1, C2D1, "C2D1"),)
    found = il6_rows(definition, specimens, il6(1, 12.0, order=3), il6(1, None, order=1), il6(1, 11.0, order=2))
    assert found["C2D1"].value == 11.0


def test_a_declared_result_goes_before_an_earlier_one_and_repeated_and_excluded_ones_do_not_count(
    definition: StudyDefinition,
) -> None:
    specimens = (tube(1, C2D1, "C2D1"),)
    declared = il6(1, 12.0, order=2, disposition="reportable")
    assert il6_rows(definition, specimens, il6(1, 11.0, order=1), declared)["C2D1"].value == 12.0
    repeated = il6(1, 11.0, order=1, disposition="repeated")
    assert il6_rows(definition, specimens, repeated, il6(1, 13.0, order=3))["C2D1"].value == 13.0
    excluded = il6(1, 11.0, order=1, disposition="excluded")
    assert il6_rows(definition, specimens, excluded)["C2D1"].status == "pending"


def test_a_specimen_that_was_not_chosen_or_waits_gives_no_row(definition: StudyDefinition) -> None:
    specimens = (tube(1, date(2025, 3, 31), "C2D1"), tube(2, C2D1, "C2D1"), tube(3, date(2025, 5, 5), ""))
    found = il6_rows(definition, specimens, il6(2, 12.0), il6(3, 13.0))
    assert (found["C2D1"].status, found["C2D1"].accession_id) == ("pending", "ATR-000001")
    assert set(found) == {"BASELINE", "C2D1", "C6D1", "PROGRESSION"}


def test_the_result_of_an_aliquot_fills_its_parents_visit(definition: StudyDefinition) -> None:
    specimens = (tube(1, C2D1, "C2D1", Material.WHOLE_BLOOD), tube(2, C2D1, "", parent=1))
    found = il6_rows(definition, specimens, il6(2, 12.0))["C2D1"]
    assert (found.value, found.accession_id) == (12.0, "ATR-000002")


def test_unplanned_measurements_are_rows_of_their_own_with_a_change_after_all_planned_visits(
    definition: StudyDefinition,
) -> None:
    specimens = (
        tube(1, BEFORE_DOSE, "BASELINE"),
        tube(2, date(2025, 5, 5), "UNSCHEDULED"),
        tube(3, date(2025, 5, 19), "UNSCHEDULED"),
        tube(4, date(2025, 6, 2), "END_OF_TREATMENT"),
        tube(5, date(2025, 6, 2), "UNSCHEDULED"),
    )
    found = [
        row
        for row in rows(definition, specimens, il6(1, 20.0), il6(3, 35.0), il6(2, 30.0), il6(4, 10.0))
        if row.measurand == "IL6"
    ]
    assert [(row.visit, row.visit_number, row.study_day, row.change) for row in found[4:]] == [
        ("END_OF_TREATMENT", None, 85, -10.0),
        ("UNSCHEDULED", None, 57, 10.0),
        ("UNSCHEDULED", None, 71, 15.0),
    ]
    assert found[4].days_from_target is None
    assert found[4].in_window is None


def test_a_measurement_that_was_not_due_is_a_row_all_the_same(definition: StudyDefinition) -> None:
    section = tube(1, date(2025, 6, 23), "C6D1", Material.FFPE_SECTION)
    result = replace(il6(1, 120.0), assay=Assay.IHC, measurand="CD8_HSCORE", unit="H-score")
    found = [row for row in rows(definition, (section,), result) if row.measurand == "CD8_HSCORE"]
    assert [(row.visit, row.status) for row in found] == [
        ("BASELINE", "missing"),
        ("C2D1", "missing"),
        ("C6D1", "measured"),
    ]


def test_rows_are_sorted_by_subject_visit_number_assay_and_measurand(definition: StudyDefinition) -> None:
    roster = Roster(subjects={name: replace(SUBJECT, subject_id=name) for name in ("S0002", "S0001")})
    found = timepoint_rows("study", (), due_cells(definition, roster)[::-1], (), as_of=date(2025, 8, 1))
    places = [(row.subject_id, row.visit_number, row.assay, row.measurand) for row in found]
    assert places == sorted(places, key=lambda place: (place[0], place[1] or 0, place[2], place[3]))
    assert len(places) == 2 * sum(len(measurand.due) for measurand in definition.measurands)
