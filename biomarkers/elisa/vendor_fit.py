"""One way a vendor may have fitted a curve, repeated: unweighted, through wells or means, and every printed number held to it.

Knows how rounding of what an export prints travels through a fit. Must not know files, nor which way is the right one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biomarkers.elisa.calibration import Replicates
from biomarkers.elisa.fitting import CurveModel, Fit, fit
from biomarkers.elisa.logistic import Curve, FloatArray, LogLogLine, StraightLine
from biomarkers.elisa.vendor_export import Printed, ResponseSet, VendorConcentration, VendorCurve, WellKey
from biomarkers.errors import BiomarkersError

_PARAMETERS: dict[CurveModel, int] = {"4pl": 4, "5pl": 5, "linear": 2, "loglog": 2}

_FLOATING_POINT = 1e-9
"""Relative room for sums of doubles in another order than the vendor's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One printed number beside ours.

    Attributes
    ----------
    quantity
        ``concentration``, a parameter's name, or the vendor's column.
    ours
        None where our curve has no such number.
    rounding
        How far apart the two may lie because the export prints its inputs and its result with so many digits.
    """

    plate_id: str
    quantity: str
    wells: str
    vendor: str
    vendor_value: float | None
    ours: float | None
    rounding: float
    agrees: bool

    @property
    def difference(self) -> float | None:
        """Ours less the vendor's."""
        return None if self.ours is None or self.vendor_value is None else self.ours - self.vendor_value

    @property
    def relative_difference(self) -> float | None:
        """The difference over the vendor's number; None where that is 0."""
        return None if self.difference is None or not self.vendor_value else self.difference / abs(self.vendor_value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way the vendor may have fitted, and how close it comes.

    Attributes
    ----------
    compared, agreeing
        Printed concentrations and parameters, and how many of them rounding explains.
    failure
        Why it could not be fitted; empty where it could.
    """

    model: CurveModel
    replicates: Replicates
    response: str
    compared: int
    agreeing: int
    max_abs_difference: float | None
    failure: str


def largest(differences: Iterable[float | None]) -> float | None:
    """Largest size among differences; None where there is none."""
    return max((abs(one) for one in differences if one is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A curve fitted in one way, with what it says of every printed number."""

    attempt: Attempt
    fitted: Fit | None
    by_wells: Mapping[tuple[WellKey, ...], Difference]
    concentrations: tuple[Difference, ...]
    words: tuple[Difference, ...]
    parameters: tuple[Difference, ...]

    @property
    def reproduces(self) -> bool:
        """Whether rounding explains every difference from what was printed."""
        return self.fitted is not None and 0 < self.attempt.compared == self.attempt.agreeing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Points:
    """What goes into a fit; ``slack`` is how far each point may be off, as a difference in response."""

    x: FloatArray
    y: FloatArray
    x_slack: FloatArray
    y_slack: float


def _points(curve: VendorCurve, response: ResponseSet, model: CurveModel, replicates: Replicates) -> _Points:
    found: list[tuple[float, float, float]] = []
    for level in curve.levels:
        values = [response.value_by_well[well] for well in level.wells if well in response.value_by_well]
        if not values or (model == "loglog" and (level.nominal <= 0 or min(values) <= 0)):
            continue
        fitted = values if replicates == "wells" else [float(np.mean(values))]
        found.extend((level.nominal, value, level.rounding) for value in fitted)
    x, y, slack = (np.array(column, dtype=np.float64) for column in (zip(*found, strict=True) if found else ((), (), ())))
    return _Points(x=x, y=y, x_slack=slack, y_slack=response.rounding)


def solve(curve: VendorCurve, response: ResponseSet, model: CurveModel, replicates: Replicates) -> Solution:
    """Fit a vendor's curve in one way and hold everything printed against it."""
    points = _points(curve, response, model, replicates)
    fitted, failure = None, ""
    if len(np.unique(points.x)) <= _PARAMETERS[model]:
        failure = f"{len(np.unique(points.x))} levels for {_PARAMETERS[model]} parameters"
    else:
        try:
            # The vendor judged its own curve; here it is only repeated, so none of our own refusals apply.
            with np.errstate(all="ignore"):
                fitted = fit(points.x, points.y, model=model, weights="none")
        except (ArithmeticError, ValueError, np.linalg.LinAlgError, BiomarkersError) as error:
            failure = str(error) or type(error).__name__
    told = [] if fitted is None else [(one, _concentration(one, response, fitted, points)) for one in curve.concentrations]
    numbers = tuple(row for one, row in told if one.printed.kind == "number")
    words = tuple(row for one, row in told if one.printed.kind != "number")
    parameters = () if fitted is None or model != curve.stated_model else tuple(_parameters(curve, fitted, points))
    judged = (*numbers, *words, *parameters)
    return Solution(
        attempt=Attempt(
            model=model,
            replicates=replicates,
            response=response.name,
            compared=len(judged),
            agreeing=sum(one.agrees for one in judged),
            max_abs_difference=largest(one.difference for one in numbers),
            failure=failure,
        ),
        fitted=fitted,
        by_wells={one.wells: row for one, row in told if one.printed.kind == "number"},
        concentrations=numbers,
        words=words,
        parameters=parameters,
    )


def _inverse(curve: Curve, response: FloatArray) -> FloatArray:
    """Concentration of each response; a vendor's straight line gives negative ones too."""
    if isinstance(curve, StraightLine):
        return np.asarray((response - curve.intercept) / curve.slope, dtype=np.float64)
    return curve.concentration(response)


def _scaled_slack(curve: Curve, response: FloatArray, slack: float) -> FloatArray:
    """Turn an uncertainty of a response into one on the scale of the fit."""
    if isinstance(curve, LogLogLine):
        with np.errstate(divide="ignore"):
            return np.asarray(slack / (np.abs(response) * math.log(10.0)), dtype=np.float64)
    return np.full_like(response, slack)


def _point_slack(fitted: Fit, points: _Points) -> FloatArray:
    """How far each fitted point may be off, on the scale of the fit, by the rounding of its response and its nominal."""
    gradient = np.zeros_like(points.x)
    above = points.x > 0
    gradient[above] = np.abs(fitted.curve.gradient(points.x[above]))
    return _scaled_slack(fitted.curve, points.y, points.y_slack) + gradient * points.x_slack


def _influence(fitted: Fit, points: _Points) -> FloatArray:
    """How each parameter follows each point, one row a parameter, to first order."""
    return np.asarray(np.linalg.pinv(fitted.curve.jacobian(points.x)), dtype=np.float64)


def _rounding(fitted: Fit, points: _Points, response: float, concentration: float) -> float:
    """How far a concentration may be off because the responses and nominals behind it are printed to so many digits."""
    curve = fitted.curve
    at = np.array([concentration], dtype=np.float64)
    with np.errstate(all="ignore"):
        own = float(_scaled_slack(curve, np.array([response]), points.y_slack)[0])
        pulled = np.abs(curve.jacobian(at) @ _influence(fitted, points)) @ _point_slack(fitted, points)
        slack = own + float(pulled[0])
        if slack == 0.0:
            return 0.0
        moved = float(curve.scale(np.array([response]))[0]) + np.array([-slack, slack])
        ends = _inverse(curve, 10.0**moved if isinstance(curve, LogLogLine) else moved)
    # Where rounding alone decides whether the curve has an inverse at all, no difference can be held against anyone.
    return float(np.max(np.abs(ends - concentration))) if np.all(np.isfinite(ends)) else math.inf


def _mean_response(wells: Sequence[WellKey], response: ResponseSet) -> float | None:
    values = [response.value_by_well[well] for well in wells if well in response.value_by_well]
    return float(np.mean(values)) if values else None


def _concentration(one: VendorConcentration, response: ResponseSet, fitted: Fit, points: _Points) -> Difference:
    value = _mean_response(one.wells, response)
    with np.errstate(all="ignore"):
        found = math.nan if value is None else float(_inverse(fitted.curve, np.array([value], dtype=np.float64))[0])
    ours = found if math.isfinite(found) else None
    rounding = math.inf if value is None or ours is None else _rounding(fitted, points, value, ours)
    printed = one.printed
    agrees = _word_agrees(one, value, ours, fitted, points)
    if printed.kind == "number" and printed.value is not None:
        agrees = ours is not None and agrees_to_print(ours, printed, rounding)
    return Difference(
        plate_id=one.wells[0].plate_id,
        quantity="concentration",
        wells=" ".join(map(str, one.wells)),
        vendor=printed.text,
        vendor_value=printed.value if printed.kind == "number" else None,
        ours=ours,
        rounding=printed.half_digit + rounding,
        agrees=agrees,
    )


def agrees_to_print(ours: float, printed: Printed, rounding: float) -> bool:
    """Whether our number lies no farther from a printed one than the rounding of that print and of its inputs allows."""
    assert printed.value is not None
    return abs(ours - printed.value) <= printed.half_digit + rounding + _FLOATING_POINT * abs(printed.value)


def _word_agrees(one: VendorConcentration, value: float | None, ours: float | None, fitted: Fit, points: _Points) -> bool:
    """Whether our number, or the lack of one, says the same as the vendor's word."""
    match one.printed.kind:
        case "masked":
            return one.masked
        case "missing":
            return value is None
        case "outside":
            beyond = value is not None and not float(np.min(points.y)) <= value <= float(np.max(points.y))
            return ours is None or (one.limited and beyond)
        case "below" | "above" as side:
            assert one.printed.value is not None
            if ours is not None:
                return ours <= one.printed.value if side == "below" else ours >= one.printed.value
            return value is not None and _side(fitted.curve, value) == side
        case _:
            return False


def _side(curve: Curve, response: float) -> str:
    """On which side of a curve's range a response without an inverse lies."""
    rising = curve.infinite_response > curve.zero_response
    return "below" if (response < curve.zero_response) == rising and response != curve.infinite_response else "above"


def _parameters(curve: VendorCurve, fitted: Fit, points: _Points) -> Iterable[Difference]:
    """Hold the curve's own parameters against the printed ones, which belong to the model the export states."""
    ours = fitted.curve.parameters
    with np.errstate(all="ignore"):
        rounding = np.abs(_influence(fitted, points)) @ _point_slack(fitted, points)
    slack_by_name = dict(zip(fitted.curve.names, map(float, rounding), strict=True))
    named = {name: (printed, ours.get(name), slack_by_name.get(name, 0.0)) for name, printed in curve.parameters.items()}
    if curve.r_squared is not None:
        total = float(np.sum((points.y - np.mean(points.y)) ** 2))
        named["r_squared"] = (curve.r_squared, 1.0 - fitted.rss / total if total > 0 else None, 0.0)
    for name, (printed, value, slack) in named.items():
        if printed.value is not None:
            yield Difference(
                plate_id=curve.plate_ids[0],
                quantity=name,
                wells="",
                vendor=printed.text,
                vendor_value=printed.value,
                ours=value,
                rounding=printed.half_digit + slack,
                agrees=value is not None and agrees_to_print(value, printed, slack),
            )
