"""Bad files end in quarantine quickly and with a reason a technician can act on; good ones beside them go through."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped, Lab

SECONDS = 10
"""Longest time a bad file may take once a sweep has begun to work."""


def huge_tiff() -> bytes:
    """Claim 200 000 x 200 000 RGB pixels in one strip of a few bytes."""
    entries = [
        (256, 4, 1, 200_000),
        (257, 4, 1, 200_000),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 4, 1, 200_000),
        (279, 4, 1, 16),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + b"\0" * 32


def workbook_bomb() -> bytes:
    """Hold a sheet of 400 MB of equal characters in some hundred kilobytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(
            "[Content_Types].xml",
            '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        )
        book.writestr("xl/workbook.xml", "<workbook/>")
        with book.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            for _ in range(400):
                sheet.write(b" " * 1_000_000)
    return content.getvalue()


def lying_fcs(sound: bytes) -> bytes:
    """Move the end of DATA in HEADER and TEXT far behind the end of the file."""
    text = sound.replace(b"$TOT", b"$TOT", 1)
    begin = text.index(b"$ENDDATA") + len(b"$ENDDATA") + 1
    end = begin
    while text[end : end + 1].isdigit() or text[end : end + 1] == b" ":
        end += 1
    width = end - begin
    return text[:26] + b"  999999" + b" 9999999" + text[42:begin] + b"9" * width + text[end:]


@pytest.mark.timeout(280)
def test_each_bad_file_ends_in_quarantine_with_its_reason_and_good_files_go_through(
    new_lab: Callable[..., Lab], small_study: Dropped
) -> None:
    lab = new_lab()
    small_study.into(lab, kinds=("study",))
    study = small_study.study
    sound_fcs = (small_study.inbox / "cytometry" / study.acquisitions[0].file_name).read_bytes()
    sound_slide = (small_study.inbox / "ihc" / study.slides[0].file_name).read_bytes()
    plate = next(path for path in sorted((small_study.inbox / "elisa").glob("IL8*")) if ".map." not in path.name)
    plate_map = (plate.parent / f"{plate.stem}.map.csv").read_text()
    accession = study.acquisitions[1].file_name.removesuffix(".fcs")
    slide_accession = study.slides[0].file_name.split("_")[0]
    bad = {
        ("elisa", "empty.txt"): b"",
        ("elisa", "bomb.xlsx"): workbook_bomb(),
        ("elisa", "picture.csv"): b"\x89PNG\r\n\x1a\n" + bytes(500),
        ("elisa", "unknown.map.csv"): plate_map.replace(plate_map.splitlines()[1].split(",")[4], "ATR-888888", 1).encode(),
        ("cytometry", f"{accession}.fcs"): lying_fcs(sound_fcs),
        ("cytometry", "empty.fcs"): b"",
        ("cytometry", "cut.fcs"): sound_fcs[: len(sound_fcs) // 3],
        ("ihc", f"{slide_accession}_CD4.tiff"): huge_tiff(),
        ("ihc", f"{slide_accession}_CD8.ome.tiff"): sound_slide[: len(sound_slide) // 2],
        ("ihc", f"{slide_accession}_PDL1.png"): b"no picture",
        ("study", "visits.xlsx"): b"PK\x03\x04",
    }
    for (kind, name), content in bad.items():
        lab.write(kind, name, content)
    lab.write("elisa", "unknown.txt", plate.read_bytes())
    lab.drop("elisa", plate, plate.parent / f"{plate.stem}.map.csv")
    lab.drop("cytometry", small_study.inbox / "cytometry" / study.acquisitions[0].file_name)
    begun = time.monotonic()
    files = {(file["assay"], file["name"]): file for file in lab.ingest(status=1)}
    took = time.monotonic() - begun
    quarantined = {key for key, file in files.items() if file["state"] == "quarantined"}
    assert quarantined == set(bad)
    for (kind, name), content in bad.items():
        note = (lab.root / "quarantine" / kind / f"{name}.reason.txt").read_text()
        assert [line.split(":")[0] for line in note.splitlines()[:3]] == ["What happened", "Where", "What to do"]
        assert all(line.split(":", 1)[1].strip() for line in note.splitlines()[:3]), note
        assert (lab.root / "quarantine" / kind / name).read_bytes() == content
    assert {name for (_, name), file in files.items() if file["state"] == "recorded"} == {
        "roster.csv",
        "specimens.csv",
        "haematology.csv",
        "lots.csv",
        "visits.csv",
        plate.name,
        f"{plate.stem}.map.csv",
        study.acquisitions[0].file_name,
    }
    assert files["elisa", "unknown.txt"]["state"] == "waiting"
    assert took < SECONDS * len(bad)


def test_a_file_that_is_still_written_is_left_alone(new_lab: Callable[..., Lab], small_study: Dropped) -> None:
    lab = new_lab(time_to_settle=3)
    small_study.into(lab, kinds=("study",))
    path: Path = lab.write("elisa", "growing.txt", "half a ")
    with path.open("a") as file:
        writer = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys,time\nfor _ in range(1400): sys.stdout.write('x'); sys.stdout.flush(); time.sleep(.2)",
            ],
            stdout=file,
        )
        try:
            names = {file["name"] for file in lab.ingest()}
        finally:
            writer.kill()
            writer.wait()
    assert names == {"haematology.csv", "lots.csv", "roster.csv", "specimens.csv", "visits.csv"}
    assert path.exists()
    assert lab.states()["growing.txt"] == "waiting"
