"""Optical density, unmixing and the slide's own stain directions."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.errors import StainError
from biomarkers.ihc.stains import (
    StainVectors,
    angle_deg,
    compose_light,
    estimate_vectors,
    find_white_point,
    optical_density,
    separate_stains,
)

EXPECTED = StainVectors.of((0.65, 0.70, 0.29), (0.27, 0.57, 0.78))
WHITE = (240.0, 238.0, 232.0)


def _stained(haematoxylin: tuple[float, float, float], dab: tuple[float, float, float], *, brown: float) -> np.ndarray:
    generator = np.random.default_rng(5)
    amounts = np.zeros((200, 200, 3))
    # Brown lies beside the blue, with a little of it, as a membrane lies beside its nucleus.
    is_brown = generator.random((200, 200)) < brown
    amounts[..., 0] = generator.gamma(2.0, 0.1, (200, 200)) * np.where(is_brown, 0.15, 1.0)
    amounts[..., 1] = generator.gamma(2.0, 0.2, (200, 200)) * is_brown
    # A cell is larger than a pixel: neighbours are alike.
    amounts = np.repeat(np.repeat(amounts[:50, :50], 4, axis=0), 4, axis=1)
    light = compose_light(amounts, WHITE, StainVectors.of(haematoxylin, dab))
    return np.clip(light + generator.normal(0, 1.5, light.shape), 0, 255).astype(np.uint8)


def test_optical_density_is_the_logarithm_of_white_over_light() -> None:
    pixels = np.array([[[240, 24, 0]]], dtype=np.uint8)
    density = optical_density(pixels, (240.0, 240.0, 240.0))
    # A tenth of the light is density 1; no light counts as 1 of 255, the darkest a scanner can tell.
    np.testing.assert_allclose(density[0, 0], [0.0, 1.0, np.log10(240.0)], atol=1e-6)


def test_amounts_come_back_from_the_light_they_let_through() -> None:
    amounts = np.random.default_rng(1).uniform(0, 0.5, (40, 40, 3)) * [1, 1, 0.05]
    found = separate_stains(compose_light(amounts, WHITE, EXPECTED), WHITE, EXPECTED)
    # Half a grey level at the darkest light (about 40 of 255) is .006 in optical density, and unmixing doubles it.
    np.testing.assert_allclose(found, amounts, atol=0.02)


def test_the_residual_is_perpendicular_to_both_stains() -> None:
    assert angle_deg(EXPECTED.residual, EXPECTED.haematoxylin) == pytest.approx(90.0)
    assert angle_deg(EXPECTED.residual, EXPECTED.dab) == pytest.approx(90.0)


def test_equal_directions_are_refused() -> None:
    with pytest.raises(StainError, match="within 10 degrees"):
        StainVectors.of((0.65, 0.70, 0.29), (0.65, 0.71, 0.30))


def test_the_white_point_is_that_of_glass_even_where_tissue_covers_more() -> None:
    picture = np.full((100, 100, 3), (205, 190, 198), dtype=np.uint8)
    picture[:, :15] = (241, 239, 236)
    white = find_white_point(picture)
    assert white.rgb == (241.0, 239.0, 236.0)
    assert white.glass_share == pytest.approx(0.15)


def test_a_dark_picture_has_no_white_point() -> None:
    with pytest.raises(StainError, match="as bright as empty glass"):
        find_white_point(np.full((10, 10, 3), 40, dtype=np.uint8))


@pytest.mark.parametrize(
    ("haematoxylin", "dab"),
    [
        ((0.65, 0.70, 0.29), (0.27, 0.57, 0.78)),
        ((0.55, 0.78, 0.30), (0.27, 0.57, 0.78)),
        ((0.72, 0.65, 0.24), (0.35, 0.60, 0.72)),
    ],
)
def test_the_slides_own_directions_are_found_within_five_degrees(
    haematoxylin: tuple[float, float, float], dab: tuple[float, float, float]
) -> None:
    estimate = estimate_vectors(_stained(haematoxylin, dab, brown=0.3), WHITE, EXPECTED, largest_angle_deg=20.0)
    assert estimate.defaulted == ()
    assert angle_deg(estimate.vectors.haematoxylin, haematoxylin) < 5.0
    assert angle_deg(estimate.vectors.dab, dab) < 5.0
    assert estimate.residual_share < 0.1


def test_a_slide_without_brown_keeps_the_protocols_dab() -> None:
    estimate = estimate_vectors(_stained((0.6, 0.73, 0.32), EXPECTED.dab, brown=0.0), WHITE, EXPECTED, largest_angle_deg=20.0)
    assert estimate.defaulted == ("dab",)
    assert angle_deg(estimate.vectors.dab, EXPECTED.dab) < 1e-3


def test_a_direction_too_far_from_the_protocols_is_not_believed() -> None:
    eosin = (0.07, 0.99, 0.11)
    estimate = estimate_vectors(_stained(EXPECTED.haematoxylin, eosin, brown=0.6), WHITE, EXPECTED, largest_angle_deg=20.0)
    assert "dab" in estimate.defaulted
    assert estimate.residual_share > 0.15


def test_glass_alone_keeps_both_directions_of_the_protocol() -> None:
    glass = np.full((50, 50, 3), 240, dtype=np.uint8)
    estimate = estimate_vectors(glass, WHITE, EXPECTED, largest_angle_deg=20.0)
    assert estimate.defaulted == ("haematoxylin", "dab")
