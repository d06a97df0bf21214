"""A laboratory that is up: what is dropped is recorded, what follows is derived and drawn, and what dies is started again."""

from __future__ import annotations

import os
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
from ports import free_port
from watched_browser import chromium_launched

from biomarkers.laboratory import create_laboratory, open_lab
from biomarkers.store.results import current_runs

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped

COMMAND = Path(sys.executable).with_name("biomarkers")


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


@dataclass(frozen=True, kw_only=True)
class Running:
    """A laboratory that is up, with the addresses of its pages and the lines that were said."""

    root: Path
    url: str
    prefect: str
    said: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, small_study: Dropped) -> Iterator[Running]:
    """Bring a laboratory up whose inboxes hold a study's lists and plates."""
    root = tmp_path_factory.mktemp("up") / "lab"
    create_laboratory(root).close()
    settings = root / "lab.toml"
    pages, prefect = free_port(), free_port()
    text = settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0")
    settings.write_text(text.replace("port = 8765", f"port = {pages}") + f"port = {prefect}\n")
    for kind in ("study", "elisa"):
        for file in sorted((small_study.inbox / kind).iterdir()):
            (root / "inbox" / kind / file.name).write_bytes(file.read_bytes())
    with up(root) as said:
        until("plates are recorded", lambda: (root / "lab.db").exists() and _plates_taken(root))
        yield Running(root=root, url=f"http://127.0.0.1:{pages}", prefect=f"http://127.0.0.1:{prefect}", said=said)
    assert processes_of(root) == {}
    log = (root / "logs" / "biomarkers.jsonl").read_text()
    assert all(f'"event": "{event}"' in log for event in ("watching", "file", "sweep", "second steps"))
    assert "ATR-" not in log


@pytest.mark.timeout(400)
def test_what_follows_from_results_is_derived_and_drawn(running: Running) -> None:
    root = running.root
    until("ratios are derived", lambda: count(root, "SELECT count(*) FROM analysis WHERE step = 'ratios'") > 0)
    with open_lab(root) as laboratory, laboratory.database.read() as reading:
        runs = [run.run_id for run in current_runs(reading)]
    until("pages are drawn", lambda: all((root / "evidence" / run / "quality.html").is_file() for run in runs))


@pytest.mark.timeout(400)
def test_its_own_pages_and_prefects_page_are_there(running: Running, tmp_path: Path) -> None:
    with chromium_launched() as browser:
        page = browser.new_page()
        page.goto(running.url)
        page.wait_for_selector("h1")
        page.screenshot(path=tmp_path / "pages.png")
        page.goto(f"{running.prefect}/runs")
        page.wait_for_selector("text=sweep")
        page.screenshot(path=tmp_path / "prefect.png")


@pytest.mark.timeout(400)
def test_what_dies_is_started_again_while_other_services_work_on(running: Running, small_study: Dropped) -> None:
    root = running.root
    tube = next(path for path in sorted((small_study.inbox / "cytometry").glob("*.fcs")) if path.stat().st_size > 100_000)
    follower = next(pid for pid, words in processes_of(root).items() if "flows.follower" in words)
    os.kill(follower, signal.SIGKILL)
    (root / "inbox" / "cytometry" / tube.name).write_bytes(tube.read_bytes())
    until("what died is told", lambda: "second-steps died" in running.said.read_text())
    until("a tube is recorded", lambda: count(root, "SELECT count(*) FROM analysis WHERE assay = 'cytometry'") > 0)
    until(
        "what died runs again",
        lambda: any("flows.follower" in words for pid, words in processes_of(root).items() if pid != follower),
    )


def _plates_taken(root: Path) -> bool:
    """Whether no plate lies in its inbox but what waits for something."""
    lying = sum(path.is_file() for path in (root / "inbox" / "elisa").iterdir())
    waiting = count(root, "SELECT count(*) FROM job WHERE assay = 'elisa' AND state = 'waiting'")
    return lying == waiting and count(root, "SELECT count(*) FROM analysis WHERE assay = 'elisa'") > 0
