"""Cell classes, the scores that need them, and cells found by other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from biomarkers.errors import StainError
from biomarkers.ihc.analysis import calibrate_slide, measure_tile, score_slide, slide_cells, tile_tasks
from biomarkers.ihc.classes import (
    CELL_CLASSES,
    CellClass,
    ClassCounts,
    combined_positive_score,
    tumour_proportion_score,
)
from biomarkers.ihc.labels import LabelImage, measure_labels
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.records import SlideAnalysis
from biomarkers.ihc.regions import Annotation, RegionKind
from biomarkers.provenance import Provenance
from biomarkers.readers.stain_protocols import packaged_protocol

Painter = Callable[..., Any]
PROVENANCE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2026, 1, 1, tzinfo=UTC))
DECLARED = packaged_protocol("pdl1").model_copy(update={"clone": "22C3", "platform": "Autostainer Link 48"})
EVERYTHING = Annotation(name="", kind=RegionKind.TUMOUR, rings=(((0, 0), (1024, 0), (1024, 1024), (0, 1024)),))


def _counts(**cells: tuple[int, int]) -> ClassCounts:
    """Negative and 1+ cells by class, in one block."""
    table = np.zeros((1, len(CELL_CLASSES), 4), dtype=np.int64)
    for name, (negative, positive) in cells.items():
        table[0, CELL_CLASSES.index(CellClass(name)), :2] = negative, positive
    return ClassCounts(cells=table, columns=1)


def test_tps_counts_tumour_cells_only() -> None:
    counts = _counts(tumour=(150, 50), lymphocyte=(10, 90), other=(0, 500))
    assert tumour_proportion_score(counts).value == pytest.approx(25.0)


def test_cps_adds_positive_lymphocytes_and_macrophages_per_hundred_tumour_cells() -> None:
    counts = _counts(tumour=(180, 20), lymphocyte=(40, 10), macrophage=(5, 6), other=(0, 500))
    # Twenty, ten and six positive cells over two hundred tumour cells.
    assert combined_positive_score(counts).value == pytest.approx(18.0)


def test_cps_never_exceeds_one_hundred() -> None:
    found = combined_positive_score(_counts(tumour=(0, 100), lymphocyte=(0, 80), macrophage=(0, 40)))
    assert found.value == 100.0
    assert found.interval.upper == 100.0


@pytest.fixture(scope="module")
def painted(paint_slide: Painter) -> Any:
    return paint_slide(seed=4)


def _disks(slide: Any, radius: float = 6.5) -> NDArray[np.int32]:
    """What a perfect outside program would give: a disk on every painted nucleus."""
    labels = np.zeros(slide.pixels.shape[:2], dtype=np.int32)
    rows, columns = np.mgrid[-8:9, -8:9]
    disk = np.hypot(rows, columns) <= radius
    for number, (x, y) in enumerate(zip(slide.x_px, slide.y_px, strict=True), start=1):
        view = labels[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
        view[disk] = number
    return labels


def _by_labels(
    slide: Any, labelled: LabelImage, protocol: StainProtocol, *annotations: Annotation
) -> tuple[SlideAnalysis, np.ndarray]:
    calibration = calibrate_slide(slide, protocol)
    tiles = [measure_labels(slide, task, calibration.optics, protocol, labelled) for task in tile_tasks(calibration, protocol)]
    analysis = score_slide(
        tiles, calibration, protocol, scores=("DENSITY_TISSUE", "HSCORE", "TPS", "CPS"), accession_id="A", run_id="r",
        provenance=PROVENANCE, annotations=annotations,
    )  # fmt: skip
    return analysis, slide_cells(tiles).intensity_class


def _classed(slide: Any) -> dict[int, CellClass]:
    """A third of the cells each tumour, lymphocyte and macrophage, in the order they were painted."""
    kinds = (CellClass.TUMOUR, CellClass.LYMPHOCYTE, CellClass.MACROPHAGE)
    return {number: kinds[number % 3] for number in range(1, len(slide.x_px) + 1)}


def test_labelled_cells_are_measured_as_our_own_are(painted: Any) -> None:
    protocol = packaged_protocol("cd8")
    small = protocol.model_copy(update={"detection": protocol.detection.model_copy(update={"tile_px": 256})})
    analysis, classes = _by_labels(painted, LabelImage(labels=_disks(painted)), small)
    assert len(classes) == len(painted.x_px)
    assert (classes > 0).sum() == (painted.intensity_class > 0).sum()
    assert analysis.scores[0].h_score == pytest.approx(100 * painted.intensity_class.mean(), abs=2.0)
    assert analysis.scores[0].density_per_mm2 is not None


def test_a_label_image_may_be_coarser_and_begin_elsewhere(painted: Any) -> None:
    labels = _disks(painted)[100:900:2, 60:1000:2]
    labelled = LabelImage(labels=labels, x_px=60, y_px=100, downsample=2.0)
    analysis, _ = _by_labels(painted, labelled, packaged_protocol("cd8"))
    inside = (painted.x_px > 60) & (painted.x_px < 1000) & (painted.y_px > 100) & (painted.y_px < 900)
    assert analysis.scores[0].cells == pytest.approx(inside.sum(), rel=0.03)
    assert analysis.scores[0].positive == pytest.approx((inside & (painted.intensity_class > 0)).sum(), rel=0.03)


def test_classes_of_labels_give_tps_cps_and_an_h_score_of_tumour_cells(painted: Any) -> None:
    by_label = _classed(painted)
    labelled = LabelImage(labels=_disks(painted), class_by_label=by_label)
    analysis, _ = _by_labels(painted, labelled, DECLARED)
    kinds = np.array([by_label[number] for number in range(1, len(painted.x_px) + 1)])
    tumour, positive = kinds == "tumour", painted.intensity_class > 0
    record = analysis.scores[0]
    assert record.tps == pytest.approx(100 * positive[tumour].mean(), abs=1.0)
    assert record.cps == pytest.approx(min(100.0, 100 * positive.sum() / tumour.sum()), abs=2.0)
    assert record.h_score == pytest.approx(100 * painted.intensity_class[tumour].mean(), abs=3.0)
    assert record.h_score_cells == "tumour cells"
    by_measurand = {result.measurand: result for result in analysis.run.results}
    assert by_measurand["PDL1_TPS"].denominator == "viable tumour cells"
    assert by_measurand["PDL1_TPS"].n_replicates == tumour.sum()


def _codes(analysis: SlideAnalysis, measurand: str) -> set[str]:
    result = next(each for each in analysis.run.results if each.measurand == measurand)
    assert result.quantity is None
    return {finding.code for finding in result.findings}


def test_a_drawn_tumour_alone_gives_no_tps(painted: Any) -> None:
    calibration = calibrate_slide(painted, DECLARED)
    tiles = [measure_tile(painted, task, calibration.optics, DECLARED) for task in tile_tasks(calibration, DECLARED)]
    analysis = score_slide(
        tiles, calibration, DECLARED, scores=("HSCORE", "TPS", "CPS"), accession_id="A", run_id="r",
        provenance=PROVENANCE, annotations=(EVERYTHING,),
    )  # fmt: skip
    assert "NEEDS_CELL_CLASSES" in _codes(analysis, "PDL1_TPS")
    assert "NEEDS_CELL_CLASSES" in _codes(analysis, "PDL1_CPS")
    assert "NEEDS_TUMOUR_CLASS" in _codes(analysis, "PDL1_HSCORE")


def test_tps_is_refused_without_clone_and_platform(painted: Any) -> None:
    labelled = LabelImage(labels=_disks(painted), class_by_label=_classed(painted))
    analysis, _ = _by_labels(painted, labelled, packaged_protocol("pdl1"))
    assert "ASSAY_UNDECLARED" in _codes(analysis, "PDL1_TPS")


def test_tps_is_refused_below_one_hundred_tumour_cells(painted: Any) -> None:
    few = {number: kind for number, kind in _classed(painted).items() if kind is not CellClass.TUMOUR or number < 250}
    analysis, _ = _by_labels(painted, LabelImage(labels=_disks(painted), class_by_label=few), DECLARED)
    assert analysis.scores[0].tumour_cells is not None
    assert 0 < analysis.scores[0].tumour_cells < 100
    assert "TOO_FEW_TUMOUR_CELLS" in _codes(analysis, "PDL1_TPS")


def test_cps_is_refused_where_macrophages_are_not_told_apart(painted: Any) -> None:
    merged = {
        number: CellClass.LYMPHOCYTE if kind is CellClass.MACROPHAGE else kind for number, kind in _classed(painted).items()
    }
    analysis, _ = _by_labels(painted, LabelImage(labels=_disks(painted), class_by_label=merged), DECLARED)
    assert analysis.scores[0].tps is not None
    assert "NEEDS_IMMUNE_CLASSES" in _codes(analysis, "PDL1_CPS")


def test_joining_classed_and_unclassed_cells_leaves_none_classed(painted: Any) -> None:
    protocol = packaged_protocol("cd8")
    calibration = calibrate_slide(painted, protocol)
    tile = measure_tile(painted, tile_tasks(calibration, protocol)[0], calibration.optics, protocol)
    classed = replace(tile, tile_index=9, cells=replace(tile.cells, cell_class=np.zeros(len(tile.cells), dtype=np.uint8)))
    assert slide_cells([tile, classed]).cell_class is None
    assert slide_cells([classed, classed]).cell_class is not None


@pytest.mark.parametrize("labels", [np.zeros((4, 4, 3), dtype=np.int32), np.zeros((4, 4)), np.full((4, 4), -1)])
def test_what_is_no_label_image_is_said_to_be_none(labels: NDArray[Any]) -> None:
    with pytest.raises(StainError, match=r"Label image\."):
        LabelImage(labels=labels)
