"""A study worked out by hand: twelve subjects with every special case, first dosed on 10 March 2025 (S0011 on 11 August).

``tests/data/example_study`` holds its lists, its results and, in ``il6.csv``, the table they must give, small enough to check
by eye. S0001 textbook; S0002 progressed, baseline of an assumed time, fell below the range; S0003 progressed within C6D1's
window, with an unlabelled tube; S0004 a delayed cycle; S0005 two baselines, two tubes at C2D1 as far from the target,
haemolysis; S0006 serum then plasma; S0007 consent withdrawn; S0008 died, outside the window, a repeat; S0009 missing, then
pending after three thaws; S0010 not evaluable, and a baseline of 0 percent; S0011 late, above the range; S0012 below the range
at baseline, a tube without a label placed by its window and measured in an aliquot.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import cast

import pytest

from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study, read_roster, read_specimens, read_visits
from biomarkers.results import Assay, Comparator
from biomarkers.study.arms import ArmAssignments
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Roster
from biomarkers.study.visits import Alignment, Rule, align_specimens
from biomarkers.timepoints.alignment import AlignedInput, Decision, TimepointRow, timepoint_rows
from biomarkers.timepoints.attrition import Stage, attrition
from biomarkers.timepoints.change_details import ChangeRow, ControlValue, change_rows, run_variances, transitions
from biomarkers.timepoints.completeness import completeness_matrix
from biomarkers.timepoints.due import due_cells
from biomarkers.timepoints.irregularities import RunValue, duplicate_accessions, impossible_dates
from biomarkers.timepoints.summary import SummaryRow, caption, summarise
from biomarkers.timepoints.worklist import plan_plates, work_items

AS_OF = date(2025, 9, 1)
UNITS = {"IL6": (Assay.ELISA, "pg/mL"), "CD4_PCT_T": (Assay.CYTOMETRY, "%"), "CD8_HSCORE": (Assay.IHC, "H-score")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    definition: StudyDefinition
    roster: Roster
    alignments: tuple[Alignment, ...]
    results: tuple[AlignedInput, ...]
    rows: tuple[TimepointRow, ...]
    folder: Path

    def of(self, measurand: str) -> tuple[TimepointRow, ...]:
        return tuple(row for row in self.rows if row.measurand == measurand)

    def cell(self, subject_id: str, visit: str, measurand: str = "IL6") -> TimepointRow:
        (row,) = (row for row in self.of(measurand) if (row.subject_id, row.visit) == (subject_id, visit))
        return row


@pytest.fixture(scope="module")
def example(project_root: Path) -> Example:
    folder = project_root / "tests" / "data" / "example_study"
    content = packaged_study().model_dump()
    for analyte in content["analytes"]:
        if analyte["code"] == "IL6":
            analyte["materials"] = (Material.PLASMA, Material.SERUM)
    definition = StudyDefinition.model_validate(content)
    roster = Roster(
        subjects={one.subject_id: one for one in read_roster(folder / "roster.csv", definition)},
        specimens={one.accession_id: one for one in read_specimens(folder / "specimens.csv", definition)},
        visits={(one.subject_id, one.visit): one for one in read_visits(folder / "visits.csv", definition)},
    )
    with (folder / "results.csv").open(encoding="utf-8") as file:
        results = tuple(result(line) for line in csv.DictReader(file))
    alignments, due = align_specimens(definition, roster), due_cells(definition, roster)
    rows = timepoint_rows(definition.study.id, alignments, due, results, as_of=AS_OF)
    return Example(definition=definition, roster=roster, alignments=alignments, results=results, rows=rows, folder=folder)


def result(line: dict[str, str]) -> AlignedInput:
    assay, unit = UNITS[line["measurand"]]
    value = float(line["value"]) if line["value"] else None
    exact = value is not None and not line["comparator"]
    return AlignedInput(
        accession_id=line["accession_id"],
        assay=assay,
        measurand=line["measurand"],
        value=value,
        comparator=cast("Comparator", line["comparator"]),
        unit=unit,
        lower=value * 0.9 if exact and value is not None else None,
        upper=value / 0.9 if exact and value is not None else None,
        denominator="",
        n_replicates=2,
        evaluable=value is not None,
        finding_codes=line["findings"],
        run_id=line["run_id"],
        result_id=f"r-{line['accession_id']}-{line['run_id']}",
        source_sha256s="0" * 64,
        order=int(line["order"]),
        disposition=cast("Decision", line["disposition"]),
    )


def test_the_table_is_the_one_worked_out_by_hand(example: Example) -> None:
    with (example.folder / "il6.csv").open(encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    assert [written(row) for row in example.of("IL6")] == expected


def written(row: TimepointRow) -> dict[str, str]:
    """A row as the hand-written file has it."""
    number = {
        "study_day": row.study_day,
        "days_from_target": row.days_from_target,
        "baseline": row.baseline,
        "change": row.change,
        "percent_change": row.percent_change,
        "bound_lower": row.change_bound_lower,
        "bound_upper": row.change_bound_upper,
    }
    texts = {name: "" if value is None else f"{value:.10g}" for name, value in number.items()}
    window = {None: "", True: "yes", False: "no"}[row.in_window]
    value = "" if row.value is None else f"{row.comparator}{row.value:g}"
    return {
        "subject_id": row.subject_id,
        "visit": row.visit,
        "status": row.status,
        "study_day": texts["study_day"],
        "days_from_target": texts["days_from_target"],
        "in_window": window,
        "value": value,
        "baseline": texts["baseline"],
        "change": texts["change"],
        "percent_change": texts["percent_change"],
        "bound_lower": texts["bound_lower"],
        "bound_upper": texts["bound_upper"],
        "accession_id": row.accession_id or "",
        "findings": row.findings,
    }


def test_who_was_not_chosen_or_waits_stays_visible_with_its_reason(example: Example) -> None:
    told = {one.accession_id: (one.rule, one.visit, one.note) for one in example.alignments if one.note}
    assert told == {
        "ATR-000304": (
            Rule.WAITING,
            None,
            "It has no label, and its day 2025-06-24 lies in the window of C6D1 and PROGRESSION.",
        ),
        "ATR-000501": (
            Rule.NOT_CHOSEN,
            "BASELINE",
            "Another specimen of PLASMA for BASELINE was collected later, before the first dose.",
        ),
        "ATR-000504": (
            Rule.NOT_CHOSEN,
            "C2D1",
            "Another specimen of PLASMA for C2D1 is nearer its target day or earlier.",
        ),
    }


def test_a_frequency_changes_by_percentage_points_and_from_0_by_no_percent_and_no_fold(example: Example) -> None:
    changes = change_rows(example.of("CD4_PCT_T"), example.definition)
    assert [(one.subject_id, one.change, one.change_unit, one.percent_change, one.fold_change) for one in changes] == [
        ("S0001", 6.0, "percentage points", 15.0, 1.15),
        ("S0010", 5.0, "percentage points", None, None),
    ]


# --- why a cell is empty -----------------------------------------------------------------------------------------------


def test_the_matrix_says_of_every_subject_visit_and_assay_what_is_there_and_why_not(example: Example) -> None:
    cells = completeness_matrix(example.definition, example.rows, due_cells(example.definition, example.roster))
    assert len(cells) == 12 * 4 * 3
    by_place = {(cell.subject_id, cell.visit, cell.assay): cell for cell in cells}

    def told(subject_id: str, visit: str, assay: str) -> tuple[str, str]:
        cell = by_place[subject_id, visit, assay]
        return cell.status, cell.reason

    # Other analytes of the same plasma are not measured yet: pending asks for most attention there.
    assert told("S0001", "C2D1", "elisa") == ("pending", "")
    assert told("S0001", "C6D1", "ihc") == ("not_expected", "NOT_DUE")
    assert told("S0002", "C6D1", "elisa") == ("not_expected", "PROGRESSED")
    assert told("S0007", "BASELINE", "elisa") == ("not_expected", "CONSENT_WITHDRAWN")
    assert told("S0008", "PROGRESSION", "cytometry") == ("not_expected", "DIED")
    assert told("S0009", "C2D1", "elisa") == ("missing", "")
    assert told("S0011", "C2D1", "elisa") == ("not_yet_due", "")
    withdrawn = [cell for cell in cells if cell.subject_id == "S0007"]
    assert {(cell.accession_ids, cell.n_reported) for cell in withdrawn} == {((), 0)}


def test_attrition_counts_everybody_once_and_every_count_opens_its_subjects(example: Example) -> None:
    found = {group.visit: group for group in attrition(example.of("IL6"), example.roster, as_of=AS_OF)}
    assert [found["C6D1"].count(stage) for stage in Stage] == [12, 8, 2, 1, 1, 1, 7, 4, 3, 1, 2, 1, 0, 0, 2]
    assert found["C6D1"].subjects_by_stage[Stage.PROGRESSED] == ("S0002", "S0003")
    assert found["C6D1"].subjects_by_stage[Stage.DIED] == ("S0008",)
    assert found["C6D1"].subjects_by_stage[Stage.WITHDRAWN] == ("S0007",)
    assert found["C6D1"].subjects_by_stage[Stage.MISSING] == ("S0005", "S0006", "S0010", "S0012")
    assert found["C6D1"].subjects_by_stage[Stage.PENDING] == ("S0009",)
    assert found["C2D1"].subjects_by_stage[Stage.NOT_EVALUABLE] == ("S0010",)
    assert found["C2D1"].subjects_by_stage[Stage.PAIRED] == ("S0001", "S0002", "S0003", "S0004", "S0005", "S0008", "S0012")


# --- change ------------------------------------------------------------------------------------------------------------


def il6_changes(example: Example, **given: object) -> dict[tuple[str, str], ChangeRow]:
    found = change_rows(example.of("IL6"), example.definition, **given)  # type: ignore[arg-type]
    return {(one.subject_id, one.visit): one for one in found}


def test_a_change_on_a_logarithmic_scale_is_a_fold_with_an_interval_that_says_what_it_holds(example: Example) -> None:
    changes = il6_changes(example)
    same_run, two_runs = changes["S0001", "C2D1"], changes["S0003", "C2D1"]
    assert (same_run.fold_change, same_run.is_same_run, same_run.interval_basis) == (1.5, True, "SAME_RUN")
    # Each end has limits 10 % away on the logarithm; the two add up as squares.
    half = math.sqrt(2) * -math.log(0.9)
    assert same_run.interval_lower == pytest.approx(1.5 * math.exp(-half))
    assert same_run.interval_upper == pytest.approx(1.5 * math.exp(half))
    assert (two_runs.interval_basis, two_runs.findings) == ("WITHIN_RUN_ONLY", "WITHIN_RUN_ONLY")


def test_known_variance_between_runs_and_lots_widens_the_interval_of_two_runs_and_of_no_other(example: Example) -> None:
    logs = (0.0, 0.1, -0.1, 0.05, -0.05, 0.0)
    controls = [
        ControlValue(measurand="IL6", level=level, lot="L1", run_id=f"p{run}", value=height * math.exp(at))
        for level, height in (("LOW", 20.0), ("HIGH", 200.0))
        for run, at in enumerate(logs)
    ]
    variances = run_variances(controls, {"IL6": "log"})
    # The squares of one level add up to 0.025 over 5 degrees of freedom; two equal levels have the same.
    assert variances["IL6"].between_runs == pytest.approx(0.005)
    assert (variances["IL6"].degrees_of_freedom, variances["IL6"].between_lots) == (10, None)
    changes = il6_changes(example, variances=variances)
    assert changes["S0001", "C2D1"].interval_lower == il6_changes(example)["S0001", "C2D1"].interval_lower
    one = changes["S0003", "C2D1"]
    assert one.interval_basis == "BETWEEN_RUNS"
    error = math.sqrt(2 * (math.log(1 / 0.9) / 1.959963984540054) ** 2 + 2 * 0.005)
    assert one.interval_upper == pytest.approx(1.5 * math.exp(1.959963984540054 * error))
    assert one.findings == ""


def test_too_few_controls_give_no_variance() -> None:
    few = [ControlValue(measurand="IL6", level="LOW", lot="L1", run_id=str(run), value=20.0 + run) for run in range(5)]
    assert run_variances(few, {"IL6": "log"}) == {}


def test_lots_that_lie_apart_add_their_variance_unless_both_runs_used_one() -> None:
    controls = [
        ControlValue(measurand="IL6", level="LOW", lot=lot, run_id=f"{lot}{run}", value=math.exp(middle + at))
        for lot, middle in (("L1", 3.0), ("L2", 3.4))
        for run, at in enumerate((0.1, -0.1, 0.1, -0.1))
    ]
    found = run_variances(controls, {"IL6": "log"})["IL6"]
    between_runs = 8 * 0.01 / 6
    assert found.between_runs == pytest.approx(between_runs)
    # Two means 0.4 apart have a variance of 0.08, of which a quarter of the variance between runs is not the lots'.
    assert found.between_lots == pytest.approx(0.08 - between_runs / 4)


def test_bounds_give_intervals_of_differences_and_folds_and_no_confidence_interval(example: Example) -> None:
    fallen, risen = il6_changes(example)["S0002", "C2D1"], il6_changes(example)["S0012", "C2D1"]
    assert (fallen.change, fallen.change_bound_lower, fallen.change_bound_upper) == (None, -10.0, 3.1 - 10.0)
    assert (fallen.fold_bound_lower, fallen.fold_bound_upper) == (0.0, 0.31)
    assert (risen.fold_bound_lower, risen.fold_bound_upper) == (5 / 3.1, None)
    assert (fallen.interval_lower, fallen.interval_basis) == (None, "")


def test_crossing_the_limits_of_the_range_is_counted(example: Example) -> None:
    found = transitions(change_rows(example.of("IL6"), example.definition))
    at_c2d1 = {one.transition: one.subject_ids for one in found if one.visit == "C2D1"}
    assert at_c2d1 == {
        "below to within": ("S0012",),
        "within to below": ("S0002",),
        "within to within": ("S0001", "S0003", "S0004", "S0005", "S0008"),
    }
    assert all(one.visit != "UNSCHEDULED" for one in found)


# --- summaries ---------------------------------------------------------------------------------------------------------


def summary_of(example: Example, visit: str, assignments: ArmAssignments | None = None) -> tuple[SummaryRow, ...]:
    found = summarise(example.of("IL6"), example.roster, assignments, as_of=AS_OF)
    return tuple(row for row in found if row.visit == visit)


def test_c2d1_is_summarised_as_by_hand(example: Example) -> None:
    (found,) = summary_of(example, "C2D1")
    assert (found.n_randomised, found.n_on_study, found.n_due, found.n_received, found.n_measured) == (12, 11, 10, 9, 8)
    assert (found.n_below, found.n_not_evaluable, found.n_paired, found.n_uncensored_pairs) == (1, 1, 7, 5)
    # In order: <3.1, 5, 9, 12, 15, 18, 27, 30.
    assert (found.q1, found.median, found.q3) == (7.0, 13.5, 22.5)
    assert (found.percent_below, found.percent_above) == (12.5, 0.0)
    # Changes in order: -10 to -6.9, -3, 1.9 to 5, 6, 6, 6, 10.
    assert found.median_change == 6.0
    assert (found.median_change_lower, found.median_change_upper) == (-10.0, 10.0)
    assert found.individual_changes is None
    assert found.geometric_mean is not None
    assert found.geometric_mean_lower is not None
    assert found.geometric_mean_upper is not None
    assert found.geometric_mean_lower < found.geometric_mean < found.geometric_mean_upper


def test_with_two_pairs_the_individuals_stand_in_the_place_of_an_interval(example: Example) -> None:
    (found,) = summary_of(example, "C6D1")
    assert (found.n_on_study, found.n_due, found.n_measured, found.n_paired) == (8, 7, 2, 2)
    assert found.median_change == "-12.5 to -10.95"
    assert (found.median_change_lower, found.pseudo_median_change_lower, found.geometric_mean) == (None, None, None)
    assert found.individual_changes == "-15 to -11.9; -10"


def test_arms_stand_side_by_side_and_the_caption_says_who_is_left(example: Example) -> None:
    canary = "CANARY-ARM"
    assignments = ArmAssignments(arm_by_subject={"S0001": canary, "S0002": canary, "S0003": "B"})
    found = summary_of(example, "C2D1", assignments)
    assert [(row.arm, row.n_randomised, row.n_paired) for row in found] == [("B", 1, 1), (canary, 2, 2)]
    assert canary not in repr(found)
    assert canary not in repr(attrition(example.of("IL6"), example.roster, assignments, as_of=AS_OF))
    words = caption(example.definition)
    assert "C6D1 holds only the subjects still on study then" in words
    assert "open-label trial; laboratory staff masked to arm" in words
    assert "not compared" in words


def test_unplanned_visits_are_shown_and_never_summarised(example: Example) -> None:
    assert example.cell("S0001", "UNSCHEDULED").value == 25.0
    assert all(row.visit != "UNSCHEDULED" for row in summarise(example.rows, example.roster, as_of=AS_OF))


# --- what is to be done ------------------------------------------------------------------------------------------------


def test_the_worklist_holds_what_is_due_and_what_must_be_repeated_with_its_reason(example: Example) -> None:
    items = work_items(
        Assay.ELISA,
        example.of("IL6"),
        example.roster,
        example.results,
        volume_per_run_ul=100.0,
        dilution_by_result={"r-ATR-001101-p3": 2.0},
    )
    assert [(one.accession_id, one.reason, one.why, one.dilution_factor, one.volume_left_ul) for one in items] == [
        ("ATR-000902", "due", "received, not measured yet", None, 1000.0),
        ("ATR-001002", "repeat", "not evaluable: REPLICATE_CV", None, 900.0),
        ("ATR-001101", "repeat", "above the range (>500 pg/mL)", 20.0, 900.0),
    ]


def test_all_visits_of_a_subject_go_onto_one_plate(example: Example) -> None:
    layout = read_layout(example.folder.parents[2] / "plate_layouts" / "il6-96.csv")
    (pattern,) = work_items(Assay.ELISA, [example.cell("S0009", "C6D1")], example.roster, ())
    many = [
        replace(pattern, subject_id=f"S{subject:04d}", visit_number=visit, accession_id=f"ATR-{subject:05d}{visit}")
        for subject in range(25)
        for visit in (1, 2, 3)
    ]
    plates = plan_plates(many, layout, analyte="IL6")
    assert sum(len(plate.rows) for plate in plates) == 75
    for plate in plates:
        assert len({row.slot for row in plate.rows}) == len(plate.rows) <= 38
    of_subject = {item.subject_id: plate.plate_id for plate in plates for item in plate.items}
    assert all(of_subject[item.subject_id] == plate.plate_id for plate in plates for item in plate.items)
    assert len(plates) == 3  # twelve subjects of three fit on a plate of 38 slots
    assert plates[0].rows[0].slot == "S01"


def test_a_specimen_of_two_undecided_runs_is_told_and_many_are_counted(example: Example) -> None:
    undecided = [
        RunValue(one.accession_id, one.measurand, one.run_id, one.value, one.comparator, one.unit)
        for one in example.results
        if not one.disposition
    ]
    assert duplicate_accessions(undecided) == {}
    again = undecided[0]._replace(run_id="p9", value=22.0)
    found = duplicate_accessions([*undecided, again])
    assert list(found) == ["ATR-000101"]
    assert found["ATR-000101"].message == "It has results of 2 runs: 20 pg/mL in run 'p1', 22 pg/mL in run 'p9'."
    many = [again._replace(run_id=f"q{at}") for at in range(7)]
    assert duplicate_accessions([*undecided, *many])["ATR-000101"].message.endswith("22 pg/mL in run 'q4', and 2 more.")


def test_dates_that_contradict_each_other_or_are_to_come_are_told(example: Example) -> None:
    assert impossible_dates(example.roster, as_of=AS_OF) == ()
    dead = replace(example.roster.subjects["S0001"], death_date=date(2025, 3, 1))
    roster = replace(example.roster, subjects={**example.roster.subjects, "S0001": dead})
    assert [finding.message for finding in impossible_dates(roster, as_of=AS_OF)] == [
        "C2D1 took place on 2025-03-31, after death on 2025-03-01.",
        "The date of death, 2025-03-01, lies before that of randomisation, 2025-03-05.",
        "The date of death, 2025-03-01, lies before that of start of treatment, 2025-03-10.",
    ]
    to_come = {finding.where for finding in impossible_dates(example.roster, as_of=date(2025, 8, 8))}
    assert to_come == {"Subject 'S0011'."}
