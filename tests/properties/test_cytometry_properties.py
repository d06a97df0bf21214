"""What must hold of scales, densities and intervals for any data."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from biomarkers.cytometry import density
from biomarkers.cytometry.compensation import undo_spillover
from biomarkers.cytometry.cuts import NO_VALLEY_QUALITY
from biomarkers.cytometry.frequencies import Spread, frequency_interval
from biomarkers.cytometry.transforms import Logicle

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, width=st.floats(0.3, 1.7))
@settings(max_examples=40, deadline=None)
def test_the_logicle_rises_with_its_values(seed: int, width: float) -> None:
    values = np.sort(np.random.default_rng(seed).normal(0, 30_000, 300).astype(np.float32))
    scaled = Logicle(top=262_144.0, width=width).apply(values)
    assert (np.diff(scaled) >= 0).all()


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_undoing_spillover_is_the_inverse_of_spilling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.eye(5) + rng.uniform(0, 0.15, (5, 5)) * (1 - np.eye(5))
    true = rng.uniform(-500, 50_000, (200, 5))
    back = undo_spillover((true @ matrix).astype(np.float32), list(range(5)), matrix)
    # float32 has seven digits; the inverse of such a matrix at most trebles the error.
    np.testing.assert_allclose(back, true, atol=0.05)


@given(seed=seeds, shift=st.floats(-1000, 1000), factor=st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_a_valley_moves_with_its_data(seed: int, shift: float, factor: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 1, 3000), rng.normal(7, 1, 1500)])
    cut = density.find_valley(density.estimate_density(values)).cut
    moved = density.find_valley(density.estimate_density(values * factor + shift)).cut
    estimated = density.estimate_density(values)
    assert abs(moved - (cut * factor + shift)) <= 12 * estimated.bin_width * factor, "a flat valley is found to a few bins"


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_the_cut_lies_between_its_peaks_and_its_quality_between_0_and_1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate(
        [rng.normal(0, 1, rng.integers(50, 2000)), rng.normal(rng.uniform(1, 8), 1, rng.integers(50, 2000))]
    )
    valley = density.find_valley(density.estimate_density(values))
    if valley is not None:
        assert valley.lower_peak <= valley.cut <= valley.upper_peak
        assert 0 <= valley.quality <= 1


def test_a_single_gaussian_rarely_shows_a_valley_that_would_be_believed() -> None:
    believed = 0
    for seed in range(300):
        values = np.random.default_rng(seed).normal(0, 1, 3000)
        valley = density.find_valley(density.estimate_density(values))
        believed += valley is not None and valley.quality >= NO_VALLEY_QUALITY
    assert believed <= 9, "three in a hundred: ripples in thin tails"


@given(parent=st.integers(1, 100_000), share=st.floats(0, 1), cut=st.floats(0, 0.05))
def test_the_interval_holds_its_frequency_and_stays_within_0_and_100(parent: int, share: float, cut: float) -> None:
    count = round(parent * share)
    limits = frequency_interval([Spread(count=count, parent_count=parent, cut_variance=cut)])
    assert 0 <= limits.lower <= 100 * count / parent + 1e-9
    assert 100 * count / parent - 1e-9 <= limits.upper <= 100
