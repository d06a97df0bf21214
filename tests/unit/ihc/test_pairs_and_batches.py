"""Slides pooled, visits compared, batches and their controls judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from biomarkers.errors import StainError
from biomarkers.ihc.batches import (
    StainedSlide,
    batch_findings,
    judge_negative_control,
    judge_positive_control,
    vector_drift,
)
from biomarkers.ihc.pooling import SlideCircumstances, paired_change, pool_records
from biomarkers.ihc.protocol import ControlSettings
from biomarkers.ihc.records import ScoreRecord, SlideAnalysis
from biomarkers.ihc.scoring import BlockCounts, density_per_mm2, h_score, positive_percent
from biomarkers.provenance import Provenance
from biomarkers.results import Assay, Run

PROVENANCE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2026, 1, 1, tzinfo=UTC))


def _record(counts: BlockCounts) -> ScoreRecord:
    assert counts.area_mm2 is not None
    given = {
        "density_per_mm2": density_per_mm2(counts),
        "positive_percent": positive_percent(counts),
        "h_score": h_score(counts),
    }
    return ScoreRecord(
        region="tissue",
        stain="CD8",
        area_mm2=float(counts.area_mm2.sum()),
        cells=counts.total,
        positive=counts.positive,
        class_counts=counts.class_counts,
        positive_percent=given["positive_percent"].value,
        density_per_mm2=given["density_per_mm2"].value,
        h_score=given["h_score"].value,
        intervals={name: estimate.interval for name, estimate in given.items()},
        findings=(),
        inflations={name: estimate.inflation for name, estimate in given.items()},
        standard_errors={name: estimate.standard_error for name, estimate in given.items()},
    )


def _drawn(positive_per_mm2: float, *, area_mm2: float = 2.0, seed: int = 0, dispersion: float = 0.0) -> ScoreRecord:
    """A slide of square blocks of 128 µm whose cells lie as a Poisson process, or clustered."""
    generator = np.random.default_rng(seed)
    side = round((area_mm2 / 0.128**2) ** 0.5)
    blocks, block_mm2 = side**2, 0.128**2
    rate = positive_per_mm2 * block_mm2 * (generator.gamma(1 / dispersion, dispersion, blocks) if dispersion else 1.0)
    positive = generator.poisson(rate, blocks)
    cells = np.stack([generator.poisson(40, blocks), positive, np.zeros(blocks, int), np.zeros(blocks, int)], axis=1)
    return _record(BlockCounts(cells=cells, area_mm2=np.full(blocks, block_mm2), columns=side))


def test_pooled_slides_are_counts_over_areas() -> None:
    large, scrap = _drawn(200.0, area_mm2=4.0), _drawn(20.0, area_mm2=0.2, seed=1)
    pooled = pool_records([large, scrap])
    assert pooled.area_mm2 == pytest.approx((large.area_mm2 or 0) + (scrap.area_mm2 or 0))
    assert pooled.positive == large.positive + scrap.positive
    assert pooled.density_per_mm2 == pytest.approx(pooled.positive / (pooled.area_mm2 or 1))
    # A mean of both densities would say 110.
    assert (pooled.density_per_mm2 or 0) > 150
    assert pooled.h_score == pytest.approx(
        100 * sum(g * pooled.class_counts[n] for g, n in enumerate(("0", "1+", "2+", "3+"))) / pooled.cells
    )


def test_pooling_narrows_the_interval_and_keeps_the_clustering() -> None:
    one, other = (_drawn(100.0, seed=seed, dispersion=1.0) for seed in (1, 2))
    pooled = pool_records([one, other])
    widths = [record.intervals["density_per_mm2"] for record in (one, other, pooled)]
    spans = [(each.upper or 0) - (each.lower or 0) for each in widths]
    assert spans[2] < min(spans[:2])
    assert pooled.inflations is not None
    assert pooled.inflations["density_per_mm2"] > 1.5


def test_pooling_a_slide_that_cannot_be_scored_gives_no_number() -> None:
    lost = replace(_drawn(100.0), density_per_mm2=None, intervals={})
    assert pool_records([_drawn(100.0), lost]).density_per_mm2 is None


def test_slides_of_two_stains_are_not_pooled() -> None:
    with pytest.raises(StainError, match="cannot be pooled"):
        pool_records([_drawn(1.0), replace(_drawn(1.0), stain="CD4")])


def test_the_interval_of_a_change_holds_the_true_change() -> None:
    held_difference = held_ratio = 0
    repeats = 300
    for seed in range(repeats):
        before, after = _drawn(40.0, seed=2 * seed), _drawn(100.0, seed=2 * seed + 1)
        change = paired_change(before, after, score="density_per_mm2")
        assert change is not None
        assert change.difference_interval is not None
        assert change.ratio_interval is not None
        held_difference += (change.difference_interval.lower or 0) <= 60.0 <= (change.difference_interval.upper or 0)
        held_ratio += (change.ratio_interval.lower or 0) <= 2.5 <= (change.ratio_interval.upper or 0)
    # Three hundred repeats know a coverage of 95 % within 2.5 points; limits of counts are a little wide.
    assert 0.92 <= held_difference / repeats <= 0.99
    assert 0.92 <= held_ratio / repeats <= 0.99


def test_a_baseline_of_zero_has_a_difference_but_no_ratio() -> None:
    change = paired_change(_drawn(0.0), _drawn(50.0, seed=3), score="density_per_mm2")
    assert change is not None
    assert change.ratio is None
    assert change.difference > 0
    assert change.difference_interval is not None
    assert (change.difference_interval.lower or 0) > 0


def test_a_visit_that_is_not_evaluable_gives_no_change() -> None:
    assert paired_change(replace(_drawn(10.0), h_score=None), _drawn(10.0), score="h_score") is None


def test_another_batch_or_scanner_is_said() -> None:
    change = paired_change(
        _drawn(10.0),
        _drawn(20.0),
        score="positive_percent",
        baseline_circumstances=SlideCircumstances(batch="B1", scanner="GT450"),
        later_circumstances=SlideCircumstances(batch="B2", scanner="GT450"),
    )
    assert change is not None
    assert [finding.code for finding in change.findings] == ["BATCH_CHANGED"]


def _slide(name: str, dab: tuple[float, float, float] = (0.27, 0.57, 0.78), record: ScoreRecord | None = None) -> SlideAnalysis:
    return SlideAnalysis(
        run=Run(run_id=name, assay=Assay.IHC, name=name, acquired_at="", findings=(), results=(), provenance=PROVENANCE),
        stain="CD8",
        pixel_size_um=0.25,
        stain_vectors={"haematoxylin": (0.65, 0.70, 0.29), "dab": dab, "residual": (0.0, 0.0, 1.0)},
        white_point=(240.0, 240.0, 240.0),
        scores=(record or _drawn(100.0),),
    )


def _stained(name: str, dab: tuple[float, float, float] | None = (0.27, 0.57, 0.78)) -> StainedSlide:
    vectors = {"haematoxylin": (0.65, 0.70, 0.29), **({} if dab is None else {"dab": dab})}
    return StainedSlide(name=name, stain="CD8", vectors=vectors)


def test_a_slide_whose_stain_drifted_is_named() -> None:
    generator = np.random.default_rng(0)
    usual = [_stained(f"s{index}", tuple(np.array([0.27, 0.57, 0.78]) + generator.normal(0, 0.01, 3))) for index in range(8)]
    drifted = _stained("late", (0.45, 0.58, 0.68))
    verdicts = vector_drift([*usual, drifted])
    assert [each.slide for each in verdicts if each.findings] == ["late"]
    assert verdicts[-1].findings[0].code == "STAIN_DRIFT"
    # Between (.27, .57, .78) and (.45, .58, .68) lie 11.6 degrees.
    assert verdicts[-1].angle_deg_by_stain["dab"] == pytest.approx(11.6, abs=1.0)


def test_few_slides_tell_no_drift() -> None:
    assert vector_drift([_stained("a"), _stained("b", (0.6, 0.5, 0.6))]) == ()


def test_a_slide_without_brown_cells_is_compared_by_its_haematoxylin_alone() -> None:
    verdicts = vector_drift([*(_stained(f"s{index}") for index in range(5)), _stained("pale", None)])
    assert [set(each.angle_deg_by_stain) for each in verdicts] == [{"haematoxylin", "dab"}] * 5 + [{"haematoxylin"}]


def test_what_control_slides_say_of_their_batch() -> None:
    def codes(*verdicts: object) -> list[str]:
        return [finding.code for finding in batch_findings("B1", "CD8", verdicts)]  # type: ignore[arg-type]

    control = _slide("control", record=_drawn(1500.0))
    score = control.scores[0].h_score or 0.0
    good = judge_positive_control(control, ControlSettings(positive_h_score=(score - 5, score + 5)))
    bad = judge_positive_control(control, ControlSettings(positive_h_score=(score + 5, score + 50)))
    undeclared = judge_positive_control(control, ControlSettings())
    clean = judge_negative_control(_slide("clean", record=_drawn(0.0)), ControlSettings())
    dirty = judge_negative_control(_slide("dirty", record=_drawn(500.0)), ControlSettings())
    assert codes(good, clean) == []
    assert codes() == ["STAIN_CONTROL_MISSING", "NEGATIVE_CONTROL_MISSING"]
    assert codes(good, bad, dirty) == ["STAIN_CONTROL_FAILED", "BACKGROUND_TOO_HIGH"]
    assert codes(undeclared, clean) == ["CUTOFFS_UNCONFIRMED"]


def test_controls_are_judged_by_declared_limits() -> None:
    control = _slide("control", record=_drawn(1500.0))
    score = control.scores[0].h_score
    assert score is not None
    inside = ControlSettings(positive_h_score=(score - 5, score + 5))
    outside = ControlSettings(positive_h_score=(score + 5, score + 50))
    assert judge_positive_control(control, inside).is_accepted is True
    refused = judge_positive_control(control, outside)
    assert refused.is_accepted is False
    assert [finding.code for finding in refused.findings] == ["POSITIVE_CONTROL_FAILED"]
    undeclared = judge_positive_control(control, ControlSettings())
    assert undeclared.is_accepted is None
    assert [finding.code for finding in undeclared.findings] == ["CONTROL_RANGE_UNDECLARED"]


def test_background_without_primary_antibody_is_judged() -> None:
    assert judge_negative_control(_slide("clean", record=_drawn(0.0)), ControlSettings()).is_accepted is True
    dirty = judge_negative_control(_slide("dirty", record=_drawn(500.0)), ControlSettings())
    assert dirty.is_accepted is False
    assert [finding.code for finding in dirty.findings] == ["NEGATIVE_CONTROL_FAILED"]


def test_a_range_given_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="lower limit first"):
        ControlSettings(positive_h_score=(100, 50))
