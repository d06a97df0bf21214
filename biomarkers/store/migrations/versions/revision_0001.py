"""The first tables: files, work, runs with their evidence, study lists, alignment, audit trail, and the timepoint view."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from biomarkers.errors import StoreError
from biomarkers.store.migrations.building import (
    BIG,
    REAL,
    check,
    count_columns,
    create,
    index,
    number_columns,
    primary_key,
    refers,
    text_column,
    text_columns,
    unique,
)
from biomarkers.store.migrations.first_people import make_people, make_proposals, make_trail
from biomarkers.store.timepoint_view import create_view_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "source_file",
    "analysis",
    "analysis_source",
    "result",
    "finding",
    "supersession",
    "disposition",
    "derived_from",
    "remark",
    "well_mask",
    "well",
    "curve",
    "calibrator",
    "verdict",
    "control",
    "acquisition",
    "population",
    "slide",
    "score",
    "study_list",
    "subject",
    "specimen",
    "actual_visit",
    "lot_entry",
    "blood_count",
    "pathology_reading",
    "shipped_specimen",
    "definition",
    "alignment_set",
    "alignment",
    "due_cell",
    "audit_event",
    "account",
    "credential",
    "credential_end",
    "signature",
    "proposal",
    "proposal_answer",
)


def upgrade() -> None:
    """Make every table, the triggers that keep rows as they were written, and the view."""
    _make_files_and_work()
    _make_runs()
    _make_second_steps()
    _make_plates()
    _make_acquisitions_and_slides()
    _make_study()
    _make_visits()
    _make_timepoints()
    make_trail()
    make_people()
    make_proposals()
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        _refuse_changes_on_sqlite()
    else:
        _refuse_changes_on_postgresql()
    op.execute(create_view_sql("sqlite" if sqlite else "postgresql"))


def downgrade() -> None:
    """Refuse: versions go forward only, and what was recorded stays."""
    raise StoreError(
        what="A laboratory's database is never taken back to an older version.",
        where="Revision 0001.",
        remedy="Restore a backup made before the newer version was installed.",
    )


def _make_files_and_work() -> None:
    """Make room for files received and the work to be done."""
    open_drop = sa.text("acknowledged_at IS NULL")
    create(
        "source_file",
        text_column("sha256"),
        sa.Column("size", BIG, nullable=False),
        *text_columns("assay", "kind", "first_name", "received_at"),
        primary_key("source_file", "sha256"),
        check("source_file", "assay", "assay IN ('elisa', 'cytometry', 'ihc', 'study')"),
        check("source_file", "sha256", "length(sha256) = 64"),
        check("source_file", "size", "size >= 0"),
    )
    create(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("drop_id", "assay", "name"),
        text_column("sha256", nullable=True),
        sa.Column("size", BIG, nullable=False),
        sa.Column("mtime_ns", BIG, nullable=False),
        *text_columns("state", "what", "where_", "remedy", "error_kind", "owner"),
        text_column("lease_until", nullable=True),
        *count_columns("attempts"),
        text_column("received_at"),
        text_column("finished_at", nullable=True),
        text_column("acknowledged_at", nullable=True),
        text_column("settled_name"),
        primary_key("job", "id"),
        check("job", "assay", "assay IN ('elisa', 'cytometry', 'ihc', 'study')"),
        check("job", "attempts", "attempts >= 0"),
        check("job", "finished", "(state IN ('recorded', 'seen', 'quarantined')) = (finished_at IS NOT NULL)"),
        check("job", "lease", "(state = 'running') = (lease_until IS NOT NULL)"),
        check("job", "size", "size >= 0"),
        check("job", "state", "state IN ('waiting', 'queued', 'running', 'recorded', 'seen', 'quarantined')"),
    )
    index("job", "state")
    op.create_index("uq_job_open_drop", "job", ["drop_id"], unique=True, sqlite_where=open_drop, postgresql_where=open_drop)


def _make_runs() -> None:
    """Make room for runs as analysed, their results, and what was decided about them."""
    create(
        "analysis",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns(
            "analysis_id",
            "content_id",
            "run_id",
            "assay",
            "step",
            "name",
            "acquired_at",
            "instrument_sha256",
            "source_sha256s",
            "provenance",
            "parameters",
            "software",
            "finding_codes",
            "recorded_at",
            "reason",
            "more",
        ),
        primary_key("analysis", "id"),
        unique("analysis", "analysis_id"),
        check("analysis", "assay", "assay IN ('elisa', 'cytometry', 'ihc')"),
    )
    index("analysis", "instrument_sha256")
    index("analysis", "run_id")
    index("analysis", "step")
    create(
        "analysis_source",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("role", "name", "sha256"),
        primary_key("analysis_source", "analysis_id", "ordinal"),
        refers("analysis_source", ("analysis_id",), "analysis", ("analysis_id",)),
        refers("analysis_source", ("sha256",), "source_file", ("sha256",)),
    )
    index("analysis_source", "sha256")
    create(
        "result",
        *text_columns("analysis_id", "result_id"),
        *count_columns("ordinal"),
        *text_columns("run_id", "accession_id", "assay", "measurand"),
        *number_columns("value"),
        *text_columns("comparator", "unit"),
        *number_columns("lower", "upper", "level"),
        text_column("denominator"),
        sa.Column("n_replicates", sa.Integer(), nullable=True),
        *count_columns("evaluable"),
        text_column("finding_codes"),
        primary_key("result", "analysis_id", "result_id"),
        refers("result", ("analysis_id",), "analysis", ("analysis_id",)),
        unique("result", "analysis_id", "accession_id", "measurand"),
        check("result", "assay", "assay IN ('elisa', 'cytometry', 'ihc')"),
        check("result", "comparator", "comparator IN ('', '<', '>')"),
        check("result", "evaluable", "evaluable IN (0, 1)"),
        check("result", "value", "(evaluable = 1) = (value IS NOT NULL)"),
    )
    index("result", "accession_id", "measurand")
    index("result", "result_id")
    create(
        "finding",
        sa.Column("id", sa.Integer(), nullable=False),
        text_column("analysis_id"),
        text_column("result_id", nullable=True),
        *count_columns("ordinal"),
        *text_columns("code", "severity", "where_", "message", "remedy"),
        primary_key("finding", "id"),
        refers("finding", ("analysis_id",), "analysis", ("analysis_id",)),
        refers("finding", ("analysis_id", "result_id"), "result", ("analysis_id", "result_id")),
        check("finding", "severity", "severity IN ('note', 'warning', 'reject')"),
    )
    index("finding", "analysis_id", "result_id")

    create(
        "supersession",
        *text_columns("old_analysis_id", "new_analysis_id", "reason", "recorded_at"),
        primary_key("supersession", "old_analysis_id"),
        refers("supersession", ("new_analysis_id",), "analysis", ("analysis_id",)),
        refers("supersession", ("old_analysis_id",), "analysis", ("analysis_id",)),
        check("supersession", "another", "old_analysis_id <> new_analysis_id"),
        check("supersession", "reason", "reason <> ''"),
    )
    index("supersession", "new_analysis_id")
    create(
        "disposition",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("result_id", "decision", "reason", "decided_by", "decided_at"),
        primary_key("disposition", "id"),
        check("disposition", "decided_by", "decided_by <> ''"),
        check("disposition", "decision", "decision IN ('reportable', 'repeated', 'excluded')"),
        check("disposition", "reason", "reason <> ''"),
    )
    index("disposition", "result_id")


def _make_second_steps() -> None:
    """Make room for what is derived from other results, and for wells a person has masked."""
    create(
        "derived_from",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("source_analysis_id", "source_result_id"),
        *count_columns("replaces"),
        primary_key("derived_from", "analysis_id", "ordinal"),
        refers("derived_from", ("analysis_id",), "analysis", ("analysis_id",)),
        refers("derived_from", ("source_analysis_id", "source_result_id"), "result", ("analysis_id", "result_id")),
        check("derived_from", "replaces", "replaces IN (0, 1)"),
    )
    index("derived_from", "source_result_id")
    create(
        "remark",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("run_id", "accession_id", "measurand", "code"),
        primary_key("remark", "analysis_id", "ordinal"),
        refers("remark", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    index("remark", "run_id")
    create(
        "well_mask",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("run_id", "position"),
        *count_columns("masked"),
        *text_columns("reason", "decided_by", "decided_at"),
        primary_key("well_mask", "id"),
        check("well_mask", "decided_by", "decided_by <> ''"),
        check("well_mask", "masked", "masked IN (0, 1)"),
        check("well_mask", "reason", "reason <> ''"),
    )
    index("well_mask", "run_id")


def _make_plates() -> None:
    """Make room for the evidence behind ELISA results."""
    create(
        "well",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("position", "role", "slot", "analyte", "accession_id", "raw_text"),
        *number_columns("response"),
        *text_columns("flag", "mask_reason"),
        *number_columns("dilution_factor", "concentration"),
        *text_columns("comparator", "more"),
        primary_key("well", "analysis_id", "ordinal"),
        refers("well", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    create(
        "curve",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("analyte", "unit", "model", "weights", "replicates", "parameters", "standard_errors", "covariance"),
        *number_columns("rss", "residual_sd"),
        *count_columns("degrees_of_freedom"),
        *number_columns("lloq", "uloq"),
        text_column("more"),
        primary_key("curve", "analysis_id", "ordinal"),
        refers("curve", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    create(
        "calibrator",
        text_column("analysis_id"),
        sa.Column("curve_ordinal", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *number_columns("nominal", "mean_response", "back_calculated", "recovery_percent"),
        *count_columns("n_wells", "n_masked"),
        text_column("more"),
        primary_key("calibrator", "analysis_id", "curve_ordinal", "ordinal"),
        refers("calibrator", ("analysis_id", "curve_ordinal"), "curve", ("analysis_id", "ordinal")),
    )
    create(
        "verdict",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("analyte", "verdict", "sentence", "rules", "more"),
        primary_key("verdict", "analysis_id", "ordinal"),
        refers("verdict", ("analysis_id",), "analysis", ("analysis_id",)),
        check("verdict", "verdict", "verdict IN ('accepted', 'accepted_with_findings', 'rejected')"),
    )
    create(
        "control",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("analyte", "slot", "kit_lot"),
        *number_columns("nominal", "lower", "upper"),
        text_column("concentrations"),
        *number_columns("mean", "recovery_percent"),
        *count_columns("wells_read", "wells_passing"),
        text_column("more"),
        primary_key("control", "analysis_id", "ordinal"),
        refers("control", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    index("control", "analyte", "kit_lot")


def _make_acquisitions_and_slides() -> None:
    """Make room for the evidence behind cytometry and immunohistochemistry."""
    create(
        "acquisition",
        *text_columns("analysis_id", "panel"),
        sa.Column("events", BIG, nullable=False),
        primary_key("acquisition", "analysis_id"),
        refers("acquisition", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    create(
        "population",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("name", "parent", "denominator"),
        sa.Column("count", BIG, nullable=False),
        sa.Column("parent_count", BIG, nullable=False),
        *number_columns("frequency_percent", "lower", "upper"),
        text_column("median_intensity"),
        *number_columns("quality"),
        text_column("cuts"),
        *count_columns("reportable"),
        *text_columns("findings", "more"),
        primary_key("population", "analysis_id", "ordinal"),
        refers("population", ("analysis_id",), "analysis", ("analysis_id",)),
        check("population", "reportable", "reportable IN (0, 1)"),
    )
    create(
        "slide",
        *text_columns("analysis_id", "stain"),
        *number_columns("pixel_size_um"),
        *text_columns("stain_vectors", "white_point"),
        primary_key("slide", "analysis_id"),
        refers("slide", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    create(
        "score",
        text_column("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("region", "stain"),
        *number_columns("area_mm2"),
        sa.Column("cells", BIG, nullable=False),
        sa.Column("positive", BIG, nullable=False),
        text_column("class_counts"),
        *number_columns("positive_percent", "density_per_mm2", "h_score"),
        *text_columns("intervals", "findings", "more"),
        primary_key("score", "analysis_id", "ordinal"),
        refers("score", ("analysis_id",), "analysis", ("analysis_id",)),
    )


def _make_study() -> None:
    """Make room for study files and declarations."""
    create(
        "study_list",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("kind", "sha256", "recorded_at"),
        primary_key("study_list", "id"),
        check(
            "study_list",
            "kind",
            "kind IN ('roster', 'specimens', 'visits', 'lots', 'haematology', 'pathology', 'shipments')",
        ),
    )
    index("study_list", "kind")
    create(
        "subject",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("subject_id", "site"),
        text_column("treatment_start", nullable=True),
        text_column("randomised_on", nullable=True),
        text_column("treatment_end", nullable=True),
        text_column("progression_date", nullable=True),
        text_column("next_therapy_start", nullable=True),
        text_column("off_study_date", nullable=True),
        text_column("off_study_reason"),
        text_column("death_date", nullable=True),
        text_column("consent_withdrawn_on", nullable=True),
        primary_key("subject", "list_id", "subject_id"),
        refers("subject", ("list_id",), "study_list", ("id",)),
    )
    create(
        "specimen",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("accession_id", "subject_id", "material", "collected_at", "nominal_visit", "parent_accession_id"),
        text_column("received_at", nullable=True),
        *text_columns("condition", "anticoagulant"),
        text_column("processed_at", nullable=True),
        text_column("frozen_at", nullable=True),
        sa.Column("freeze_thaw", sa.Integer(), nullable=True),
        text_column("hemolysis"),
        *number_columns("volume_ul"),
        text_column("fixed_at", nullable=True),
        *text_columns("tissue_source", "lesion", "block"),
        primary_key("specimen", "list_id", "accession_id"),
        refers("specimen", ("list_id",), "study_list", ("id",)),
    )
    create(
        "actual_visit",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("subject_id", "visit"),
        text_column("actual_date", nullable=True),
        *text_columns("status", "reason"),
        primary_key("actual_visit", "list_id", "ordinal"),
        refers("actual_visit", ("list_id",), "study_list", ("id",)),
    )
    create(
        "lot_entry",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("analyte", "kit_lot"),
        text_column("expires_on", nullable=True),
        text_column("slot"),
        *number_columns("value", "lower", "upper"),
        primary_key("lot_entry", "list_id", "ordinal"),
        refers("lot_entry", ("list_id",), "study_list", ("id",)),
    )
    create(
        "blood_count",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("accession_id", "subject_id"),
        text_column("day", nullable=True),
        sa.Column("lymphocytes_per_ul", REAL, nullable=False),
        primary_key("blood_count", "list_id", "ordinal"),
        refers("blood_count", ("list_id",), "study_list", ("id",)),
    )
    create(
        "pathology_reading",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        text_column("accession_id"),
        *count_columns("tumour_present"),
        *number_columns("viable_tumour_percent", "necrosis_percent"),
        text_column("reader"),
        primary_key("pathology_reading", "list_id", "ordinal"),
        refers("pathology_reading", ("list_id",), "study_list", ("id",)),
        check("pathology_reading", "tumour_present", "tumour_present IN (0, 1)"),
    )
    create(
        "shipped_specimen",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("accession_id", "shipped_on", "box", "position"),
        primary_key("shipped_specimen", "list_id", "ordinal"),
        refers("shipped_specimen", ("list_id",), "study_list", ("id",)),
    )
    create(
        "definition",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("kind", "name", "sha256", "content", "recorded_at"),
        primary_key("definition", "id"),
        check("definition", "kind", "kind IN ('study', 'layout', 'panel', 'stain_protocol')"),
    )
    index("definition", "kind", "name")
    index("definition", "sha256")


def _make_visits() -> None:
    """Make room for the visit each specimen belongs to, and for what is due."""
    create(
        "alignment_set",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("recorded_at", "digest"),
        primary_key("alignment_set", "id"),
    )
    create(
        "alignment",
        sa.Column("set_id", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("accession_id", "subject_id", "material"),
        text_column("visit", nullable=True),
        sa.Column("visit_number", sa.Integer(), nullable=True),
        text_column("rule"),
        sa.Column("study_day", sa.Integer(), nullable=True),
        sa.Column("days_from_target", sa.Integer(), nullable=True),
        sa.Column("in_window", sa.Integer(), nullable=True),
        *count_columns("chosen"),
        *text_columns("finding_codes", "collected_on", "note"),
        primary_key("alignment", "set_id", "accession_id"),
        refers("alignment", ("set_id",), "alignment_set", ("id",)),
        check("alignment", "chosen", "chosen IN (0, 1)"),
        check("alignment", "in_window", "in_window IN (0, 1)"),
    )
    index("alignment", "set_id", "subject_id")
    create(
        "due_cell",
        sa.Column("set_id", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("subject_id", "visit"),
        *count_columns("visit_number"),
        *text_columns("assay", "measurand", "unit", "materials"),
        text_column("window_first", nullable=True),
        text_column("window_last", nullable=True),
        text_column("target_date", nullable=True),
        text_column("not_expected_from", nullable=True),
        text_column("not_expected_reason"),
        *count_columns("hidden"),
        primary_key("due_cell", "set_id", "subject_id", "visit", "measurand"),
        refers("due_cell", ("set_id",), "alignment_set", ("id",)),
        check("due_cell", "assay", "assay IN ('elisa', 'cytometry', 'ihc')"),
        check("due_cell", "hidden", "hidden IN (0, 1)"),
    )
    index("due_cell", "set_id", "subject_id", "measurand")
    index("due_cell", "set_id", "hidden", "subject_id")


def _make_timepoints() -> None:
    """Make room for the rows kept of the timepoint table."""
    op.create_table(
        "timepoint_row",
        *text_columns("measurand", "subject_id", "visit", "unplanned_specimen", "shown_from", "shown_until"),
        sa.Column("visit_number", sa.Integer(), nullable=True),
        sa.Column("study_day", sa.Integer(), nullable=True),
        sa.Column("days_from_target", sa.Integer(), nullable=True),
        sa.Column("in_window", sa.Integer(), nullable=True),
        *text_columns("assay", "lasting_status"),
        text_column("window_last", nullable=True),
        text_column("not_expected_from", nullable=True),
        *number_columns("value"),
        text_column("comparator", nullable=True),
        text_column("unit", nullable=True),
        *number_columns("lower", "upper"),
        text_column("denominator", nullable=True),
        *number_columns("baseline", "change", "percent_change", "change_bound_lower", "change_bound_upper"),
        sa.Column("n_replicates", sa.Integer(), nullable=True),
        text_column("findings"),
        text_column("accession_id", nullable=True),
        text_column("run_id", nullable=True),
        text_column("baseline_run_id", nullable=True),
        text_column("result_id", nullable=True),
        text_column("source_sha256", nullable=True),
        primary_key("timepoint_row", "measurand", "subject_id", "visit", "unplanned_specimen", "shown_from"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    index("timepoint_row", "subject_id")


def _refuse_changes_on_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'table {table} is append-only'); END"
            )


def _refuse_changes_on_postgresql() -> None:
    op.execute("""
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME; END $$
""")
    refuse = "EXECUTE FUNCTION refuse_change()"
    for table in APPEND_ONLY:
        op.execute(f"CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {refuse}")
        op.execute(f"CREATE TRIGGER {table}_refuses_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {refuse}")
