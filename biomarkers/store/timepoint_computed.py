"""The rows of the timepoint table, computed from what was recorded: the rules of ``biomarkers.timepoints`` in SQL.

Knows the tables of the store and gives the rows of Python bit for bit. Must not know an arm, which day it is, nor when rows are
kept. Change both together; the tests hold one against the other on both engines.
"""

from __future__ import annotations

from string import Template
from typing import Literal, TypeAlias

from biomarkers.study.definition import BASELINE_VISIT
from biomarkers.timepoints.alignment import Status
from biomarkers.timepoints.change import MATRIX_CHANGED, UNIT_CHANGED

Dialect: TypeAlias = Literal["sqlite", "postgresql"]

AS_OF = "CAST(:as_of AS TEXT)"
"""The day bound to ``:as_of``."""

BYTE_ORDER: dict[Dialect, str] = {"sqlite": "", "postgresql": ' COLLATE "C"'}
"""SQLite compares text by its bytes, as Python does; PostgreSQL must be told, or the server's language decides."""

_POSITION: dict[Dialect, str] = {"sqlite": "instr", "postgresql": "strpos"}

_MERGED_CODES: dict[Dialect, str] = {
    # A running concatenation over a window has a defined order in SQLite, which a plain group_concat has not.
    "sqlite": """(
        SELECT group_concat(code, ';') OVER (ORDER BY code)
        FROM (
            SELECT DISTINCT value AS code
            FROM json_each('["' || replace($codes, ';', '","') || '"]')
            WHERE value <> ''
        ) AS split
        ORDER BY code DESC
        LIMIT 1
    )""",
    "postgresql": """(
        SELECT string_agg(code, ';' ORDER BY code COLLATE "C")
        FROM (SELECT DISTINCT unnest(string_to_array($codes, ';')) AS code) AS split
        WHERE code <> ''
    )""",
}

_JOINED_REMARKS: dict[Dialect, str] = {
    "sqlite": "group_concat(';' || remark.code, '')",
    "postgresql": "string_agg(';' || remark.code, '')",
}
"""Their order does not matter: codes are sorted when they are merged."""

_LATEST_SET = "(SELECT max(id) FROM alignment_set)"

_ASKED: dict[Dialect, str] = {
    "sqlite": """asked AS MATERIALIZED (
    SELECT json_extract(value, '$[0]') AS subject_id, json_extract(value, '$[1]') AS measurand FROM json_each(:asked)
),""",
    "postgresql": """asked AS MATERIALIZED (
    SELECT pair ->> 0 AS subject_id, pair ->> 1 AS measurand
    FROM jsonb_array_elements(CAST(:asked AS jsonb)) AS listed(pair)
),""",
}
"""Pairs of subject and measurand, given as JSON: ``[["S-001", "IL6"], ...]``."""

_IS_SHOWN = Template("""specimen.set_id = $latest_set
      AND specimen.chosen = 1
      AND specimen.visit IS NOT NULL
      AND specimen.collected_on <= $as_of
      AND NOT EXISTS (
          SELECT 1 FROM due_cell AS withdrawn
          WHERE withdrawn.set_id = specimen.set_id
            AND withdrawn.subject_id = specimen.subject_id
            AND withdrawn.hidden = 1
      )""")
"""Which specimens the table knows: chosen ones, collected by then, of subjects who have not withdrawn their consent."""

