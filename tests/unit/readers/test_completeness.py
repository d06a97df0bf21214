"""Files that are still on their way are told from files that are there, by their own format's account."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from biomarkers.readers.completeness import is_whole


def fcs_bytes(*, ends_in_text: bool = False) -> bytes:
    data = b"\0" * 400
    text = "/$BEGINDATA/{begin:012d}/$ENDDATA/{end:012d}/$PAR/1/$TOT/100/"
    begin = 58 + len(text.format(begin=0, end=0))
    end = begin + len(data) - 1
    body = text.format(begin=begin, end=end).encode()
    header = b"FCS3.1    " + f"{58:8d}{begin - 1:8d}".encode()
    header += (f"{0:8d}{0:8d}" if ends_in_text else f"{begin:8d}{end:8d}").encode() + f"{0:8d}{0:8d}".encode()
    return header + body + data


def tiff_bytes(*, bigtiff: bool, tiled: bool) -> bytes:
    buffer = io.BytesIO()
    picture = np.random.default_rng(1).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    with tifffile.TiffWriter(buffer, bigtiff=bigtiff) as writer:
        options = {"tile": (64, 64)} if tiled else {}
        writer.write(picture, photometric="rgb", **options)
        writer.write(picture[::2, ::2], photometric="rgb", **options)
    return buffer.getvalue()


def picture_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def xlsx_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "x" * 5000)
    return buffer.getvalue()


FILES = {
    "fcs": fcs_bytes(),
    "fcs whose text names the end": fcs_bytes(ends_in_text=True),
    "tiff in strips": tiff_bytes(bigtiff=False, tiled=False),
    "tiff in tiles": tiff_bytes(bigtiff=False, tiled=True),
    "bigtiff in tiles": tiff_bytes(bigtiff=True, tiled=True),
    "png": picture_bytes("png"),
    "jpeg": picture_bytes("jpeg"),
    "xlsx": xlsx_bytes(),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_whole_file_is_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(FILES[kind])
    assert is_whole(path)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_of_which_a_part_is_still_to_come_is_not_whole(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(FILES[kind][: int(share * len(FILES[kind]))])
    assert not is_whole(path)


@pytest.mark.parametrize(
    "content", [b"", b"plate,A1\n0.1,0.2\n", b"FCS3.1    not an offset, and not ours to judge", b"\x00" * 100]
)
def test_a_format_that_does_not_tell_its_length_counts_as_whole(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert is_whole(path)


def test_a_file_that_went_away_is_not_whole(tmp_path: Path) -> None:
    assert not is_whole(tmp_path / "gone.fcs")


def test_directories_that_point_at_each_other_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "ring.tiff"
    path.write_bytes(
        b"II*\x00" + (8).to_bytes(4, "little") + (0).to_bytes(2, "little") + (8).to_bytes(4, "little") + b"\0" * 16
    )
    assert is_whole(path)
