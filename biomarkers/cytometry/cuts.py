"""Where each gate of a template puts its cuts on one acquisition's events.

Knows the methods: valley, shared, tail, quantile, fixed, singlet ratio, window around a seed. Must not know what a cut's
quality means for a number, nor how populations hang together.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry import density
from biomarkers.cytometry.panel import (
    FixedGate,
    QuantileGate,
    SeedGate,
    SharedGate,
    Sign,
    SingletGate,
    TailGate,
    ValleyGate,
    Window,
)

Mask = npt.NDArray[np.bool_]
Column = npt.NDArray[np.float32]

NO_VALLEY_QUALITY = 0.1
"""Quality below which a valley is a ripple of chance rather than a gap between populations; see the property test on single
Gaussians."""

BORROW_BELOW_QUALITY = 0.5
"""A population's own valley is kept from this quality on; below it a better one is borrowed where the template allows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """One side of one gate.

    Attributes
    ----------
    marker
        Name of the marker, or of the area channel for the singlets' ratio.
    sign
        ``"+"`` keeps events above the value, ``"-"`` those at it or below.
    quality
        0 to 1, None where the method has no valley to judge.
    origin
        How it was found: "own", "borrowed from T", "mixture", "seed", "fixed", ...
    draws
        The value found again on resampled events; empty where the method has no spread of its own.
    """

    marker: str
    sign: Sign
    value: float
    quality: float | None
    origin: str
    draws: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def keeps(self, column: Column, value: float | None = None) -> Mask:
        """Tell which events lie on the kept side; events without a value lie on neither."""
        at = np.float32(self.value if value is None else value)
        kept: Mask = column > at if self.sign == "+" else column <= at
        return kept

    @property
    def is_trusted(self) -> bool:
        """Whether a valley stands behind it."""
        return self.quality is not None and self.quality >= NO_VALLEY_QUALITY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What a gate may look at.

    Attributes
    ----------
    population
        The population being gated; its name seeds the bootstrap.
    scaled
        Values on the display scale by marker.
    members
        Membership of the populations gated before.
    cuts
        Their cuts.
    parent, kept
        The population's parent, and what its earlier gates left of it.
    """

    population: str
    scaled: Mapping[str, Column]
    members: Mapping[str, Mask]
    cuts: Mapping[str, tuple[Cut, ...]]
    parent: Mask
    kept: Mask

    def values(self, marker: str, mask: Mask) -> Column:
        """Return the finite values of a marker among some events."""
        values = self.scaled[marker][mask]
        finite = np.isfinite(values)
        return values if bool(finite.all()) else values[finite]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Cuts and the events they keep.

    Attributes
    ----------
    unresolved
        Markers on which a limit had to be drawn through cells, with the percentage of events beyond it.
    """

    cuts: tuple[Cut, ...]
    mask: Mask
    unresolved: Mapping[str, float] = field(default_factory=dict)


def fixed_cut(gate: FixedGate) -> Cut:
    """Cut where the template says."""
    return Cut(marker=gate.marker, sign=gate.sign, value=gate.cut, quality=None, origin="fixed")


def shared_cut(scene: Scene, gate: SharedGate) -> Cut | None:
    """Cut where another population was cut; None where that one has no cut of the marker."""
    origin = next((cut for cut in scene.cuts[gate.of] if cut.marker == gate.marker), None)
    return None if origin is None else replace(origin, sign=gate.sign, origin=f"shared with {gate.of}")


def quantile_cut(scene: Scene, gate: QuantileGate) -> Cut | None:
    """Cut at a quantile of another population; None where that one has too few events."""
    values = scene.values(gate.marker, scene.members[gate.of])
    if values.size < density.FEWEST_VALUES:
        return None
    value = float(np.quantile(values, gate.quantile))
    return Cut(marker=gate.marker, sign=gate.sign, value=value, quality=None, origin=f"quantile of {gate.of}")


def tail_cut(scene: Scene, gate: TailGate) -> Cut | None:
    """Cut beside a peak; None where there are too few events for a density."""
    among = scene.kept if gate.among == "remaining" else scene.parent
    estimated = density.estimate_density(scene.values(gate.marker, among), gate.adjust)
    if estimated is None:
        return None
    value = density.tail_cut(estimated, peak=density.peak_bin(estimated, gate.peak), widths=gate.widths, side=gate.side)
    return Cut(marker=gate.marker, sign=gate.sign, value=value, quality=None, origin="tail")


def valley_cut(scene: Scene, gate: ValleyGate) -> Cut | None:
    """Cut at the valley, the population's own or a better borrowed one; by a mixture where there is none, with quality 0."""
    among = scene.kept if gate.among == "remaining" else scene.parent
    own = _valley_of(scene, gate, _pooled(scene, gate, among), "own")
    candidates = [own] if own is not None else []
    if own is None or (own.quality or 0.0) < BORROW_BELOW_QUALITY:
        for name in gate.borrow:
            lent = _valley_of(scene, gate, scene.values(gate.marker, scene.members[name]), f"borrowed from {name}")
            if lent is not None:
                candidates.append(lent)
    if candidates:
        # The first of equally good ones wins: the own valley, then the template's order.
        return max(candidates, key=lambda cut: cut.quality or 0.0)
    estimated = density.estimate_density(scene.values(gate.marker, among), gate.adjust)
    if estimated is None:
        return None
    value = density.mixture_cut(estimated)
    return Cut(marker=gate.marker, sign=gate.sign, value=value, quality=0.0, origin="mixture")


