"""The service that watches the inboxes and sweeps whatever has come to rest, for as long as it runs.

Knows when to look and what to try again. The scan is the truth; events of the file system only wake it, and where there are
none, as on network shares, the scan's own rhythm finds every file. Each sweep is one flow run in this process, whose computing
processes stay warm. What follows from the whole set of results is another service's work: see :mod:`flows.follower`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from biomarkers.lab.folders import INBOXES, STUDY_INBOX
from biomarkers.lab.inbox import DroppedFile, Settling, by_stem
from biomarkers.laboratory import Laboratory, open_lab
from biomarkers.readers.completeness import is_whole
from biomarkers.results import Assay
from biomarkers.store.study_lists import last_list
from flows.bench import at_bench
from flows.executors import end, executor_of
from flows.logbook import Logbook
from flows.server import prefect_server
from flows.service import declared, give_memory_back, run_service, silent, woken

Place: TypeAlias = tuple[str, str, str]

SCAN_SECONDS = 5.0
"""How long a file may lie unseen where the file system tells nothing."""

BETWEEN_SCANS_SECONDS = 0.2
"""Time between the two scans that must find a file the same: a copy keeps the original's time, so that alone proves nothing."""

STALLED_SECONDS = 60.0
"""How long a file at rest that is not whole is waited for."""

TRY_AGAIN_SECONDS = 300.0
"""How long a file that waits for something is left alone while nothing near it changes."""

GROUPS_IN_A_SWEEP = 64
SLIDES_IN_A_SWEEP = 2
"""Plates or tubes, and slides, that one sweep takes at most; the next sweep takes what came meanwhile first."""

NICENESS = 5
"""How far what takes minutes anyway steps back behind plates, which people wait for."""


class Arrivals:
    """Tells which files have arrived: at rest over two scans, and whole by their own format's account.

    A file that rests but is not whole is given time, as a stalled copy may go on; then it is taken as it is, and its
    reader says what is missing.
    """

    def __init__(self, settling_seconds: float, *, is_whole: Callable[[Path], bool] = is_whole) -> None:
        self._settling = Settling(settling_seconds)
        self._is_whole = is_whole
        self._scanned: dict[Place, tuple[int, int, int]] = {}
        self._stalled: dict[Place, tuple[tuple[int, int, int], float]] = {}

    def arrived(
        self, files: Sequence[DroppedFile], *, monotonic: float, wall_clock: float
    ) -> tuple[tuple[DroppedFile, ...], float]:
        """Return the files that have arrived, and the seconds until the next of the others may have; infinite if none."""
        resting, wait = self._settling.settled(files, monotonic=monotonic, wall_clock=wall_clock)
        before, self._scanned = self._scanned, {file.place: file.state for file in files}
        stalled: dict[Place, tuple[tuple[int, int, int], float]] = {}
        arrived = []
        for file in resting:
            if before.get(file.place) != file.state:
                wait = min(wait, BETWEEN_SCANS_SECONDS)
                continue
            state, since = self._stalled.get(file.place, (file.state, monotonic))
            patience = STALLED_SECONDS - (monotonic - since)
            if (state == file.state and patience <= 0) or self._is_whole(file.path):
                arrived.append(file)
                continue
            stalled[file.place] = (file.state, since if state == file.state else monotonic)
            wait = min(wait, max(patience, BETWEEN_SCANS_SECONDS))
        self._stalled = stalled
        return tuple(arrived), wait


class Attempts:
    """Remembers what earlier sweeps left in the inboxes, so that it is tried again when something changed and not before.

    What a file waits for comes mostly as a file of the same stem, such as its plate map, or as a list of the study.
    """

    def __init__(self, again_seconds: float = TRY_AGAIN_SECONDS) -> None:
        self._again_seconds = again_seconds
        self._lists = 0
        self._left: dict[tuple[str, str], tuple[frozenset[tuple[Place, tuple[int, int, int]]], float]] = {}

    def worth_taking(self, files: Iterable[DroppedFile], *, monotonic: float, lists: int) -> tuple[DroppedFile, ...]:
        """Return the files whose group is new, has changed, or was left long enough ago; all after a new list of the study.

        Parameters
        ----------
        lists
            Number of the study's last list: whichever service took it, it changes what everything here waits for.
        """
        if lists > self._lists:
            self._left.clear()
            self._lists = lists
        taken: list[DroppedFile] = []
        for key, group in by_stem(files).items():
            known, since = self._left.get(key, (frozenset(), 0.0))
            if known != _signature(group) or monotonic - since >= self._again_seconds:
                taken += group
        return tuple(taken)

    def swept(self, taken: Sequence[DroppedFile], still_there: Iterable[DroppedFile], *, monotonic: float) -> None:
        """Note what a sweep left."""
        remaining = {file.place for file in still_there}
        for key, group in by_stem(taken).items():
            if any(file.place in remaining for file in group):
                self._left[key] = _signature(group), monotonic
            else:
                self._left.pop(key, None)


