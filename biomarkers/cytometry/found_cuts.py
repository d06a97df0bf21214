"""Cuts of several acquisitions side by side: how far one lies from its group's.

Knows cuts on the compensated linear scale, which all acquisitions of a batch share. Must not know why acquisitions form a
group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.cuts import NO_VALLEY_QUALITY, Cut
from biomarkers.cytometry.gated import Gating, OutsideCut
from biomarkers.cytometry.scales import linear_places
from biomarkers.cytometry.transforms import Transform
from biomarkers.results import Finding, Severity

FEWEST_IN_GROUP = 5
"""Other acquisitions below which a group's spread is not known well enough to call one of them far."""

FARTHEST = 3.5
"""Robust standard deviations from the group's median beyond which a cut is flagged (modified z-score, Iglewicz and Hoaglin)."""

PLACE_SHARE = 0.25
"""Share of a density's bandwidth within which a valley wanders between sound tubes: when the proportion of positives changes by
a factor r, the valley between peaks four bandwidths apart moves by ln(r)/4 of one."""

MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundCut:
    """A cut an acquisition found itself, on the compensated linear scale.

    Attributes
    ----------
    value, draws
        As of :class:`biomarkers.cytometry.cuts.Cut`.
    lowest, highest
        Between which places the density could not tell it apart.
    lacks_valley
        As of :class:`biomarkers.cytometry.cuts.Cut`.
    """

    acquisition: str
    population: str
    marker: str
    value: float
    quality: float | None
    origin: str
    draws: npt.NDArray[np.float64]
    lowest: float
    highest: float
    lacks_valley: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """Which gate it belongs to: population and marker."""
        return self.population, self.marker


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDistance:
    """Where a cut lies among its group's.

    Attributes
    ----------
    deviations
        Robust standard deviations from the group's median, on the acquisition's display scale.
    group_median
        On the compensated linear scale.
    """

    population: str
    marker: str
    deviations: float
    group_median: float
    group_size: int


def found_cuts(gated: Gating) -> tuple[FoundCut, ...]:
    """List the cuts an acquisition found itself: not shared ones, nor limits around a seed, nor the singlets' ratio."""
    listed = []
    for population in gated.populations.values():
        for cut in population.cuts:
            if cut.marker not in gated.transforms or not is_placed(cut):
                continue
            transform = gated.transforms[cut.marker]
            edges = np.array([cut.value, cut.value - cut.resolution, cut.value + cut.resolution, *cut.draws])
            places = linear_places(transform, edges)
            listed.append(
                FoundCut(
                    acquisition=gated.acquisition,
                    population=population.name,
                    marker=cut.marker,
                    value=float(places[0]),
                    quality=cut.quality,
                    origin=cut.origin,
                    draws=places[3:],
                    lowest=float(places[1]),
                    highest=float(places[2]),
                    lacks_valley=cut.lacks_valley,
                )
            )
    return tuple(listed)


def is_placed(cut: Cut) -> bool:
    """Whether a cut was placed by this gate on these events."""
    return not cut.origin.startswith(("shared", "around", "valley beside", "singlet", "fixed", "joint"))


def is_valley(cut: FoundCut) -> bool:
    """Whether a valley of the acquisition's own stands behind a cut."""
    found = cut.origin == "own" or cut.origin.startswith("borrowed")
    return found and cut.quality is not None and cut.quality >= NO_VALLEY_QUALITY


def group_distances(gated: Gating, group: Sequence[FoundCut]) -> tuple[GroupDistance, ...]:
    """Say how far each cut of an acquisition lies from those of other acquisitions of its group.

    Parameters
    ----------
    group
        Cuts of other acquisitions; the acquisition's own are left out by name.
    """
    own = found_cuts(gated)
    return distances_between(own, {cut.place: gated.transforms[cut.marker] for cut in own}, group)


def distances_between(
    found: Sequence[FoundCut], transforms: Mapping[tuple[str, str], Transform], group: Sequence[FoundCut]
) -> tuple[GroupDistance, ...]:
    """Say how far cuts of one acquisition lie from those of its group.

    Parameters
    ----------
    found
        Of one acquisition.
    transforms
        Its display scales, by population and marker.
    group
        Cuts of other acquisitions; the acquisition's own are left out by name.
    """
    distances = []
    by_place: dict[tuple[str, str], list[FoundCut]] = {}
    for cut in group:
        by_place.setdefault(cut.place, []).append(cut)
    for own in found:
        others = sorted(
            cut.value for cut in by_place.get(own.place, ()) if cut.acquisition != own.acquisition and np.isfinite(cut.value)
        )
        if len(others) < FEWEST_IN_GROUP:
            continue
        transform = transforms[own.place]
        places = transform.exact(np.array([own.value, own.lowest, own.highest, *others]))
        middle = float(np.median(places[3:]))
        spread = MAD_TO_DEVIATION * float(np.median(np.abs(places[3:] - middle)))
        # No cut is placed more finely than its density allows, however much the others agree by chance.
        least = PLACE_SHARE * float(places[2] - places[1]) / 4
        width = float(np.hypot(spread, least))
        distances.append(
            GroupDistance(
                population=own.population,
                marker=own.marker,
                deviations=(float(places[0]) - middle) / width if width > 0 else 0.0,
                group_median=float(np.median(others)),
                group_size=len(others),
            )
        )
    return tuple(distances)


def distance_findings(acquisition: str, distances: Sequence[GroupDistance]) -> tuple[Finding, ...]:
    """Flag the cuts that lie far from their group's."""
    return tuple(
        Finding(
            code="CUT_FAR_FROM_GROUP",
            severity=Severity.WARNING,
            where=f"Acquisition '{acquisition}', population '{distance.population}'.",
            message=(
                f"The cut on {distance.marker} lies {abs(distance.deviations):.1f} robust standard deviations "
                f"{'above' if distance.deviations > 0 else 'below'} the median of {distance.group_size} other acquisitions; "
                f"{FARTHEST:g} are allowed."
            ),
            remedy="Look at the plot: check the staining of this batch; a cut borrowed from the group may be the better one.",
        )
        for distance in distances
        if abs(distance.deviations) > FARTHEST
    )


def lend(group: Sequence[FoundCut], acquisition: str) -> tuple[OutsideCut, ...]:
    """Offer an acquisition its group's cuts, the median of each, to borrow where its template says so and its own are worse.

    Only valleys are lent: a limit that others had to draw without one is none the better for being another's.
    """
    places = sorted({cut.place for cut in group})
    offered = []
    for population, marker in places:
        cuts = [cut for cut in group if cut.place == (population, marker) and cut.acquisition != acquisition and is_valley(cut)]
        if len(cuts) < FEWEST_IN_GROUP:
            continue
        ordered = sorted(cuts, key=lambda cut: (cut.value, cut.acquisition))
        middle = ordered[(len(ordered) - 1) // 2]
        offered.append(
            OutsideCut(
                population=population,
                marker=marker,
                kind="group",
                value=middle.value,
                quality=float(np.median([cut.quality for cut in cuts if cut.quality is not None])),
                draws=tuple(cut.value for cut in ordered),
            )
        )
    return tuple(offered)
