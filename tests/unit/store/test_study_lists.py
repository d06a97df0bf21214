from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime, time

from biomarkers.results import Assay, Finding, Severity
from biomarkers.store import alignments, audit, definitions, study_lists
from biomarkers.store.database import Database
from biomarkers.store.definitions import DefinitionKind
from biomarkers.store.schema import actual_visit, alignment, due_cell, specimen, subject
from biomarkers.store.study_lists import ListKind
from biomarkers.study.declaration import Material
from biomarkers.study.roster import ActualVisit, Moment, Roster, Specimen, Subject
from biomarkers.study.visits import Alignment, Rule
from biomarkers.timepoints.due import DueCell

DAY = date(2026, 2, 1)
FULL_SUBJECT = Subject(
    subject_id="S0002",
    site="Essen",
    treatment_start=Moment(day=DAY, time=time(8, 15, 30)),
    randomised_on=DAY,
    treatment_end=DAY,
    progression_date=DAY,
    next_therapy_start=DAY,
    off_study_date=DAY,
    off_study_reason="moved",
    death_date=DAY,
    consent_withdrawn_on=DAY,
)
FULL_SPECIMEN = Specimen(
    accession_id="ATR-000002",
    subject_id="S0002",
    material=Material.FFPE_SECTION,
    collected_at=Moment(day=DAY, time=time(9, 0)),
    nominal_visit="BASELINE",
    parent_accession_id="ATR-000001",
    received_at=Moment(day=DAY),
    condition="good",
    anticoagulant="EDTA",
    processed_at=Moment(day=DAY, time=time(9, 30)),
    frozen_at=Moment(day=DAY, time=time(10, 0, 0, 250)),
    freeze_thaw=1,
    hemolysis="none",
    volume_ul=250.5,
    fixed_at=Moment(day=DAY),
    tissue_source="biopsy",
    lesion="liver",
    block="B7",
)
BARE_SUBJECT = Subject(subject_id="S0001", site="")
BARE_SPECIMEN = Specimen(accession_id="ATR-000001", subject_id="S0001", material=Material.PLASMA, collected_at=Moment(day=DAY))
VISITS = (
    ActualVisit(subject_id="S0001", visit="C2D1", actual_date=DAY, status="done", reason="holiday"),
    ActualVisit(subject_id="S0001", visit="C6D1", actual_date=None),
)


def test_a_recorded_roster_reads_back_equal_in_every_field(database: Database, now: datetime) -> None:
    with database.write() as transaction:
        study_lists.record_roster(transaction, subjects=[FULL_SUBJECT, BARE_SUBJECT], sha256="a", recorded_at=now)
        study_lists.record_specimens(transaction, specimens=[FULL_SPECIMEN, BARE_SPECIMEN], sha256="b", recorded_at=now)
        study_lists.record_visits(transaction, visits=VISITS, sha256="c", recorded_at=now)
    with database.read() as reading:
        roster = study_lists.current_roster(reading)
    assert roster == Roster(
        subjects={"S0001": BARE_SUBJECT, "S0002": FULL_SUBJECT},
        specimens={"ATR-000001": BARE_SPECIMEN, "ATR-000002": FULL_SPECIMEN},
        visits={("S0001", "C2D1"): VISITS[0], ("S0001", "C6D1"): VISITS[1]},
    )
    assert list(roster.subjects) == ["S0001", "S0002"]


def test_every_field_of_a_study_list_has_a_column() -> None:
    for kind, table in ((Subject, subject), (Specimen, specimen), (ActualVisit, actual_visit)):
        assert {field.name for field in fields(kind)} == set(table.columns.keys()) - {"list_id", "ordinal"}


def test_before_any_list_the_roster_is_empty(database: Database) -> None:
    with database.read() as reading:
        assert study_lists.current_roster(reading) == Roster()
        assert study_lists.current_digest(reading, kind=ListKind.ROSTER) is None


def test_a_later_list_replaces_the_earlier_of_its_kind_only(database: Database, now: datetime) -> None:
    with database.write() as transaction:
        study_lists.record_roster(transaction, subjects=[BARE_SUBJECT], sha256="a", recorded_at=now)
        study_lists.record_specimens(transaction, specimens=[BARE_SPECIMEN], sha256="b", recorded_at=now)
        study_lists.record_roster(transaction, subjects=[FULL_SUBJECT], sha256="c", recorded_at=now)
    with database.read() as reading:
        roster = study_lists.current_roster(reading)
        assert study_lists.current_digest(reading, kind=ListKind.ROSTER) == "c"
    assert list(roster.subjects) == ["S0002"]
    assert list(roster.specimens) == ["ATR-000001"]


