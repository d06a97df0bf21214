"""Real sections: Ki-67 fields with nuclear truth, dense lymphocytes, and an H&E slide that must not be scored.

Truth is read as the data's README says: the nuclei are 4-connected pieces of at least 40 pixels. The pixel size of .25 um is
assumed for these fields; no file states it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.filters import threshold_otsu
from skimage.segmentation import expand_labels

from biomarkers.ihc.analysis import SlideAnalysis, calibrate_slide, measure_tile, score_slide, slide_cells, tile_tasks
from biomarkers.ihc.scoring import CellTable
from biomarkers.ihc.slide import Region, SlideImage, SlideLevel
from biomarkers.ihc.stains import optical_density, unmixed
from biomarkers.provenance import Provenance
from biomarkers.readers.slides import open_slide
from biomarkers.readers.stain_protocols import packaged_protocol
from biomarkers.results import Finding

pytestmark = pytest.mark.real

PROVENANCE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2026, 1, 1, tzinfo=UTC))


def _analysed(slide: SlideImage, stain: str) -> tuple[SlideAnalysis, CellTable]:
    protocol = packaged_protocol(stain)
    calibration = calibrate_slide(slide, protocol)
    tiles = [measure_tile(slide, task, calibration.optics, protocol) for task in tile_tasks(calibration, protocol)]
    scores = ("DENSITY_TISSUE", "PCT_POSITIVE", "HSCORE")
    analysis = score_slide(tiles, calibration, protocol, scores=scores, accession_id="A", run_id="r", provenance=PROVENANCE)
    return analysis, slide_cells(tiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field in memory at .25 um a pixel."""

    pixels: NDArray[np.uint8]
    name: str = "field"
    pixel_size_um: float | None = 0.25
    pixel_size_origin: str = "declared"
    acquired_at: str = ""
    scanner: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        return (SlideLevel(width=self.pixels.shape[1], height=self.pixels.shape[0], downsample=1.0),)

    def read_region(self, level: int, region: Region) -> NDArray[np.uint8]:
        assert level == 0
        return self.pixels[region.y : region.y + region.height, region.x : region.x + region.width].copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """A field and the drawing of its nuclei."""

    picture: NDArray[np.uint8]
    drawing: NDArray[np.uint8]

    @property
    def truth(self) -> NDArray[np.float64]:
        """Centroid x, y and 1 for positive nuclei, shape (nuclei, 3)."""
        return _nuclei(self.drawing)[1]


