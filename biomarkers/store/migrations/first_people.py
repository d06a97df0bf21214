"""The first revision's tables about people: accounts, signatures, proposals, and the trail of who did what.

Belongs to revision 0001 and is as frozen as it is once that is released.
"""

from __future__ import annotations

import sqlalchemy as sa

from biomarkers.store.migrations.building import check, count_columns, create, index, primary_key, refers, text_columns, unique


def make_people() -> None:
    """Make room for accounts, what lets people in, and their signatures."""
    create(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("name", "full_name", "role", "password_hash"),
        *count_columns("active"),
        *text_columns("recorded_at", "recorded_by", "reason"),
        primary_key("account", "id"),
        check("account", "active", "active IN (0, 1)"),
        check("account", "name", "name <> ''"),
        check("account", "recorded_by", "recorded_by <> ''"),
        check(
            "account",
            "role",
            "role IN ('technician', 'reviewer', 'scientist', 'unblinded_scientist', 'auditor', 'operator')",
        ),
    )
    index("account", "name")
    create(
        "credential",
        *text_columns("token_digest", "kind", "name", "label", "scope", "began_at", "ends_at"),
        primary_key("credential", "token_digest"),
        check("credential", "kind", "kind IN ('session', 'token')"),
        check("credential", "scope", "scope IN ('all', 'read', 'drop')"),
        check("credential", "token_digest", "length(token_digest) = 64"),
    )
    index("credential", "name")
    create(
        "credential_end",
        *text_columns("token_digest", "ended_at", "ended_by", "reason"),
        primary_key("credential_end", "token_digest"),
        refers("credential_end", ("token_digest",), "credential", ("token_digest",)),
    )
    create(
        "signature",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("run_id", "analysis_id", "meaning", "digest", "content", "signed_by", "full_name", "signed_at", "reason"),
        primary_key("signature", "id"),
        check("signature", "digest", "length(digest) = 64"),
        check("signature", "meaning", "meaning IN ('reviewed', 'released')"),
        check("signature", "signed_by", "signed_by <> ''"),
    )
    index("signature", "run_id")


def make_proposals() -> None:
    """Make room for recomputed results of signed runs, which wait for a person."""
    create(
        "proposal",
        sa.Column("id", sa.Integer(), nullable=False),
        *text_columns("run_id", "analysis_id", "content_id", "reason", "changes", "proposed_at"),
        primary_key("proposal", "id"),
        check("proposal", "reason", "reason <> ''"),
    )
    index("proposal", "run_id")
    create(
        "proposal_answer",
        sa.Column("proposal_id", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("answer", "reason", "decided_by", "decided_at"),
        primary_key("proposal_answer", "proposal_id"),
        refers("proposal_answer", ("proposal_id",), "proposal", ("id",)),
        check("proposal_answer", "answer", "answer IN ('accepted', 'refused', 'outdated')"),
        check("proposal_answer", "decided_by", "decided_by <> ''"),
    )


def make_trail() -> None:
    """Make room for the audit trail."""
    create(
        "audit_event",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        *text_columns("at", "actor", "action", "entity", "detail", "reason", "previous_hash", "hash"),
        primary_key("audit_event", "id"),
        unique("audit_event", "hash"),
        unique("audit_event", "previous_hash"),
    )
