"""Plate-reader exports damaged at random: whatever is done to a file, it is read or refused in our own words.

Each kind of export is damaged `BIOMARKERS_FUZZ_MUTATIONS` times (100 000 unless set) or for `BIOMARKERS_FUZZ_CPU_SECONDS` of
CPU (900 unless set), whichever comes first, in a child process that may take no more than 1 GB. A file that takes longer than
ten seconds counts as a hang. A short slice of the same runs with the ordinary tests.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC = ROOT / "tests" / "data" / "elisa" / "exports"
REAL = ROOT.parent / "shared" / "data" / "elisa"

MOST_MEMORY_BYTES = 1_000_000_000
LONGEST_SECONDS = 10

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


def damaged(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to four wounds: bytes changed, cut out, doubled, exchanged, put in, or taken from another file."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if data:
            span = chance.choice((1, 1, 2, 8, 60, 400))
            chance.choice(WOUNDS)(data, chance.randrange(len(data)), span, others, chance)
    return bytes(data)


def _change(data: bytearray, here: int, span: int, _others: list[bytes], chance: random.Random) -> None:
    data[here : here + span] = chance.randbytes(span)


def _cut_out(data: bytearray, here: int, span: int, _others: list[bytes], _chance: random.Random) -> None:
    del data[here : here + span]


def _cut_off(data: bytearray, here: int, _span: int, _others: list[bytes], _chance: random.Random) -> None:
    del data[here:]


def _repeat(data: bytearray, here: int, span: int, _others: list[bytes], chance: random.Random) -> None:
    data[here:here] = data[here : here + span] * chance.choice((1, 1, 2, 30))


def _put_in(data: bytearray, here: int, span: int, _others: list[bytes], chance: random.Random) -> None:
    data[here : here + chance.choice((0, 0, span))] = chance.choice(TOKENS)


def _graft(data: bytearray, here: int, span: int, others: list[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    start = chance.randrange(len(other) + 1)
    data[here : here + span] = other[start : start + chance.choice((8, 60, 2000))]


def _exchange(data: bytearray, here: int, span: int, _others: list[bytes], chance: random.Random) -> None:
    there = chance.randrange(len(data))
    data[here : here + span], data[there : there + span] = data[there : there + span], data[here : here + span]


WOUNDS = (_change, _cut_out, _cut_off, _repeat, _put_in, _put_in, _graft, _exchange)


def damaged_workbook(content: bytes, chance: random.Random) -> bytes:
    """A workbook whose parts are damaged inside and packed again, so that the damage is met by the reader of cells."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    inner = [name for name in parts if "worksheets/" in name or "sharedStrings" in name or name.endswith("workbook.xml")]
    chosen = chance.choice(inner if chance.random() < 0.8 else list(parts))
    parts[chosen] = damaged(parts[chosen], list(parts.values()), chance)
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
            yield damaged(content, files, chance)


class _HangError(Exception):
    pass


def _too_long(_signal: int, _frame: object) -> None:
    raise _HangError


def fuzz(kind: str, most: int, cpu_seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """Damage files of one kind until the count or the time is spent; tell what came of it."""
    from biomarkers.errors import BiomarkersError  # noqa: PLC0415  - the child limits its memory before it imports
    from biomarkers.readers.plate_reads import read_plates  # noqa: PLC0415
    from biomarkers.readers.vendor_results import read_vendor_results  # noqa: PLC0415

    signal.signal(signal.SIGPROF, _too_long)
    begun = time.process_time()
    path = folder / f"{kind}.export"
    count = read = 0
    slowest = 0.0
    for content in mutations(kind, seed):
        if count >= most or time.process_time() - begun > cpu_seconds:
            break
        path.write_bytes(content)
        count += 1
        started = time.perf_counter()
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)  # of its own work: other programs may keep it waiting
        try:
            with contextlib.suppress(BiomarkersError):
                read += bool(read_plates(path))
                if kind in ("softmax", "gen5", "skanit"):
                    read_vendor_results(path)
        except BaseException as error:  # noqa: BLE001  - any error that is not ours is the finding
            return {
                "kind": kind,
                "count": count,
                "error": traceback.format_exc(),
                "type": type(error).__name__,
                "file": content.hex(),
            }
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"kind": kind, "count": count, "read": read, "slowest_s": round(slowest, 3), "peak_bytes": peak}


def _child() -> None:
    kinds, most, cpu_seconds, seed, folder = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    for kind in kinds.split(","):
        outcome = fuzz(kind, int(most), float(cpu_seconds), int(seed), Path(folder))
        sys.stdout.write(json.dumps(outcome) + "\n")


def run_child(kinds: list[str], most: int, cpu_seconds: float, seed: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.run(
            [sys.executable, __file__, ",".join(kinds), str(most), str(cpu_seconds), str(seed), folder],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
    assert child.returncode == 0, child.stderr[-4000:]
    return [json.loads(line) for line in child.stdout.splitlines()]


def judge(outcome: dict[str, object], kind: str) -> None:
    assert outcome["kind"] == kind
    if "error" in outcome:
        kept = Path(tempfile.gettempdir()) / f"fuzz-{kind}.bin"
        kept.write_bytes(bytes.fromhex(str(outcome["file"])))
        pytest.fail(f"{outcome['type']} at mutation {outcome['count']}, kept in {kept}:\n{outcome['error']}")
    assert int(str(outcome["peak_bytes"])) < MOST_MEMORY_BYTES


def test_a_short_slice_of_damaged_exports_of_every_kind_is_read_or_refused() -> None:
    outcomes = run_child(list(KINDS), most=400, cpu_seconds=0.8, seed=1)
    for kind, outcome in zip(KINDS, outcomes, strict=True):
        judge(outcome, kind)
        assert int(str(outcome["count"])) >= 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", list(KINDS))
def test_damaged_exports_are_read_or_refused_and_never_hang_or_fill_the_memory(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    most = int(os.environ.get("BIOMARKERS_FUZZ_MUTATIONS", "100000"))
    cpu_seconds = float(os.environ.get("BIOMARKERS_FUZZ_CPU_SECONDS", "900"))
    (outcome,) = run_child([kind], most=most, cpu_seconds=cpu_seconds, seed=int(os.environ.get("BIOMARKERS_FUZZ_SEED", "2")))
    with capsys.disabled():
        sys.stdout.write(f"\n{ {key: value for key, value in outcome.items() if key != 'file'} }\n")
    judge(outcome, kind)


if __name__ == "__main__":
    _child()
