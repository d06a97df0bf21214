"""A night's work from an empty laboratory, and what a second process of a Dask cluster brings.

`BIOMARKERS_NIGHT` says how many plates, acquisitions and slides: 300,300,20 unless set. Their files are made beforehand and not
counted; `BIOMARKERS_NIGHT_DROPS` names a folder in which they stay for the next time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from biomarkers.laboratory import create_laboratory
from biomarkers.readers.plate_layouts import read_layout
from biomarkers.readers.study_files import packaged_study
from biomarkers.simulation.plates import Mishap
from biomarkers.simulation.study import SimulatedStudy, simulate_study
from biomarkers.simulation.writing import write_study

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(7200)]

COMMAND = Path(sys.executable).with_name("biomarkers")
PLATES, ACQUISITIONS, SLIDES = (int(word) for word in os.environ.get("BIOMARKERS_NIGHT", "300,300,20").split(","))
EVENTS = 200_000
SLIDE_PX = 10_000
SUBJECTS = 110
DASK_ACQUISITIONS = 16


@pytest.fixture(scope="module")
def study(project_root: Path) -> SimulatedStudy:
    layouts = {path.stem: read_layout(path) for path in sorted((project_root / "plate_layouts").glob("*.csv"))}
    made = simulate_study(packaged_study(), layouts=layouts, subjects=SUBJECTS, seed=17, events=EVENTS, slide_px=SLIDE_PX)
    sound = [plate for plate in made.plates if plate.mishap is Mishap.NONE]
    assert len(made.acquisitions) >= ACQUISITIONS, "more subjects are needed"
    assert len(made.slides) >= SLIDES, "more subjects are needed"
    again = (replace(plate, plate_id=f"{plate.plate_id}-R{number}") for number in count() for plate in sound)
    return replace(
        made,
        plates=tuple(islice(again, PLATES)),
        acquisitions=made.acquisitions[:ACQUISITIONS],
        slides=made.slides[:SLIDES],
        bad_jobs=(),
        bad_files=(),
    )


@pytest.fixture(scope="module")
def drops(study: SimulatedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("BIOMARKERS_NIGHT_DROPS")
    place = Path(kept) if kept else tmp_path_factory.mktemp("night")
    if (place / "whole").exists():
        return place / "inbox"
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver")) as executor:
        write_study(study, place / "inbox", place / "truth", executor=executor)
    (place / "whole").touch()
    return place / "inbox"


def laboratory(root: Path, drops: Path, kinds: Sequence[str], most: int | None = None) -> Path:
    create_laboratory(root).close()
    settings = root / "lab.toml"
    settings.write_text(settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0"))
    for kind in kinds:
        for file in sorted((drops / kind).iterdir())[:most]:
            shutil.copyfile(file, root / "inbox" / kind / file.name)
    return root


def run(words: Sequence[str | Path]) -> tuple[float, dict[str, float], str]:
    """Run a command; return its seconds, and of all processes of its session the most memory they held together, in MB."""
    began, most, each = time.monotonic(), 0.0, 0.0
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        while process.poll() is None:
            held = list(_resident(process.pid))
            most, each = max(most, sum(held)), max([each, *held])
            time.sleep(0.5)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode in {0, 1}, said
    return time.monotonic() - began, {"together": most / 1e6, "largest process": each / 1e6}, said


def _resident(session: int) -> Iterator[float]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == session:
            yield float(int(words[21]) * os.sysconf("SC_PAGE_SIZE"))


def test_a_nights_work_from_an_empty_laboratory(
    benchmark: BenchmarkFixture, tmp_path: Path, drops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = laboratory(tmp_path / "lab", drops, ("study", "elisa", "cytometry", "ihc"))
    seconds, memory, said = benchmark.pedantic(run, args=([COMMAND, "night", root, "--json"],), rounds=1)
    steps = {step["name"]: step["seconds"] for step in json.loads(said)["steps"]}
    status = subprocess.run([COMMAND, "status", root, "--json"], capture_output=True, text=True, check=True).stdout
    states = [file["state"] for file in json.loads(status)["files"]]
    counts = {state: states.count(state) for state in sorted(set(states))}
    with capsys.disabled():
        sys.stdout.write(
            f"\n{PLATES} plates, {ACQUISITIONS} acquisitions of {EVENTS} events, {SLIDES} slides of {SLIDE_PX} px:"
            f" {seconds:.0f} s,"
            f" {memory['together']:.0f} MB together, {memory['largest process']:.0f} MB the largest process; files {counts}; "
            + ", ".join(f"{name} {took:.0f} s" for name, took in steps.items() if took >= 1.0)
            + "\n"
        )


@contextmanager
def dask(workers: int, place: Path) -> Iterator[str]:
    """Have a Dask scheduler with worker processes of one thread each."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(place)
    ) as cluster:
        yield cluster.scheduler_address


def test_two_dask_processes_do_the_arithmetic_in_little_more_than_half_the_time(
    benchmark: BenchmarkFixture, tmp_path: Path, drops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from biomarkers.laboratory import open_lab  # noqa: PLC0415  - beside what needs Prefect's environment
    from flows.bench import at_bench  # noqa: PLC0415  - as above
    from flows.settings import without_prefect  # noqa: PLC0415  - as above
    from flows.sweep import run_sweep  # noqa: PLC0415  - as above

    def silent(_done: int, _known: int, _text: str) -> None: ...

    def swept(workers: int) -> float:
        root = laboratory(tmp_path / f"lab-{workers}", drops, ("study", "cytometry"), DASK_ACQUISITIONS)
        with dask(workers, tmp_path) as address:
            settings = root / "lab.toml"
            settings.write_text(settings.read_text().replace('scheduler = ""', f'scheduler = "{address}"'))
            with open_lab(root) as lab, without_prefect(), at_bench(lab, silent) as bench:
                lists = [file for file in lab.dropped_files() if file.kind == "study"]
                run_sweep(bench, lists)
                warm, *others = [file for file in lab.dropped_files() if file.kind == "cytometry"]
                run_sweep(bench, [warm])
                began = time.monotonic()
                report = run_sweep(bench, others)
                assert not report.faults
                return time.monotonic() - began

    one = swept(1)
    two = benchmark.pedantic(swept, args=(2,), rounds=1)
    benchmark.extra_info["one process over two"] = round(one / two, 2)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{DASK_ACQUISITIONS - 1} acquisitions: one Dask process {one:.1f} s, two {two:.1f} s,"
            f" {one / two:.2f} times; the bar is 1.7\n"
        )
