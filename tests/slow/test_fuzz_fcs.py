"""A hundred thousand damaged FCS files: each ends in events or in a typed refusal, and none takes long.

Run with ``make slow``; the number of mutations, or the seconds of CPU after which it stops, can be set by
BIOMARKERS_FUZZ_MUTATIONS and BIOMARKERS_FUZZ_CPU_SECONDS. The count is printed.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from biomarkers.errors import BiomarkersError
from biomarkers.readers.fcs import read_fcs
from biomarkers.simulation.fcs_bytes import Detector, fcs_bytes

pytestmark = pytest.mark.slow

MUTATIONS = int(os.environ.get("BIOMARKERS_FUZZ_MUTATIONS", "100000"))
CPU_SECONDS = float(os.environ.get("BIOMARKERS_FUZZ_CPU_SECONDS", "900"))
LONGEST_SECONDS = 5.0

WORDS = (
    b"$PAR", b"$TOT", b"$DATATYPE", b"$BYTEORD", b"$MODE", b"$NEXTDATA", b"$BEGINDATA", b"$ENDDATA", b"$BEGINSTEXT",
    b"$SPILLOVER", b"$COMP", b"$DFC1TO2", b"$TIMESTEP", b"$P1B", b"$P1E", b"$P1G", b"$P1R", b"$P2N", b"$P2S", b"$P1DATATYPE",
)  # fmt: skip
VALUES = (
    b"0", b"1", b"-1", b"99999999", b"18446744073709551616", b"1e308", b"1e-308", b"nan", b"inf", b"", b" ", b"\xff\xfe",
    b"D", b"I", b"F", b"A", b"8", b"16", b"24", b"64", b"4,0", b"20,0", b"2,1", b"3,4,1,2", b"4,3,2,1", b"512,A,B",
    b"2,FSC-A,PE-A,1,0,0,1", "²".encode(), "٣".encode(), b"0.0000000001", b"4096",
)  # fmt: skip


def _seeds(real_data: Path | None) -> list[bytes]:
    rng = np.random.default_rng(1)
    events = rng.lognormal(7, 1, size=(40, 4)).astype(np.float32)
    detectors = [
        Detector(name=name, marker=marker) for name, marker in (("FSC-A", ""), ("PE-A", "CD3"), ("APC-A", "CD4"), ("Time", ""))
    ]
    floats = fcs_bytes(events, detectors, {"$SPILLOVER": "2,PE-A,APC-A,1,0.1,0.02,1", "$TIMESTEP": "0.01"})
    integers = floats.replace(b"$DATATYPE|F", b"$DATATYPE|I").replace(b"$P2E|0,0", b"$P2E|4,1")
    chained = floats.replace(b"$NEXTDATA|0", b"$NEXTDATA|%d" % len(floats)) + floats
    seeds = [floats, integers, chained]
    if real_data is not None:
        folder = real_data / "cytometry/raw_fcs"
        seeds += [(folder / name).read_bytes()[:7000] for name in ("data_start_offset_discrepancy_example.fcs", "coulter.lmd")]
    return seeds


def _mutated(seed: bytes, rng: np.random.Generator) -> bytes:
    content = bytearray(seed)
    structure = min(len(content), 2500)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, structure))
        match int(rng.integers(0, 7)):
            case 0:
                content[place] = int(rng.integers(0, 256))
            case 1:
                del content[place : place + int(rng.integers(1, 40))]
            case 2:
                content[place:place] = bytes(rng.integers(0, 256, size=int(rng.integers(1, 20)), dtype=np.uint8))
            case 3:  # a keyword's value replaced
                word = WORDS[int(rng.integers(0, len(WORDS)))]
                found = content.upper().find(word)
                if found >= 0:
                    start = found + len(word) + 1
                    ends = [
                        end
                        for end in (content.find(b"|", start), content.find(b"/", start), content.find(b"\\", start))
                        if end > 0
                    ]
                    content[start : min(ends, default=start)] = VALUES[int(rng.integers(0, len(VALUES)))]
            case 4:  # an offset of the header
                field = 10 + 8 * int(rng.integers(0, 6))
                content[field : field + 8] = b"%8d" % int(rng.integers(0, 10 ** int(rng.integers(1, 9))))
            case 5:
                del content[int(rng.integers(0, len(content) + 1)) :]
            case _:
                content += struct.pack("<f", float("inf")) * int(rng.integers(1, 9))
        structure = max(1, min(len(content), 2500))
        if not content:
            break
    return bytes(content)


def test_damaged_fcs_files_end_in_events_or_typed_refusals(tmp_path: Path, project_root: Path) -> None:
    data = project_root.parent / "shared" / "data"
    seeds = _seeds(data if data.is_dir() else None)
    rng = np.random.default_rng(42)
    path = tmp_path / "tube.fcs"
    ends: Counter[str] = Counter()
    started = time.process_time()
    slowest = 0.0
    while ends.total() < MUTATIONS and time.process_time() - started < CPU_SECONDS:
        path.write_bytes(_mutated(seeds[int(rng.integers(0, len(seeds)))], rng))
        began = time.process_time()
        try:
            acquisition = read_fcs(path)
        except BiomarkersError as error:
            ends[type(error).__name__ if error.what and (error.remedy or error.faults) else "untold"] += 1
        else:
            ends["read"] += 1
            assert acquisition.events.dtype == np.float32
            assert acquisition.events.shape[1] == len(acquisition.channels)
            assert not np.isinf(acquisition.events).any()
        slowest = max(slowest, time.process_time() - began)
    print(f"{ends.total()} mutations of FCS files: {dict(ends)}; slowest {slowest:.3f} s CPU")  # noqa: T201  - the count is the result
    assert slowest < LONGEST_SECONDS
    assert set(ends) == {"read", "SourceFileError"}, "nothing but these two ends, and both were seen"
