"""Classes, percentages, densities, H-scores and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biomarkers.ihc.detection import Segmentation
from biomarkers.ihc.protocol import ScoringSettings
from biomarkers.ihc.scoring import (
    BlockCounts,
    density_per_mm2,
    h_score,
    intensity_class,
    measure_cells,
    positive_percent,
)


def _one_block(*cells: int, area_mm2: float = 1.0) -> BlockCounts:
    return BlockCounts(cells=np.array([cells], dtype=np.int64), area_mm2=np.array([area_mm2]))


def test_a_cell_on_a_cut_off_has_reached_it() -> None:
    grades = intensity_class(np.array([0.19, 0.2, 0.39, 0.4, 0.6, 2.0]), (0.2, 0.4, 0.6))
    np.testing.assert_array_equal(grades, [0, 1, 1, 2, 3, 3])


def test_the_h_score_weighs_one_two_three() -> None:
    # 40 % 1+, 20 % 2+, 10 % 3+: 40 + 40 + 30.
    assert h_score(_one_block(30, 40, 20, 10)).value == pytest.approx(110.0)


def test_the_percentage_of_one_block_has_wilsons_limits() -> None:
    found = positive_percent(_one_block(90, 10, 0, 0))
    known = stats.binomtest(10, 100).proportion_ci(method="wilson")
    assert found.value == pytest.approx(10.0)
    assert (found.interval.lower, found.interval.upper) == pytest.approx((100 * known.low, 100 * known.high))


def test_no_positive_cell_is_a_measured_zero_with_an_upper_limit() -> None:
    counts = _one_block(500, 0, 0, 0, area_mm2=2.0)
    density = density_per_mm2(counts)
    assert density.value == 0.0
    # Garwood's upper 97.5 % limit of a count of 0 is 3.689.
    assert (density.interval.lower, density.interval.upper) == pytest.approx((0.0, 3.689 / 2), abs=1e-3)
    assert positive_percent(counts).interval.lower == 0.0
    assert positive_percent(counts).interval.upper == pytest.approx(0.762, abs=0.001)
    assert h_score(counts).interval.upper > 0


def test_a_density_from_one_block_has_the_exact_poisson_limits() -> None:
    found = density_per_mm2(_one_block(0, 10, 0, 0, area_mm2=0.5))
    # Garwood's limits of a count of 10 are 4.795 and 18.391.
    assert found.value == 20.0
    assert (found.interval.lower, found.interval.upper) == pytest.approx((9.59, 36.78), abs=0.01)


def test_clustered_cells_widen_every_interval() -> None:
    even = BlockCounts(cells=np.tile([90, 4, 3, 3], (20, 1)), area_mm2=np.full(20, 0.05))
    clusters = np.array([[100, 0, 0, 0]] * 18 + [[0, 40, 30, 30]] * 2)
    clustered = BlockCounts(cells=clusters, area_mm2=np.full(20, 0.05))
    for score in (positive_percent, density_per_mm2, h_score):
        narrow, wide = score(even), score(clustered)
        assert narrow.value == pytest.approx(wide.value)
        assert wide.interval.upper - wide.interval.lower > 2 * (narrow.interval.upper - narrow.interval.lower)


@pytest.mark.parametrize("dispersion", [None, 2.0])
def test_intervals_hold_the_true_value_as_often_as_they_say(dispersion: float | None) -> None:
    generator = np.random.default_rng(11)
    mean, share, repeats, blocks = 40.0, 0.25, 600, 40
    held = {"density": 0, "percent": 0, "h": 0}
    for _ in range(repeats):
        rate = mean if dispersion is None else generator.gamma(dispersion, mean / dispersion, blocks)
        cells = generator.poisson(rate, blocks)
        positive = generator.binomial(cells, share)
        grades = np.stack([cells - positive, positive, np.zeros(blocks, int), np.zeros(blocks, int)], axis=1)
        counts = BlockCounts(cells=grades, area_mm2=np.full(blocks, 0.02))
        for name, score, truth in (
            ("density", density_per_mm2, mean * share / 0.02),
            ("percent", positive_percent, 100 * share),
            ("h", h_score, 100 * share),
        ):
            interval = score(counts).interval
            held[name] += interval.lower <= truth <= interval.upper
    # Six hundred repeats know a coverage of 95 % within two points; limits no narrower than independent cells' cover more.
    for name, count in held.items():
        assert 0.92 <= count / repeats <= 0.99, name


SETTINGS = ScoringSettings(compartment="membrane", cutoffs=(0.2, 0.4, 0.6))


def _disk(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(columns - x, rows - y) <= radius


def _cell_with_ring(*, ring_od: float, nucleus_od: float) -> tuple[Segmentation, np.ndarray]:
    shape = (60, 60)
    nucleus, around = _disk(shape, 30, 30, 6), _disk(shape, 30, 30, 9.5)
    dab = np.where(nucleus, nucleus_od, np.where(around, ring_od, 0.0)).astype(np.float32)
    return Segmentation(labels=nucleus.astype(np.int32), by_chromogen=np.array([False])), dab


def test_a_stained_membrane_is_read_on_the_ring() -> None:
    segmentation, dab = _cell_with_ring(ring_od=0.5, nucleus_od=0.05)
    cells = measure_cells(segmentation, dab, SETTINGS, pixel_size_um=0.5)
    # The quantile is read in steps of .002.
    assert cells.dab_od[0] == pytest.approx(0.5, abs=0.002)
    assert cells.intensity_class[0] == 2
    assert (cells.x_px[0], cells.y_px[0]) == pytest.approx((30.0, 30.0))


def test_the_same_cell_is_negative_for_a_nuclear_stain() -> None:
    segmentation, dab = _cell_with_ring(ring_od=0.5, nucleus_od=0.05)
    nuclear = SETTINGS.model_copy(update={"compartment": "nucleus"})
    cells = measure_cells(segmentation, dab, nuclear, pixel_size_um=0.5)
    assert cells.dab_od[0] == pytest.approx(0.05, abs=1e-6)
    assert cells.intensity_class[0] == 0


def test_a_stained_neighbour_on_one_side_does_not_make_a_cell_positive() -> None:
    segmentation, dab = _cell_with_ring(ring_od=0.02, nucleus_od=0.02)
    dab[:, 37:] = 0.9
    cells = measure_cells(segmentation, dab, SETTINGS, pixel_size_um=0.5)
    assert cells.intensity_class[0] == 0


def test_rings_of_touching_cells_are_shared_by_nearness() -> None:
    labels = np.zeros((60, 80), dtype=np.int32)
    labels[_disk(labels.shape, 30, 30, 6)] = 1
    labels[_disk(labels.shape, 46, 30, 6)] = 2
    dab = np.zeros(labels.shape, dtype=np.float32)
    dab[:, 39:] = 0.7
    cells = measure_cells(Segmentation(labels=labels, by_chromogen=np.array([False, False])), dab, SETTINGS, pixel_size_um=0.5)
    np.testing.assert_array_equal(cells.intensity_class, [0, 3])
