"""Several processes, and several hosts over one PostgreSQL, work on the same inboxes: every file is taken exactly once."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from nursery import Nursery
from sqlalchemy import text

from biomarkers.lab.folders import INBOXES, STUDY_INBOX
from biomarkers.laboratory import create_laboratory, open_lab
from biomarkers.store import audit
from flows import steps
from flows.bench import SweepReport, at_bench
from flows.settings import without_prefect
from flows.sweep import WHOLE, Scope, run_sweep
from flows.work import Specimens

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Dropped


class Server(Protocol):
    def url(self, database: str, *, user: str = "postgres") -> str: ...

    def new_database(self, *, template: str = "template0") -> str: ...


def filled(root: Path, study: Dropped, files: int, database_url: str = "") -> Counter[str]:
    """Make a laboratory whose inbox holds a study's plates among many files that are none; return the digests dropped."""
    create_laboratory(root).close()
    settings = root / "lab.toml"
    written = settings.read_text().replace("settling_seconds = 10", "settling_seconds = 0")
    settings.write_text(written.replace('database_url = ""', f'database_url = "{database_url}"'))
    for kind in ("study", "elisa"):
        for file in sorted((study.inbox / kind).iterdir()):
            shutil.copyfile(file, root / "inbox" / kind / file.name)
    inbox = root / "inbox" / "elisa"
    for number in range(files - len(list(inbox.iterdir()))):
        (inbox / f"note-{number:05}.txt").write_text(f"No plate, number {number}.\n")
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in (root / "inbox").rglob("*") if path.is_file())


def swept_by(root: Path, hosts: Sequence[str]) -> None:
    """Let one process for each entry sweep at the same time, then one alone for what waited for another's list."""
    children = [Nursery(host=host) for host in hosts]
    try:
        with ThreadPoolExecutor(len(children)) as threads:
            ends = list(threads.map(lambda child: child.sweep(root, is_patient=True), children))
        assert ends == [0] * len(children), (root / "child.log").read_text()[-3000:]
        assert children[0].sweep(root, is_patient=True) == 0
    finally:
        for child in children:
            child.close()


def assert_each_once(root: Path, dropped: Counter[str]) -> str:
    """Hold what became of the files against what was dropped; tell how the work was shared."""
    settled = [
        path
        for folder in ("done", "quarantine")
        for path in (root / folder).rglob("*")
        if path.is_file() and not path.name.endswith(".reason.txt")
    ]
    lying = [path for path in (root / "inbox").rglob("*") if path.is_file()]
    assert Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in [*settled, *lying]) == dropped
    with open_lab(root) as laboratory, laboratory.database.read() as reading:
        ask = reading.connection.execute
        runs, distinct = ask(text("SELECT count(*), count(DISTINCT run_id) FROM analysis WHERE step = ''")).one()
        jobs = ask(text("SELECT count(*), count(DISTINCT drop_id) FROM job WHERE acknowledged_at IS NOT NULL")).one()
        events = Counter(ask(text("SELECT action, entity FROM audit_event WHERE action LIKE 'file.%'")).tuples())
        seen = ask(text("SELECT count(*) FROM job WHERE state = 'seen'")).scalar_one()
        assert laboratory.verify_audit().is_whole
    assert runs == distinct
    assert runs > 0
    assert tuple(jobs) == (len(settled), len(settled))
    # A file put away just while another process took a list is brought back, and its first outcome taken back with it.
    ends = Counter({name: -count for (action, name), count in events.items() if action == "file.requeued"})
    for (action, name), count in events.items():
        if action in {"file.recorded", "file.quarantined"}:
            ends[name] += count
    assert set(ends.values()) == {1}
    assert len(ends) == len(settled) - seen
    return f"{len(settled)} files settled, {len(lying)} wait, {runs} runs"


@pytest.mark.timeout(600)
def test_two_watchers_take_each_file_once(tmp_path: Path, small_study: Dropped) -> None:
    dropped = filled(tmp_path / "lab", small_study, 40)
    swept_by(tmp_path / "lab", ["", ""])
    assert_each_once(tmp_path / "lab", dropped)


def test_plates_read_while_another_process_takes_the_lists_fare_as_if_the_lists_had_come_first(
    tmp_path: Path, small_study: Dropped, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "lab"
    dropped = filled(root, small_study, 0)
    first = steps.specimens

    def overtaken() -> Specimens:
        """Read the specimens, whereupon another process takes the lists."""
        known = first()
        monkeypatch.setattr(steps, "specimens", first)
        with ThreadPoolExecutor(1) as other:
            other.submit(swept_here, root, Scope(inboxes=frozenset({STUDY_INBOX}), second_steps=False)).result()
        return known

    monkeypatch.setattr(steps, "specimens", overtaken)
    report = swept_here(root, Scope(inboxes=frozenset(INBOXES) - {STUDY_INBOX}))
    assert_each_once(root, dropped)
    with open_lab(root) as laboratory, laboratory.database.read() as reading:
        assert "file.requeued" not in {event.action for event in audit.events(reading)}
    filled(tmp_path / "orderly", small_study, 0)
    orderly = swept_here(tmp_path / "orderly", WHOLE)
    assert report.faults == orderly.faults == ()
    assert outcomes(report) == outcomes(orderly)
    assert outcomes(report)["recorded"]


def outcomes(report: SweepReport) -> dict[str, list[str]]:
    """Tell which files of the assays came to which state; each stands in the report once."""
    return {
        state: sorted(file.name for file in report.files if file.assay != STUDY_INBOX and file.state == state)
        for state in ("recorded", "quarantined", "waiting")
    }


def swept_here(root: Path, scope: Scope) -> SweepReport:
    """Sweep in this process, as a service of some inboxes does."""
    with (
        open_lab(root) as laboratory,
        ThreadPoolExecutor(1) as here,
        without_prefect(),
        at_bench(laboratory, lambda *_: None, executor=here) as bench,
    ):
        return run_sweep(bench, laboratory.dropped_files(scope.inboxes), scope)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_four_watchers_take_each_of_five_thousand_files_once(
    tmp_path: Path, small_study: Dropped, capsys: pytest.CaptureFixture[str]
) -> None:
    files = int(os.environ.get("BIOMARKERS_WATCHED_FILES", "5000"))
    dropped = filled(tmp_path / "lab", small_study, files)
    swept_by(tmp_path / "lab", [""] * 4)
    told = assert_each_once(tmp_path / "lab", dropped)
    with capsys.disabled():
        sys.stdout.write(f"\nfour watchers on one host, SQLite: {told}\n")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_two_hosts_over_postgresql_take_each_file_once(
    tmp_path: Path, small_study: Dropped, postgres_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    files = int(os.environ.get("BIOMARKERS_WATCHED_FILES", "5000")) // 5
    dropped = filled(tmp_path / "lab", small_study, files, postgres_server.url(postgres_server.new_database()))
    swept_by(tmp_path / "lab", ["host-a", "host-a", "host-b", "host-b"])
    told = assert_each_once(tmp_path / "lab", dropped)
    with capsys.disabled():
        sys.stdout.write(f"\ntwo hosts of two watchers each, PostgreSQL: {told}\n")
