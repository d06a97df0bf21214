"""Where each gate of a template puts its cuts on one acquisition's events.

Knows the methods that cut one marker: valley, shared, tail, quantile, mixture, fixed. Must not know what a cut's quality means
for a number, nor how populations hang together.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry import density, mixtures
from biomarkers.cytometry.ellipses import Ellipse
from biomarkers.cytometry.panel import (
    BORROWED_WORDS,
    ROOT,
    FixedGate,
    MixtureGate,
    QuantileGate,
    SharedGate,
    Sign,
    TailGate,
    ValleyGate,
)

Mask = npt.NDArray[np.bool_]
Column = npt.NDArray[np.float32]

NO_VALLEY_QUALITY = 0.1
"""Quality below which a valley is a ripple of chance rather than a gap between populations; see the property test on single
Gaussians."""

REFERENCE_BELOW_QUALITY = 0.3
"""A valley worse than this gives way to a reference population's quantile where the template names one."""

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
    resolution
        How finely the density can place the cut: the reach to either side of 95 % of its smoothing; 0 where there was none.
    lacks_valley
        Whether the template asked for a valley, there was none, and a reference population decided instead.
    """

    marker: str
    sign: Sign
    value: float
    quality: float | None
    origin: str
    draws: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    resolution: float = 0.0
    lacks_valley: bool = False

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
    above
        Name of the parent.
    lent
        Cuts of this population from elsewhere, by marker: other visits of the subject, other acquisitions of the batch.
    controls
        Values of a marker among the parent's events in the batch's control for it, on this acquisition's scale.
    control_cut
        Where the negatives of that control end, where this is all that is known of it.
    """

    population: str
    scaled: Mapping[str, Column]
    members: Mapping[str, Mask]
    cuts: Mapping[str, tuple[Cut, ...]]
    parent: Mask
    kept: Mask
    above: str = ROOT
    lent: Mapping[str, tuple[Cut, ...]] = field(default_factory=dict)
    controls: Mapping[str, Column] = field(default_factory=dict)
    control_cut: Cut | None = None

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
    ellipses: tuple[Ellipse, ...] = ()


def fixed_cut(scene: Scene, gate: FixedGate) -> Cut:
    """Cut where the template says."""
    quality = _edge_quality(scene, gate.marker, gate.cut)
    return Cut(marker=gate.marker, sign=gate.sign, value=gate.cut, quality=quality, origin="fixed")


def _edge_quality(scene: Scene, marker: str, value: float) -> float | None:
    """Judge a cut that is no valley: 1 - density there over the highest among the events it parts; None of too few."""
    estimated = density.estimate_density(scene.values(marker, scene.kept))
    return None if estimated is None else density.edge_quality(estimated, value)


def shared_cut(scene: Scene, gate: SharedGate) -> Cut | None:
    """Cut where another population was cut; None where that one has no cut of the marker."""
    origin = next((cut for cut in scene.cuts[gate.of] if cut.marker == gate.marker), None)
    return None if origin is None else replace(origin, sign=gate.sign, origin=f"shared with {gate.of}")


def quantile_cut(scene: Scene, gate: QuantileGate) -> Cut | None:
    """Cut at a quantile of another population, or of the marker's control; None where there are too few events."""
    if gate.control and scene.control_cut is not None:
        quality = _edge_quality(scene, gate.marker, scene.control_cut.value)
        return replace(scene.control_cut, sign=gate.sign, quality=quality)
    values, origin = scene.values(gate.marker, scene.members[gate.of]), f"quantile of {gate.of}"
    if gate.control and gate.marker in scene.controls:
        values, origin = scene.controls[gate.marker], "quantile of control"
    if values.size < density.FEWEST_VALUES:
        return None
    value = float(np.quantile(values, gate.quantile))
    draws = density.redraw_quantile(values, gate.quantile, seed_of_draws(scene.population, gate.marker))
    quality = _edge_quality(scene, gate.marker, value)
    return Cut(marker=gate.marker, sign=gate.sign, value=value, quality=quality, origin=origin, draws=draws)


