"""The rows kept of the timepoint table: written anew for whom a transaction changed something, before it ends.

Knows which subjects and measurands an analysis, a decision or a new alignment touches, and how the kept rows are proven right.
Must not know what a row says. A transaction that is lost takes its rows with it, so that they are never older than the facts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date
from functools import cache

from sqlalchemy import CursorResult, Row, TextClause, text

from biomarkers.errors import StoreError
from biomarkers.results import Assay
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.name_lists import LISTED
from biomarkers.store.timepoint_computed import AS_OF, Dialect, computed_rows
from biomarkers.store.timepoint_view import in_order, kept_rows, timepoint_query, today
from biomarkers.timepoints.rows import TimepointColumns

FIRST_DAY, LAST_DAY = "", "9999-12-31"
"""Before and after every day: a row is shown on all of them unless a specimen is still to be collected."""

ALL_COLLECTED = date(9999, 12, 30)
"""The last of those days: every specimen listed has been collected by then."""

KEPT = (
    *("measurand", "subject_id", "visit", "unplanned_specimen", "visit_number", "study_day", "days_from_target", "in_window"),
    *("assay", "lasting_status", "window_last", "not_expected_from", "value", "comparator", "unit", "lower", "upper"),
    *("denominator", "baseline", "change", "percent_change", "change_bound_lower", "change_bound_upper", "n_replicates"),
    *("findings", "accession_id", "run_id", "baseline_run_id", "result_id", "source_sha256"),
)
"""The columns of ``computed_rows`` in their order; the table has them by name, and the days a row is shown."""

Course = tuple[str, str]
"""A subject and a measurand, whose rows at all visits hang together by their baseline."""

_NEWEST = "(SELECT max(id) FROM alignment_set)"

_LISTED: Mapping[str, str] = {dialect: listed.format(":listed") for dialect, listed in LISTED.items()}

_OF_ANALYSES = """
WITH told(accession_id, measurand) AS (
    SELECT result.accession_id, result.measurand FROM result WHERE result.analysis_id IN {listed}
    UNION
    SELECT source.accession_id, source.measurand
    FROM derived_from
    JOIN result AS source
      ON source.analysis_id = derived_from.source_analysis_id AND source.result_id = derived_from.source_result_id
    WHERE derived_from.analysis_id IN {listed}
    UNION
    SELECT result.accession_id, result.measurand
    FROM remark
    JOIN analysis ON analysis.run_id = remark.run_id
    JOIN result ON result.analysis_id = analysis.analysis_id
    WHERE remark.analysis_id IN {listed}
)
SELECT DISTINCT specimen.subject_id, told.measurand
FROM told
JOIN alignment AS specimen ON specimen.set_id = {newest} AND specimen.accession_id = told.accession_id
"""
"""What analyses speak of: by their results, by those whose place they take, and by remarks."""

_OF_RESULTS = """
SELECT DISTINCT specimen.subject_id, result.measurand
FROM result
JOIN alignment AS specimen ON specimen.set_id = {newest} AND specimen.accession_id = result.accession_id
WHERE result.result_id IN {listed}
"""

_OF_SUBJECTS = """
SELECT subject_id, measurand FROM due_cell WHERE set_id = {newest} AND subject_id IN {listed}
UNION
SELECT specimen.subject_id, result.measurand
FROM alignment AS specimen
JOIN result ON result.accession_id = specimen.accession_id
WHERE specimen.set_id = {newest} AND specimen.subject_id IN {listed}
"""

_COMING = """
SELECT DISTINCT subject_id, collected_on
FROM alignment
WHERE set_id = {newest} AND subject_id IN {listed} AND collected_on > {today}
ORDER BY subject_id, collected_on
"""
"""The days after today on which specimens were collected, as their list says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Days, from the first to before the other, through which the same specimens have been collected as on one of them."""

    first: str = FIRST_DAY
    until: str = LAST_DAY
    as_of: str = LAST_DAY


def refresh_analyses(transaction: Transaction, analysis_ids: Iterable[str]) -> None:
    """Write the rows anew that analyses just recorded or superseded speak of; see :func:`gathered`."""
    listed = [one for one in analysis_ids if one]
    waiting: list[str] | None = transaction.connection.info.get(_GATHERED)
    if waiting is None:
        _write(transaction, _courses(transaction, _OF_ANALYSES, listed))
    else:
        waiting += listed


@contextmanager
def gathered(transaction: Transaction) -> Iterator[None]:
    """Write the rows of all analyses recorded within the block once, at its end.

    Many analyses of the same subjects, as in a recomputation, would otherwise write the same rows again and again.
    """
    info = transaction.connection.info
    if _GATHERED in info:  # a block around this one writes them
        yield
        return
    waiting: list[str] = []
    info[_GATHERED] = waiting
    try:
        yield
    finally:
        del info[_GATHERED]
    _write(transaction, _courses(transaction, _OF_ANALYSES, waiting))


_GATHERED = "analyses whose timepoint rows are written together"


def refresh_result(transaction: Transaction, result_id: str) -> None:
    """Write the rows anew in which a result stands, or may stand from now on."""
    _write(transaction, _courses(transaction, _OF_RESULTS, [result_id]))


def refresh_subjects(transaction: Transaction, subject_ids: Collection[str]) -> None:
    """Write all rows of some subjects anew: their specimens, or what is due of them, changed."""
    if not subject_ids:
        return
    listed = sorted(subject_ids)
    # Also rows of measurands that are neither due nor measured any more.
    _run(transaction, "DELETE FROM timepoint_row WHERE subject_id IN {listed}", listed=json.dumps(listed))
    _insert(transaction, _courses(transaction, _OF_SUBJECTS, listed))


def rebuild(transaction: Transaction) -> None:
    """Compute every row anew from what was recorded."""
    transaction.serialise()
    _run(transaction, "DELETE FROM timepoint_row")
    transaction.connection.execute(_insertion(_dialect(transaction), asked=False), _bound(_Stretch()))
    coming = _run(transaction, "SELECT DISTINCT subject_id FROM alignment WHERE set_id = {newest} AND collected_on > {today}")
    refresh_subjects(transaction, {row.subject_id for row in coming})


def count_differences(reading: Reading) -> int:
    """Count the rows of today's table that are kept otherwise than they are computed; 0 in a sound database."""
    dialect = _dialect(reading)
    day = today(dialect)
    table = {"computed": timepoint_query(dialect, as_of=day), "kept": kept_rows(dialect, as_of=day)}
    query = f"""
    WITH computed AS MATERIALIZED ({table["computed"]}), kept AS MATERIALIZED ({table["kept"]})
    SELECT (SELECT count(*) FROM (SELECT * FROM computed EXCEPT SELECT * FROM kept) AS absent)
         + (SELECT count(*) FROM (SELECT * FROM kept EXCEPT SELECT * FROM computed) AS left_over)
         + abs((SELECT count(*) FROM computed) - (SELECT count(*) FROM kept))
    """  # noqa: S608  - the store's own statements, nothing from outside
    return int(reading.connection.execute(text(query)).scalar_one())


