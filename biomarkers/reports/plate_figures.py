"""Pictures of one analyte on a plate: its curve with what lies on it, residuals, recoveries, controls, results.

Knows the records an analysed plate leaves behind. Must not know how they were computed, nor the page around the pictures. What
is told by colour is told by a shape or a word as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import t as student

from biomarkers.elisa.logistic import Curve, FivePL, FourPL, LogLogLine, StraightLine
from biomarkers.elisa.plate import WellRole
from biomarkers.elisa.records import BandPoint, CalibratorRecord, ControlRecord, CurveRecord, WellRecord
from biomarkers.reports.figures import Axis, Drawing, Frame, Tick, linear_axis, log_axis, number, short
from biomarkers.reports.plate_wells import well_words
from biomarkers.results import Result
from biomarkers.study.soluble import AcceptanceRules

_SHAPES: Mapping[str, type[Curve]] = {"4pl": FourPL, "5pl": FivePL, "linear": StraightLine, "loglog": LogLogLine}
_CURVE_POINTS = 121
_SAME = 1e-9
_ZERO_ROOM = 34.0
"""Room left of a logarithmic axis for the zero calibrator."""


def curve_of(record: CurveRecord) -> Curve:
    """Return the curve a record describes."""
    return _SHAPES[record.model](**record.parameters)


def curve_band(record: CurveRecord, concentrations: NDArray[np.float64]) -> tuple[BandPoint, ...]:
    """Give the 95 % confidence band of the curve itself, from the covariance of its parameters by the delta method.

    Parameters
    ----------
    concentrations
        Above 0, in the calibrators' unit.
    """
    curve = curve_of(record)
    covariance = np.array([[record.covariance[one][other] for other in curve.names] for one in curve.names])
    jacobian = curve.jacobian(concentrations)
    variance = np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian)
    half = float(student.ppf(0.975, max(1, record.degrees_of_freedom))) * np.sqrt(np.maximum(variance, 0.0))
    response = curve.response(concentrations)
    middle = curve.scale(response)
    low, high = middle - half, middle + half
    if record.model == "loglog":  # fitted on logarithms
        low, high = 10.0**low, 10.0**high
    return tuple(
        BandPoint(concentration=float(x), response=float(y), lower=float(down), upper=float(up))
        for x, y, down, up in zip(concentrations, response, low, high, strict=True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePicture:
    """One analyte's curve with the wells that are read from it.

    Attributes
    ----------
    wells
        Of this analyte.
    """

    record: CurveRecord
    wells: Sequence[WellRecord]

    @property
    def x_axis(self) -> Axis:
        """Concentrations of all that is drawn."""
        found = [level.nominal for level in self.record.calibrators if level.nominal > 0]
        low, high = 0.7 * min(found), 1.4 * max(found)
        read = [at for well in self._on_curve(WellRole.SAMPLE, WellRole.CONTROL) if (at := _undiluted(well)) is not None]
        within = [at for at in read if 0.05 * low <= at <= 20 * high]
        return log_axis(min([low, *(0.8 * at for at in within)]), max([high, *(1.25 * at for at in within)]), "")

    def calibration(self) -> Markup:
        """Draw the curve with its bands, calibrators, controls and specimens over a logarithm of concentration."""
        record = self.record
        x_axis = self.x_axis
        drawing = Drawing(560, 430, f"Calibration curve of {record.analyte}")
        fine = self._fine(x_axis)
        confidence = curve_band(record, fine)
        frame = Frame(
            left=54,
            top=14,
            width=494,
            height=366,
            x=Axis(low=x_axis.low, high=x_axis.high, label=f"concentration, {record.unit}", ticks=x_axis.ticks, is_log=True),
            y=self._y_axis(confidence),
            inset=_ZERO_ROOM if self._zero is not None else 0.0,
        )
        self._outside_range(drawing, frame)
        drawing.axes(frame)
        _area(drawing, frame, [point for point in record.band if x_axis.low <= point.concentration <= x_axis.high], "band-well")
        _area(drawing, frame, confidence, "band-curve")
        drawing.path((frame.at(point.concentration, point.response) for point in confidence), "curve")
        for well in self._on_curve(WellRole.SAMPLE):
            drawing.circle(frame.at(_undiluted(well) or 0.0, well.response or 0.0), 3.2, "mark-sample", title=well_words(well))
        for well in self._on_curve(WellRole.CONTROL):
            drawing.diamond(frame.at(_undiluted(well) or 0.0, well.response or 0.0), 5, "mark-control", title=well_words(well))
        self._draw_calibrators(drawing, frame)
        return drawing.markup()

    def residuals(self) -> Markup:
        """Draw how far calibrators lie off the curve, in percent of it, over the same axis."""
        x_axis = self.x_axis
        curve = curve_of(self.record)
        points = []
        for level, response in self._calibrator_points():
            fitted = float(curve.response(np.array([level.nominal]))[0])
            if np.isfinite(fitted) and fitted != 0:
                points.append((level, 100.0 * (response - fitted) / abs(fitted)))
        fine = self.record.band or curve_band(self.record, self._fine(x_axis))
        band = [
            BandPoint(
                concentration=point.concentration,
                response=0.0,
                lower=100.0 * (point.lower - point.response) / abs(point.response),
                upper=100.0 * (point.upper - point.response) / abs(point.response),
            )
            for point in fine
            if point.response and x_axis.low <= point.concentration <= x_axis.high
        ]
        reach = max([10.0, *(1.2 * abs(value) for _, value in points)])
        drawing = Drawing(560, 190, f"Residuals of {self.record.analyte}")
        frame = Frame(
            left=54,
            top=10,
            width=494,
            height=130,
            x=Axis(
                low=x_axis.low, high=x_axis.high, label=f"concentration, {self.record.unit}", ticks=x_axis.ticks, is_log=True
            ),
            y=linear_axis(-reach, reach, "off the curve, %", wanted=4),
            inset=_ZERO_ROOM if self._zero is not None else 0.0,
        )
        drawing.axes(frame)
        _area(drawing, frame, band, "band-well")
        drawing.line((frame.left, frame.at_y(0)), (frame.right, frame.at_y(0)), "curve")
        self._zero_tick(drawing, frame)
        for level, value in points:
            told = f"{short(level.nominal)} {self.record.unit}: {value:+.1f} %"
            place = (self._place(frame, level.nominal), frame.at_y(value))
            drawing.circle(place, 3.6, "mark-calibrator", title=told)
        return drawing.markup()

    @property
    def _zero(self) -> CalibratorRecord | None:
        return next((level for level in self.record.calibrators if level.nominal == 0), None)

    def _fine(self, axis: Axis) -> NDArray[np.float64]:
        return np.geomspace(axis.low, axis.high, _CURVE_POINTS)

    def _y_axis(self, confidence: Sequence[BandPoint]) -> Axis:
        seen = [response for _, response in self._calibrator_points()]
        seen += [well.response for well in self._on_curve(WellRole.SAMPLE, WellRole.CONTROL) if well.response is not None]
        seen += [point.response for point in confidence if np.isfinite(point.response)]
        if self.record.model == "loglog":
            above = [value for value in seen if value > 0]
            return log_axis(0.8 * min(above), 1.25 * max(above), "response")
        low, high = min([0.0, *seen]), max(seen)
        return linear_axis(low - 0.02 * (high - low), high + 0.06 * (high - low), "response")

    def _on_curve(self, *roles: WellRole) -> list[WellRecord]:
        return [
            well
            for well in self.wells
            if well.role in roles and not well.flag and well.response is not None and _undiluted(well) is not None
        ]

    def _calibrator_points(self) -> list[tuple[CalibratorRecord, float]]:
        """Wells of each level where they can be told by their mean; else the level's mean."""
        points: list[tuple[CalibratorRecord, float]] = []
        for level in self.record.calibrators:
            if level.mean_response is not None:
                points += [(level, response) for response in self._wells_of(level)]
        return points

    def _wells_of(self, level: CalibratorRecord) -> list[float]:
        mean = level.mean_response
        assert mean is not None
        by_slot: dict[str, list[float]] = {}
        for well in self.wells:
            if well.role == WellRole.CALIBRATOR and not well.flag and well.response is not None:
                by_slot.setdefault(well.slot, []).append(well.response)
        found = [
            responses
            for responses in by_slot.values()
            if len(responses) == level.n_wells and abs(sum(responses) / len(responses) - mean) <= _SAME * max(1.0, abs(mean))
        ]
        return found[0] if len(found) == 1 else [mean]

    def _place(self, frame: Frame, nominal: float) -> float:
        return frame.at_x(nominal) if nominal > 0 else frame.left + 0.4 * _ZERO_ROOM

    def _zero_tick(self, drawing: Drawing, frame: Frame) -> None:
        """Mark the zero calibrator's place, and that the axis is broken beside it."""
        if self._zero is None:
            return
        x, y = self._place(frame, 0.0), frame.bottom
        drawing.line((x, y), (x, y + 5), "axis")
        drawing.text((x, y + 17), "0", "tick")
        for shift in (-2.0, 2.0):
            middle = frame.left + 0.82 * _ZERO_ROOM + shift
            drawing.line((middle - 2, y + 5), (middle + 2, y - 5), "axis")

    def _draw_calibrators(self, drawing: Drawing, frame: Frame) -> None:
        self._zero_tick(drawing, frame)
        for level, response in self._calibrator_points():
            told = f"Calibrator {short(level.nominal)} {self.record.unit}: response {number(response)}"
            drawing.circle((self._place(frame, level.nominal), frame.at_y(response)), 3.6, "mark-calibrator", title=told)

    def _outside_range(self, drawing: Drawing, frame: Frame) -> None:
        """Shade where no number is reported."""
        start, end = frame.left, frame.right
        record = self.record
        for limit, name, is_lower in ((record.lloq, "LLOQ", True), (record.uloq, "ULOQ", False)):
            if not frame.x.low < limit < frame.x.high:
                continue
            x = frame.at_x(limit)
            left, right = (start, x) if is_lower else (x, end)
            drawing.rectangle((left, frame.top), (right - left, frame.height), "outside")
            drawing.line((x, frame.top), (x, frame.bottom), "limit")
            drawing.text((x + (4 if is_lower else -4), frame.top + 11), name, "tick", anchor="start" if is_lower else "end")


