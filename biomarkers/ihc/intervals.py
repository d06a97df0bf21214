"""How sure a total over a section is when cells cluster.

Knows counts on a grid of small blocks. Must not know cells, stains or slides.

Cells of one nest or infiltrate lie in the same and in neighbouring blocks, so that neither cells nor blocks are independent.
The variance of a ratio of totals is therefore taken over windows of growing width that slide over the grid (a spatial
kernel estimate as Conley 1999, J Econometrics 92:1), up to the width at which nine windows still fit, and is carried on
beyond it by twice the widest estimate less the one of half its width, which takes away the part that falls with the width.
It covers how cells happen to lie on this section. It covers neither the choice of section, block or lesion nor staining.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FEWEST_WINDOWS = 9.0
"""Independent windows below which a variance is not believed: it would rest on too few to differ by chance."""

_FREEDOM_OF_SLIDING = 2.25
"""Sliding windows in two directions are worth 1.5² as many separate ones (Bartlett's kernel; Priestley 1981, table 6.2)."""

NORMAL_WIDTH = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Variance of a ratio of totals, and how many standard errors a 95 % interval takes to either side."""

    variance: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    variance: float
    count: float


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
        count = total**2 / (_mean_square(area, width))
        if count < FEWEST_WINDOWS and found:
            break
        shrink = max(count, 2.0)
        found.append(_Window(variance=_mean_square(rest, width) / total**2 * shrink / (shrink - 1.0), count=count))
        width *= 2
    widest = found[-1]
    variance = max(window.variance for window in found[-2:])
    freedom = _FREEDOM_OF_SLIDING * widest.count - 1.0
    if len(found) > 1:
        extended = 2.0 * widest.variance - found[-2].variance
        variance = max(variance, extended)
        freedom = 0.5 * _FREEDOM_OF_SLIDING * widest.count - 1.0
    return Spread(variance=variance, width=float(stats.t.ppf(0.975, max(1.0, freedom))))


def _mean_square(grid: NDArray[np.float64], width: int) -> float:
    """Sum of squared window totals over all places of a window, per block of the window."""
    padded = np.pad(grid, width - 1)
    sums = np.pad(padded.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    windows = sums[width:, width:] - sums[:-width, width:] - sums[width:, :-width] + sums[:-width, :-width]
    return float((windows**2).sum()) / width**2
