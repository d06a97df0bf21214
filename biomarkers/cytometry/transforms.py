"""Scales on which populations can be told apart: logicle, inverse hyperbolic sine, none.

Knows the arithmetic of display scales and how a logicle's width follows from the data. Must not know markers or gates. Equal
to FlowKit's transforms event by event, to within the error stated at :data:`TABLE_NODES`.

References
----------
Parks DR, Roederer M, Moore WA. A new "logicle" display method avoids deceptive effects of logarithmic scaling for low signals
and compensated data. Cytometry A 2006;69:541-551. Gating-ML 2.0 fixes the parametrisation used (T, W, M, A; result 0 to 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from flowutils import transforms as reference  # type: ignore[import-untyped]  # the library ships no types

Floats32 = npt.NDArray[np.float32]

DECADES = 4.5
"""Breadth of a logicle in decades, the value every vendor's software starts from (Parks 2006)."""

NARROWEST_WIDTH = 0.25
"""Least linear decades: with less, digitisation noise around zero splits the negatives in two (Parks 2006, figure 3)."""

WIDEST_WIDTH = 1.75
"""Most linear decades: with more, dim positives vanish in the linear part."""

TABLE_NODES = 1 << 12
"""Nodes of the interpolation table; on the grid used its error stays below 1e-6 of the scale, a tenth of a display pixel."""

TABLE_PAYS_FROM = 1 << 13
"""Events from which interpolating in a table is quicker than solving each one."""


class Transform(Protocol):
    """A scale for one channel."""

    def apply(self, values: Floats32) -> Floats32:
        """Bring linear values to the scale."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """No change: scatter, and data that come scaled already."""

    def apply(self, values: Floats32) -> Floats32:
        """Return the values as they are."""
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Asinh:
    """Inverse hyperbolic sine of value / cofactor.

    Examples
    --------
    >>> import numpy as np
    >>> float(Asinh(cofactor=150.0).apply(np.array([0.0], dtype=np.float32))[0])
    0.0
    """

    cofactor: float

    def apply(self, values: Floats32) -> Floats32:
        """Bring linear values to the scale."""
        scaled: Floats32 = np.arcsinh(values / np.float32(self.cofactor)).astype(np.float32)
        return scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Logicle:
    """Linear around zero, logarithmic far from it; ``top`` maps to 1.

    Attributes
    ----------
    top
        T, upper end of the linear scale.
    width
        W, linear decades.
    decades
        M, decades of the whole scale.
    negative_decades
        A, additional negative decades.

    Examples
    --------
    >>> import numpy as np
    >>> scale = Logicle(top=262144.0, width=0.5)
    >>> [round(float(y), 3) for y in scale.apply(np.array([0.0, 262144.0], dtype=np.float32))]
    [0.111, 1.0]
    """

    top: float
    width: float
    decades: float = DECADES
    negative_decades: float = 0.0

    def apply(self, values: Floats32) -> Floats32:
        """Bring linear values to the scale; values that are not finite stay so."""
        if values.size < TABLE_PAYS_FROM:
            return self._exact(values.astype(np.float64)).astype(np.float32)
        missing = ~np.isfinite(values)
        finite = values[~missing] if missing.any() else values
        if finite.size == 0:
            return values
        # Seen through asinh(x / s), with s where the logicle turns from line to logarithm, the logicle is almost a straight
        # line, so that few nodes suffice.
        turn = self.top * 10.0 ** (self.width - self.decades)
        first, last = (float(np.arcsinh(float(edge) / turn)) for edge in (finite.min(), finite.max()))
        step = (last - first) / (TABLE_NODES - 1) or 1.0
        nodes = self._exact(np.sinh(first + step * np.arange(TABLE_NODES)) * turn).astype(np.float32)
        place = np.arcsinh(values * np.float32(1.0 / turn))
        place -= np.float32(first)
        place *= np.float32(1.0 / step)
        place[missing] = 0.0
        np.clip(place, 0.0, np.float32(TABLE_NODES - 1.001), out=place)
        node = place.astype(np.int32)
        place -= node
        scaled: Floats32 = nodes[node]
        scaled += place * np.diff(nodes)[node]
        scaled[missing] = np.nan
        return scaled

    def _exact(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        finite = np.isfinite(values)
        column = np.where(finite, values, 0.0)[:, np.newaxis]
        scaled = reference.logicle(column, [0], t=self.top, m=self.decades, w=self.width, a=self.negative_decades)
        result: npt.NDArray[np.float64] = np.where(finite, scaled[:, 0], np.nan)
        return result


def estimate_width(values: Floats32, top: float, decades: float = DECADES) -> float:
    """Choose a logicle's width so that the negatives of these data are shown whole.

    Parameters
    ----------
    values
        Compensated linear values of one channel, shape (events,).
    top
        Upper end of the scale.

    Returns
    -------
    float
        W = (M - log10(T / |r|)) / 2 with r the fifth percentile of the values below zero, as Parks 2006 proposes, kept between
        :data:`NARROWEST_WIDTH` and :data:`WIDEST_WIDTH`.
    """
    below = values[np.isfinite(values) & (values < 0)]
    if below.size < 20:  # no fifth percentile worth the name; such a channel has hardly any spread around zero
        return NARROWEST_WIDTH
    reach = abs(float(np.percentile(below, 5)))
    if reach <= 0:
        return NARROWEST_WIDTH
    width = (decades - float(np.log10(top / reach))) / 2
    return float(np.clip(width, NARROWEST_WIDTH, WIDEST_WIDTH))
