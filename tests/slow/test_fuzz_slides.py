"""Slides and annotations damaged at random: whatever is done to a file, it is read or refused in our own words.

Each kind is damaged `BIOMARKERS_FUZZ_MUTATIONS` times (100 000 unless set) or for `BIOMARKERS_FUZZ_CPU_SECONDS` of CPU (900
unless set), whichever comes first, in a child process that may not hold more than 1 GB. A file that takes longer than ten
seconds counts as a hang. A short slice of the same runs with the ordinary tests.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from damage import be_child, judge_long_run, judge_slices, read_damaged

from biomarkers.errors import BiomarkersError
from biomarkers.ihc.slide import Region
from biomarkers.readers.annotations import read_annotations
from biomarkers.readers.slides import open_slide

MOST_ADDRESSES_BYTES = 3_000_000_000


def _tiff(**first: object) -> bytes:
    """A small pyramid with a label, as the options say."""
    picture = np.random.default_rng(4).integers(100, 250, (192, 256, 3), dtype=np.uint8)
    ome = bool(first.pop("ome", False))
    levels = 0 if first.get("software") == "PerkinElmer-QPI" else 2
    buffer = io.BytesIO()
    shared = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"} | first
    with tifffile.TiffWriter(buffer, ome=ome, bigtiff=bool(shared.pop("big", False))) as tiff:
        tiff.write(picture, subifds=levels, **shared)
        shared.pop("description", None)
        for step in (2, 4)[:levels]:
            tiff.write(picture[::step, ::step], subfiletype=1, **shared)
        if not ome:
            tiff.write(picture[:40, :60], photometric="rgb", description="label 60x40", metadata=None)
    return buffer.getvalue()


def _ndpi() -> bytes:
    """Hamamatsu's TIFF with places of eight bytes and one JPEG with restart markers."""
    picture = np.random.default_rng(4).integers(100, 250, (96, 256, 3), dtype=np.uint8)
    packed = io.BytesIO()
    PIL.Image.fromarray(picture).save(packed, format="JPEG", subsampling=0, restart_marker_blocks=16)
    jpeg = packed.getvalue()
    scan = jpeg.index(b"\xff\xda")
    starts = [scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")]
    starts += [at + 2 for at in range(starts[0], len(jpeg) - 1) if jpeg[at] == 0xFF and 0xD0 <= jpeg[at + 1] <= 0xD7]
    body = bytearray(struct.pack("<2sHQ", b"II", 42, 0)) + jpeg
    places = {"starts": len(body)}
    body += struct.pack(f"<{len(starts)}I", *starts)
    places["resolution"] = len(body)
    body += struct.pack("<II", 40_000, 1)
    places["make"] = len(body)
    body += b"Hamamatsu\x00" + struct.pack("<3H", 8, 8, 8)
    tags = [
        (256, 4, 1, 256), (257, 4, 1, 96), (258, 3, 3, len(body) - 6), (259, 3, 1, 7), (262, 3, 1, 6),
        (271, 2, 10, places["make"]), (273, 4, 1, 12), (277, 3, 1, 3), (278, 4, 1, 96), (279, 4, 1, len(jpeg)),
        (282, 5, 1, places["resolution"]),
        (283, 5, 1, places["resolution"]), (284, 3, 1, 1), (296, 3, 1, 3), (65420, 4, 1, 1), (65421, 11, 1, 0x42200000),
        (65424, 9, 1, 0), (65426, 4, len(starts), places["starts"]),
    ]  # fmt: skip
    struct.pack_into("<Q", body, 4, len(body))
    body += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return bytes(body) + bytes(8) + bytes(4 * len(tags))


def _field(form: str) -> bytes:
    buffer = io.BytesIO()
    picture = np.random.default_rng(4).integers(100, 250, (60, 80, 3), dtype=np.uint8)
    PIL.Image.fromarray(picture).save(buffer, format=form, dpi=(100_000, 100_000))
    return buffer.getvalue()


def _geojson(*, older: bool) -> bytes:
    square, hole = [[0, 0], [90.5, 0], [90.5, 80], [0, 80], [0, 0]], [[9, 9], [9, 20], [20, 20], [20, 9], [9, 9]]
    kind = "object_type" if older else "objectType"
    feature = {
        "type": "Feature",
        "id": "PathAnnotationObject" if older else "4c3cf4b5-5e3b-4b8d-9f34-7ad9a1b7c001",
        "geometry": {"type": "Polygon", "coordinates": [square, hole]},
        "properties": {kind: "annotation", "name": "a", "classification": {"name": "Tumor", "color": [1, 2, 3]}},
    }
    several = feature | {"geometry": {"type": "MultiPolygon", "coordinates": [[square, hole], [[*hole]]], "isEllipse": False}}
    nested = json.loads(json.dumps(feature))
    nested["properties"]["childObjects"] = [several]
    return json.dumps(
        [feature, nested] if older else {"type": "FeatureCollection", "features": [feature, several, nested]}
    ).encode()


APERIO = "Aperio Image Library v11\r\n256x192 |AppMag = 40|MPP = 0.2500|Date = 01/02/26|Time = 10:11:12"
QPI = "<PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType></PerkinElmer-QPI-ImageDescription>"

KINDS: dict[str, tuple[str, Callable[[], list[bytes]]]] = {
    "ome": (
        ".ome.tiff",
        lambda: [_tiff(ome=True), _tiff(ome=True, compression="lzw", big=True), _tiff(ome=True, compression=None)],
    ),
    "svs": (".svs", lambda: [_tiff(compression=how, description=APERIO, metadata=None) for how in ("jpeg", "jpeg2000")]),
    "tiff": (".tiff", lambda: [_tiff(compression=how) for how in ("zstd", "webp", "lzma", "packbits")]),
    "qptiff": (".qptiff", lambda: [_tiff(description=QPI, software="PerkinElmer-QPI", compression="jpeg", metadata=None)]),
    "ndpi": (".ndpi", lambda: [_ndpi()]),
    "png": (".png", lambda: [_field("PNG")]),
    "jpeg": (".jpg", lambda: [_field("JPEG")]),
    "geojson": (".geojson", lambda: [_geojson(older=False), _geojson(older=True)]),
}

TOKENS = [
    b"II*\x00", b"MM\x00*", b"\xff\xd8", b"\xff\xc0", b"\xff\xd9", b"\xff\xff", b"\x00\x00", b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", b"MPP = 0", b"MPP = ", b'PhysicalSizeX="0"', b"label", b"<Pixels ", b"1e999",
    b"9" * 60, b"-1", b"null", b"true", b"[", b"]", b"{", b"}", b",", b"[[[[", b'"type":"Feature"', b'"MultiPolygon"',
    b'"Polygon"', b"NaN", b"Infinity", b"\\ud800", b"0.5", b"1e308", b"IDAT", b"IHDR", b"\xff\x4f\xff\x51", b"RIFF",
    b"WEBPVP8L",
]  # fmt: skip


def damaged(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to four wounds; in pictures most of them where the tags are, at the beginning or the end."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if not data:
            break
        span = chance.choice((1, 1, 2, 4, 8, 60, 400))
        where = chance.random()
        here = chance.randrange(len(data))
        if where < 0.4:
            here = chance.randrange(min(len(data), 1200))
        elif where < 0.6:
            here = len(data) - 1 - chance.randrange(min(len(data), 1200))
        chance.choice(WOUNDS)(data, here, span, others, chance)
    return bytes(data)


def _change(data: bytearray, here: int, span: int, _others: list[bytes], chance: random.Random) -> None:
    data[here : here + span] = chance.randbytes(span)


def _one_bit(data: bytearray, here: int, _span: int, _others: list[bytes], chance: random.Random) -> None:
    data[here] ^= 1 << chance.randrange(8)


def _cut_out(data: bytearray, here: int, span: int, _others: list[bytes], _chance: random.Random) -> None:
    del data[here : here + span]


def _cut_off(data: bytearray, here: int, _span: int, _others: list[bytes], _chance: random.Random) -> None:
    del data[here:]


def _repeat(data: bytearray, here: int, span: int, _others: list[bytes], chance: random.Random) -> None:
    data[here:here] = data[here : here + span] * chance.choice((1, 1, 2, 30, 2000))


def _put_over(data: bytearray, here: int, _span: int, _others: list[bytes], chance: random.Random) -> None:
    token = chance.choice(TOKENS)
    data[here : here + len(token)] = token


def _put_in(data: bytearray, here: int, _span: int, _others: list[bytes], chance: random.Random) -> None:
    data[here:here] = chance.choice(TOKENS)


def _graft(data: bytearray, here: int, _span: int, others: list[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    start = chance.randrange(len(other) + 1)
    length = chance.choice((8, 60, 2000))
    data[here : here + length] = other[start : start + length]


WOUNDS = (_change, _one_bit, _one_bit, _cut_out, _cut_off, _repeat, _put_over, _put_over, _put_in, _graft)


def mutations(files: list[bytes], seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    while True:
        yield damaged(chance.choice(files), files, chance)


def read(path: Path) -> bool:
    """Read all that a file holds, in small pieces; whether it could be read."""
    if path.suffix == ".geojson":
        return all(annotation.rings for annotation in read_annotations(path, width=200, height=200))
    with open_slide(path) as slide:
        for number, level in enumerate(slide.levels):
            width, height = min(150, level.width), min(150, level.height)
            for x, y in {(0, 0), (level.width - width, level.height - height)}:
                assert slide.read_region(number, Region(x=x, y=y, width=width, height=height)).shape == (height, width, 3)
    return True


def fuzz(kind: str, most: int, cpu_seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """Damage files of one kind until the count or the time is spent; tell what came of it."""
    ending, make = KINDS[kind]
    path, files = folder / f"{kind}{ending}", make()
    for content in files:  # what libraries import and cache when they are first used is no file's time
        path.write_bytes(content)
        with contextlib.suppress(BiomarkersError):
            read(path)
    told = read_damaged(mutations(files, seed), read, path, refusal=BiomarkersError, most=most, cpu_seconds=cpu_seconds)
    return {**told, "kind": kind}


def test_a_short_slice_of_damaged_slides_of_every_kind_is_read_or_refused(tmp_path: Path) -> None:
    judge_slices(Path(__file__), list(KINDS), most=300, cpu_seconds=0.7, least=5, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("kind", list(KINDS))
def test_damaged_slides_are_read_or_refused_and_never_hang_or_fill_the_memory(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge_long_run(Path(__file__), kind, tmp_path, capsys)


if __name__ == "__main__":
    be_child(fuzz, addresses_bytes=MOST_ADDRESSES_BYTES)
