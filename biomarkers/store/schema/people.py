"""Who may use the pages, what lets them in, and what they have signed.

Knows columns, keys and constraints. Must not know rights, nor how a password is checked. All of it is append-only: an account's
newest row counts, a session that is over has a row that says so.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Text

from biomarkers.store.columns import JsonText, UtcText
from biomarkers.store.schema.layout import key, needed, number, one_of, table, words, yes_or_no

ROLES = ("technician", "reviewer", "scientist", "unblinded_scientist", "auditor", "operator")
CREDENTIAL_KINDS = ("session", "token")
SCOPES = ("all", "read", "drop")
MEANINGS = ("reviewed", "released")

account = table(
    "account",
    number(),
    words("name"),
    words("full_name"),
    words("role"),
    words("password_hash"),
    needed("active", Integer),
    needed("recorded_at", UtcText),
    words("recorded_by"),
    words("reason"),
    one_of("role", ROLES),
    yes_or_no("active"),
    CheckConstraint("name <> ''", name="name"),
    CheckConstraint("recorded_by <> ''", name="recorded_by"),
    Index(None, "name"),
)

credential = table(
    "credential",
    key("token_digest"),
    words("kind"),
    words("name"),
    words("label"),
    words("scope"),
    needed("began_at", UtcText),
    needed("ends_at", UtcText),
    one_of("kind", CREDENTIAL_KINDS),
    one_of("scope", SCOPES),
    CheckConstraint("length(token_digest) = 64", name="token_digest"),
    Index(None, "name"),
)

credential_end = table(
    "credential_end",
    Column("token_digest", Text, ForeignKey("credential.token_digest"), primary_key=True),
    needed("ended_at", UtcText),
    words("ended_by"),
    words("reason"),
)

signature = table(
    "signature",
    number(),
    words("run_id"),
    words("analysis_id"),
    words("meaning"),
    words("digest"),
    needed("content", JsonText),
    words("signed_by"),
    words("full_name"),
    needed("signed_at", UtcText),
    words("reason"),
    one_of("meaning", MEANINGS),
    CheckConstraint("length(digest) = 64", name="digest"),
    CheckConstraint("signed_by <> ''", name="signed_by"),
    Index(None, "run_id"),
)
