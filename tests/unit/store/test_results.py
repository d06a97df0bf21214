from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.elisa.analysis import PlateAnalysis, WellRecord
from biomarkers.errors import StoreError
from biomarkers.ihc.analysis import SlideAnalysis
from biomarkers.results import Assay, Run
from biomarkers.store import audit, results, sources
from biomarkers.store.database import Database
from biomarkers.store.evidence import Analysis
from biomarkers.store.records import record_of, row_of
from biomarkers.store.results import Decision, Recorded
from biomarkers.store.schema import well

Register = Callable[[Database, Run], None]
MakePlate = Callable[..., PlateAnalysis]


def record(database: Database, given: Analysis, now: datetime, reason: str = "first reading") -> Recorded:
    with database.write() as transaction:
        return results.record_analysis(transaction, given, reason=reason, recorded_at=now)


@pytest.fixture(params=["plate", "acquisition", "slide"])
def analysed(request: pytest.FixtureRequest) -> Analysis:
    given: Analysis | MakePlate = request.getfixturevalue(request.param)
    return given if isinstance(given, PlateAnalysis | AcquisitionAnalysis | SlideAnalysis) else given()


def test_an_analysis_reads_back_equal_to_what_was_recorded(
    database: Database, analysed: Analysis, register: Register, now: datetime
) -> None:
    register(database, analysed.run)
    recorded = record(database, analysed, now)
    assert recorded == Recorded(analysis_id=analysed.run.analysis_id, changed=True, superseded="")
    with database.read() as reading:
        read = results.read_analysis(reading, analysis_id=recorded.analysis_id)
    assert read == analysed
    assert [result.result_id for result in read.run.results] == [result.result_id for result in analysed.run.results]
    assert read.run.analysis_id == analysed.run.analysis_id


def test_recording_the_same_analysis_twice_changes_nothing(
    database: Database, analysed: Analysis, register: Register, now: datetime
) -> None:
    register(database, analysed.run)
    record(database, analysed, now)
    with database.read() as reading:
        before = results.current_results(reading), audit.head(reading)
    again = record(database, analysed, now + timedelta(days=1), reason="dropped again")
    assert again == Recorded(analysis_id=analysed.run.analysis_id, changed=False, superseded="")
    with database.read() as reading:
        assert (results.current_results(reading), audit.head(reading)) == before


