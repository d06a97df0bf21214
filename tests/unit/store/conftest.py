"""Databases of both engines, each test with its own, and analyses to put into them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from biomarkers.cytometry.analysis import AcquisitionAnalysis, PopulationRecord
from biomarkers.elisa.records import (
    CalibratorRecord,
    ControlRecord,
    CurveRecord,
    PlateAnalysis,
    PlateVerdict,
    RuleOutcome,
    Verdict,
    WellRecord,
)
from biomarkers.ihc.analysis import ScoreRecord, SlideAnalysis
from biomarkers.provenance import Input, Provenance, Source, bytes_digest
from biomarkers.results import (
    Assay,
    DerivedAnalysis,
    Finding,
    Interval,
    Parent,
    Quantity,
    Remark,
    Result,
    Run,
    Severity,
    derived_run_identity,
    run_identity,
)
from biomarkers.store import sources
from biomarkers.store.database import Database, sqlite_url
from biomarkers.store.decisions import Decision, dispose

ENGINES = [pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.postgres)]
NOW = datetime(2026, 3, 2, 8, 30, 0, 125, tzinfo=UTC)


class Server(Protocol):
    def url(self, database: str, *, user: str = "postgres") -> str: ...

    def execute(self, statement: str, *, database: str = "postgres") -> None: ...

    def new_database(self, *, template: str = "template0") -> str: ...


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new laboratory's database, made once and copied for every test."""
    path = tmp_path_factory.mktemp("template") / "lab.db"
    Database.create(sqlite_url(path)).close()
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres_server: Server) -> str:
    name = postgres_server.new_database()
    Database.create(postgres_server.url(name)).close()
    return name


CLEAN = """
DO $$ DECLARE name text; BEGIN
    -- Without this the tables would refuse, as they should.
    PERFORM set_config('session_replication_role', 'replica', true);
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
    ALTER TABLE audit_event ENABLE TRIGGER USER;
    UPDATE alembic_version SET version_num = '0001';
    DROP SCHEMA IF EXISTS allocation CASCADE;
END $$
"""
"""A database of its own for every test would cost a third of a second and seven megabytes each."""


@pytest.fixture(scope="session")
def shared_database(postgres_server: Server, migrated_database: str) -> str:
    return postgres_server.new_database(template=migrated_database)


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new laboratory's database of each engine lies."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("migrated_file")
        shutil.copyfile(template, tmp_path / "lab.db")
        return sqlite_url(tmp_path / "lab.db")
    server: Server = request.getfixturevalue("postgres_server")
    name: str = request.getfixturevalue("shared_database")
    server.execute(CLEAN, database=name)
    return server.url(name)


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database of each engine may be made."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "lab.db")
    server: Server = request.getfixturevalue("postgres_server")
    return server.url(server.new_database())


