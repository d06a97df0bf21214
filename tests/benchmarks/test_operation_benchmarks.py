"""A laboratory in operation: how soon work begins, how soon a plate is seen, what a night and idle hours cost."""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ports import free_port
from pytest_benchmark.fixture import BenchmarkFixture

from biomarkers.lab.inbox import Settling, by_stem
from biomarkers.laboratory import Laboratory, create_laboratory, door, open_lab
from biomarkers.provenance import utc_now
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.plates import Mishap, PlateJob
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.store.study_lists import record_lots, record_roster, record_specimens

CHUNK_GROUPS = 32

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(3600)]

COMMAND = Path(sys.executable).with_name("biomarkers")
PLATES_SEEN = int(os.environ.get("BIOMARKERS_PLATES_SEEN", "60"))
PLATES_HELD = int(os.environ.get("BIOMARKERS_PLATES_HELD", "500"))
PLATES_TO_WARM = 128
"""A plate is two files, its export and its map. What two full sweeps need, a service keeps from then on."""

IDLE_SECONDS = 60.0
SECOND_STEPS_SECONDS = 30.0
"""After the last plate: second steps wait for a quiet moment, and pages are drawn."""


@pytest.fixture(scope="module")
def study(project_root: Path) -> SimulatedStudy:
    return study_of(30, project_root)


def study_of(subjects: int, project_root: Path) -> SimulatedStudy:
    layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
    return simulate_study(packaged_study(), layouts=layouts, subjects=subjects, seed=11)


def laboratory_of(root: Path, study: SimulatedStudy) -> Laboratory:
    """Make a laboratory that knows the study's lists, takes files at once and serves on ports of its own."""
    made = create_laboratory(root)
    with made.database.write() as transaction:
        now = utc_now()
        record_roster(transaction, subjects=[one.subject for one in study.subjects], sha256="1" * 64, recorded_at=now)
        record_specimens(transaction, specimens=[one.specimen for one in study.specimens], sha256="2" * 64, recorded_at=now)
        record_lots(transaction, lots=study.lots, sha256="3" * 64, recorded_at=now)
        made.realign(transaction)
    settings = made.folder.settings_file
    text = settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0")
    settings.write_text(text.replace("port = 8765", f"port = {free_port()}") + f"port = {free_port()}\n")
    return made


def plates(study: SimulatedStudy) -> Iterator[PlateJob]:
    sound = [plate for plate in study.plates if plate.mishap is Mishap.NONE]
    for round_number in itertools.count():
        for plate in sound:
            yield replace(plate, plate_id=f"{plate.plate_id}-R{round_number}")


def drop(job: PlateJob, beside: Path, inbox: Path) -> None:
    """Write a plate aside and move it in, its map first, as a network copy that has ended does."""
    job.write(beside)
    for name in (job.map_name, job.file_name):
        (beside / name).rename(inbox / name)


