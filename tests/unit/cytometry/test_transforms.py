"""Display scales; equality with FlowKit is in tests/reference."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.cytometry.transforms import (
    NARROWEST_WIDTH,
    TABLE_PAYS_FROM,
    WIDEST_WIDTH,
    Asinh,
    Linear,
    Logicle,
    estimate_width,
)


def test_the_logicle_maps_its_top_to_one_and_zero_to_the_width() -> None:
    scale = Logicle(top=262_144.0, width=0.75)
    values = scale.apply(np.array([0.0, 262_144.0], dtype=np.float32))
    # Gating-ML 2.0: zero maps to (W + A) / (M + A).
    np.testing.assert_allclose(values, [0.75 / 4.5, 1.0], atol=1e-6)


def test_the_table_and_the_exact_solution_agree() -> None:
    values = np.linspace(-20_000, 300_000, TABLE_PAYS_FROM, dtype=np.float32)
    scale = Logicle(top=262_144.0, width=0.5)
    parts = np.concatenate([scale.apply(part) for part in np.array_split(values, 4)])
    np.testing.assert_allclose(scale.apply(values), parts, atol=1e-6)


@pytest.mark.parametrize("count", [10, TABLE_PAYS_FROM + 10])
def test_values_that_are_no_measurement_stay_none(count: int) -> None:
    values = np.linspace(-100, 1000, count, dtype=np.float32)
    values[3], values[4] = np.nan, np.inf
    scaled = Logicle(top=262_144.0, width=0.5).apply(values)
    assert np.isnan(scaled[3])
    assert np.isposinf(scaled[4])
    assert np.isfinite(np.delete(scaled, [3, 4])).all()


def test_asinh_and_linear_are_what_they_say() -> None:
    values = np.array([-150.0, 0.0, 150.0], dtype=np.float32)
    np.testing.assert_allclose(Asinh(cofactor=150.0).apply(values), np.arcsinh([-1.0, 0.0, 1.0]), rtol=1e-6)
    assert Linear().apply(values) is values


def test_the_width_follows_the_negatives() -> None:
    rng = np.random.default_rng(1)
    narrow = estimate_width(rng.normal(0, 50, 5000).astype(np.float32), 262_144.0)
    wide = estimate_width(rng.normal(0, 500, 5000).astype(np.float32), 262_144.0)
    # Ten times the spread is one decade, of which the width takes half (Parks 2006).
    assert wide - narrow == pytest.approx(0.5, abs=0.03)


def test_the_width_stays_within_its_limits() -> None:
    assert estimate_width(np.arange(100, dtype=np.float32), 262_144.0) == NARROWEST_WIDTH
    assert estimate_width(np.full(100, -1e6, dtype=np.float32), 262_144.0) == WIDEST_WIDTH
