"""How uncertain a frequency or a ratio of counts is.

Knows counting statistics and how a cut that could lie elsewhere adds to them. Must not know measurands or findings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, sqrt

import numpy as np

from biomarkers.cytometry.cuts import Column, Cut, Mask
from biomarkers.cytometry.ellipses import moved_counts
from biomarkers.cytometry.gated import GatedPopulation, Gating
from biomarkers.cytometry.panel import BooleanGate, GateTemplate, ingredients_of
from biomarkers.results import Interval

NORMAL_95 = 1.959963984540054
"""Two-sided 95 % point of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One step of a frequency: a population within its parent.

    Attributes
    ----------
    count, parent_count
        Events.
    cut_variance
        Variance of count / parent_count that comes from where the cuts lie.
    """

    count: int
    parent_count: int
    cut_variance: float


def spread_of(gated: Gating, name: str) -> Spread:
    """Count a population within its parent and see how the count moves when each gate is drawn again."""
    population = gated.populations[name]
    parent = gated.parent_membership(name)
    parent_count = int(np.count_nonzero(parent))
    if parent_count == 0:
        return Spread(count=population.count, parent_count=0, cut_variance=0.0)
    variance = _gate_variance(gated, name, parent)
    template, above = gated.panel.population(name), gated.panel.population(population.parent)
    if template is not None:
        own = {name, *gated.panel.ancestors(name)}
        for part in _parts(gated, template, parent):
            if above is not None and part.name in ingredients_of(above):
                # What leaves the part leaves the parent too, so that numerator and denominator move together.
                everywhere = gated.root_membership
                share = population.count / parent_count
                variance += (1.0 - share) ** 2 * _lineage_variance(gated, part.name, everywhere, own)
            else:
                variance += _lineage_variance(gated, part.name, part.within, own)
    return Spread(count=population.count, parent_count=parent_count, cut_variance=variance / parent_count**2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """A population another is combined of, and the events for which it alone decides."""

    name: str
    within: Mask


def _parts(gated: Gating, template: GateTemplate, parent: Mask) -> Iterator[_Part]:
    members = gated.membership
    gates = [gate for gate in template.gates if isinstance(gate, BooleanGate)]
    own = _kept_by_gates(gated, template.name, parent)
    for gate in gates:
        others = own & np.logical_and.reduce([_combined(members, other) for other in gates if other is not gate] or [own])
        for name in gate.all_of:
            rest = gate.model_copy(update={"all_of": tuple(one for one in gate.all_of if one != name)})
            yield _Part(name=name, within=others & _combined(members, rest))
        for name in gate.none_of:
            rest = gate.model_copy(update={"none_of": tuple(one for one in gate.none_of if one != name)})
            yield _Part(name=name, within=others & _combined(members, rest))
        for name in gate.any_of:
            rest = gate.model_copy(update={"any_of": ()})
            elsewhere = np.logical_or.reduce([members[one] for one in gate.any_of if one != name] or [~own & own])
            yield _Part(name=name, within=others & _combined(members, rest) & ~elsewhere)


def _combined(members: Mapping[str, Mask], gate: BooleanGate) -> Mask:
    size = next(iter(members.values())).shape
    mask = np.ones(size, dtype=np.bool_)
    for name in gate.all_of:
        mask &= members[name]
    if gate.any_of:
        mask &= np.logical_or.reduce([members[name] for name in gate.any_of])
    for name in gate.none_of:
        mask &= ~members[name]
    return mask


def _lineage_variance(gated: Gating, name: str, within: Mask, known: Collection[str]) -> float:
    """Variance of a population's count among some events, from its own gates and those above it that are not ``known``."""
    variance = 0.0
    kept = within
    for step in (name, *gated.panel.ancestors(name)):
        if step in known:
            break
        variance += _gate_variance(gated, step, kept & gated.parent_membership(step))
        kept = _kept_by_gates(gated, step, kept)
    return variance


def _kept_by_gates(gated: Gating, name: str, among: Mask) -> Mask:
    return _kept_by(gated, gated.populations[name], among)


def _kept_by(gated: Gating, population: GatedPopulation, among: Mask) -> Mask:
    kept = among.copy()
    for cut in population.cuts:
        if cut.marker in gated.scaled:
            kept &= cut.keeps(gated.scaled[cut.marker])
    for shape in population.ellipses:
        kept &= shape.keeps(*(gated.scaled[marker] for marker in shape.markers))
    return kept


