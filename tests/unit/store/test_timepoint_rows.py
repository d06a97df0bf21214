"""Whatever is recorded in whatever order: the view, the rows of Python and the rows kept of the table are one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from random import Random

import pytest
from sqlalchemy import text

from biomarkers.elisa.analysis import PlateAnalysis
from biomarkers.errors import StoreError
from biomarkers.provenance import Input, Provenance, Source, bytes_digest
from biomarkers.readers.declarations import parse_declaration
from biomarkers.results import (
    Assay,
    Comparator,
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
from biomarkers.store import alignments, sources, timepoint_rows
from biomarkers.store.database import Database, Reading, Transaction
from biomarkers.store.definitions import DefinitionKind, record_definition
from biomarkers.store.results import Decision, aligned_inputs, current_results, dispose, record_analysis
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.alignment import timepoint_rows as rows_of_python
from biomarkers.timepoints.due import due_cells

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
FIRST_DOSE = date(2025, 3, 10)
MEASURANDS = ("IL6", "KYN")
COMPARATORS: tuple[Comparator, ...] = ("", "", "", "", "<", ">")
LABELS = ("BASELINE", "C2D1", "C6D1", "PROGRESSION", "UNSCHEDULED", "")


@pytest.fixture(scope="module")
def definition() -> StudyDefinition:
    packaged = (files("biomarkers.study") / "targeting_atr_sts.toml").read_text(encoding="utf-8")
    return parse_declaration(packaged.replace('["PLASMA"]', '["PLASMA", "SERUM"]'), StudyDefinition, name="study.toml")


@dataclass(kw_only=True)
class Life:
    """A laboratory to which random things happen."""

    rng: Random
    definition: StudyDefinition
    database: Database
    subjects: dict[str, Subject] = field(default_factory=dict)
    specimens: dict[str, Specimen] = field(default_factory=dict)
    plates: dict[str, PlateAnalysis] = field(default_factory=dict)
    happened: list[str] = field(default_factory=list)
    clock: datetime = NOW

    def go_on(self) -> None:
        happenings = [*[self.lists] * 3, *[self.plate] * 3, *[self.derive] * 3, self.again, self.decide]
        happening = self.rng.choice([*happenings, self.rename]) if self.happened else self.lists
        self.clock += timedelta(seconds=1)
        self.happened.append(happening.__name__)
        with self.database.write() as transaction:
            happening(transaction)

    def lists(self, transaction: Transaction) -> None:
        """Lists come in with somebody new, and something said otherwise of one who is known."""
        for _ in range(1 if self.subjects else 5):
            start = self._subject()
        one = self.rng.choice(sorted(self.subjects))
        withdrawn = start + timedelta(days=90) if self.rng.random() < 0.1 else None
        progressed = start + timedelta(days=self.rng.randrange(10, 90)) if self.rng.random() < 0.3 else None
        self.subjects[one] = replace(self.subjects[one], progression_date=progressed, consent_withdrawn_on=withdrawn)
        other = self.rng.choice(sorted(self.specimens))
        self.specimens[other] = replace(self.specimens[other], nominal_visit=self.rng.choice(LABELS))
        roster = Roster(subjects=self.subjects, specimens=self.specimens, visits={})
        places, due = align_specimens(self.definition, roster), due_cells(self.definition, roster)
        alignments.record(transaction, alignments=places, due=due, recorded_at=self.clock)

    def _subject(self) -> date:
        subject_id = f"S{len(self.subjects) + 1:03d}"
        start = FIRST_DOSE + timedelta(days=len(self.subjects))
        self.subjects[subject_id] = Subject(
            subject_id=subject_id, site="LONDON", treatment_start=Moment(day=start), randomised_on=start - timedelta(days=3)
        )
        for visit, day in (("BASELINE", -1), ("C2D1", 21), ("C6D1", 105), ("UNSCHEDULED", 40), ("", 22)):
            if self.rng.random() < 0.8:
                self._specimen(subject_id, start + timedelta(days=day), visit)
        return start

    def _specimen(self, subject_id: str, day: date, visit: str) -> None:
        accession_id = f"ATR-{len(self.specimens) + 1:06d}"
        if self.rng.random() < 0.1:
            # A day that lies ahead: the specimen is shown from then on.
            day = datetime.now(UTC).date() + timedelta(days=self.rng.choice([2, 30, 31]))
        self.specimens[accession_id] = Specimen(
            accession_id=accession_id,
            subject_id=subject_id,
            material=self.rng.choice([*[Material.PLASMA] * 6, Material.SERUM, Material.PBMC]),
            collected_at=Moment(day=day),
            nominal_visit=visit,
        )

    def plate(self, transaction: Transaction) -> None:
        """A plate is read, of accessions known or not yet known."""
        name = f"plate-{len(self.plates)}.txt"
        known = [*self.specimens, f"ATR-{len(self.specimens) + 1:06d}"]
        accessions = self.rng.sample(known, k=min(len(known), self.rng.randrange(4, 20)))
        self.plates[name] = self._analysed(name, [(one, code) for one in accessions for code in MEASURANDS])
        self._record(transaction, self.plates[name].run, self.plates[name], reason="")

    def again(self, transaction: Transaction) -> None:
        """A plate is analysed again and gives other numbers."""
        if self.plates:
            name = self.rng.choice(sorted(self.plates))
            before = [(one.accession_id, one.measurand) for one in self.plates[name].run.results]
            kept = self.rng.sample(before, k=self.rng.randrange(1, len(before) + 1))
            self.plates[name] = self._analysed(name, kept)
            self._record(transaction, self.plates[name].run, self.plates[name], reason="again")

    def decide(self, transaction: Transaction) -> None:
        """Somebody decides about a result."""
        if standing := current_results(transaction):
            result_id = self.rng.choice(standing).result_id
            decision = self.rng.choice(list(Decision))
            dispose(transaction, result_id=result_id, decision=decision, reason="r", decided_by="p", decided_at=self.clock)

    def derive(self, transaction: Transaction) -> None:
        """A second step tells a plate's results again in their place, remarks on them, or withdraws what it said."""
        if not self.plates:
            return
        name = self.rng.choice(sorted(self.plates))
        given = self.plates[name].run
        run_id = derived_run_identity(Assay.ELISA, "told again", given.run_id)
        made_from = replace(given.provenance, parameters=str(self.rng.random()))
        told = [one for one in given.results if one.quantity is not None and self.rng.random() < 0.5]
        again = tuple(
            replace(one, run_id=run_id, provenance=made_from, findings=(), quantity=Quantity(value=7.0, unit="pg/mL"))
            for one in told
        )
        about = self.rng.choice(given.results).accession_id if self.rng.random() < 0.5 else ""
        said = Finding(code="REMARKED", severity=Severity.WARNING, where="w", message="m", remedy="r")
        remarks = (Remark(run_id=given.run_id, accession_id=about, finding=said),) if self.rng.random() < 0.8 else ()
        run = Run(
            run_id=run_id,
            assay=Assay.ELISA,
            name="Told again",
            acquired_at="",
            findings=tuple(remark.finding for remark in remarks),
            results=again,
            provenance=made_from,
        )
        current = {one.result_id: one.analysis_id for one in current_results(transaction)}
        parents = tuple(
            Parent(analysis_id=current.get(one.result_id, given.analysis_id), result_id=one.result_id, replaces=True)
            for one in told
        )
        derived = DerivedAnalysis(step="told again", run=run, parents=parents, remarks=remarks)
        self._record(transaction, run, derived, reason="told otherwise")

    def rename(self, transaction: Transaction) -> None:
        """The study is declared anew under another name."""
        name = f"study-{len(self.happened)}"
        record_definition(transaction, kind=DefinitionKind.STUDY, name=name, sha256=name, content="{}", recorded_at=self.clock)

    def _analysed(self, name: str, asked: Sequence[tuple[str, str]]) -> PlateAnalysis:
        source = Source(role="instrument", name=name, sha256=bytes_digest(name.encode()))
        made_from = Provenance(
            sources=(source,),
            inputs=(Input(kind="study", name="a-study", sha256=bytes_digest(b"study")),),
            software="biomarkers 0.1.0",
            parameters=str(self.rng.random()),
            computed_at=NOW,
        )
        run_id = run_identity(Assay.ELISA, source.sha256, "P")
        results = tuple(self._result(run_id, made_from, *one) for one in asked)
        run = Run(
            run_id=run_id, assay=Assay.ELISA, name="P", acquired_at="", findings=(), results=results, provenance=made_from
        )
        return PlateAnalysis(run=run, wells=(), curves=(), verdicts=(), controls=())

    def _result(self, run_id: str, made_from: Provenance, accession_id: str, measurand: str) -> Result:
        value = self.rng.choice([0.0, self.rng.lognormvariate(2, 1)])
        comparator = self.rng.choice(COMPARATORS)
        unit = self.rng.choice(["pg/mL"] * 9 + ["ng/mL"])
        quantity = None if self.rng.random() < 0.1 else Quantity(value=value, unit=unit, comparator=comparator)
        said = Finding(code="REPLICATE_CV", severity=Severity.WARNING, where="w", message="m", remedy="r")
        return Result(
            accession_id=accession_id,
            assay=Assay.ELISA,
            measurand=measurand,
            quantity=quantity,
            interval=Interval(lower=value * 0.9, upper=None) if quantity is not None else None,
            denominator="",
            n_replicates=2,
            run_id=run_id,
            findings=(said,) if quantity is None or self.rng.random() < 0.3 else (),
            provenance=made_from,
        )

    def _record(self, transaction: Transaction, run: Run, given: PlateAnalysis | DerivedAnalysis, *, reason: str) -> None:
        for source in run.provenance.sources:
            sources.register(
                transaction, sha256=source.sha256, size=1, assay="elisa", kind="plate", name=source.name, received_at=NOW
            )
        record_analysis(transaction, given, reason=reason, recorded_at=self.clock)


