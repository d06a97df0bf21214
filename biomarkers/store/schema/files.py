"""Files received and the work to be done.

Knows columns, keys and constraints. Must not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, Integer, Text, text

from biomarkers.store.columns import BIG_INTEGER, UtcText
from biomarkers.store.schema.layout import INBOXES, JOB_STATES, key, maybe, needed, number, one_of, table, words

source_file = table(
    "source_file",
    key("sha256"),
    needed("size", BIG_INTEGER),
    words("assay"),
    words("kind"),
    words("first_name"),
    needed("received_at", UtcText),
    one_of("assay", INBOXES),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("size >= 0", name="size"),
)

job = table(
    "job",
    number(),
    words("drop_id"),
    words("assay"),
    words("name"),
    maybe("sha256", Text),
    needed("size", BIG_INTEGER),
    needed("mtime_ns", BIG_INTEGER),
    words("state"),
    words("what"),
    words("where_"),
    words("remedy"),
    words("error_kind"),
    words("owner"),
    maybe("lease_until", UtcText),
    needed("attempts", Integer),
    needed("received_at", UtcText),
    maybe("finished_at", UtcText),
    maybe("acknowledged_at", UtcText),
    words("settled_name"),
    one_of("assay", INBOXES),
    one_of("state", JOB_STATES),
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