def _undiluted(well: WellRecord) -> float | None:
    """Concentration in the well itself; None where the curve gives none above 0."""
    if well.concentration is None or well.concentration <= 0:
        return None
    return well.concentration / well.dilution_factor


def _area(drawing: Drawing, frame: Frame, points: Sequence[BandPoint], kind: str) -> None:
    usable = [point for point in points if np.isfinite(point.lower) and np.isfinite(point.upper)]
    upper = [frame.at(point.concentration, point.upper) for point in usable]
    lower = [frame.at(point.concentration, point.lower) for point in usable]
    drawing.path((*upper, *reversed(lower)), kind, closed=True)


def recoveries(record: CurveRecord, rules: AcceptanceRules) -> Markup:
    """Draw how much of each calibrator the curve gives back, between the deviations allowed; anchors out of range are pale."""
    levels = [level for level in record.calibrators if level.nominal > 0]
    judged = [level.nominal for level in levels if record.lloq * (1 - 1e-6) <= level.nominal <= record.uloq * (1 + 1e-6)]
    values = [level.recovery_percent for level in levels if level.recovery_percent is not None]
    low = max(0.0, min([65.0, *(value - 6 for value in values)]))
    high = min(200.0, max([135.0, *(value + 8 for value in values)]))
    drawing = Drawing(560, 226, f"Recovery of the calibrators of {record.analyte}")
    ticks = tuple(Tick(at=float(at), label=str(at)) for at in range(0, 201, 20) if low <= at <= high)
    frame = Frame(
        left=54,
        top=16,
        width=494,
        height=160,
        x=Axis(low=0, high=len(levels) or 1, label=f"nominal, {record.unit}", ticks=()),
        y=Axis(low=low, high=high, label="recovery, %", ticks=ticks),
    )
    drawing.axes(frame)
    step = frame.width / (len(levels) or 1)
    for index, level in enumerate(levels):
        middle = frame.left + (index + 0.5) * step
        allowed = allowed_deviation(level.nominal, judged, rules)
        for side in (-1, 1) if allowed is not None else ():
            y = frame.at_y(100.0 + side * (allowed or 0.0))
            drawing.line((middle - 0.46 * step, y), (middle + 0.46 * step, y), "limit")
        drawing.text((middle, frame.bottom + 15), short(level.nominal), "tick")
        if level.recovery_percent is None:
            drawing.text((middle, frame.at_y(100) - 5), "none", "tick")
            continue
        value = level.recovery_percent
        is_off = allowed is not None and abs(value - 100.0) > allowed
        kind = "bar-outside" if allowed is None else "bar-off" if is_off else "bar"
        ends = sorted((frame.at_y(100), frame.at_y(value)))
        wide = min(30.0, 0.55 * step)
        told = f"{short(level.nominal)} {record.unit}: {value:.1f} %"
        drawing.rectangle((middle - wide / 2, ends[0]), (wide, max(1.5, ends[1] - ends[0])), kind, title=told)
        y = ends[0] - 5 if value >= 100 else ends[1] + 12
        drawing.text((middle, y), f"{value:.0f}" + (" !" if is_off else ""), "value-off" if is_off else "value")
    drawing.line((frame.left, frame.at_y(100)), (frame.right, frame.at_y(100)), "curve")
    return drawing.markup()


