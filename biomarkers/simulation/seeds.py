"""One random stream for each named thing.

Knows how a seed and a name become a generator. A file's content depends on the study's seed and on its own name alone, so files
can be made in any order, in any process, or one without the others.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.random import Generator


def stream(seed: int, *names: str) -> Generator:
    """Return the generator of a named thing; equal seed and names give equal numbers wherever they are drawn.

    Examples
    --------
    >>> stream(1, "slide", "ATR-000001").random() == stream(1, "slide", "ATR-000001").random()
    True
    >>> stream(1, "slide", "ATR-000001").random() == stream(1, "slide", "ATR-000002").random()
    False
    """
    # Python's own hash() of text differs between processes; a digest does not.
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    words = [int(word) for word in np.frombuffer(digest, dtype="<u4")]
    return Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def spread(rng: Generator, count: int) -> list[float]:
    """Return numbers between 0 and 1, one in each of ``count`` equal strata, in random order.

    A dozen subjects drawn independently may all progress or none; one draw in each stratum keeps a small study typical.

    Examples
    --------
    >>> sorted(int(10 * value) for value in spread(stream(1, "example"), 10))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    return [float(value) for value in (rng.permutation(count) + rng.random(count)) / max(count, 1)]
