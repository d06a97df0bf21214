"""How long a file is held by whoever works on it, and how the hold is kept while the arithmetic lasts.

Knows leases of the files a bench has claimed. Must not know what is done with them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from biomarkers.errors import TemporarilyUnavailableError
from biomarkers.provenance import utc_now
from biomarkers.store import jobs
from biomarkers.store.jobs import LeaseLostError
from flows.bench import bench

LEASE = timedelta(minutes=10)
"""How long a file is held without a sign of life before another worker may take it."""


@contextmanager
def working() -> Iterator[None]:
    """Keep the leases of all files claimed within the block, and let go of those left undone, however the block ends."""
    with _Keeper():
        yield


class _Keeper:
    """Renews leases in the background; a sign of life does not wait for the arithmetic."""

    def __init__(self) -> None:
        self._at = bench()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with self._at.laboratory.database.write() as transaction:
            for job_id in self._at.claimed:
                with contextlib.suppress(LeaseLostError):  # finished, waiting, or taken over
                    jobs.release(transaction, job_id=job_id, owner=self._at.owner)
        self._at.claimed.clear()

    def _keep(self) -> None:
        while not self._stop.wait(LEASE.total_seconds() / 4):
            # A database that is busy now may answer the next time, well before the lease runs out.
            with contextlib.suppress(TemporarilyUnavailableError), self._at.laboratory.database.write() as transaction:
                for job_id in tuple(self._at.claimed):
                    with contextlib.suppress(LeaseLostError):
                        jobs.extend(transaction, job_id=job_id, owner=self._at.owner, now=utc_now(), lease=LEASE)
