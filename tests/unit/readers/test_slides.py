"""Slides in TIFF, PNG and JPEG, and the law of the pixel size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region
from biomarkers.readers.slides import open_slide

GENERATOR = np.random.default_rng(3)
PICTURE = GENERATOR.integers(0, 256, (300, 400, 3), dtype=np.uint8)
ROUGH = np.full((500, 500, 3), 200, dtype=np.uint8)


def _ome(path: Path, size: float | None, *, unit: str = "µm") -> Path:
    metadata = {"axes": "YXS"}
    if size is not None:
        metadata |= {"PhysicalSizeX": size, "PhysicalSizeY": size, "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(PICTURE, subifds=1, tile=(64, 64), photometric="rgb", compression="zlib", metadata=metadata)
        tiff.write(PICTURE[::2, ::2], subfiletype=1, tile=(64, 64), photometric="rgb", compression="zlib")
    return path


def test_an_ome_tiff_gives_its_levels_its_pixel_size_and_every_region(tmp_path: Path) -> None:
    with open_slide(_ome(tmp_path / "slide.ome.tiff", 0.25)) as slide:
        assert [(level.width, level.height, level.downsample) for level in slide.levels] == [(400, 300, 1.0), (200, 150, 2.0)]
        assert (slide.pixel_size_um, slide.pixel_size_origin) == (0.25, "OME metadata")
        for region in (Region(x=0, y=0, width=400, height=300), Region(x=63, y=190, width=130, height=110)):
            part = PICTURE[region.y : region.y + region.height, region.x : region.x + region.width]
            np.testing.assert_array_equal(slide.read_region(0, region), part)
        np.testing.assert_array_equal(
            slide.read_region(1, Region(x=10, y=20, width=50, height=60)), PICTURE[40:160:2, 20:120:2]
        )


@pytest.mark.parametrize(("unit", "size"), [("nm", 250.0), ("mm", 0.00025), ("µm", 0.25)])
def test_units_of_ome_metadata_are_understood(tmp_path: Path, unit: str, size: float) -> None:
    with open_slide(_ome(tmp_path / "slide.ome.tiff", size, unit=unit)) as slide:
        assert slide.pixel_size_um == pytest.approx(0.25)


@pytest.mark.parametrize("options", [{"tile": (64, 64)}, {"rowsperstrip": 17}, {"tile": (64, 64), "compression": "lzw"}])
def test_a_plain_tiff_reads_the_same_in_tiles_and_strips(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "slide.tiff"
    tifffile.imwrite(path, PICTURE, photometric="rgb", resolution=(40_000, 40_000), resolutionunit="CENTIMETER", **options)
    with open_slide(path) as slide:
        region = Region(x=50, y=60, width=200, height=100)
        np.testing.assert_array_equal(slide.read_region(0, region), PICTURE[60:160, 50:250])
        assert (slide.pixel_size_um, slide.pixel_size_origin) == (pytest.approx(0.25), "resolution tag")


def test_dots_per_inch_of_a_screen_are_no_pixel_size(tmp_path: Path) -> None:
    PIL.Image.fromarray(PICTURE).save(tmp_path / "field.png", dpi=(96, 96))
    with open_slide(tmp_path / "field.png") as slide:
        assert slide.pixel_size_um is None
    with open_slide(tmp_path / "field.png", pixel_size_um=0.5) as slide:
        assert (slide.pixel_size_um, slide.pixel_size_origin) == (0.5, "declared")


def test_a_declared_pixel_size_that_contradicts_the_file_is_an_error(tmp_path: Path) -> None:
    path = _ome(tmp_path / "slide.ome.tiff", 0.25)
    with pytest.raises(SourceFileError, match=r"0\.5 µm by declaration but 0\.25 µm by the file's OME metadata"):
        open_slide(path, pixel_size_um=0.5).__enter__()
    with open_slide(path, pixel_size_um=0.2501) as slide:
        assert slide.pixel_size_um == 0.2501


def test_a_pixel_size_of_zero_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="impossible"):
        open_slide(_ome(tmp_path / "slide.ome.tiff", 0.0)).__enter__()


def test_jpeg_fields_and_transparent_pngs_are_read_as_colour_on_white(tmp_path: Path) -> None:
    PIL.Image.fromarray(ROUGH).save(tmp_path / "field.jpg", quality=95)
    clear = np.dstack([ROUGH, np.zeros(ROUGH.shape[:2], dtype=np.uint8)])
    PIL.Image.fromarray(clear).save(tmp_path / "clear.png")
    region = Region(x=0, y=0, width=10, height=10)
    with open_slide(tmp_path / "field.jpg") as slide:
        # JPEG may be one grey level off.
        assert np.abs(slide.read_region(0, region).astype(int) - 200).max() <= 1
    with open_slide(tmp_path / "clear.png") as slide:
        assert (slide.read_region(0, region) == 255).all()


def test_the_slide_is_read_and_not_its_label(tmp_path: Path) -> None:
    path = tmp_path / "slide.svs"
    with tifffile.TiffWriter(path) as tiff:
        description = "Aperio Image Library v11\n400x300 |AppMag = 20|MPP = 0.4990|Date = 01/02/26|Time = 10:11:12"
        tiff.write(PICTURE, tile=(64, 64), photometric="rgb", compression="zlib", description=description, metadata=None)
        tiff.write(ROUGH[:100, :80], photometric="rgb", description="Aperio Image Library v11\nthumb", metadata=None)
        tiff.write(
            ROUGH, photometric="rgb", subfiletype=1, description="Aperio Image Library v11\nlabel 500x500", metadata=None
        )
    with open_slide(path) as slide:
        assert (slide.levels[0].width, slide.levels[0].height) == (400, 300)
        assert slide.pixel_size_um == pytest.approx(0.499)
        assert slide.acquired_at == "01/02/26 10:11:12"
        assert [finding.code for finding in slide.findings] == ["LABEL_IMAGE"]


def test_a_slide_tells_which_scanner_made_it(tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    picture = np.full((64, 64, 3), 240, dtype=np.uint8)
    made_by = [(271, "s", 0, "Hamamatsu", True), (272, "s", 0, "NanoZoomer S60", True)]
    tifffile.imwrite(path, picture, tile=(32, 32), photometric="rgb", extratags=made_by)
    with open_slide(path) as slide:
        assert slide.scanner == "Hamamatsu NanoZoomer S60"
    told = tmp_path / "told.ome.tiff"
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">'
        '<Microscope Manufacturer="Leica" Model="GT450" SerialNumber="17"/></Instrument><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="3" SizeZ="1" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
    )
    tifffile.imwrite(told, picture, tile=(32, 32), photometric="rgb", description=xml, metadata=None)
    with open_slide(told) as slide:
        assert slide.scanner == "Leica GT450 17"