def _gate_variance(gated: Gating, name: str, among: Mask) -> float:
    """Variance of a population's count among some events when each of its own gates is drawn again."""
    population = gated.populations[name]
    cuts = [cut for cut in population.cuts if cut.marker in gated.scaled]
    variance = 0.0
    for number, cut in enumerate(cuts):
        others = replace(population, cuts=(*cuts[:number], *cuts[number + 1 :]))
        column = gated.scaled[cut.marker]
        kept = _kept_by(gated, others, among & _near(cut, column))
        variance += _cut_variance(cut, column[kept])
    for number, shape in enumerate(population.ellipses):
        others = replace(population, ellipses=(*population.ellipses[:number], *population.ellipses[number + 1 :]))
        inside = _kept_by(gated, others, among)
        x, y = (gated.scaled[marker][inside] for marker in shape.markers)
        variance += float(np.var(moved_counts(shape, x, y), ddof=1))
    return variance


def _near(cut: Cut, column: Column) -> Mask:
    """Tell which events could change sides: those between the outermost places the cut may have."""
    places = [cut.value - cut.resolution, cut.value + cut.resolution, *cut.draws]
    low, high = np.float32(min(places)), np.float32(max(places))
    near: Mask = (column > low) & (column <= high)
    return near


def _cut_variance(cut: Cut, values: Column) -> float:
    """Variance of a count when one cut is drawn again, and when it lies anywhere within its resolution."""
    ordered = np.sort(values)
    variance = 0.0
    if cut.draws.size > 1:
        variance += float(np.var(np.searchsorted(ordered, cut.draws.astype(np.float32), side="right"), ddof=1))
    # A cut that is equally likely anywhere in a stretch has a twelfth of the stretch's square as variance.
    ends = np.array([cut.value - cut.resolution, cut.value + cut.resolution], dtype=np.float32)
    first, last = np.searchsorted(ordered, ends, side="right")
    return variance + float(last - first) ** 2 / 12.0


def frequency_interval(steps: Sequence[Spread]) -> Interval:
    """Give 95 % limits, in percent, of a population's frequency in one above it.

    Wilson's interval at the number of events a plain binomial frequency of the same variance would have: with certain cuts it
    is Wilson's own, and it never leaves 0 to 100.

    Examples
    --------
    >>> limits = frequency_interval([Spread(count=50, parent_count=100, cut_variance=0.0)])
    >>> round(limits.lower or 0.0, 1), round(limits.upper or 0.0, 1)
    (40.4, 59.6)
    """
    top, bottom = steps[0].count, steps[-1].parent_count
    if bottom == 0:
        raise ValueError("a frequency needs events in its denominator")
    share = top / bottom
    cut_variance = share**2 * relative_variance(steps)
    counting = share * (1 - share) / bottom
    effective = bottom * counting / (counting + cut_variance) if counting > 0 else float(bottom)
    z2 = NORMAL_95**2
    centre = (share + z2 / (2 * effective)) / (1 + z2 / effective)
    half = NORMAL_95 / (1 + z2 / effective) * sqrt(share * (1 - share) / effective + z2 / (4 * effective**2))
    return Interval(lower=100.0 * max(0.0, centre - half), upper=100.0 * min(1.0, centre + half))


def ratio_interval(top: Sequence[Spread], bottom: Sequence[Spread], factor: float = 1.0) -> Interval:
    """Give 95 % limits of the ratio of two counts, on the logarithm: variance 1/a + 1/b and what the cuts add.

    Parameters
    ----------
    top, bottom
        Steps from each population up to the one both lie in; their first counts are the ratio's.
    factor
        What the ratio is multiplied by: 100 where it is given in percent.
    """
    above, below = _count(top), _count(bottom)
    variance = 1 / above + 1 / below + relative_variance((*top, *bottom))
    half = NORMAL_95 * sqrt(variance)
    middle = log(above / below)
    return Interval(lower=factor * exp(middle - half), upper=factor * exp(middle + half))


def relative_variance(steps: Sequence[Spread]) -> float:
    """Variance that the cuts of several steps add to the logarithm of the product of their frequencies."""
    return sum(_relative_cut_variance(step) for step in steps)


def _count(steps: Sequence[Spread]) -> int:
    if not steps or steps[0].count == 0:
        raise ValueError("a ratio needs events in both populations")
    return steps[0].count


def _relative_cut_variance(step: Spread) -> float:
    return step.cut_variance * step.parent_count**2 / step.count**2 if step.count else 0.0
