"""Tissue against empty glass."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.ihc.protocol import TissueSettings
from biomarkers.ihc.slide import Region
from biomarkers.ihc.tissue import TissueMap, find_tissue

WHITE = (240.0, 240.0, 240.0)
SETTINGS = TissueSettings()


def _picture(side: int = 200) -> np.ndarray:
    noise = np.random.default_rng(4).normal(0, 0.6, (side, side, 3))
    return np.clip(np.rint(240 + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("light", [228, 200, 120], ids=["pale", "usual", "dark"])
def test_the_area_of_a_square_of_tissue_is_found_whatever_its_stain(light: int) -> None:
    picture = _picture()
    picture[50:150, 40:160] = light
    mask = find_tissue(picture, WHITE, 0.5, SETTINGS, 4.0)
    # A quarter of a pixel of 4 um along the border is 1 % of this area.
    assert mask.sum() == pytest.approx(100 * 120, rel=0.02)


def test_a_wide_lumen_is_glass_and_a_narrow_cleft_is_tissue() -> None:
    picture = _picture()
    picture[20:180, 20:180] = 190
    picture[60:100, 60:100] = 240
    picture[140:143, 40:160] = 240
    mask = find_tissue(picture, WHITE, 0.5, SETTINGS, 4.0)
    assert not mask[70:90, 70:90].any()
    assert mask[141, 60:140].all()


def test_specks_on_glass_are_no_tissue() -> None:
    picture = _picture()
    picture[100:105, 100:105] = 100
    assert not find_tissue(picture, WHITE, 0.9, SETTINGS, 4.0).any()


def test_uneven_light_on_glass_is_no_tissue() -> None:
    picture = _picture().astype(np.float64)
    picture *= np.linspace(0.985, 1.015, 200)[None, :, None]
    light = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    assert not find_tissue(light, WHITE, 0.9, SETTINGS, 4.0).any()


def test_a_picture_without_glass_is_all_tissue() -> None:
    assert find_tissue(np.full((20, 30, 3), 150, dtype=np.uint8), WHITE, 0.0, SETTINGS, 4.0).all()


def test_blocks_and_crops_count_the_same_tissue() -> None:
    mask = np.random.default_rng(6).random((37, 53)) < 0.4
    tissue = TissueMap(mask=mask, step=8)
    assert tissue.block_pixels(16).sum() == mask.sum()
    assert tissue.area_mm2(0.5) == pytest.approx(mask.sum() * 16e-6)
    crop = tissue.crop(Region(x=80, y=64, width=100, height=48))
    np.testing.assert_array_equal(crop, mask[8:14, 10:23])
