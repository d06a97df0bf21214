"""A laboratory that is up: what is dropped is recorded, what follows is derived and drawn, and what dies is started again."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.laboratory import create_laboratory, open_lab
from biomarkers.store.results import current_runs

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped

COMMAND = Path(sys.executable).with_name("biomarkers")


def free_port() -> int:
    with closing(socket.socket()) as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@contextmanager
def up(root: Path) -> Iterator[Path]:
    """Run the command until the block ends; gives the file its lines go to, and lets nothing of it live on."""
    said = root.parent / "up.log"
    with said.open("w") as log:
        running = subprocess.Popen([COMMAND, "up", str(root)], stdout=log, stderr=log, start_new_session=True)
    try:
        yield said
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0, said.read_text()
    finally:
        if running.poll() is None:
            running.kill()
            running.wait(10)


def until(what: str, is_so: Callable[[], bool], *, seconds: float = 150.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def count(root: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{root / 'lab.db'}?mode=ro", uri=True, timeout=30)) as connection:
        return int(connection.execute(query).fetchone()[0])


def processes_of(root: Path) -> dict[int, str]:
    """Every living process whose command names the laboratory, or whose Prefect is at home in it."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            home = f"PREFECT_HOME={root}" in (place / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(place.name) != os.getpid() and words and (str(root) in words or home):
            found[int(place.name)] = words
    return found


@pytest.mark.timeout(400)
def test_up_takes_files_derives_and_draws_restarts_what_dies_and_leaves_nothing_running(
    tmp_path: Path, small_study: Dropped
) -> None:
    root = tmp_path / "lab"
    create_laboratory(root).close()
    settings = root / "lab.toml"
    text = settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0")
    settings.write_text(text.replace("port = 8765", f"port = {free_port()}") + f"port = {free_port()}\n")
    for kind in ("study", "elisa"):
        for file in sorted((small_study.inbox / kind).iterdir()):
            (root / "inbox" / kind / file.name).write_bytes(file.read_bytes())
    tube = next(path for path in sorted((small_study.inbox / "cytometry").glob("*.fcs")) if path.stat().st_size > 100_000)
    with up(root) as said:
        until("plates are recorded", lambda: (root / "lab.db").exists() and _plates_taken(root))
        until("ratios are derived", lambda: count(root, "SELECT count(*) FROM analysis WHERE step = 'ratios'") > 0)
        with open_lab(root) as laboratory, laboratory.database.read() as reading:
            runs = [run.run_id for run in current_runs(reading)]
        until("pages are drawn", lambda: all((root / "evidence" / run / "quality.html").is_file() for run in runs))

        follower = next(pid for pid, words in processes_of(root).items() if "flows.follower" in words)
        os.kill(follower, signal.SIGKILL)
        until("what died is told", lambda: "second-steps died" in said.read_text())
        (root / "inbox" / "cytometry" / tube.name).write_bytes(tube.read_bytes())
        until("a tube is recorded", lambda: count(root, "SELECT count(*) FROM analysis WHERE assay = 'cytometry'") > 0)
        until(
            "what died runs again",
            lambda: any("flows.follower" in words for words in processes_of(root).values()),
        )
    assert processes_of(root) == {}
    log = (root / "logs" / "biomarkers.jsonl").read_text()
    assert all(f'"event": "{event}"' in log for event in ("watching", "file", "sweep", "second steps"))
    assert "ATR-" not in log


def _plates_taken(root: Path) -> bool:
    """Whether no plate lies in its inbox but what waits for something."""
    lying = sum(path.is_file() for path in (root / "inbox" / "elisa").iterdir())
    waiting = count(root, "SELECT count(*) FROM job WHERE assay = 'elisa' AND state = 'waiting'")
    return lying == waiting and count(root, "SELECT count(*) FROM analysis WHERE assay = 'elisa'") > 0
