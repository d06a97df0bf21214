"""A strategy of gates: which shape on which parent, with the matrices and scales its numbers refer to.

Knows that gates form a tree and that references must lead somewhere. Must not know events or how a strategy is written down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.gate_shapes import EMBEDDED, UNCOMPENSATED, Combination, Dimension, Ellipsoid, Polygon, Shape
from biomarkers.cytometry.gating_scales import Scale
from biomarkers.errors import Fault, GatingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One population and the shape that keeps it.

    Attributes
    ----------
    gate_id
        Unique in its strategy.
    name
        As people call the population; may be used again below another parent.
    parent
        Id of the gate whose events it looks at; None for all events.
    """

    gate_id: str
    name: str
    parent: str | None
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpilloverMatrix:
    """Light of each fluorochrome in each detector, as a strategy brings it along.

    Attributes
    ----------
    fluorochromes, detectors
        Names of rows and columns; more detectors than fluorochromes is spectral data, undone by least squares.
    coefficients
        Shape (fluorochromes, detectors).
    is_inverted
        The coefficients undo spillover already.
    """

    fluorochromes: tuple[str, ...]
    detectors: tuple[str, ...]
    coefficients: npt.NDArray[np.float64]
    is_inverted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Gating-ML's fratio: ``factor`` x (numerator - ``numerator_offset``) / (denominator - ``denominator_offset``)."""

    numerator: str
    denominator: str
    factor: float
    numerator_offset: float
    denominator_offset: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strategy:
    """Gates in an order in which each follows what it refers to; made by :func:`assemble`."""

    gates: tuple[Gate, ...]
    scales: Mapping[str, Scale] = field(default_factory=dict)
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    matrices: Mapping[str, SpilloverMatrix] = field(default_factory=dict)

    def gate(self, gate_id: str) -> Gate:
        """Return the gate of that id."""
        return next(gate for gate in self.gates if gate.gate_id == gate_id)

    def path(self, gate_id: str) -> tuple[str, ...]:
        """Return the names from the topmost gate down to the one named."""
        by_id = {gate.gate_id: gate for gate in self.gates}
        names: list[str] = []
        current: str | None = gate_id
        while current is not None:
            names.append(by_id[current].name)
            current = by_id[current].parent
        return tuple(reversed(names))


def assemble(
    gates: Sequence[Gate],
    *,
    scales: Mapping[str, Scale] | None = None,
    ratios: Mapping[str, Ratio] | None = None,
    matrices: Mapping[str, SpilloverMatrix] | None = None,
    where: str = "",
) -> Strategy:
    """Check a strategy and put its gates in order.

    Raises
    ------
    GatingError
        Ids that are used twice, references that lead nowhere or in a circle, shapes without a size; all of them at once.
    """
    strategy = Strategy(gates=tuple(gates), scales=scales or {}, ratios=ratios or {}, matrices=matrices or {})
    faults = [
        Fault(where=f"{where}Gate '{name}'.", what=what, remedy="Correct the gate in the software it was drawn with.")
        for name, what in (*_doubled(strategy), *_dangling(strategy), *_impossible(strategy))
    ]
    if faults:
        raise GatingError.gathered(faults)
    ordered = _ordered(strategy)
    if len(ordered) < len(strategy.gates):
        stuck = sorted({gate.name for gate in strategy.gates} - {gate.name for gate in ordered})
        raise GatingError(
            what=f"Gates refer to each other in a circle: {', '.join(stuck[:10])}.",
            where=where,
            remedy="Let each gate refer to gates above it only.",
        )
    return Strategy(gates=ordered, scales=strategy.scales, ratios=strategy.ratios, matrices=strategy.matrices)


def dimensions_of(shape: Shape) -> tuple[Dimension, ...]:
    """Name the axes a shape lies on."""
    return () if isinstance(shape, Combination) else shape.dimensions


def refers_to(gate: Gate) -> Iterator[str]:
    """Name the gates that must be known before this one."""
    if gate.parent is not None:
        yield gate.parent
    if isinstance(gate.shape, Combination):
        yield from (reference.gate for reference in gate.shape.references)


def _doubled(strategy: Strategy) -> Iterator[tuple[str, str]]:
    for gate_id, count in Counter(gate.gate_id for gate in strategy.gates).items():
        if count > 1:
            yield gate_id, f"The id '{gate_id}' is used {count} times."


def _dangling(strategy: Strategy) -> Iterator[tuple[str, str]]:
    known = {gate.gate_id for gate in strategy.gates}
    for gate in strategy.gates:
        yield from (
            (gate.name, f"It refers to gate '{other}', which is not there.") for other in refers_to(gate) if other not in known
        )
        for axis in dimensions_of(gate.shape):
            if axis.scale and axis.scale not in strategy.scales:
                yield gate.name, f"It refers to transformation '{axis.scale}', which is not there."
            if axis.ratio and axis.ratio not in strategy.ratios:
                yield gate.name, f"It refers to ratio '{axis.ratio}', which is not there."
            if axis.compensation not in {UNCOMPENSATED, EMBEDDED, *strategy.matrices}:
                yield gate.name, f"It refers to compensation '{axis.compensation}', which is not there."


def _impossible(strategy: Strategy) -> Iterator[tuple[str, str]]:
    for gate in strategy.gates:
        match gate.shape:
            case Polygon(vertices=vertices) if len(vertices) < 3:
                yield gate.name, f"A polygon needs three corners; it has {len(vertices)}."
            case Ellipsoid(dimensions=axes, mean=mean, covariance=covariance):
                if len(axes) < 2 or len(mean) != len(axes) or [len(row) for row in covariance] != [len(axes)] * len(axes):
                    yield gate.name, "An ellipsoid needs as many coordinates, rows and columns as axes, and at least two axes."
                elif not _is_invertible(covariance):
                    yield gate.name, "The ellipsoid's covariance matrix describes no ellipsoid."
            case Combination(operation=operation, references=references):
                if not references or (operation == "not" and len(references) != 1):
                    yield gate.name, f"'{operation}' of {len(references)} gates has no meaning."
            case _:
                pass


def _is_invertible(covariance: Iterable[Iterable[float]]) -> bool:
    matrix = np.array([list(row) for row in covariance])
    with np.errstate(all="ignore"):
        return bool(np.isfinite(matrix).all()) and bool(np.linalg.cond(matrix) < 1e14)


def _ordered(strategy: Strategy) -> tuple[Gate, ...]:
    """Put each gate behind what it refers to, otherwise keeping the order; gates in a circle are left out."""
    waiting = list(strategy.gates)
    known: set[str] = set()
    ordered: list[Gate] = []
    while True:
        still: list[Gate] = []
        for gate in waiting:
            if all(other in known for other in refers_to(gate)):
                known.add(gate.gate_id)
                ordered.append(gate)
            else:
                still.append(gate)
        if not still or len(still) == len(waiting):
            return tuple(ordered)
        waiting = still
