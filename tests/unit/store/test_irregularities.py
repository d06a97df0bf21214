"""What is looked through for repeats is read as narrowly as asked, and says the same as the whole set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from biomarkers.elisa.records import PlateAnalysis
from biomarkers.results import Run
from biomarkers.store.database import Database
from biomarkers.store.decisions import Decision
from biomarkers.store.irregularities import measuring_runs, undecided_repeats
from biomarkers.store.results import current_results, record_analysis, results_by_accession

MakePlate = Callable[..., PlateAnalysis]
Register = Callable[[Database, Run], None]

Decide = Callable[[Database, str, Decision], None]


def recorded(database: Database, register: Register, now: datetime, *plates: PlateAnalysis) -> None:
    for given in plates:
        register(database, given.run)
        with database.write() as transaction:
            record_analysis(transaction, given, reason="", recorded_at=now)


def test_repeats_are_given_until_somebody_has_decided(
    database: Database, plate: MakePlate, register: Register, now: datetime, decide: Decide
) -> None:
    first, second = plate("P1.txt", value=4.0), plate("P2.txt", value=8.0)
    recorded(database, register, now, first)
    with database.read() as reading:
        assert undecided_repeats(reading) == ()
    recorded(database, register, now, second)
    with database.read() as reading:
        repeats = undecided_repeats(reading)
    assert {(one.accession_id, one.run_id) for one in repeats} == {
        (result.accession_id, given.run.run_id) for given in (first, second) for result in given.run.results
    }
    above = [one for one in repeats if one.accession_id == "ATR-000001"]
    assert sorted((one.measurand, one.value, one.comparator, one.unit) for one in above) == [
        ("IL6", 4.0, "", "pg/mL"),
        ("IL6", 8.0, "", "pg/mL"),
    ]
    decide(database, second.run.results[0].result_id, Decision.REPEATED)
    with database.read() as reading:
        left = {one.accession_id for one in undecided_repeats(reading)}
    assert left == {result.accession_id for result in first.run.results[1:]}


def test_an_analysis_made_anew_is_no_repeat_of_itself(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    recorded(database, register, now, plate(value=4.0))
    with database.write() as transaction:
        record_analysis(transaction, plate(value=5.0), reason="The map was corrected.", recorded_at=now)
    with database.read() as reading:
        assert undecided_repeats(reading) == ()
        (run,) = measuring_runs(reading, accession_ids=["ATR-000001"])
        assert measuring_runs(reading, accession_ids=["ATR-999999"]) == ()
        assert run.analysis_id == current_results(reading)[0].analysis_id


def test_results_specimen_by_specimen_are_those_of_the_whole(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    recorded(database, register, now, *(plate(f"P{at}.txt", value=float(at)) for at in range(1, 5)))
    with database.read() as reading:
        whole = current_results(reading)
        by_accession = dict(results_by_accession(reading, measurands=["IL6"]))
        assert dict(results_by_accession(reading, measurands=["IL8"])) == {}
    assert by_accession == {
        accession_id: [one for one in whole if one.accession_id == accession_id]
        for accession_id in {one.accession_id for one in whole}
    }
