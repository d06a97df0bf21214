"""Backups that can be restored, and a doctor who finds what is wrong."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from biomarkers.laboratory import open_lab
from biomarkers.safekeeping import backup, backups

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Lab


def checks(lab: Lab, *words: str, status: int = 0) -> dict[str, str]:
    run = lab.run("doctor", "--json", *words, status=status)
    return {check["subject"]: check["verdict"] for check in json.loads(run.stdout)["checks"]}


def test_a_restored_laboratory_shows_the_same_table_and_a_whole_audit_trail(
    ingested: Lab, tmp_path: Path, lab_at: Callable[[Path], Lab]
) -> None:
    place = Path(ingested.run("backup", "--to", str(tmp_path / "kept")).stdout.strip())
    assert (place / "manifest.json").is_file()
    restored = lab_at(place)
    restored.run("restore", str(tmp_path / "again"))
    again = lab_at(tmp_path / "again")
    assert again.table() == ingested.table()
    assert "whole" in again.run("audit verify").stdout
    assert again.states() == ingested.states()
    originals = list((ingested.root / "raw").glob("*/*/*"))
    assert originals
    for path in originals:
        assert (again.root / "raw" / path.relative_to(ingested.root / "raw")).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_damaged_backup_is_refused_with_the_file_at_fault(
    ingested: Lab, tmp_path: Path, lab_at: Callable[[Path], Lab]
) -> None:
    place = Path(ingested.run("backup", "--to", str(tmp_path / "kept")).stdout.strip())
    victim = next((tmp_path / "kept" / "raw").glob("*/*/*"))
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes() + b"x")
    run = lab_at(place).run("restore", str(tmp_path / "again"), status=1)
    assert "The backup is damaged" in run.stderr
    assert victim.name in run.stderr


@pytest.mark.slow
def test_only_the_newest_backups_stay_and_share_their_originals(ingested: Lab, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with open_lab(ingested.root) as laboratory:
        first = backup(laboratory, kept)
        before = sum(1 for _ in (kept / "raw").glob("*/*/*"))
        shutil.copytree(first.place, kept / "20200101T000000Z")
        backup_two = kept / "20200102T000000Z"
        shutil.copytree(first.place, backup_two)
        assert len(backups(kept)) == 3
        backup(laboratory, kept, keep=2)
    assert backup_two not in backups(kept)
    assert len(backups(kept)) == 2
    assert sum(1 for _ in (kept / "raw").glob("*/*/*")) == before


def test_the_doctor_finds_a_healthy_laboratory_healthy_and_each_injury(ingested: Lab) -> None:
    root = ingested.root
    ingested.run("backup")
    assert set(checks(ingested).values()) == {"ok"}
    connection = sqlite3.connect(root / "lab.db")
    connection.execute("UPDATE timepoint_row SET value = value + 1 WHERE value IS NOT NULL")
    assert connection.total_changes > 0
    connection.commit()
    connection.close()
    assert checks(ingested, status=1)["timepoints"] == "failed"
    assert checks(ingested, "--rebuild")["timepoints"] == "ok"
    original = next((root / "raw").glob("*/*/*"))
    original.chmod(0o644)
    original.write_bytes(b"changed")
    assert checks(ingested, status=1)["digests"] == "failed"
    assert "digests" not in checks(ingested, "--quick")
    connection = sqlite3.connect(root / "lab.db")
    names = [
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger' AND tbl_name='audit_event'")
    ]
    for name in names:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("UPDATE audit_event SET actor = 'somebody else' WHERE id = 2")
    connection.commit()
    connection.close()
    assert checks(ingested, "--quick", status=1)["audit"] == "failed"


@pytest.mark.slow
def test_the_doctor_warns_of_a_store_of_allocations_that_others_can_read(ingested: Lab, tmp_path: Path) -> None:
    arms = ingested.root / "arms.db"
    allocation = tmp_path / "arms.csv"
    allocation.write_text("subject_id,arm\nS0001,A\n")
    ingested.run("arms load", str(allocation))
    assert "arms" not in checks(ingested, "--quick")
    arms.chmod(0o644)
    assert checks(ingested, "--quick", status=1)["arms"] == "failed"
