"""Calibration curves: response at a concentration, the exact inverse, and the derivatives a fit needs.

Knows four shapes: the four- and five-parameter logistic, the straight line and the line through logarithms. Must not know data,
weights or wells. A curve rises or falls by its own parameters; there is no flag for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit

FloatArray: TypeAlias = npt.NDArray[np.float64]


class Curve(Protocol):
    """What every shape can do. Arrays are one-dimensional; concentrations are at least 0, in the calibrators' unit."""

    names: ClassVar[tuple[str, ...]]

    @property
    def parameters(self) -> Mapping[str, float]:
        """Parameters by name, in the order of ``names``."""
        ...

    @property
    def zero_response(self) -> float:
        """Response that a concentration of 0 tends to."""
        ...

    @property
    def infinite_response(self) -> float:
        """Response that an endless concentration tends to; may be infinite."""
        ...

    def response(self, concentration: FloatArray) -> FloatArray:
        """Response at each concentration."""
        ...

    def concentration(self, response: FloatArray) -> FloatArray:
        """Concentration that gives each response exactly; NaN where there is none."""
        ...

    def scale(self, response: FloatArray) -> FloatArray:
        """Put a response on the scale on which the curve is fitted: itself, or its logarithm."""
        ...

    def jacobian(self, concentration: FloatArray) -> FloatArray:
        """Return the derivatives of the scaled response by the parameters, one row a concentration, one column a parameter."""
        ...

    def gradient(self, concentration: FloatArray) -> FloatArray:
        """Return the derivative of the scaled response by the concentration."""
        ...


