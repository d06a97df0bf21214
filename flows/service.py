"""How a service that runs for as long as a laboratory is up begins, is told to stop, and ends.

Knows signals, the status by which a supervisor learns what a restart may mend, and what wakes a service. Must not know what it
does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from biomarkers.errors import BiomarkersError, TemporarilyUnavailableError
from biomarkers.lab.folders import INBOXES, LabFolder

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""What the C library's mallopt calls its settings: see mallopt(3)."""

LARGE_BYTES = 65_536


def run_service(work: Callable[[threading.Event], None]) -> None:
    """Work until a signal says to stop; end with what went wrong as one line and a status of its own."""
    stop = threading.Event()
    _hold_little()
    gc.collect()
    gc.freeze()  # what was imported stays; to look it through at every collection would cost a tenth of a second at times
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    try:
        work(stop)
    except TemporarilyUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(75)  # EX_TEMPFAIL
    except BiomarkersError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except BaseException as error:
        # While a flow runs Prefect turns the signal into an error of its own; every step is safe to repeat.
        if type(error).__module__ != "prefect.exceptions" or type(error).__name__ != "TerminationSignal":
            raise


def _hold_little() -> None:
    """Let what is large leave the heap as soon as it is freed, and all threads share one heap.

    The allocator learns from the largest it ever saw to keep ever more, and keeps a heap for every thread that ever ran: what a
    look at the whole set needed for a moment would lie scattered in a process that runs for months. Of this process alone:
    those that compute have other needs.
    """
    with contextlib.suppress(AttributeError, OSError):  # the C library of Linux distributions has it, not every other
        allocator = ctypes.CDLL(None)
        for setting, value in ((_MMAP_THRESHOLD, LARGE_BYTES), (_TRIM_THRESHOLD, LARGE_BYTES), (_ARENA_MAX, 1)):
            allocator.mallopt(setting, value)


def give_memory_back() -> None:
    """Return to the system what work has left behind, before resting; the allocator would keep it for the next."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # the C library of Linux distributions has it, not every other
        ctypes.CDLL(None).malloc_trim(0)


def declared(folder: LabFolder) -> tuple[int, ...]:
    """Tell by a glance whether settings or study were declared anew; a service then ends, and is started with what holds."""
    return tuple(path.stat().st_mtime_ns for path in (folder.settings_file, folder.study_file))


def silent(_done: int, _known: int, _text: str) -> None:
    """Nobody watches a service's progress bar."""


@contextmanager
def woken(folder: LabFolder, inboxes: Collection[str] = INBOXES) -> Iterator[threading.Event]:
    """Have an event that is set soon after something changed in an inbox, where the file system tells of changes."""
    from watchfiles import watch as changes  # noqa: PLC0415  - only a service needs it

    wake, stop = threading.Event(), threading.Event()
    places = [folder.inbox(kind) for kind in inboxes]

    def listen() -> None:
        for _ in changes(*places, stop_event=stop, step=50, debounce=100, rust_timeout=1000, watch_filter=None):
            wake.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield wake
    finally:
        stop.set()
        wake.set()
        listener.join(timeout=5)