@pytest.fixture
def url_beside(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> str:
    """Where a second, empty database of the same engine may be made."""
    if url.startswith("sqlite"):
        return sqlite_url(tmp_path / "beside.db")
    server: Server = request.getfixturevalue("postgres_server")
    return server.url(server.new_database())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened


@pytest.fixture
def now() -> datetime:
    return NOW


MakePlate = Callable[..., PlateAnalysis]


def provenance(role: str, name: str, *, parameters: str = "{}", extra: tuple[Source, ...] = ()) -> Provenance:
    return Provenance(
        sources=(Source(role=role, name=name, sha256=bytes_digest(name.encode())), *extra),
        inputs=(Input(kind="study", name="a-study", sha256=bytes_digest(b"study")),),
        software="biomarkers 0.1.0",
        parameters=parameters,
        computed_at=NOW - timedelta(minutes=1),
    )


def finding(code: str, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(code=code, severity=severity, where="Well A01.", message="Said 'so' at 3 %.", remedy="Look at it.")


@pytest.fixture
def plate() -> MakePlate:
    """Make a plate analysed: one IL6 result above, one below and one not evaluable, with wells and a curve."""

    def make(
        name: str = "P1.txt",
        *,
        value: float = 4.5,
        parameters: str = "{}",
        judged: Verdict = "accepted",
        control_value: float | None = 20.0,
    ) -> PlateAnalysis:
        plate_map = Source(role="plate_map", name=f"{name}.map.csv", sha256=bytes_digest(f"{name}.map".encode()))
        made_from = provenance("instrument", name, parameters=parameters, extra=(plate_map,))
        run_id = run_identity(Assay.ELISA, made_from.sources[0].sha256, "P1")
        quantities = {
            "ATR-000001": Quantity(value=value, unit="pg/mL"),
            "ATR-000002": Quantity(value=1.5, unit="pg/mL", comparator="<"),
            "ATR-000003": None,
        }
        results = tuple(
            Result(
                accession_id=accession_id,
                assay=Assay.ELISA,
                measurand="IL6",
                quantity=quantity,
                interval=Interval(lower=value - 0.1, upper=None) if accession_id == "ATR-000001" else None,
                denominator="",
                n_replicates=2,
                run_id=run_id,
                findings=() if quantity else (finding("WELL_MISSING", Severity.REJECT), finding("LONE_REPLICATE")),
                provenance=made_from,
            )
            for accession_id, quantity in quantities.items()
        )
        run = Run(
            run_id=run_id,
            assay=Assay.ELISA,
            name="P1",
            acquired_at="02.03.2026 08:15",
            findings=(finding("REPLICATE_CV"),),
            results=results,
            provenance=made_from,
        )
        return PlateAnalysis(
            run=run, wells=wells(), curves=(curve(),), verdicts=(verdict(judged),), controls=(control(control_value),)
        )

    return make


def verdict(word: Verdict) -> PlateVerdict:
    rule = RuleOutcome(rule="controls", passed=word != "rejected", sentence="2 of 2 controls passed.")
    return PlateVerdict(analyte="IL6", verdict=word, sentence="Said so.", rules=(rule,), is_kit_limited=True)


def control(value: float | None) -> ControlRecord:
    return ControlRecord(
        analyte="IL6",
        slot="CTRL1",
        kit_lot="L1",
        nominal=20.0,
        lower=16.0,
        upper=24.0,
        concentrations=(19.5, 20.5),
        mean=value,
        recovery_percent=None if value is None else 5.0 * value,
        wells_read=2,
        wells_passing=2,
    )


@pytest.fixture
def derived() -> Callable[[PlateAnalysis, datetime], DerivedAnalysis]:
    """Make a derived run of a plate: its first result told again in its place, and a remark about its second."""
    return derived_from_plate


def derived_from_plate(given: PlateAnalysis, when: datetime, *, value: float = 5.0) -> DerivedAnalysis:
    first, second, *_ = given.run.results
    run_id = derived_run_identity(Assay.ELISA, "told again", given.run.run_id)
    made_from = replace(
        given.run.provenance,
        inputs=(Input(kind="result", name=first.result_id, sha256=bytes_digest(first.result_id.encode())),),
        computed_at=when,
    )
    remark = Remark(
        run_id=given.run.run_id, accession_id=second.accession_id, measurand="IL6", finding=finding("WESTGARD_1_3S")
    )
    again = replace(
        first, run_id=run_id, provenance=made_from, quantity=Quantity(value=value, unit="pg/mL"), interval=None, findings=()
    )
    run = Run(
        run_id=run_id,
        assay=Assay.ELISA,
        name="Told again",
        acquired_at="",
        findings=(remark.finding,),
        results=(again,),
        provenance=made_from,
    )
    parent = Parent(analysis_id=given.run.analysis_id, result_id=first.result_id, replaces=True)
    return DerivedAnalysis(step="told again", run=run, parents=(parent,), remarks=(remark,))


def wells() -> tuple[WellRecord, ...]:
    return tuple(
        WellRecord(
            position=position,
            role="SAMPLE",
            slot="S01",
            analyte="IL6",
            accession_id="ATR-000001",
            raw_text=raw_text,
            response=response,
            flag="" if response is not None else "overflow",
            mask_reason="",
            dilution_factor=2.0,
            concentration=None if response is None else 2 * response,
            comparator="",
        )
        for position, raw_text, response in (("A01", "0,123", 0.123), ("A02", "OVRFLW", None))
    )


def curve() -> CurveRecord:
    return CurveRecord(
        analyte="IL6",
        unit="pg/mL",
        model="4pl",
        weights="fitted",
        replicates="wells",
        parameters={"zero_dose": 0.05, "slope": 1.1, "inflection": 40.0, "infinite_dose": 3.1},
        standard_errors={"zero_dose": 0.001, "slope": 0.01, "inflection": 0.5, "infinite_dose": 0.02},
        covariance={"slope": {"slope": 1e-4, "inflection": -1e-3}, "inflection": {"slope": -1e-3, "inflection": 0.25}},
        rss=0.01,
        residual_sd=0.02,
        degrees_of_freedom=12,
        lloq=1.5,
        uloq=500.0,
        calibrators=(
            CalibratorRecord(
                nominal=500.0, mean_response=3.0, back_calculated=498.0, recovery_percent=99.6, n_wells=2, n_masked=0
            ),
            CalibratorRecord(
                nominal=0.0, mean_response=0.05, back_calculated=None, recovery_percent=None, n_wells=1, n_masked=1
            ),
        ),
    )


@pytest.fixture
def acquisition() -> AcquisitionAnalysis:
    made_from = provenance("instrument", "ATR-000004.fcs")
    run_id = run_identity(Assay.CYTOMETRY, made_from.sources[0].sha256)
    result = Result(
        accession_id="ATR-000004",
        assay=Assay.CYTOMETRY,
        measurand="CD4_PCT_T",
        quantity=Quantity(value=61.25, unit="%"),
        interval=Interval(lower=60.0, upper=62.5),
        denominator="T",
        n_replicates=5000,
        run_id=run_id,
        findings=(finding("PURITY_UNVERIFIED", Severity.NOTE),),
        provenance=made_from,
    )
    populations = tuple(
        PopulationRecord(
            name=name,
            parent=parent,
            denominator=parent,
            count=count,
            parent_count=20_000,
            frequency_percent=None if not parent else count / 200,
            lower=None,
            upper=None,
            median_intensity={"CD3": 1234.5, "CD4": -3.25},
            quality=0.5,
            cuts={"CD4": 0.43},
            reportable=bool(parent),
            findings=(finding("NO_VALLEY"),) if parent else (),
        )
        for name, parent, count in (("singlets", "", 18_000), ("T", "lymphocytes", 5000))
    )
    run = Run(
        run_id=run_id,
        assay=Assay.CYTOMETRY,
        name="ATR-000004",
        acquired_at="",
        findings=(),
        results=(result,),
        provenance=made_from,
    )
    return AcquisitionAnalysis(run=run, panel="pbmc-lineage", events=20_000, populations=populations)


@pytest.fixture
def slide() -> SlideAnalysis:
    made_from = provenance("instrument", "ATR-000005_CD8.ome.tiff")
    run_id = run_identity(Assay.IHC, made_from.sources[0].sha256)
    result = Result(
        accession_id="ATR-000005",
        assay=Assay.IHC,
        measurand="CD8_DENSITY_TISSUE",
        quantity=Quantity(value=812.0, unit="cells/mm2"),
        interval=Interval(lower=700.0, upper=900.0),
        denominator="tissue",
        n_replicates=431,
        run_id=run_id,
        findings=(),
        provenance=made_from,
    )
    score = ScoreRecord(
        region="tissue",
        stain="CD8",
        area_mm2=0.53,
        cells=2000,
        positive=431,
        class_counts={"0": 1569, "1+": 200, "2+": 131, "3+": 100},
        positive_percent=21.55,
        density_per_mm2=812.0,
        h_score=None,
        intervals={"density_per_mm2": Interval(lower=700.0, upper=900.0)},
        findings=(finding("STAIN_VECTORS_DEFAULTED"),),
    )
    run = Run(
        run_id=run_id,
        assay=Assay.IHC,
        name="ATR-000005_CD8",
        acquired_at="2026-02-27T10:00:00",
        findings=(),
        results=(result,),
        provenance=made_from,
    )
    return SlideAnalysis(
        run=run,
        stain="CD8",
        pixel_size_um=0.5,
        stain_vectors={"hematoxylin": (0.65, 0.7, 0.29), "dab": (0.27, 0.57, 0.78)},
        white_point=(241.0, 240.0, 242.0),
        scores=(score,),
    )


@pytest.fixture
def register(now: datetime) -> Callable[[Database, Run], None]:
    """Register the sources of a run, as admitting its files does."""

    def do(database: Database, run: Run) -> None:
        with database.write() as transaction:
            for source in run.provenance.sources:
                sources.register(
                    transaction,
                    sha256=source.sha256,
                    size=10,
                    assay=run.assay.value,
                    kind=source.role,
                    name=source.name,
                    received_at=now,
                )

    return do


@pytest.fixture
def decide(now: datetime) -> Callable[[Database, str, Decision], None]:
    """Decide about a result, as somebody with a reason."""

    def do(database: Database, result_id: str, decision: Decision) -> None:
        with database.write() as transaction:
            dispose(transaction, result_id=result_id, decision=decision, reason="Leaked.", decided_by="p", decided_at=now)

    return do
