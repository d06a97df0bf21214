"""The audit trail.

Knows its columns and what makes it a chain. Must not know what the actions mean.
"""

from __future__ import annotations

from sqlalchemy import Column, Integer, UniqueConstraint

from biomarkers.store.columns import JsonText, UtcText
from biomarkers.store.schema.layout import needed, table, words

audit_event = table(
    "audit_event",
    Column("id", Integer, primary_key=True, autoincrement=False),
    needed("at", UtcText),
    words("actor"),
    words("action"),
    words("entity"),
    needed("detail", JsonText),
    words("reason"),
    words("previous_hash"),
    words("hash"),
    UniqueConstraint("previous_hash"),
    UniqueConstraint("hash"),
)
