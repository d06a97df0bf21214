"""Gates that look at more than one channel, or around cells that are known: singlets, scatter limits, ellipses.

Knows how unambiguous cells are found and how far others may lie from them. Must not know what a gate's quality means for a
number, nor how populations hang together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from biomarkers.cytometry import density, ellipses
from biomarkers.cytometry.cuts import Column, Cut, Mask, Scene, Selection, seed_of_draws, valley_cut
from biomarkers.cytometry.ellipses import Ellipse
from biomarkers.cytometry.panel import EllipseGate, SeedGate, SeedSide, SingletGate, ValleyGate, Window


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
    low = 2 * middle - high
    cuts = (
        Cut(marker=name, sign="+", value=low, quality=density.edge_quality(estimated, low), origin="singlet ratio"),
        Cut(marker=name, sign="-", value=high, quality=density.edge_quality(estimated, high), origin="singlet ratio"),
    )
    return Selection(cuts=cuts, mask=cuts[0].keeps(ratio) & cuts[1].keeps(ratio))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seed:
    """Unambiguous cells, and how clear the least clear valley was that told them."""

    mask: Mask
    quality: float


def _find_seed(scene: Scene, sides: Sequence[SeedSide]) -> _Seed | None:
    seed, quality = scene.kept.copy(), 1.0
    for number, side in enumerate(sides):
        valley = ValleyGate(method="valley", marker=side.marker, sign=side.sign, among="remaining")
        cut = valley_cut(replace(scene, kept=seed), valley)
        if number > 0 and (cut is None or not cut.is_trusted):
            continue  # the sides before it left nothing for this one to part
        if cut is None:
            return None
        seed = seed & cut.keeps(scene.scaled[side.marker])
        quality = min(quality, cut.quality or 0.0)
    return _Seed(mask=seed, quality=quality)


def select_around_seed(scene: Scene, gate: SeedGate) -> Selection | None:
    """Keep cells that look like the seed; None where no seed can be found."""
    seed = _find_seed(scene, gate.seed)
    if seed is None:
        return None
    remaining = scene.kept.copy()
    found: list[Cut] = []
    unresolved: dict[str, float] = {}
    for window in gate.windows:
        limits = _window(replace(scene, kept=remaining), window, seed.mask, seed.quality)
        if limits is None:
            return None
        remaining &= limits.mask
        found.extend(limits.cuts)
        unresolved.update(limits.unresolved)
    return Selection(cuts=tuple(found), mask=remaining, unresolved=unresolved)


def select_in_ellipse(scene: Scene, gate: EllipseGate) -> Selection | None:
    """Keep cells inside the ellipse around a cloud; None where no cloud can be found."""
    around, quality, origin = scene.kept, None, "main cloud"
    if gate.of is not None:
        around, origin = scene.members[gate.of], f"around {gate.of}"
    elif gate.seed:
        seed = _find_seed(scene, gate.seed)
        if seed is None:
            return None
        around, quality, origin = seed.mask, seed.quality, "around seed"
    x, y = (scene.scaled[marker] for marker in gate.markers)
    cloud = ellipses.robust_cloud(x[around], y[around])
    if cloud is None:
        return Selection(cuts=(), mask=scene.kept) if gate.without == "pass" else None
    centre, covariance = cloud
    squares = ellipses.square_distance(x, y, centre, covariance)
    limit = gate.widths**2
    events = int(np.count_nonzero(around))
    ellipse = Ellipse(
        markers=gate.markers,
        centre=centre,
        covariance=covariance,
        distance_square=limit,
        quality=quality,
        origin=origin,
        draws=ellipses.redraw(centre, covariance, events, seed_of_draws(scene.population, "/".join(gate.markers))),
    )
    return Selection(cuts=(), mask=squares <= limit, ellipses=(ellipse,))


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
        draws=density.redraw_cuts(estimated, valley, seed_of_draws(scene.population, window.marker)),
        resolution=estimated.resolution,
    )
