"""How many requests were answered, how, and how long that took.

Knows counts. Must not know what was asked.
"""

from __future__ import annotations

import threading
from collections import Counter


class Counted:
    """Requests by method and status, and the seconds they took; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_outcome: Counter[tuple[str, int]] = Counter()
        self._seconds = 0.0

    def add(self, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        with self._lock:
            self._by_outcome[method, status] += 1
            self._seconds += seconds

    def totals(self) -> tuple[tuple[str, int, int], ...]:
        """Return method, status and count, in order."""
        with self._lock:
            return tuple((method, status, count) for (method, status), count in sorted(self._by_outcome.items()))

    @property
    def seconds(self) -> float:
        """Seconds all requests took together."""
        with self._lock:
            return self._seconds
