"""What counts of a gated tube say about it."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.cytometry.tube_quality import TubeCounts, debris_events, tube_findings
from biomarkers.readers.declarations import parse_declaration
from biomarkers.readers.opencyto_templates import panel_text
from biomarkers.readers.panels import packaged_panel

LIMITS = QualityLimits()
GOOD = TubeCounts(judged=200_000, singlets=190_000, live=170_000, lymphocytes=100_000, debris=20_000)


def test_a_good_tube_has_no_findings() -> None:
    assert tube_findings("tube", GOOD, LIMITS) == ()


@pytest.mark.parametrize(
    ("counts", "code", "told"),
    [
        (TubeCounts(judged=1000, singlets=800), "MANY_DOUBLETS", "20.0 % of events are no single cells; more than 15 %"),
        (TubeCounts(judged=1000, debris=400), "MUCH_DEBRIS", "40.0 % of events are smaller than half a lymphocyte"),
        (TubeCounts(judged=1000, singlets=900, live=450), "LOW_VIABILITY", "50.0 % of single cells are alive; at least 70 %"),
        (
            TubeCounts(judged=50_000, lymphocytes=9000),
            "FEW_LYMPHOCYTES",
            "holds 9000 lymphocytes; 10000 are wanted for lineages",
        ),
        (TubeCounts(judged=50_000, lymphocytes=20_000), "FEW_LYMPHOCYTES", "50000 are wanted for rare subsets"),
    ],
)
def test_each_limit_is_told_with_its_value_and_source(counts: TubeCounts, code: str, told: str) -> None:
    (finding,) = tube_findings("tube", counts, LIMITS)
    assert finding.code == code
    assert told in finding.message
    assert "confirmed by each site" in finding.message


def test_what_the_panel_does_not_tell_apart_is_not_judged() -> None:
    assert tube_findings("tube", TubeCounts(judged=0), LIMITS) == ()


def test_debris_is_smaller_than_half_a_lymphocyte() -> None:
    scatter = np.array([10, 30, 49, 51, 90, 100, 110, np.nan], dtype=np.float32)
    lymphocytes = np.array([False] * 4 + [True] * 3 + [False])
    assert debris_events(scatter, lymphocytes) == 3
    assert debris_events(scatter, np.zeros(8, dtype=np.bool_)) is None


def test_a_panel_may_set_its_own_limits_and_must_name_their_source() -> None:
    panel = packaged_panel("pbmc-lineage")
    text = panel_text(panel.model_copy(update={"quality": QualityLimits()}))
    quality = '[quality]\nviability_percent = { value = 80, source = "SOP 12" }\n\n[[markers]]'
    changed = parse_declaration(text.replace("[[markers]]", quality, 1), Panel, name="panel.toml")
    assert changed.quality.viability_percent.value == 80
    (finding,) = tube_findings("tube", TubeCounts(judged=1000, singlets=1000, live=750), changed.quality)
    assert "at least 80 % are wanted (SOP 12)" in finding.message