def read_batches(
    reading: Reading, *, as_of: date, subject_ids: Collection[str] = (), rows: int = 20_000
) -> Iterator[TimepointColumns]:
    """Read the table from the rows kept, some subjects at a time, in its order.

    Parameters
    ----------
    as_of
        The current day or a later one; for earlier ones the table must be computed.
    subject_ids
        Only these; all of them unless said.
    rows
        About how many at a time; a subject's rows are never parted.
    """
    counted = _run(reading, "SELECT subject_id, count(*) AS n FROM timepoint_row GROUP BY subject_id")
    count_by_subject = {row.subject_id: int(row.n) for row in counted}
    dialect = _dialect(reading)
    query = f"{kept_rows(dialect, as_of=AS_OF)} AND subject_id IN {_LISTED[dialect]} {in_order(dialect)}"
    batch: list[str] = []
    in_batch = 0
    wanted = sorted(count_by_subject.keys() & set(subject_ids) if subject_ids else count_by_subject)
    for place, subject_id in enumerate(wanted, start=1):
        batch.append(subject_id)
        in_batch += count_by_subject[subject_id]
        if in_batch >= rows or place == len(wanted):
            found = reading.connection.execute(text(query), {"as_of": as_of.isoformat(), "listed": json.dumps(batch)})
            yield _columns(found.all())
            batch, in_batch = [], 0


def read_measurands(reading: Reading, *, as_of: date, measurands: Collection[str]) -> TimepointColumns:
    """Read the rows kept of some measurands, in the order of the table; ``as_of`` is the current day or a later one."""
    chosen = f"measurand IN {_LISTED[_dialect(reading)]}"
    return _chosen_columns(reading, chosen, as_of=as_of, listed=json.dumps(sorted(measurands)))


def read_assay(reading: Reading, *, as_of: date, assay: Assay) -> TimepointColumns:
    """Read the rows kept of one assay, in the order of the table; ``as_of`` is the current day or a later one."""
    return _chosen_columns(reading, "assay = :assay", as_of=as_of, assay=assay.value)


