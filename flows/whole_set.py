"""What a second step is given: the whole laboratory as it stands.

Knows what is at hand. Must not know any step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from biomarkers.lab.folders import LabFolder
from biomarkers.provenance import Input, Provenance, Source, content_digest, software_version
from biomarkers.store.database import Database
from biomarkers.study.definition import StudyDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeSet:
    """The laboratory's results, files and definition; ``computed_at`` is the moment its derivations are stamped with."""

    database: Database
    definition: StudyDefinition
    folder: LabFolder
    computed_at: datetime

    def provenance(self, sources: Iterable[Source], inputs: Iterable[Input], parameters: str) -> Provenance:
        """Say where a derived run comes from; files that several parents share are named once."""
        return Provenance(
            sources=tuple(dict.fromkeys(sources)),
            inputs=tuple(dict.fromkeys(inputs)),
            software=software_version(),
            parameters=parameters,
            computed_at=self.computed_at,
        )


def parent_input(result_id: str) -> Input:
    """Name a result that another is derived from."""
    return Input(kind="result", name=result_id, sha256=content_digest(result_id))


def run_input(run_id: str, analysis_id: str) -> Input:
    """Name a run, as it was analysed, that a remark rests on."""
    return Input(kind="run", name=run_id, sha256=content_digest(analysis_id))
