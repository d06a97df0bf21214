"""Does a new kit lot give the numbers of the old one.

Knows the same specimens measured with both lots. Must not know plates or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.stats import t as t_distribution

from biomarkers.errors import AssayError
from biomarkers.results import Interval

BridgeVerdict: TypeAlias = Literal["equivalent", "different", "not shown"]

FEWEST_SPECIMENS = 5
"""Fewer pairs leave an interval wider than any limit worth setting, whatever the assay."""

EQUIVALENT_RATIO = (0.9, 1.0 / 0.9)
"""Geometric mean ratio of new over old within which the lots are taken as the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgedSpecimen:
    """One specimen's concentration with the old and the new lot, both within range."""

    accession_id: str
    old: float
    new: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LotBridge:
    """Ratio of new over old lot.

    Attributes
    ----------
    ratio, interval
        Geometric mean with its 90 % interval, which is what a test of equivalence at 5 % looks at.
    slope, slope_interval
        Of log(new / old) over the logarithm of the mean of both, with 95 %: 0 where the ratio is the same at all
        concentrations.
    within_percent
        Share of specimens whose two numbers differ by at most 20 % of their mean.
    verdict
        "equivalent" when the interval lies within the limits, "different" when it lies outside them, else "not shown".
    """

    specimens: int
    ratio: float
    interval: Interval
    slope: float
    slope_interval: Interval
    within_percent: float
    verdict: BridgeVerdict


def bridge_lots(specimens: Sequence[BridgedSpecimen], *, equivalent: tuple[float, float] = EQUIVALENT_RATIO) -> LotBridge:
    """Compare two lots on the same specimens.

    Raises
    ------
    AssayError
        There are fewer than :data:`FEWEST_SPECIMENS` specimens, or a concentration is not above 0.
    """
    if len(specimens) < FEWEST_SPECIMENS:
        raise AssayError(
            what=f"{len(specimens)} specimens bridge two lots; {FEWEST_SPECIMENS} are needed.",
            remedy="Measure more specimens, spread over the range, with both lots.",
        )
    if any(not (one.old > 0 and one.new > 0) for one in specimens):
        raise AssayError(
            what="A concentration of 0 has no ratio.", remedy="Bridge with specimens within the range of both lots."
        )
    old = np.array([one.old for one in specimens])
    new = np.array([one.new for one in specimens])
    logs, place = np.log(new / old), 0.5 * np.log(new * old)
    count = len(logs)
    mean = float(np.mean(logs))
    half = float(t_distribution.ppf(0.95, count - 1)) * float(np.std(logs, ddof=1)) / math.sqrt(count)
    low, high = math.exp(mean - half), math.exp(mean + half)
    slope, along = _slope(place, logs)
    inside = equivalent[0] <= low and high <= equivalent[1]
    outside = high < equivalent[0] or low > equivalent[1]
    return LotBridge(
        specimens=count,
        ratio=math.exp(mean),
        interval=Interval(lower=low, upper=high, level=0.90),
        slope=slope,
        slope_interval=along,
        within_percent=100.0 * float(np.mean(np.abs(new - old) <= 0.2 * 0.5 * (new + old))),
        verdict="equivalent" if inside else "different" if outside else "not shown",
    )


def _slope(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[float, Interval]:
    centred = x - np.mean(x)
    squares = float(centred @ centred)
    if squares == 0:
        return 0.0, Interval(lower=None, upper=None)
    slope = float(centred @ y) / squares
    left = y - np.mean(y) - slope * centred
    freedom = len(x) - 2
    half = float(t_distribution.ppf(0.975, freedom)) * math.sqrt(float(left @ left) / freedom / squares)
    return slope, Interval(lower=slope - half, upper=slope + half)
