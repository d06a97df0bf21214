"""Every sentence of the visit rules, held against studies nobody thought of."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, time, timedelta
from functools import cache
from importlib.resources import files

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from biomarkers.readers.declarations import parse_declaration
from biomarkers.study.declaration import Material
from biomarkers.study.definition import UNSUMMARISED_VISITS, Anchor, StudyDefinition
from biomarkers.study.roster import ActualVisit, Moment, Roster, Specimen, Subject
from biomarkers.study.schedule import date_of_study_day, study_day, subject_schedule
from biomarkers.study.visits import Alignment, Rule, align_specimens
from biomarkers.timepoints.alignment import AlignedInput, Status, TimepointRow, timepoint_rows
from biomarkers.timepoints.due import due_cells
from biomarkers.timepoints.summary import summarise

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


# --- one sentence each -------------------------------------------------------------------------------------------------

SHIFTS = st.integers(-3, 40)


def one_subject(*specimens: Specimen, visits: dict[str, date] | None = None, progression: date | None = None) -> Roster:
    return Roster(
        subjects={
            "S0001": Subject(
                subject_id="S0001",
                site="LONDON",
                treatment_start=Moment(day=FIRST_DOSE, time=time(10)),
                progression_date=progression,
            )
        },
        specimens={one.accession_id: one for one in specimens},
        visits={
            ("S0001", visit): ActualVisit(subject_id="S0001", visit=visit, actual_date=day)
            for visit, day in (visits or {}).items()
        },
    )


def tube(number: int, day: date, label: str = "", clock: time | None = time(8)) -> Specimen:
    return Specimen(
        accession_id=f"ATR-{number:06d}",
        subject_id="S0001",
        material=Material.PLASMA,
        collected_at=Moment(day=day, time=clock),
        nominal_visit=label,
    )


@given(shift=SHIFTS, offset=st.integers(-10, 10))
def test_a_cycle_delay_moves_the_targets_and_windows_of_its_own_and_all_later_visits_by_as_much(
    shift: int, offset: int
) -> None:
    delayed = {"C2D1": date_of_study_day(22, FIRST_DOSE) + timedelta(days=shift)}
    plain = subject_schedule(packaged(), one_subject().subjects["S0001"], one_subject())
    moved_roster = one_subject(visits=delayed)
    moved = subject_schedule(packaged(), moved_roster.subjects["S0001"], moved_roster)
    for code in ("C2D1", "C6D1"):
        one, other = plain[code].target_date, moved[code].target_date
        assert one is not None
        assert other == one + timedelta(days=shift)
        day = one + timedelta(days=offset)
        before, after = plain[code].window(Material.PLASMA), moved[code].window(Material.PLASMA)
        assert before is not None
        assert after is not None
        assert (day in before) == (day + timedelta(days=shift) in after)
    assert moved["BASELINE"] == plain["BASELINE"]


@given(shift=SHIFTS, offset=st.integers(-6, 6))
def test_whether_a_specimen_lies_within_its_window_depends_on_the_moved_target_alone(shift: int, offset: int) -> None:
    target = date_of_study_day(106, FIRST_DOSE)
    day = target + timedelta(days=offset)
    moved = day + timedelta(days=shift)
    delayed = {"C2D1": date_of_study_day(22, FIRST_DOSE) + timedelta(days=shift)}
    (plain,) = align_specimens(packaged(), one_subject(tube(1, day, "C6D1")))
    (later,) = align_specimens(packaged(), one_subject(tube(1, moved, "C6D1"), visits=delayed))
    assert (plain.days_from_target, plain.in_window) == (later.days_from_target, later.in_window) == (offset, abs(offset) <= 3)


@given(offset=st.integers(-3, 3), until=st.integers(-28, 7))
def test_progression_within_c6d1s_window_is_decided_by_the_label_and_an_unlabelled_specimen_waits(
    offset: int, until: int
) -> None:
    day = date_of_study_day(106, FIRST_DOSE) + timedelta(days=offset)
    progression = day + timedelta(days=until)
    labels = ("C6D1", "PROGRESSION", "")
    specimens = [tube(at, day, label) for at, label in enumerate(labels)]
    found = align_specimens(packaged(), one_subject(*specimens, progression=progression))
    assert [one.visit for one in found] == ["C6D1", "PROGRESSION", None]
    assert found[2].rule is Rule.WAITING
    assert found[2].note == f"It has no label, and its day {day} lies in the window of C6D1 and PROGRESSION."


@given(days=st.lists(st.integers(-20, 20), min_size=2, max_size=5, unique=True))
def test_of_several_specimens_the_nearest_counts_the_earlier_on_a_tie_and_the_others_stay_visible(days: list[int]) -> None:
    target = date_of_study_day(22, FIRST_DOSE)
    specimens = [tube(at, target + timedelta(days=offset), "C2D1") for at, offset in enumerate(days)]
    found = align_specimens(packaged(), one_subject(*specimens))
    nearest = min(days, key=lambda offset: (abs(offset), offset))
    assert [days[at] for at, one in enumerate(found) if one.chosen] == [nearest]
    for at, one in enumerate(found):
        assert (one.visit, one.days_from_target) == ("C2D1", days[at])
        assert one.rule is (Rule.LABEL if one.chosen else Rule.NOT_CHOSEN)
        assert one.chosen or one.note


@given(days=st.lists(st.integers(-40, 5), min_size=1, max_size=5, unique=True))
def test_the_baseline_is_the_last_specimen_before_the_first_dose_however_far_from_its_target(days: list[int]) -> None:
    specimens = [tube(at, FIRST_DOSE + timedelta(days=offset), "BASELINE") for at, offset in enumerate(days)]
    found = align_specimens(packaged(), one_subject(*specimens))
    before = [offset for offset in days if offset <= 0]  # at 8 o'clock, the dose was given at 10
    assert [days[at] for at, one in enumerate(found) if one.chosen] == ([max(before)] if before else [])


@given(collected=TIMES, dosed=TIMES, label=st.sampled_from(["BASELINE", ""]))
def test_a_day_1_specimen_of_unknown_time_needs_the_baseline_label_and_gets_the_finding(
    collected: time | None, dosed: time | None, label: str
) -> None:
    roster = Roster(
        subjects={"S0001": Subject(subject_id="S0001", site="L", treatment_start=Moment(day=FIRST_DOSE, time=dosed))},
        specimens={"ATR-000001": tube(1, FIRST_DOSE, label, collected)},
    )
    (found,) = align_specimens(packaged(), roster)
    unknown = collected is None or dosed is None
    if unknown:
        assert found.chosen == (label == "BASELINE")
        assert ("BASELINE_TIME_ASSUMED" in found.finding_codes) == (label == "BASELINE")
    else:
        assert found.chosen == (found.visit == "BASELINE" and collected < dosed)  # type: ignore[operator]  # both known


@settings(max_examples=30)
@given(roster=rosters())
def test_one_specimen_never_fills_two_visits(roster: Roster) -> None:
    rows = table(roster, date(2026, 1, 1))
    visits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.accession_id is not None:
            visits[row.accession_id].add(row.visit)
    assert all(len(found) == 1 for found in visits.values())


@settings(max_examples=25)
@given(roster=rosters())
def test_unplanned_visits_are_kept_and_shown_and_never_summarised(roster: Roster) -> None:
    kept = [one for one in align_specimens(packaged(), roster) if one.visit in UNSUMMARISED_VISITS]
    assert all(one.chosen and one.visit_number is None for one in kept)
    rows = table(roster, date(2026, 1, 1))
    planned = {visit.code for visit in packaged().visits}
    assert {row.visit for row in summarise(rows, roster, as_of=date(2026, 1, 1))} <= planned


@given(first=st.integers(1, 60), length=st.integers(0, 20), gap=st.integers(-20, 20), same=st.booleans())
def test_overlapping_windows_of_one_material_are_refused_in_the_definition(
    first: int, length: int, gap: int, *, same: bool
) -> None:
    content = packaged().model_dump()
    material = Material.PLASMA if same else Material.FFPE_SECTION
    second = first + length + gap
    assume(second > 0)
    visits = content["visits"] = [dict(visit) for visit in content["visits"]]
    for visit, day, end, kind in (
        (1, first, first + length, Material.PLASMA),
        (2, second, second + length, material),
    ):
        visits[visit] |= {
            "target_day": day,
            "windows": [{"materials": [kind], "first_day": day, "last_day": end, "source": "assumption"}],
        }
    visits[0]["windows"] = [{"materials": list(Material), "first_day": -28, "last_day": -1, "source": "assumption"}]
    content |= {"analytes": [], "panels": [], "stains": [], "ratios": []}
    overlaps = second <= first + length and first <= second + length
    assert [visit["anchor"] for visit in visits[:3]] == [Anchor.FIRST_DOSE] * 3
    if same and overlaps:
        with pytest.raises(ValueError, match="overlap for PLASMA"):
            StudyDefinition.model_validate(content)
    else:
        StudyDefinition.model_validate(content)


@given(hemolysis=st.sampled_from(["", "NONE", "none", "SLIGHT", "GROSS"]), thaws=st.sampled_from([None, 0, 1, 2, 5]))
def test_the_state_of_a_baseline_travels_to_every_later_specimen_of_its_material(hemolysis: str, thaws: int | None) -> None:
    baseline = Specimen(
        accession_id="ATR-000001",
        subject_id="S0001",
        material=Material.PLASMA,
        collected_at=Moment(day=FIRST_DOSE - timedelta(days=1)),
        nominal_visit="BASELINE",
        hemolysis=hemolysis,
        freeze_thaw=thaws,
    )
    later = tube(2, date_of_study_day(22, FIRST_DOSE), "C2D1")
    first, second = align_specimens(packaged(), one_subject(baseline, later))
    codes = {
        *(("HAEMOLYSIS",) if hemolysis.upper() not in {"", "NONE"} else ()),
        *(("FREEZE_THAW",) if thaws is not None and thaws > 1 else ()),
    }
    assert {finding.code for finding in first.findings} == codes
    assert {finding.code for finding in second.findings} == {f"BASELINE_{code}" for code in codes}


def test_a_rejected_specimen_stands_for_its_visit_only_where_no_other_can() -> None:
    target = date_of_study_day(22, FIRST_DOSE)
    rejected = Specimen(
        accession_id="ATR-000001",
        subject_id="S0001",
        material=Material.PLASMA,
        collected_at=Moment(day=target),
        nominal_visit="C2D1",
        condition="REJECTED",
    )
    (alone,) = align_specimens(packaged(), one_subject(rejected))
    assert (alone.chosen, alone.finding_codes) == (True, "SPECIMEN_REJECTED")
    first, second = align_specimens(packaged(), one_subject(rejected, tube(2, target + timedelta(days=2), "C2D1")))
    assert (first.chosen, second.chosen) == (False, True)
    assert first.note == "Another specimen of PLASMA for C2D1 was not rejected on receipt."