def _nuclei(drawing: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Label the drawn nuclei from 1, and give centroid x, y and 1 for positive of each, shape (nuclei, 3)."""
    red, green, blue = (drawing[..., channel].astype(int) for channel in range(3))
    pieces, count = ndimage.label(((red > 120) | (blue > 120)) & (green < 120))
    labels, nuclei = np.zeros(pieces.shape, dtype=np.int64), []
    for piece in range(1, count + 1):
        inside = pieces == piece
        if inside.sum() >= 40:
            y, x = np.nonzero(inside)
            nuclei.append((x.mean(), y.mean(), float((red[inside] > blue[inside]).mean() > 0.5)))
            labels[inside] = len(nuclei)
    return labels, np.asarray(nuclei)


def _read(path: Path) -> NDArray[np.uint8]:
    with PIL.Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _fields(folder: Path) -> dict[str, _Drawn]:
    panels = _read(folder / "Bladder1_sixpanel.png")
    fields = {
        name: _Drawn(picture=_read(folder / f"image/{name}.png"), drawing=_read(folder / f"truth/{name}.png"))
        for name in ("22_2", "799_2")
    }
    return fields | {"Bladder1": _Drawn(picture=panels[:, :512], drawing=panels[:, 2560:])}


def _matches(truth: NDArray[np.float64], cells: CellTable) -> NDArray[np.int64]:
    """Matched, true and found cells, then matched, true and found positives; within 15 px."""
    distance = np.hypot(truth[:, :1] - cells.x_px[None], truth[:, 1:2] - cells.y_px[None])
    rows, columns = linear_sum_assignment(np.where(distance <= 15, distance, 1e6))
    near = distance[rows, columns] <= 15
    true, found = truth[:, 2] > 0.5, cells.intensity_class > 0
    both = near & true[rows] & found[columns]
    return np.asarray([near.sum(), len(true), len(found), both.sum(), true.sum(), found.sum()])


def _shifted(mask: NDArray[np.bool_], picture: NDArray[np.float64]) -> tuple[int, int]:
    """Rows and columns to move a picture by so that it lies best on a mask; the panels are some pixels apart."""
    reach = range(-10, 11)
    moves = [(row, column) for row in reach for column in reach]
    return max(moves, key=lambda move: float(np.roll(picture, move, axis=(0, 1))[mask].sum()))


def _recoloured(
    picture: NDArray[np.uint8], drawing: NDArray[np.uint8], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Stain a share of a field's blue nuclei brown, each within its drawn outline and with its own chromatin's texture.

    Gives what the fields lack: crowds of touching positive nuclei of real shapes, whose truth is known because it was made.
    """
    protocol = packaged_protocol("ki67")
    optics = calibrate_slide(_Field(pixels=picture), protocol).optics
    density = optical_density(picture, optics.white)
    stains = unmixed(density, optics.vectors).astype(np.float64)
    labels, truth = _nuclei(drawing)
    row, column = _shifted(labels > 0, density.sum(axis=2).astype(np.float64))
    labels = expand_labels(np.roll(labels, (-row, -column), axis=(0, 1)), 2)  # the drawn border belongs to the nucleus
    truth = truth - [column, row, 0.0]
    haematoxylin = ndimage.gaussian_filter(np.maximum(stains[..., 0], 0.0), 1.0)
    added = np.zeros(labels.shape)
    for index in range(len(truth)):
        inside = labels == index + 1
        truth[index, 2] = stains[..., 1][inside].mean() > protocol.scoring.cutoffs[0]
        if truth[index, 2] or rng.uniform() >= share:
            continue
        truth[index, 2] = 1.0
        texture = haematoxylin[inside] / max(float(haematoxylin[inside].mean()), 1e-3)
        added[inside] = 0.9 * np.exp(rng.normal(0.0, 0.3)) * (0.5 + 0.5 * np.minimum(texture, 3.0))
    brown = ndimage.gaussian_filter(added, 1.2)[..., None] * np.asarray(optics.vectors.dab)
    light = np.asarray(optics.white) * 10.0 ** -(density + brown)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8), truth


def _f1(matched: int, true: int, found: int) -> float:
    return 2 * matched / (true + found)


def test_ki67_nuclei_are_found_with_one_configuration(real_data: Path, tmp_path: Path) -> None:
    counts = {}
    for name, field in _fields(real_data / "ihc/deepliif").items():
        truth, path = field.truth, tmp_path / f"{name}.png"
        PIL.Image.fromarray(field.picture).save(path)
        with open_slide(path, pixel_size_um=0.25) as slide:
            analysis, cells = _analysed(slide, "ki67")
        counts[name] = _matches(truth, cells)
        if name != "799_2":  # one positive nucleus of 63 is no fraction to compare
            assert abs(analysis.scores[0].positive_percent - 100 * truth[:, 2].mean()) <= 2.0
    pooled = sum(counts.values())
    # Measured: cells .865, positives .824. In 22_2 and 799_2 every positive nucleus is found and none is false. In Bladder1
    # four called positive are drawn as negative and five called negative or not found are drawn as positive, and each of these
    # nine labels contradicts the section: the four are brown (DAB .71 to .96) and among the twelve brightest of 183 in the
    # marker's fluorescence; the five are blue (DAB at most .02 where found) and dark there. Whoever finds every nucleus and
    # calls the brown ones positive reaches .824 and no more.
    assert _f1(*pooled[:3]) >= 0.86
    assert _f1(*pooled[3:]) >= 0.82
    matched, true, _ = counts["799_2"][:3]
    assert matched / true >= 0.80  # the pale field, where fixed thresholds find one nucleus in seven