# CROSS JOIN keeps SQLite from reordering: what is asked, else the few specimens, lead by an index to cells and results.
# PostgreSQL plans freely.
_ROWS = Template("""
WITH
$asked
entry AS (
    SELECT
        cell.subject_id, cell.visit, cell.visit_number, '' AS unplanned_specimen, cell.measurand, cell.assay,
        cell.window_last, cell.not_expected_from, CAST(cell.hidden AS INTEGER) AS is_hidden,
        CAST(NULL AS TEXT) AS accession_id, CAST(NULL AS TEXT) AS material, CAST(NULL AS TEXT) AS collected_on,
        CAST(NULL AS INTEGER) AS study_day, CAST(NULL AS INTEGER) AS days_from_target, CAST(NULL AS INTEGER) AS in_window,
        '' AS specimen_codes,
        CAST(NULL AS TEXT) AS result_id, 0 AS evaluable, CAST(NULL AS DOUBLE PRECISION) AS value,
        CAST(NULL AS TEXT) AS comparator, cell.unit, CAST(NULL AS DOUBLE PRECISION) AS lower,
        CAST(NULL AS DOUBLE PRECISION) AS upper, CAST(NULL AS TEXT) AS denominator, CAST(NULL AS INTEGER) AS n_replicates,
        CAST(NULL AS TEXT) AS run_id, CAST(NULL AS TEXT) AS source_sha256, '' AS result_codes,
        $standing_due AS standing, 0 AS run_order
    FROM $asked_first due_cell AS cell
    WHERE cell.set_id = $latest_set
      $cell_is_asked
    UNION ALL
    SELECT
        cell.subject_id, cell.visit, cell.visit_number, '', cell.measurand, cell.assay,
        NULL, NULL, 0,
        specimen.accession_id, specimen.material, specimen.collected_on,
        specimen.study_day, specimen.days_from_target, CAST(specimen.in_window AS INTEGER),
        specimen.finding_codes,
        NULL, 0, NULL, NULL, cell.unit, NULL, NULL, NULL, NULL, NULL, NULL, '',
        $standing_received, 0
    FROM $asked_first alignment AS specimen
    CROSS JOIN due_cell AS cell
    WHERE $is_shown
      $specimen_is_asked
      $cell_is_asked
      AND cell.set_id = $latest_set
      AND cell.subject_id = specimen.subject_id
      AND cell.visit = specimen.visit
      AND $position(';' || cell.materials || ';', ';' || specimen.material || ';') > 0
    UNION ALL
    SELECT
        specimen.subject_id, specimen.visit, specimen.visit_number,
        CASE WHEN specimen.visit_number IS NULL THEN specimen.collected_on || ' ' || specimen.accession_id ELSE '' END,
        result.measurand, result.assay,
        NULL, NULL, 0,
        specimen.accession_id, specimen.material, specimen.collected_on,
        specimen.study_day, specimen.days_from_target, CAST(specimen.in_window AS INTEGER),
        specimen.finding_codes,
        result.result_id, CAST(result.evaluable AS INTEGER),
        CASE WHEN CAST(result.evaluable AS INTEGER) = 1 THEN result.value END,
        CASE WHEN CAST(result.evaluable AS INTEGER) = 1 THEN result.comparator END,
        result.unit,
        CASE WHEN CAST(result.evaluable AS INTEGER) = 1 THEN result.lower END,
        CASE WHEN CAST(result.evaluable AS INTEGER) = 1 THEN result.upper END,
        result.denominator, result.n_replicates, result.run_id, analysis.source_sha256s,
        result.finding_codes || COALESCE((
            SELECT $joined_remarks
            FROM remark
            WHERE remark.run_id = result.run_id
              AND remark.accession_id IN ('', result.accession_id)
              AND remark.measurand IN ('', result.measurand)
              AND NOT EXISTS (SELECT 1 FROM supersession WHERE supersession.old_analysis_id = remark.analysis_id)
        ), ''),
        CASE WHEN decided.decision = 'reportable' THEN $standing_declared ELSE $standing_measured END,
        COALESCE((
            SELECT min(source_first.id)
            FROM derived_from
            JOIN result AS source
              ON source.analysis_id = derived_from.source_analysis_id AND source.result_id = derived_from.source_result_id
            JOIN analysis AS source_first ON source_first.run_id = source.run_id
            WHERE derived_from.analysis_id = result.analysis_id
              AND CAST(derived_from.replaces AS INTEGER) = 1
              AND source.accession_id = result.accession_id
              AND source.measurand = result.measurand
        ), (SELECT min(first.id) FROM analysis AS first WHERE first.run_id = result.run_id))
    FROM $asked_first alignment AS specimen
    CROSS JOIN result
    CROSS JOIN analysis
    LEFT JOIN disposition AS decided
      ON decided.id = (SELECT max(later.id) FROM disposition AS later WHERE later.result_id = result.result_id)
    WHERE $is_shown
      $specimen_is_asked
      $result_is_asked
      AND result.accession_id = specimen.accession_id
      AND analysis.analysis_id = result.analysis_id
      AND NOT EXISTS (SELECT 1 FROM supersession WHERE supersession.old_analysis_id = analysis.analysis_id)
      AND NOT EXISTS (
          SELECT 1 FROM derived_from AS taken
          WHERE taken.source_result_id = result.result_id
            AND CAST(taken.replaces AS INTEGER) = 1
            AND NOT EXISTS (SELECT 1 FROM supersession WHERE supersession.old_analysis_id = taken.analysis_id)
      )
      AND COALESCE(decided.decision, '') NOT IN ('repeated', 'excluded')
),
ranked AS (
    SELECT
        entry.*,
        row_number() OVER (
            PARTITION BY entry.subject_id, entry.visit, entry.unplanned_specimen, entry.measurand
            ORDER BY
                entry.standing, entry.evaluable DESC, entry.run_order, entry.result_id$byte_order,
                entry.accession_id$byte_order
        ) AS place
    FROM entry
),
judged AS (
    SELECT
        ranked.*,
        CASE
            WHEN result_id IS NOT NULL AND evaluable = 0 THEN '$not_evaluable'
            WHEN result_id IS NOT NULL AND comparator = '<' THEN '$below_range'
            WHEN result_id IS NOT NULL AND comparator = '>' THEN '$above_range'
            WHEN result_id IS NOT NULL THEN '$measured'
            WHEN is_hidden = 1 THEN '$not_expected'
            WHEN accession_id IS NOT NULL THEN '$pending'
            ELSE ''
        END AS lasting_status
    FROM ranked
    WHERE place = 1
),
with_baseline AS (
    SELECT
        judged.*,
        max(CASE WHEN visit = '$baseline' THEN value END) OVER course AS baseline_value,
        max(CASE WHEN visit = '$baseline' AND value IS NOT NULL THEN comparator END) OVER course AS baseline_comparator,
        max(CASE WHEN visit = '$baseline' AND value IS NOT NULL THEN unit END) OVER course AS baseline_unit,
        max(CASE WHEN visit = '$baseline' AND value IS NOT NULL THEN material END) OVER course AS baseline_material,
        max(CASE WHEN visit = '$baseline' AND value IS NOT NULL THEN collected_on END) OVER course AS baseline_collected_on,
        max(CASE WHEN visit = '$baseline' AND value IS NOT NULL THEN run_id END) OVER course AS run_of_baseline
    FROM judged
    WINDOW course AS (PARTITION BY subject_id, measurand)
),
met AS (
    SELECT
        with_baseline.*,
        CASE
            WHEN value IS NOT NULL AND visit <> '$baseline' AND baseline_collected_on <= collected_on THEN 1 ELSE 0
        END AS has_baseline
    FROM with_baseline
),
compared AS (
    SELECT
        met.*,
        CASE WHEN has_baseline = 1 AND material = baseline_material AND unit = baseline_unit THEN 1 ELSE 0 END AS comparable,
        CASE WHEN has_baseline = 1 AND material <> baseline_material THEN '$matrix_changed' ELSE '' END AS matrix_code,
        CASE WHEN has_baseline = 1 AND unit <> baseline_unit THEN '$unit_changed' ELSE '' END AS unit_code
    FROM met
),
told AS (
    SELECT
        compared.*,
        specimen_codes || ';' || result_codes || ';' || matrix_code || ';' || unit_code AS codes,
        CASE WHEN comparable = 1 AND comparator = '' AND baseline_comparator = '' THEN 1 ELSE 0 END AS exact,
        CASE WHEN comparable = 1 AND (comparator <> '' OR baseline_comparator <> '') THEN 1 ELSE 0 END AS bounded,
        CASE WHEN comparator = '<' THEN CAST(0 AS DOUBLE PRECISION) ELSE value END AS possible_least,
        CASE WHEN comparator <> '>' THEN value END AS possible_greatest,
        CASE WHEN baseline_comparator = '<' THEN CAST(0 AS DOUBLE PRECISION) ELSE baseline_value END AS baseline_least,
        CASE WHEN baseline_comparator <> '>' THEN baseline_value END AS baseline_greatest
    FROM compared
)
SELECT
    measurand,
    subject_id,
    visit,
    unplanned_specimen,
    visit_number,
    study_day,
    days_from_target,
    in_window,
    assay,
    lasting_status,
    window_last,
    not_expected_from,
    value,
    comparator,
    CASE
        WHEN unit <> '' THEN unit
        ELSE (
            SELECT cell.unit
            FROM due_cell AS cell
            WHERE cell.set_id = $latest_set
              AND cell.subject_id = told.subject_id
              AND cell.visit = told.visit
              AND cell.measurand = told.measurand
        )
    END AS unit,
    lower,
    upper,
    denominator,
    CASE WHEN comparable = 1 AND baseline_comparator = '' THEN baseline_value END AS baseline,
    CASE WHEN exact = 1 THEN value - baseline_value END AS change,
    CASE
        WHEN exact = 1 AND baseline_value > 0
        THEN CAST(100 AS DOUBLE PRECISION) * (value - baseline_value) / baseline_value
    END AS percent_change,
    CASE WHEN bounded = 1 THEN possible_least - baseline_greatest END AS change_bound_lower,
    CASE WHEN bounded = 1 THEN possible_greatest - baseline_least END AS change_bound_upper,
    n_replicates,
    CASE WHEN codes = ';;;' THEN '' ELSE $merged_codes END AS findings,
    accession_id,
    run_id,
    CASE WHEN comparable = 1 THEN run_of_baseline END AS baseline_run_id,
    result_id,
    source_sha256
FROM told
""")
"""The rows of some subjects and measurands, or of all, with the specimens collected by some day."""


