"""The row of a slide in the shape of the CIMAC-CIDC schema."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import pytest

from biomarkers.ihc.records import ScoreRecord
from biomarkers.reports.cidc import CidcPreamble, cidc_document, cidc_row, has_score
from biomarkers.results import Finding, Severity

SHARE = {"type": "number", "minimum": 0, "maximum": 1}
SCHEMA = {
    "type": "object",
    "required": ["protocol_identifier", "antibody", "records"],
    "properties": {
        "records": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["cimac_id", "marker_positive"],
                "properties": {
                    "cimac_id": {"type": "string"},
                    "marker_positive": {"enum": ["positive", "negative", "no_call"]},
                    "tumor_proportion_score": SHARE,
                    "combined_positive_score": SHARE,
                    "inflammatory_cells": SHARE,
                    "positive_inflammatory_cell_area": SHARE,
                    "intensity": {"type": "number", "minimum": 0, "maximum": 3},
                    "percentage_expression": {"type": "number", "minimum": 0, "maximum": 100},
                    "h_score": {"type": "number", "minimum": 0, "maximum": 300},
                },
                "anyOf": [
                    {"required": [name]}
                    for name in (
                        "tumor_proportion_score",
                        "combined_positive_score",
                        "inflammatory_cells",
                        "positive_inflammatory_cell_area",
                        "intensity",
                        "percentage_expression",
                        "h_score",
                    )
                ],
            },
        }
    },
}
"""Names and limits of the published schema ihc_assay.json."""

RECORD = ScoreRecord(
    region="tissue",
    stain="PDL1",
    area_mm2=2.5,
    cells=4000,
    positive=1000,
    class_counts={"0": 3000, "1+": 500, "2+": 300, "3+": 200},
    positive_percent=25.0,
    density_per_mm2=400.0,
    h_score=42.5,
    intervals={},
    findings=(),
    tps=35.0,
    cps=100.0,
)
PREAMBLE = CidcPreamble(protocol_identifier="ATR", antibody="PD-L1", clone="22C3")


def test_proportions_and_the_combined_positive_score_run_from_0_to_1() -> None:
    row = cidc_row(RECORD, cimac_id="ATR-000001", positive_from_percent=1.0)
    assert (row.tumor_proportion_score, row.combined_positive_score) == (0.35, 1.0)
    assert (row.percentage_expression, row.h_score, row.marker_positive) == (25.0, 42.5, "positive")
    jsonschema.validate(cidc_document(PREAMBLE, [row]), SCHEMA)


@pytest.mark.parametrize(
    ("cutoff", "percent", "call"),
    [
        (None, 25.0, "no_call"),
        (25.0, 25.0, "positive"),
        (26.0, 25.0, "negative"),
        (1.0, None, "no_call"),
        (1.0, 0.0, "negative"),
    ],
)
def test_a_slide_is_called_by_the_declared_cutoff_alone(cutoff: float | None, percent: float | None, call: str) -> None:
    row = cidc_row(replace(RECORD, positive_percent=percent), cimac_id="ATR-000001", positive_from_percent=cutoff)
    assert row.marker_positive == call


def test_what_cannot_be_evaluated_is_empty_and_says_why_and_a_measured_zero_is_a_zero() -> None:
    refused = Finding(code="TOO_LITTLE_TISSUE", severity=Severity.REJECT, where="", message="", remedy="")
    nothing = replace(RECORD, positive_percent=None, h_score=None, tps=None, cps=None, findings=(refused,))
    zero = replace(nothing, positive_percent=0.0, findings=())
    rows = [cidc_row(nothing, cimac_id="ATR-000001"), cidc_row(zero, cimac_id="ATR-000002")]
    assert [has_score(row) for row in rows] == [False, True]
    document = cidc_document(PREAMBLE, rows)
    jsonschema.validate(document, SCHEMA)
    assert document["records"] == [{"cimac_id": "ATR-000002", "marker_positive": "no_call", "percentage_expression": 0.0}]
    assert document["not_evaluable"] == [{"cimac_id": "ATR-000001", "reasons": "TOO_LITTLE_TISSUE"}]
