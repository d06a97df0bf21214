"""Annotations, masks and the areas that are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest

from biomarkers.ihc.analysis import calibrate_slide, measure_tile, score_slide, tile_tasks
from biomarkers.ihc.artefacts import Artefact
from biomarkers.ihc.records import ScoreRecord, SlideAnalysis
from biomarkers.ihc.regions import Annotation, RegionKind, Ring, covered_share, inside
from biomarkers.ihc.section import StudyScore
from biomarkers.provenance import Provenance
from biomarkers.readers.stain_protocols import packaged_protocol

Painter = Callable[..., Any]
PROVENANCE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2026, 1, 1, tzinfo=UTC))


def _ellipse(x: float, y: float, width: float, height: float) -> Ring:
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    return tuple((float(x + width * np.cos(t)), float(y + height * np.sin(t))) for t in turn)


def _square(left: float, top: float, side: float) -> Ring:
    return ((left, top), (left + side, top), (left + side, top + side), (left, top + side), (left, top))


RING = Annotation(name="ring", kind=RegionKind.TUMOUR, rings=(_ellipse(500, 400, 300, 250), _ellipse(520, 400, 100, 80)))


def test_a_hole_takes_its_area_away_whichever_way_round_it_was_drawn() -> None:
    reversed_hole = replace(RING, rings=(RING.rings[0], RING.rings[1][::-1]))
    # A polygon of 400 corners lies just inside the ellipse it is drawn in.
    assert RING.area_px == pytest.approx(np.pi * (300 * 250 - 100 * 80), rel=1e-4)
    assert reversed_hole.area_px == pytest.approx(RING.area_px)


def test_an_island_in_a_hole_counts_again() -> None:
    island = Annotation(name="", kind=RegionKind.STROMA, rings=(_square(0, 0, 90), _square(20, 20, 50), _square(30, 30, 10)))
    assert island.area_px == pytest.approx(90**2 - 50**2 + 10**2)


def test_points_lie_inside_where_the_formula_says() -> None:
    x, y = np.random.default_rng(0).uniform(0, 1000, (2, 5000))
    outer = ((x - 500) / 300) ** 2 + ((y - 400) / 250) ** 2
    hole = ((x - 520) / 100) ** 2 + ((y - 400) / 80) ** 2
    # Points within a thousandth of a line may fall to either side of the polygon that stands for the ellipse.
    clear = (np.abs(outer - 1) > 1e-3) & (np.abs(hole - 1) > 1e-3)
    np.testing.assert_array_equal(inside(x, y, RING)[clear], ((outer < 1) & (hole > 1))[clear])


def test_the_covered_grid_has_the_annotations_area() -> None:
    share = covered_share(RING, shape=(130, 150), pixel=8.0)
    assert float(share.sum()) * 64 == pytest.approx(RING.area_px, rel=1e-3)
    beyond = replace(RING, rings=(_square(-500, -500, 10_000),))
    assert (covered_share(beyond, shape=(20, 30), pixel=8.0) == 1.0).all()


def _scored(
    slide: Any,
    *annotations: Annotation,
    stain: str = "cd8",
    scores: tuple[StudyScore, ...] = ("DENSITY_TISSUE", "DENSITY_TUMOUR"),
) -> SlideAnalysis:
    protocol = packaged_protocol(stain)
    calibration = calibrate_slide(slide, protocol)
    tiles = [measure_tile(slide, task, calibration.optics, protocol) for task in tile_tasks(calibration, protocol)]
    return score_slide(
        tiles, calibration, protocol, scores=scores, accession_id="A", run_id="r", provenance=PROVENANCE,
        annotations=annotations,
    )  # fmt: skip


def _by_region(analysis: SlideAnalysis) -> dict[str, ScoreRecord]:
    return {record.region: record for record in analysis.scores}


@pytest.fixture(scope="module")
def plain(paint_slide: Painter) -> Any:
    return paint_slide(seed=3)


def test_each_region_has_its_own_cells_area_and_density(plain: Any) -> None:
    left = Annotation(name="nest", kind=RegionKind.TUMOUR, rings=(((0, 0), (512, 0), (512, 1024), (0, 1024)),))
    right = Annotation(name="", kind=RegionKind.STROMA, rings=(((512, 0), (1024, 0), (1024, 1024), (512, 1024)),))
    regions = _by_region(_scored(plain, left, right))
    assert list(regions) == ["tissue", "tumour", "stroma"]
    assert regions["tumour"].cells + regions["stroma"].cells == regions["tissue"].cells
    areas = [regions[name].area_mm2 or 0.0 for name in ("tissue", "tumour", "stroma")]
    assert areas[1] + areas[2] == pytest.approx(areas[0])
    true = ((plain.intensity_class > 0) & (plain.x_px < 511.5)).sum()
    assert regions["tumour"].positive == pytest.approx(true, rel=0.05)


def test_several_annotations_of_a_kind_are_scored_together_and_by_name(plain: Any) -> None:
    one = Annotation(name="a", kind=RegionKind.TUMOUR, rings=(_square(200, 200, 250),))
    other = Annotation(name="b", kind=RegionKind.TUMOUR, rings=(_square(550, 500, 250),))
    regions = _by_region(_scored(plain, one, other))
    assert list(regions) == ["tissue", "tumour", "tumour: a", "tumour: b"]
    assert regions["tumour"].cells == regions["tumour: a"].cells + regions["tumour: b"].cells
    # Squares of 125 µm a side.
    assert regions["tumour: a"].area_mm2 == pytest.approx(0.125**2, rel=1e-3)


def test_density_of_viable_tumour_and_of_tissue_are_different_numbers(plain: Any) -> None:
    tumour = Annotation(name="", kind=RegionKind.TUMOUR, rings=(_square(200, 200, 500),))
    necrosis = Annotation(name="", kind=RegionKind.NECROSIS, rings=(_square(300, 300, 200),))
    analysis = _scored(plain, tumour, necrosis)
    tissue, viable = analysis.run.results
    assert [result.measurand for result in (tissue, viable)] == ["CD8_DENSITY_TISSUE", "CD8_DENSITY_TUMOUR"]
    assert viable.denominator.endswith("of viable tumour")
    record = _by_region(analysis)["tumour"]
    # 250 µm squared of tumour less 100 µm squared of necrosis.
    assert record.area_mm2 == pytest.approx(0.25**2 - 0.1**2, rel=1e-3)
    areas = {area.name: area.area_mm2 or 0.0 for area in analysis.areas}
    assert areas["necrosis"] == pytest.approx(0.01, rel=1e-3)
    assert areas["evaluable"] == pytest.approx(areas["tissue"] - areas["necrosis"])


def test_without_a_drawn_tumour_its_density_is_refused(plain: Any) -> None:
    tissue, tumour = _scored(plain).run.results
    assert tissue.quantity is not None
    assert tumour.quantity is None
    assert "NO_TUMOUR_ANNOTATION" in {finding.code for finding in tumour.findings}


def test_excluding_all_tissue_is_not_evaluable_rather_than_zero(plain: Any) -> None:
    everything = Annotation(name="", kind=RegionKind.EXCLUDE, rings=(_square(-10, -10, 2000),))
    result = _scored(plain, everything).run.results[0]
    assert result.quantity is None
    assert "TOO_LITTLE_TISSUE" in {finding.code for finding in result.findings}


def _share(analysis: SlideAnalysis, artefact: Artefact) -> float:
    return next(area.share_of_tissue for area in analysis.areas if area.name == artefact.value)


def test_a_clean_slide_has_no_masks(plain: Any) -> None:
    analysis = _scored(plain)
    assert {_share(analysis, artefact) for artefact in Artefact} == {0.0}


def test_tissue_out_of_focus_is_left_out_with_its_area(plain: Any) -> None:
    pixels = plain.pixels.copy()
    # Half the slide as a lens 2 µm off would show it.
    noise = np.random.default_rng(0).normal(0, 1.5, (1024, 512, 3))
    pixels[:, 512:] = np.clip(np.rint(cv2.GaussianBlur(plain.pixels, (0, 0), 4.0)[:, 512:] + noise), 0, 255)
    analysis = _scored(replace(plain, pixels=pixels))
    assert _share(analysis, Artefact.OUT_OF_FOCUS) == pytest.approx(0.5, abs=0.08)
    whole = analysis.scores[0]
    true = ((plain.intensity_class > 0) & (plain.x_px < 512)).sum() / (0.5 * plain.tissue_area_mm2)
    assert whole.density_per_mm2 == pytest.approx(true, rel=0.06)
    assert "OUT_OF_FOCUS" in {finding.code for finding in whole.findings}


@pytest.mark.parametrize(
    "ink", [(25, 25, 28), (20, 110, 50), (190, 20, 30), (15, 30, 140)], ids=["black", "green", "red", "blue"]
)
def test_pen_is_left_out_and_does_not_disturb_the_rest(plain: Any, ink: tuple[int, int, int]) -> None:
    stroke = np.zeros(plain.pixels.shape[:2], dtype=np.uint8)
    cv2.line(stroke, (250, 600), (800, 650), 1, 220)
    through = plain.pixels * (np.array(ink) / 245.0)
    pixels = np.where(stroke[..., None] > 0, np.rint(through), plain.pixels).astype(np.uint8)
    slide = replace(plain, pixels=pixels)
    calibration = calibrate_slide(slide, packaged_protocol("cd8"))
    hidden = cv2.resize(stroke, calibration.tissue.mask.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    masked = calibration.artefacts.any
    assert (masked & hidden).sum() >= 0.9 * hidden.sum()
    assert (masked & ~cv2.dilate(hidden.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)).sum() == 0
    untouched = calibrate_slide(plain, packaged_protocol("cd8"))
    for name in ("haematoxylin", "dab"):
        here, there = (getattr(each.stains.vectors, name) for each in (calibration, untouched))
        assert np.degrees(np.arccos(min(1.0, float(np.dot(here, there))))) < 3.0


def test_a_fold_is_left_out_and_a_round_dark_place_is_not(plain: Any) -> None:
    glass = np.array([240.0, 238.0, 235.0])
    fold = np.zeros(plain.pixels.shape[:2], dtype=np.uint8)
    cv2.line(fold, (150, 300), (800, 800), 1, 50)
    light = plain.pixels / glass
    twice = light * np.roll(light, 40, axis=0) * np.roll(light, 90, axis=1)
    folded = np.where(fold[..., None] > 0, np.rint(twice * glass), plain.pixels).astype(np.uint8)
    calibration = calibrate_slide(replace(plain, pixels=folded), packaged_protocol("cd8"))
    assert calibration.artefacts.mask(Artefact.FOLD).any()
    disk = np.zeros_like(fold)
    cv2.circle(disk, (500, 500), 180, 1, -1)
    crowd = np.where(disk[..., None] > 0, np.rint(twice * glass), plain.pixels).astype(np.uint8)
    crowded = calibrate_slide(replace(plain, pixels=crowd), packaged_protocol("cd8"))
    assert not crowded.artefacts.any.any()


def test_a_place_without_light_is_left_out_and_a_dark_cell_is_not(plain: Any) -> None:
    pixels = plain.pixels.copy()
    cv2.circle(pixels, (500, 500), 120, (3, 3, 3), -1)
    cv2.circle(pixels, (250, 500), 8, (10, 6, 4), -1)
    calibration = calibrate_slide(replace(plain, pixels=pixels), packaged_protocol("cd8"))
    dark = calibration.artefacts.any
    assert dark[62, 62]
    assert not dark[62, 31]


def test_the_area_of_rings_within_rings_is_exact_however_many_and_in_whatever_order_they_are() -> None:
    """A thousand nests of a disk, a hole in it and an island in the hole, all in one large square."""
    angle = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    side, pitch, radii = 32, 100.0, (40.0, 25.0, 10.0)
    end = side * pitch + 10.0
    rings = [((-10.0, -10.0), (end, -10.0), (end, end), (-10.0, end))]
    for row, column, radius in product(range(side), range(side), radii):
        centre = np.asarray([column * pitch + 50.0, row * pitch + 50.0])
        rings.append(tuple((float(x), float(y)) for x, y in centre + radius * circle))
    exact = (end + 10.0) ** 2 - side**2 * 3.0 * (40.0**2 - 25.0**2 + 10.0**2)
    generator = np.random.default_rng(5)
    shuffled = tuple(rings[index] for index in generator.permutation(len(rings)))
    assert Annotation(name="", kind=RegionKind.TUMOUR, rings=shuffled).area_px == pytest.approx(exact, rel=1e-12)
