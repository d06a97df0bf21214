from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.measure import label

from biomarkers.simulation.courses import TissueStain
from biomarkers.simulation.sections import GRADE_OD, DrawnSection, draw_section
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.slides import DAB, HAEMATOXYLIN, SlideJob, ome_tiff, scanned
from biomarkers.simulation.study import SimulatedStudy

LYMPHOCYTES = TissueStain(density_per_mm2=300.0, positive_share=None, grade_shares=(0.3, 0.4, 0.3))
TUMOUR = TissueStain(density_per_mm2=None, positive_share=0.4, grade_shares=(0.5, 0.3, 0.2))


def _section(stain: TissueStain, *, seed: int = 1, size: int = 1024, is_scrap: bool = False) -> DrawnSection:
    return draw_section(stain, size, is_scrap=is_scrap, rng=stream(seed, "section"))


def test_the_file_is_a_tiled_ome_pyramid_with_its_pixel_size_and_nothing_that_changes() -> None:
    section = _section(LYMPHOCYTES)
    content = ome_tiff(scanned(section, stream(1, "scan")), name="x")
    assert content == ome_tiff(scanned(section, stream(1, "scan")), name="x")
    with tifffile.TiffFile(BytesIO(content)) as tiff:
        assert tiff.is_ome
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [(1024, 1024, 3), (256, 256, 3), (64, 64, 3)]
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.JPEG
        assert tiff.ome_metadata is not None
        assert 'PhysicalSizeX="0.5" PhysicalSizeXUnit="&#181;m"' in tiff.ome_metadata
        assert page.resolution == (20_000.0, 20_000.0)
        assert not {"Software", "DateTime"} & {tag.name for tag in page.tags if tag.value}
        assert "UUID" not in tiff.ome_metadata


def test_tissue_is_darker_than_glass_over_the_true_area() -> None:
    section = _section(LYMPHOCYTES)
    picture = scanned(section, stream(1, "scan")).astype(np.float64)
    white = np.median(picture[section.haematoxylin == 0.0], axis=0)
    darkness = -np.log10(np.maximum(picture, 1.0) / white).mean(axis=2)
    # Stroma is faint: an average over 5 um sees it, single pixels do not.
    blocks = darkness[:1020, :1020].reshape(102, 10, 102, 10).mean(axis=(1, 3))
    area_mm2 = float((blocks > 0.015).sum()) * (10 * 0.5e-3) ** 2
    assert area_mm2 == pytest.approx(section.tissue_area_mm2, rel=0.04)
    assert 0.4 < section.tissue_area_mm2 / (1024 * 0.5e-3) ** 2 < 0.8


def test_true_grades_are_those_of_the_drawn_membranes() -> None:
    section = _section(TUMOUR)
    for grade in (1, 2, 3):
        # Rings of neighbours may touch, so blobs are fewer than cells, but not by much.
        core = np.abs(np.log(np.maximum(section.dab, 1e-6) / GRADE_OD[grade])) < 0.16
        blobs = np.bincount(label(core).ravel())[1:]
        assert np.sum(blobs > 60) == pytest.approx(section.grades[grade], rel=0.12)


def test_grades_lie_clearly_inside_the_usual_cut_offs() -> None:
    for optical_density, (low, high) in zip(GRADE_OD, ((-1, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 9)), strict=True):
        assert low + 0.08 < optical_density < high - 0.08


def test_wanted_densities_and_shares_are_realised() -> None:
    lymphoid, tumour = _section(LYMPHOCYTES), _section(TUMOUR)
    assert sum(lymphoid.grades[1:]) / lymphoid.tissue_area_mm2 == pytest.approx(300.0, rel=0.02)
    assert sum(tumour.grades[1:]) / sum(tumour.grades) == pytest.approx(0.4, abs=0.005)


def test_unmixing_with_the_usual_vectors_finds_brown_where_it_was_drawn() -> None:
    section = _section(LYMPHOCYTES, size=512)
    picture = scanned(section, stream(2, "scan")).astype(np.float64)
    white = np.median(picture[section.haematoxylin == 0.0], axis=0)
    density = -np.log10(np.maximum(picture, 1.0) / white)
    residual = np.cross(HAEMATOXYLIN, DAB)
    vectors = np.array([HAEMATOXYLIN, DAB, residual / np.linalg.norm(residual)])
    brown = (density @ np.linalg.inv(vectors))[:, :, 1]
    strong, none = section.dab > 0.7, section.dab < 0.05
    assert np.median(brown[strong]) == pytest.approx(np.median(section.dab[strong]), rel=0.2)
    assert abs(np.median(brown[none])) < 0.06


def test_stain_and_scanner_vary_between_slides() -> None:
    section = _section(LYMPHOCYTES, size=256)
    whites = [np.median(scanned(section, stream(seed, "scan"))[section.haematoxylin == 0.0], axis=0) for seed in range(4)]
    assert np.ptp(np.array(whites), axis=0).max() >= 3.0
    assert np.min(whites) > 225.0


def test_a_scrap_has_almost_no_tissue() -> None:
    assert _section(LYMPHOCYTES, size=2048, is_scrap=True).tissue_area_mm2 < 0.01


def test_truth_follows_from_the_drawn_cells(study: SimulatedStudy, tmp_path: Path) -> None:
    job = next(job for job in study.slides if job.stain == "CD8" and not job.is_scrap)
    small = SlideJob(
        seed=1,
        accession_id=job.accession_id,
        subject_id=job.subject_id,
        visit=job.visit,
        file_name=job.file_name,
        stain="CD8",
        scores=("DENSITY_TISSUE", "PCT_POSITIVE", "HSCORE"),
        size_px=512,
        tissue=LYMPHOCYTES,
    )
    truth: Mapping[str, float] = {true.measurand: true.value for true in small.write(tmp_path)}
    section = draw_section(LYMPHOCYTES, 512, is_scrap=False, rng=stream(1, "slide", job.accession_id, "CD8"))
    cells = sum(section.grades)
    assert truth["CD8_PCT_POSITIVE"] == pytest.approx(100.0 * (cells - section.grades[0]) / cells)
    assert truth["CD8_HSCORE"] == pytest.approx(
        100.0 * (section.grades[1] + 2 * section.grades[2] + 3 * section.grades[3]) / cells
    )
    assert truth["CD8_DENSITY_TISSUE"] == pytest.approx((cells - section.grades[0]) / section.tissue_area_mm2)


def test_only_measurands_of_the_study_have_a_truth(study: SimulatedStudy) -> None:
    codes = {f"{job.stain}_{score}" for job in study.slides for score in job.scores}
    assert "PDL1_HSCORE" not in codes, "an H-score of PD-L1 needs a tumour class"
    assert codes <= {measurand.code for measurand in study.definition.measurands}
