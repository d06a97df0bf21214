"""The structured log of a laboratory's services: one JSON object a line, for machines and for `grep`.

Knows events, their time and their duration. Nothing identifying is written: files go by their digest, never by their name, and
no arm is known here. It is telemetry; what must be proven stands in the audit trail.
"""

from __future__ import annotations

import fcntl
import json

from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import utc_now
from flows.bench import SweepReport

LOG_BYTES = 10_000_000
LOGS_KEPT = 5


class Logbook:
    """Writes events of one process to ``logs/biomarkers.jsonl``, which several processes write at once."""

    def __init__(self, folder: LabFolder) -> None:
        folder.logs.mkdir(exist_ok=True)
        self._path = folder.logs / "biomarkers.jsonl"

    def note(self, event: str, **fields: str | float | None) -> None:
        """Write one event; a log that has grown large is put aside first, and the oldest of those goes."""
        line = json.dumps({"at": utc_now().isoformat(), "event": event, **fields}, ensure_ascii=False)
        with self._path.with_name(".biomarkers.jsonl.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._path.exists() and self._path.stat().st_size > LOG_BYTES:
                for number in range(LOGS_KEPT - 1, 0, -1):
                    older = self._path.with_name(f"{self._path.name}.{number}")
                    if older.exists():
                        older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            with self._path.open("a", encoding="utf-8") as log:
                log.write(line + "\n")

    def swept(self, report: SweepReport, *, seconds: float) -> None:
        """Write what became of each file of a sweep, and how long the sweep took."""
        for file in report.files:
            self.note("file", sha256=file.sha256, assay=file.assay, state=file.state)
        self._faults(report)
        self.note("sweep", files=len(report.files), faults=len(report.faults), seconds=round(seconds, 3))

    def followed(self, report: SweepReport, *, seconds: float) -> None:
        """Write how long it took to do what follows from new results."""
        self._faults(report)
        self.note("second steps", faults=len(report.faults), seconds=round(seconds, 3))

    def _faults(self, report: SweepReport) -> None:
        for fault in report.faults:
            self.note("fault", kind=fault.strip().rpartition("\n")[2].partition(":")[0])