@contextmanager
def running(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `biomarkers up` until the block ends."""
    with (root.parent / "up.log").open("w") as log:
        up = subprocess.Popen([COMMAND, "up", str(root)], stdout=log, stderr=log, text=True, start_new_session=True)
        try:
            _wait_until_watching(root, up)
            yield up
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)


def _wait_until_watching(root: Path, up: subprocess.Popen[str]) -> None:
    log = root / "logs" / "service.log"
    for _ in range(1200):
        found = [path for path in (root / "logs").glob("*") if path.is_file()] if (root / "logs").is_dir() else []
        if any('"study, elisa"' in path.read_text(errors="replace") for path in found):
            return
        assert up.poll() is None, (root.parent / "up.log").read_text()
        time.sleep(0.1)
    raise AssertionError(f"the watcher did not start: {log}")


def recorded(root: Path) -> int:
    with closing(sqlite3.connect(f"file:{root / 'lab.db'}?mode=ro", uri=True, timeout=30)) as connection:
        return int(connection.execute("SELECT count(*) FROM analysis WHERE step = ''").fetchone()[0])


def tell(capsys: pytest.CaptureFixture[str], benchmark: BenchmarkFixture, numbers: Mapping[str, float]) -> None:
    benchmark.extra_info.update({name: round(value, 2) for name, value in numbers.items()})
    with capsys.disabled():
        sys.stdout.write("\n" + "; ".join(f"{name}: {value:.4g}" for name, value in numbers.items()) + "\n")


def test_work_on_ten_thousand_settled_files_begins_at_once(
    benchmark: BenchmarkFixture, tmp_path: Path, study: SimulatedStudy
) -> None:
    with laboratory_of(tmp_path / "lab", study) as lab:
        inbox = lab.folder.inbox("elisa")
        for number in range(10_000):
            (inbox / f"P{number:05}.txt").write_text("x")
            os.utime(inbox / f"P{number:05}.txt", (1.0, 1.0))

        def begin() -> int:
            settled, _ = Settling(10.0).settled(lab.dropped_files(), monotonic=time.monotonic(), wall_clock=time.time())
            groups = by_stem(settled)
            for group in itertools.islice(groups.values(), CHUNK_GROUPS):  # names are looked at as the files are taken
                door.renamed(lab, group)
            return len(groups)

        gc.collect()
        gc.freeze()  # as the service does when it begins
        try:
            assert benchmark(begin) == 10_000
        finally:
            gc.unfreeze()


def test_a_plate_is_seen_soon_while_others_read(
    benchmark: BenchmarkFixture, tmp_path: Path, study: SimulatedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    root, beside = tmp_path / "lab", tmp_path / "beside"
    beside.mkdir()
    laboratory_of(root, study).close()
    jobs = plates(study)
    inbox = root / "inbox" / "elisa"

    def measure() -> tuple[list[float], list[float], list[str]]:
        stop, waits, reads, errors = threading.Event(), [], [], []
        readers = [threading.Thread(target=_read_on, args=(root, stop, reads, errors)) for _ in range(3)]
        with running(root):
            for job in itertools.islice(jobs, 3):  # what the first files of a day warm up
                drop(job, beside, inbox)
            _wait_for(root, 3)
            for reader in readers:
                reader.start()
            for number, job in enumerate(itertools.islice(jobs, PLATES_SEEN), start=4):
                drop(job, beside, inbox)
                began = time.monotonic()
                _wait_for(root, number)
                waits.append(time.monotonic() - began)
                time.sleep(0.3)
            stop.set()
            for reader in readers:
                reader.join()
        return waits, reads, errors

    waits, reads, errors = benchmark.pedantic(measure, rounds=1)
    assert errors == []
    tell(
        capsys,
        benchmark,
        {
            "seen, median s": float(np.median(waits)),
            "seen, 95th percentile s (bar 1)": float(np.percentile(waits, 95)),
            "reads": len(reads),
            "read, 99th percentile ms (bar 100)": 1000.0 * float(np.percentile(reads, 99)),
        },
    )


def _wait_for(root: Path, runs: int) -> None:
    deadline = time.monotonic() + 60
    while recorded(root) < runs:
        assert time.monotonic() < deadline, "the plate was not recorded"
        time.sleep(0.01)


def _read_on(root: Path, stop: threading.Event, reads: list[float], errors: list[str]) -> None:
    with open_lab(root) as lab:
        while not stop.is_set():
            began = time.perf_counter()
            try:
                lab.timepoints(measurand="IL6")
            except Exception as error:  # noqa: BLE001  - any error of a reader is the finding
                errors.append(repr(error))
            reads.append(time.perf_counter() - began)
            time.sleep(0.1)


def test_a_running_laboratory_costs_little_and_its_memory_stays(
    benchmark: BenchmarkFixture, tmp_path: Path, project_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, beside = tmp_path / "lab", tmp_path / "beside"
    beside.mkdir()
    study = study_of(2 * (PLATES_HELD + PLATES_TO_WARM), project_root)  # enough that no specimen is on two plates of an analyte
    laboratory_of(root, study).close()

    def measure() -> dict[str, float]:
        with running(root) as up:
            time.sleep(20.0)
            before = _processes(up.pid, root)
            time.sleep(IDLE_SECONDS)
            after = _processes(up.pid, root)
            idle = {pid: after[pid][1] - before[pid][1] for pid in after if pid in before}
            server = {pid for pid in after if "prefect server" in after[pid][2] or "uvicorn" in after[pid][2]}
            jobs = [plate for plate in study.plates if plate.mishap is Mishap.NONE][: PLATES_HELD + PLATES_TO_WARM]
            assert len(jobs) == PLATES_HELD + PLATES_TO_WARM
            for job in jobs[:PLATES_TO_WARM]:
                drop(job, beside, root / "inbox" / "elisa")
            _wait_for_many(root, PLATES_TO_WARM)
            small = _service_memory(up.pid, root)
            for job in jobs[PLATES_TO_WARM:]:
                drop(job, beside, root / "inbox" / "elisa")
            _wait_for_many(root, len(jobs))
            large = _service_memory(up.pid, root)
        return {
            "own processes idle, % of a core (bar 1)": 100.0
            * sum(used for pid, used in idle.items() if pid not in server)
            / IDLE_SECONDS,
            "all idle, % of a core (bar 5)": 100.0 * sum(idle.values()) / IDLE_SECONDS,
            "processes": len(after),
            **{f"{name} grew over {2 * PLATES_HELD} files, MB (bar 10)": (large[name] - small[name]) / 1e6 for name in small},
        }

    tell(capsys, benchmark, benchmark.pedantic(measure, rounds=1))


def _wait_for_many(root: Path, runs: int) -> None:
    deadline = time.monotonic() + 1200
    while recorded(root) < runs:
        assert time.monotonic() < deadline, f"{recorded(root)} of {runs} plates were recorded"
        time.sleep(0.5)
    time.sleep(SECOND_STEPS_SECONDS)


def _processes(up: int, root: Path) -> dict[int, tuple[int, float, str]]:
    """Every process of the laboratory: resident bytes, processor seconds and command."""
    server = json.loads((root / ".prefect" / "server.json").read_text())["pid"]
    parents: dict[int, int] = {}
    stats: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(stat.parent.name)
        parents[pid], stats[pid] = int(words[1]), words
    members = {up, server}
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    found = {}
    for pid in members & stats.keys():
        words = stats[pid]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        seconds = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        found[pid] = (int(words[21]) * os.sysconf("SC_PAGE_SIZE"), seconds, command)
    return found


def _service_memory(up: int, root: Path) -> dict[str, int]:
    """What each service that takes files, or follows them, holds, and what all but Prefect's server hold: by name."""
    names = {"flows.watcher": "plates and slides", "flows.follower": "second steps"}
    held = dict.fromkeys([*names.values(), "all of up but Prefect's server"], 0)
    for memory, _, command in _processes(up, root).values():
        for module, name in names.items():
            held[name] += memory * (module in command)
        held["all of up but Prefect's server"] += memory * ("prefect server" not in command and "uvicorn" not in command)
    return held
