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
from biomarkers.cytometry.cuts import NO_VALLEY_QUALITY
from biomarkers.cytometry.found_cuts import PLACE_SHARE, FoundCut, found_cuts
from biomarkers.cytometry.frequencies import NORMAL_95, Spread, relative_variance, spread_of
from biomarkers.cytometry.gated import Gating, OutsideCut
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import ROOT, Panel
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

    def outside(self) -> OutsideCut:
        """Return it in the form in which an acquisition is gated with it."""
        return OutsideCut(
            population=self.population,
            marker=self.marker,
            kind="joint",
            value=self.value,
            quality=self.quality,
            draws=self.draws,
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
    findings = {name: tuple(_findings(name, cuts, single[name])) for name in names}
    return JointGating(single=single, joint=joint, cuts=cuts, findings=findings)


def joint_cuts(single: Mapping[str, Gating], *, frozen: Sequence[JointCut] = ()) -> tuple[JointCut, ...]:
    """Find the cuts several visits, each gated by itself, have in common."""
    names = sorted(single)
    found = {name: {cut.place: cut for cut in found_cuts(single[name])} for name in names}
    held = {(cut.population, cut.marker): cut for cut in frozen}
    places = sorted({place for cuts in found.values() for place in cuts})
    cuts = []
    for place in places:
        own = {name: found[name][place] for name in names if place in found[name]}
        transforms = {name: single[name].transforms[place[1]] for name in own}
        cut = _frozen(held[place], own, transforms) if place in held else _joined(own, transforms)
        if cut is not None:
            cuts.append(cut)
    return tuple(cuts)


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


def _joined(own: Mapping[str, FoundCut], transforms: Mapping[str, Transform]) -> JointCut | None:
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
    doubtful = sorted(set(own) - set(trusted))
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
    )


def _frozen(held: JointCut, own: Mapping[str, FoundCut], transforms: Mapping[str, Transform]) -> JointCut:
    """Keep a cut where it was; visits that were members stay so, others join unless their own cut differs."""
    shifted, least = [], 1.0
    for name in sorted(own):
        cut = own[name]
        if name in held.members or cut.quality is None or cut.quality < NO_VALLEY_QUALITY:
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
        members=tuple(sorted((set(own) | set(held.members)) - set(shifted))),
        shifted=tuple(sorted({*held.shifted, *shifted})),
        probability=least,
        frozen=True,
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


def _findings(name: str, cuts: Sequence[JointCut], single: Gating) -> list[Finding]:
    findings = []
    for cut in cuts:
        where = f"Acquisition '{single.acquisition}', population '{cut.population}'."
        if name in cut.shifted:
            findings.append(
                Finding(
                    code="CUT_SHIFTED",
                    severity=Severity.WARNING,
                    where=where,
                    message=f"The cut on {cut.marker} differs from the subject's other visits by more than chance allows.",
                    remedy="Look at the plots side by side: the staining drifted, or the cells changed; the own cut was kept.",
                )
            )
        elif name in cut.members and any(
            own.marker == cut.marker and (own.quality or 0.0) < NO_VALLEY_QUALITY
            for own in single.populations[cut.population].cuts
        ):
            findings.append(
                Finding(
                    code="CUT_FROM_OTHER_VISITS",
                    severity=Severity.NOTE,
                    where=where,
                    message=f"There is no valley of its own on {cut.marker}; the cut is that of the subject's other visits.",
                    remedy="Look at the plot before the number is used.",
                )
            )
    return findings
