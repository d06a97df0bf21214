"""The evidence a run leaves behind as files: its quality page, and what other programs open.

Knows which files each assay gives, by name and bytes. Must not know where they are kept. All of it can be made again from the
raw bytes and the recorded analysis.
"""

from __future__ import annotations

from collections.abc import Sequence

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.gating import Gating
from biomarkers.cytometry.joint_analysis import JointAnalysis
from biomarkers.cytometry.time_quality import TimeQuality
from biomarkers.elisa.control_charts import ControlSeries
from biomarkers.elisa.records import PlateAnalysis
from biomarkers.reports.acquisition_page import acquisition_page
from biomarkers.reports.gate_densities import gate_densities
from biomarkers.reports.joint_values import side_by_side
from biomarkers.reports.plate_page import plate_page
from biomarkers.reports.slide_files import slide_files
from biomarkers.reports.slide_page import slide_page

QUALITY_PAGE = "quality.html"

__all__ = [
    "QUALITY_PAGE",
    "acquisition_evidence",
    "acquisition_page",
    "joint_evidence",
    "plate_evidence",
    "plate_page",
    "slide_files",
    "slide_page",
]


def plate_evidence(analysis: PlateAnalysis, charts: Sequence[ControlSeries] = ()) -> dict[str, bytes]:
    """Make the evidence of a plate: file names with their bytes.

    Parameters
    ----------
    charts
        Controls over the runs of their lots, where other runs are known.
    """
    return {QUALITY_PAGE: plate_page(analysis, title=f"Plate {analysis.run.name}", charts=charts).encode()}


def joint_evidence(
    joint: JointAnalysis, own: AcquisitionAnalysis, gating: Gating, *, over_time: TimeQuality | None = None
) -> dict[str, bytes]:
    """Make the evidence of an acquisition gated with its batch: the single values and cuts stand beside the joint ones.

    Parameters
    ----------
    own
        What the acquisition said by itself.
    gating
        With the joint cuts.
    """
    page = acquisition_page(
        joint.as_acquisition(),
        gate_densities(gating),
        title=f"Acquisition {joint.run.name}",
        over_time=over_time,
        limits=gating.panel.quality,
        beside=side_by_side(joint, own, gating),
    )
    return {QUALITY_PAGE: page.encode()}


def acquisition_evidence(
    analysis: AcquisitionAnalysis, gating: Gating, *, over_time: TimeQuality | None = None
) -> dict[str, bytes]:
    """Make the evidence of an acquisition: file names with their bytes.

    Parameters
    ----------
    gating
        The acquisition gated again by the panel of the analysis; the same events and panel always give the same gates.
    over_time
        How steady signal and flow were, where it is to be shown.
    """
    page = acquisition_page(
        analysis,
        gate_densities(gating),
        title=f"Acquisition {analysis.run.name}",
        over_time=over_time,
        limits=gating.panel.quality,
    )
    return {QUALITY_PAGE: page.encode()}
