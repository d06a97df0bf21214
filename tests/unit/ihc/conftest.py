"""Painted slides with known cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from biomarkers.ihc.slide import Region, RgbImage, SlideLevel
from biomarkers.ihc.stains import StainVectors, compose_light
from biomarkers.results import Finding

PIXEL_UM = 0.5
STEP_UM = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedSlide:
    """A slide in memory that satisfies the SlideImage protocol, with the truth it was painted from."""

    pixels: RgbImage
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    intensity_class: NDArray[np.int64]
    tissue_area_mm2: float
    name: str = "painted"
    pixel_size_um: float | None = PIXEL_UM
    pixel_size_origin: str = "declared"
    acquired_at: str = ""
    scanner: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        return (SlideLevel(width=self.pixels.shape[1], height=self.pixels.shape[0], downsample=1.0),)

    def read_region(self, level: int, region: Region) -> RgbImage:
        assert level == 0
        return self.pixels[region.y : region.y + region.height, region.x : region.x + region.width].copy()


def _paint_cell(
    stains: NDArray[np.float64], x: float, y: float, generator: np.random.Generator, dab: float, *, nuclear: bool
) -> None:
    reach = 16
    left, top = int(x) - reach, int(y) - reach
    rows, columns = np.mgrid[top : top + 2 * reach, left : left + 2 * reach]
    turn = generator.uniform(0, np.pi)
    long, short = generator.uniform(3.2, 4.2) / PIXEL_UM, generator.uniform(2.6, 3.2) / PIXEL_UM
    along = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    across = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
    radius = np.hypot(along / long, across / short)
    outward_um = (radius - 1.0) * 0.5 * (long + short) * PIXEL_UM
    nucleus = 1.0 / (1.0 + np.exp(outward_um / 0.25))
    view = stains[top : top + 2 * reach, left : left + 2 * reach]
    view[..., 0] = np.maximum(view[..., 0], nucleus * generator.uniform(0.35, 0.6))
    membrane = nucleus if nuclear else np.exp(-(((outward_um - 0.9) / 0.8) ** 4))
    view[..., 1] = np.maximum(view[..., 1], membrane * dab)


@pytest.fixture(scope="session")
def paint_slide() -> Callable[..., PaintedSlide]:
    """Paint a disk of tissue on empty glass with cells of known place and grade."""

    def paint(
        *,
        side_px: int = 1024,
        seed: int = 1,
        spacing_um: float = 14.0,
        shares: tuple[float, float, float, float] = (0.7, 0.1, 0.1, 0.1),
        grades: tuple[float, float, float, float] = (0.0, 0.3, 0.5, 0.8),
        strength: float = 1.0,
        haematoxylin: tuple[float, float, float] = (0.65, 0.70, 0.29),
        dab: tuple[float, float, float] = (0.27, 0.57, 0.78),
        white: tuple[float, float, float] = (240.0, 238.0, 235.0),
        nuclear: bool = False,
    ) -> PaintedSlide:
        generator = np.random.default_rng(seed)
        stains = np.zeros((side_px, side_px, 3))
        rows, columns = np.mgrid[:side_px, :side_px]
        centre, radius = side_px / 2, 0.45 * side_px
        tissue = np.hypot(columns - centre, rows - centre) < radius
        stains[..., 0][tissue] = 0.06
        stains[..., 1][tissue] = 0.03
        step = spacing_um / PIXEL_UM
        x, y = (
            axis.ravel() for axis in np.meshgrid(np.arange(step, side_px - step, step), np.arange(step, side_px - step, step))
        )
        x = x + generator.uniform(-0.18, 0.18, x.size) * step
        y = y + generator.uniform(-0.18, 0.18, y.size) * step
        inside = np.hypot(x - centre, y - centre) < radius - 16
        x, y = x[inside], y[inside]
        grade = generator.choice(4, size=x.size, p=shares)
        for one_x, one_y, one_grade in zip(x, y, grade, strict=True):
            _paint_cell(stains, one_x, one_y, generator, grades[one_grade], nuclear=nuclear)
        stains[..., 0] *= strength
        light = compose_light(stains, white, StainVectors.of(haematoxylin, dab)).astype(np.float64)
        noisy = np.clip(np.rint(light + generator.normal(0, 1.5, light.shape)), 0, 255).astype(np.uint8)
        return PaintedSlide(
            pixels=noisy,
            x_px=x,
            y_px=y,
            intensity_class=grade,
            tissue_area_mm2=float(tissue.sum()) * (PIXEL_UM / 1000) ** 2,
        )

    return paint
