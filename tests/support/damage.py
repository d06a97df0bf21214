"""Files damaged at random, and what came of reading them: shared by the tests that damage files of many kinds.

Knows wounds, and how a child process of limited memory is run and judged. Must not know any format.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

MOST_MEMORY_BYTES = 1_000_000_000
LONGEST_SECONDS = 10


def damaged(content: bytes, others: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random) -> bytes:
    """One to four wounds: bytes changed, cut out, doubled, exchanged, put in, or taken from another file."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if data:
            span = chance.choice((1, 1, 2, 8, 60, 400))
            chance.choice(_WOUNDS)(data, chance.randrange(len(data)), span, others, tokens, chance)
    return bytes(data)


def _change(
    data: bytearray, here: int, span: int, _others: Sequence[bytes], _tokens: Sequence[bytes], chance: random.Random
) -> None:
    data[here : here + span] = chance.randbytes(span)


def _cut_out(
    data: bytearray, here: int, span: int, _others: Sequence[bytes], _tokens: Sequence[bytes], _chance: random.Random
) -> None:
    del data[here : here + span]


def _cut_off(
    data: bytearray, here: int, _span: int, _others: Sequence[bytes], _tokens: Sequence[bytes], _chance: random.Random
) -> None:
    del data[here:]


def _repeat(
    data: bytearray, here: int, span: int, _others: Sequence[bytes], _tokens: Sequence[bytes], chance: random.Random
) -> None:
    data[here:here] = data[here : here + span] * chance.choice((1, 1, 2, 30))


def _put_in(
    data: bytearray, here: int, span: int, _others: Sequence[bytes], tokens: Sequence[bytes], chance: random.Random
) -> None:
    data[here : here + chance.choice((0, 0, span))] = chance.choice(tokens)


def _graft(
    data: bytearray, here: int, span: int, others: Sequence[bytes], _tokens: Sequence[bytes], chance: random.Random
) -> None:
    other = chance.choice(others)
    start = chance.randrange(len(other) + 1)
    data[here : here + span] = other[start : start + chance.choice((8, 60, 2000))]


def _exchange(
    data: bytearray, here: int, span: int, _others: Sequence[bytes], _tokens: Sequence[bytes], chance: random.Random
) -> None:
    there = chance.randrange(len(data))
    data[here : here + span], data[there : there + span] = data[there : there + span], data[here : here + span]


_WOUNDS = (_change, _cut_out, _cut_off, _repeat, _put_in, _put_in, _graft, _exchange)


def wounded(files: Sequence[bytes], tokens: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Damage files without end."""
    chance = random.Random(seed)
    while True:
        yield damaged(chance.choice(files), files, tokens, chance)


class _HangError(BaseException):  # no reader may take it for a fault of the file
    pass


def _too_long(_signal: int, _frame: object) -> None:
    raise _HangError


def read_damaged(
    contents: Iterable[bytes],
    read: Callable[[Path], object],
    path: Path,
    *,
    refusal: type[Exception],
    most: int,
    cpu_seconds: float,
) -> dict[str, object]:
    """Read damaged files until the count or the time is spent; tell what came of it.

    Parameters
    ----------
    refusal
        The errors that are an answer; any other is the finding.
    """
    signal.signal(signal.SIGPROF, _too_long)
    begun = time.process_time()
    count = good = 0
    slowest = 0.0
    for content in contents:
        if count >= most or time.process_time() - begun > cpu_seconds:
            break
        path.write_bytes(content)
        count += 1
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)  # of its own work: other programs may keep it waiting
        try:
            with contextlib.suppress(refusal):
                read(path)
                good += 1
        except BaseException as error:  # noqa: BLE001  - any error that is not ours is the finding
            told = {"error": traceback.format_exc(), "type": type(error).__name__, "file": content.hex()}
            return {"kind": path.stem, "count": count, **told}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - started)
    peak = peak_bytes()
    return {"kind": path.stem, "count": count, "read": good, "slowest_s": round(slowest, 3), "peak_bytes": peak}


def run_child(
    program: Path, kinds: Sequence[str], *, most: int, cpu_seconds: float, seed: int, folder: Path, warnings: str = "ignore"
) -> list[dict[str, object]]:
    """Run a test module as a program in a process of its own: it limits its memory and prints an outcome a line.

    ``warnings`` is what becomes of Python's warnings there, such as ``"error"``.
    """
    child = subprocess.run(
        [sys.executable, str(program), ",".join(kinds), str(most), str(cpu_seconds), str(seed), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONWARNINGS": warnings,
            "PYTHONPATH": str(Path(__file__).parent),
        },
    )
    assert child.returncode == 0, child.stderr[-4000:]
    return [json.loads(line) for line in child.stdout.splitlines()]


def be_child(
    fuzz: Callable[[str, int, float, int, Path], dict[str, object]], *, addresses_bytes: int = MOST_MEMORY_BYTES
) -> None:
    """Be the program :func:`run_child` runs.

    ``addresses_bytes`` may be more than may be held where libraries map far more than they use; what is held is judged.
    """
    kinds, most, cpu_seconds, seed, folder = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (addresses_bytes, addresses_bytes))
    for kind in kinds.split(","):
        sys.stdout.write(json.dumps(fuzz(kind, int(most), float(cpu_seconds), int(seed), Path(folder))) + "\n")
        sys.stdout.flush()


def judge(outcome: dict[str, object], kind: str) -> None:
    """Fail where a file led to anything but an answer, keeping it, or to too much memory."""
    assert outcome["kind"] == kind
    if "error" in outcome:
        kept = Path(tempfile.gettempdir()) / f"fuzz-{kind}.bin"
        kept.write_bytes(bytes.fromhex(str(outcome["file"])))
        pytest.fail(f"{outcome['type']} at mutation {outcome['count']}, kept in {kept}:\n{outcome['error']}")
    assert int(str(outcome["peak_bytes"])) < MOST_MEMORY_BYTES


def judge_slices(
    program: Path,
    kinds: Sequence[str],
    *,
    most: int,
    cpu_seconds: float,
    least: int,
    folder: Path,
    warnings: str = "ignore",
) -> None:
    """Run a short slice of every kind in one child, and judge each; fewer inputs than ``least`` prove nothing."""
    outcomes = run_child(program, list(kinds), most=most, cpu_seconds=cpu_seconds, seed=1, folder=folder, warnings=warnings)
    for kind, outcome in zip(kinds, outcomes, strict=True):
        judge(outcome, kind)
        assert int(str(outcome["count"])) >= least


def judge_long_run(
    program: Path, kind: str, folder: Path, capsys: pytest.CaptureFixture[str], *, warnings: str = "ignore"
) -> None:
    """Run one kind for as long as the environment says, tell what came of it, and judge."""
    most, cpu_seconds, seed = long_run()
    (outcome,) = run_child(program, [kind], most=most, cpu_seconds=cpu_seconds, seed=seed, folder=folder, warnings=warnings)
    with capsys.disabled():
        sys.stdout.write(f"\n{ {key: value for key, value in outcome.items() if key != 'file'} }\n")
    judge(outcome, kind)


def long_run() -> tuple[int, float, int]:
    """How many mutations, how many seconds of CPU, and which seed, as the environment says."""
    return (
        int(os.environ.get("BIOMARKERS_FUZZ_MUTATIONS", "100000")),
        float(os.environ.get("BIOMARKERS_FUZZ_CPU_SECONDS", "900")),
        int(os.environ.get("BIOMARKERS_FUZZ_SEED", "2")),
    )


def peak_bytes() -> int:
    """The most memory this program has held; what ``getrusage`` tells includes what its parent held before it began."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024
