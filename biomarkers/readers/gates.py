"""Gates drawn in other software: Gating-ML 2.0 or a FlowJo 10 workspace ↔ strategies.

Knows which of the two a file is, and which sample of a workspace an acquisition is. Must not know what gates mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from biomarkers.cytometry.strategy import Strategy
from biomarkers.errors import SourceFileError
from biomarkers.readers import flowjo_workspaces, gatingml_files
from biomarkers.readers.gate_xml import GATING, read_xml


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFile:
    """What a file of gates holds.

    Attributes
    ----------
    strategies
        By sample as a workspace names it; by an empty name where the gates are for any acquisition (Gating-ML).
    refused
        Why the gates of other samples cannot be read, by sample.
    """

    name: str
    kind: Literal["Gating-ML 2.0", "FlowJo workspace"]
    strategies: Mapping[str, Strategy]
    refused: Mapping[str, SourceFileError] = field(default_factory=dict)

    def strategy_for(self, acquisition: str) -> Strategy:
        """Return the gates of one acquisition.

        Parameters
        ----------
        acquisition
            Its file's name, with or without ".fcs".

        Raises
        ------
        SourceFileError
            The workspace has no sample of that name, or several, or its gates cannot be read.
        """
        if "" in self.strategies:
            return self.strategies[""]
        wanted = _stem(acquisition)
        samples = (*self.strategies, *self.refused)
        fitting = [sample for sample in samples if _stem(sample) == wanted]
        if len(fitting) != 1:
            names = ", ".join(f"'{sample}'" for sample in samples[:20])
            raise SourceFileError(
                what=f"The workspace has {len(fitting) or 'no'} samples called '{acquisition}'; it has {names}.",
                where=f"File '{self.name}'.",
                remedy="Draw the gates on the file of that name, or give the file the name it has in the workspace.",
            )
        if fitting[0] in self.refused:
            raise self.refused[fitting[0]]
        return self.strategies[fitting[0]]


def read_gates(path: Path) -> GateFile:
    """Read a Gating-ML 2.0 document or a FlowJo 10 workspace.

    Raises
    ------
    SourceFileError
        It is neither, might be meant to harm, or is incomplete; all its faults together.
    """
    root = read_xml(path)
    if root.tag == f"{{{GATING}}}Gating-ML":
        return GateFile(name=path.name, kind="Gating-ML 2.0", strategies={"": gatingml_files.strategy_of(root, path.name)})
    if root.tag == "Workspace":
        samples = flowjo_workspaces.samples_of(root, path.name)
        return GateFile(name=path.name, kind="FlowJo workspace", strategies=samples.strategies, refused=samples.refused)
    raise SourceFileError(
        what=f"The file begins with '{root.tag[-60:]}': it is neither Gating-ML 2.0 nor a FlowJo workspace.",
        where=f"File '{path.name}'.",
        remedy="Save the workspace with FlowJo 10 (.wsp), or export the gates as Gating-ML 2.0.",
    )


def _stem(name: str) -> str:
    folded = name.casefold()
    return folded.removesuffix(".fcs").removesuffix(".lmd")
