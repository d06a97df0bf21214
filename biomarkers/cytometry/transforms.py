"""Scales on which populations can be told apart: logicle, inverse hyperbolic sine, none.

Knows the arithmetic of the display scales templates use, and how a logicle's width follows from the data. Must not know markers
or gates. Equal to FlowKit's transforms; the tables used for many events differ by less than :data:`TABLE_ERROR`.

References
----------
Parks DR, Roederer M, Moore WA. A new "logicle" display method avoids deceptive effects of logarithmic scaling for low signals
and compensated data. Cytometry A 2006;69:541-551. Gating-ML 2.0 fixes the parametrisation used (T, W, M, A; result 0 to 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
from flowutils import transforms as reference  # type: ignore[import-untyped]  # the library ships no types

from biomarkers.cytometry.scale_tables import Floats64, ScaleTable, tabulate

Floats32 = npt.NDArray[np.float32]

DECADES = 4.5
"""Breadth of a logicle in decades, the value every vendor's software starts from (Parks 2006)."""

NARROWEST_WIDTH = 0.25
"""Least linear decades: with less, digitisation noise around zero splits the negatives in two (Parks 2006, figure 3)."""

WIDEST_WIDTH = 1.75
"""Most linear decades: with more, dim positives vanish in the linear part."""

TABLE_ERROR = 1e-7
"""Greatest difference between a logicle by table and the exact one: a ten-thousandth of a display pixel."""

TABLE_PAYS_FROM = 1 << 13
"""Events from which looking up in a table is quicker than solving each one."""

BLOCK = 1 << 14
"""Values worked on at a time, so that they stay in the processor's cache between steps."""

TABLE_REACHES = 4.0
"""Times the top of a scale that its table covers; compensated events hardly ever lie beyond."""


class Transform(Protocol):
    """A scale for one channel, increasing over all linear values."""

    def apply(self, values: Floats32) -> Floats32:
        """Bring linear values to the scale, quickly; values that are not finite stay so."""
        ...

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale by its definition; values that are not finite stay so."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """No change: scatter, and data that come scaled already."""

    def apply(self, values: Floats32) -> Floats32:
        """Return the values as they are."""
        return values

    def exact(self, values: Floats64) -> Floats64:
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

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale by its definition."""
        return np.arcsinh(values / self.cofactor)


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

    @property
    def turn(self) -> float:
        """About where the scale turns from straight to logarithmic."""
        return float(self.top * 10.0**-self.decades)

    def apply(self, values: Floats32) -> Floats32:
        """Bring linear values to the scale; values that are not finite stay so."""
        if values.size < TABLE_PAYS_FROM:
            return self.exact(values.astype(np.float64)).astype(np.float32)
        return in_blocks(self, values)

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale by its definition; values that are not finite stay so."""
        finite = np.isfinite(values)
        flat = np.where(finite, values, 0.0).reshape(-1, 1)
        scaled = reference.logicle(flat, [0], t=self.top, m=self.decades, w=self.width, a=self.negative_decades)
        return np.where(finite, scaled.reshape(values.shape), values)

    def inverse(self, values: Floats64) -> Floats64:
        """Bring places on the scale back to linear values by its definition."""
        flat = np.asarray(values, dtype=np.float64).reshape(-1, 1)
        linear = reference.logicle_inverse(flat, [0], t=self.top, m=self.decades, w=self.width, a=self.negative_decades)
        back: Floats64 = linear.reshape(values.shape)
        return back


class Tabulated(Transform, Protocol):
    """A scale whose exact form is dear, so that many events are brought to it by a table.

    Attributes
    ----------
    top
        Upper end of the linear scale.
    turn
        About where it turns from straight to logarithmic.
    """

    @property
    def top(self) -> float: ...  # noqa: D102  - documented above

    @property
    def turn(self) -> float: ...  # noqa: D102  - documented above

    def __hash__(self) -> int: ...


@lru_cache(maxsize=128)
def table_of(scale: Tabulated) -> ScaleTable:
    """Return a scale's table, the one made before where there is one: files of one batch share their scales."""
    return tabulate(scale.exact, turn=scale.turn, reach=TABLE_REACHES * scale.top)


def by_table(scale: Tabulated, values: Floats64) -> Floats64:
    """Bring linear values of any shape to a scale by its table, and by the exact formula what lies beyond it."""
    return table_of(scale).look_up(values, scale.exact)


def in_blocks(scale: Tabulated, values: Floats32) -> Floats32:
    """Bring one channel's events to a scale by its table."""
    scaled = np.empty(values.shape, dtype=np.float32)
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK].astype(np.float64)
        scaled[start : start + BLOCK] = by_table(scale, block)
    return scaled


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
