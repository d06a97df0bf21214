"""What holds for any stains and any tiles."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from biomarkers.ihc.scoring import BlockCounts, density_per_mm2, h_score, positive_percent
from biomarkers.ihc.slide import TileGrid
from biomarkers.ihc.stains import StainVectors, angle_deg, optical_density, separate_stains

counts = st.lists(st.tuples(*[st.integers(0, 60)] * 4), min_size=1, max_size=12).filter(lambda rows: sum(map(sum, rows)) > 0)
component = st.floats(0.05, 1.0)
direction = st.tuples(component, component, component)


@given(haematoxylin=direction, dab=direction, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_mixing_what_was_unmixed_gives_the_optical_density_back(
    haematoxylin: tuple[float, float, float], dab: tuple[float, float, float], seed: int
) -> None:
    if angle_deg(haematoxylin, dab) < 15.0:
        return
    vectors = StainVectors.of(haematoxylin, dab)
    light = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    white = (240.0, 235.0, 230.0)
    mixed = separate_stains(light, white, vectors) @ vectors.mixing()
    # Single precision, with directions as near as 15 degrees.
    np.testing.assert_allclose(mixed, optical_density(light, white), atol=2e-5)


@given(
    width=st.integers(1, 900), height=st.integers(1, 900), tile=st.integers(1, 300), halo=st.integers(0, 64),
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_centroid_has_one_owner(width: int, height: int, tile: int, halo: int, points: list[tuple[float, float]]) -> None:
    if width * height > 4000 * tile * tile:
        return
    share = np.asarray(points)
    x, y = -0.5 + share[:, 0] * width * 0.999999, -0.5 + share[:, 1] * height * 0.999999
    owners = sum(each.core.holds(x, y).astype(int) for each in TileGrid(width=width, height=height, tile=tile, halo=halo))
    np.testing.assert_array_equal(owners, 1)


@given(rows=counts)
@settings(max_examples=100, deadline=None)
def test_scores_lie_in_their_range_and_inside_their_limits(rows: list[tuple[int, int, int, int]]) -> None:
    blocks = BlockCounts(cells=np.asarray(rows, dtype=np.int64), area_mm2=np.full(len(rows), 0.02))
    for score, highest in ((positive_percent, 100.0), (h_score, 300.0), (density_per_mm2, float("inf"))):
        found = score(blocks)
        lower, upper = found.interval.lower, found.interval.upper
        assert lower is not None
        assert upper is not None
        assert 0.0 <= lower <= found.value + 1e-9
        assert found.value - 1e-9 <= upper <= highest


@given(rows=counts)
@settings(max_examples=50, deadline=None)
def test_the_h_score_lies_between_one_and_three_times_the_positive_percentage(rows: list[tuple[int, int, int, int]]) -> None:
    blocks = BlockCounts(cells=np.asarray(rows, dtype=np.int64), area_mm2=None)
    percent, score = positive_percent(blocks).value, h_score(blocks).value
    assert percent - 1e-9 <= score <= 3 * percent + 1e-9
