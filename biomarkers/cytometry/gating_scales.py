"""The scales of Gating-ML 2.0 and of FlowJo 10, so that foreign gates mean here what they mean there.

Knows their formulas and inverses. Must not know files, gates or events. The names of the parameters are Gating-ML's: T top, W
linear decades, M decades, A additional negative decades.

References
----------
Spidlen J, et al. Gating-ML 2.0, ISAC 2013, section 6. FlowJo's biexponential is the table cytolib documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log10, sinh
from typing import Protocol

import numpy as np
from flowutils import transforms as reference  # type: ignore[import-untyped]  # the library ships no types

from biomarkers.cytometry.scale_tables import Floats64
from biomarkers.cytometry.transforms import Asinh, Linear, Logicle

LN10 = log(10.0)

BIEX_CHANNELS = 4096
"""Steps of FlowJo's biexponential, its result's range."""


class Scale(Protocol):
    """A scale a gate's numbers lie on; never decreasing."""

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale by its definition."""
        ...

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back to linear ones."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Linear values as they are: a gate without a transformation."""

    def exact(self, values: Floats64) -> Floats64:
        """Return the values."""
        return values

    def inverse(self, values: Floats64) -> Floats64:
        """Return the values."""
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametricLinear:
    """Gating-ML's flin: ``-offset`` maps to 0, ``top`` to 1."""

    top: float
    offset: float

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale."""
        return (values + self.offset) / (self.top + self.offset)

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back."""
        return values * (self.top + self.offset) - self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametricLog:
    """Gating-ML's flog; values of zero and below have no place on it, and no gate keeps them."""

    top: float
    decades: float

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(values / self.top) * (1.0 / self.decades) + 1.0

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back."""
        with np.errstate(over="ignore"):
            return self.top * 10.0 ** ((values - 1.0) * self.decades)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametricAsinh:
    """Gating-ML's fasinh: ``top`` maps to 1."""

    top: float
    decades: float
    negative_decades: float

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale."""
        steepness = sinh(self.decades * LN10) / self.top
        return (np.arcsinh(values * steepness) + self.negative_decades * LN10) / ((self.decades + self.negative_decades) * LN10)

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back."""
        steepness = sinh(self.decades * LN10) / self.top
        with np.errstate(over="ignore"):
            place = values * ((self.decades + self.negative_decades) * LN10) - self.negative_decades * LN10
            return np.sinh(place) / steepness


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametricLogicle:
    """Gating-ML's logicle."""

    top: float
    width: float
    decades: float
    negative_decades: float

    @property
    def turn(self) -> float:
        """About where the scale turns from straight to logarithmic."""
        return float(self.top * 10.0**-self.decades)

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale."""
        return self._same().exact(values)

    def apply(
        self, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Bring many linear values to the scale by its table."""
        return self._same().apply(values)

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back."""
        return _inverse("logicle_inverse", values, self)

    def _same(self) -> Logicle:
        return Logicle(top=self.top, width=self.width, decades=self.decades, negative_decades=self.negative_decades)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperlog:
    """Gating-ML's hyperlog: a logicle whose straight part never ends."""

    top: float
    width: float
    decades: float
    negative_decades: float

    @property
    def turn(self) -> float:
        """About where the scale turns from straight to logarithmic."""
        return float(self.top * 10.0**-self.decades)

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale."""
        finite = np.isfinite(values)
        flat = np.where(finite, values, 0.0).reshape(-1, 1)
        scaled = reference.hyperlog(flat, [0], t=self.top, m=self.decades, w=self.width, a=self.negative_decades)
        return np.where(finite, scaled.reshape(values.shape), values)

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back."""
        return _inverse("hyperlog_inverse", values, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowJoLog:
    """FlowJo's logarithm: what lies below ``offset`` is drawn on the axis."""

    offset: float
    decades: float

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale."""
        return (np.log10(np.maximum(values, self.offset)) - log10(self.offset)) * (1.0 / self.decades)

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back."""
        with np.errstate(over="ignore"):
            return self.offset * 10.0 ** (values * self.decades)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowJoBiex:
    """FlowJo's biexponential: a table of 4097 places joined by straight lines, flat beyond its ends.

    Attributes
    ----------
    width
        FlowJo's width basis, -1 to -1000: the more negative, the more values around zero are drawn linearly.
    positive, negative
        Decades above zero, additional ones below.
    """

    top: float
    width: float
    positive: float
    negative: float

    @property
    def turn(self) -> float:
        """About where the scale turns from straight to logarithmic."""
        return float(self.top * 10.0**-4.5)

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale, 0 to 4096."""
        places = _biex_places(self)
        return np.interp(values, places, np.arange(places.size, dtype=np.float64))

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back."""
        places = _biex_places(self)
        return np.interp(values, np.arange(places.size, dtype=np.float64), places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A scale whose results are kept between two limits, as Gating-ML's boundMin and boundMax ask."""

    scale: Scale
    low: float
    high: float

    def exact(self, values: Floats64) -> Floats64:
        """Bring linear values to the scale."""
        return np.clip(self.scale.exact(values), self.low, self.high)

    def inverse(self, values: Floats64) -> Floats64:
        """Bring values of the scale back; what was beyond a limit comes back as the limit."""
        return self.scale.inverse(np.clip(values, self.low, self.high))


def scale_of(transform: object, top: float) -> Scale:
    """Say a template's scale in Gating-ML's words.

    Parameters
    ----------
    top
        The channel's range: an inverse hyperbolic sine, which knows no top of its own, is written so that this maps to 1.
    """
    match transform:
        case Linear():
            return Identity()
        case Asinh(cofactor=cofactor):
            return ParametricAsinh(top=top, decades=float(np.arcsinh(top / cofactor)) / LN10, negative_decades=0.0)
        case Logicle(top=own, width=width, decades=decades, negative_decades=negative):
            return ParametricLogicle(top=own, width=width, decades=decades, negative_decades=negative)
        case _:
            raise TypeError(f"no Gating-ML scale for {type(transform).__name__}")


def _inverse(name: str, values: Floats64, scale: ParametricLogicle | Hyperlog) -> Floats64:
    flat = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    function = getattr(reference, name)
    linear = function(flat, [0], t=scale.top, m=scale.decades, w=scale.width, a=scale.negative_decades)
    result: Floats64 = linear.reshape(np.shape(values))
    return result


@lru_cache(maxsize=128)
def _biex_places(scale: FlowJoBiex) -> Floats64:
    """Return the linear values of FlowJo's channels 0 to 4096.

    Half of the width's decades lie on each side of zero, which falls on a whole channel; above it the value is the difference
    of a rising and a falling exponential, below it the mirror image.
    """
    half = log10(-scale.width) / 2
    decades, extra = scale.positive - half, max(scale.negative, 0.0) + half
    zero = int(min(int(extra * BIEX_CHANNELS / (extra + decades)), BIEX_CHANNELS / 2))
    if zero > 0:
        decades = extra * BIEX_CHANNELS / zero
    width = half / decades
    rise = LN10 * decades
    fall = _falling_rate(rise, width)
    steps = np.arange(BIEX_CHANNELS + 1) / (BIEX_CHANNELS + 1.0)
    curve = np.exp(steps * rise) - np.exp(-steps * fall) * exp((rise + fall) * (width + extra / decades))
    places: Floats64 = scale.top / exp(rise) * (curve - curve[zero])
    places[:zero] = -places[2 * zero : zero : -1]
    return places


def _falling_rate(rise: float, width: float) -> float:
    """Solve 2 ln(d / b) + w (d + b) = 0 for d, which makes the second derivative vanish at zero (Parks 2006)."""
    if width <= 0:
        return rise
    low, high = 0.0, rise
    for _ in range(200):  # halving a double's interval ends long before
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if 2 * log(middle / rise) + width * (middle + rise) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
