"""Valleys, tails and mixtures on distributions whose shape is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage, signal

from biomarkers.cytometry import density, mixtures


@pytest.fixture
def two_peaks() -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(4)
    return np.concatenate([rng.normal(0.0, 1.0, 6000), rng.normal(8.0, 1.0, 2000)])


def test_the_cut_lies_where_two_gaussians_density_is_lowest(two_peaks: npt.NDArray[np.float64]) -> None:
    valley = density.find_valley(density.estimate_density(two_peaks))
    # Between equal widths the lowest density lies where the derivatives cancel, near 4.1 for weights 3:1.
    assert valley.cut == pytest.approx(4.1, abs=0.4)
    assert valley.quality > 0.98
    assert (valley.lower_peak, valley.upper_peak) == (pytest.approx(0, abs=0.2), pytest.approx(8, abs=0.2))


def test_one_gaussian_has_no_valley() -> None:
    values = np.random.default_rng(4).normal(0, 1, 5000)
    assert density.find_valley(density.estimate_density(values)) is None


def test_the_highest_valley_counts_a_dim_population_as_negative() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(0, 0.5, 4000), rng.normal(4, 0.5, 800), rng.normal(8, 0.5, 4000)])
    estimated = density.estimate_density(values, adjust=1.0)
    assert density.find_valley(estimated, "highest").cut == pytest.approx(6, abs=0.5)


def test_the_first_valley_above_a_population_parts_it_from_a_rare_neighbour() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(10, 1, 9000), rng.normal(18, 1.5, 300), rng.normal(40, 3, 20000)])
    valley = density.first_valley(density.estimate_density(values, 1.0), 10.0, 12.0, 18.0)
    assert 12 < valley.cut < 17, "one standard deviation clear of both peaks"


def test_the_tail_lies_the_stated_standard_deviations_from_the_peak() -> None:
    values = np.random.default_rng(4).normal(5, 2, 50_000)
    estimated = density.estimate_density(values)
    cut = density.tail_cut(estimated, peak=density.peak_bin(estimated), widths=3, side="above")
    assert cut == pytest.approx(11, abs=0.5)


def test_a_mixture_cut_lies_between_two_overlapping_gaussians() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(0, 1, 5000), rng.normal(2.5, 1, 5000)])
    assert mixtures.mixture_cut(density.estimate_density(values)) == pytest.approx(1.25, abs=0.3)


def test_smoothing_equals_scipys_gaussian_filter(two_peaks: npt.NDArray[np.float64]) -> None:
    estimated = density.estimate_density(two_peaks)
    reference = ndimage.gaussian_filter1d(estimated.counts, estimated.bandwidth_bins, mode="constant", truncate=8)
    np.testing.assert_allclose(estimated.smooth, reference, atol=1e-6 * reference.max())


def test_peaks_and_prominences_equal_scipys(two_peaks: npt.NDArray[np.float64]) -> None:
    estimated = density.estimate_density(two_peaks, adjust=0.2)
    peaks, prominences = density.find_peaks(estimated)
    padded = np.concatenate(([0.0], estimated.smooth, [0.0]))
    expected, properties = signal.find_peaks(padded, prominence=density.LEAST_PROMINENCE * estimated.smooth.max())
    np.testing.assert_array_equal(peaks, expected - 1)
    np.testing.assert_allclose(prominences, properties["prominences"])


def test_too_few_or_equal_values_have_no_density() -> None:
    assert density.estimate_density(np.arange(5.0)) is None
    assert density.estimate_density(np.full(1000, 3.0)) is None
    assert density.estimate_density(np.full(1000, np.nan)) is None


def test_redrawn_cuts_spread_as_cuts_of_new_samples_do() -> None:
    def sample(seed: int) -> npt.NDArray[np.float64]:
        rng = np.random.default_rng(seed)
        return np.concatenate([rng.normal(0, 1, 1500), rng.normal(5, 1, 1500)])

    fresh = [density.find_valley(density.estimate_density(sample(seed))).cut for seed in range(60)]
    estimated = density.estimate_density(sample(0))
    drawn = density.redraw_cuts(estimated, density.find_valley(estimated), seed=1)
    # With 60 and 48 values the ratio of standard deviations of equal distributions stays within a factor of 1.5 in 99 of 100.
    low, high = 1 / 1.5, 1.5
    assert low < np.std(drawn) / np.std(fresh) < high
