"""A subject's visits of one staining batch gated together, so that a change between visits is biology and not a moved cut.

Knows when cuts of several visits are one cut, and what becomes of the frequencies then. Must not know subjects, files or when
it is run: it is a second step over acquisitions that have results of their own, and gives the same answer whatever the order.

Each visit is gated by itself first. For every gate the visits' cuts are held against each other: the squared differences from
their weighted mean, over what resampling and the density's resolution allow, follow a chi-square distribution if only chance
moved them. If so, the mean becomes the cut of all; if not, the visit that differs most keeps its own cut, with a finding, and
the others are compared again. A visit that has no valley of its own takes the others' cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.cut_records import Place, TubeCuts
from biomarkers.cytometry.cuts import NO_VALLEY_QUALITY
from biomarkers.cytometry.found_cuts import PLACE_SHARE, FoundCut
from biomarkers.cytometry.frequencies import NORMAL_95, Spread, relative_variance, spread_of
from biomarkers.cytometry.gated import Gating, OutsideCut
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import ROOT, Panel, ValleyGate
from biomarkers.cytometry.scales import linear_places
from biomarkers.cytometry.transforms import Transform
from biomarkers.results import Finding, Interval, Severity

DIM_SIGNAL = 1000.0
"""A linear value where scales of different width differ most."""

SHIFT_PROBABILITY = 0.01
"""Probability of cuts so different by chance, below which a visit's cut is said to have shifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointCut:
    """One cut for several visits.

    Attributes
    ----------
    value, draws
        On the compensated linear scale.
    members
        Visits it is the cut of, in alphabetical order.
    shifted
        Visits whose own cut differs from it by more than chance allows, and which keep it.
    probability
        Of the members' own cuts lying so far apart by chance; 1 where only one has a cut of its own.
    frozen
        Whether it was set at an earlier review and not found from these visits.
    lacks_valley
        Whether for some member a reference population decided, because there was no valley.
    """

    population: str
    marker: str
    value: float
    quality: float | None
    draws: tuple[float, ...]
    members: tuple[str, ...]
    shifted: tuple[str, ...]
    probability: float
    frozen: bool
    lacks_valley: bool = False

    def outside(self) -> OutsideCut:
        """Return it in the form in which an acquisition is gated with it."""
        return OutsideCut(
            population=self.population,
            marker=self.marker,
            kind="joint",
            value=self.value,
            quality=self.quality,
            draws=self.draws,
            lacks_valley=self.lacks_valley,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointGating:
    """Several visits, each gated by itself and with the joint cuts.

    Attributes
    ----------
    single, joint
        Gatings by visit.
    findings
        By visit: where its own cut had shifted, and where it took the others'.
    """

    single: Mapping[str, Gating]
    joint: Mapping[str, Gating]
    cuts: tuple[JointCut, ...]
    findings: Mapping[str, tuple[Finding, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyChange:
    """Change of a frequency between two visits, in percentage points, by each visit's own cuts and by the joint ones."""

    single: float
    joint: float
    interval: Interval


def gate_jointly(
    visits: Mapping[str, Acquisition],
    panel: Panel,
    *,
    frozen: Sequence[JointCut] = (),
    controls: Mapping[str, Gating] = MappingProxyType({}),
) -> JointGating:
    """Gate one subject's visits of one staining batch with cuts in common.

    Parameters
    ----------
    visits
        Acquisitions by any name of the visit; the names only order and label.
    frozen
        Joint cuts of an earlier review: they stay where they are, so that a later visit never moves an earlier number.
    controls
        As for :func:`biomarkers.cytometry.gating.gate_acquisition`.
    """
    names = sorted(visits)
    single = {name: gate_acquisition(visits[name], panel, controls=controls) for name in names}
    cuts = joint_cuts(single, frozen=frozen)
    joint = {
        name: gate_acquisition(
            visits[name], panel, outside=[cut.outside() for cut in cuts if name in cut.members], controls=controls
        )
        for name in names
    }
    findings = {name: joint_findings(name, cuts, TubeCuts.of_gating(single[name])) for name in names}
    return JointGating(single=single, joint=joint, cuts=cuts, findings=findings)


def joint_cuts(single: Mapping[str, Gating], *, frozen: Sequence[JointCut] = ()) -> tuple[JointCut, ...]:
    """Find the cuts several visits, each gated by itself, have in common."""
    panel = next((gated.panel for gated in single.values()), None)
    return common_cuts({name: TubeCuts.of_gating(gated) for name, gated in single.items()}, panel=panel, frozen=frozen)


def common_cuts(found: Mapping[str, TubeCuts], *, panel: Panel | None, frozen: Sequence[JointCut] = ()) -> tuple[JointCut, ...]:
    """Find the cuts several visits have in common, from the cuts each found itself; the events are not needed.

    Parameters
    ----------
    panel
        Says which gates take the other visits' cut where a visit has no valley; without a panel all do.
    frozen
        As for :func:`gate_jointly`.
    """
    names = sorted(found)
    held = {(cut.population, cut.marker): cut for cut in frozen}
    places = sorted({place for name in names for place in found[name].cuts})
    cuts = []
    for place in places:
        own = {name: found[name].cuts[place] for name in names if place in found[name].cuts}
        transforms = {name: found[name].transforms[place] for name in own}
        borrows = panel is None or borrows_from(panel, place, "visits")
        if place in held:
            cut: JointCut | None = _frozen(held[place], own, transforms, borrows=borrows)
        else:
            cut = _joined(own, transforms, borrows=borrows)
        if cut is not None:
            cuts.append(cut)
    return tuple(cuts)


def borrows_from(panel: Panel, place: Place, source: str) -> bool:
    """Whether a gate takes a cut from elsewhere, ``"visits"`` or ``"group"``, where it has no valley of its own.

    Gates that look for no valley always share with the subject's other visits, and never with the batch.
    """
    population, marker = place
    template = panel.population(population)
    valleys = [gate for gate in (template.gates if template else ()) if isinstance(gate, ValleyGate) and gate.marker == marker]
    return any(source in gate.borrow for gate in valleys) if valleys else source == "visits"


def frequency_change(gated: JointGating, first: str, second: str, *, population: str, denominator: str) -> FrequencyChange:
    """Give the change of a frequency from one visit to another, with 95 % limits.

    The limits count each visit's events and where its cuts may lie as if the visits' cuts moved independently; with joint cuts
    they move together, so that the limits are, if anything, too wide.
    """
    before, after = (_share(gated.joint[name], population, denominator) for name in (first, second))
    half = 100.0 * NORMAL_95 * sqrt(before.variance + after.variance)
    change = 100.0 * (after.share - before.share)
    by_single = (_share(gated.single[name], population, denominator).share for name in (first, second))
    earlier, later = by_single
    return FrequencyChange(
        single=100.0 * (later - earlier), joint=change, interval=Interval(lower=change - half, upper=change + half)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    share: float
    variance: float


def _share(gated: Gating, population: str, denominator: str) -> _Share:
    steps: list[Spread] = []
    name = population
    while name not in (denominator, ROOT):
        steps.append(spread_of(gated, name))
        name = gated.populations[name].parent
    if name != denominator:
        raise ValueError(f"'{denominator}' does not lie above '{population}'")
    bottom = steps[-1].parent_count
    share = steps[0].count / bottom if bottom else float("nan")
    # Agresti and Coull's two events more of each kind keep the variance of an extreme share from vanishing.
    smoothed = (steps[0].count + 2) / (bottom + 4)
    return _Share(share=share, variance=smoothed * (1 - smoothed) / (bottom + 4) + share**2 * relative_variance(steps))


def _joined(own: Mapping[str, FoundCut], transforms: Mapping[str, Transform], *, borrows: bool) -> JointCut | None:
    """Average the visits' cuts, leaving out one after another that has shifted."""
    trusted = sorted(name for name, cut in own.items() if cut.quality is not None and cut.quality >= NO_VALLEY_QUALITY)
    if len(own) < 2 or not trusted:
        return None
    scale = _common_scale(transforms)
    at = {name: _on_scale(own[name], scale) for name in trusted}
    members, shifted = list(trusted), []
    while True:
        weights = np.array([1.0 / at[name].variance for name in members])
        values = np.array([at[name].value for name in members])
        middle = float(np.average(values, weights=weights))
        squares = weights * (values - middle) ** 2
        probability = _chi_square_tail(float(squares.sum()), len(members) - 1)
        if probability >= SHIFT_PROBABILITY or len(members) < 2:
            break
        shifted.append(members.pop(int(np.argmax(squares))))
    if len(members) < 2 and len(trusted) > 1:
        return None  # no two agree, so that there is nothing in common
    # Draws of different visits are independent; rolled against each other they do not rise and fall together.
    draws = np.array([np.roll(at[name].draws, 7 * rank) for rank, name in enumerate(members)])
    joined = np.average(draws, axis=0, weights=weights) if all(row.size for row in draws) else np.empty(0)
    places = linear_places(scale, np.array([middle, *joined]))
    first = own[trusted[0]]
    doubtful = sorted(set(own) - set(trusted)) if borrows else []
    if len(members) + len(doubtful) < 2:
        return None
    return JointCut(
        population=first.population,
        marker=first.marker,
        value=float(places[0]),
        quality=float(np.median([own[name].quality or 0.0 for name in members])),
        draws=tuple(float(place) for place in places[1:]),
        members=tuple(sorted([*members, *doubtful])),
        shifted=tuple(sorted(shifted)),
        probability=probability,
        frozen=False,
        lacks_valley=any(own[name].lacks_valley for name in members),
    )


def _frozen(held: JointCut, own: Mapping[str, FoundCut], transforms: Mapping[str, Transform], *, borrows: bool) -> JointCut:
    """Keep a cut where it was; visits that were members stay so, others join unless their own cut differs."""
    shifted, left_out, least = [], [], 1.0
    for name in sorted(own):
        cut = own[name]
        if name in held.members:
            continue
        if cut.quality is None or cut.quality < NO_VALLEY_QUALITY:
            left_out += [] if borrows else [name]
            continue
        placed = _on_scale(cut, transforms[name])
        middle = float(transforms[name].exact(np.array([held.value]))[0])
        probability = _chi_square_tail((placed.value - middle) ** 2 / (2.0 * placed.variance), 1)
        least = min(least, probability)
        if probability < SHIFT_PROBABILITY:
            shifted.append(name)
    return JointCut(
        population=held.population,
        marker=held.marker,
        value=held.value,
        quality=held.quality,
        draws=held.draws,
        members=tuple(sorted((set(own) | set(held.members)) - {*shifted, *left_out})),
        shifted=tuple(sorted({*held.shifted, *shifted})),
        probability=least,
        frozen=True,
        lacks_valley=held.lacks_valley,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placed:
    """A cut on a scale shared by the visits."""

    value: float
    variance: float
    draws: npt.NDArray[np.float64]


def _on_scale(cut: FoundCut, scale: Transform) -> _Placed:
    places = scale.exact(np.array([cut.value, cut.lowest, cut.highest, *cut.draws]))
    # From the lowest to the highest place are four standard deviations of the smoothing.
    resolved = PLACE_SHARE * float(places[2] - places[1]) / 4
    drawn = float(np.var(places[3:], ddof=1)) if len(places) > 4 else 0.0
    return _Placed(value=float(places[0]), variance=max(drawn + resolved**2, 1e-12), draws=places[3:])


def _common_scale(transforms: Mapping[str, Transform]) -> Transform:
    """Choose the scale of the visit in the middle, by what it makes of a typical dim signal; the same for any order."""
    ordered = sorted(transforms, key=lambda name: (float(transforms[name].exact(np.array([DIM_SIGNAL]))[0]), name))
    return transforms[ordered[(len(ordered) - 1) // 2]]


def _chi_square_tail(square: float, degrees: int) -> float:
    if degrees < 1:
        return 1.0
    from scipy.special import gammaincc  # noqa: PLC0415  - heavy; only joint gating needs it

    return float(gammaincc(degrees / 2, square / 2))


def joint_findings(name: str, cuts: Sequence[JointCut], own: TubeCuts) -> tuple[Finding, ...]:
    """Say of a visit where its own cut had shifted from the joint one, and where it took the others'."""
    return tuple(finding for cut in cuts for finding in cut_findings(name, cut, own))


def cut_findings(name: str, cut: JointCut, own: TubeCuts) -> tuple[Finding, ...]:
    """Say the same about one gate."""
    where = finding_place(own.acquisition, cut.population)
    found = own.cuts.get((cut.population, cut.marker))
    if name in cut.shifted:
        return (
            Finding(
                code="CUT_SHIFTED",
                severity=Severity.WARNING,
                where=where,
                message=f"The cut on {cut.marker} differs from the subject's other visits by more than chance allows.",
                remedy="Look at the plots side by side: the staining drifted, or the cells changed; the own cut was kept.",
            ),
        )
    if name in cut.members and found is not None and (found.quality or 0.0) < NO_VALLEY_QUALITY:
        return (
            Finding(
                code="CUT_FROM_OTHER_VISITS",
                severity=Severity.NOTE,
                where=where,
                message=f"There is no valley of its own on {cut.marker}; the cut is that of the subject's other visits.",
                remedy="Look at the plot before the number is used.",
            ),
        )
    return ()


def finding_place(acquisition: str, population: str) -> str:
    """Say which gate a finding is about."""
    return f"Acquisition '{acquisition}', population '{population}'."
