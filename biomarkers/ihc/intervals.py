"""How sure a total over a section is when cells cluster.

Knows counts on a grid of small blocks. Must not know cells, stains or slides.

Cells of one nest or infiltrate lie in the same and in neighbouring blocks, so that neither cells nor blocks are independent.
The variance of a ratio of totals is therefore taken over windows of growing width that slide over the grid (a spatial
kernel estimate as Conley 1999, J Econometrics 92:1), up to the width at which nine windows still fit, and is carried on
beyond it by twice the widest estimate less the one of half its width, which takes away the part that falls with the width.
A few dense nests say little of how far sections differ: Student's t then has the fewer degrees of freedom that the kurtosis of
the windows leaves to a variance.
It covers how cells happen to lie on this section. It covers neither the choice of section, block or lesion nor staining.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FEWEST_WINDOWS = 9.0
"""Independent windows below which a variance is not believed: it would rest on too few to differ by chance."""

FEWEST_DEGREES = 2.0
"""Degrees of freedom below which a kurtosis, itself a guess from few windows, takes no variance."""

_FREEDOM_OF_SLIDING = 2.25
"""Sliding windows in two directions are worth 1.5² as many separate ones (Bartlett's kernel; Priestley 1981, table 6.2)."""

NORMAL_WIDTH = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Variance of a ratio of totals, and how many standard errors a 95 % interval takes to either side.

    The variance of a variance from n values is 2/(n - 1) + kurtosis/n times its square (O'Neill 2014, Am Stat 68:282), that
    of a chi-squared one 2/(degrees of freedom); equating both gives Student's degrees of freedom.
    """

    variance: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    variance: float
    count: float
    excess_kurtosis: float


def ratio_spread(numerator: NDArray[np.float64], size: NDArray[np.float64], *, columns: int) -> Spread | None:
    """Find the spread of sum(numerator) / sum(size) over blocks laid out in rows.

    Parameters
    ----------
    numerator, size
        One value a block, row after row; blocks outside the region are 0 in both.
    columns
        Blocks in a row.

    Returns
    -------
    Spread or None
        None from fewer than two blocks, which show no spread.
    """
    total = float(size.sum())
    if total <= 0 or int(((size > 0) | (numerator > 0)).sum()) < 2:
        return None
    # A cell on the border may lie in a block without tissue: it belongs to the total all the same.
    rest = (numerator - size * (float(numerator.sum()) / total)).reshape(-1, columns)
    area = size.reshape(-1, columns)
    found: list[_Window] = []
    width = 1
    while width <= max(rest.shape):
        residuals, areas = _windows(rest, width), _windows(area, width)
        count = (total * width) ** 2 / float((areas**2).sum())
        if count < FEWEST_WINDOWS and found:
            break
        shrink = max(count, 2.0)
        variance = float((residuals**2).sum()) / (total * width) ** 2 * shrink / (shrink - 1.0)
        found.append(_Window(variance=variance, count=count, excess_kurtosis=_excess_kurtosis(residuals, areas)))
        width *= 2
    widest = found[-1]
    variance = max(window.variance for window in found[-2:])
    independent = _FREEDOM_OF_SLIDING * widest.count
    if len(found) > 1:
        variance = max(variance, 2.0 * widest.variance - found[-2].variance)
        independent *= 0.5
    # The kurtosis of the widest windows rests on few of them and comes out too small; that of narrower ones is no smaller.
    kurtosis = max(0.0, *(window.excess_kurtosis for window in found[-2:]))
    normal = max(1.0, independent - 1.0)
    freedom = max(min(normal, FEWEST_DEGREES), 2.0 / (2.0 / normal + kurtosis / independent))
    return Spread(variance=variance, width=float(stats.t.ppf(0.975, freedom)))


def _windows(grid: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Totals over all places of a square window, also those that reach beyond the grid."""
    padded = np.pad(grid, width - 1)
    sums = np.pad(padded.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    totals: NDArray[np.float64] = sums[width:, width:] - sums[:-width, width:] - sums[width:, :-width] + sums[:-width, :-width]
    return totals


def _excess_kurtosis(residuals: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    """Kurtosis above the normal distribution's 0 of windows at least half full, each as large as its area makes it."""
    full = areas >= 0.5 * float(areas.max())
    weight, square = areas[full], residuals[full] ** 2 / areas[full]
    mean = float(np.average(square, weights=weight))
    return float(np.average(square**2, weights=weight)) / mean**2 - 3.0 if mean > 0 else 0.0
