"""Scales as tables of straight pieces: the same numbers as the exact formula to within a stated error, many times quicker.

Knows how to find a value's piece from the bits of its floating-point number. Must not know events or which scale it tabulates.

A display scale is almost straight around zero and almost logarithmic far from it. Seen over z = |x| + offset its pieces may
grow in proportion to z, and the leading bits of z (exponent and the first bits of the mantissa) number exactly such pieces: one
addition and one shift find the piece, without a logarithm. Every step is monotone, so that the order of two values on the table
is their order on the exact scale: a cut between them parts the same events on both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats64 = npt.NDArray[np.float64]

MANTISSA_BITS = 9
"""Pieces a doubling of z: 512. The chord of a logarithm over M decades strays by 1 / (8 x 512^2 x M ln 10), 4.6e-8 for 4.5;
half as far where it is laid to both sides of the curve, and with the logicle's bend around zero no more than 6e-8."""

_SHIFT = 52 - MANTISSA_BITS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScaleTable:
    """A monotone scale in straight pieces.

    Attributes
    ----------
    offset
        Added to the magnitude of x; about where the scale turns from straight to logarithmic.
    first
        Leading bits of the offset, the number of the first piece.
    slopes, intercepts
        Of the pieces for negative values, then for positive ones: y = intercept + slope x (magnitude + offset).
    reach
        Largest magnitude the pieces cover.
    error
        No value within reach is further than this from the exact scale.
    """

    offset: float
    first: int
    slopes: Floats64
    intercepts: Floats64
    reach: float
    error: float

    def look_up(self, values: Floats64, exact: Callable[[Floats64], Floats64]) -> Floats64:
        """Bring linear values to the scale, asking the exact formula for those beyond reach; missing values stay missing."""
        z = np.abs(values)
        z += self.offset
        piece = z.view(np.int64) >> _SHIFT
        piece -= self.first
        piece += (values >= 0) * np.int64(self.slopes.size // 2)
        scaled: Floats64 = np.take(self.slopes, piece, mode="clip")
        scaled *= z
        scaled += np.take(self.intercepts, piece, mode="clip")
        if z.size and not z.max() <= self.reach + self.offset:  # also where a value is missing, which compares as neither
            beyond = np.isfinite(values) & (np.abs(values) > self.reach)
            scaled[beyond] = exact(values[beyond])
        return scaled


def tabulate(exact: Callable[[Floats64], Floats64], *, turn: float, reach: float) -> ScaleTable:
    """Tabulate a scale.

    Parameters
    ----------
    exact
        The scale, increasing, for finite values of either sign.
    turn
        About where it turns from straight to logarithmic, above zero.
    reach
        Magnitude the table must cover.
    """
    first, last = (int(bits) >> _SHIFT for bits in np.array([turn, turn + reach]).view(np.int64))
    edges = (np.arange(first, last + 2, dtype=np.int64) << _SHIFT).view(np.float64)
    # The offset is the first edge itself, so that zero is a node: there both halves meet, and the table is continuous.
    offset = float(edges[0])
    slopes, intercepts, errors = [], [], []
    for sign in (-1.0, 1.0):
        at_edges = exact(sign * (edges - offset))
        length = np.diff(edges)
        # A smooth curve strays from its chord, always to one side, by an eighth of the chord's length times the change of slope
        # from one chord to the next. Nodes moved half of that towards the curve's outside halve the greatest error. Zero stays.
        bend = np.diff(np.diff(at_edges) / length) * length[1:]
        at_edges[1:-1] -= bend / 16
        slope = np.diff(at_edges) / length
        slopes.append(slope)
        intercepts.append(at_edges[:-1] - slope * edges[:-1])
        errors.append(np.abs(bend).max() / 2)  # four times the chord's error, to cover scales that are broken lines themselves
    return ScaleTable(
        offset=offset,
        first=first,
        slopes=np.concatenate(slopes),
        intercepts=np.concatenate(intercepts),
        reach=float(edges[-1] - offset),
        error=float(max(errors)),
    )