def _valley_of(scene: Scene, gate: ValleyGate, values: Column, origin: str) -> Cut | None:
    estimated = density.estimate_density(values, gate.adjust)
    valley = density.find_valley(estimated, gate.choice) if estimated is not None else None
    if estimated is None or valley is None:
        return None
    if gate.within is not None and not gate.within[0] <= valley.cut <= gate.within[1]:
        return None
    return Cut(
        marker=gate.marker,
        sign=gate.sign,
        value=valley.cut,
        quality=valley.quality,
        origin=origin,
        draws=density.redraw_cuts(estimated, valley, _seed(scene.population, gate.marker)),
    )


def _pooled(scene: Scene, gate: ValleyGate, among: Mask) -> Column:
    values = scene.values(gate.marker, among)
    if gate.pool_with is None:
        return values
    others = scene.values(gate.marker, scene.members[gate.pool_with])
    if others.size > values.size > 0:
        # Evenly spread over the file, so that a drift during acquisition enters both alike.
        others = others[np.linspace(0, others.size - 1, values.size).astype(np.intp)]
    return np.concatenate((values, others))


def select_singlets(scene: Scene, gate: SingletGate) -> Selection | None:
    """Keep events of the commonest area/height ratio; None where there are too few for a density."""
    area, height = scene.scaled[gate.area], scene.scaled[gate.height]
    usable = scene.kept & (area > 0) & (height > 0)
    ratio = np.full(area.size, np.nan, dtype=np.float32)
    ratio[usable] = np.log(area[usable] / height[usable])
    estimated = density.estimate_density(ratio[usable], adjust=1.0)
    if estimated is None:
        return None
    # Doublets stretch the side of large ratios; the other side shows how widely singlets spread.
    peak = density.peak_bin(estimated)
    middle = float(estimated.centres[peak])
    high = density.tail_cut(estimated, peak=peak, widths=gate.widths, side="above")
    high = max(high, middle + float(np.log(gate.least_excess)))
    name = f"{gate.area}/{gate.height}"
    cuts = (
        Cut(marker=name, sign="+", value=2 * middle - high, quality=None, origin="singlet ratio"),
        Cut(marker=name, sign="-", value=high, quality=None, origin="singlet ratio"),
    )
    return Selection(cuts=cuts, mask=cuts[0].keeps(ratio) & cuts[1].keeps(ratio))


def select_around_seed(scene: Scene, gate: SeedGate) -> Selection | None:
    """Keep cells that look like the seed; None where no seed can be found."""
    seed, quality = scene.kept.copy(), 1.0
    for number, side in enumerate(gate.seed):
        valley = ValleyGate(method="valley", marker=side.marker, sign=side.sign, among="remaining")
        cut = valley_cut(replace(scene, kept=seed), valley)
        if number > 0 and (cut is None or not cut.is_trusted):
            continue  # the sides before it left nothing for this one to part
        if cut is None:
            return None
        seed = seed & cut.keeps(scene.scaled[side.marker])
        quality = min(quality, cut.quality or 0.0)
    remaining = scene.kept.copy()
    found: list[Cut] = []
    unresolved: dict[str, float] = {}
    for window in gate.windows:
        limits = _window(replace(scene, kept=remaining), window, seed, quality)
        if limits is None:
            return None
        remaining &= limits.mask
        found.extend(limits.cuts)
        unresolved.update(limits.unresolved)
    return Selection(cuts=tuple(found), mask=remaining, unresolved=unresolved)


def _window(scene: Scene, window: Window, seed: Mask, quality: float) -> Selection | None:
    values = scene.values(window.marker, seed)
    if values.size < density.FEWEST_VALUES:
        return None
    low, middle, high = (float(value) for value in np.percentile(values, [15.87, 50, 84.13]))
    width = (high - low) / 2
    cuts: list[Cut] = []
    unresolved: dict[str, float] = {}
    if window.below is not None:
        limit = middle - window.below * width
        cuts.append(Cut(marker=window.marker, sign="+", value=limit, quality=quality, origin="around seed"))
    seen = scene.values(window.marker, scene.kept)
    upper = _valley_above(scene, window, seen, middle, width)
    if upper is not None:
        cuts.append(replace(upper, quality=min(upper.quality or 0.0, quality)))
    elif window.above is not None:
        limit = middle + window.above * width
        cuts.append(Cut(marker=window.marker, sign="-", value=limit, quality=quality, origin="around seed"))
        if window.valley_above is not None and seen.size:
            unresolved[window.marker] = 100.0 * float(np.mean(seen > limit))
    mask = scene.kept.copy()
    for cut in cuts:
        mask &= cut.keeps(scene.scaled[window.marker])
    return Selection(cuts=tuple(cuts), mask=mask, unresolved=unresolved)


def _valley_above(scene: Scene, window: Window, seen: Column, middle: float, width: float) -> Cut | None:
    estimated = density.estimate_density(seen, window.adjust) if window.valley_above is not None else None
    if estimated is None or window.valley_above is None:
        return None
    low, high = (middle + widths * width for widths in window.valley_above)
    valley = density.first_valley(estimated, middle, low, high)
    if valley is None:
        return None
    return Cut(
        marker=window.marker,
        sign="-",
        value=valley.cut,
        quality=valley.quality,
        origin="valley beside seed",
        draws=density.redraw_cuts(estimated, valley, _seed(scene.population, window.marker)),
    )


def _seed(population: str, marker: str) -> int:
    return zlib.crc32(f"{population}/{marker}".encode())