def test_current_results_say_everything_the_timepoint_table_says(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    given = plate()
    register(database, given.run)
    record(database, given, now)
    with database.read() as reading:
        stored = results.current_results(reading)
        assert results.current_results(reading, measurand="IL8") == ()
        aligned = results.aligned_inputs(reading)
    above, below, missing = stored
    assert (above.value, above.comparator, above.unit, above.lower, above.upper) == (4.5, "", "pg/mL", 4.4, None)
    assert (above.level, above.n_replicates, above.is_evaluable, above.disposition) == (0.95, 2, True, None)
    assert (below.value, below.comparator, below.level) == (1.5, "<", None)
    assert (missing.value, missing.is_evaluable, missing.finding_codes) == (None, False, "LONE_REPLICATE;WELL_MISSING")
    digests = [source.sha256 for source in given.run.provenance.sources]
    assert above.source_sha256s == ";".join(digests)
    assert above.recorded_at == now
    assert [(one.result_id, one.order, one.disposition) for one in aligned] == [(s.result_id, 1, "") for s in stored]


def test_a_recomputation_supersedes_with_its_reason_and_the_older_stays_readable(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    first, second = plate(), plate(value=5.5, parameters='{"weights":"1/y2"}')
    register(database, first.run)
    old = record(database, first, now)
    new = record(database, second, now, reason="map corrected: S01 and S02 were swapped")
    assert new.superseded == old.analysis_id
    with database.read() as reading:
        assert [stored.value for stored in results.current_results(reading)] == [5.5, 1.5, None]
        assert results.read_analysis(reading, analysis_id=old.analysis_id) == first
        (step,) = results.history(reading, run_id=first.run.run_id)
        *_, last = audit.events(reading)
    assert (step.old_analysis_id, step.new_analysis_id) == (old.analysis_id, new.analysis_id)
    assert step.reason == last.reason == "map corrected: S01 and S02 were swapped"
    assert last.action == "analysis.superseded"


def test_a_recomputation_without_a_reason_is_refused(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    register(database, plate().run)
    record(database, plate(), now)
    with pytest.raises(StoreError, match="recorded already, with another outcome"):
        record(database, plate(value=9.0), now, reason="")


def test_an_outcome_that_holds_again_is_recorded_anew_and_is_current(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    first, second = plate(), plate(value=5.5)
    register(database, first.run)
    for number, given in enumerate((first, second, first, second, first)):
        recorded = record(database, given, now, reason=f"change {number}")
        assert recorded.changed
        with database.read() as reading:
            assert results.current_results(reading)[0].value == given.run.results[0].quantity.value
            assert results.read_analysis(reading, analysis_id=recorded.analysis_id) == given
    assert recorded.analysis_id == f"{first.run.analysis_id}.3"
    with database.read() as reading:
        assert len(results.history(reading, run_id=first.run.run_id)) == 4


def test_a_recomputed_run_keeps_its_place_before_its_repeat(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    for name in ("P1.txt", "P2.txt"):
        register(database, plate(name).run)
        record(database, plate(name), now)
    record(database, plate("P1.txt", value=7.0), now, reason="new layout")
    with database.read() as reading:
        found = [(stored.ordinal, stored.value) for stored in results.current_results(reading)][::3]
        runs = results.current_runs(reading, assay=Assay.ELISA)
    assert found == [(1, 7.0), (2, 4.5)]
    assert [run.ordinal for run in runs] == [1, 2]


def test_runs_are_found_by_their_files_and_names(
    database: Database, plate: MakePlate, slide: SlideAnalysis, register: Register, now: datetime
) -> None:
    given = plate()
    for one in (given, slide):
        register(database, one.run)
        record(database, one, now)
    instrument, plate_map = given.run.provenance.sources
    with database.read() as reading:
        (run,) = results.run_by_instrument(reading, instrument_sha256=instrument.sha256)
        assert results.run_by_instrument(reading, instrument_sha256=plate_map.sha256) == ()
        assert results.current_runs(reading, assay=Assay.ELISA, name="P1") == (run,)
        assert len(results.current_runs(reading)) == 2
        assert results.is_recorded(reading, sha256=instrument.sha256)
        assert results.is_recorded(reading, sha256=plate_map.sha256)
        assert not results.is_recorded(reading, sha256="0" * 64)
    assert run.sources == (instrument, plate_map)
    assert (run.name, run.acquired_at, run.finding_codes) == ("P1", "02.03.2026 08:15", "REPLICATE_CV")


def test_bytes_of_a_superseded_map_no_longer_count_as_recorded(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    first = plate()
    register(database, first.run)
    record(database, first, now)
    instrument, plate_map = first.run.provenance.sources
    made_from = replace(first.run.provenance, sources=(instrument, replace(plate_map, sha256="e" * 64)))
    changed = replace(
        first.run, provenance=made_from, results=tuple(replace(one, provenance=made_from) for one in first.run.results)
    )
    register(database, changed)
    record(database, replace(first, run=changed), now, reason="corrected map")
    with database.read() as reading:
        assert not results.is_recorded(reading, sha256=plate_map.sha256)
        assert results.is_recorded(reading, sha256="e" * 64)


def test_the_last_decision_about_a_result_counts(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    register(database, plate().run)
    record(database, plate(), now)
    result_id = plate().run.results[0].result_id
    for decision in (Decision.EXCLUDED, Decision.REPORTABLE):
        with database.write() as transaction:
            results.dispose(
                transaction, result_id=result_id, decision=decision, reason="clot", decided_by="reviewer", decided_at=now
            )
    with database.read() as reading:
        decisions = [stored.disposition for stored in results.current_results(reading)]
        *_, last = audit.events(reading, entity=result_id)
        assert results.aligned_inputs(reading)[0].disposition == "reportable"
    assert decisions == [Decision.REPORTABLE, None, None]
    assert (last.actor, last.reason, last.action) == ("reviewer", "clot", "result.disposed")


@pytest.mark.parametrize(("reason", "name"), [("", "reviewer"), ("clot", "")])
def test_a_decision_without_reason_or_name_is_refused(  # noqa: PLR0917  - fixtures
    database: Database, plate: MakePlate, register: Register, now: datetime, reason: str, name: str
) -> None:
    register(database, plate().run)
    record(database, plate(), now)
    with pytest.raises(StoreError, match="needs a reason and a name"), database.write() as transaction:
        results.dispose(
            transaction,
            result_id=plate().run.results[0].result_id,
            decision=Decision.EXCLUDED,
            reason=reason,
            decided_by=name,
            decided_at=now,
        )


def test_only_current_results_are_decided_about(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    register(database, plate().run)
    record(database, plate(), now)
    record(database, plate(value=5.5), now, reason="recomputed")
    with pytest.raises(StoreError, match="no such current result"), database.write() as transaction:
        results.dispose(
            transaction,
            result_id=plate().run.results[0].result_id,
            decision=Decision.EXCLUDED,
            reason="clot",
            decided_by="reviewer",
            decided_at=now,
        )


def test_sources_never_registered_are_refused_and_nothing_is_left(database: Database, plate: MakePlate, now: datetime) -> None:
    with pytest.raises(StoreError, match=r"Source 'P1\.txt' was never registered"):
        record(database, plate(), now)
    with database.read() as reading:
        assert reading.connection.execute(text("SELECT count(*) FROM analysis")).scalar_one() == 0


def test_two_results_for_one_measurand_of_a_specimen_are_refused(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    given = plate()
    doubled = replace(given.run, results=(*given.run.results, given.run.results[0]))
    register(database, doubled)
    with pytest.raises(StoreError, match="two results for 'IL6' of 'ATR-000001'"):
        record(database, replace(given, run=doubled), now)


def test_a_result_of_another_provenance_than_its_run_is_refused(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    given = plate()
    register(database, given.run)
    other = replace(given.run, results=plate(parameters='{"a":1}').run.results)
    with pytest.raises(StoreError, match="another run, assay or provenance"):
        record(database, replace(given, run=other), now)


def test_the_same_bytes_are_registered_once_whatever_they_are_called(database: Database, now: datetime) -> None:
    def register(name: str) -> bool:
        with database.write() as transaction:
            return sources.register(transaction, sha256="a" * 64, size=3, assay="ihc", kind="slide", name=name, received_at=now)

    assert [register("a.tiff"), register("b.tiff")] == [True, False]
    with database.read() as reading:
        (source,) = sources.all_sources(reading)
        assert sources.find(reading, sha256="a" * 64) == source
        assert sources.find(reading, sha256="b" * 64) is None
    assert (source.first_name, source.size, source.received_at) == ("a.tiff", 3, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterWell(WellRecord):
    """A well with what a later version may add to it."""

    residual: float
    history: tuple[str, ...] = ()


def test_fields_a_science_adds_later_are_kept_without_a_column_of_their_own(plate: MakePlate) -> None:
    first = plate().wells[0]
    given = {name: getattr(first, name) for name in WellRecord.__dataclass_fields__}
    later = LaterWell(**given, residual=math.inf, history=("masked", "unmasked"))
    row = row_of(later, well)
    assert row["more"] == {"residual": math.inf, "history": ["masked", "unmasked"]}
    assert record_of(LaterWell, row) == later


def test_numbers_that_are_not_numbers_survive_the_tables(
    database: Database, plate: MakePlate, register: Register, now: datetime
) -> None:
    given = plate()
    covariance = {"slope": {"slope": math.inf, "inflection": math.nan}}
    curve = replace(given.curves[0], rss=math.nan, residual_sd=np.float64(0.5), covariance=covariance)
    register(database, given.run)
    recorded = record(database, replace(given, curves=(curve,)), now)
    with database.read() as reading:
        read = results.read_analysis(reading, analysis_id=recorded.analysis_id)
    assert isinstance(read, PlateAnalysis)
    assert math.isnan(read.curves[0].rss)
    assert read.curves[0].residual_sd == 0.5
    assert read.curves[0].covariance["slope"]["slope"] == math.inf
    assert math.isnan(read.curves[0].covariance["slope"]["inflection"])
