"""The study's lists and declarations, and which visit each specimen belongs to.

Knows columns, keys and constraints. Must not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import Index, Integer, Text

from biomarkers.store.columns import REAL_NUMBER, DayText, MomentText, UtcText
from biomarkers.store.schema.layout import (
    ASSAYS,
    DEFINITION_KINDS,
    LIST_KINDS,
    key,
    maybe,
    needed,
    number,
    of_list,
    of_set,
    one_of,
    place,
    table,
    words,
    yes_or_no,
)

study_list = table(
    "study_list",
    number(),
    words("kind"),
    words("sha256"),
    needed("recorded_at", UtcText),
    one_of("kind", LIST_KINDS),
    Index(None, "kind"),
)

subject = table(
    "subject",
    of_list(),
    key("subject_id"),
    words("site"),
    maybe("treatment_start", MomentText),
    maybe("randomised_on", DayText),
    maybe("treatment_end", DayText),
    maybe("progression_date", DayText),
    maybe("next_therapy_start", DayText),
    maybe("off_study_date", DayText),
    words("off_study_reason"),
    maybe("death_date", DayText),
    maybe("consent_withdrawn_on", DayText),
)

specimen = table(
    "specimen",
    of_list(),
    key("accession_id"),
    words("subject_id"),
    words("material"),
    needed("collected_at", MomentText),
    words("nominal_visit"),
    words("parent_accession_id"),
    maybe("received_at", MomentText),
    words("condition"),
    words("anticoagulant"),
    maybe("processed_at", MomentText),
    maybe("frozen_at", MomentText),
    maybe("freeze_thaw", Integer),
    words("hemolysis"),
    maybe("volume_ul", REAL_NUMBER),
    maybe("fixed_at", MomentText),
    words("tissue_source"),
    words("lesion"),
    words("block"),
)

actual_visit = table(
    "actual_visit",
    of_list(),
    place(),  # a subject has many unscheduled visits
    words("subject_id"),
    words("visit"),
    maybe("actual_date", DayText),
    words("status"),
    words("reason"),
)

lot_entry = table(
    "lot_entry",
    of_list(),
    place(),
    words("analyte"),
    words("kit_lot"),
    maybe("expires_on", DayText),
    words("slot"),
    maybe("value", REAL_NUMBER),
    maybe("lower", REAL_NUMBER),
    maybe("upper", REAL_NUMBER),
)

blood_count = table(
    "blood_count",
    of_list(),
    place(),
    words("accession_id"),
    words("subject_id"),
    maybe("day", DayText),
    needed("lymphocytes_per_ul", REAL_NUMBER),
)

pathology_reading = table(
    "pathology_reading",
    of_list(),
    place(),
    words("accession_id"),
    needed("tumour_present", Integer),
    maybe("viable_tumour_percent", REAL_NUMBER),
    maybe("necrosis_percent", REAL_NUMBER),
    words("reader"),
    yes_or_no("tumour_present"),
)

shipped_specimen = table(
    "shipped_specimen",
    of_list(),
    place(),
    words("accession_id"),
    needed("shipped_on", DayText),
    words("box"),
    words("position"),
)

definition = table(
    "definition",
    number(),
    words("kind"),
    words("name"),
    words("sha256"),
    words("content"),
    needed("recorded_at", UtcText),
    one_of("kind", DEFINITION_KINDS),
    Index(None, "kind", "name"),
    Index(None, "sha256"),
)

alignment_set = table(
    "alignment_set",
    number(),
    needed("recorded_at", UtcText),
    words("digest"),
)

alignment = table(
    "alignment",
    of_set(),
    key("accession_id"),
    words("subject_id"),
    words("material"),
    maybe("visit", Text),
    maybe("visit_number", Integer),
    words("rule"),
    maybe("study_day", Integer),
    maybe("days_from_target", Integer),
    maybe("in_window", Integer),
    needed("chosen", Integer),
    words("finding_codes"),
    needed("collected_on", DayText),
    words("note"),
    yes_or_no("in_window"),
    yes_or_no("chosen"),
    Index(None, "set_id", "subject_id"),
)

due_cell = table(
    "due_cell",
    of_set(),
    key("subject_id"),
    key("visit"),
    needed("visit_number", Integer),
    words("assay"),
    key("measurand"),
    words("unit"),
    words("materials"),
    maybe("window_first", DayText),
    maybe("window_last", DayText),
    maybe("target_date", DayText),
    maybe("not_expected_from", DayText),
    words("not_expected_reason"),
    needed("hidden", Integer),
    one_of("assay", ASSAYS),
    yes_or_no("hidden"),
    Index(None, "set_id", "subject_id", "measurand"),
    Index(None, "set_id", "hidden", "subject_id"),
)
