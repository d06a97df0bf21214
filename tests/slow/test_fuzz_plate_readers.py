"""Plate-reader exports damaged at random: whatever is done to a file, it is read or refused in our own words.

Each kind of export is damaged `BIOMARKERS_FUZZ_MUTATIONS` times (100 000 unless set) or for `BIOMARKERS_FUZZ_CPU_SECONDS` of
CPU (900 unless set), whichever comes first, in a child process that may take no more than 1 GB. A file that takes longer than
ten seconds counts as a hang. A short slice of the same runs with the ordinary tests.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import be_child, damaged, judge_long_run, judge_slices, read_damaged

ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC = ROOT / "tests" / "data" / "elisa" / "exports"
REAL = ROOT.parent / "shared" / "data" / "elisa"

KINDS = {
    "softmax": ("softmax-*", "softmax/*"),
    "gen5": ("gen5-*", "gen5/*"),
    "skanit": ("skanit*", "skanit/*"),
    "magellan": ("magellan-*.xlsx", "magellan/*.xlsx"),
    "magellan-xls": ("magellan-*.xls", "magellan/*.xls"),
    "mars": ("mars-*", "bmg/*"),
    "envision": ("envision-*", "envision/*"),
    "kaleido": ("kaleido*", "kaleido/*"),
    "grid": ("grid-*", "none/*"),
}

TOKENS = [
    b"\t", b",", b";", b"\n", b"\r\n", b'"', b"~End", b"##BLOCKS= 9", b"Plate:", b"Group:", b"OVRFLW", b"MISSED", b"?????",
    b"*0.5*", b"Masked", b"1e999", b"9" * 400, b"-0", b"0x1F", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"Results", b"Layout",
    b"Plate Number", b"Raw Data (450 1)", b"Results for ABS", b"<>", b"A", b"H12", b"AF48", b"1", b"12", b"24", b"12,5", b"NaN",
    b"inf", b"\xc2\xb2", b"Group Column", b"InterpX(Std@Curve,OD)", b"Measurement results", b"Abs", b"\x85", b"\xd9\xa1",
]  # fmt: skip


def sources(kind: str) -> list[bytes]:
    """The files of one kind: our own, and the public ones where they are there."""
    own, public = KINDS[kind]
    paths = [*sorted(SYNTHETIC.glob(own)), *(sorted(REAL.glob(public)) if REAL.is_dir() else [])]
    found = [path.read_bytes() for path in paths if path.is_file() and path.stat().st_size < 60_000]
    if kind == "grid":
        cells = [[f"{row + column / 100:.2f}" for column in range(12)] for row in range(8)]
        for separator, decimal in ((",", "."), (";", ","), ("\t", ".")):
            lines = [separator.join(["450 nm", *map(str, range(1, 13))])]
            lines += [separator.join(["ABCDEFGH"[row], *cells[row]]).replace(".", decimal) for row in range(8)]
            found.append("\n".join(lines).encode())
        found.append("\n".join(["well,450,620", *(f"{row}{n},0.5,0.04" for row in "ABCDEFGH" for n in range(1, 13))]).encode())
    assert found, kind
    return found


def damaged_workbook(content: bytes, chance: random.Random) -> bytes:
    """A workbook whose parts are damaged inside and packed again, so that the damage is met by the reader of cells."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    inner = [name for name in parts if "worksheets/" in name or "sharedStrings" in name or name.endswith("workbook.xml")]
    chosen = chance.choice(inner if chance.random() < 0.8 else list(parts))
    parts[chosen] = damaged(parts[chosen], list(parts.values()), TOKENS, chance)
    if chance.random() < 0.05:
        del parts[chance.choice(list(parts))]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return packed.getvalue()


def mutations(kind: str, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    files = sources(kind)
    while True:
        content = chance.choice(files)
        if content.startswith(b"PK") and chance.random() < 0.7:
            yield damaged_workbook(content, chance)
        else:
            yield damaged(content, files, TOKENS, chance)


def fuzz(kind: str, most: int, cpu_seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """Damage files of one kind until the count or the time is spent; tell what came of it."""
    from biomarkers.errors import BiomarkersError  # noqa: PLC0415  - the child limits its memory before it imports
    from biomarkers.readers.plate_reads import read_plates  # noqa: PLC0415
    from biomarkers.readers.vendor_results import read_vendor_results  # noqa: PLC0415

    def read(path: Path) -> None:
        read_plates(path)
        if kind in {"softmax", "gen5", "skanit"}:
            read_vendor_results(path)

    path = folder / f"{kind}.export"
    return read_damaged(mutations(kind, seed), read, path, refusal=BiomarkersError, most=most, cpu_seconds=cpu_seconds)


def test_a_short_slice_of_damaged_exports_of_every_kind_is_read_or_refused(tmp_path: Path) -> None:
    judge_slices(Path(__file__), list(KINDS), most=400, cpu_seconds=0.8, least=5, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("kind", list(KINDS))
def test_damaged_exports_are_read_or_refused_and_never_hang_or_fill_the_memory(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge_long_run(Path(__file__), kind, tmp_path, capsys)


if __name__ == "__main__":
    be_child(fuzz)
