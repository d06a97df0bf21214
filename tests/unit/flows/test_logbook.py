"""The structured log: whole lines whoever writes, and no line lost while it is put aside."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from biomarkers.lab.folders import LabFolder
from flows import logbook
from flows.logbook import Logbook


def test_services_that_write_at_once_lose_no_line_while_the_log_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "LOG_BYTES", 8_000)
    folder = LabFolder(root=tmp_path)

    def write(service: int) -> None:
        book = Logbook(folder)
        for number in range(100):
            book.note("sweep", service=service, number=number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    lines = [json.loads(line) for path in folder.logs.glob("biomarkers.jsonl*") for line in path.read_text().splitlines()]
    assert sorted((line["service"], line["number"]) for line in lines) == [(s, n) for s in range(4) for n in range(100)]
    assert len(list(folder.logs.glob("biomarkers.jsonl*"))) > 1


def test_only_so_many_old_logs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logbook, "LOG_BYTES", 100)
    folder = LabFolder(root=tmp_path)
    book = Logbook(folder)
    for number in range(50):
        book.note("sweep", number=number)
    kept = sorted(path.name for path in folder.logs.glob("biomarkers.jsonl*"))
    assert kept == ["biomarkers.jsonl", *(f"biomarkers.jsonl.{number}" for number in range(1, logbook.LOGS_KEPT + 1))]
    assert '"number": 49' in (folder.logs / "biomarkers.jsonl").read_text()