def _signature(group: Iterable[DroppedFile]) -> frozenset[tuple[Place, tuple[int, int, int]]]:
    return frozenset((file.place, file.state) for file in group)


def watch(root: Path, stop: threading.Event, inboxes: Collection[str] = INBOXES) -> None:
    """Sweep what comes to rest in some inboxes until told to stop. Settings and declarations are read when they change.

    Raises
    ------
    BiomarkersError
        What a restart with a pause in between may mend, or what an operator must: the supervisor tells.
    """
    with open_lab(root) as laboratory:
        folder, settings = laboratory.folder, laboratory.settings
        with prefect_server(folder, shared=settings.orchestration.api_url), woken(folder, inboxes) as wake:
            _sweep_until_told(laboratory, wake, stop, inboxes)


def _sweep_until_told(laboratory: Laboratory, wake: threading.Event, stop: threading.Event, inboxes: Collection[str]) -> None:
    from flows.sweep import Scope, run_sweep  # noqa: PLC0415  - Prefect reads the environment when it is imported

    folder, compute = laboratory.folder, laboratory.settings.compute
    arrivals, attempts, logbook = Arrivals(laboratory.settings.settling_seconds), Attempts(), Logbook(folder)
    began_with = declared(folder)
    scope = Scope(inboxes=frozenset(inboxes), second_steps=False)
    pool = executor_of(compute)
    has_worked = False
    logbook.note("watching", inboxes=", ".join(inboxes))
    try:
        while not stop.is_set() and declared(folder) == began_with:
            files = laboratory.dropped_files(inboxes)
            resting, remaining = arrivals.arrived(files, monotonic=time.monotonic(), wall_clock=time.time())
            worth = attempts.worth_taking(resting, monotonic=time.monotonic(), lists=_lists(laboratory, resting))
            taken = at_once(worth)
            if not taken:
                if has_worked:
                    give_memory_back()
                has_worked = False
                wake.wait(min(SCAN_SECONDS, max(remaining, 0.01)))
                wake.clear()
                continue
            has_worked, began = True, time.monotonic()
            with at_bench(laboratory, silent, executor=pool) as bench:
                report = run_sweep(bench, taken, scope)
            if bench.executor is not pool:
                pool = executor_of(compute)  # a file had ended one of its processes, and the pool with it
            logbook.swept(report, seconds=time.monotonic() - began)
            attempts.swept(taken, laboratory.dropped_files(inboxes), monotonic=time.monotonic())
    finally:
        end(pool)


def at_once(files: Sequence[DroppedFile]) -> tuple[DroppedFile, ...]:
    """Choose what one sweep takes: the study's lists, then some of what is quick, or few slides where there is nothing else.

    What arrives meanwhile, such as a list or a plate while slides are measured, is not to wait for a whole batch.
    """
    lists = tuple(file for file in files if file.kind == STUDY_INBOX)
    quick = [file for file in files if file.kind not in {STUDY_INBOX, Assay.IHC.value}]
    if quick or lists:
        return (*lists, *_first(quick, GROUPS_IN_A_SWEEP))
    return _first(files, SLIDES_IN_A_SWEEP)


def _first(files: Sequence[DroppedFile], groups: int) -> tuple[DroppedFile, ...]:
    return tuple(file for group in islice(by_stem(files).values(), groups) for file in group)


def _lists(laboratory: Laboratory, resting: Sequence[DroppedFile]) -> int:
    """Tell whether the study's lists are others than before; asked only where something may wait for one."""
    if not resting:
        return 0
    with laboratory.database.read() as reading:
        return last_list(reading)


def main() -> None:
    """Run the service for the laboratory named on the command line, and for the inboxes named after it."""
    root, inboxes = Path(sys.argv[1]), sys.argv[2:] or INBOXES
    if Assay.ELISA.value not in inboxes:
        os.nice(NICENESS)
    run_service(lambda stop: watch(root, stop, inboxes))


if __name__ == "__main__":
    main()