def allowed_deviation(nominal: float, judged: Sequence[float], rules: AcceptanceRules) -> float | None:
    """Percent a calibrator may be off: more at the two ends of the range; None for anchors outside it, which are not judged."""
    if nominal not in judged:
        return None
    at_limits = nominal in (min(judged), max(judged))
    return rules.calibrator_deviation_at_limits_percent if at_limits else rules.calibrator_deviation_percent


def control_place(control: ControlRecord) -> Markup:
    """Draw a control's wells between its limits."""
    found = [control.lower, control.upper, *control.concentrations]
    span = (max(found) - min(found)) or 1.0
    axis = Axis(low=min(found) - 0.12 * span, high=max(found) + 0.12 * span, label="", ticks=())
    drawing = Drawing(150, 22, f"Control {control.slot} within its limits", kind="figure strip")
    left, right = 6 + 138 * axis.share(control.lower), 6 + 138 * axis.share(control.upper)
    drawing.rectangle((left, 6), (right - left, 10), "allowed")
    if control.nominal is not None:
        middle = 6 + 138 * axis.share(control.nominal)
        drawing.line((middle, 4), (middle, 18), "axis")
    for value in control.concentrations:
        drawing.diamond((6 + 138 * axis.share(value), 11), 4.5, "mark-control", title=number(value))
    return drawing.markup()


def result_place(result: Result, axis: Axis) -> Markup:
    """Draw a result with its interval on an axis common to all of its analyte; a bound is an arrow."""
    drawing = Drawing(170, 22, f"{result.accession_id} on the range", kind="figure strip")

    def at(value: float) -> float:
        # Room at both ends for the arrow of a bound.
        return 34 + 102 * axis.share(value)

    drawing.line((6, 11), (164, 11), "grid")
    quantity = result.quantity
    if quantity is None:
        return drawing.markup()
    x = at(quantity.value)
    if quantity.comparator:
        side = -1 if quantity.comparator == "<" else 1
        drawing.line((x, 11), (x + side * 22, 11), "whisker")
        drawing.path(((x + side * 22, 7), (x + side * 28, 11), (x + side * 22, 15)), "whisker")
        drawing.line((x, 6), (x, 16), "whisker")
        return drawing.markup()
    if result.interval is not None:
        low = 6.0 if result.interval.lower is None else at(result.interval.lower)
        high = 164.0 if result.interval.upper is None else at(result.interval.upper)
        drawing.line((low, 11), (high, 11), "whisker")
    drawing.circle((x, 11), 3.4, "mark-result")
    return drawing.markup()
