from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from sqlalchemy import text

from biomarkers.store import audit
from biomarkers.store.database import Database, sqlite_url

WRITER = """
import sys
from datetime import UTC, datetime
from sqlalchemy import text
from biomarkers.store import audit, jobs
from biomarkers.store.database import Database

with Database.open(sys.argv[1]) as database:
    number = 0
    while True:
        number += 1
        with database.write() as transaction:
            for part in range(3):
                jobs.enqueue(
                    transaction, assay="elisa", name=f"{sys.argv[2]}-{number}-{part}", size=1, mtime_ns=1,
                    received_at=datetime.now(UTC),
                )
            head = audit.append(transaction, at=datetime.now(UTC), actor="w", action="test.written", entity=str(number))
        print(head.number, head.hash, flush=True)
"""


def test_a_killed_writer_loses_nothing_it_acknowledged_and_leaves_nothing_half_done(
    tmp_path: Path, migrated_file: Path
) -> None:
    path = tmp_path / "lab.db"
    path.write_bytes(migrated_file.read_bytes())
    url, rng = sqlite_url(path), Random(20260302)
    for kill in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url, str(kill)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(rng.randint(1, 40))]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
        writer.stdout.close()
        writer.wait(timeout=30)
        # The last line may itself be cut off by the kill.
        number, digest = next(line for line in reversed(acknowledged) if line.endswith("\n")).split()
        with Database.open(url) as database, database.read() as reading:
            verdict = audit.verify(reading, expected_head=audit.AuditHead(number=int(number), hash=digest))
            jobs = reading.connection.execute(text("SELECT count(*) FROM job")).scalar_one()
            assert reading.connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        assert verdict.is_whole, verdict.broken
        assert jobs == 3 * verdict.entries
