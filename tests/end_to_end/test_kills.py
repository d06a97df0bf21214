"""Killed at random moments, every file is ingested exactly once and the audit chain holds."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped, Lab

KILLS = 20
COMMAND = Path(sys.executable).with_name("biomarkers")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_twenty_random_moments_every_file_is_ingested_exactly_once(
    new_lab: Callable[..., Lab], small_study: Dropped, ingested: Lab
) -> None:
    lab = new_lab()
    small_study.into(lab)
    dropped = {
        (kind, path.name): path.read_bytes()
        for kind in ("elisa", "cytometry", "ihc", "study")
        for path in (lab.root / "inbox" / kind).iterdir()
    }
    moments = random.Random(11)
    landed, takes = 0, 7.0
    for _ in range(KILLS * 4):
        begun = time.monotonic()
        process = subprocess.Popen(
            [COMMAND, "ingest", str(lab.root)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(moments.uniform(0.2, takes))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            landed += 1
        else:
            # All was done before the kill: aim earlier, and give the next one something to interrupt.
            takes = time.monotonic() - begun
            small_study.into(lab, kinds=("cytometry",))
        if landed == KILLS:
            break
    assert landed == KILLS
    lab.ingest(status=None)
    lab.ingest()
    assert lab.run("audit verify").returncode == 0
    states = lab.states()
    assert "running" not in states.values()
    bad = {file.name for file in small_study.study.bad_files}
    connection = sqlite3.connect(lab.root / "lab.db")
    doubled = connection.execute("SELECT run_id FROM analysis WHERE step = '' GROUP BY run_id HAVING count(*) > 1").fetchall()
    instruments = {sha for (sha,) in connection.execute("SELECT instrument_sha256 FROM analysis WHERE step = ''")}
    broken = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    assert doubled == []
    assert broken == ("ok",)
    sound = [job for job in small_study.study.jobs if job.file_name not in bad]
    assert len(instruments) == len(sound)
    kept = {path.read_bytes() for path in (lab.root / "raw").rglob("*") if path.is_file()}
    assert set(dropped.values()) <= kept
    assert not list((lab.root / "raw").glob(".incoming*"))
    assert lab.table() == ingested.table()
