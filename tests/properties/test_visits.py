"""Every sentence of the visit rules, held against studies nobody thought of."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, time, timedelta
from functools import cache
from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as st

from biomarkers.readers.declarations import parse_declaration
from biomarkers.study.declaration import Material
from biomarkers.study.definition import UNSUMMARISED_VISITS, StudyDefinition
from biomarkers.study.roster import ActualVisit, Moment, Roster, Specimen, Subject
from biomarkers.study.schedule import date_of_study_day, study_day, subject_schedule
from biomarkers.study.visits import Alignment, Rule, align_specimens
from biomarkers.timepoints.alignment import AlignedInput, Status, TimepointRow, timepoint_rows
from biomarkers.timepoints.due import due_cells

FIRST_DOSE = date(2025, 3, 10)
DAYS = st.integers(-45, 150).map(lambda days: FIRST_DOSE + timedelta(days=days))
TIMES = st.sampled_from([None, time(8), time(10), time(12)])
MOMENTS = st.builds(Moment, day=st.one_of(DAYS, st.just(FIRST_DOSE)), time=TIMES)
MATERIALS = st.sampled_from([Material.PLASMA, Material.PBMC, Material.FFPE_SECTION])
LABELS = st.sampled_from(["BASELINE", "C2D1", "C6D1", "PROGRESSION", "UNSCHEDULED", "END_OF_TREATMENT", "", "", "C99"])
IDS = ("S0001", "S0002")


@cache
def packaged() -> StudyDefinition:
    text = (files("biomarkers.study") / "targeting_atr_sts.toml").read_text(encoding="utf-8")
    return parse_declaration(text, StudyDefinition, name="study.toml")


@st.composite
def rosters(draw: st.DrawFn) -> Roster:
    maybe = st.one_of(st.none(), DAYS)
    subjects = {
        subject_id: Subject(
            subject_id=subject_id,
            site="LONDON",
            treatment_start=draw(st.one_of(st.none(), st.builds(Moment, day=st.just(FIRST_DOSE), time=TIMES))),
            progression_date=draw(maybe),
            off_study_date=draw(maybe),
            death_date=draw(maybe),
            consent_withdrawn_on=draw(st.one_of(st.none(), st.none(), DAYS)),
        )
        for subject_id in IDS
    }
    visits = {
        (subject_id, visit): ActualVisit(subject_id=subject_id, visit=visit, actual_date=draw(maybe))
        for subject_id in IDS
        for visit in draw(st.sets(st.sampled_from(["BASELINE", "C2D1", "C6D1", "PROGRESSION"])))
    }
    specimens: dict[str, Specimen] = {}
    for number in range(draw(st.integers(0, 10))):
        accession_id = f"ATR-{number:06d}"
        specimens[accession_id] = Specimen(
            accession_id=accession_id,
            subject_id=draw(st.sampled_from([*IDS, *IDS, "S0404"])),
            material=draw(MATERIALS),
            collected_at=draw(MOMENTS),
            nominal_visit=draw(LABELS),
            parent_accession_id=draw(st.sampled_from(["", "", "", "ATR-000000", "ATR-000001", "ATR-000009"])),
        )
    return Roster(subjects=subjects, specimens=specimens, visits=visits)


def own(roster: Roster) -> list[Alignment]:
    """Alignments of specimens that were collected themselves, of subjects the roster knows."""
    return [
        one
        for one in align_specimens(packaged(), roster)
        if not roster.specimens[one.accession_id].parent_accession_id and one.subject_id in roster.subjects
    ]


@given(day=DAYS, first_dose=DAYS)
def test_study_days_skip_0_and_name_each_date_once(day: date, first_dose: date) -> None:
    number = study_day(day, first_dose)
    assert number != 0
    assert date_of_study_day(number, first_dose) == day
    following = study_day(day + timedelta(days=1), first_dose)
    assert following - number == (2 if number == -1 else 1)


@given(roster=rosters())
def test_every_specimen_has_one_place_or_waits_with_its_reason(roster: Roster) -> None:
    found = align_specimens(packaged(), roster)
    assert [one.accession_id for one in found] == sorted(roster.specimens)
    for one in found:
        assert (one.visit is None) == (one.rule is Rule.WAITING)
        assert bool(one.note) == (one.rule in {Rule.WAITING, Rule.NOT_CHOSEN})
        assert one.chosen == (one.rule in {Rule.LABEL, Rule.WINDOW, Rule.UNSCHEDULED})


@given(roster=rosters(), data=st.data())
def test_the_order_of_the_list_does_not_matter(roster: Roster, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(sorted(roster.specimens)))
    other = Roster(
        subjects=dict(reversed(list(roster.subjects.items()))),
        specimens={accession_id: roster.specimens[accession_id] for accession_id in shuffled},
        visits=roster.visits,
    )
    assert align_specimens(packaged(), other) == align_specimens(packaged(), roster)


@given(roster=rosters())
def test_a_known_label_decides_and_an_unknown_one_waits(roster: Roster) -> None:
    known = {visit.code for visit in packaged().visits} | set(UNSUMMARISED_VISITS)
    for one in own(roster):
        label = roster.specimens[one.accession_id].nominal_visit
        if label in known:
            assert one.visit == label
        elif label:
            assert one.rule is Rule.WAITING


@given(roster=rosters())
def test_a_window_assigns_only_without_a_label_and_only_if_it_is_the_only_one(roster: Roster) -> None:
    for one in own(roster):
        if roster.specimens[one.accession_id].nominal_visit or one.visit is None:
            continue
        schedule = subject_schedule(packaged(), roster.subjects[one.subject_id], roster)
        windows = {code: visit.window(one.material) for code, visit in schedule.items()}
        fitting = [code for code, window in windows.items() if window is not None and one.collected_on in window]
        # On the day of the first dose the times say which side of it a specimen lies on; on any other day the windows do.
        if one.collected_on == FIRST_DOSE and "BASELINE" in fitting and one.visit != "BASELINE":
            fitting.remove("BASELINE")
        assert fitting == [one.visit]


@given(roster=rosters())
def test_out_of_window_is_found_exactly_where_a_labelled_specimen_lies_outside(roster: Roster) -> None:
    for one in own(roster):
        if one.visit is None or one.visit_number is None:
            continue
        window = subject_schedule(packaged(), roster.subjects[one.subject_id], roster)[one.visit].window(one.material)
        outside = window is not None and one.collected_on not in window
        assert ("OUT_OF_WINDOW" in one.finding_codes.split(";")) == outside


@given(roster=rosters())
def test_one_collection_stands_for_a_visit_and_material_and_no_other_has_a_better_claim(roster: Roster) -> None:
    rivals: dict[tuple[str, str, Material], list[Alignment]] = defaultdict(list)
    for one in own(roster):
        if one.visit is not None and one.visit_number is not None:
            rivals[one.subject_id, one.visit, one.material].append(one)
    children = {specimen.parent_accession_id for specimen in roster.specimens.values()} - {""}
    for (subject_id, visit, _), found in rivals.items():
        if children:
            continue  # an aliquot may stand for the visit instead
        chosen = [one for one in found if one.chosen]
        assert len({roster.specimens[one.accession_id].collected_at for one in chosen}) <= 1
        start = roster.subjects[subject_id].treatment_start
        if visit == "BASELINE" and start is not None:
            before = [one.collected_on for one in found if "COLLECTED_AFTER_FIRST_DOSE" not in one.finding_codes]
            assert [one.collected_on for one in chosen[:1]] == ([max(before)] if before else [])
            assert all(one.collected_on <= start.day for one in chosen)
        elif visit != "BASELINE":
            assert chosen
            best = min((abs(one.days_from_target or 0), one.collected_on) for one in found)
            assert (abs(chosen[0].days_from_target or 0), chosen[0].collected_on) == best


@given(roster=rosters())
def test_an_aliquot_is_where_its_parent_is_so_that_no_specimen_fills_two_visits(roster: Roster) -> None:
    places = {one.accession_id: one for one in align_specimens(packaged(), roster)}
    for accession_id, specimen in roster.specimens.items():
        parent = places.get(specimen.parent_accession_id)
        codes = places[accession_id].finding_codes.split(";")
        if (
            parent is None
            or "PARENT_UNKNOWN" in codes
            or "PARENT_OF_OTHER_SUBJECT" in (*codes, *parent.finding_codes.split(";"))
        ):
            continue
        assert places[accession_id].visit == parent.visit
        assert places[accession_id].collected_on == parent.collected_on


def some_results(roster: Roster) -> list[AlignedInput]:
    return [
        AlignedInput(
            accession_id=accession_id,
            assay=measurand.assay,
            measurand=measurand.code,
            value=float(order),
            comparator="",
            unit=measurand.unit,
            lower=None,
            upper=None,
            denominator="",
            n_replicates=2,
            evaluable=True,
            finding_codes="",
            run_id="run",
            result_id=f"r-{order}",
            source_sha256s="0",
            order=order,
        )
        for order, accession_id in enumerate(sorted(roster.specimens))
        for measurand in packaged().measurands
        if order % 2 and roster.specimens[accession_id].material in measurand.materials
    ]


def table(roster: Roster, as_of: date) -> tuple[TimepointRow, ...]:
    definition = packaged()
    alignments, due = align_specimens(definition, roster), due_cells(definition, roster)
    return timepoint_rows("study", alignments, due, some_results(roster), as_of=as_of)


@settings(max_examples=60)
@given(roster=rosters(), as_of=DAYS)
def test_every_due_cell_is_one_row_and_what_has_ended_is_never_missing(roster: Roster, as_of: date) -> None:
    rows = table(roster, as_of)
    due = due_cells(packaged(), roster)
    planned = {(row.subject_id, row.visit, row.measurand): row for row in rows if row.visit_number is not None}
    assert len(planned) == sum(row.visit_number is not None for row in rows)
    for cell in due:
        row = planned[cell.subject_id, cell.visit, cell.measurand]
        if cell.hidden or (cell.not_expected_from is not None and cell.not_expected_from <= as_of):
            assert row.status != Status.MISSING
        if cell.hidden:
            assert row.status == Status.NOT_EXPECTED
        if row.status == Status.MISSING:
            assert cell.window_last is not None
            assert cell.window_last < as_of


@settings(max_examples=60)
@given(roster=rosters(), as_of=DAYS)
def test_withdrawn_consent_hides_every_result_and_specimen(roster: Roster, as_of: date) -> None:
    for row in table(roster, as_of):
        if roster.subjects[row.subject_id].consent_withdrawn_on is not None:
            assert (row.value, row.accession_id, row.result_id, row.study_day, row.findings) == (None, None, None, None, "")


@settings(max_examples=60)
@given(roster=rosters(), as_of=DAYS)
def test_nothing_collected_later_shows_in_the_table_of_an_earlier_day(roster: Roster, as_of: date) -> None:
    later = {one.accession_id for one in align_specimens(packaged(), roster) if one.collected_on > as_of}
    assert {row.accession_id for row in table(roster, as_of)}.isdisjoint(later)
