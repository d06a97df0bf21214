"""Swapped specimens and accessions measured twice become findings of the table, in Python and in SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from biomarkers.elisa.records import PlateAnalysis
from biomarkers.laboratory import Laboratory, create_laboratory
from biomarkers.provenance import Provenance, Source, bytes_digest
from biomarkers.results import Assay, DerivedAnalysis, Quantity, Result, Run, run_identity
from biomarkers.store import audit, sources
from biomarkers.store.results import record_analysis
from biomarkers.store.study_lists import record_roster, record_specimens
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Specimen, Subject
from flows.irregularity_step import irregularity_remarks
from flows.second_steps import record_derived
from flows.whole_set import WholeSet

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
DAY = date(2025, 6, 1)
SUBJECTS = 40
MEASURANDS = ("IL2", "IL6", "IL8", "IL10", "IL15", "KYN")
DAYS = {"BASELINE": date(2025, 3, 3), "C2D1": date(2025, 3, 31)}


def accession(subject: int, visit: str) -> str:
    return f"ATR-{100 * subject + list(DAYS).index(visit) + 1:06d}"


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    """Forty subjects with two specimens of plasma each."""
    with create_laboratory(tmp_path / "lab") as made:
        start = Moment(day=date(2025, 3, 10), time=None)
        subjects = [Subject(subject_id=f"S{at:04d}", site="LONDON", treatment_start=start) for at in range(1, SUBJECTS + 1)]
        specimens = [
            Specimen(
                accession_id=accession(at, visit),
                subject_id=f"S{at:04d}",
                material=Material.PLASMA,
                collected_at=Moment(day=day, time=None),
                nominal_visit=visit,
            )
            for at in range(1, SUBJECTS + 1)
            for visit, day in DAYS.items()
        ]
        with made.database.write() as transaction:
            record_roster(transaction, subjects=subjects, sha256="a" * 64, recorded_at=NOW)
            record_specimens(transaction, specimens=specimens, sha256="b" * 64, recorded_at=NOW)
            made.realign(transaction)
        yield made


def record(laboratory: Laboratory, name: str, values: Mapping[tuple[str, str], float]) -> str:
    """Record a plate's results by accession and measurand; return its run."""
    sha256 = bytes_digest(name.encode())
    provenance = Provenance(
        sources=(Source(role="instrument", name=name, sha256=sha256),),
        inputs=(),
        software="biomarkers 0.1.0",
        parameters="{}",
        computed_at=NOW,
    )
    run_id = run_identity(Assay.ELISA, sha256, name)
    results = tuple(
        Result(
            accession_id=accession_id,
            assay=Assay.ELISA,
            measurand=measurand,
            quantity=Quantity(value=value, unit="pg/mL"),
            interval=None,
            denominator="",
            n_replicates=2,
            run_id=run_id,
            findings=(),
            provenance=provenance,
        )
        for (accession_id, measurand), value in values.items()
    )
    run = Run(run_id=run_id, assay=Assay.ELISA, name=name, acquired_at="", findings=(), results=results, provenance=provenance)
    with laboratory.database.write() as transaction:
        sources.register(transaction, sha256=sha256, size=1, assay="elisa", kind="instrument", name=name, received_at=NOW)
        record_analysis(transaction, PlateAnalysis(run=run, wells=(), curves=()), reason="", recorded_at=NOW)
    return run_id


def step(laboratory: Laboratory) -> Sequence[DerivedAnalysis]:
    whole = WholeSet(database=laboratory.database, definition=laboratory.definition, folder=laboratory.folder, computed_at=NOW)
    return asyncio.run(irregularity_remarks(whole))


def record_remarks(laboratory: Laboratory, derived: Sequence[DerivedAnalysis]) -> None:
    with laboratory.database.write() as transaction:
        for one in derived:
            record_analysis(transaction, one, reason="", recorded_at=NOW)


def told(laboratory: Laboratory, code: str) -> set[str]:
    """Return the accessions with a finding, after making sure that Python and SQL tell the same."""
    table = laboratory.timepoints(as_of=DAY)
    in_python = set(table[table["findings"].str.contains(code)]["accession_id"])
    with laboratory.database.read() as reading:
        query = text("SELECT DISTINCT accession_id FROM timepoint WHERE findings LIKE :code")
        in_sql = set(reading.connection.execute(query, {"code": f"%{code}%"}).scalars())
    assert in_sql == in_python
    return in_python