def _log_ratio(concentration: FloatArray, inflection: float) -> FloatArray:
    with np.errstate(divide="ignore"):  # the zero calibrator: its logarithm is -inf, and the curve is at zero dose there
        return np.asarray(np.log(concentration) - np.log(inflection), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class FourPL:
    """Four-parameter logistic, ``y = d + (a - d) / (1 + (x / c) ** b)`` with ``b > 0``.

    Attributes
    ----------
    zero_dose
        a, the response without analyte.
    slope
        b, always positive.
    inflection
        c, the concentration whose response lies halfway.
    infinite_dose
        d, the response of endless analyte. Above ``zero_dose`` in a sandwich assay, below it in a competitive one.

    Examples
    --------
    A competitive curve falls, and its inverse gives the concentration back:

    >>> import numpy as np
    >>> curve = FourPL(zero_dose=2.0, slope=1.0, inflection=100.0, infinite_dose=0.0)
    >>> curve.response(np.array([0.0, 100.0, 300.0]))
    array([2. , 1. , 0.5])
    >>> curve.concentration(np.array([1.0, 0.5, 2.5]))
    array([100., 300.,  nan])
    """

    names: ClassVar[tuple[str, ...]] = ("zero_dose", "slope", "inflection", "infinite_dose")

    zero_dose: float
    slope: float
    inflection: float
    infinite_dose: float

    def __post_init__(self) -> None:
        if not (self.slope > 0 and self.inflection > 0):
            raise ValueError("slope and inflection of a logistic are above 0")

    @property
    def parameters(self) -> Mapping[str, float]:
        """Parameters by name."""
        return asdict(self)

    @property
    def zero_response(self) -> float:
        """The zero dose."""
        return self.zero_dose

    @property
    def infinite_response(self) -> float:
        """The infinite dose."""
        return self.infinite_dose

    def _fraction(self, concentration: FloatArray) -> FloatArray:
        """Share of the zero dose that is left, 1 at concentration 0."""
        return np.asarray(expit(-self.slope * _log_ratio(concentration, self.inflection)), dtype=np.float64)

    def response(self, concentration: FloatArray) -> FloatArray:
        """Response at each concentration."""
        return self.infinite_dose + (self.zero_dose - self.infinite_dose) * self._fraction(concentration)

    def concentration(self, response: FloatArray) -> FloatArray:
        """Concentration of each response, 0 at the zero dose; NaN at and beyond the infinite dose and beyond the zero dose."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (self.zero_dose - response) / (response - self.infinite_dose)
            inside = np.isfinite(ratio) & (ratio >= 0)
            power = np.where(inside, ratio, np.nan) ** (1.0 / self.slope)
        return self.inflection * power

    def scale(self, response: FloatArray) -> FloatArray:
        """Leave the response as it is."""
        return response

    def jacobian(self, concentration: FloatArray) -> FloatArray:
        """Return the derivatives of the response by zero dose, slope, inflection and infinite dose."""
        left = self._fraction(concentration)
        bend = (self.zero_dose - self.infinite_dose) * left * (1.0 - left)
        log_ratio = np.where(concentration > 0, _log_ratio(concentration, self.inflection), 0.0)
        return np.column_stack((left, -bend * log_ratio, bend * self.slope / self.inflection, 1.0 - left))

    def gradient(self, concentration: FloatArray) -> FloatArray:
        """Return the derivative of the response by the concentration, for concentrations above 0."""
        left = self._fraction(concentration)
        return -(self.zero_dose - self.infinite_dose) * left * (1.0 - left) * self.slope / concentration


@dataclass(frozen=True, slots=True, kw_only=True)
class FivePL:
    """Five-parameter logistic: as :class:`FourPL`, with the denominator raised to ``asymmetry``.

    With an asymmetry other than 1 the response at ``inflection`` is no longer halfway.
    """

    names: ClassVar[tuple[str, ...]] = ("zero_dose", "slope", "inflection", "infinite_dose", "asymmetry")

    zero_dose: float
    slope: float
    inflection: float
    infinite_dose: float
    asymmetry: float

    def __post_init__(self) -> None:
        if not (self.slope > 0 and self.inflection > 0 and self.asymmetry > 0):
            raise ValueError("slope, inflection and asymmetry of a logistic are above 0")

    @property
    def parameters(self) -> Mapping[str, float]:
        """Parameters by name."""
        return asdict(self)

    @property
    def zero_response(self) -> float:
        """The zero dose."""
        return self.zero_dose

    @property
    def infinite_response(self) -> float:
        """The infinite dose."""
        return self.infinite_dose

    def _base(self, concentration: FloatArray) -> FloatArray:
        return np.asarray(expit(-self.slope * _log_ratio(concentration, self.inflection)), dtype=np.float64)

    def response(self, concentration: FloatArray) -> FloatArray:
        """Response at each concentration."""
        return self.infinite_dose + (self.zero_dose - self.infinite_dose) * self._base(concentration) ** self.asymmetry

    def concentration(self, response: FloatArray) -> FloatArray:
        """Concentration of each response; NaN where the curve never gives it."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = (self.zero_dose - response) / (response - self.infinite_dose)
            inside = np.isfinite(ratio) & (ratio >= 0)
            # expm1 and log1p keep the digits near the zero dose, where the ratio is tiny.
            power = np.expm1(np.log1p(np.where(inside, ratio, np.nan)) / self.asymmetry) ** (1.0 / self.slope)
        return self.inflection * power

    def scale(self, response: FloatArray) -> FloatArray:
        """Leave the response as it is."""
        return response

    def jacobian(self, concentration: FloatArray) -> FloatArray:
        """Return the derivatives of the response by zero dose, slope, inflection, infinite dose and asymmetry."""
        base = self._base(concentration)
        left = base**self.asymmetry
        span = self.zero_dose - self.infinite_dose
        bend = span * self.asymmetry * left * (1.0 - base)
        log_ratio = np.where(concentration > 0, _log_ratio(concentration, self.inflection), 0.0)
        log_base = np.log(np.maximum(base, np.finfo(np.float64).tiny))
        columns = (left, -bend * log_ratio, bend * self.slope / self.inflection, 1.0 - left, span * left * log_base)
        return np.column_stack(columns)

    def gradient(self, concentration: FloatArray) -> FloatArray:
        """Return the derivative of the response by the concentration, for concentrations above 0."""
        base = self._base(concentration)
        span = self.zero_dose - self.infinite_dose
        return -span * self.asymmetry * base**self.asymmetry * (1.0 - base) * self.slope / concentration


@dataclass(frozen=True, slots=True, kw_only=True)
class StraightLine:
    """``y = intercept + slope * x``; the slope may be negative."""

    names: ClassVar[tuple[str, ...]] = ("slope", "intercept")

    slope: float
    intercept: float

    @property
    def parameters(self) -> Mapping[str, float]:
        """Parameters by name."""
        return asdict(self)

    @property
    def zero_response(self) -> float:
        """The intercept."""
        return self.intercept

    @property
    def infinite_response(self) -> float:
        """Endless, in the direction of the slope."""
        return float(np.copysign(np.inf, self.slope))

    def response(self, concentration: FloatArray) -> FloatArray:
        """Response at each concentration."""
        return self.intercept + self.slope * concentration

    def concentration(self, response: FloatArray) -> FloatArray:
        """Concentration of each response; NaN where it would be negative."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (response - self.intercept) / self.slope
        return np.where(np.isfinite(found) & (found >= 0), found, np.nan)

    def scale(self, response: FloatArray) -> FloatArray:
        """Leave the response as it is."""
        return response

    def jacobian(self, concentration: FloatArray) -> FloatArray:
        """Return the derivatives of the response by slope and intercept."""
        return np.column_stack((concentration, np.ones_like(concentration)))

    def gradient(self, concentration: FloatArray) -> FloatArray:
        """Return the slope, at every concentration."""
        return np.full_like(concentration, self.slope)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLogLine:
    """``log10(y) = intercept + slope * log10(x)``, fitted on the logarithms; responses and concentrations above 0 only."""

    names: ClassVar[tuple[str, ...]] = ("slope", "intercept")

    slope: float
    intercept: float

    @property
    def parameters(self) -> Mapping[str, float]:
        """Parameters by name."""
        return asdict(self)

    @property
    def zero_response(self) -> float:
        """0 for a rising line, endless for a falling one."""
        return 0.0 if self.slope > 0 else float(np.inf)

    @property
    def infinite_response(self) -> float:
        """Endless for a rising line, 0 for a falling one."""
        return float(np.inf) if self.slope > 0 else 0.0

    def response(self, concentration: FloatArray) -> FloatArray:
        """Response at each concentration."""
        with np.errstate(divide="ignore", over="ignore"):
            return np.asarray(10.0 ** (self.intercept + self.slope * np.log10(concentration)), dtype=np.float64)

    def concentration(self, response: FloatArray) -> FloatArray:
        """Concentration of each response; NaN for responses at or below 0."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = 10.0 ** ((np.log10(np.where(response > 0, response, np.nan)) - self.intercept) / self.slope)
        return np.where(np.isfinite(found), found, np.nan)

    def scale(self, response: FloatArray) -> FloatArray:
        """Take the decimal logarithm; NaN at or below 0."""
        return np.asarray(np.log10(np.where(response > 0, response, np.nan)), dtype=np.float64)

    def jacobian(self, concentration: FloatArray) -> FloatArray:
        """Return the derivatives of the logarithm of the response by slope and intercept."""
        with np.errstate(divide="ignore"):
            return np.column_stack((np.log10(concentration), np.ones_like(concentration)))

    def gradient(self, concentration: FloatArray) -> FloatArray:
        """Return the derivative of the logarithm of the response by the concentration, for concentrations above 0."""
        return np.asarray(self.slope / (concentration * np.log(10.0)), dtype=np.float64)
