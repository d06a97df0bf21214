"""Nuclei told apart and put together again, and nuclei cut by the picture's edge."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from biomarkers.ihc.detection import CutSides, NuclearLevel, Segmentation, detect_cells, nuclear_level
from biomarkers.ihc.protocol import DetectionSettings

PIXEL_UM = 0.5
LEVEL = NuclearLevel(scale=1.0, threshold=0.02)


def _stains(shape: tuple[int, int] = (80, 80)) -> NDArray[np.float32]:
    return np.zeros((*shape, 3), dtype=np.float32)


def _add(
    stains: NDArray[np.float32], x: float, y: float, radii: tuple[float, float], *, stain: int = 0, od: float = 0.4
) -> None:
    """Add an ellipse of radii in micrometres with an edge as soft as a section's."""
    rows, columns = np.mgrid[: stains.shape[0], : stains.shape[1]]
    across, along = radii[0] / PIXEL_UM, radii[1] / PIXEL_UM
    outward = (np.hypot((columns - x) / across, (rows - y) / along) - 1.0) * min(across, along)
    np.maximum(stains[..., stain], od / (1.0 + np.exp(outward)), out=stains[..., stain])


def _found(stains: NDArray[np.float32], *, nuclear: bool = True, cut: CutSides | None = None) -> Segmentation:
    return detect_cells(
        stains, DetectionSettings(), pixel_size_um=PIXEL_UM, level=LEVEL, is_nuclear_stain=nuclear, cut=cut or CutSides()
    )


def _count(segmentation: Segmentation) -> int:
    return len(segmentation.by_chromogen)


def test_two_touching_nuclei_are_two() -> None:
    stains = _stains()
    _add(stains, 33.0, 40.0, (3.2, 3.2))
    _add(stains, 46.0, 40.0, (3.2, 3.2))
    assert _count(_found(stains)) == 2


def test_a_long_nucleus_is_one() -> None:
    stains = _stains()
    _add(stains, 40.0, 40.0, (2.6, 8.0))
    assert _count(_found(stains)) == 1


def test_a_pale_nucleus_with_a_darker_rim_is_one() -> None:
    stains = _stains()
    _add(stains, 40.0, 40.0, (4.2, 4.2), od=0.12)
    hollow = _stains()
    _add(hollow, 40.0, 40.0, (3.0, 3.0), od=0.045)
    stains[..., 0] -= hollow[..., 0]
    # Two clumps of chromatin on opposite sides, as they split such nuclei.
    _add(stains, 34.0, 40.0, (1.2, 1.2), od=0.14)
    _add(stains, 46.0, 40.0, (1.2, 1.2), od=0.14)
    found = _found(stains)
    assert _count(found) == 1
    assert (found.labels > 0).sum() * PIXEL_UM**2 == pytest.approx(np.pi * 4.2**2, rel=0.35)


def test_the_rim_of_a_brown_nucleus_is_no_cell_of_its_own() -> None:
    stains = _stains()
    _add(stains, 40.0, 40.0, (3.5, 3.5), stain=1, od=0.9)
    _add(stains, 40.0, 40.0, (4.5, 4.5), od=0.25)
    found = _found(stains)
    assert _count(found) == 1
    assert found.by_chromogen.all()


def test_brown_haze_without_a_dense_blob_makes_no_positive_cell() -> None:
    stains = _stains()
    _add(stains, 40.0, 40.0, (15.0, 15.0), stain=1, od=0.2)
    _add(stains, 40.0, 40.0, (3.2, 3.2))
    found = _found(stains)
    assert _count(found) == 1
    assert not found.by_chromogen.any()


def test_a_crowd_of_brown_nuclei_is_as_many_cells_as_it_has_nuclei() -> None:
    stains = _stains((120, 120))
    # Six around one, touching: their blobs grow together into one without a gap.
    _add(stains, 60.0, 60.0, (3.6, 3.6), stain=1, od=0.9)
    for sixth in range(6):
        turn = np.pi / 3 * sixth
        _add(stains, 60.0 + 15.0 * np.cos(turn), 60.0 + 15.0 * np.sin(turn), (3.6, 3.6), stain=1, od=0.5 + 0.2 * sixth)
    found = _found(stains)
    assert _count(found) == 7
    assert found.by_chromogen.all()


@pytest.mark.parametrize("od", [0.5, 1.0, 2.0])
def test_a_brown_nucleus_with_dark_clumps_is_one(od: float) -> None:
    stains = _stains()
    _add(stains, 40.0, 40.0, (3.4, 5.0), stain=1, od=od)
    for x, y in ((37.0, 34.0), (43.0, 39.0), (38.0, 46.0)):
        _add(stains, x, y, (1.0, 1.0), stain=1, od=1.4 * od)
    assert _count(_found(stains)) == 1


@pytest.mark.parametrize(("cut", "cells"), [(CutSides(left=True), 1), (CutSides(), 0)])
def test_a_sliver_counts_only_where_the_picture_cuts_it(cut: CutSides, cells: int) -> None:
    stains = _stains()
    _add(stains, -3.6, 40.0, (2.9, 2.9), od=0.35)
    assert _count(_found(stains, cut=cut)) == cells


def test_dark_slides_are_brought_to_usual_strength_and_pale_ones_are_left() -> None:
    settings = DetectionSettings()
    generator = np.random.default_rng(0)
    levels = {}
    for od in (0.2, 1.0):
        stains = _stains((300, 300))
        for row in range(20, 290, 30):
            for column in range(20, 290, 30):
                _add(stains, column, row, (3.2, 3.2), od=od)
        sample = stains[..., 0] + generator.normal(0, 0.005, stains.shape[:2]).astype(np.float32)
        levels[od] = nuclear_level([sample], settings, PIXEL_UM)
    assert levels[0.2].scale == 1.0
    # The centres are as dark as drawn, less what smoothing takes away.
    assert levels[1.0].scale == pytest.approx(settings.usual_density / 1.0, rel=0.1)
    assert nuclear_level([], settings, PIXEL_UM).threshold == settings.seed_floor
