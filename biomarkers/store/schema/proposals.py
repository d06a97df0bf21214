"""Recomputed results of signed runs that wait for a person, and what was decided about each.

Knows columns, keys and constraints. Must not know when a result is proposed. Both tables are append-only.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer

from biomarkers.store.columns import JsonText, UtcText
from biomarkers.store.schema.layout import needed, number, one_of, table, words

ANSWERS = ("accepted", "refused", "outdated")

proposal = table(
    "proposal",
    number(),
    words("run_id"),
    words("analysis_id"),
    words("content_id"),
    words("reason"),
    needed("changes", JsonText),
    needed("proposed_at", UtcText),
    CheckConstraint("reason <> ''", name="reason"),
    Index(None, "run_id"),
)

proposal_answer = table(
    "proposal_answer",
    Column("proposal_id", Integer, ForeignKey("proposal.id"), primary_key=True),
    words("answer"),
    words("reason"),
    words("decided_by"),
    needed("decided_at", UtcText),
    one_of("answer", ANSWERS),
    CheckConstraint("decided_by <> ''", name="decided_by"),
)
