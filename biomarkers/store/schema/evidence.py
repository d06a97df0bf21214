"""What lies behind the numbers of a run: wells, curves and controls, populations, scores.

Knows columns, keys and constraints. Must not know how rows are written or read.
"""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, Index, Integer

from biomarkers.store.columns import BIG_INTEGER, REAL_NUMBER, JsonText
from biomarkers.store.schema.layout import key, maybe, needed, of_analysis, one_of, place, table, words, yes_or_no

well = table(
    "well",
    of_analysis(),
    place(),
    words("position"),
    words("role"),
    words("slot"),
    words("analyte"),
    words("accession_id"),
    words("raw_text"),
    maybe("response", REAL_NUMBER),
    words("flag"),
    words("mask_reason"),
    maybe("dilution_factor", REAL_NUMBER),
    maybe("concentration", REAL_NUMBER),
    words("comparator"),
    needed("more", JsonText),
)

curve = table(
    "curve",
    of_analysis(),
    place(),
    words("analyte"),
    words("unit"),
    words("model"),
    words("weights"),
    words("replicates"),
    needed("parameters", JsonText),
    needed("standard_errors", JsonText),
    needed("covariance", JsonText),
    maybe("rss", REAL_NUMBER),
    maybe("residual_sd", REAL_NUMBER),
    needed("degrees_of_freedom", Integer),
    maybe("lloq", REAL_NUMBER),
    maybe("uloq", REAL_NUMBER),
    needed("more", JsonText),
)

calibrator = table(
    "calibrator",
    key("analysis_id"),
    place("curve_ordinal"),
    place(),
    maybe("nominal", REAL_NUMBER),
    maybe("mean_response", REAL_NUMBER),
    maybe("back_calculated", REAL_NUMBER),
    maybe("recovery_percent", REAL_NUMBER),
    needed("n_wells", Integer),
    needed("n_masked", Integer),
    needed("more", JsonText),
    ForeignKeyConstraint(["analysis_id", "curve_ordinal"], ["curve.analysis_id", "curve.ordinal"]),
)

verdict = table(
    "verdict",
    of_analysis(),
    place(),
    words("analyte"),
    words("verdict"),
    words("sentence"),
    needed("rules", JsonText),
    needed("more", JsonText),
    one_of("verdict", ("accepted", "accepted_with_findings", "rejected")),
)

control = table(
    "control",
    of_analysis(),
    place(),
    words("analyte"),
    words("slot"),
    words("kit_lot"),
    maybe("nominal", REAL_NUMBER),
    maybe("lower", REAL_NUMBER),
    maybe("upper", REAL_NUMBER),
    needed("concentrations", JsonText),
    maybe("mean", REAL_NUMBER),
    maybe("recovery_percent", REAL_NUMBER),
    needed("wells_read", Integer),
    needed("wells_passing", Integer),
    needed("more", JsonText),
    Index(None, "analyte", "kit_lot"),
)

acquisition = table(
    "acquisition",
    of_analysis(),
    words("panel"),
    needed("events", BIG_INTEGER),
)

population = table(
    "population",
    of_analysis(),
    place(),
    words("name"),
    words("parent"),
    words("denominator"),
    needed("count", BIG_INTEGER),
    needed("parent_count", BIG_INTEGER),
    maybe("frequency_percent", REAL_NUMBER),
    maybe("lower", REAL_NUMBER),
    maybe("upper", REAL_NUMBER),
    needed("median_intensity", JsonText),
    maybe("quality", REAL_NUMBER),
    needed("cuts", JsonText),
    needed("reportable", Integer),
    needed("findings", JsonText),
    needed("more", JsonText),
    yes_or_no("reportable"),
)

slide = table(
    "slide",
    of_analysis(),
    words("stain"),
    maybe("pixel_size_um", REAL_NUMBER),
    needed("stain_vectors", JsonText),
    needed("white_point", JsonText),
)

score = table(
    "score",
    of_analysis(),
    place(),
    words("region"),
    words("stain"),
    maybe("area_mm2", REAL_NUMBER),
    needed("cells", BIG_INTEGER),
    needed("positive", BIG_INTEGER),
    needed("class_counts", JsonText),
    maybe("positive_percent", REAL_NUMBER),
    maybe("density_per_mm2", REAL_NUMBER),
    maybe("h_score", REAL_NUMBER),
    needed("intervals", JsonText),
    needed("findings", JsonText),
    needed("more", JsonText),
)
