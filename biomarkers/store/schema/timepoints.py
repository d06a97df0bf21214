"""The rows kept of the timepoint table, so that asking for them is quick.

Knows columns and keys. Must not know how rows are computed. They are no record: each can be computed again from what was
recorded, and is written anew in the transaction that changes it.
"""

from __future__ import annotations

from sqlalchemy import Index, Integer, Table, Text

from biomarkers.store.columns import REAL_NUMBER
from biomarkers.store.schema.layout import key, maybe, metadata, words

timepoint_row = Table(
    "timepoint_row",
    metadata,
    key("measurand"),
    key("subject_id"),
    key("visit"),
    key("unplanned_specimen"),
    # A specimen with a date still to come makes another row of its cell, from that day on.
    key("shown_from"),
    words("shown_until"),
    maybe("visit_number", Integer),
    maybe("study_day", Integer),
    maybe("days_from_target", Integer),
    maybe("in_window", Integer),
    words("assay"),
    words("lasting_status"),
    maybe("window_last", Text),
    maybe("not_expected_from", Text),
    maybe("value", REAL_NUMBER),
    maybe("comparator", Text),
    maybe("unit", Text),
    maybe("lower", REAL_NUMBER),
    maybe("upper", REAL_NUMBER),
    maybe("denominator", Text),
    maybe("baseline", REAL_NUMBER),
    maybe("change", REAL_NUMBER),
    maybe("percent_change", REAL_NUMBER),
    maybe("change_bound_lower", REAL_NUMBER),
    maybe("change_bound_upper", REAL_NUMBER),
    maybe("n_replicates", Integer),
    words("findings"),
    maybe("accession_id", Text),
    maybe("run_id", Text),
    maybe("baseline_run_id", Text),
    maybe("result_id", Text),
    maybe("source_sha256", Text),
    Index(None, "subject_id"),
    sqlite_strict=True,
    # Lies in the order of its key: all of one measurand is read in one go.
    sqlite_with_rowid=False,
)
