"""An acquisition's events as the axes of gates: chosen, compensated and brought to scale, each once.

Knows how an axis is computed, quickly for all events and exactly for some. Must not know shapes or populations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.gate_shapes import EMBEDDED, UNCOMPENSATED, Dimension
from biomarkers.cytometry.gating_scales import Bounded, FlowJoBiex, Hyperlog, ParametricLogicle, Scale
from biomarkers.cytometry.strategy import Ratio, SpilloverMatrix, Strategy
from biomarkers.cytometry.transforms import TABLE_PAYS_FROM, table_of
from biomarkers.errors import Fault, GatingError

Floats64 = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.intp]

STRIP = 1 << 13
"""Events whose columns are computed at a time, so that they stay in the processor's cache from step to step."""

ROUNDING = 2.0**-22
"""Relative error of single precision, four times over: of a column and of the border it is compared with."""

WORST_CONDITION = 1e10
"""Condition number of a matrix beyond which undoing it leaves fewer digits than the events have."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Light:
    """How an axis's linear values come from the events: a channel, or a sum of detectors with ``weights``."""

    columns: tuple[int, ...]
    weights: Floats64 | None = None

    def of(self, events: Floats32) -> Floats64:
        if self.weights is None:
            return events[:, self.columns[0]].astype(np.float64)
        picked: Floats64 = events[:, list(self.columns)].astype(np.float64) @ self.weights
        return picked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """How an axis is computed: light, or a ratio of two lights, then a scale."""

    light: _Light
    below: _Light | None
    ratio: Ratio | None
    scale: Scale | None

    def linear(self, events: Floats32) -> Floats64:
        values = self.light.of(events)
        return self.ratio_of(values, self.below.of(events)) if self.below is not None else values

    def ratio_of(self, above: Floats64, below: Floats64) -> Floats64:
        assert self.ratio is not None
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            quotient = (above - self.ratio.numerator_offset) / (below - self.ratio.denominator_offset)
            return self.ratio.factor * quotient

    def exact(self, events: Floats32) -> Floats64:
        values = self.linear(events)
        return values if self.scale is None else self.scale.exact(values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Group:
    """Axes of one matrix: how each light is undone, and which rows of the result go to which scale and axes."""

    weights: Floats64
    scaled: tuple[tuple[Scale | None, tuple[Dimension, ...], list[int] | slice], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnPlan:
    """How all axes of a strategy come from an acquisition's events; made by :func:`plan_columns`."""

    events: Floats32
    sources: Mapping[Dimension, _Source]
    compensated: Mapping[tuple[int, ...], _Group]
    others: tuple[Dimension, ...]
    by_table: bool
    errors: Mapping[Dimension, float]

    def buffer(self, count: int) -> Floats32:
        """Return memory for the columns of so many events, to be used again for block after block."""
        return np.empty((len(self.sources), count), dtype=np.float32)

    def block(self, start: int, stop: int, buffer: Floats32) -> GateColumns:
        """Compute every axis once for some of the events; the columns live in the buffer until the next block."""
        events = self.events[start:stop]
        columns = {axis: buffer[row, : stop - start] for row, axis in enumerate(self.sources)}
        for first in range(0, events.shape[0], STRIP):
            strip = events[first : first + STRIP]
            for detectors, group in self.compensated.items():
                undone = group.weights @ strip[:, list(detectors)].astype(np.float64).T
                for scale, axes, rows in group.scaled:
                    scaled = _scaled(scale, undone[rows], by_table=self.by_table)
                    for axis, row in zip(axes, scaled, strict=True):
                        columns[axis][first : first + STRIP] = row
            for axis in self.others:
                source = self.sources[axis]
                column = _scaled(source.scale, source.linear(strip), by_table=self.by_table)
                columns[axis][first : first + STRIP] = column
        return GateColumns(plan=self, events=events, columns=columns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateColumns:
    """All axes of a strategy for some events of an acquisition."""

    plan: ColumnPlan
    events: Floats32
    columns: Mapping[Dimension, Floats32]

    @property
    def event_count(self) -> int:
        """Number of events."""
        return int(self.events.shape[0])

    def quick(self, axis: Dimension, rows: Rows | None) -> Floats32:
        """Return single-precision values, within :meth:`margin` of the exact ones; of some events, or of all."""
        return self.columns[axis] if rows is None else self.columns[axis][rows]

    def exact(self, axis: Dimension, rows: Rows) -> Floats64:
        """Compute values of some events again by the definitions, in double precision."""
        return self.plan.sources[axis].exact(self.events[rows])

    def is_exact(self, axis: Dimension) -> bool:
        """Whether quick values are the exact ones: channels as acquired, without a scale."""
        source = self.plan.sources[axis]
        return source.scale is None and source.below is None and source.light.weights is None

    def margin(self, axis: Dimension, border: float) -> float:
        """How far a quick value near a border may lie from the exact one, the border's own rounding included."""
        return self.plan.errors[axis] + ROUNDING * abs(border)


def plan_columns(acquisition: Acquisition, strategy: Strategy, axes: Sequence[Dimension]) -> ColumnPlan:
    """Find out where every axis comes from.

    Raises
    ------
    GatingError
        Channels the file does not have, matrices that cannot be undone; all of them at once.
    """
    sources = _sources(acquisition, strategy, axes)
    together: dict[tuple[int, ...], list[Dimension]] = {}
    for axis, source in sources.items():
        if source.light.weights is not None and source.below is None:
            together.setdefault(source.light.columns, []).append(axis)
    by_table = acquisition.event_count >= TABLE_PAYS_FROM
    return ColumnPlan(
        events=acquisition.events,
        sources=sources,
        compensated={detectors: _group(group, sources) for detectors, group in together.items()},
        others=tuple(axis for axis in sources if not any(axis in group for group in together.values())),
        by_table=by_table,
        errors={axis: _table_error(source.scale) if by_table else 0.0 for axis, source in sources.items()},
    )


def _group(axes: Sequence[Dimension], sources: Mapping[Dimension, _Source]) -> _Group:
    """Put the axes of one matrix together: those of one light are undone once, those of one scale scaled at once."""
    lights = list({id(sources[axis].light): sources[axis].light for axis in axes}.values())
    places = {id(light): row for row, light in enumerate(lights)}
    by_scale: dict[Scale | None, list[Dimension]] = {}
    for axis in axes:
        by_scale.setdefault(sources[axis].scale, []).append(axis)
    return _Group(
        weights=np.ascontiguousarray(np.array([light.weights for light in lights])),
        scaled=tuple(
            (scale, tuple(alike), _rows([places[id(sources[axis].light)] for axis in alike]))
            for scale, alike in by_scale.items()
        ),
    )


def _rows(rows: list[int]) -> list[int] | slice:
    """Return neighbouring rows as a slice, which needs no copy."""
    return slice(rows[0], rows[-1] + 1) if rows == list(range(rows[0], rows[-1] + 1)) else rows


def _scaled(scale: Scale | None, values: Floats64, *, by_table: bool) -> Floats64:
    if scale is None:
        return values
    tabulated = _tabulated(scale)
    if tabulated is None or not by_table:
        return scale.exact(values)
    scaled = table_of(tabulated).look_up(values, tabulated.exact)
    return np.clip(scaled, scale.low, scale.high) if isinstance(scale, Bounded) else scaled


def _table_error(scale: Scale | None) -> float:
    tabulated = _tabulated(scale)
    return 0.0 if tabulated is None else table_of(tabulated).error


def _tabulated(scale: Scale | None) -> ParametricLogicle | Hyperlog | FlowJoBiex | None:
    """Return the scale whose table serves; None where the definition itself is quick."""
    inner = scale.scale if isinstance(scale, Bounded) else scale
    return inner if isinstance(inner, ParametricLogicle | Hyperlog | FlowJoBiex) else None


def _sources(acquisition: Acquisition, strategy: Strategy, axes: Sequence[Dimension]) -> dict[Dimension, _Source]:
    lights = _Lights(acquisition=acquisition, strategy=strategy)
    sources: dict[Dimension, _Source] = {}
    faults: list[Fault] = []
    for axis in axes:
        try:
            ratio = strategy.ratios[axis.ratio] if axis.ratio else None
            sources[axis] = _Source(
                light=lights.light(ratio.numerator if ratio else axis.channel, axis.compensation),
                below=lights.light(ratio.denominator, axis.compensation) if ratio else None,
                ratio=ratio,
                scale=strategy.scales[axis.scale] if axis.scale else None,
            )
        except GatingError as error:
            faults.extend(error.faults)
    if faults:
        raise GatingError.gathered(dict.fromkeys(faults))
    return sources


class _Lights:
    """Finds and keeps the lights of an acquisition, so that equal ones are computed once."""

    def __init__(self, *, acquisition: Acquisition, strategy: Strategy) -> None:
        self._acquisition = acquisition
        self._strategy = strategy
        self._found: dict[tuple[str, str], _Light] = {}
        self._undone: dict[str, tuple[tuple[int, ...], Floats64]] = {}

    def light(self, channel: str, compensation: str) -> _Light:
        key = (channel, compensation)
        if key not in self._found:
            self._found[key] = self._compensated(channel, compensation)
        return self._found[key]

    def _compensated(self, channel: str, compensation: str) -> _Light:
        matrix = self._matrix(compensation)
        if matrix is not None:
            row = _row(matrix, channel)
            if row is None:
                column = self._column(channel)
                names = [detector.casefold() for detector in matrix.detectors]
                own = self._acquisition.channels[column].detector.casefold()
                # The name may be the marker's, of a channel that the matrix knows by its detector.
                row = names.index(own) if own in names and len(names) == len(matrix.fluorochromes) else None
            if row is not None:
                columns, weights = self._weights(compensation, matrix)
                return _Light(columns=columns, weights=np.ascontiguousarray(weights[:, row]))
        return _Light(columns=(self._column(channel),))

    def _matrix(self, compensation: str) -> SpilloverMatrix | None:
        if compensation == UNCOMPENSATED:
            return None
        if compensation != EMBEDDED:
            return self._strategy.matrices[compensation]
        own = self._acquisition.spillover
        if own is None:
            return None
        return SpilloverMatrix(fluorochromes=own.detectors, detectors=own.detectors, coefficients=own.matrix)

    def _weights(self, compensation: str, matrix: SpilloverMatrix) -> tuple[tuple[int, ...], Floats64]:
        if compensation not in self._undone:
            columns = tuple(self._column(detector) for detector in matrix.detectors)
            coefficients = matrix.coefficients
            if matrix.is_inverted:
                weights = coefficients
            elif not _can_be_undone(coefficients):
                raise GatingError(
                    what=f"The spillover matrix '{compensation}' cannot be undone: two fluorochromes look the same.",
                    where=f"Acquisition '{self._acquisition.name}'.",
                    remedy="Use the matrix that was computed for these fluorochromes.",
                )
            else:
                is_square = coefficients.shape[0] == coefficients.shape[1]
                inverse = np.linalg.inv(coefficients) if is_square else np.linalg.pinv(coefficients)
                weights = inverse.astype(np.float64)
            self._undone[compensation] = (columns, weights)
        return self._undone[compensation]

    def _column(self, name: str) -> int:
        """Find a channel by detector, by marker, or as FlowJo writes detectors with a slash."""
        channels = self._acquisition.channels
        for spelled in (
            [channel.detector for channel in channels],
            [channel.marker for channel in channels],
            [channel.detector.replace("/", "_") for channel in channels],
            [channel.detector.casefold() for channel in channels],
        ):
            wanted = name.casefold() if spelled == [one.casefold() for one in spelled] else name
            if wanted and wanted in spelled:
                return spelled.index(wanted)
        raise GatingError(
            what=f"The gates look at channel '{name}', which the file does not have.",
            where=f"Acquisition '{self._acquisition.name}'.",
            remedy="Check that the gates were drawn on files of this panel.",
        )


def _row(matrix: SpilloverMatrix, channel: str) -> int | None:
    if channel in matrix.fluorochromes:
        return matrix.fluorochromes.index(channel)
    if channel in matrix.detectors and len(matrix.detectors) == len(matrix.fluorochromes):
        return matrix.detectors.index(channel)
    return None


def _can_be_undone(coefficients: Floats64) -> bool:
    if not np.isfinite(coefficients).all():
        return False
    with np.errstate(all="ignore"):
        return bool(np.linalg.cond(coefficients) < WORST_CONDITION)