def test_positive_nuclei_are_those_whose_marker_fluoresces(real_data: Path) -> None:
    panels = _read(real_data / "ihc/deepliif/Bladder1_sixpanel.png")
    labels, truth = _nuclei(panels[:, 2560:])
    nuclear, marker = (panels[:, 512 * panel : 512 * (panel + 1)].mean(axis=2) for panel in (2, 4))
    # Fluorescence of the same section: it tells positive nuclei without the brown stain and without anybody's drawing. Nuclei
    # and marker share its place, some pixels from the drawing's.
    seen = np.roll(marker, _shifted(labels > 0, nuclear), axis=(0, 1))
    brightness = ndimage.median(seen, labels, np.arange(1, len(truth) + 1))
    truth[:, 2] = brightness > threshold_otsu(brightness)
    _, cells = _analysed(_Field(pixels=panels[:, :512]), "ki67")
    # Measured: all 13 fluorescent nuclei are found and called positive; the 14th found is faint and drawn as positive.
    assert _f1(*_matches(truth, cells)[3:]) >= 0.95


# Measured: cells .898 and .898, positives .965 and .955; split by the outline of the blobs alone, cells were .859 and .800,
# positives .903 and .845.
@pytest.mark.parametrize(("share", "cells", "positives"), [(0.6, 0.88, 0.95), (0.9, 0.88, 0.93)])
def test_crowded_positive_nuclei_are_told_apart(real_data: Path, share: float, cells: float, positives: float) -> None:
    counts = np.zeros(6, dtype=np.int64)
    for field in _fields(real_data / "ihc/deepliif").values():
        picture, truth = _recoloured(field.picture, field.drawing, share, np.random.default_rng(4))
        _, found = _analysed(_Field(pixels=picture), "ki67")
        counts += _matches(truth, found)
    assert _f1(*counts[:3]) >= cells
    assert _f1(*counts[3:]) >= positives


@pytest.mark.parametrize("strength", [0.75, 1.3])
def test_nuclei_of_a_pale_field_are_found_whether_stained_paler_or_darker(real_data: Path, strength: float) -> None:
    field = _fields(real_data / "ihc/deepliif")["799_2"]
    picture, truth = field.picture, field.truth
    glass = np.percentile(picture.reshape(-1, 3), 99.5, axis=0)
    light = glass * (np.maximum(picture, 1) / glass) ** strength
    restained = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    _, cells = _analysed(_Field(pixels=restained), "ki67")
    matched, true, _ = _matches(truth, cells)[:3]
    # Measured: .83 and .92 of the labelled nuclei.
    assert matched / true >= 0.80


def test_a_field_without_pixel_size_gives_a_percentage_but_no_density(real_data: Path) -> None:
    with open_slide(real_data / "ihc/deepliif_notruth/ROI_1.png") as slide:
        assert slide.pixel_size_um is None
        analysis, cells = _analysed(slide, "cd8")
    density, percent, _ = analysis.run.results
    assert density.quantity is None
    assert {finding.code for finding in density.findings} == {"NO_PIXEL_SIZE", "DENSITY_WITHOUT_PIXEL_SIZE"}
    assert percent.quantity is not None
    assert len(cells) > 500
    assert np.isnan(cells.nucleus_area_um2).all()


def test_an_he_slide_is_read_but_refused_as_the_wrong_stain(real_data: Path) -> None:
    with open_slide(real_data / "ihc/slide/cmu_small_region.svs") as slide:
        assert (slide.levels[0].width, slide.levels[0].height) == (2220, 2967)
        assert slide.pixel_size_um == pytest.approx(0.499)
        assert slide.scanner == "CPAPERIOCS"
        assert [finding.code for finding in slide.findings] == ["LABEL_IMAGE"]
        analysis, _ = _analysed(slide, "cd8")
    assert all(result.quantity is None for result in analysis.run.results)
    for result in analysis.run.results:
        assert "WRONG_STAIN" in {finding.code for finding in result.findings}
