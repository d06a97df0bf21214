"""Faults of every kind at any moment of a sweep: afterwards every file is there exactly once, whole, and on record.

A sweep is run in a forked child, as the composition it is, unobserved by Prefect; the child is killed, or what it asks of the
operating system fails, at one of the moments when it opens, renames, removes or makes something in the laboratory. Then an
undisturbed sweep must bring the laboratory to the very state that no fault would have left it in.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nursery import FAULTS, Nursery, Strike

from biomarkers.laboratory import open_lab

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped, Lab


@contextmanager
def locked(root: Path) -> Iterator[None]:
    with closing(sqlite3.connect(root / "lab.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.fixture(scope="module")
def children() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def dropped_lab(tmp_path_factory: pytest.TempPathFactory, small_study: Dropped) -> Path:
    """Make a laboratory whose inboxes are full: the lists, plates and one acquisition of the small study."""
    from biomarkers.laboratory import create_laboratory  # noqa: PLC0415  - only here

    root = tmp_path_factory.mktemp("faults") / "lab"
    with create_laboratory(root):
        pass
    for kind in ("study", "elisa"):
        for file in sorted((small_study.inbox / kind).iterdir()):
            shutil.copyfile(file, root / "inbox" / kind / file.name)
    acquisition = min((small_study.inbox / "cytometry").iterdir())
    shutil.copyfile(acquisition, root / "inbox" / "cytometry" / acquisition.name)
    return root


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What an undisturbed sweep leads to."""

    moments: int
    places: frozenset[str]
    digests: frozenset[str]
    table: str
    recorded: int


def state(root: Path) -> tuple[frozenset[str], str, int]:
    places = frozenset(
        str(path.relative_to(root))
        for folder in ("inbox", "done", "quarantine")
        for path in (root / folder).rglob("*")
        if path.is_file()
    )
    with open_lab(root) as laboratory:
        table = laboratory.timepoints().drop(columns=["days_from_target"], errors="ignore").to_csv(index=False)
        assert laboratory.verify_audit().is_whole
    with closing(sqlite3.connect(root / "lab.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        recorded = connection.execute("SELECT count(*), count(DISTINCT run_id) FROM analysis WHERE step = ''").fetchone()
    assert recorded[0] == recorded[1], "a run was recorded twice"
    return places, table, int(recorded[0])


@pytest.fixture(scope="module")
def truth(dropped_lab: Path, children: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    root = tmp_path_factory.mktemp("truth") / "lab"
    shutil.copytree(dropped_lab, root)
    digests = frozenset(hashlib.sha256(path.read_bytes()).hexdigest() for path in (root / "inbox").rglob("*") if path.is_file())
    counter = root.parent / "moments"
    assert children.sweep(root, Strike(fault="none", moment=0), counter=counter) == 0
    assert children.sweep(root) == 0
    places, table, recorded = state(root)
    return Truth(moments=int(counter.read_text()), places=places, digests=digests, table=table, recorded=recorded)


def recovers(children: Nursery, dropped_lab: Path, truth: Truth, strike: Strike, root: Path) -> int:
    """Let a fault strike a fresh laboratory, sweep it twice undisturbed, and hold it against the truth."""
    shutil.copytree(dropped_lab, root)
    if strike.fault == "database locked":
        with locked(root):
            ended = children.sweep(root)
    else:
        ended = children.sweep(root, strike)
    for _ in range(2):  # what waited for something that came back is taken by the second
        assert children.sweep(root) == 0, (strike, (root / "child.log").read_text()[-3000:])
    places, table, recorded = state(root)
    kept = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (root / "raw").glob("*/*/*")}
    assert all(name == digest for name, digest in kept.items()), strike
    assert truth.digests <= set(kept), strike
    assert not list((root / "raw").glob(".incoming*")), strike
    assert places == truth.places, (strike, sorted(places ^ truth.places), (root / "child.log").read_text()[-3000:])
    assert recorded == truth.recorded, strike
    assert table == truth.table, strike
    shutil.rmtree(root)
    return ended


def strikes(count: int, moments: int, seed: int) -> list[Strike]:
    chance = random.Random(seed)
    faults = ["killed" if number % 2 else FAULTS[number // 2 % len(FAULTS)] for number in range(count)]
    return [Strike(fault=fault, moment=chance.randint(1, moments)) for fault in faults]


def told(ends: list[tuple[str, int]]) -> str:
    rows = {fault: [end for name, end in ends if name == fault] for fault in dict.fromkeys(name for name, _ in ends)}
    return ", ".join(
        f"{fault}: {len(found)} ({sum(end < 0 for end in found)} killed, {sum(end > 0 for end in found)} failed, "
        f"{sum(end == 0 for end in found)} went through)"
        for fault, found in rows.items()
    )


@pytest.mark.timeout(600)
def test_after_faults_of_every_kind_every_file_is_there_once_and_on_record(
    children: Nursery, dropped_lab: Path, truth: Truth, tmp_path: Path
) -> None:
    ends = [
        (strike.fault, recovers(children, dropped_lab, truth, strike, tmp_path / "lab"))
        for strike in strikes(8, truth.moments, seed=1)
    ]
    assert any(end < 0 for _, end in ends), told(ends)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_after_a_thousand_faults_every_file_is_there_once_and_on_record(
    children: Nursery, dropped_lab: Path, truth: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = int(os.environ.get("BIOMARKERS_FAULTS", "1000"))
    ends = [
        (strike.fault, recovers(children, dropped_lab, truth, strike, tmp_path / "lab"))
        for strike in strikes(count, truth.moments, seed=int(os.environ.get("BIOMARKERS_FAULTS_SEED", "2")))
    ]
    with capsys.disabled():
        sys.stdout.write(f"\n{count} faults at {truth.moments} moments; {told(ends)}\n")


@pytest.mark.slow
def test_a_server_that_is_killed_during_a_sweep_costs_no_file(
    new_lab: Callable[..., Lab], small_study: Dropped, command: Path
) -> None:
    lab = new_lab()
    (lab.root / ".prefect" / "server.json").unlink()
    small_study.into(lab, kinds=("study", "elisa"))
    run = subprocess.Popen([command, "ingest", str(lab.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    announced = lab.root / ".prefect" / "server.json"
    deadline = time.monotonic() + 120
    while not list((lab.root / "raw").glob("*/*/*")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if announced.exists() and run.poll() is None:
        os.killpg(json.loads(announced.read_text())["pid"], signal.SIGKILL)
    _, said = run.communicate(timeout=250)
    assert run.returncode in {0, 1}, said
    lab.ingest(status=None)
    states = lab.states()
    assert set(states.values()) <= {"recorded", "seen", "quarantined", "waiting"}
    assert not {name for name, found in states.items() if found == "quarantined"} - {
        file.name for file in small_study.study.bad_files
    }
