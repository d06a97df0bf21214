"""The tables of a laboratory's database.

Knows columns, keys, constraints and which tables are append-only, the same on SQLite and PostgreSQL. Must not know how rows
are written or read. A laboratory's database is made and changed by the revisions in ``migrations`` alone; a test holds them
against this module. The ``timepoint`` view is described in ``timepoint_view``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from biomarkers.store.columns import BIG_INTEGER, REAL_NUMBER, DayText, JsonText, MomentText, UtcText

NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
metadata = MetaData(naming_convention=NAMES)

ASSAYS = ("elisa", "cytometry", "ihc")
INBOXES = (*ASSAYS, "study")
JOB_STATES = ("waiting", "queued", "running", "recorded", "seen", "quarantined")
LIST_KINDS = ("roster", "specimens", "visits")
DEFINITION_KINDS = ("study", "layout", "panel", "stain_protocol")


_T = TypeVar("_T")


def _table(name: str, *items: SchemaItem) -> Table:
    return Table(name, metadata, *items, sqlite_strict=True)


def _one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _yes_or_no(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN (0, 1)", name=column)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _needed(name: str, kind: TypeEngine[_T] | type[TypeEngine[_T]]) -> Column[_T]:
    return Column(name, kind, nullable=False)


def _maybe(name: str, kind: TypeEngine[_T] | type[TypeEngine[_T]]) -> Column[_T]:
    return Column(name, kind, nullable=True)


def _number() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _of_analysis() -> Column[str]:
    return Column("analysis_id", Text, ForeignKey("analysis.analysis_id"), primary_key=True)


def _of_list() -> Column[int]:
    return Column("list_id", Integer, ForeignKey("study_list.id"), primary_key=True, autoincrement=False)


def _of_set() -> Column[int]:
    return Column("set_id", Integer, ForeignKey("alignment_set.id"), primary_key=True, autoincrement=False)


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _place(name: str = "ordinal") -> Column[int]:
    return Column(name, Integer, primary_key=True, autoincrement=False)


source_file = _table(
    "source_file",
    _key("sha256"),
    _needed("size", BIG_INTEGER),
    _text("assay"),
    _text("kind"),
    _text("first_name"),
    _needed("received_at", UtcText),
    _one_of("assay", INBOXES),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("size >= 0", name="size"),
)

job = _table(
    "job",
    _number(),
    _text("drop_id"),
    _text("assay"),
    _text("name"),
    _maybe("sha256", Text),
    _needed("size", BIG_INTEGER),
    _needed("mtime_ns", BIG_INTEGER),
    _text("state"),
    _text("what"),
    _text("where_"),
    _text("remedy"),
    _text("error_kind"),
    _text("owner"),
    _maybe("lease_until", UtcText),
    _needed("attempts", Integer),
    _needed("received_at", UtcText),
    _maybe("finished_at", UtcText),
    _maybe("acknowledged_at", UtcText),
    _text("settled_name"),
    _one_of("assay", INBOXES),
    _one_of("state", JOB_STATES),
    CheckConstraint("size >= 0", name="size"),
    CheckConstraint("attempts >= 0", name="attempts"),
    CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease"),
    CheckConstraint("(state IN ('recorded', 'seen', 'quarantined')) = (finished_at IS NOT NULL)", name="finished"),
    Index(
        "uq_job_open_drop",
        "drop_id",
        unique=True,
        sqlite_where=text("acknowledged_at IS NULL"),
        postgresql_where=text("acknowledged_at IS NULL"),
    ),
    Index(None, "state"),
)

analysis = _table(
    "analysis",
    _number(),
    _text("analysis_id"),
    _text("content_id"),
    _text("run_id"),
    _text("assay"),
    _text("name"),
    _text("acquired_at"),
    _text("instrument_sha256"),
    _text("source_sha256s"),
    _needed("provenance", JsonText),
    _text("parameters"),
    _text("software"),
    _text("finding_codes"),
    _needed("recorded_at", UtcText),
    _text("reason"),
    _needed("more", JsonText),
    _one_of("assay", ASSAYS),
    UniqueConstraint("analysis_id"),
    Index(None, "run_id"),
    Index(None, "instrument_sha256"),
)

analysis_source = _table(
    "analysis_source",
    _of_analysis(),
    _place(),
    _text("role"),
    _text("name"),
    Column("sha256", Text, ForeignKey("source_file.sha256"), nullable=False),
    Index(None, "sha256"),
)

result = _table(
    "result",
    _of_analysis(),
    _key("result_id"),
    _needed("ordinal", Integer),
    _text("run_id"),
    _text("accession_id"),
    _text("assay"),
    _text("measurand"),
    _maybe("value", REAL_NUMBER),
    _text("comparator"),
    _text("unit"),
    _maybe("lower", REAL_NUMBER),
    _maybe("upper", REAL_NUMBER),
    _maybe("level", REAL_NUMBER),
    _text("denominator"),
    _maybe("n_replicates", Integer),
    _needed("evaluable", Integer),
    _text("finding_codes"),
    _one_of("assay", ASSAYS),
    _one_of("comparator", ("", "<", ">")),
    _yes_or_no("evaluable"),
    CheckConstraint("(evaluable = 1) = (value IS NOT NULL)", name="value"),
    UniqueConstraint("analysis_id", "accession_id", "measurand"),
    Index(None, "accession_id", "measurand"),
    Index(None, "result_id"),
)

finding = _table(
    "finding",
    _number(),
    Column("analysis_id", Text, ForeignKey("analysis.analysis_id"), nullable=False),
    _maybe("result_id", Text),
    _needed("ordinal", Integer),
    _text("code"),
    _text("severity"),
    _text("where_"),
    _text("message"),
    _text("remedy"),
    _one_of("severity", ("note", "warning", "reject")),
    ForeignKeyConstraint(["analysis_id", "result_id"], ["result.analysis_id", "result.result_id"]),
    Index(None, "analysis_id", "result_id"),
)

supersession = _table(
    "supersession",
    Column("old_analysis_id", Text, ForeignKey("analysis.analysis_id"), primary_key=True),
    Column("new_analysis_id", Text, ForeignKey("analysis.analysis_id"), nullable=False),
    _text("reason"),
    _needed("recorded_at", UtcText),
    CheckConstraint("old_analysis_id <> new_analysis_id", name="another"),
    CheckConstraint("reason <> ''", name="reason"),
    Index(None, "new_analysis_id"),
)

disposition = _table(
    "disposition",
    _number(),
    _text("result_id"),
    _text("decision"),
    _text("reason"),
    _text("decided_by"),
    _needed("decided_at", UtcText),
    _one_of("decision", ("reportable", "repeated", "excluded")),
    CheckConstraint("reason <> ''", name="reason"),
    CheckConstraint("decided_by <> ''", name="decided_by"),
    Index(None, "result_id"),
)

well = _table(
    "well",
    _of_analysis(),
    _place(),
    _text("position"),
    _text("role"),
    _text("slot"),
    _text("analyte"),
    _text("accession_id"),
    _text("raw_text"),
    _maybe("response", REAL_NUMBER),
    _text("flag"),
    _text("mask_reason"),
    _maybe("dilution_factor", REAL_NUMBER),
    _maybe("concentration", REAL_NUMBER),
    _text("comparator"),
    _needed("more", JsonText),
)

curve = _table(
    "curve",
    _of_analysis(),
    _place(),
    _text("analyte"),
    _text("unit"),
    _text("model"),
    _text("weights"),
    _text("replicates"),
    _needed("parameters", JsonText),
    _needed("standard_errors", JsonText),
    _needed("covariance", JsonText),
    _maybe("rss", REAL_NUMBER),
    _maybe("residual_sd", REAL_NUMBER),
    _needed("degrees_of_freedom", Integer),
    _maybe("lloq", REAL_NUMBER),
    _maybe("uloq", REAL_NUMBER),
    _needed("more", JsonText),
)

calibrator = _table(
    "calibrator",
    _key("analysis_id"),
    _place("curve_ordinal"),
    _place(),
    _maybe("nominal", REAL_NUMBER),
    _maybe("mean_response", REAL_NUMBER),
    _maybe("back_calculated", REAL_NUMBER),
    _maybe("recovery_percent", REAL_NUMBER),
    _needed("n_wells", Integer),
    _needed("n_masked", Integer),
    _needed("more", JsonText),
    ForeignKeyConstraint(["analysis_id", "curve_ordinal"], ["curve.analysis_id", "curve.ordinal"]),
)

acquisition = _table(
    "acquisition",
    _of_analysis(),
    _text("panel"),
    _needed("events", BIG_INTEGER),
)

population = _table(
    "population",
    _of_analysis(),
    _place(),
    _text("name"),
    _text("parent"),
    _text("denominator"),
    _needed("count", BIG_INTEGER),
    _needed("parent_count", BIG_INTEGER),
    _maybe("frequency_percent", REAL_NUMBER),
    _maybe("lower", REAL_NUMBER),
    _maybe("upper", REAL_NUMBER),
    _needed("median_intensity", JsonText),
    _maybe("quality", REAL_NUMBER),
    _needed("cuts", JsonText),
    _needed("reportable", Integer),
    _needed("findings", JsonText),
    _needed("more", JsonText),
    _yes_or_no("reportable"),
)

slide = _table(
    "slide",
    _of_analysis(),
    _text("stain"),
    _maybe("pixel_size_um", REAL_NUMBER),
    _needed("stain_vectors", JsonText),
    _needed("white_point", JsonText),
)

score = _table(
    "score",
    _of_analysis(),
    _place(),
    _text("region"),
    _text("stain"),
    _maybe("area_mm2", REAL_NUMBER),
    _needed("cells", BIG_INTEGER),
    _needed("positive", BIG_INTEGER),
    _needed("class_counts", JsonText),
    _maybe("positive_percent", REAL_NUMBER),
    _maybe("density_per_mm2", REAL_NUMBER),
    _maybe("h_score", REAL_NUMBER),
    _needed("intervals", JsonText),
    _needed("findings", JsonText),
    _needed("more", JsonText),
)

study_list = _table(
    "study_list",
    _number(),
    _text("kind"),
    _text("sha256"),
    _needed("recorded_at", UtcText),
    _one_of("kind", LIST_KINDS),
    Index(None, "kind"),
)

subject = _table(
    "subject",
    _of_list(),
    _key("subject_id"),
    _text("site"),
    _maybe("treatment_start", MomentText),
    _maybe("randomised_on", DayText),
    _maybe("treatment_end", DayText),
    _maybe("progression_date", DayText),
    _maybe("next_therapy_start", DayText),
    _maybe("off_study_date", DayText),
    _text("off_study_reason"),
    _maybe("death_date", DayText),
    _maybe("consent_withdrawn_on", DayText),
)

specimen = _table(
    "specimen",
    _of_list(),
    _key("accession_id"),
    _text("subject_id"),
    _text("material"),
    _needed("collected_at", MomentText),
    _text("nominal_visit"),
    _text("parent_accession_id"),
    _maybe("received_at", MomentText),
    _text("condition"),
    _text("anticoagulant"),
    _maybe("processed_at", MomentText),
    _maybe("frozen_at", MomentText),
    _maybe("freeze_thaw", Integer),
    _text("hemolysis"),
    _maybe("volume_ul", REAL_NUMBER),
    _maybe("fixed_at", MomentText),
    _text("tissue_source"),
    _text("lesion"),
    _text("block"),
)

actual_visit = _table(
    "actual_visit",
    _of_list(),
    _place(),  # a subject has many unscheduled visits
    _text("subject_id"),
    _text("visit"),
    _maybe("actual_date", DayText),
    _text("status"),
    _text("reason"),
)

definition = _table(
    "definition",
    _number(),
    _text("kind"),
    _text("name"),
    _text("sha256"),
    _text("content"),
    _needed("recorded_at", UtcText),
    _one_of("kind", DEFINITION_KINDS),
    Index(None, "kind", "name"),
    Index(None, "sha256"),
)

alignment_set = _table(
    "alignment_set",
    _number(),
    _needed("recorded_at", UtcText),
    _text("digest"),
)

alignment = _table(
    "alignment",
    _of_set(),
    _key("accession_id"),
    _text("subject_id"),
    _text("material"),
    _maybe("visit", Text),
    _maybe("visit_number", Integer),
    _text("rule"),
    _maybe("study_day", Integer),
    _maybe("days_from_target", Integer),
    _maybe("in_window", Integer),
    _needed("chosen", Integer),
    _text("finding_codes"),
    _needed("collected_on", DayText),
    _text("note"),
    _yes_or_no("in_window"),
    _yes_or_no("chosen"),
)

due_cell = _table(
    "due_cell",
    _of_set(),
    _key("subject_id"),
    _key("visit"),
    _needed("visit_number", Integer),
    _text("assay"),
    _key("measurand"),
    _text("unit"),
    _text("materials"),
    _maybe("window_first", DayText),
    _maybe("window_last", DayText),
    _maybe("target_date", DayText),
    _maybe("not_expected_from", DayText),
    _text("not_expected_reason"),
    _needed("hidden", Integer),
    _one_of("assay", ASSAYS),
    _yes_or_no("hidden"),
)

audit_event = _table(
    "audit_event",
    Column("id", Integer, primary_key=True, autoincrement=False),
    _needed("at", UtcText),
    _text("actor"),
    _text("action"),
    _text("entity"),
    _needed("detail", JsonText),
    _text("reason"),
    _text("previous_hash"),
    _text("hash"),
    UniqueConstraint("previous_hash"),
    UniqueConstraint("hash"),
)
