"""When dropped files are taken: once they have come to rest.

Knows the two clocks. Does not import Prefect, so that files settle while its server starts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from biomarkers.lab.inbox import DroppedFile, Settling
from biomarkers.laboratory import Laboratory


def settled_files(laboratory: Laboratory, only: Sequence[Path] = ()) -> tuple[DroppedFile, ...]:
    """Wait until the files now in the inboxes, or those named, have come to rest, and return them.

    Files still changing after twice the settling time are left for the next sweep.
    """
    seconds = laboratory.settings.settling_seconds
    settling = Settling(seconds)
    wanted = {path.resolve() for path in only}
    end = time.monotonic() + 2 * seconds
    while True:
        found = [file for file in laboratory.dropped_files() if not wanted or file.path.resolve() in wanted]
        resting, remaining = settling.settled(found, monotonic=time.monotonic(), wall_clock=time.time())
        if wanted and len(found) == len(wanted):
            return tuple(found)  # named by a person who knows that they are whole
        if remaining == float("inf") or time.monotonic() + remaining > end:
            return resting
        time.sleep(min(remaining, 0.5))