def of_python(reading: Reading) -> list[TimepointRow]:
    aligned = alignments.current(reading)
    assert aligned is not None
    name = reading.connection.execute(text("SELECT name FROM definition ORDER BY id DESC LIMIT 1")).scalar_one_or_none()
    today = datetime.now(UTC).date()
    return list(rows_of_python(name or "", aligned.alignments, aligned.due, aligned_inputs(reading), as_of=today))


def of_view(reading: Reading) -> list[Mapping[str, object]]:
    return [dict(row) for row in reading.connection.execute(text("SELECT * FROM timepoint")).mappings()]


def plain(row: TimepointRow | Mapping[str, object]) -> str:
    """Say a row so that 0.0 and -0.0 differ, and the truth values of the two engines do not."""
    given = dict(row) if isinstance(row, Mapping) else {each.name: getattr(row, each.name) for each in fields(row)}
    in_window = given["in_window"]
    return repr({**given, "study_id": given["study_id"] or "", "in_window": None if in_window is None else bool(in_window)})


@pytest.mark.parametrize("seed", [3, 4])
def test_after_whatever_happens_view_and_python_and_kept_rows_are_one_table(
    definition: StudyDefinition, database: Database, seed: int
) -> None:
    life = Life(rng=Random(seed), definition=definition, database=database)
    changes = findings = 0
    for step in range(20):
        life.go_on()
        with database.read() as reading:
            found, expected = of_view(reading), of_python(reading)
            assert sorted(map(plain, found)) == sorted(map(plain, expected)), life.happened
            # Slower, and the same question asked of the database itself.
            assert step % 6 or timepoint_rows.count_differences(reading) == 0, life.happened
        changes += sum(row.change is not None for row in expected)
        findings += sum("REMARKED" in row.findings for row in expected)
    assert changes
    assert findings
    with database.write() as transaction:
        before = sorted(map(plain, of_view(transaction)))
        timepoint_rows.rebuild(transaction)
        assert sorted(map(plain, of_view(transaction))) == before


