"""The first tables: files, work, runs with their evidence, study lists, alignment, audit trail, and the timepoint view."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from biomarkers.errors import StoreError
from biomarkers.store.timepoint_view import create_view_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
BIG: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

APPEND_ONLY = (
    "source_file",
    "analysis",
    "analysis_source",
    "result",
    "finding",
    "supersession",
    "disposition",
    "well",
    "curve",
    "calibrator",
    "acquisition",
    "population",
    "slide",
    "score",
    "study_list",
    "subject",
    "specimen",
    "actual_visit",
    "definition",
    "alignment_set",
    "alignment",
    "due_cell",
    "audit_event",
)


def upgrade() -> None:
    """Make every table, the triggers that keep rows as they were written, and the view."""
    _make_files_and_work()
    _make_runs()
    _make_plates()
    _make_acquisitions_and_slides()
    _make_study()
    _make_visits()
    _make_trail()
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


def _create(name: str, *items: sa.schema.SchemaItem) -> None:
    op.create_table(name, *items, sqlite_strict=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _texts(*names: str) -> tuple[sa.Column[str], ...]:
    return tuple(_text(name) for name in names)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _refers(table: str, columns: tuple[str, ...], other: str, keys: tuple[str, ...]) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(columns, [f"{other}.{key}" for key in keys], name=op.f(f"fk_{table}_{'_'.join(columns)}"))


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def _make_files_and_work() -> None:
    """Make room for files received and the work to be done."""
    open_drop = sa.text("acknowledged_at IS NULL")
    _create(
        "source_file",
        _text("sha256"),
        sa.Column("size", BIG, nullable=False),
        *_texts("assay", "kind", "first_name", "received_at"),
        _key("source_file", "sha256"),
        _check("source_file", "assay", "assay IN ('elisa', 'cytometry', 'ihc', 'study')"),
        _check("source_file", "sha256", "length(sha256) = 64"),
        _check("source_file", "size", "size >= 0"),
    )
    _create(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("drop_id", "assay", "name"),
        _text("sha256", nullable=True),
        sa.Column("size", BIG, nullable=False),
        sa.Column("mtime_ns", BIG, nullable=False),
        *_texts("state", "what", "where_", "remedy", "error_kind", "owner"),
        _text("lease_until", nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _text("received_at"),
        _text("finished_at", nullable=True),
        _text("acknowledged_at", nullable=True),
        _text("settled_name"),
        _key("job", "id"),
        _check("job", "assay", "assay IN ('elisa', 'cytometry', 'ihc', 'study')"),
        _check("job", "attempts", "attempts >= 0"),
        _check("job", "finished", "(state IN ('recorded', 'seen', 'quarantined')) = (finished_at IS NOT NULL)"),
        _check("job", "lease", "(state = 'running') = (lease_until IS NOT NULL)"),
        _check("job", "size", "size >= 0"),
        _check("job", "state", "state IN ('waiting', 'queued', 'running', 'recorded', 'seen', 'quarantined')"),
    )
    _index("job", "state")
    op.create_index("uq_job_open_drop", "job", ["drop_id"], unique=True, sqlite_where=open_drop, postgresql_where=open_drop)


def _make_runs() -> None:
    """Make room for runs as analysed, their results, and what was decided about them."""
    _create(
        "analysis",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts(
            "analysis_id",
            "content_id",
            "run_id",
            "assay",
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
        _key("analysis", "id"),
        _unique("analysis", "analysis_id"),
        _check("analysis", "assay", "assay IN ('elisa', 'cytometry', 'ihc')"),
    )
    _index("analysis", "instrument_sha256")
    _index("analysis", "run_id")
    _create(
        "analysis_source",
        _text("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("role", "name", "sha256"),
        _key("analysis_source", "analysis_id", "ordinal"),
        _refers("analysis_source", ("analysis_id",), "analysis", ("analysis_id",)),
        _refers("analysis_source", ("sha256",), "source_file", ("sha256",)),
    )
    _index("analysis_source", "sha256")
    _create(
        "result",
        *_texts("analysis_id", "result_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        *_texts("run_id", "accession_id", "assay", "measurand"),
        sa.Column("value", REAL, nullable=True),
        *_texts("comparator", "unit"),
        sa.Column("lower", REAL, nullable=True),
        sa.Column("upper", REAL, nullable=True),
        sa.Column("level", REAL, nullable=True),
        _text("denominator"),
        sa.Column("n_replicates", sa.Integer(), nullable=True),
        sa.Column("evaluable", sa.Integer(), nullable=False),
        _text("finding_codes"),
        _key("result", "analysis_id", "result_id"),
        _refers("result", ("analysis_id",), "analysis", ("analysis_id",)),
        _unique("result", "analysis_id", "accession_id", "measurand"),
        _check("result", "assay", "assay IN ('elisa', 'cytometry', 'ihc')"),
        _check("result", "comparator", "comparator IN ('', '<', '>')"),
        _check("result", "evaluable", "evaluable IN (0, 1)"),
        _check("result", "value", "(evaluable = 1) = (value IS NOT NULL)"),
    )
    _index("result", "accession_id", "measurand")
    _index("result", "result_id")
    _create(
        "finding",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("analysis_id"),
        _text("result_id", nullable=True),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        *_texts("code", "severity", "where_", "message", "remedy"),
        _key("finding", "id"),
        _refers("finding", ("analysis_id",), "analysis", ("analysis_id",)),
        _refers(
            "finding",
            (
                "analysis_id",
                "result_id",
            ),
            "result",
            (
                "analysis_id",
                "result_id",
            ),
        ),
        _check("finding", "severity", "severity IN ('note', 'warning', 'reject')"),
    )
    _index("finding", "analysis_id", "result_id")

    _create(
        "supersession",
        *_texts("old_analysis_id", "new_analysis_id", "reason", "recorded_at"),
        _key("supersession", "old_analysis_id"),
        _refers("supersession", ("new_analysis_id",), "analysis", ("analysis_id",)),
        _refers("supersession", ("old_analysis_id",), "analysis", ("analysis_id",)),
        _check("supersession", "another", "old_analysis_id <> new_analysis_id"),
        _check("supersession", "reason", "reason <> ''"),
    )
    _index("supersession", "new_analysis_id")
    _create(
        "disposition",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("result_id", "decision", "reason", "decided_by", "decided_at"),
        _key("disposition", "id"),
        _check("disposition", "decided_by", "decided_by <> ''"),
        _check("disposition", "decision", "decision IN ('reportable', 'repeated', 'excluded')"),
        _check("disposition", "reason", "reason <> ''"),
    )
    _index("disposition", "result_id")


def _make_plates() -> None:
    """Make room for the evidence behind ELISA results."""
    _create(
        "well",
        _text("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("position", "role", "slot", "analyte", "accession_id", "raw_text"),
        sa.Column("response", REAL, nullable=True),
        *_texts("flag", "mask_reason"),
        sa.Column("dilution_factor", REAL, nullable=True),
        sa.Column("concentration", REAL, nullable=True),
        *_texts("comparator", "more"),
        _key("well", "analysis_id", "ordinal"),
        _refers("well", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    _create(
        "curve",
        _text("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("analyte", "unit", "model", "weights", "replicates", "parameters", "standard_errors", "covariance"),
        sa.Column("rss", REAL, nullable=True),
        sa.Column("residual_sd", REAL, nullable=True),
        sa.Column("degrees_of_freedom", sa.Integer(), nullable=False),
        sa.Column("lloq", REAL, nullable=True),
        sa.Column("uloq", REAL, nullable=True),
        _text("more"),
        _key("curve", "analysis_id", "ordinal"),
        _refers("curve", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    _create(
        "calibrator",
        _text("analysis_id"),
        sa.Column("curve_ordinal", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("nominal", REAL, nullable=True),
        sa.Column("mean_response", REAL, nullable=True),
        sa.Column("back_calculated", REAL, nullable=True),
        sa.Column("recovery_percent", REAL, nullable=True),
        sa.Column("n_wells", sa.Integer(), nullable=False),
        sa.Column("n_masked", sa.Integer(), nullable=False),
        _text("more"),
        _key("calibrator", "analysis_id", "curve_ordinal", "ordinal"),
        _refers(
            "calibrator",
            (
                "analysis_id",
                "curve_ordinal",
            ),
            "curve",
            (
                "analysis_id",
                "ordinal",
            ),
        ),
    )


def _make_acquisitions_and_slides() -> None:
    """Make room for the evidence behind cytometry and immunohistochemistry."""
    _create(
        "acquisition",
        *_texts("analysis_id", "panel"),
        sa.Column("events", BIG, nullable=False),
        _key("acquisition", "analysis_id"),
        _refers("acquisition", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    _create(
        "population",
        _text("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("name", "parent", "denominator"),
        sa.Column("count", BIG, nullable=False),
        sa.Column("parent_count", BIG, nullable=False),
        sa.Column("frequency_percent", REAL, nullable=True),
        sa.Column("lower", REAL, nullable=True),
        sa.Column("upper", REAL, nullable=True),
        _text("median_intensity"),
        sa.Column("quality", REAL, nullable=True),
        _text("cuts"),
        sa.Column("reportable", sa.Integer(), nullable=False),
        *_texts("findings", "more"),
        _key("population", "analysis_id", "ordinal"),
        _refers("population", ("analysis_id",), "analysis", ("analysis_id",)),
        _check("population", "reportable", "reportable IN (0, 1)"),
    )
    _create(
        "slide",
        *_texts("analysis_id", "stain"),
        sa.Column("pixel_size_um", REAL, nullable=True),
        *_texts("stain_vectors", "white_point"),
        _key("slide", "analysis_id"),
        _refers("slide", ("analysis_id",), "analysis", ("analysis_id",)),
    )
    _create(
        "score",
        _text("analysis_id"),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("region", "stain"),
        sa.Column("area_mm2", REAL, nullable=True),
        sa.Column("cells", BIG, nullable=False),
        sa.Column("positive", BIG, nullable=False),
        _text("class_counts"),
        sa.Column("positive_percent", REAL, nullable=True),
        sa.Column("density_per_mm2", REAL, nullable=True),
        sa.Column("h_score", REAL, nullable=True),
        *_texts("intervals", "findings", "more"),
        _key("score", "analysis_id", "ordinal"),
        _refers("score", ("analysis_id",), "analysis", ("analysis_id",)),
    )


def _make_study() -> None:
    """Make room for study files and declarations."""
    _create(
        "study_list",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("kind", "sha256", "recorded_at"),
        _key("study_list", "id"),
        _check("study_list", "kind", "kind IN ('roster', 'specimens', 'visits')"),
    )
    _index("study_list", "kind")
    _create(
        "subject",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("subject_id", "site"),
        _text("treatment_start", nullable=True),
        _text("randomised_on", nullable=True),
        _text("treatment_end", nullable=True),
        _text("progression_date", nullable=True),
        _text("next_therapy_start", nullable=True),
        _text("off_study_date", nullable=True),
        _text("off_study_reason"),
        _text("death_date", nullable=True),
        _text("consent_withdrawn_on", nullable=True),
        _key("subject", "list_id", "subject_id"),
        _refers("subject", ("list_id",), "study_list", ("id",)),
    )
    _create(
        "specimen",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("accession_id", "subject_id", "material", "collected_at", "nominal_visit", "parent_accession_id"),
        _text("received_at", nullable=True),
        *_texts("condition", "anticoagulant"),
        _text("processed_at", nullable=True),
        _text("frozen_at", nullable=True),
        sa.Column("freeze_thaw", sa.Integer(), nullable=True),
        _text("hemolysis"),
        sa.Column("volume_ul", REAL, nullable=True),
        _text("fixed_at", nullable=True),
        *_texts("tissue_source", "lesion", "block"),
        _key("specimen", "list_id", "accession_id"),
        _refers("specimen", ("list_id",), "study_list", ("id",)),
    )
    _create(
        "actual_visit",
        sa.Column("list_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("subject_id", "visit"),
        _text("actual_date", nullable=True),
        *_texts("status", "reason"),
        _key("actual_visit", "list_id", "ordinal"),
        _refers("actual_visit", ("list_id",), "study_list", ("id",)),
    )
    _create(
        "definition",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("kind", "name", "sha256", "content", "recorded_at"),
        _key("definition", "id"),
        _check("definition", "kind", "kind IN ('study', 'layout', 'panel', 'stain_protocol')"),
    )
    _index("definition", "kind", "name")
    _index("definition", "sha256")


def _make_visits() -> None:
    """Make room for the visit each specimen belongs to, and for what is due."""
    _create(
        "alignment_set",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("recorded_at", "digest"),
        _key("alignment_set", "id"),
    )
    _create(
        "alignment",
        sa.Column("set_id", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("accession_id", "subject_id", "material"),
        _text("visit", nullable=True),
        sa.Column("visit_number", sa.Integer(), nullable=True),
        _text("rule"),
        sa.Column("study_day", sa.Integer(), nullable=True),
        sa.Column("days_from_target", sa.Integer(), nullable=True),
        sa.Column("in_window", sa.Integer(), nullable=True),
        sa.Column("chosen", sa.Integer(), nullable=False),
        *_texts("finding_codes", "collected_on", "note"),
        _key("alignment", "set_id", "accession_id"),
        _refers("alignment", ("set_id",), "alignment_set", ("id",)),
        _check("alignment", "chosen", "chosen IN (0, 1)"),
        _check("alignment", "in_window", "in_window IN (0, 1)"),
    )
    _create(
        "due_cell",
        sa.Column("set_id", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("subject_id", "visit"),
        sa.Column("visit_number", sa.Integer(), nullable=False),
        *_texts("assay", "measurand", "unit", "materials"),
        _text("window_first", nullable=True),
        _text("window_last", nullable=True),
        _text("target_date", nullable=True),
        _text("not_expected_from", nullable=True),
        _text("not_expected_reason"),
        sa.Column("hidden", sa.Integer(), nullable=False),
        _key("due_cell", "set_id", "subject_id", "visit", "measurand"),
        _refers("due_cell", ("set_id",), "alignment_set", ("id",)),
        _check("due_cell", "assay", "assay IN ('elisa', 'cytometry', 'ihc')"),
        _check("due_cell", "hidden", "hidden IN (0, 1)"),
    )


def _make_trail() -> None:
    """Make room for the audit trail."""
    _create(
        "audit_event",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        *_texts("at", "actor", "action", "entity", "detail", "reason", "previous_hash", "hash"),
        _key("audit_event", "id"),
        _unique("audit_event", "hash"),
        _unique("audit_event", "previous_hash"),
    )


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
