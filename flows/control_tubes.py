"""Tubes that control others: what is kept of them, and what an FMO says of where negatives end.

Knows what follows from a control tube's own bytes. Must not know the store, nor the specimens it controls.
"""

from __future__ import annotations

from dataclasses import dataclass

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.cut_records import ControlCut
from biomarkers.cytometry.examined import examine
from biomarkers.cytometry.markers import marker_named
from biomarkers.cytometry.roles import Tube, control_cuts, controlled_markers
from biomarkers.errors import GatingError
from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, content_digest
from biomarkers.readers.panels import read_panel
from biomarkers.results import Finding, Severity
from biomarkers.study.declaration import Material
from biomarkers.study.definition import StudyDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class Fmo:
    """What an FMO gives: cuts, or a finding why there are none.

    Attributes
    ----------
    marker
        As the panel names it; empty where the panel does not know it.
    inputs
        The panel it was gated with; none where it was not gated.
    """

    marker: str = ""
    cuts: tuple[ControlCut, ...] = ()
    inputs: tuple[Input, ...] = ()
    findings: tuple[Finding, ...] = ()


def fmo_of(folder: LabFolder, definition: StudyDefinition, acquisition: Acquisition, tube: Tube) -> Fmo:
    """Gate an FMO by the specimens' panel and place the cuts of the gates that ask for it."""
    references = [panel for panel in definition.panels if Material.PBMC in panel.materials]
    if len(references) != 1:
        return Fmo()
    panel = read_panel(folder.panels / f"{references[0].name}.toml")
    marker = marker_named(panel, tube.marker)
    if marker is None or marker not in controlled_markers(panel):
        return Fmo(marker=marker or "")
    inputs = (Input(kind="panel", name=panel.name, sha256=content_digest(panel.model_dump(mode="json"))),)
    try:
        cuts = control_cuts(examine(acquisition, panel).gated, marker)
    except GatingError as error:
        why = " ".join(fault.what for fault in error.faults)
        return Fmo(marker=marker, inputs=inputs, findings=(_unusable(acquisition.name, marker, why),))
    findings = () if cuts else (_unusable(acquisition.name, marker, "Too few events, or no channel names the marker."),)
    return Fmo(marker=marker, cuts=cuts, inputs=inputs, findings=findings)


def kept_finding(name: str, tube: Tube) -> Finding:
    """Say what a tube without numbers of its own is kept for."""
    told = " ".join(part for part in (tube.role.value, tube.marker) if part)
    batch = f"batch '{tube.batch}'" if tube.batch else "its batch"
    return Finding(
        code="CONTROL_TUBE",
        severity=Severity.NOTE,
        where=f"Acquisition '{name}'.",
        message=f"This tube is {told}; it is kept for {batch}, without numbers of its own.",
        remedy="None needed.",
    )


def _unusable(name: str, marker: str, why: str) -> Finding:
    return Finding(
        code="FMO_UNUSABLE",
        severity=Severity.WARNING,
        where=f"Acquisition '{name}', FMO of {marker}.",
        message=f"It places no cut. {why}",
        remedy="Acquire it with the specimens' settings and channel names, and with as many events.",
    )
