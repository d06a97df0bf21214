"""Slides as scanners write them: NDPI, QPTIFF, Philips, ImageJ, and those that OpenSlide reads.

No real NDPI, QPTIFF or VMS could be had; these are written here byte by byte, as tifffile and OpenSlide describe them.
"""

from __future__ import annotations

import io
import multiprocessing
import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region
from biomarkers.readers.openslide_slides import open_with_openslide
from biomarkers.readers.slides import open_slide

SMOOTH = np.dstack(
    [
        np.add.outer(np.linspace(60, 200, 384), np.linspace(0, 50, 512)),
        np.add.outer(np.linspace(200, 90, 384), np.linspace(0, 40, 512)),
        np.add.outer(np.linspace(120, 130, 384), np.linspace(-60, 90, 512)),
    ]
).astype(np.uint8)
"""Varies slowly, so that JPEG of high quality keeps it within some grey levels."""

LABEL_WORDS = "DOE, JANE 1961"
JPEG_ERROR = 4


def _jpeg(picture: np.ndarray, *, restart_blocks: int = 0) -> bytes:
    buffer = io.BytesIO()
    options = {"restart_marker_blocks": restart_blocks} if restart_blocks else {}
    PIL.Image.fromarray(picture).save(buffer, format="JPEG", quality=98, subsampling=0, **options)
    return buffer.getvalue()


def _restart_places(jpeg: bytes) -> list[int]:
    """Where the scan begins and where it goes on after each restart marker, from the file's first byte."""
    scan = jpeg.index(b"\xff\xda")
    places = [scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")]
    places += [
        place + 2
        for place in range(places[0], len(jpeg) - 1)
        if jpeg[place] == 0xFF and 0xD0 <= jpeg[place + 1] <= 0xD7  # within a scan, 0xFF itself is followed by 0
    ]
    return places


def ndpi_bytes(pages: list[tuple[np.ndarray, float]], *, pixel_um: float, label: str = "") -> bytes:
    """Hamamatsu's TIFF: places of eight bytes, each level one JPEG with restart markers, ``pages`` with their magnification."""
    content = bytearray(struct.pack("<2sHQ", b"II", 42, 0))
    link = 4
    for number, (picture, magnification) in enumerate(pages):
        jpeg = _jpeg(picture, restart_blocks=16)
        strip = len(content)
        content += jpeg
        starts = _restart_places(jpeg)
        starts_place = len(content)
        content += struct.pack(f"<{len(starts)}I", *starts)
        rational = len(content)
        content += struct.pack("<II", round(10_000 / (pixel_um * pages[0][1] / magnification)) if magnification > 0 else 100, 1)
        words = len(content)
        content += label.encode() + b"\x00"
        bits = len(content)
        content += struct.pack("<3H", 8, 8, 8)
        make = len(content)
        content += b"Hamamatsu\x00"
        height, width, _ = picture.shape
        tags = [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 7), (262, 3, 1, 6),
            (271, 2, 10, make), (273, 4, 1, strip), (277, 3, 1, 3), (278, 4, 1, height),
            (279, 4, 1, len(jpeg)), (282, 5, 1, rational), (283, 5, 1, rational),
            (284, 3, 1, 1), (296, 3, 1, 3), (65420, 4, 1, 1), (65424, 9, 1, 0), (65426, 4, len(starts), starts_place),
        ]  # fmt: skip
        tags.append((65421, 11, 1, struct.unpack("<I", struct.pack("<f", magnification))[0]))
        if label and number == 0:
            tags.append((65427, 2, len(label) + 1, words))
        place = len(content)
        content[link : link + 8] = struct.pack("<Q", place)
        content += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
        link = len(content)
        content += bytes(8) + bytes(4 * len(tags))
    return bytes(content)


def test_an_ndpi_gives_its_pyramid_its_pixel_size_and_every_region_and_keeps_its_label_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "ATR-000001_CD8.ndpi"
    levels = [(SMOOTH, 40.0), (SMOOTH[::2, ::2], 20.0), (SMOOTH[::4, ::4], 10.0), (SMOOTH[:96, :256], -1.0)]
    path.write_bytes(ndpi_bytes(levels, pixel_um=0.25, label=LABEL_WORDS))
    with open_slide(path) as slide:
        assert [(level.width, level.height, level.downsample) for level in slide.levels] == [
            (512, 384, 1.0),
            (256, 192, 2.0),
            (128, 96, 4.0),
        ]
        assert (slide.pixel_size_um, slide.pixel_size_origin) == (pytest.approx(0.25), "resolution tag")
        region = Region(x=70, y=100, width=300, height=201)
        read = slide.read_region(0, region).astype(int)
        assert np.abs(read - SMOOTH[100:301, 70:370]).max() <= JPEG_ERROR
        assert [finding.code for finding in slide.findings] == ["LABEL_IMAGE", "LABEL_TEXT"]
        assert "macro" in slide.findings[0].message
        assert not any(LABEL_WORDS in finding.message for finding in slide.findings)
        # A second program takes the file for what it is meant to be, and sees the same.
        with open_with_openslide(path, ()) as other:
            assert other.levels[:3] == slide.levels
            assert other.pixel_size_um == pytest.approx(0.25)
            assert np.abs(read - other.read_region(0, region)).max() <= 1


