"""What a person's gates changed of an acquisition: the numbers on record, and the pictures kept with its evidence.

Knows where both lie. Must not gate anything.
"""

from __future__ import annotations

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, ValidationError

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.laboratory import Laboratory
from biomarkers.reports.gate_corrections import COMPARED_FILE, ComparedGates, compared_picture

LARGEST = 16_000_000


class Border(BaseModel):
    """One border of a rectangle before and after, in linear units."""

    model_config = ConfigDict(frozen=True)

    channel: str
    side: str
    before: float | None
    after: float | None


class Changed(BaseModel):
    """One population before and after the correction."""

    model_config = ConfigDict(frozen=True)

    name: str
    change: str
    borders: tuple[Border, ...]
    count: tuple[int, int]
    frequency_percent: tuple[float | None, float | None]
    gained: int
    lost: int


class Correction(BaseModel):
    """What is on record of a correction."""

    model_config = ConfigDict(frozen=True)

    populations: tuple[Changed, ...]
    not_used: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[Changed, ...]:
        """The populations that keep other events, or are drawn otherwise."""
        return tuple(one for one in self.populations if one.change not in {"unchanged", "not_gated"})


class _Parameters(BaseModel):
    corrected_gates: Correction | None = None


def correction_of(analysis: AcquisitionAnalysis) -> Correction | None:
    """Return what a person's gates changed; None where they are the template's own."""
    try:
        return _Parameters.model_validate_json(analysis.run.provenance.parameters).corrected_gates
    except ValidationError:
        return None


def pictures(laboratory: Laboratory, run_id: str) -> tuple[tuple[str, str, Markup], ...]:
    """Draw the gates compared: population, parent, picture; none where the evidence was not made yet."""
    place = laboratory.folder.evidence / run_id / COMPARED_FILE
    try:
        if place.stat().st_size > LARGEST:
            return ()
        found = ComparedGates.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return ()
    return tuple((gate.population, gate.parent, compared_picture(gate)) for gate in found.gates)
