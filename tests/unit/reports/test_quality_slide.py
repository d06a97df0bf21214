"""The page of a slide, and the pictures on it."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from biomarkers.ihc.analysis import (
    SlideAnalysis,
    TileMeasurement,
    calibrate_slide,
    measure_tile,
    score_slide,
    slide_cells,
    tile_tasks,
)
from biomarkers.ihc.calibration import SlideCalibration
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.regions import Annotation, RegionKind, ring_area
from biomarkers.ihc.slide import Region
from biomarkers.provenance import Provenance
from biomarkers.readers.stain_protocols import packaged_protocol
from biomarkers.reports.slide_files import cells_with_borders, slide_files
from biomarkers.reports.slide_page import slide_page
from biomarkers.reports.slide_pictures import FIELD_LARGEST_PX, THUMBNAIL_PX, SlidePictures, slide_pictures

if TYPE_CHECKING:
    from tests.unit.reports.conftest import Page, Section

HOSTILE = "<svg onload=alert(1)>\"'</td>\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    slide: Section
    protocol: StainProtocol
    calibration: SlideCalibration
    measurements: tuple[TileMeasurement, ...]
    analysis: SlideAnalysis

    def pictures(self) -> SlidePictures:
        return slide_pictures(self.slide, self.calibration, self.protocol, slide_cells(self.measurements))


@pytest.fixture(scope="module")
def measure(make_section: Callable[..., Section], make_provenance: Callable[..., Provenance]) -> Callable[..., Measured]:
    def run(**changes: object) -> Measured:
        slide, protocol = make_section(**changes), packaged_protocol("ki67")
        calibration = calibrate_slide(slide, protocol)
        measurements = tuple(
            measure_tile(slide, task, calibration.optics, protocol) for task in tile_tasks(calibration, protocol)
        )
        analysis = score_slide(
            measurements,
            calibration,
            protocol,
            scores=("DENSITY_TISSUE", "PCT_POSITIVE"),
            accession_id="ATR-000104",
            run_id="ihc-1",
            provenance=make_provenance("section.png"),
        )
        return Measured(slide=slide, protocol=protocol, calibration=calibration, measurements=measurements, analysis=analysis)

    return run


@pytest.fixture(scope="module")
def measured(measure: Callable[..., Measured]) -> Measured:
    return measure()


def decoded(address: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_fields_are_the_slides_own_pixels_with_the_cells_that_lie_in_them(measured: Measured) -> None:
    pictures = measured.pictures()
    cells = slide_cells(measured.measurements)
    assert [field.reason for field in pictures.fields][:2] == ["most positive cells", "most cells"]
    for field in pictures.fields:
        region = field.region
        assert max(region.width, region.height) <= FIELD_LARGEST_PX
        assert len(field.cells) == int(np.count_nonzero(region.holds(cells.x_px, cells.y_px)))
        shown = np.asarray(decoded(field.photo), dtype=float)
        # JPEG of quality 85 moves a channel by a few steps of 255.
        assert np.abs(shown - measured.slide.read_region(0, region)).mean() < 4
    most = max(sum(cell.intensity_class > 0 for cell in field.cells) for field in pictures.fields)
    assert sum(cell.intensity_class > 0 for cell in pictures.fields[0].cells) == most > 0


def test_the_tissues_border_is_drawn_where_glass_meets_tissue(measured: Measured) -> None:
    section = measured.pictures().section
    assert max(section.width, section.height) <= THUMBNAIL_PX
    pixels = np.asarray(decoded(section.photo), dtype=int)
    green = (pixels[..., 1] > pixels[..., 0] + 60) & (pixels[..., 1] > pixels[..., 2] + 20)
    rows, columns = np.nonzero(green)
    step = section.level_0_per_pixel
    # The tissue is painted from 80 pixels off each edge; its mask has pixels of some 4 µm.
    assert (columns.min() * step, rows.min() * step) == pytest.approx((80, 80), abs=12)
    assert ((columns.max() + 1) * step, (rows.max() + 1) * step) == pytest.approx((820, 620), abs=12)


def test_the_histogram_holds_every_cell_once(measured: Measured) -> None:
    histogram = measured.pictures().histogram
    assert histogram.counts.sum() == measured.analysis.scores[0].cells
    assert histogram.cutoffs == measured.protocol.scoring.cutoffs


def test_the_page_needs_nothing_from_anywhere_and_runs_nothing(measured: Measured, read_page: Callable[[str], Page]) -> None:
    text = slide_page(measured.analysis, measured.pictures(), title="Slide")
    without_pictures = re.sub(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+", "", text)
    assert "http" not in without_pictures
    assert "<script" not in text
    assert "url(" not in text
    page = read_page(text)
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert (page.unbalanced, page.left_open) == ([], [])


def test_every_number_shown_is_the_records_own(measured: Measured, read_page: Callable[[str], Page]) -> None:
    page = read_page(slide_page(measured.analysis, measured.pictures(), title="Slide"))
    (record,) = measured.analysis.scores
    expected = [record.area_mm2, record.positive_percent, record.density_per_mm2, record.h_score]
    expected += [limit for interval in record.intervals.values() for limit in (interval.lower, interval.upper)]
    expected += [part for vector in measured.analysis.stain_vectors.values() for part in vector]
    expected += measured.analysis.white_point
    assert None not in expected
    assert {repr(value) for value in expected} <= set(page.values)
    assert str(record.cells) in page.text


def test_without_a_pixel_size_density_is_not_evaluable_and_no_length_is_claimed(
    measure: Callable[..., Measured], read_page: Callable[[str], Page]
) -> None:
    unscaled = measure(pixel_size_um=None)
    page = read_page(slide_page(unscaled.analysis, unscaled.pictures(), title="Slide"))
    assert "bar-length" not in page.classes
    assert "not evaluable" in page.text
    for record in unscaled.analysis.scores:
        assert record.findings
        for finding in record.findings:
            for part in (finding.code, finding.message, finding.where, finding.remedy):
                assert part in page.text


def test_names_from_files_stay_text(measured: Measured, read_page: Callable[[str], Page]) -> None:
    analysis, pictures = measured.analysis, measured.pictures()
    plain = read_page(slide_page(analysis, pictures, title="Slide"))
    named = replace(
        analysis,
        stain=HOSTILE,
        run=replace(analysis.run, name=HOSTILE, acquired_at=HOSTILE),
        scores=tuple(replace(record, region=HOSTILE) for record in analysis.scores),
    )
    page = read_page(slide_page(named, pictures, title=HOSTILE))
    assert set(page.tags) <= set(plain.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE.replace("\x01", "\ufffd") in page.text


def test_the_evidence_of_a_slide_is_complete_and_the_same_each_time(measured: Measured) -> None:
    made = [
        slide_files(measured.analysis, measured.slide, measured.calibration, measured.protocol, measured.measurements)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    fields = len(measured.pictures().fields)
    overlays = [f"overlay-{number}{zoom}.png" for number in range(1, fields + 1) for zoom in ("-around", "")]
    # The slide is 450 µm wide, less than the middle zoom.
    overlays = ["overlay.png", *(name for name in overlays if "around" not in name)]
    assert list(made[0]) == ["quality.html", "cells.parquet", "cells.geojson.gz", *overlays]
    features = json.loads(gzip.decompress(made[0]["cells.geojson.gz"]))["features"]
    cells = slide_cells(measured.measurements)
    assert len(features) == measured.analysis.scores[0].cells == pq.read_table(io.BytesIO(made[0]["cells.parquet"])).num_rows
    level_0_um = measured.calibration.optics.scale.pixel_size_um / measured.calibration.optics.scale.factor
    for feature, area in zip(features, cells.nucleus_area_um2, strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        # Corners are rounded to a tenth of a pixel.
        assert abs(ring_area(ring)) * level_0_um**2 == pytest.approx(area, rel=0.05)
    overlay = PIL.Image.open(io.BytesIO(made[0]["overlay.png"]))
    assert overlay.size == (900, 700)


def test_outlines_of_a_field_are_those_of_its_cells(measured: Measured) -> None:
    for field in measured.pictures().fields:
        assert len(field.outlines) == len(field.cells)
        for outline, cell in zip(field.outlines, field.cells, strict=True):
            assert outline.intensity_class == cell.intensity_class
            x, y = np.mean(outline.corners, axis=0)
            assert (x, y) == pytest.approx((cell.x, cell.y), abs=4)


def test_the_middle_zoom_shows_the_surroundings_of_each_field(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biomarkers.reports.slide_overlays.MIDDLE_UM", 300.0)
    files = slide_files(measured.analysis, measured.slide, measured.calibration, measured.protocol, measured.measurements)
    around = PIL.Image.open(io.BytesIO(files["overlay-1-around.png"]))
    assert around.size == (600, 600)


def test_a_large_slide_is_pictured_small(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biomarkers.reports.slide_overlays.WHOLE_PX", 300)
    files = slide_files(measured.analysis, measured.slide, measured.calibration, measured.protocol, measured.measurements)
    whole = PIL.Image.open(io.BytesIO(files["overlay.png"]))
    assert whole.size == (300, 233)
    plain = PIL.Image.fromarray(measured.slide.read_region(0, Region(x=0, y=0, width=900, height=700)))
    shown = np.asarray(plain.resize((300, 233), PIL.Image.Resampling.BOX), dtype=int)
    # Apart from the marks it is the slide: most pixels agree to a few grey levels.
    assert np.median(np.abs(np.asarray(whole, dtype=int) - shown)) <= 6


def test_all_cells_can_be_written_with_their_own_borders(measured: Measured, tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson.gz"
    cells_with_borders(path, measured.slide, measured.calibration, measured.protocol, measured.measurements)
    assert len(json.loads(gzip.decompress(path.read_bytes()))["features"]) == measured.analysis.scores[0].cells


def test_annotated_regions_are_drawn_on_the_section(measured: Measured, read_page: Callable[[str], Page]) -> None:
    square = ((100.0, 100.0), (400.0, 100.0), (400.0, 300.0), (100.0, 300.0))
    drawn = Annotation(name=HOSTILE, kind=RegionKind.INVASIVE_MARGIN, rings=(square,))
    cells = slide_cells(measured.measurements)
    pictures = slide_pictures(measured.slide, measured.calibration, measured.protocol, cells, annotations=[drawn])
    (line,) = pictures.section.regions
    assert np.asarray(line.corners) * pictures.section.level_0_per_pixel == pytest.approx(np.asarray(square))
    page = read_page(slide_page(measured.analysis, pictures, title="Slide"))
    assert "region-invasive-margin" in page.classes
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_a_page_without_pictures_shows_the_numbers_alone(measured: Measured, read_page: Callable[[str], Page]) -> None:
    page = read_page(slide_page(measured.analysis, title="Slide"))
    assert not {"img", "image"} & set(page.tags)
    assert "Scores of tissue" in page.text
