"""A laboratory of a million results, made by the database itself: 2 500 subjects, 4 visits, 100 measurands on 25 000 plates.

Every measurand is due at every visit, so that the table has a million rows; one result in seven is a bound.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

SUBJECTS, VISITS, MEASURANDS, SPECIMENS_A_PLATE = 2_500, 4, 100, 40
RESULTS = SUBJECTS * VISITS * MEASURANDS

_SERIES = {
    "sqlite": (
        "(WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n < {last}) SELECT n FROM counted)"
    ),
    "postgresql": "(SELECT n FROM generate_series(0, {last}) AS counted(n))",
}

_VISITS = (
    "(SELECT 0 AS v, 'BASELINE' AS code UNION ALL SELECT 1, 'C2D1' UNION ALL SELECT 2, 'C6D1' "
    "UNION ALL SELECT 3, 'PROGRESSION')"
)

_STATEMENTS = (
    """INSERT INTO definition (kind, name, sha256, content, recorded_at)
       VALUES ('study', 'a-study', '{zeros}', '{{}}', '2026-01-01T00:00:00.000000Z')""",
    "INSERT INTO alignment_set (id, recorded_at, digest) VALUES ({set_id}, '2026-01-01T00:00:00.000000Z', 'd')",
    """INSERT INTO alignment (set_id, accession_id, subject_id, material, visit, visit_number, rule, study_day,
                              days_from_target, in_window, chosen, finding_codes, collected_on, note)
       SELECT {set_id}, 'A' || (1000000 + s.n * 4 + v.v), 'S' || (10000 + s.n), 'PLASMA', v.code, v.v + 1, 'label',
              1 + 21 * v.v, 0, 1, 1, '', '2025-0' || (v.v + 1) || '-10', ''
       FROM {subjects} AS s CROSS JOIN {visits} AS v""",
    """INSERT INTO due_cell (set_id, subject_id, visit, visit_number, assay, measurand, unit, materials, window_first,
                             window_last, target_date, not_expected_from, not_expected_reason, hidden)
       SELECT {set_id}, 'S' || (10000 + s.n), v.code, v.v + 1, 'elisa', 'M' || (100 + m.n), 'pg/mL', 'PLASMA', '2025-01-01',
              '2025-12-31', '2025-06-01', NULL, '', 0
       FROM {subjects} AS s CROSS JOIN {visits} AS v CROSS JOIN {measurands} AS m""",
    """INSERT INTO analysis (analysis_id, content_id, run_id, assay, step, name, acquired_at, instrument_sha256,
                             source_sha256s, provenance, parameters, software, finding_codes, recorded_at, reason, more)
       SELECT 'a-' || m.n || '-' || p.n, 'c', 'run-' || m.n || '-' || p.n, 'elisa', '', 'P', '', '{zeros}', '{zeros}', '{{}}',
              '{{}}', 'biomarkers', '', '2026-01-01T00:00:00.000000Z', '', '{{}}'
       FROM {plates} AS p CROSS JOIN {measurands} AS m""",
    """INSERT INTO result (analysis_id, result_id, ordinal, run_id, accession_id, assay, measurand, value, comparator, unit,
                           lower, upper, level, denominator, n_replicates, evaluable, finding_codes)
       SELECT 'a-' || m.n || '-' || ((s.n * 4 + v.v) / {on_a_plate}), 'r-' || s.n || '-' || v.v || '-' || m.n, 0,
              'run-' || m.n || '-' || ((s.n * 4 + v.v) / {on_a_plate}), 'A' || (1000000 + s.n * 4 + v.v), 'elisa',
              'M' || (100 + m.n), 1.0 + (s.n * 7919 + m.n * 104729 + v.v * 31) % 1000,
              CASE WHEN (s.n + m.n) % 7 = 0 THEN '<' ELSE '' END, 'pg/mL', 1.0, 2000.0, 0.95, '', 2, 1,
              CASE WHEN (s.n + m.n) % 5 = 0 THEN 'REPLICATE_CV' ELSE '' END
       FROM {subjects} AS s CROSS JOIN {visits} AS v CROSS JOIN {measurands} AS m""",
)


def fill(connection: Connection, dialect: str, *, set_id: int = 1) -> None:
    """Fill an empty laboratory's tables; nothing checks keys meanwhile, which the numbers above keep by themselves.

    A laboratory that has a study, and sets of alignments already, gets a further one.
    """

    def series(count: int) -> str:
        return _SERIES[dialect].format(last=count - 1)

    if dialect == "postgresql":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
    for statement in _STATEMENTS[0 if set_id == 1 else 1 :]:
        filled = statement.format(
            zeros="0" * 64,
            subjects=series(SUBJECTS),
            measurands=series(MEASURANDS),
            plates=series(SUBJECTS * VISITS // SPECIMENS_A_PLATE),
            visits=_VISITS,
            on_a_plate=SPECIMENS_A_PLATE,
            set_id=set_id,
        )
        connection.exec_driver_sql(filled.replace("%", "%%") if dialect == "postgresql" else filled)