def test_of_an_ndpis_focal_planes_the_one_in_focus_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for offset, picture in ((-2000, 255 - SMOOTH), (0, SMOOTH), (2000, 255 - SMOOTH)):
            tags = [(65424, 9, 1, offset, True)]
            tiff.write(picture, tile=(64, 64), photometric="rgb", compression="zlib", extratags=tags, metadata=None)
    (tmp_path / "slide.tiff").write_bytes(buffer.getvalue())
    with open_slide(tmp_path / "slide.tiff") as slide:
        np.testing.assert_array_equal(slide.read_region(0, Region(x=0, y=0, width=512, height=384)), SMOOTH)
        assert [finding.code for finding in slide.findings] == ["SEVERAL_PLANES"]


def _qpi(kind: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
        f"<DescriptionVersion>2</DescriptionVersion><ImageType>{kind}</ImageType></PerkinElmer-QPI-ImageDescription>"
    )


def _qptiff(path: Path, *, with_pyramid: bool = True) -> None:
    shared = {"photometric": "rgb", "software": "PerkinElmer-QPI", "metadata": None, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            SMOOTH, tile=(64, 64), compression="jpeg", resolution=(20_000, 20_000), description=_qpi("FullResolution"), **shared
        )
        tiff.write(SMOOTH[::8, ::8], resolution=(2500, 2500), description=_qpi("Thumbnail"), **shared)
        if with_pyramid:
            tiff.write(
                SMOOTH[::2, ::2],
                tile=(64, 64),
                compression="jpeg",
                resolution=(10_000, 10_000),
                description=_qpi("ReducedResolution"),
                **shared,
            )
        tiff.write(SMOOTH[:60, :160], resolution=(500, 500), description=_qpi("Overview"), **shared)
        tiff.write(np.tile(SMOOTH, (2, 2, 1)), resolution=(500, 500), description=_qpi("Label"), **shared)


def test_a_brightfield_qptiff_is_read_and_neither_its_overview_nor_its_label(tmp_path: Path) -> None:
    _qptiff(tmp_path / "slide.qptiff")
    with open_slide(tmp_path / "slide.qptiff") as slide:
        assert [(level.width, level.height) for level in slide.levels] == [(512, 384), (256, 192)]
        assert (slide.pixel_size_um, slide.pixel_size_origin) == (pytest.approx(0.5), "resolution tag")
        read = slide.read_region(0, Region(x=0, y=0, width=512, height=384)).astype(int)
        assert np.abs(read - SMOOTH).mean() < JPEG_ERROR
        assert "overview, 160 x 60 px; label, 1024 x 768 px" in slide.findings[0].message


def test_a_qptiffs_label_is_known_by_its_own_word_even_where_it_is_the_largest_picture(tmp_path: Path) -> None:
    _qptiff(tmp_path / "slide.qptiff", with_pyramid=False)
    with open_slide(tmp_path / "slide.qptiff") as slide:
        assert (slide.levels[0].width, slide.levels[0].height) == (512, 384)


def test_fluorescence_in_a_qptiff_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.qptiff") as tiff:
        for _ in range(5):
            tiff.write(
                SMOOTH[..., 0],
                tile=(64, 64),
                photometric="minisblack",
                software="PerkinElmer-QPI",
                description=_qpi("FullResolution"),
                metadata=None,
            )
    with (
        pytest.raises(SourceFileError, match=r"1 channels of 8 bits.*fluorescence is not scored"),
        open_slide(tmp_path / "slide.qptiff"),
    ):
        pass


def test_imagejs_micrometres_are_a_pixel_size_and_its_resolution_tag_alone_is_none(tmp_path: Path) -> None:
    for unit, expected in (("micron", 0.25), ("pixel", None)):
        path = tmp_path / f"{unit}.tif"
        tifffile.imwrite(path, SMOOTH, imagej=True, resolution=(4.0, 4.0), metadata={"unit": unit})
        with open_slide(path) as slide:
            assert slide.pixel_size_um == expected