def tail_cut(scene: Scene, gate: TailGate) -> Cut | None:
    """Cut beside a peak; None where there are too few events for a density."""
    among = scene.kept if gate.among == "remaining" else scene.parent
    values = scene.values(gate.marker, among if gate.of is None else scene.members[gate.of])
    estimated = density.estimate_density(values, gate.adjust)
    if estimated is None:
        return None
    peak = density.peak_bin(estimated, gate.peak)
    value = density.tail_cut(estimated, peak=peak, widths=gate.widths, side=gate.side)
    origin = "tail" if gate.of is None else f"tail of {gate.of}"
    seed = seed_of_draws(scene.population, gate.marker)
    draws = density.redraw_tail(estimated, value, peak=peak, widths=gate.widths, seed=seed)
    quality = _edge_quality(scene, gate.marker, value)
    if gate.peak != "highest":
        # The lower or the upper of two peaks is only what its name says where two can be told apart.
        valley = density.find_valley(estimated)
        quality = 0.0 if valley is None else valley.quality
    return Cut(
        marker=gate.marker,
        sign=gate.sign,
        value=value,
        quality=quality,
        origin=origin,
        draws=draws,
        resolution=estimated.resolution,
    )


def mixture_cut(scene: Scene, gate: MixtureGate) -> Cut | None:
    """Cut between two overlapping Gaussians; None where there are too few events for a density."""
    among = scene.kept if gate.among == "remaining" else scene.parent
    estimated = density.estimate_density(_pooled(scene, gate.marker, gate.pool_with, among), gate.adjust)
    if estimated is None:
        return None
    mixture = mixtures.fit_mixture(estimated)
    draws = mixtures.redraw_mixture(estimated, mixture, seed_of_draws(scene.population, gate.marker))
    return Cut(
        marker=gate.marker,
        sign=gate.sign,
        value=mixture.cut,
        quality=mixture.quality,
        origin="two Gaussians",
        draws=draws,
        resolution=estimated.resolution,
    )


def valley_cut(scene: Scene, gate: ValleyGate) -> Cut | None:
    """Cut at the valley, the population's own or a better borrowed one; where there is none, as the template says."""
    among = scene.kept if gate.among == "remaining" else scene.parent
    own = _valley_of(scene, gate, _pooled(scene, gate.marker, gate.pool_with, among), "own")
    candidates = [own] if own is not None else []
    if own is None or (own.quality or 0.0) < BORROW_BELOW_QUALITY:
        candidates.extend(_borrowed(scene, gate))
    # The first of equally good ones wins: the own valley, then the template's order.
    best = max(candidates, key=lambda cut: cut.quality or 0.0, default=None)
    if gate.reference is not None and (best is None or (best.quality or 0.0) < REFERENCE_BELOW_QUALITY):
        of_reference = QuantileGate(
            method="quantile",
            marker=gate.marker,
            sign=gate.sign,
            of=gate.reference,
            quantile=gate.quantile,
            control=gate.control,
        )
        fallback = quantile_cut(scene, of_reference)
        if fallback is not None:
            return replace(fallback, lacks_valley=True)
    if best is not None:
        return best
    estimated = density.estimate_density(scene.values(gate.marker, among), gate.adjust)
    if estimated is None:
        return None
    value = mixtures.mixture_cut(estimated)
    return Cut(marker=gate.marker, sign=gate.sign, value=value, quality=0.0, origin="mixture")


def _borrowed(scene: Scene, gate: ValleyGate) -> Iterator[Cut]:
    for name in gate.borrow:
        if name in ("visits", "group"):
            yield from (
                replace(cut, sign=gate.sign) for cut in scene.lent.get(gate.marker, ()) if cut.origin == f"borrowed from {name}"
            )
            continue
        mask = scene.parent if name in BORROWED_WORDS else scene.members[name]
        called = scene.above if name in BORROWED_WORDS else name
        lent = _valley_of(scene, gate, scene.values(gate.marker, mask), f"borrowed from {called}")
        if lent is not None:
            yield lent


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
        draws=density.redraw_cuts(estimated, valley, seed_of_draws(scene.population, gate.marker)),
        resolution=estimated.resolution,
    )


def _pooled(scene: Scene, marker: str, pool_with: str | None, among: Mask) -> Column:
    values = scene.values(marker, among)
    if pool_with is None:
        return values
    others = scene.values(marker, scene.members[pool_with])
    if others.size > values.size > 0:
        # Evenly spread over the file, so that a drift during acquisition enters both alike.
        others = others[np.linspace(0, others.size - 1, values.size).astype(np.intp)]
    return np.concatenate((values, others))


def seed_of_draws(population: str, marker: str) -> int:
    """Seed the bootstrap of one gate: the same for the same gate, whatever the file."""
    return zlib.crc32(f"{population}/{marker}".encode())
