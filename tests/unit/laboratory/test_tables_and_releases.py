"""A laboratory's tables, worklists and releases before and while it has no results: what is held, what is refused, and why."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime

import pandas as pd
import pytest

from biomarkers.errors import LabFolderError, StoreError, StudyDefinitionError, TemporarilyUnavailableError
from biomarkers.laboratory import Laboratory
from biomarkers.laboratory.releases import lock_release
from biomarkers.laboratory.worklists import worklist
from biomarkers.reports.exports import Standard, export_files
from biomarkers.reports.release_files import make_release
from biomarkers.results import Assay
from biomarkers.store import audit
from biomarkers.store.study_lists import record_roster, record_specimens
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Specimen, Subject

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
DAY = date(2025, 6, 1)


@pytest.fixture
def with_specimens(laboratory: Laboratory) -> Laboratory:
    """Two subjects, of whom one gave plasma twice."""
    subjects = [
        Subject(subject_id=name, site="LONDON", treatment_start=Moment(day=date(2025, 3, 10), time=None))
        for name in ("S0001", "S0002")
    ]
    specimens = [
        Specimen(
            accession_id=f"ATR-00000{number}",
            subject_id="S0001",
            material=Material.PLASMA,
            collected_at=Moment(day=day, time=None),
            nominal_visit=visit,
            volume_ul=500.0,
        )
        for number, visit, day in ((1, "BASELINE", date(2025, 3, 3)), (2, "C2D1", date(2025, 3, 31)))
    ]
    with laboratory.database.write() as transaction:
        record_roster(transaction, subjects=subjects, sha256="a" * 64, recorded_at=NOW)
        record_specimens(transaction, specimens=specimens, sha256="b" * 64, recorded_at=NOW)
        laboratory.realign(transaction)
    return laboratory


def test_what_is_known_is_held_until_something_is_recorded(laboratory: Laboratory) -> None:
    held = laboratory.standing()
    assert laboratory.standing() is held
    with laboratory.database.write() as transaction:
        audit.append(transaction, at=NOW, actor="tester", action="thing.done", entity="x")
    assert laboratory.standing() is not held


def test_a_laboratory_without_results_gives_empty_tables_with_their_columns(laboratory: Laboratory) -> None:
    for table in (
        laboratory.timepoints(),
        laboratory.changes(),
        laboratory.transitions(),
        laboratory.summary(),
        laboratory.attrition(),
        laboratory.attrition(names=True),
        laboratory.completeness(),
        laboratory.tests(),
    ):
        assert len(table) == 0
        assert len(table.columns) > 4
        assert "arm" not in table


def test_what_is_received_and_not_measured_is_due_and_lies_on_one_plate_a_subject(with_specimens: Laboratory) -> None:
    found = worklist(with_specimens, Assay.ELISA, as_of=DAY)
    assert {item.measurand for item in found.items} == {analyte.code for analyte in with_specimens.definition.analytes}
    assert {item.why for item in found.items} == {"received, not measured yet"}
    il6 = next(plate for plate in found.plates if plate.analyte == "IL6")
    assert [row.accession_id for row in il6.rows] == ["ATR-000001", "ATR-000002"]
    assert il6.plate_id == "W20250601-IL6-1"
    assert worklist(with_specimens, Assay.CYTOMETRY, as_of=DAY).tubes == ()


def test_a_layout_that_is_not_there_or_one_of_several_is_refused(with_specimens: Laboratory) -> None:
    with pytest.raises(LabFolderError, match=r"There is no layout 'large'. .*il6-96"):
        worklist(with_specimens, Assay.ELISA, layout="large", as_of=DAY)
    layouts = with_specimens.folder.layouts
    shutil.copyfile(layouts / "il6-96.csv", layouts / "il6-again.csv")
    with pytest.raises(LabFolderError, match="2 layouts serve 'IL6': il6-96, il6-again"):
        worklist(with_specimens, Assay.ELISA, as_of=DAY)
    named = worklist(with_specimens, Assay.ELISA, layout="il6-again", as_of=DAY)
    assert {plate.analyte for plate in named.plates} == {"IL6"}
    assert "KYN" in named.without_layout


def test_a_test_between_arms_is_refused_before_any_arm_is_read(with_specimens: Laboratory) -> None:
    with pytest.raises(StudyDefinitionError, match="declares comparative = false"):
        with_specimens.tests(between_arms=True)


def test_a_release_holds_the_same_bytes_whenever_it_is_made(with_specimens: Laboratory) -> None:
    first = make_release(with_specimens, "first", as_of=DAY)
    second = make_release(with_specimens, "second", as_of=DAY)
    assert first.files == second.files
    assert first.head != second.head
    assert {"timepoints.csv", "timepoints.parquet", "sdtm/lb.xpt", "adam/adsl.json"} <= set(first.files)
    table = pd.read_parquet(first.folder / "timepoints.parquet")
    assert set(table["status"]) == {"pending", "missing", "not_yet_due"}


def test_a_release_is_refused_when_something_was_recorded_while_it_was_made(laboratory: Laboratory) -> None:
    head = laboratory.standing().head
    with laboratory.database.write() as transaction:
        audit.append(transaction, at=NOW, actor="tester", action="thing.done", entity="x")
    with pytest.raises(TemporarilyUnavailableError, match="Something was recorded while the release was made"):
        lock_release(laboratory, "late", files={"a.txt": b"a"}, rows=(), as_of=DAY, head=head)
    assert list((laboratory.folder.root / "releases").iterdir()) == []


def test_every_standard_is_exported_from_a_laboratory_without_results(laboratory: Laboratory) -> None:
    for standard in Standard:
        files = export_files(laboratory, standard, as_of=DAY)
        assert len(files) >= 6
        assert all(files.values())


def test_without_a_store_of_allocations_no_table_with_arms_is_given(with_specimens: Laboratory) -> None:
    with pytest.raises(StoreError, match="No allocation to arms was loaded"):
        with_specimens.summary(arm=True)