def test_the_bytes_of_the_current_list_again_change_nothing_but_those_of_an_older_do(database: Database, now: datetime) -> None:
    changes = []
    for digest in ("a", "a", "b", "a"):
        with database.write() as transaction:
            changes.append(study_lists.record_roster(transaction, subjects=[BARE_SUBJECT], sha256=digest, recorded_at=now))
    assert changes == [True, False, True, True]
    with database.read() as reading:
        assert [event.action for event in audit.events(reading)] == ["roster.recorded"] * 3


def place(accession_id: str, *, chosen: bool = True) -> Alignment:
    finding = Finding(code="OUT_OF_WINDOW", severity=Severity.WARNING, where="", message="2 days late", remedy="")
    return Alignment(
        accession_id=accession_id,
        subject_id="S0001",
        material=Material.PLASMA,
        visit="C2D1" if chosen else None,
        visit_number=2 if chosen else None,
        rule=Rule.LABEL if chosen else Rule.WAITING,
        study_day=27,
        days_from_target=5,
        in_window=False if chosen else None,
        chosen=chosen,
        findings=(finding,),
        collected_on=DAY,
        note="" if chosen else "no label",
    )


CELL = DueCell(
    subject_id="S0001",
    visit="C2D1",
    visit_number=2,
    assay=Assay.ELISA,
    measurand="IL6",
    unit="pg/mL",
    materials=(Material.SERUM, Material.PLASMA),
    window_first=None,
    window_last=DAY,
    target_date=DAY,
    not_expected_from=None,
    not_expected_reason="",
    hidden=False,
)


def test_the_newest_alignment_counts_and_equal_ones_are_recorded_once(database: Database, now: datetime) -> None:
    with database.read() as reading:
        assert alignments.current(reading) is None
    changes = []
    for places in ([place("ATR-000001")], [place("ATR-000001")], [place("ATR-000001"), place("ATR-000002", chosen=False)]):
        with database.write() as transaction:
            changes.append(alignments.record(transaction, alignments=places, due=[CELL], recorded_at=now))
    assert changes == [True, False, True]
    with database.read() as reading:
        current = alignments.current(reading)
    assert current is not None
    assert current.due == (CELL,)
    first, second = current.alignments
    assert (first.in_window, first.chosen, first.rule, first.finding_codes) == (False, True, "label", "OUT_OF_WINDOW")
    assert (second.visit, second.in_window, second.chosen, second.note) == (None, None, False, "no label")
    assert {field.name for field in fields(first)} == set(alignment.columns.keys()) - {"set_id"}
    assert {field.name for field in fields(CELL)} == set(due_cell.columns.keys()) - {"set_id"}


def test_every_version_of_a_declaration_is_kept_and_the_newest_is_current(database: Database, now: datetime) -> None:
    changes = []
    for digest in ("v1", "v1", "v2"):
        with database.write() as transaction:
            changes.append(
                definitions.record_definition(
                    transaction,
                    kind=DefinitionKind.LAYOUT,
                    name="il6-96",
                    sha256=digest,
                    content=f"content of {digest}",
                    recorded_at=now,
                )
            )
    assert changes == [True, False, True]
    with database.read() as reading:
        current = definitions.current_definition(reading, kind=DefinitionKind.LAYOUT, name="il6-96")
        older = definitions.definition_by_digest(reading, kind=DefinitionKind.LAYOUT, sha256="v1")
        assert definitions.current_definition(reading, kind=DefinitionKind.PANEL, name="il6-96") is None
        *_, last = audit.events(reading)
    assert current is not None
    assert older is not None
    assert (current.content, older.content) == ("content of v2", "content of v1")
    assert last.detail == {"sha256": "v2", "before": "v1"}


def test_a_subject_may_have_several_unscheduled_visits(database: Database, now: datetime) -> None:
    visits = [
        ActualVisit(subject_id="S0001", visit="UNSCHEDULED", actual_date=date(2025, 2, day), status="", reason="")
        for day in (3, 9)
    ]
    with database.write() as transaction:
        assert study_lists.record_visits(transaction, visits=visits, sha256="c", recorded_at=now)
    with database.read() as reading:
        assert list(study_lists.current_roster(reading).visits) == [("S0001", "UNSCHEDULED")]
