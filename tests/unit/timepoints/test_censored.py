"""Estimates with bounds, against SciPy where it can, and against what defines them where nothing else can."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biomarkers.timepoints.censored import Known, Step, median, median_limits, pseudo_median, quantile, turnbull
from biomarkers.timepoints.lognormal import geometric_mean

INFINITY = math.inf

COSMESIS = (
    *((45, INFINITY), (6, 10), (0, 7), (46, INFINITY), (46, INFINITY), (7, 16), (17, INFINITY), (7, 14), (37, 44), (0, 8)),
    *((4, 11), (15, INFINITY), (11, 15), (22, INFINITY), (46, INFINITY), (46, INFINITY), (25, 37), (46, INFINITY), (26, 40)),
    *((46, INFINITY), (27, 34), (36, 44), (46, INFINITY), (36, 48), (37, INFINITY), (40, INFINITY), (17, 25), (46, INFINITY)),
    *((11, 18), (38, INFINITY), (5, 12), (37, INFINITY), (0, 5), (18, INFINITY), (24, INFINITY), (36, INFINITY), (5, 11)),
    *((19, 35), (17, 25), (24, INFINITY), (32, INFINITY), (33, INFINITY), (19, 26), (37, INFINITY), (34, INFINITY)),
    (36, INFINITY),
)
"""Months until cosmetic deterioration after radiotherapy, 46 women: Finkelstein and Wolfe, Biometrics 1985;41:933-945."""


def exact(*values: float) -> list[Known]:
    return [Known(low=value, high=value) for value in values]


def below(limit: float) -> Known:
    return Known(low=0.0, high=limit, open_high=True)


def above(limit: float) -> Known:
    return Known(low=limit, high=INFINITY, open_low=True)


def assert_maximum_likelihood(known: Sequence[Known], steps: Sequence[Step], tolerance: float) -> None:
    """At the maximum no place could take weight with profit: the condition that defines the estimate (Gentleman and Geyer)."""
    weights = np.array([step.share for step in steps])
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    held = np.array([[one.low <= step.low and step.high <= one.high for step in steps] for one in known], dtype=float)
    for one, row in zip(known, held, strict=True):
        for at, step in enumerate(steps):
            if step.low == step.high and ((one.open_low and step.low == one.low) or (one.open_high and step.high == one.high)):
                row[at] = 0.0
    gain = (held / (held @ weights)[:, None]).mean(axis=0)
    assert gain == pytest.approx(np.ones(len(steps)), abs=tolerance)


def test_the_estimate_of_a_published_interval_censored_sample_is_its_maximum_likelihood() -> None:
    known = [Known(low=low, high=high, open_low=True) for low, high in COSMESIS]
    steps = turnbull(known)
    assert [(step.low, step.high) for step in steps] == [
        *((4, 5), (6, 7), (7, 8), (11, 12), (24, 25), (33, 34), (38, 40), (46, 48)),
    ]
    assert_maximum_likelihood(known, steps, tolerance=1e-6)


def test_with_values_above_a_limit_it_is_the_product_limit_estimate_of_scipy() -> None:
    values, limits = [3.0, 5.0, 5.0, 8.0, 13.0], [4.0, 6.0, 20.0]
    steps = turnbull([*exact(*values), *map(above, limits)])
    oracle = stats.ecdf(stats.CensoredData(uncensored=values, right=limits)).cdf
    for value, expected in zip(oracle.quantiles, oracle.probabilities, strict=True):
        assert sum(step.share for step in steps if step.high <= value) == pytest.approx(expected, abs=1e-6)


def test_with_values_below_a_limit_it_is_the_product_limit_estimate_of_scipy_mirrored() -> None:
    values, limits = [3.0, 5.0, 5.0, 8.0, 13.0], [4.0, 6.0, 9.0]
    steps = turnbull([*exact(*values), *map(below, limits)])
    mirrored = stats.ecdf(stats.CensoredData(uncensored=[-v for v in values], right=[-v for v in limits])).cdf
    for value, expected in zip(mirrored.quantiles, mirrored.probabilities, strict=True):
        assert sum(step.share for step in steps if step.low >= -value) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(1, 20).map(lambda value: exact(float(value))[0]),
            st.integers(1, 20).map(lambda limit: below(float(limit))),
            st.integers(1, 20).map(lambda limit: above(float(limit))),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_any_mixture_of_values_and_bounds_gives_a_distribution_that_explains_every_one(known: list[Known]) -> None:
    steps = turnbull(known)
    assert sum(step.share for step in steps) == pytest.approx(1.0, abs=1e-4)
    for one in known:
        assert any(one.low <= step.low and step.high <= one.high for step in steps)


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40))
def test_quantiles_of_plain_values_are_those_of_numpy(values: list[float]) -> None:
    steps = turnbull(exact(*values))
    for share in (0.25, 0.5, 0.75):
        found = quantile(steps, share)
        assert found.low == found.high
        assert found.low == pytest.approx(np.quantile(values, share, method="averaged_inverted_cdf"), rel=1e-12)


def test_the_median_is_a_bound_when_most_values_are() -> None:
    steps = turnbull([below(3.0), below(3.0), below(3.0), *exact(4.0, 5.0)])
    found = quantile(steps, 0.5)
    assert (found.low, found.high) == (0.0, 3.0)


def test_values_below_a_limit_lie_below_all_values_above_it() -> None:
    steps = turnbull([below(3.0), below(3.0), *exact(4.0, 5.0, 6.0)])
    assert (quantile(steps, 0.5).low, quantile(steps, 0.5).high) == (4.0, 4.0)
    assert (quantile(steps, 0.25).low, quantile(steps, 0.25).high) == (0.0, 3.0)


def test_on_the_edge_between_a_bound_and_a_value_the_median_lies_between_two_ends() -> None:
    found = quantile(turnbull([below(3.0), *exact(5.0)]), 0.5)
    assert (found.low, found.high) == (2.5, 4.0)


@pytest.mark.parametrize("count", [6, 7, 12, 25, 40])
def test_limits_of_a_median_are_those_of_the_sign_test_in_scipy(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count)
    limits = median_limits(exact(*values))
    assert limits.lower is not None
    assert limits.upper is not None
    for inside in (limits.lower * (1 + 1e-9), limits.upper * (1 - 1e-9)):
        assert stats.quantile_test(values, q=inside, p=0.5).pvalue >= 0.05
    for outside in (limits.lower * (1 - 1e-9), limits.upper * (1 + 1e-9)):
        assert stats.quantile_test(values, q=outside, p=0.5).pvalue < 0.05


@pytest.mark.parametrize("count", [0, 1, 5])
def test_fewer_than_six_values_give_no_interval(count: int) -> None:
    limits = median_limits(exact(*range(1, count + 1)))
    assert (limits.lower, limits.upper) == (None, None)


def test_limits_beyond_what_is_known_are_open() -> None:
    limits = median_limits([*exact(1.0, 2.0), *map(above, [3.0] * 6)])
    assert (limits.lower, limits.upper) == (1.0, None)


def test_limits_hold_the_true_median_change_in_95_of_100_studies_with_60_percent_of_values_censored() -> None:
    rng = np.random.default_rng(20250310)
    held, trials, pairs, limit = 0, 2_000, 20, 1.2
    for _ in range(trials):
        before, after = rng.lognormal(0.0, 1.0, pairs), rng.lognormal(0.0, 1.0, pairs)
        known = []
        for one, other in zip(before, after, strict=True):
            low_one, high_one = (0.0, limit) if one < limit else (one, one)
            low_other, high_other = (0.0, limit) if other < limit else (other, other)
            known.append(Known(low=low_other - high_one, high=high_other - low_one))
        limits = median_limits(known)
        held += (limits.lower is None or limits.lower <= 0.0) and (limits.upper is None or limits.upper >= 0.0)
    # Bounds can only widen the interval: what is too wide is no fault, what is too narrow is.
    assert held / trials >= 0.95


@pytest.mark.parametrize(("low", "high"), [(0.5, INFINITY), (0.0, 4.0), (0.5, 4.0)])
def test_the_geometric_mean_with_bounds_is_the_maximum_of_scipys_likelihood(low: float, high: float) -> None:
    values = np.random.default_rng(7).lognormal(0.3, 1.0, 60)
    known = [below(low) if value < low else above(high) if value > high else exact(value)[0] for value in values]
    inside = values[(values >= low) & (values <= high)]
    data = stats.CensoredData(
        uncensored=np.log(inside),
        left=np.full(int((values < low).sum()), math.log(low) if low else 0.0),
        right=np.full(int((values > high).sum()), math.log(high)),
    )
    mean, _ = stats.norm.fit(data)
    found = geometric_mean(known)
    assert found is not None
    # SciPy's optimiser stops within about 1e-5 of the maximum.
    assert math.log(found.value) == pytest.approx(mean, abs=1e-4)


def test_substituting_half_the_limit_is_biased_where_the_likelihood_is_not() -> None:
    rng = np.random.default_rng(11)
    limit, by_likelihood, by_substitution = math.exp(0.2), [], []
    for _ in range(100):
        values = rng.lognormal(0.0, 1.0, 200)
        found = geometric_mean([below(limit) if value < limit else exact(value)[0] for value in values])
        assert found is not None
        by_likelihood.append(math.log(found.value))
        by_substitution.append(float(np.log(np.where(values < limit, limit / 2, values)).mean()))
    # The true logarithm is 0; 100 samples of 200 leave a standard error of the mean of about 0.01.
    assert abs(float(np.mean(by_likelihood))) < 0.05
    assert abs(float(np.mean(by_substitution))) > 0.1


def test_without_bounds_it_is_the_plain_geometric_mean_with_students_limits() -> None:
    logs = np.log([2.0, 8.0, 4.0, 1.0, 16.0, 3.0])
    found = geometric_mean(exact(*np.exp(logs)))
    assert found is not None
    assert math.log(found.value) == pytest.approx(logs.mean(), rel=1e-12)
    oracle = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert found.limits.lower == pytest.approx(math.exp(oracle.low), rel=1e-9)
    assert found.limits.upper == pytest.approx(math.exp(oracle.high), rel=1e-9)


@pytest.mark.parametrize(
    "known",
    [
        exact(0.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        [below(1.0)] * 9,
        exact(2.0, 3.0, 4.0, 5.0),
        [*exact(2.0, 3.0, 4.0, 5.0), below(1.0)],
        [*exact(2.0, 3.0, 4.0, 5.0, 6.0), *[below(1.0)] * 12],
        [*exact(2.0, 2.0, 2.0, 2.0, 2.0), below(1.0)],
        [],
    ],
    ids=["zero", "only bounds", "four values", "four exact", "over 70 percent bounds", "no spread", "nothing"],
)
def test_there_is_no_geometric_mean_where_the_data_do_not_carry_it(known: list[Known]) -> None:
    assert geometric_mean(known) is None


def test_with_more_than_half_bounds_the_median_is_the_bound_whatever_the_few_exact_values_say() -> None:
    known = [*exact(1.0, 2.0), below(10.0), below(10.0), below(10.0)]
    # Turnbull puts the weight of the bounds on the two exact values; nothing but the bound is known of the median.
    assert quantile(turnbull(known), 0.5).high == 1.5
    found = median(known)
    assert found is not None
    assert (found.low, found.high) == (0.0, 10.0)
    assert median([]) is None


@given(st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=12))
def test_the_pseudo_median_is_the_median_of_all_means_of_two(values: list[float]) -> None:
    means = [(one + other) / 2 for at, one in enumerate(values) for other in values[at:]]
    found = pseudo_median(exact(*values))
    assert found is not None
    assert found.low == found.high == pytest.approx(np.median(means))


@pytest.mark.parametrize("count", [6, 9, 15, 25])
def test_hodges_lehmann_limits_are_those_that_the_signed_rank_test_of_scipy_does_not_reject(count: int) -> None:
    values = np.random.default_rng(count).normal(0.4, 1.0, size=count)
    found = pseudo_median(exact(*values))
    assert found is not None
    assert found.limits.lower is not None
    assert found.limits.upper is not None
    width = found.limits.upper - found.limits.lower
    for inside in (found.limits.lower + 1e-9 * width, found.limits.upper - 1e-9 * width):
        assert stats.wilcoxon(values - inside, method="exact").pvalue >= 0.05
    for outside in (found.limits.lower - 1e-9 * width, found.limits.upper + 1e-9 * width):
        assert stats.wilcoxon(values - outside, method="exact").pvalue < 0.05


def test_fewer_than_six_values_give_a_pseudo_median_without_limits() -> None:
    found = pseudo_median(exact(1.0, 2.0, 3.0, 4.0, 5.0))
    assert found is not None
    assert (found.low, found.limits.lower, found.limits.upper) == (3.0, None, None)


def test_bounds_widen_the_pseudo_median_to_the_ends_it_lies_between() -> None:
    found = pseudo_median([*exact(1.0, 2.0), Known(low=-5.0, high=0.0)])
    assert found is not None
    assert (found.low, found.high) == (-0.25, 1.0)
