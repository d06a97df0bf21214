"""Runs as analysed, their results, and what was decided about them.

Knows columns, keys and constraints. Must not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, ForeignKeyConstraint, Index, Integer, Text, UniqueConstraint

from biomarkers.store.columns import REAL_NUMBER, JsonText, UtcText
from biomarkers.store.schema.layout import (
    ASSAYS,
    key,
    maybe,
    needed,
    number,
    of_analysis,
    one_of,
    place,
    table,
    words,
    yes_or_no,
)

analysis = table(
    "analysis",
    number(),
    words("analysis_id"),
    words("content_id"),
    words("run_id"),
    words("assay"),
    words("step"),
    words("name"),
    words("acquired_at"),
    words("instrument_sha256"),
    words("source_sha256s"),
    needed("provenance", JsonText),
    words("parameters"),
    words("software"),
    words("finding_codes"),
    needed("recorded_at", UtcText),
    words("reason"),
    needed("more", JsonText),
    one_of("assay", ASSAYS),
    UniqueConstraint("analysis_id"),
    Index(None, "run_id"),
    Index(None, "instrument_sha256"),
    Index(None, "step"),
)

analysis_source = table(
    "analysis_source",
    of_analysis(),
    place(),
    words("role"),
    words("name"),
    Column("sha256", Text, ForeignKey("source_file.sha256"), nullable=False),
    Index(None, "sha256"),
)

result = table(
    "result",
    of_analysis(),
    key("result_id"),
    needed("ordinal", Integer),
    words("run_id"),
    words("accession_id"),
    words("assay"),
    words("measurand"),
    maybe("value", REAL_NUMBER),
    words("comparator"),
    words("unit"),
    maybe("lower", REAL_NUMBER),
    maybe("upper", REAL_NUMBER),
    maybe("level", REAL_NUMBER),
    words("denominator"),
    maybe("n_replicates", Integer),
    needed("evaluable", Integer),
    words("finding_codes"),
    one_of("assay", ASSAYS),
    one_of("comparator", ("", "<", ">")),
    yes_or_no("evaluable"),
    CheckConstraint("(evaluable = 1) = (value IS NOT NULL)", name="value"),
    UniqueConstraint("analysis_id", "accession_id", "measurand"),
    Index(None, "accession_id", "measurand"),
    Index(None, "result_id"),
)

finding = table(
    "finding",
    number(),
    Column("analysis_id", Text, ForeignKey("analysis.analysis_id"), nullable=False),
    maybe("result_id", Text),
    needed("ordinal", Integer),
    words("code"),
    words("severity"),
    words("where_"),
    words("message"),
    words("remedy"),
    one_of("severity", ("note", "warning", "reject")),
    ForeignKeyConstraint(["analysis_id", "result_id"], ["result.analysis_id", "result.result_id"]),
    Index(None, "analysis_id", "result_id"),
)

supersession = table(
    "supersession",
    Column("old_analysis_id", Text, ForeignKey("analysis.analysis_id"), primary_key=True),
    Column("new_analysis_id", Text, ForeignKey("analysis.analysis_id"), nullable=False),
    words("reason"),
    needed("recorded_at", UtcText),
    CheckConstraint("old_analysis_id <> new_analysis_id", name="another"),
    CheckConstraint("reason <> ''", name="reason"),
    Index(None, "new_analysis_id"),
)

disposition = table(
    "disposition",
    number(),
    words("result_id"),
    words("decision"),
    words("reason"),
    words("decided_by"),
    needed("decided_at", UtcText),
    one_of("decision", ("reportable", "repeated", "excluded")),
    CheckConstraint("reason <> ''", name="reason"),
    CheckConstraint("decided_by <> ''", name="decided_by"),
    Index(None, "result_id"),
)

derived_from = table(
    "derived_from",
    of_analysis(),
    place(),
    words("source_analysis_id"),
    words("source_result_id"),
    needed("replaces", Integer),
    ForeignKeyConstraint(["source_analysis_id", "source_result_id"], ["result.analysis_id", "result.result_id"]),
    yes_or_no("replaces"),
    Index(None, "source_result_id"),
)

remark = table(
    "remark",
    of_analysis(),
    place(),
    words("run_id"),
    words("accession_id"),
    words("measurand"),
    words("code"),
    Index(None, "run_id"),
)

well_mask = table(
    "well_mask",
    number(),
    words("run_id"),
    words("position"),
    needed("masked", Integer),
    words("reason"),
    words("decided_by"),
    needed("decided_at", UtcText),
    yes_or_no("masked"),
    CheckConstraint("reason <> ''", name="reason"),
    CheckConstraint("decided_by <> ''", name="decided_by"),
    Index(None, "run_id"),
)
