"""An acquisition's own values and cuts beside those it has together with its batch.

Knows what belongs side by side. Must not know how either came about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.joint_analysis import JointAnalysis
from biomarkers.cytometry.scales import linear_places
from biomarkers.results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePair:
    """One measurand by itself and jointly."""

    measurand: str
    single: Result
    joint: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPair:
    """One cut, on the compensated linear scale; None where it has none of its own."""

    population: str
    marker: str
    single: float | None
    joint: float
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JointValues:
    """What stands side by side on the page.

    Attributes
    ----------
    companions
        Number of the subject's other tubes with which cuts are shared.
    """

    batch: str
    own_run_id: str
    companions: int
    values: tuple[ValuePair, ...]
    cuts: tuple[CutPair, ...]


def side_by_side(joint: JointAnalysis, own: AcquisitionAnalysis, gating: Gating) -> JointValues:
    """Put an acquisition's own numbers and cuts beside those with its batch."""
    singles = {result.measurand: result for result in own.run.results}
    placed = {(record.population, record.marker): record.value for record in own.found}
    cuts = []
    for population in gating.populations.values():
        for cut in population.cuts:
            from_outside = cut.origin.startswith("joint") or cut.origin in {"borrowed from group", "quantile of control"}
            if from_outside and cut.marker in gating.transforms:
                linear = linear_places(gating.transforms[cut.marker], np.array([cut.value], dtype=np.float64))
                cuts.append(
                    CutPair(
                        population=population.name,
                        marker=cut.marker,
                        single=placed.get((population.name, cut.marker)),
                        joint=float(linear[0]),
                        origin=cut.origin,
                    )
                )
    return JointValues(
        batch=joint.batch,
        own_run_id=joint.own_run_id,
        companions=len({name for cut in joint.cuts for name in cut.members} - {joint.own_run_id}),
        values=tuple(
            ValuePair(measurand=result.measurand, single=singles[result.measurand], joint=result)
            for result in joint.run.results
            if result.measurand in singles
        ),
        cuts=tuple(cuts),
    )
