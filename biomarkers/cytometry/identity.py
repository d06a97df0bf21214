"""Whether the channels carry the markers their names say.

Knows what must be true of unambiguous cells whatever the sample, by ranks alone, so that scale and staining do not matter. Must
not know gates. Names are never taken for wrong on a hint: only where what every sample shows is contradicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry import density, ellipses
from biomarkers.cytometry.compensation import rank_correlation
from biomarkers.cytometry.panel import Expectation, Identity, Panel
from biomarkers.results import Finding, Severity

Column = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FEWEST_ANCHORED = 200
"""Events with, and without, the anchor below which nothing is said about names."""

CLOUD_WIDTHS = 4.0
"""Robust standard deviations around the anchored cells in scatter within which cells are compared: others are other cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityVerdict:
    """What came of the check.

    Attributes
    ----------
    carriers
        Under whose name each marker really was found, for markers whose names were exchanged and set right.
    """

    carriers: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def identity_markers(panel: Panel) -> set[str]:
    """Name the markers the check looks at."""
    if panel.identity is None:
        return set()
    return set(_known(panel.identity)) | {panel.identity.anchor, *panel.identity.scatter}


def check_identity(name: str, panel: Panel, values: Mapping[str, Column]) -> IdentityVerdict:
    """Hold what the channels show against what their names promise.

    Parameters
    ----------
    name
        The acquisition's, for messages.
    values
        By marker as the file names them, on any increasing scale.
    """
    identity = panel.identity
    if identity is None or identity_markers(panel) - set(values):
        return IdentityVerdict()
    evidence = _gather(identity, values)
    if evidence is None:
        return IdentityVerdict()
    given = {marker: marker for marker in _known(identity)}
    if not (broken := [*_broken(identity, evidence, given)]):
        return IdentityVerdict()
    fitting = [*_fitting(identity, evidence)]
    told = f"{'; '.join(broken)}. " + (_exchanges(fitting[0]) if len(fitting) == 1 else "No exchange of names explains it.")
    renames = identity.on_contradiction == "rename" and len(fitting) == 1
    finding = Finding(
        code="CHANNEL_NAMES_EXCHANGED" if len(fitting) == 1 else "CHANNEL_NAMES_DOUBTFUL",
        severity=Severity.WARNING if renames else Severity.REJECT,
        where=f"Acquisition '{name}', names of the channels ($PnS).",
        message=told + (" The events were gated with the names set right." if renames else ""),
        remedy="Compare the file with the instrument's set-up; export it again with the right names.",
    )
    return IdentityVerdict(carriers=fitting[0] if renames else {}, findings=(finding,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """Ranks of each channel beside the anchor, and of each pair among anchored cells."""

    with_anchor: Mapping[str, float]
    together: Mapping[tuple[str, str], float]

    def of(self, expectation: Expectation, carrier: Mapping[str, str]) -> float:
        marker = carrier[expectation.marker]
        if expectation.beside is None:
            return self.with_anchor[marker]
        return self.together[marker, carrier[expectation.beside]]


def _known(identity: Identity) -> tuple[str, ...]:
    named = [*identity.exchangeable]
    for expectation in identity.expect:
        named += [expectation.marker] + ([] if expectation.beside is None else [expectation.beside])
    return tuple(dict.fromkeys(named))


def _gather(identity: Identity, values: Mapping[str, Column]) -> _Evidence | None:
    anchor = values[identity.anchor]
    estimated = density.estimate_density(anchor)
    valley = None if estimated is None else density.find_valley(estimated)
    if valley is None:
        return None
    anchored = anchor > np.float32(valley.cut)
    x, y = (values[channel] for channel in identity.scatter)
    cloud = ellipses.robust_cloud(x[anchored], y[anchored])
    if cloud is None:
        return None
    near = ellipses.square_distance(x, y, *cloud) <= CLOUD_WIDTHS**2
    inside, outside = near & anchored, near & ~anchored
    if min(int(inside.sum()), int(outside.sum())) < FEWEST_ANCHORED:
        return None
    names = _known(identity)
    return _Evidence(
        with_anchor={name: _higher(values[name][inside], values[name][outside]) for name in names},
        together={
            (one, other): rank_correlation(values[one][inside], values[other][inside])
            for one in names
            for other in names
            if one != other
        },
    )


def _higher(these: Column, those: Column) -> float:
    """How often a value of these lies above one of those: 0.5 where both are alike."""
    order = np.argsort(np.argsort(np.concatenate((these, those)), kind="stable"), kind="stable")
    above = float(order[: these.size].sum()) - these.size * (these.size - 1) / 2
    return above / (these.size * those.size)


def _broken(identity: Identity, evidence: _Evidence, carrier: Mapping[str, str]) -> Iterator[str]:
    for expectation in identity.expect:
        shown = evidence.of(expectation, carrier)
        low, high = expectation.least, expectation.most
        if (low is None or shown >= low) and (high is None or shown <= high):
            continue
        limit = f"at least {low:g}" if low is not None and shown < low else f"at most {high:g}"
        if expectation.beside is None:
            yield (
                f"{expectation.marker} is higher on cells with {identity.anchor} than on others in a share of {shown:.2f}"
                f" of pairs, expected is {limit}"
            )
        else:
            yield (
                f"{expectation.marker} and {expectation.beside} have a rank correlation of {shown:.2f} on cells with"
                f" {identity.anchor}, expected is {limit}"
            )


def _fitting(identity: Identity, evidence: _Evidence) -> Iterator[Mapping[str, str]]:
    """Exchanges of names that agree with every expectation, of those that exchange fewest."""
    rest = {name: name for name in _known(identity)}
    orders: Sequence[tuple[str, ...]] = [*permutations(identity.exchangeable)]
    moved = {order: sum(a != b for a, b in zip(identity.exchangeable, order, strict=True)) for order in orders}
    agreeing = [
        order
        for order in orders
        if not [*_broken(identity, evidence, {**rest, **dict(zip(identity.exchangeable, order, strict=True))})]
    ]
    fewest = min((moved[order] for order in agreeing), default=0)
    for order in agreeing:
        if moved[order] == fewest:
            pairs = zip(identity.exchangeable, order, strict=True)
            yield {marker: carrier for marker, carrier in pairs if marker != carrier}


def _exchanges(carriers: Mapping[str, str]) -> str:
    listed = ", ".join(f"{marker} under the name {carrier}" for marker, carrier in carriers.items())
    return f"Everything agrees if names were exchanged: {listed}."
