"""The gates of an acquisition as files other programs open: a FlowJo workspace and a Gating-ML document.

Knows under which names they lie among a run's evidence. Must not know how gates are written.
"""

from __future__ import annotations

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.evaluation import count_populations, evaluate
from biomarkers.cytometry.found_gates import found_gates
from biomarkers.cytometry.gated import Gating
from biomarkers.errors import GatingError
from biomarkers.readers.flowjo_writing import WorkspaceSample, workspace_document
from biomarkers.readers.gatingml_writing import gatingml_document, xml_bytes

WORKSPACE, GATINGML = "gates.wsp", "gates.xml"


def gate_files(gated: Gating, acquisition: Acquisition, *, file_name: str) -> dict[str, bytes]:
    """Write a gating's gates, each file by its name; none where they cannot be said in these formats.

    Parameters
    ----------
    file_name
        Of the FCS file, by which FlowJo finds it beside the workspace.
    """
    try:
        strategy = found_gates(gated, acquisition, ellipses_as_polygons=True).strategy
        counts = {one.gate_id: one.count for one in count_populations(strategy, evaluate(strategy, acquisition))}
        sample = WorkspaceSample(file_name=file_name, acquisition=acquisition, strategy=strategy, counts=counts)
        return {WORKSPACE: xml_bytes(workspace_document([sample])), GATINGML: xml_bytes(gatingml_document(strategy))}
    except GatingError:
        return {}  # the quality page shows the gates all the same
