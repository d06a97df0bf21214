"""The service that does what follows from new results: second steps, and the pages that show them.

Knows when something new is on record. It stands apart from the watchers, so that no file waits for the whole set to be looked
at; whatever it misses by dying it does when it is started again, since what is due is found by looking.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import Executor
from pathlib import Path

from biomarkers.lab.folders import ComputeSettings
from biomarkers.laboratory import Laboratory, open_lab
from biomarkers.store.audit import head
from flows.bench import at_bench
from flows.executors import end, local_pool
from flows.logbook import Logbook
from flows.server import prefect_server
from flows.service import declared, give_memory_back, run_service, silent, woken
from flows.watcher import NICENESS, SCAN_SECONDS

QUIET_SECONDS = 2.0
"""Results are looked at when no more have come for so long: a drop of ten plates is looked at once, not ten times."""

PATIENCE_SECONDS = 20.0
PATIENCE_ROUNDS = 5
"""Where they keep coming, they are looked at after so many seconds, or so many times what the last look took if that is more;
what follows from results then never takes more than a sixth of a processor from what leads to them."""


def follow(root: Path, stop: threading.Event) -> None:
    """Look after what follows from new results until told to stop.

    Raises
    ------
    BiomarkersError
        What a restart with a pause in between may mend, or what an operator must: the supervisor tells.
    """
    with open_lab(root) as laboratory:
        folder, settings = laboratory.folder, laboratory.settings
        with prefect_server(folder, shared=settings.orchestration.api_url), woken(folder) as wake:
            _follow_until_told(laboratory, wake, stop)


def _follow_until_told(laboratory: Laboratory, wake: threading.Event, stop: threading.Event) -> None:
    from flows.sweep import run_follow_up  # noqa: PLC0415  - Prefect reads the environment when it is imported

    folder, compute = laboratory.folder, laboratory.settings.compute
    logbook, began_with = Logbook(folder), declared(folder)
    pool = _one_process(compute)
    took = 0.0
    done_at = 0  # the entry of the audit trail up to which everything was looked at
    try:
        while not stop.is_set() and declared(folder) == began_with:
            if _last_entry(laboratory) == done_at:
                wake.wait(SCAN_SECONDS)
                wake.clear()
                continue
            seen = _after_a_pause(laboratory, stop, at_most=max(PATIENCE_SECONDS, PATIENCE_ROUNDS * took))
            began = time.monotonic()
            with at_bench(laboratory, silent, executor=pool) as bench:
                report = run_follow_up(bench)
            if bench.executor is not pool:
                pool = _one_process(compute)  # a page had ended its process, and the pool with it
            took = time.monotonic() - began
            logbook.followed(report, seconds=took)
            give_memory_back()
            # What it recorded itself is looked at once more, together with whatever came meanwhile.
            done_at = seen
    finally:
        end(pool)


def _after_a_pause(laboratory: Laboratory, stop: threading.Event, *, at_most: float) -> int:
    """Wait until nothing new comes, or as long as may be; tell how far the trail goes then."""
    until, last = time.monotonic() + at_most, -1
    while (now := _last_entry(laboratory)) != last and time.monotonic() < until:
        last = now
        stop.wait(QUIET_SECONDS)
    return now


def _last_entry(laboratory: Laboratory) -> int:
    """Tell how far the audit trail goes: whatever is recorded, decided or signed leaves an entry there."""
    with laboratory.database.read() as reading:
        return head(reading).number


def _one_process(compute: ComputeSettings) -> Executor:
    return local_pool(compute, 1)


def main() -> None:
    """Run the service for the laboratory named on the command line."""
    os.nice(NICENESS)
    root = Path(sys.argv[1])
    run_service(lambda stop: follow(root, stop))


if __name__ == "__main__":
    main()
