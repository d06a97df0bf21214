"""Ellipses around clouds whose centre, spread and strangers are known."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.cytometry import ellipses

CENTRE, COVARIANCE = np.array([1000.0, 500.0]), np.array([[2500.0, 1200.0], [1200.0, 1600.0]])


def _cloud(count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(seed).multivariate_normal(CENTRE, COVARIANCE, count).astype(np.float32)
    return points[:, 0], points[:, 1]


def test_centre_and_covariance_of_a_gaussian_cloud_are_found() -> None:
    centre, covariance = ellipses.robust_cloud(*_cloud(20_000))
    # Standard errors: 0.4 of the centre; about one percent of the covariance, a little more for the robust estimate.
    np.testing.assert_allclose(centre, CENTRE, atol=2.0)
    np.testing.assert_allclose(covariance, COVARIANCE, rtol=0.06)


def test_a_fifth_of_strangers_hardly_moves_the_ellipse() -> None:
    x, y = _cloud(4000)
    rng = np.random.default_rng(5)
    x = np.concatenate((x, rng.normal(1400, 300, 1000).astype(np.float32)))
    y = np.concatenate((y, rng.normal(1500, 300, 1000).astype(np.float32)))
    centre, covariance = ellipses.robust_cloud(x, y)
    np.testing.assert_allclose(centre, CENTRE, atol=10.0)
    # With a fifth of strangers half of all events are five eighths of the cloud: it looks wider by ln(8/3)/ln 2 = 1.42.
    assert 1.0 < covariance[0, 0] / COVARIANCE[0, 0] < 1.6
    plain = np.cov(x, y)
    assert plain[1, 1] / COVARIANCE[1, 1] > 50, "what an estimate that is not robust would say"


def test_too_few_or_equal_events_have_no_cloud() -> None:
    assert ellipses.robust_cloud(*_cloud(40)) is None
    flat = np.full(500, 3.0, dtype=np.float32)
    assert ellipses.robust_cloud(flat, flat) is None


def test_the_cloud_does_not_depend_on_the_order_of_events() -> None:
    x, y = _cloud(30_000)
    order = np.random.default_rng(1).permutation(x.size)
    for one, other in zip(ellipses.robust_cloud(x, y), ellipses.robust_cloud(x[order], y[order]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("widths", [2.0, 3.0])
def test_the_share_inside_is_what_a_gaussian_has(widths: float) -> None:
    x, y = _cloud(50_000)
    centre, covariance = ellipses.robust_cloud(x, y)
    inside = np.mean(ellipses.square_distance(x, y, centre, covariance) <= widths**2)
    # In two dimensions exp(-w^2/2) of a Gaussian lies outside w standard deviations.
    assert inside == pytest.approx(1 - np.exp(-(widths**2) / 2), abs=0.01)


def test_events_without_a_value_lie_in_no_ellipse() -> None:
    ellipse = ellipses.Ellipse(
        markers=("FSC-A", "SSC-A"),
        centre=CENTRE,
        covariance=COVARIANCE,
        distance_square=16.0,
        quality=None,
        origin="main cloud",
    )
    x = np.array([1000.0, np.nan], dtype=np.float32)
    assert ellipse.keeps(x, np.array([500.0, 500.0], dtype=np.float32)).tolist() == [True, False]


def test_redrawn_ellipses_spread_as_ellipses_of_new_clouds_do() -> None:
    fresh = [ellipses.robust_cloud(*_cloud(2000, seed)) for seed in range(60)]
    centre, covariance = ellipses.robust_cloud(*_cloud(2000, 99))
    drawn = ellipses.redraw(centre, covariance, 2000, seed=1)
    # 60 and 48 values of equal distributions: the ratio of standard deviations stays within a factor of 1.5 in 99 of 100.
    for column, values in enumerate([[c[0] for c, _ in fresh], [c[1] for c, _ in fresh]]):
        assert 1 / 1.5 < drawn[:, column].std() / np.std(values) < 1.5
    widths = np.std([s[0, 0] for _, s in fresh])
    assert 1 / 2.0 < drawn[:, 2].std() / widths < 2.0, "the median's share of the scale is not modelled"
