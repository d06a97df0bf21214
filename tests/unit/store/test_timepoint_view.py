"""The SQL view and the Python rows are one table, on random studies with everything in them that can happen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from itertools import pairwise
from random import Random
from typing import Protocol

import pytest
from sqlalchemy import Connection, Engine, Table, create_engine, insert, text

from biomarkers.readers.declarations import parse_declaration
from biomarkers.results import Comparator
from biomarkers.store import schema
from biomarkers.store import timepoint_rows as timepoint_rows_of_store
from biomarkers.store.database import Transaction
from biomarkers.store.timepoint_computed import Dialect
from biomarkers.store.timepoint_view import create_view_sql, drop_view_sql, timepoint_query
from biomarkers.study.declaration import Material
from biomarkers.study.definition import Measurand, StudyDefinition
from biomarkers.study.roster import ActualVisit, Moment, Roster, Specimen, Subject
from biomarkers.study.visits import Alignment, align_specimens
from biomarkers.timepoints.alignment import AlignedInput, Decision, Status, TimepointRow, timepoint_rows
from biomarkers.timepoints.due import DueCell, due_cells

FIRST_DOSE = date(2025, 3, 10)
AS_OF = date(2025, 7, 1)
NOW = datetime(2025, 7, 1, 12, tzinfo=UTC)
LABELS = ("BASELINE", "BASELINE", "C2D1", "C2D1", "C6D1", "C6D1", "PROGRESSION", "UNSCHEDULED", "END_OF_TREATMENT", "", "C9D1")
CODES = ("", "", "", "LONE_REPLICATE", "LONE_REPLICATE;REPLICATE_CV", "EXTRAPOLATED;OUT_OF_WINDOW", "ZONE")
COMPARATORS: tuple[Comparator, ...] = ("", "", "", "<", ">")
DECISIONS: tuple[Decision, ...] = ("", "", "", "", "", "reportable", "repeated", "excluded")


class PostgresDatabases(Protocol):
    """What the test needs of the server."""

    def url(self, database: str) -> str: ...
    def execute(self, statement: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Analysed:
    """A result with its analysis, current or superseded, and the decisions on it in their order.

    One that ``replaces`` another was derived from it and stands in its place; ``remarks`` are codes said of its run later, each
    about this accession alone or about all.
    """

    result: AlignedInput
    analysis_id: str
    superseded_by: str
    decisions: tuple[Decision, ...]
    replaces: tuple[str, str] | None = None
    remarks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RandomStudy:
    alignments: tuple[Alignment, ...]
    due: tuple[DueCell, ...]
    analysed: tuple[Analysed, ...]

    def rows(self, as_of: date) -> tuple[TimepointRow, ...]:
        taken = {one.replaces for one in self.analysed if one.replaces and not one.superseded_by}
        remarks: dict[str, list[tuple[str, str]]] = {}
        for one in self.analysed:
            remarks.setdefault(one.result.run_id, []).extend(one.remarks)
        current = [
            replace(one.result, finding_codes=";".join([one.result.finding_codes, *said(one, remarks)]).strip(";"))
            for one in self.analysed
            if not one.superseded_by and (one.analysis_id, one.result.result_id) not in taken
        ]
        return timepoint_rows("targeting-atr-sts", self.alignments, self.due, current, as_of=as_of)


def said(one: Analysed, remarks: Mapping[str, list[tuple[str, str]]]) -> list[str]:
    return [code for accession_id, code in remarks[one.result.run_id] if accession_id in {"", one.result.accession_id}]


@pytest.fixture(scope="module")
def definition() -> StudyDefinition:
    """The packaged study, with kynurenine from plasma or serum so that a matrix can change."""
    packaged = (files("biomarkers.study") / "targeting_atr_sts.toml").read_text(encoding="utf-8")
    serum_too = packaged.replace('materials = ["PLASMA"]', 'materials = ["PLASMA", "SERUM"]', 1)
    return parse_declaration(serum_too, StudyDefinition, name="study.toml")


def random_roster(rng: Random, n_subjects: int) -> Roster:
    subjects: dict[str, Subject] = {}
    visits: dict[tuple[str, str], ActualVisit] = {}
    specimens: dict[str, Specimen] = {}
    for number in range(1, n_subjects + 1):
        subject_id = f"S{number:04d}"
        start = FIRST_DOSE + timedelta(days=rng.randrange(-20, 60))

        def some_day(share: float, start: date = start) -> date | None:
            return start + timedelta(days=rng.randrange(1, 130)) if rng.random() < share else None

        subjects[subject_id] = Subject(
            subject_id=subject_id,
            site="LONDON",
            treatment_start=None if rng.random() < 0.1 else Moment(day=start, time=rng.choice([None, time(10)])),
            progression_date=some_day(0.4),
            off_study_date=some_day(0.2),
            death_date=some_day(0.1),
            consent_withdrawn_on=some_day(0.08),
        )
        for visit, day in (("C2D1", 21), ("C6D1", 105)):
            if rng.random() < 0.3:
                actual = rng.choice([None, start + timedelta(days=day + rng.randrange(-4, 15))])
                visits[subject_id, visit] = ActualVisit(subject_id=subject_id, visit=visit, actual_date=actual)
        for _ in range(rng.randrange(0, 22)):
            accession_id = f"ATR-{len(specimens) + 1:06d}"
            parent = rng.choice(list(specimens)) if specimens and rng.random() < 0.1 else ""
            collected = start + timedelta(
                days=rng.choice([-40, -3, 0, 0, 19, 21, 22, 40, 105, 107, 120]) + rng.randrange(-1, 2)
            )
            specimens[accession_id] = Specimen(
                accession_id=accession_id,
                subject_id=rng.choice([subject_id] * 30 + ["S9999"]),
                material=rng.choice([*Material, *[Material.PLASMA] * 8]),
                collected_at=Moment(day=collected, time=rng.choice([None, time(8), time(11)])),
                nominal_visit=rng.choice(LABELS),
                parent_accession_id=parent,
            )
    return Roster(subjects=subjects, specimens=specimens, visits=visits)


def random_results(rng: Random, definition: StudyDefinition, roster: Roster) -> Iterator[Analysed]:
    """Runs of one to eight specimens each, some measured again in a later run, some analysed again."""
    accessions = sorted(roster.specimens)
    # Few measurands, so that many have a baseline to be compared with.
    measurands = [one for one in definition.measurands if one.code in {"KYN", "IL6", "CD4_PCT_T", "CD8_HSCORE"}]
    for run in range(len(accessions) * 2):
        measurand = rng.choice(measurands)
        chosen = rng.sample(accessions, k=min(len(accessions), rng.randrange(1, 9)))
        analyses = [f"a-{run}-{version}" for version in range(rng.choice([1, 1, 1, 2, 3]))]
        for analysis_id, newer in pairwise([*analyses, ""]):
            for accession_id in chosen:
                decisions = tuple(rng.choice(DECISIONS) for _ in range(rng.randrange(0, 3)))
                given = tuple(decision for decision in decisions if decision)
                result = random_result(rng, measurand, accession_id, run)
                name = f"r-{analysis_id}-{accession_id}"
                result = replace(result, result_id=name, disposition=given[-1] if given else "")
                yield Analysed(result=result, analysis_id=analysis_id, superseded_by=newer, decisions=given)


def random_result(rng: Random, measurand: Measurand, accession_id: str, run: int) -> AlignedInput:
    evaluable = rng.random() > 0.1
    value = rng.choice([0.0, rng.uniform(0, 1), rng.lognormvariate(3, 2), float(rng.randrange(1, 100))])
    comparator = rng.choice(COMPARATORS)
    return AlignedInput(
        accession_id=accession_id,
        assay=measurand.assay,
        measurand=measurand.code,
        value=value if evaluable else None,
        comparator=comparator if evaluable else "",
        unit=rng.choice([measurand.unit] * 20 + ["mg/mL"]) if evaluable else rng.choice(["", measurand.unit]),
        lower=value * 0.9 if evaluable and not comparator else None,
        upper=value * 1.1 if evaluable and not comparator and rng.random() < 0.9 else None,
        denominator=rng.choice(["", "live lymphocytes"]),
        n_replicates=rng.choice([None, 2, 20_000]),
        evaluable=evaluable,
        finding_codes=rng.choice(CODES),
        run_id=f"run-{run}",
        result_id="",
        source_sha256s=f"{run:064x};{run + 1:064x}",
        order=run,
    )


def random_study(definition: StudyDefinition, seed: int, n_subjects: int) -> RandomStudy:
    rng = Random(seed)
    roster = random_roster(rng, n_subjects)
    analysed: dict[tuple[str, str], Analysed] = {}
    for one in random_results(rng, definition, roster):
        analysed[one.analysis_id, one.result.accession_id] = one
    measured = [
        replace(one, remarks=((rng.choice(["", one.result.accession_id]), "REMARKED"),)) if rng.random() < 0.1 else one
        for one in analysed.values()
    ]
    return RandomStudy(
        alignments=align_specimens(definition, roster),
        due=due_cells(definition, roster),
        analysed=(*measured, *told_again(rng, [one for one in measured if not one.superseded_by])),
    )


def told_again(rng: Random, current: Sequence[Analysed]) -> Iterator[Analysed]:
    """Derive some results anew in their own place; some of these were superseded and withdrawn again."""
    for number, one in enumerate(current):
        if rng.random() < 0.1:
            result = replace(
                one.result,
                value=None if one.result.value is None else one.result.value + 1.0,
                finding_codes="TOLD_AGAIN",
                run_id=f"derived-{number}",
                result_id=f"d-{number}",
                disposition="",
            )
            yield Analysed(
                result=result,
                analysis_id=f"d-{number}-0",
                superseded_by=rng.choice(["", "", f"d-{number}-withdrawn"]),
                decisions=(),
                replaces=(one.analysis_id, one.result.result_id),
            )


def fill(connection: Connection, study: RandomStudy) -> None:
    """Write a study as the store lays it out; an older alignment set holds other things, which must not show."""
    put(connection, schema.definition, [definition_row()])
    put(connection, schema.alignment_set, [{"id": number, "recorded_at": NOW, "digest": str(number)} for number in (1, 2)])
    for set_id, is_old in ((1, True), (2, False)):
        put(connection, schema.alignment, [alignment_row(set_id, one, is_old=is_old) for one in study.alignments])
        put(connection, schema.due_cell, [due_row(set_id, cell, is_old=is_old) for cell in study.due])
    # The latest version of an analysis is recorded last, and must keep the place of its run.
    recorded = sorted(study.analysed, key=lambda one: (one.analysis_id.count("-0") == 0, one.result.order, one.analysis_id))
    put(connection, schema.analysis, list({one.analysis_id: analysis_row(one) for one in recorded}.values()))
    put(connection, schema.result, [result_row(one) for one in recorded])
    put(connection, schema.disposition, [disposition_row(one, decision) for one in recorded for decision in one.decisions])
    withdrawn = [one for one in study.analysed if one.superseded_by.endswith("-withdrawn")]
    put(connection, schema.analysis, [analysis_row(replace(one, analysis_id=one.superseded_by)) for one in withdrawn])
    put(connection, schema.derived_from, [derived_row(one) for one in study.analysed if one.replaces])
    put(connection, schema.remark, list(remark_rows(study)))
    superseded = sorted({(one.analysis_id, one.superseded_by) for one in study.analysed if one.superseded_by})
    put(connection, schema.supersession, [supersession_row(old, new) for old, new in superseded])


def put(connection: Connection, table: Table, rows: list[dict[str, object]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def derived_row(one: Analysed) -> dict[str, object]:
    assert one.replaces is not None
    analysis_id, result_id = one.replaces
    return {
        "analysis_id": one.analysis_id,
        "ordinal": 0,
        "source_analysis_id": analysis_id,
        "source_result_id": result_id,
        "replaces": 1,
    }


def remark_rows(study: RandomStudy) -> Iterator[dict[str, object]]:
    """All remarks as one current analysis says them, and another that is superseded says of everything."""
    said_of = [(one.result, accession, code) for one in study.analysed for accession, code in one.remarks]
    for ordinal, (result, accession_id, code) in enumerate(said_of):
        yield {
            "analysis_id": next(one.analysis_id for one in study.analysed if not one.superseded_by),
            "ordinal": ordinal,
            "run_id": result.run_id,
            "accession_id": accession_id,
            "measurand": ["", result.measurand][ordinal % 2],
            "code": code,
        }
    for ordinal, one in enumerate(study.analysed):
        if one.superseded_by:
            yield {
                "analysis_id": one.analysis_id,
                "ordinal": len(said_of) + ordinal,
                "run_id": one.result.run_id,
                "accession_id": "",
                "measurand": "",
                "code": "NO_LONGER_SAID",
            }


def supersession_row(old: str, new: str) -> dict[str, object]:
    return {"old_analysis_id": old, "new_analysis_id": new, "reason": "recomputed", "recorded_at": NOW}


def definition_row() -> dict[str, object]:
    return {"kind": "study", "name": "targeting-atr-sts", "sha256": "0" * 64, "content": "{}", "recorded_at": NOW}


def alignment_row(set_id: int, alignment: Alignment, *, is_old: bool) -> dict[str, object]:
    return {
        "set_id": set_id,
        "accession_id": alignment.accession_id,
        "subject_id": alignment.subject_id,
        "material": alignment.material.value,
        "visit": "C2D1" if is_old else alignment.visit,
        "visit_number": 2 if is_old else alignment.visit_number,
        "rule": alignment.rule.value,
        "study_day": alignment.study_day,
        "days_from_target": alignment.days_from_target,
        "in_window": None if alignment.in_window is None else int(alignment.in_window),
        "chosen": 1 if is_old else int(alignment.chosen),
        "finding_codes": alignment.finding_codes,
        "collected_on": alignment.collected_on,
        "note": alignment.note,
    }


def due_row(set_id: int, cell: DueCell, *, is_old: bool) -> dict[str, object]:
    return {
        "set_id": set_id,
        "subject_id": cell.subject_id,
        "visit": cell.visit,
        "visit_number": cell.visit_number,
        "assay": cell.assay.value,
        "measurand": cell.measurand,
        "unit": cell.unit,
        "materials": ";".join(cell.materials),
        "window_first": cell.window_first,
        "window_last": cell.window_last,
        "target_date": cell.target_date,
        "not_expected_from": cell.not_expected_from,
        "not_expected_reason": cell.not_expected_reason,
        "hidden": 1 if is_old else int(cell.hidden),
    }


def analysis_row(one: Analysed) -> dict[str, object]:
    return {
        "analysis_id": one.analysis_id,
        "content_id": one.analysis_id,
        "run_id": one.result.run_id,
        "assay": one.result.assay.value,
        "step": "told again" if one.replaces else "",
        "name": one.result.run_id,
        "acquired_at": "",
        "instrument_sha256": "0" * 64,
        "source_sha256s": one.result.source_sha256s,
        "provenance": {},
        "parameters": "{}",
        "software": "biomarkers",
        "finding_codes": "",
        "recorded_at": NOW,
        "reason": "",
        "more": {},
    }


def result_row(one: Analysed) -> dict[str, object]:
    result = one.result
    taken_from_result = (
        *("accession_id", "measurand", "value", "comparator", "unit", "lower", "upper"),
        *("denominator", "n_replicates", "finding_codes", "run_id", "result_id"),
    )
    return {
        **{name: getattr(result, name) for name in taken_from_result},
        "analysis_id": one.analysis_id,
        "ordinal": 0,
        "assay": result.assay.value,
        "level": 0.95,
        "evaluable": int(result.evaluable),
    }


def disposition_row(one: Analysed, decision: Decision) -> dict[str, object]:
    return {
        "result_id": one.result.result_id,
        "decision": decision,
        "reason": "decided",
        "decided_by": "tester",
        "decided_at": NOW,
    }


def asked(connection: Connection, dialect: Dialect, as_of: date) -> list[dict[str, object]]:
    answer = connection.execute(text(timepoint_query(dialect)), {"as_of": as_of.isoformat()})
    return [dict(row) for row in answer.mappings()]


def shown(connection: Connection) -> list[dict[str, object]]:
    """Return what the view shows in the order of the table; among visits outside the plan, their day and specimen tell it."""
    rows = [dict(row) for row in connection.execute(text("SELECT * FROM timepoint")).mappings()]
    return sorted(rows, key=in_order)


def in_order(row: Mapping[str, object]) -> tuple[object, ...]:
    unplanned = row["visit_number"] is None
    # The random studies' specimens outside the plan are told apart by the day of the study where it is known.
    key = (row["study_day"] or 0, row["accession_id"]) if unplanned else (0, "")
    return row["subject_id"], unplanned, row["visit_number"] or 0, row["visit"], *key, row["assay"], row["measurand"]


def as_sql_gives(row: TimepointRow, dialect: Dialect) -> dict[str, object]:
    given = {field.name: getattr(row, field.name) for field in fields(row)}
    if dialect == "sqlite" and row.in_window is not None:
        given["in_window"] = int(row.in_window)
    return given


def assert_same(found: Sequence[Mapping[str, object]], rows: Sequence[TimepointRow], dialect: Dialect) -> None:
    expected = [as_sql_gives(row, dialect) for row in rows]
    assert len(found) == len(expected)
    for got, wanted in zip(found, expected, strict=True):
        assert list(got.items()) == list(wanted.items())
        assert [type(value) for value in got.values()] == [type(value) for value in wanted.values()]
    # Equality takes 0.0 and -0.0 for one number; their text does not.
    assert repr([list(row.values()) for row in found]) == repr([list(row.values()) for row in expected])


@pytest.fixture
def sqlite() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    schema.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("seed", range(8))
def test_the_query_gives_the_rows_of_python_bit_for_bit_on_any_date_in_sqlite(
    definition: StudyDefinition, sqlite: Engine, seed: int
) -> None:
    study = random_study(definition, seed, n_subjects=8)
    with sqlite.begin() as connection:
        fill(connection, study)
        for as_of in (AS_OF, AS_OF - timedelta(days=60), date(2025, 1, 1), date(2026, 1, 1)):
            assert_same(asked(connection, "sqlite", as_of), study.rows(as_of), "sqlite")


@pytest.mark.postgres
def test_the_query_and_the_view_give_the_rows_of_python_bit_for_bit_in_postgresql(
    definition: StudyDefinition, postgres_server: PostgresDatabases
) -> None:
    # A language's own order of letters, such as German or Swedish sites have, must not reorder rows or findings.
    postgres_server.execute("CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'")
    engine = create_engine(postgres_server.url("sorted").replace("postgresql://", "postgresql+psycopg://"))
    schema.metadata.create_all(engine)
    study = random_study(definition, seed=3, n_subjects=20)
    with engine.begin() as connection:
        fill(connection, study)
        for as_of in (AS_OF, AS_OF - timedelta(days=60), date(2026, 1, 1)):
            assert_same(asked(connection, "postgresql", as_of), study.rows(as_of), "postgresql")
        timepoint_rows_of_store.rebuild(Transaction(connection))
        connection.exec_driver_sql(create_view_sql("postgresql"))
        assert_same(shown(connection), study.rows(datetime.now(UTC).date()), "postgresql")
    engine.dispose()


def test_the_random_studies_hold_everything_that_can_happen(definition: StudyDefinition) -> None:
    rows = [row for seed in range(8) for row in random_study(definition, seed, n_subjects=8).rows(AS_OF)]
    assert {row.status for row in rows} == {status.value for status in Status}
    assert {row.visit for row in rows} == {visit for visit in LABELS if visit not in {"", "C9D1"}}
    for code in ("REMARKED", "TOLD_AGAIN", "MATRIX_CHANGED", "UNIT_CHANGED", "OUT_OF_WINDOW", "BASELINE_TIME_ASSUMED"):
        assert any(code in row.findings.split(";") for row in rows), code
    for column in ("change", "percent_change", "change_bound_lower", "change_bound_upper", "baseline_run_id"):
        assert sum(getattr(row, column) is not None for row in rows) > 5, column
    assert any(row.change is not None and row.percent_change is None for row in rows), "a baseline of zero"
    assert any(row.baseline_run_id and row.baseline is None for row in rows), "a censored baseline"


def test_the_view_holds_for_today_in_utc(definition: StudyDefinition, sqlite: Engine) -> None:
    study = random_study(definition, seed=1, n_subjects=3)
    with sqlite.begin() as connection:
        fill(connection, study)
        # A database that trusts no schema must still answer: the view may use nothing that is refused there.
        connection.exec_driver_sql("PRAGMA trusted_schema=OFF")
        timepoint_rows_of_store.rebuild(Transaction(connection))
        connection.exec_driver_sql(create_view_sql("sqlite"))
        # The random studies lie years back: a midnight between the two lines changes nothing.
        assert_same(shown(connection), study.rows(datetime.now(UTC).date()), "sqlite")
        connection.exec_driver_sql(drop_view_sql())


def test_an_empty_store_gives_an_empty_table_with_the_columns_of_python(sqlite: Engine) -> None:
    with sqlite.begin() as connection:
        answer = connection.execute(text(timepoint_query("sqlite")), {"as_of": "2025-07-01"})
        assert list(answer.keys()) == [field.name for field in fields(TimepointRow)]
        assert answer.all() == []


def test_no_column_of_the_view_knows_an_arm() -> None:
    for dialect in ("sqlite", "postgresql"):
        assert " arm" not in create_view_sql(dialect).lower()
