"""One slide file per wound; each is refused at once, in a sentence a technician can act on."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region
from biomarkers.readers.slides import open_slide
from biomarkers.readers.tiff_slides import jpeg_pixels

PICTURE = np.random.default_rng(2).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def _claimed_tiff(width: int, height: int, *, tile: int, tiles: int = 1) -> bytes:
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3),
        (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, tiles, 8), (325, 4, tiles, 100),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + entries + bytes(300)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _claimed_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(10_000))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _tiff(picture: np.ndarray, **options: object) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        tiff.write(picture, **options)
    return buffer.getvalue()


TILED = _tiff(PICTURE, tile=(64, 64), photometric="rgb", compression="zlib")
LOOP = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<HI", 0, 8)

WOUNDS = {
    "empty": (b"", "The file is empty."),
    "text": (b"accession_id,stain\n", "The file is no picture this laboratory reads."),
    "claims 200000 pixels a side": (
        _claimed_tiff(200_000, 200_000, tile=256),
        "The picture claims 200000 x 200000 pixels, more than its 430 bytes can hold.",
    ),
    "claims one tile of 40 gigapixels": (
        _claimed_tiff(200_000, 200_000, tile=200_000),
        "The picture claims 200000 x 200000 pixels in pieces of 200000 x 200000.",
    ),
    "claims all its tiles": (
        _claimed_tiff(200_000, 200_000, tile=256, tiles=611_524),
        "The picture claims 200000 x 200000 pixels, more than its 430 bytes can hold.",
    ),
    "lists too few tiles": (_claimed_tiff(2000, 2000, tile=256), "The picture needs 64 tiles or strips, and the file lists 1."),
    "pages in a circle": (LOOP, "The file has more than 10000 pages."),
    "cut off": (TILED[: len(TILED) // 2], "The file is cut off"),
    "cut off in its header": (TILED[:60], "The TIFF file is damaged or cut off"),
    "fluorescence": (_tiff(np.zeros((64, 64), np.uint16)), "The picture has 1 channels of 16 bits"),
    "PNG that claims 200000 pixels a side": (_claimed_png(200_000, 200_000), "The picture is damaged, cut off or too large"),
    "PNG that claims 12000 pixels a side": (_claimed_png(12_000, 12_000), "The picture claims 12000 x 12000 pixels"),
    "cut PNG": (_claimed_png(3000, 3000), "The picture is damaged, cut off or too large"),
}


@pytest.mark.parametrize(("content", "what"), WOUNDS.values(), ids=WOUNDS.keys())
def test_a_wounded_slide_is_refused_quickly_in_little_memory(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "ATR-000001_CD8.ome.tiff"
    path.write_bytes(content)
    tracemalloc.start()
    begun = time.perf_counter()
    try:
        with pytest.raises(SourceFileError) as caught, open_slide(path):
            pass
        seconds, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.what.startswith(what)
    assert "ATR-000001_CD8.ome.tiff" in caught.value.where
    assert caught.value.remedy.endswith(".")
    assert seconds < 10
    assert peak < 100_000_000


def test_an_empty_pyramid_level_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(PICTURE, subifds=1, tile=(64, 64), photometric="rgb", compression="zlib")
        tiff.write(PICTURE[::2, ::2], subfiletype=1, tile=(64, 64), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as file:
        entry = file.series[0].levels[1].pages[0].tags["TileByteCounts"]
        place, length = entry.valueoffset, entry.count * 4 if entry.dtype == 4 else entry.count * 2
    content = bytearray(path.read_bytes())
    content[place : place + length] = bytes(length)
    path.write_bytes(content)
    with pytest.raises(SourceFileError, match=r"The pyramid level is empty\. .*pyramid level 1"), open_slide(path):
        pass


def test_a_pyramid_level_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tiff"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(PICTURE, subifds=1, tile=(64, 64), photometric="rgb", compression="zlib")
        tiff.write(PICTURE[::2, ::4], subfiletype=1, tile=(64, 64), photometric="rgb", compression="zlib")
    with pytest.raises(SourceFileError, match="does not show the same picture"), open_slide(path):
        pass


def test_a_damaged_tile_is_told_with_its_place(tmp_path: Path) -> None:
    content = bytearray(TILED)
    with tifffile.TiffFile(BytesIO(TILED)) as file:
        place = file.pages[0].dataoffsets[5]
    content[place : place + 40] = b"\xff" * 40
    path = tmp_path / "slide.tiff"
    path.write_bytes(content)
    with (
        open_slide(path) as slide,
        pytest.raises(SourceFileError, match=r"A tile of the slide cannot be decoded.* tile 5\."),
    ):
        slide.read_region(0, Region(x=0, y=0, width=256, height=256))


def test_a_jpeg_tells_its_size_before_it_is_decoded() -> None:
    frame = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65_500, 65_500) + b"\x03"
    assert jpeg_pixels(frame) == 65_500**2
    assert jpeg_pixels(b"\xff\xd8") == 0


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_ends_in_a_picture_or_in_our_own_error(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    content = bytearray(TILED)
    for _ in range(int(generator.choice([1, 3, 20]))):
        content[int(generator.integers(0, 1200)) % len(content)] = int(generator.integers(0, 256))
    path = tmp_path / "slide.tiff"
    path.write_bytes(content)
    try:
        with open_slide(path) as slide:
            level = slide.levels[0]
            slide.read_region(0, Region(x=0, y=0, width=min(64, level.width), height=min(64, level.height)))
    except SourceFileError as error:
        assert error.what  # noqa: PT017  - either outcome is right; anything else fails the test


def _tile_replaced(compression: str, payload: bytes) -> bytes:
    """A TIFF of one tile of 256 x 256 pixels whose bytes were exchanged for others."""
    content = bytearray(_tiff(np.zeros((256, 256, 3), np.uint8), tile=(256, 256), photometric="rgb", compression=compression))
    with tifffile.TiffFile(BytesIO(content)) as file:
        tags = file.pages[0].tags
        offset, count = tags["TileOffsets"], tags["TileByteCounts"]
    struct.pack_into("<I", content, offset.valueoffset, len(content))
    content_type = {3: "<H", 4: "<I"}[int(count.dtype)]
    if content_type == "<H":  # made a long, so that any length fits
        struct.pack_into("<H", content, count.offset + 2, 4)
    struct.pack_into("<I", content, count.valueoffset, len(payload))
    return bytes(content) + payload


def _jpeg_2000(width: int, height: int) -> bytes:
    size = struct.pack(">HHIIIIIIIIH", 47, 0, width, height, 0, 0, width, height, 0, 0, 3) + b"\x07\x01\x01" * 3
    return b"\xff\x4f\xff\x51" + size + bytes(200)


BOMBS = {
    "deflate": ("zlib", lambda: zlib.compress(bytes(200_000_000), 1)),
    "zstd": ("zstd", lambda: imagecodecs.zstd_encode(bytes(200_000_000))),
    "lzma": ("lzma", lambda: imagecodecs.lzma_encode(bytes(60_000_000))),
    "lzw": ("lzw", lambda: imagecodecs.lzw_encode(bytes(300_000_000))),
    "jpeg": ("jpeg", lambda: b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65_000, 65_000) + b"\x03" + bytes(200)),
    "padded jpeg": ("jpeg", lambda: b"\xff\xd8\xff\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65_000, 65_000) + bytes(200)),
    "jpeg 2000": ("jpeg2000", lambda: _jpeg_2000(60_000, 60_000)),
    "jpeg 2000 behind a harmless header": ("jpeg2000", lambda: _jpeg_2000(8, 8) + _jpeg_2000(60_000, 60_000)),
    "webp": (
        "webp",
        lambda: b"RIFF\x00\x01\x00\x00WEBPVP8 \x00\x01\x00\x00\x00\x00\x00\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(200),
    ),
}


OPEN_ALL = """
import resource, sys
from pathlib import Path
from biomarkers.errors import SourceFileError
from biomarkers.ihc.slide import Region
from biomarkers.readers.slides import open_slide
for name in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = "read"
    try:
        with open_slide(Path(name)) as slide:
            slide.read_region(0, Region(x=0, y=0, width=256, height=256))
    except SourceFileError as error:
        said = error.what
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, said)
"""


def test_a_tile_that_would_fill_the_memory_is_stopped_in_every_compression(tmp_path: Path) -> None:
    paths = []
    for number, (compression, payload) in enumerate(BOMBS.values()):
        paths.append(tmp_path / f"{number}.tiff")
        paths[-1].write_bytes(_tile_replaced(compression, payload()))
    child = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, *map(str, paths)], capture_output=True, text=True, check=True, timeout=60
    )
    outcomes = dict(zip(BOMBS, child.stdout.splitlines(), strict=True))
    for name, outcome in outcomes.items():
        kilobytes, said = outcome.split(" ", 1)
        assert int(kilobytes) < 100_000, name
        # LZMA stops at the tile's own size and gives a tile; the others are refused.
        assert said == "read" if name == "lzma" else said.startswith("A tile of the slide cannot be decoded"), name


def test_a_compression_no_slide_uses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    content = bytearray(TILED)
    with tifffile.TiffFile(BytesIO(TILED)) as file:
        struct.pack_into("<H", content, file.pages[0].tags["Compression"].valueoffset, 34887)
    path.write_bytes(content)
    with pytest.raises(SourceFileError, match=r"compressed in a way \(number 34887\) that slides do not use"), open_slide(path):
        pass


@pytest.mark.parametrize("said", ["0", "0.0", "-0.25", "1e9"])
def test_a_pixel_size_of_zero_or_nonsense_is_told_as_such(tmp_path: Path, said: str) -> None:
    path = tmp_path / "slide.svs"
    description = f"Aperio Image Library v11\n256x256 |AppMag = 40|MPP = {said}"
    path.write_bytes(_tiff(PICTURE, tile=(64, 64), photometric="rgb", description=description, metadata=None))
    with pytest.raises(SourceFileError, match="is impossible"), open_slide(path):
        pass


@pytest.mark.real
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.95])
def test_a_cut_off_svs_is_refused_at_once(tmp_path: Path, real_data: Path, share: float) -> None:
    whole = (real_data / "ihc" / "slide" / "cmu_small_region.svs").read_bytes()
    path = tmp_path / "slide.svs"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SourceFileError, match="The file is cut off: it ends after"), open_slide(path):
        pass
