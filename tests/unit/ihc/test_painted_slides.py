"""Slides painted with known cells go through calibration, tiles and scores."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from biomarkers.ihc.analysis import (
    SlideAnalysis,
    calibrate_slide,
    measure_tile,
    outline_tile,
    score_slide,
    slide_cells,
    tile_tasks,
)
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.scoring import CellTable
from biomarkers.provenance import Provenance
from biomarkers.readers.stain_protocols import packaged_protocol

Painter = Callable[..., Any]
SCORES = ("DENSITY_TISSUE", "PCT_POSITIVE", "HSCORE")
PROVENANCE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2026, 1, 1, tzinfo=UTC))


def _analysed(slide: Any, protocol: StainProtocol) -> tuple[SlideAnalysis, CellTable]:
    calibration = calibrate_slide(slide, protocol)
    measurements = [measure_tile(slide, task, calibration.optics, protocol) for task in tile_tasks(calibration, protocol)]
    analysis = score_slide(
        measurements, calibration, protocol, scores=SCORES, accession_id="A-1", run_id="ihc-1", provenance=PROVENANCE
    )
    return analysis, slide_cells(measurements)


def _f1(slide: Any, cells: CellTable, *, positive_only: bool) -> float:
    """F1 of one-to-one matches within 3.75 um."""
    distance = np.hypot(slide.x_px[:, None] - cells.x_px[None], slide.y_px[:, None] - cells.y_px[None])
    rows, columns = linear_sum_assignment(np.where(distance <= 7.5, distance, 1e6))
    near = distance[rows, columns] <= 7.5
    true, found = slide.intensity_class > 0, cells.intensity_class > 0
    if not positive_only:
        return float(2 * near.sum() / (len(true) + len(found)))
    return float(2 * (near & true[rows] & found[columns]).sum() / (true.sum() + found.sum()))


@pytest.mark.parametrize(
    "paint",
    [
        {},
        {"strength": 0.45},
        {"strength": 1.6},
        {"haematoxylin": (0.55, 0.78, 0.30)},
        {"dab": (0.35, 0.60, 0.72)},
        {"spacing_um": 10.5},
        {"shares": (0.99, 0.01, 0.0, 0.0)},
        {"white": (215.0, 222.0, 210.0)},
    ],
    ids=["plain", "pale", "dark", "magenta", "brownish", "dense", "few positive", "dim lamp"],
)
def test_cells_density_and_h_score_of_a_painted_slide_are_found(paint_slide: Painter, paint: dict[str, Any]) -> None:
    slide = paint_slide(**paint)
    analysis, cells = _analysed(slide, packaged_protocol("cd8"))
    record = analysis.scores[0]
    assert _f1(slide, cells, positive_only=False) >= 0.95
    assert _f1(slide, cells, positive_only=True) >= 0.95
    positive = int((slide.intensity_class > 0).sum())
    # The painted disk is 230 um in radius; half a mask pixel of 4 um along its border is 1.7 % of its area.
    assert record.area_mm2 == pytest.approx(slide.tissue_area_mm2, rel=0.03)
    assert record.density_per_mm2 == pytest.approx(positive / slide.tissue_area_mm2, rel=0.03)
    assert record.h_score == pytest.approx(100 * slide.intensity_class.mean(), abs=2.0)
    assert [result.measurand for result in analysis.run.results] == [f"CD8_{score}" for score in SCORES]
    assert [result.quantity.unit for result in analysis.run.results if result.quantity] == ["cells/mm2", "%", "H-score"]
    assert {result.n_replicates for result in analysis.run.results} == {len(cells)}


def test_nuclear_stain_is_found_with_the_nuclear_protocol(paint_slide: Painter) -> None:
    slide = paint_slide(nuclear=True, grades=(0.0, 0.48, 0.75, 1.1))
    analysis, cells = _analysed(slide, packaged_protocol("ki67"))
    assert _f1(slide, cells, positive_only=False) >= 0.95
    assert _f1(slide, cells, positive_only=True) >= 0.95
    assert analysis.scores[0].positive_percent == pytest.approx(100 * (slide.intensity_class > 0).mean(), abs=1.0)


def test_no_stained_cell_is_a_measured_zero(paint_slide: Painter) -> None:
    analysis, _ = _analysed(paint_slide(shares=(1.0, 0.0, 0.0, 0.0)), packaged_protocol("cd8"))
    assert [result.quantity.value for result in analysis.run.results if result.quantity] == [0.0, 0.0, 0.0]
    assert all(result.interval is not None and (result.interval.upper or 0) > 0 for result in analysis.run.results)


def test_too_little_tissue_is_not_evaluable_and_says_why(paint_slide: Painter) -> None:
    analysis, _ = _analysed(paint_slide(side_px=300), packaged_protocol("cd8"))
    assert analysis.scores[0].cells > 0
    for result in analysis.run.results:
        assert result.quantity is None
        assert "TOO_LITTLE_TISSUE" in {finding.code for finding in result.findings}


def test_empty_glass_has_no_tissue_and_no_tiles(paint_slide: Painter) -> None:
    slide = paint_slide(side_px=300)
    empty = replace(slide, pixels=np.full_like(slide.pixels, 236))
    calibration = calibrate_slide(empty, packaged_protocol("cd8"))
    assert tile_tasks(calibration, packaged_protocol("cd8")) == ()
    analysis, cells = _analysed(empty, packaged_protocol("cd8"))
    assert len(cells) == 0
    assert all(result.quantity is None for result in analysis.run.results)


def test_without_a_pixel_size_there_is_a_percentage_but_no_density(paint_slide: Painter) -> None:
    slide = paint_slide()
    # The protocol assumes .25 um where nobody says, so the same cells are shown with twice as many pixels.
    unknown = replace(slide, pixels=np.repeat(np.repeat(slide.pixels, 2, axis=0), 2, axis=1), pixel_size_um=None)
    analysis, cells = _analysed(unknown, packaged_protocol("cd8"))
    density, percent, _ = analysis.run.results
    assert density.quantity is None
    assert {"NO_PIXEL_SIZE", "DENSITY_WITHOUT_PIXEL_SIZE"} <= {finding.code for finding in density.findings}
    assert percent.quantity is not None
    assert percent.quantity.value == pytest.approx(100 * (slide.intensity_class > 0).mean(), abs=1.0)
    assert np.isnan(cells.nucleus_area_um2).all()
    assert analysis.scores[0].area_mm2 is None


def test_pd_l1_has_no_h_score_without_a_tumour_class(paint_slide: Painter) -> None:
    analysis, _ = _analysed(paint_slide(), packaged_protocol("pdl1"))
    by_measurand = {result.measurand: result for result in analysis.run.results}
    assert by_measurand["PDL1_HSCORE"].quantity is None
    assert "NEEDS_TUMOUR_CLASS" in {finding.code for finding in by_measurand["PDL1_HSCORE"].findings}
    assert by_measurand["PDL1_PCT_POSITIVE"].quantity is not None
    assert "NEEDS_TUMOUR_CLASS" not in {finding.code for finding in by_measurand["PDL1_PCT_POSITIVE"].findings}


def test_pixels_too_wide_for_cells_are_refused(paint_slide: Painter) -> None:
    analysis, _ = _analysed(replace(paint_slide(), pixel_size_um=2.0), packaged_protocol("cd8"))
    assert "RESOLUTION_TOO_LOW" in {finding.code for finding in analysis.run.findings}
    assert all(result.quantity is None for result in analysis.run.results)


def test_the_size_of_tiles_does_not_change_the_cells(paint_slide: Painter) -> None:
    slide, protocol = paint_slide(spacing_um=10.5), packaged_protocol("cd8")
    tables = []
    for tile_px in (256, 512, 1024):
        detection = protocol.detection.model_copy(update={"tile_px": tile_px})
        tables.append(_analysed(slide, protocol.model_copy(update={"detection": detection}))[1])
    # Every step looks less far than the halo reaches, so that not a single cell differs.
    places = [sorted(zip(table.x_px, table.y_px, table.dab_od, strict=True)) for table in tables]
    for other in places[1:]:
        np.testing.assert_allclose(other, places[0], atol=1e-4)


def test_what_travels_between_processes_pickles_and_the_order_of_tiles_does_not_matter(paint_slide: Painter) -> None:
    slide, protocol = paint_slide(), packaged_protocol("cd8")
    small = protocol.model_copy(update={"detection": protocol.detection.model_copy(update={"tile_px": 256})})
    calibration = calibrate_slide(slide, small)
    tasks = tile_tasks(calibration, small)
    sent, optics, sent_protocol = pickle.loads(pickle.dumps((tasks, calibration.optics, small)))
    there = [measure_tile(slide, task, optics, sent_protocol) for task in reversed(sent)]
    here = [measure_tile(slide, task, calibration.optics, small) for task in tasks]
    analyses = [
        score_slide(tiles, calibration, small, scores=SCORES, accession_id="A-1", run_id="r", provenance=PROVENANCE)
        for tiles in (pickle.loads(pickle.dumps(there)), here)
    ]
    assert analyses[0] == analyses[1]
    np.testing.assert_array_equal(slide_cells(there).x_px, slide_cells(here).x_px)


def test_outlines_belong_to_the_measured_cells(paint_slide: Painter) -> None:
    slide, protocol = paint_slide(), packaged_protocol("cd8")
    calibration = calibrate_slide(slide, protocol)
    for task in tile_tasks(calibration, protocol):
        cells = measure_tile(slide, task, calibration.optics, protocol).cells
        outlines = outline_tile(slide, task, calibration.optics, protocol)
        assert len(outlines) == len(cells)
        for x, y, outline in zip(cells.x_px, cells.y_px, outlines, strict=True):
            low, high = outline.min(axis=0), outline.max(axis=0)
            assert low[0] <= x + 0.5 <= high[0]
            assert low[1] <= y + 0.5 <= high[1]