def test_two_specimens_that_were_swapped_are_findings_of_their_results(laboratory: Laboratory) -> None:
    rng = np.random.default_rng(4)
    own = rng.lognormal(2.0, 1.0, (SUBJECTS + 1, len(MEASURANDS)))
    values = {}
    for at in range(1, SUBJECTS + 1):
        for visit in DAYS:
            # Subjects 3 and 7 had their tubes of C2D1 exchanged.
            inside = {3: 7, 7: 3}.get(at, at) if visit == "C2D1" else at
            for column, measurand in enumerate(MEASURANDS):
                values[accession(at, visit), measurand] = float(own[inside, column] * np.exp(0.02 * rng.standard_normal()))
    record(laboratory, "P1", values)
    derived = step(laboratory)
    suspected = {remark.accession_id for one in derived for remark in one.remarks}
    # Of two subjects with two visits each it cannot be told at which visit it was.
    assert suspected in ({accession(3, visit), accession(7, visit)} for visit in DAYS)
    assert {one.step for one in derived} == {"irregularities"}
    record_remarks(laboratory, derived)
    assert told(laboratory, "SWAP_SUSPECTED") == suspected
    assert [one.run.analysis_id for one in step(laboratory)] == [one.run.analysis_id for one in derived]


def test_an_accession_of_two_runs_is_a_finding_until_somebody_decides(laboratory: Laboratory) -> None:
    name = accession(1, "BASELINE")
    runs = {record(laboratory, plate, {(name, "IL6"): value}) for plate, value in (("P1", 4.0), ("P2", 9.0))}
    derived = step(laboratory)
    assert {remark.run_id for one in derived for remark in one.remarks} == runs
    record_remarks(laboratory, derived)
    assert told(laboratory, "DUPLICATE_ACCESSION") == {name}
    table = laboratory.timepoints(subject="S0001", as_of=DAY, measurand="IL6")
    (second,) = (
        result.result_id for result in laboratory.standing().results if result.result_id not in set(table["result_id"])
    )
    laboratory.dispose(second, decision="repeated", reason="It was repeated on purpose.")
    assert step(laboratory) == []


def test_what_a_step_derives_is_recorded_some_at_a_time_and_withdrawn_when_it_is_derived_no_more(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.second_steps.RUNS_AT_ONCE", 2)
    names = {accession(at, "BASELINE") for at in range(1, 6)}
    for plate, value in (("P1", 4.0), ("P2", 9.0)):
        record(laboratory, plate, {(name, "IL6"): value for name in names})

    def recorded(derived: Sequence[DerivedAnalysis]) -> tuple[int, int]:
        with laboratory.database.read() as reading:
            before = audit.head(reading).number
        found = record_derived(laboratory.database, "irregularities", iter(derived), reason="", at=NOW)
        with laboratory.database.read() as reading:
            return sum(one.changed for one in found), audit.head(reading).number - before

    derived = step(laboratory)
    assert recorded(derived)[0] == 5
    assert told(laboratory, "DUPLICATE_ACCESSION") == names
    assert recorded(derived) == (0, 0)
    assert recorded(derived[:2])[0] == 3
    assert told(laboratory, "DUPLICATE_ACCESSION") == {one.remarks[0].accession_id for one in derived[:2]}
    assert recorded(derived[:2]) == (0, 0)
    assert recorded(derived)[0] == 3
    assert told(laboratory, "DUPLICATE_ACCESSION") == names


def test_what_another_process_records_while_a_step_derives_is_not_withdrawn(laboratory: Laboratory) -> None:
    names = {accession(at, "BASELINE") for at in range(1, 4)}
    for plate, value in (("P1", 4.0), ("P2", 9.0)):
        record(laboratory, plate, {(name, "IL6"): value for name in names})
    derived = step(laboratory)

    def while_another_records() -> Iterator[DerivedAnalysis]:
        record_derived(laboratory.database, "irregularities", derived, reason="", at=NOW)
        yield derived[0]

    record_derived(laboratory.database, "irregularities", while_another_records(), reason="", at=NOW)
    assert told(laboratory, "DUPLICATE_ACCESSION") == names
