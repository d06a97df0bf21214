"""The timepoint table as SQL: computed for any date, and the view ``timepoint`` over the rows kept of it.

Knows the columns people see. Must not know how a row is computed (``timepoint_computed``), when rows are kept
(``timepoint_rows``), nor an arm.
"""

from __future__ import annotations

from string import Template

from biomarkers.store.timepoint_computed import AS_OF, BYTE_ORDER, Dialect, computed_rows
from biomarkers.timepoints.alignment import Status

VIEW_NAME = "timepoint"

_TODAY: dict[Dialect, str] = {
    "sqlite": "date('now')",
    "postgresql": "to_char(timezone('UTC', now()), 'YYYY-MM-DD')",
}
"""Today in UTC, as the Python side has it."""

_TRUTH: dict[Dialect, str] = {"sqlite": "in_window", "postgresql": "CAST(in_window AS BOOLEAN)"}
"""SQLite has no truth values: there ``in_window`` is 0 or 1."""

_TABLE = Template("""
SELECT
    (SELECT name FROM definition WHERE kind = 'study' ORDER BY id DESC LIMIT 1) AS study_id,
    subject_id,
    visit,
    visit_number,
    study_day,
    days_from_target,
    $in_window AS in_window,
    assay,
    measurand,
    CASE
        WHEN lasting_status <> '' THEN lasting_status
        WHEN not_expected_from <= $as_of THEN '$not_expected'
        WHEN window_last IS NULL OR $as_of <= window_last THEN '$not_yet_due'
        ELSE '$missing'
    END AS status,
    value,
    comparator,
    unit,
    lower,
    upper,
    denominator,
    baseline,
    change,
    percent_change,
    change_bound_lower,
    change_bound_upper,
    n_replicates,
    findings,
    accession_id,
    run_id,
    baseline_run_id,
    result_id,
    source_sha256
FROM $rows
""")
"""The columns people see, of rows computed or kept. What an empty cell means depends on the day, and is said here alone."""

_IN_ORDER = Template("""ORDER BY
    subject_id$byte_order, visit_number NULLS LAST, visit$byte_order, unplanned_specimen$byte_order,
    assay$byte_order, measurand$byte_order
""")


def timepoint_query(dialect: Dialect, *, as_of: str = AS_OF) -> str:
    """Return the SELECT that computes the timepoint table, in its order.

    Parameters
    ----------
    as_of
        The day as an SQL expression; by default the one bound to ``:as_of`` as ISO 8601 text.
    """
    table = _TABLE.substitute(_words(dialect), as_of=as_of, rows=f"({computed_rows(dialect, as_of=as_of)}) AS computed")
    return table + in_order(dialect)


def kept_rows(dialect: Dialect, *, as_of: str) -> str:
    """Return the SELECT that gives the timepoint table from the rows kept, as of a day given as an SQL expression.

    The day must not lie before the one on which the rows were kept: specimens collected since are shown. More conditions may
    follow it, and :func:`in_order`.
    """
    return (
        _TABLE.substitute(_words(dialect), as_of=as_of, rows="timepoint_row")
        + f"WHERE shown_from <= {as_of} AND {as_of} < shown_until"
    )


def in_order(dialect: Dialect) -> str:
    """Return the clause that puts computed or kept rows in the order of the table."""
    return _IN_ORDER.substitute(byte_order=BYTE_ORDER[dialect])


def today(dialect: Dialect) -> str:
    """Return the SQL expression for the current day in UTC."""
    return _TODAY[dialect]


def create_view_sql(dialect: Dialect) -> str:
    """Return the statement that makes the view ``timepoint``, which holds for the current day in UTC.

    It has no order of its own, which grouping it would pay for.
    """
    return f"CREATE VIEW {VIEW_NAME} AS {kept_rows(dialect, as_of=_TODAY[dialect])}"


def drop_view_sql() -> str:
    """Return the statement that removes the view, so that a revision can make a newer one."""
    return f"DROP VIEW IF EXISTS {VIEW_NAME}"


def _words(dialect: Dialect) -> dict[str, str]:
    return {**{status.name.lower(): status.value for status in Status}, "in_window": _TRUTH[dialect]}
