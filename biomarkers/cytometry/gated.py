"""An acquisition gated: its populations, where their gates lie, and the events' values on the scales they were gated on.

Knows the records. Must not know how gates are found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from biomarkers.cytometry.acquisition import Spillover
from biomarkers.cytometry.cuts import Column, Cut, Mask
from biomarkers.cytometry.ellipses import Ellipse
from biomarkers.cytometry.panel import ROOT, Panel
from biomarkers.cytometry.transforms import Transform
from biomarkers.results import Finding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GatedPopulation:
    """One population's members.

    Attributes
    ----------
    membership
        One boolean an event, in file order.
    cuts, ellipses
        Where its gates lie. With its parent and the boolean gates of its template they give the membership back: an event is a
        member when it is one of the parent's and lies on the kept side of every cut and inside every ellipse.
    findings
        About this population alone; those of its ancestors are not repeated here.
    combined_quality
        The worst quality of the populations it is combined of; None where it is not.
    """

    name: str
    parent: str
    membership: Mask
    cuts: tuple[Cut, ...]
    findings: tuple[Finding, ...]
    ellipses: tuple[Ellipse, ...] = ()
    combined_quality: float | None = None

    @property
    def quality(self) -> float | None:
        """The worst quality of its gates; None where no gate has one."""
        qualities = [cut.quality for cut in self.cuts] + [shape.quality for shape in self.ellipses] + [self.combined_quality]
        return min((quality for quality in qualities if quality is not None), default=None)

    @property
    def count(self) -> int:
        """Number of members."""
        return int(np.count_nonzero(self.membership))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gating:
    """An acquisition gated by a panel.

    Attributes
    ----------
    populations
        By name, in the template's order.
    linear
        Compensated linear values by marker, of every marker found.
    scaled
        The same on the display scale, of the markers gates use.
    findings
        About the acquisition as a whole.
    transforms
        The display scale by marker, of the markers gates use.
    spillover
        The matrix that was undone; None where none was.
    detectors
        Name of each marker's channel ($PnN), by marker.
    usable
        Events that may belong to populations, such as those of steady flow; None where all may.
    """

    acquisition: str
    panel: Panel
    event_count: int
    populations: Mapping[str, GatedPopulation]
    linear: Mapping[str, Column]
    scaled: Mapping[str, Column]
    findings: tuple[Finding, ...]
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    spillover: Spillover | None = None
    detectors: Mapping[str, str] = field(default_factory=dict)
    usable: Mask | None = None

    @property
    def membership(self) -> Mapping[str, Mask]:
        """Membership by population."""
        return {name: population.membership for name, population in self.populations.items()}

    def parent_membership(self, name: str) -> Mask:
        """Membership of a population's parent."""
        parent = self.populations[name].parent
        return self.root_membership if parent == ROOT else self.populations[parent].membership

    @property
    def root_membership(self) -> Mask:
        """The events populations are made of."""
        return np.ones(self.event_count, dtype=np.bool_) if self.usable is None else self.usable


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideCut:
    """A cut this acquisition did not find itself: lent by other acquisitions, or set for several together.

    Attributes
    ----------
    kind
        ``"visits"`` and ``"group"`` are used where the template borrows from there and the acquisition's own valley is worse;
        ``"joint"`` always takes the place of the acquisition's own cut; ``"control"`` is where the negatives of the batch's
        control (FMO) end, for gates that ask for one.
    value
        On the compensated linear scale, which all acquisitions of a batch share.
    quality
        Of the valley it comes from.
    draws
        The value found again on resampled events, on the same scale.
    lacks_valley
        Whether a reference population or a control decided, because there was no valley.
    """

    population: str
    marker: str
    kind: Literal["visits", "group", "joint", "control"]
    value: float
    quality: float | None
    draws: tuple[float, ...] = ()
    lacks_valley: bool = False