def test_philips_spacing_is_vendor_metadata(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_SCANNED_IMAGES">'
        '<Array><DataObject ObjectType="DPScannedImage"><Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>'
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" '
        'Element="0x0030" PMSVR="IDoubleArray">&quot;0.00025&quot; &quot;0.00025&quot;</Attribute></DataObject>'
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" '
        'Element="0x0030" PMSVR="IDoubleArray">&quot;0.0005&quot; &quot;0.0005&quot;</Attribute></DataObject>'
        "</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    shared = {"tile": (128, 128), "photometric": "rgb", "compression": "jpeg", "software": "Philips DP v1.0", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "slide.tiff") as tiff:
        tiff.write(SMOOTH, description=xml, **shared)
        tiff.write(SMOOTH[::2, ::2], description="", subfiletype=1, **shared)
        tiff.write(SMOOTH[:100, :120], photometric="rgb", description="Label", metadata=None, software="Philips DP v1.0")
    with open_slide(tmp_path / "slide.tiff") as slide:
        assert (slide.pixel_size_um, slide.pixel_size_origin) == (pytest.approx(0.25), "vendor metadata")
        assert [level.width for level in slide.levels] == [512, 256]
        assert "label, 120 x 100 px" in slide.findings[0].message


def vms(folder: Path) -> Path:
    """Hamamatsu's older slide, which OpenSlide alone reads: a text file that names the JPEG files beside it."""
    (folder / "scan.jpg").write_bytes(_jpeg(SMOOTH, restart_blocks=16))
    (folder / "map.jpg").write_bytes(_jpeg(SMOOTH[::8, ::8], restart_blocks=8))
    (folder / "macro.jpg").write_bytes(_jpeg(SMOOTH[:60, :160]))
    words = {
        "NoLayers": 1, "NoJpegColumns": 1, "NoJpegRows": 1, "ImageFile": "scan.jpg", "MapFile": "map.jpg",
        "MacroImage": "macro.jpg", "PhysicalWidth": 512 * 250, "PhysicalHeight": 384 * 250, "SourceLens": 40,
        "PhysicalMacroWidth": 1_000_000, "PhysicalMacroHeight": 400_000,
    }  # fmt: skip
    path = folder / "slide.vms"
    path.write_text("[Virtual Microscope Specimen]\n" + "".join(f"{key}={value}\n" for key, value in words.items()))
    return path


def test_what_openslide_alone_reads_is_left_to_it(tmp_path: Path) -> None:
    with open_slide(vms(tmp_path)) as slide:
        assert (slide.levels[0].width, slide.levels[0].height) == (512, 384)
        assert (slide.pixel_size_um, slide.pixel_size_origin) == (pytest.approx(0.25), "vendor metadata")
        read = slide.read_region(0, Region(x=33, y=44, width=200, height=100)).astype(int)
        assert np.abs(read - SMOOTH[44:144, 33:233]).max() <= JPEG_ERROR
        assert "macro" in slide.findings[0].message
    with pytest.raises(SourceFileError, match=r"0\.5 µm by declaration but 0\.25 µm by the file's vendor metadata"):
        open_slide(tmp_path / "slide.vms", pixel_size_um=0.5).__enter__()


def test_an_incomplete_scan_is_told(tmp_path: Path) -> None:
    path = vms(tmp_path)
    (tmp_path / "scan.jpg").unlink()
    with pytest.raises(SourceFileError, match="damaged or incomplete"), open_slide(path):
        pass


def test_an_mrxs_without_its_folder_is_not_taken_for_the_picture_it_begins_as(tmp_path: Path) -> None:
    path = tmp_path / "ATR-000001_CD8.mrxs"
    path.write_bytes(_jpeg(SMOOTH))
    with (
        pytest.raises(SourceFileError, match="a file and a folder of the same name, and the folder is missing"),
        open_slide(path),
    ):
        pass


@pytest.mark.real
def test_openslide_and_our_own_reader_see_the_same_pixels_of_a_real_slide(real_data: Path) -> None:
    path = real_data / "ihc" / "slide" / "cmu_small_region.svs"
    region = Region(x=1001, y=502, width=700, height=900)
    with open_slide(path) as own, open_with_openslide(path, ()) as other:
        np.testing.assert_array_equal(own.read_region(0, region), other.read_region(0, region))
        assert own.levels == other.levels
        assert own.pixel_size_um == other.pixel_size_um == 0.499
        assert [finding.code for finding in own.findings] == ["LABEL_IMAGE"]
        assert "label, 387 x 463 px; macro, 1280 x 431 px" in own.findings[0].message


def _outcome_in_child(path: Path, slide: object, answers: multiprocessing.SimpleQueue[str]) -> None:
    region = Region(x=0, y=0, width=64, height=64)
    try:
        slide.read_region(0, region)  # type: ignore[attr-defined]
    except RuntimeError as error:
        answers.put(str(error))
    with open_slide(path) as own:
        answers.put(str(own.read_region(0, region).sum()))


@pytest.mark.parametrize("kind", ["tiff", "vms"])
def test_a_forked_process_cannot_read_an_open_slide_but_opens_it_anew(tmp_path: Path, kind: str) -> None:
    path = vms(tmp_path) if kind == "vms" else tmp_path / "slide.tiff"
    if kind == "tiff":
        tifffile.imwrite(path, SMOOTH, photometric="rgb", tile=(64, 64), compression="zlib")
    forking = multiprocessing.get_context("fork")
    answers = forking.SimpleQueue()
    with open_slide(path) as slide:
        child = forking.Process(target=_outcome_in_child, args=(path, slide, answers))
        child.start()
        child.join(30)
        assert answers.get() == "a slide belongs to the process that opened it; open it again in this one"
        assert answers.get() == str(slide.read_region(0, Region(x=0, y=0, width=64, height=64)).sum())
