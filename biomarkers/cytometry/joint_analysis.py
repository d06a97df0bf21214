"""An acquisition's numbers as they are once the other tubes of its staining batch are known.

Knows the record. Must not know how it came about. It stands in the place of the acquisition's own result, which stays on record
beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from biomarkers.cytometry.analysis import AcquisitionAnalysis, PopulationRecord
from biomarkers.cytometry.joint_gating import JointCut
from biomarkers.results import DerivedAnalysis

STEP = "joint gating"
"""Name of the second step that makes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointAnalysis(DerivedAnalysis):
    """An acquisition gated with the cuts of its subject's visits, of its batch or of a control.

    Attributes
    ----------
    panel, events, populations, batch, removed_events
        As of :class:`~biomarkers.cytometry.analysis.AcquisitionAnalysis`.
    own_run_id
        The run of the acquisition itself.
    cuts
        The cuts the subject's visits have in common, whichever of them this visit is a member of.
    """

    panel: str
    events: int
    populations: tuple[PopulationRecord, ...]
    batch: str
    own_run_id: str
    cuts: tuple[JointCut, ...] = ()
    removed_events: int = 0

    def as_acquisition(self) -> AcquisitionAnalysis:
        """Return it in the form of what an instrument measured, for those who read populations."""
        return AcquisitionAnalysis(
            run=self.run,
            panel=self.panel,
            events=self.events,
            populations=self.populations,
            batch=self.batch,
            removed_events=self.removed_events,
        )
