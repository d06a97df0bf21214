"""Passwords and other secrets: hashed, compared, limited in how often they may be guessed.

Knows Argon2 and the clock it is given. Must not know accounts or requests.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import deque
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from biomarkers.errors import BiomarkersError

LEAST_LENGTH, GREATEST_LENGTH = 12, 1024
"""Length is what makes a password hard to guess (NIST SP 800-63B asks for 8 at least); the upper limit bounds the work."""

_AT_ONE_TIME = threading.BoundedSemaphore(2)
"""Each check takes 64 MB on purpose; a flood of logins must not take the machine's memory."""


class PasswordError(BiomarkersError):
    """A new password cannot be taken."""


class Passwords:
    """Hashes and checks passwords.

    Parameters
    ----------
    hasher
        With the library's own defaults (RFC 9106, low memory) unless tests ask for less work.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    def hashed(self, password: str, *, name: str) -> str:
        """Hash a new password.

        Raises
        ------
        PasswordError
            It is too short, too long, or the login itself.
        """
        if not LEAST_LENGTH <= len(password) <= GREATEST_LENGTH or password.casefold() == name.casefold():
            raise PasswordError(
                what=f"A password has {LEAST_LENGTH} to {GREATEST_LENGTH} characters and is not the login.",
                where=f"User '{name}'.",
                remedy="Take a sentence that only you would think of.",
            )
        with _AT_ONE_TIME:
            return self._hasher.hash(password)

    def are_right(self, password_hash: str | None, password: str) -> bool:
        """Whether a password fits; without a hash as much time is spent, so that nobody learns which logins exist."""
        with _AT_ONE_TIME:
            try:
                self._hasher.verify(password_hash or self._nobody, password[: GREATEST_LENGTH + 1])
            except (VerificationError, InvalidHashError):
                return False
        return password_hash is not None


def new_secret() -> str:
    """Make a secret nobody can guess, fit for a cookie or a header."""
    return secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    """Digest of a secret, which alone is kept; a secret of 256 random bits needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_token(secret: str) -> str:
    """Derive what forms carry from a secret that only the browser's cookie holds."""
    return hashlib.sha256(f"form:{secret}".encode()).hexdigest()


class Limiter:
    """Counts failures by key, and refuses further attempts for a while when there were too many.

    Parameters
    ----------
    most
        Failures within ``seconds`` after which a key is refused.
    clock
        A clock that never goes back, in seconds.
    """

    def __init__(self, *, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._failures: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait_seconds(self, key: str) -> float:
        """Return for how long a key is refused; 0 where it is not."""
        with self._lock:
            failures = self._recent(key)
            return 0.0 if len(failures) < self._most else max(0.0, failures[0] + self._seconds - self._clock())

    def failed(self, key: str) -> None:
        """Count a failure."""
        with self._lock:
            self._recent(key)
            self._failures.setdefault(key, deque(maxlen=self._most)).append(self._clock())

    def succeeded(self, key: str) -> None:
        """Forget a key's failures."""
        with self._lock:
            self._failures.pop(key, None)

    def _recent(self, key: str) -> deque[float]:
        failures = self._failures.get(key, deque())
        while failures and failures[0] <= self._clock() - self._seconds:
            failures.popleft()
        if not failures:
            self._failures.pop(key, None)
        if len(self._failures) > 10_000:  # keys come from outside; memory must not grow with them
            self._failures.pop(next(iter(self._failures)))
        return failures
