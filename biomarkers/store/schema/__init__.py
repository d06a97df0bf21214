"""The tables of a laboratory's database.

Knows columns, keys, constraints and which tables are append-only, the same on SQLite and PostgreSQL. Must not know how rows
are written or read. A laboratory's database is made and changed by the revisions in ``migrations`` alone; a test holds them
against this package. The ``timepoint`` view is described in ``timepoint_view``.
"""

from __future__ import annotations

from biomarkers.store.schema.evidence import acquisition, calibrator, control, curve, population, score, slide, verdict, well
from biomarkers.store.schema.files import job, source_file
from biomarkers.store.schema.layout import metadata
from biomarkers.store.schema.people import account, credential, credential_end, signature
from biomarkers.store.schema.proposals import proposal, proposal_answer
from biomarkers.store.schema.runs import (
    analysis,
    analysis_source,
    derived_from,
    disposition,
    finding,
    remark,
    result,
    supersession,
    well_mask,
)
from biomarkers.store.schema.study import (
    actual_visit,
    alignment,
    alignment_set,
    blood_count,
    definition,
    due_cell,
    lot_entry,
    pathology_reading,
    shipped_specimen,
    specimen,
    study_list,
    subject,
)
from biomarkers.store.schema.timepoints import timepoint_row
from biomarkers.store.schema.trail import audit_event

__all__ = [
    "account",
    "acquisition",
    "actual_visit",
    "alignment",
    "alignment_set",
    "analysis",
    "analysis_source",
    "audit_event",
    "blood_count",
    "calibrator",
    "control",
    "credential",
    "credential_end",
    "curve",
    "definition",
    "derived_from",
    "disposition",
    "due_cell",
    "finding",
    "job",
    "lot_entry",
    "metadata",
    "pathology_reading",
    "population",
    "proposal",
    "proposal_answer",
    "remark",
    "result",
    "score",
    "shipped_specimen",
    "signature",
    "slide",
    "source_file",
    "specimen",
    "study_list",
    "subject",
    "supersession",
    "timepoint_row",
    "verdict",
    "well",
    "well_mask",
]