def test_a_transaction_that_is_lost_takes_its_rows_with_it(definition: StudyDefinition, database: Database) -> None:
    life = Life(rng=Random(5), definition=definition, database=database)
    for _ in range(6):
        life.go_on()
    with database.read() as reading:
        before = of_view(reading)

    def lose() -> None:
        with database.write() as transaction:
            life.lists(transaction)
            life.plate(transaction)
            assert len(of_view(transaction)) > len(before)
            raise StoreError(what="The power failed.", where="Here.", remedy="Wait.")

    with pytest.raises(StoreError, match="power"):
        lose()
    with database.read() as reading:
        assert of_view(reading) == before


def test_a_kept_row_that_somebody_changed_is_counted_and_mended_by_rebuilding(
    definition: StudyDefinition, database: Database
) -> None:
    life = Life(rng=Random(6), definition=definition, database=database)
    for _ in range(6):
        life.go_on()
    with database.write() as transaction:
        transaction.connection.execute(text("UPDATE timepoint_row SET unit = 'kg' WHERE measurand = 'IL6' AND visit = 'C2D1'"))
        assert timepoint_rows.count_differences(transaction) > 0
        timepoint_rows.rebuild(transaction)
        assert timepoint_rows.count_differences(transaction) == 0


def test_a_specimen_dated_ahead_is_shown_from_its_day_on(definition: StudyDefinition, database: Database) -> None:
    today = datetime.now(UTC).date()
    ahead = today + timedelta(days=40)
    start = today - timedelta(days=10)
    subject = Subject(subject_id="S001", site="LONDON", treatment_start=Moment(day=start))
    specimen = Specimen(
        accession_id="ATR-000001",
        subject_id="S001",
        material=Material.PLASMA,
        collected_at=Moment(day=ahead),
        nominal_visit="C2D1",
    )
    roster = Roster(subjects={"S001": subject}, specimens={"ATR-000001": specimen}, visits={})
    with database.write() as transaction:
        alignments.record(
            transaction, alignments=align_specimens(definition, roster), due=due_cells(definition, roster), recorded_at=NOW
        )
        kept = "SELECT shown_from, shown_until, accession_id FROM timepoint_row WHERE measurand = 'IL6' AND visit = 'C2D1'"
        assert [tuple(row) for row in transaction.connection.execute(text(f"{kept} ORDER BY shown_from"))] == [
            ("", ahead.isoformat(), None),
            (ahead.isoformat(), "9999-12-31", "ATR-000001"),
        ]
        shown = transaction.connection.execute(
            text("SELECT accession_id FROM timepoint WHERE measurand = 'IL6' AND visit = 'C2D1'")
        )
        assert shown.scalars().all() == [None]
