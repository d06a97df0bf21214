"""The structured log of a laboratory's services: one JSON object a line, for machines and for `grep`.

Knows events, their time and their duration. Nothing identifying is written: files go by their digest, never by their name, and
no arm is known here. It is telemetry; what must be proven stands in the audit trail.
"""

from __future__ import annotations

import json
import logging
import logging.handlers

from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import utc_now
from flows.bench import SweepReport

LOG_BYTES = 10_000_000
LOGS_KEPT = 5


class Logbook:
    """Writes events of one process to ``logs/biomarkers.jsonl``."""

    def __init__(self, folder: LabFolder) -> None:
        folder.logs.mkdir(exist_ok=True)
        self._handler = logging.handlers.RotatingFileHandler(
            folder.logs / "biomarkers.jsonl", maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8", delay=True
        )

    def note(self, event: str, **fields: str | float | None) -> None:
        """Write one event."""
        line = json.dumps({"at": utc_now().isoformat(), "event": event, **fields}, ensure_ascii=False)
        self._handler.emit(logging.LogRecord("biomarkers", logging.INFO, "", 0, line, None, None))

    def swept(self, report: SweepReport, *, seconds: float) -> None:
        """Write what became of each file of a sweep, and how long the sweep took."""
        for file in report.files:
            self.note("file", sha256=file.sha256, assay=file.assay, state=file.state)
        for fault in report.faults:
            self.note("fault", kind=fault.strip().rpartition("\n")[2].partition(":")[0])
        self.note("sweep", files=len(report.files), faults=len(report.faults), seconds=round(seconds, 3))

    def close(self) -> None:
        """Close the log."""
        self._handler.close()