def computed_rows(dialect: Dialect, *, asked: bool = False, as_of: str = AS_OF) -> str:
    """Return the SELECT that computes what the table ``timepoint_row`` keeps, but for the days on which it is shown.

    Parameters
    ----------
    asked
        Only of the subjects and measurands bound to ``:asked``, pairs as JSON; else of all.
    as_of
        The day as an SQL expression.
    """
    return _ROWS.substitute(
        {status.name.lower(): status.value for status in Status},
        latest_set=_LATEST_SET,
        is_shown=_IS_SHOWN.substitute(latest_set=_LATEST_SET, as_of=as_of),
        asked=_ASKED[dialect] if asked else "",
        asked_first="asked CROSS JOIN" if asked else "",
        cell_is_asked="AND cell.subject_id = asked.subject_id AND cell.measurand = asked.measurand" if asked else "",
        specimen_is_asked="AND specimen.subject_id = asked.subject_id" if asked else "",
        result_is_asked="AND result.measurand = asked.measurand" if asked else "",
        # What stands highest is shown: a result somebody declared reportable, any result, a specimen, the bare expectation.
        standing_declared=0,
        standing_measured=1,
        standing_received=2,
        standing_due=3,
        byte_order=BYTE_ORDER[dialect],
        position=_POSITION[dialect],
        joined_remarks=_JOINED_REMARKS[dialect],
        merged_codes=Template(_MERGED_CODES[dialect]).substitute(codes="told.codes"),
        baseline=BASELINE_VISIT,
        matrix_changed=MATRIX_CHANGED,
        unit_changed=UNIT_CHANGED,
    )