def _chosen_columns(reading: Reading, chosen: str, *, as_of: date, **given: str) -> TimepointColumns:
    dialect = _dialect(reading)
    query = f"{kept_rows(dialect, as_of=AS_OF)} AND {chosen} {in_order(dialect)}"
    return _columns(reading.connection.execute(text(query), {"as_of": as_of.isoformat(), **given}).all())


def _columns(rows: Sequence[Row[tuple[object, ...]]]) -> TimepointColumns:
    names = [one.name for one in fields(TimepointColumns)]
    cells: Iterable[tuple[object, ...]] = zip(*rows, strict=True) if rows else ((),) * len(names)
    listed = dict(zip(names, cells, strict=True))
    # SQLite has no truth values.
    listed["in_window"] = tuple(None if told is None else bool(told) for told in listed["in_window"])
    return TimepointColumns(**listed)  # type: ignore[arg-type]  # the query gives these columns in this order


def _write(transaction: Transaction, courses: Collection[Course]) -> None:
    if courses:
        transaction.connection.execute(_removal(_dialect(transaction)), {"asked": json.dumps(list(courses))})
        _insert(transaction, courses)


def _insert(transaction: Transaction, courses: Collection[Course]) -> None:
    if not courses:
        return
    coming = _days_to_come(transaction, {subject_id for subject_id, _ in courses})
    # Who has no specimen to come stands as on the last day, which saves asking which day it is.
    _insert_stretch(transaction, [one for one in courses if one[0] not in coming], _Stretch())
    if not coming:
        return
    now = str(_run(transaction, "SELECT {today} AS day").scalar_one())
    for subject_id, days in coming.items():
        for first, until in zip(["", *days], [*days, LAST_DAY], strict=True):
            stretch = _Stretch(first=first, until=until, as_of=first or now)
            _insert_stretch(transaction, [one for one in courses if one[0] == subject_id], stretch)


def _insert_stretch(transaction: Transaction, courses: Collection[Course], stretch: _Stretch) -> None:
    if courses:
        statement = _insertion(_dialect(transaction), asked=True)
        transaction.connection.execute(statement, {**_bound(stretch), "asked": json.dumps(list(courses))})


def _courses(transaction: Transaction, query: str, listed: Collection[str]) -> list[Course]:
    found = _run(transaction, query, listed=json.dumps(list(listed)))
    return sorted((row.subject_id, row.measurand) for row in found)


def _days_to_come(transaction: Transaction, subject_ids: Collection[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in _run(transaction, _COMING, listed=json.dumps(sorted(subject_ids))):
        found.setdefault(row.subject_id, []).append(row.collected_on)
    return found


def _bound(stretch: _Stretch) -> dict[str, str]:
    return {"first": stretch.first, "until": stretch.until, "as_of": stretch.as_of}


def _run(reading: Reading, query: str, **given: str) -> CursorResult[tuple[str, ...]]:
    return reading.connection.execute(_statement(_dialect(reading), query), given)


def _dialect(reading: Reading) -> Dialect:
    match reading.connection.dialect.name:
        case "sqlite":
            return "sqlite"
        case "postgresql":
            return "postgresql"
        case other:
            raise StoreError(what=f"No timepoint table is kept in '{other}'.", where="Database.", remedy="Report this.")


@cache
def _statement(dialect: Dialect, query: str) -> TextClause:
    return text(query.format(newest=_NEWEST, listed=_LISTED[dialect], today=today(dialect)))


@cache
def _removal(dialect: Dialect) -> TextClause:
    pairs = {
        "sqlite": "SELECT json_extract(value, '$[1]'), json_extract(value, '$[0]') FROM json_each(:asked)",
        "postgresql": "SELECT pair ->> 1, pair ->> 0 FROM jsonb_array_elements(CAST(:asked AS jsonb)) AS given(pair)",
    }
    return text(f"DELETE FROM timepoint_row WHERE (measurand, subject_id) IN ({pairs[dialect]})")  # noqa: S608  - as above


@cache
def _insertion(dialect: Dialect, *, asked: bool) -> TextClause:
    columns = ", ".join(KEPT)
    return text(
        f"INSERT INTO timepoint_row ({columns}, shown_from, shown_until) "  # noqa: S608  - as above
        f"SELECT {columns}, CAST(:first AS TEXT), CAST(:until AS TEXT) "
        f"FROM ({computed_rows(dialect, asked=asked)}) AS computed ORDER BY measurand, subject_id"
    )
