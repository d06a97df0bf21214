"""Limits for the concentration behind new responses: where the band around the curve lets go of them.

Knows a fitted curve with its noise. Must not know specimens, dilution or limits of quantification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from biomarkers.elisa.calibration import CalibrationCurve
from biomarkers.elisa.logistic import FloatArray
from biomarkers.elisa.records import BandPoint
from biomarkers.results import Interval

CONFIDENCE = 0.95

_Flags: TypeAlias = npt.NDArray[np.bool_]

_REACH = 1e6
"""How many times below and above the calibrators limits are looked for; beyond, a side is open."""

_PLACES = 360
_REFINEMENTS = 60
_CLOSE_ENOUGH = 1e-9


def confidence_limits(curve: CalibrationCurve, response: float, n_replicates: int) -> Interval:
    """95 % limits for the concentration behind a new mean response of some wells, before dilution.

    Parameters
    ----------
    response
        Mean of the wells, strictly between zero and infinite dose.
    n_replicates
        Wells behind the mean.

    Notes
    -----
    The limits hold every concentration x for which ``abs(y - f(x)) <= t sqrt(s(x)**2 / m + J V J')``: the noise of the m
    wells, as large as it is believed to be at f(x), and the uncertainty of the curve, with Student's t. Solved for x rather
    than linearised, because near the ends of the curve the two limits lie unequally far. A lower side that reaches a
    concentration of 0 ends there; an upper side the curve does not close is None.
    """
    return limits_of_many(curve, np.array([response]), np.array([n_replicates]))[0]


def limits_of_many(curve: CalibrationCurve, responses: FloatArray, n_replicates: FloatArray) -> tuple[Interval, ...]:
    """Give the limits of :func:`confidence_limits` for many mean responses at once."""
    if not len(responses):
        return ()
    replicates = n_replicates.astype(np.float64)
    band = _Band(curve=curve, targets=curve.curve.scale(responses), replicates=replicates)
    centres = np.log(curve.curve.concentration(responses))
    places = _places(curve)
    lower, upper = band.crossings(places, band.is_outside(places), centres)
    return tuple(
        Interval(
            lower=0.0 if np.isnan(low) else float(np.exp(low)),
            upper=None if np.isnan(high) else float(np.exp(high)),
            level=CONFIDENCE,
        )
        for low, high in zip(lower, upper, strict=True)
    )


def standard_error(curve: CalibrationCurve, response: float, n_replicates: int) -> float:
    """Give the standard error of the concentration behind a new mean response, by the delta method, before dilution."""
    x = curve.curve.concentration(np.array([response]))
    variance = curve.well_variance(x) / n_replicates + curve.noise.curve_variance(curve.curve.jacobian(x))
    return float(np.sqrt(variance[0]) / abs(float(curve.curve.gradient(x)[0])))


def band(curve: CalibrationCurve, concentrations: Sequence[float], *, n_replicates: int = 1) -> tuple[BandPoint, ...]:
    """Give the curve with its band, to be drawn; responses are no logarithms whatever the scale of the fit."""
    x = np.array(concentrations, dtype=np.float64)
    response = curve.curve.response(x)
    half = curve.half_width(x, np.full(len(x), float(n_replicates)), CONFIDENCE)
    scaled = curve.curve.scale(response)
    is_logarithm = curve.model == "loglog"
    low, high = scaled - half, scaled + half
    if is_logarithm:
        low, high = 10.0**low, 10.0**high
    return tuple(
        BandPoint(concentration=float(at), response=float(middle), lower=float(down), upper=float(up))
        for at, middle, down, up in zip(x, response, low, high, strict=True)
    )


def _places(curve: CalibrationCurve) -> FloatArray:
    """Logarithms of concentrations to look at first, ascending; the same for every response, so that none moves another's."""
    reach = float(np.log(_REACH))
    return np.linspace(float(np.log(curve.lowest_nominal)) - reach, float(np.log(curve.highest_nominal)) + reach, _PLACES)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Band:
    curve: CalibrationCurve
    targets: FloatArray
    replicates: FloatArray

    def excess(self, log_x: FloatArray, chosen: np.ndarray[tuple[int], np.dtype[np.intp]]) -> FloatArray:
        """How far outside the band each chosen response lies at its place; negative inside."""
        x = np.exp(log_x)
        off = np.abs(self.targets[chosen] - self.curve.curve.scale(self.curve.curve.response(x)))
        return np.asarray(off - self.curve.half_width(x, self.replicates[chosen], CONFIDENCE), dtype=np.float64)

    def is_outside(self, places: FloatArray) -> _Flags:
        """Whether each response, one row, lies outside the band at each place, one column."""
        x = np.exp(places)
        fitted = self.curve.curve.scale(self.curve.curve.response(x))
        found = np.empty((len(self.targets), len(places)), dtype=np.bool_)
        for count in np.unique(self.replicates):
            alike = self.replicates == count
            half = self.curve.half_width(x, np.full(len(x), count), CONFIDENCE)
            found[alike] = np.abs(self.targets[alike, None] - fitted) > half
        return found

    def crossings(self, places: FloatArray, outside: _Flags, centres: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Logarithms of the lower and the upper limit of each response; NaN where the band never lets go."""
        below, above = outside & (places < centres[:, None]), outside & (places > centres[:, None])
        last_below = len(places) - 1 - np.argmax(below[:, ::-1], axis=1)
        first_above = np.argmax(above, axis=1)
        far = np.concatenate((places[last_below], places[first_above]))
        near = np.concatenate(
            (
                np.minimum(places[np.minimum(last_below + 1, len(places) - 1)], centres),
                np.maximum(places[np.maximum(first_above - 1, 0)], centres),
            )
        )
        exists = np.concatenate((np.any(below, axis=1), np.any(above, axis=1)))
        found = self._narrowed(np.flatnonzero(exists), far, near)
        return found[: len(centres)], found[len(centres) :]

    def _narrowed(self, moving: np.ndarray[tuple[int], np.dtype[np.intp]], far: FloatArray, near: FloatArray) -> FloatArray:
        """Narrow the crossings of some rows down between a place outside and one inside (regula falsi, Illinois)."""
        found = np.full(len(far), np.nan)
        count = len(self.targets)
        out, inside = far[moving], near[moving]
        above, below = self.excess(out, moving % count), self.excess(inside, moving % count)
        found[moving] = inside
        kept = np.zeros(len(moving))
        for _ in range(_REFINEMENTS):
            if not moving.size:
                break
            between = out - above * (inside - out) / np.where(below == above, -1.0, below - above)
            value = self.excess(between, moving % count)
            is_out = value > 0
            # An end that stays twice running is made to weigh half, or a bent band would keep it for ever.
            above = np.where(is_out, value, np.where(kept > 0, 0.5 * above, above))
            below = np.where(is_out, np.where(kept < 0, 0.5 * below, below), value)
            kept = np.where(is_out, -1.0, 1.0)
            out, inside = np.where(is_out, between, out), np.where(is_out, inside, between)
            moved = np.abs(between - found[moving])
            found[moving] = between
            going = (moved > _CLOSE_ENOUGH) & (np.abs(out - inside) > _CLOSE_ENOUGH)
            moving, out, inside, above, below, kept = (
                moving[going], out[going], inside[going], above[going], below[going], kept[going]
            )  # fmt: skip
        return found
