"""What study.toml and sidecars declare of lymphocytes: panel, frequencies and counts, fixation, the part a tube plays.

Must not know how a population is gated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from biomarkers.study.declaration import Code, Declaration, Material, Scale

CELLS_PER_UL = "cells/uL"
"""Unit of a count in blood."""


class TubeRole(StrEnum):
    """What part an acquisition plays; only specimens reach the timepoint table."""

    SPECIMEN = "SPECIMEN"
    FMO = "FMO"
    SINGLE_STAIN = "SINGLE_STAIN"
    BEADS = "BEADS"
    CONTROL_PBMC = "CONTROL_PBMC"


class TubePattern(BaseModel):
    """File names of tubes that play a part other than a specimen.

    ``pattern`` is the whole name and may hold ``{accession_id}``, ``{marker}`` and ``{batch}``, as in
    ``"FMO_{marker}_{batch}.fcs"``; case is ignored. Markers and batches are letters, digits and hyphens, markers
    plus signs too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: TubeRole
    pattern: str

    @field_validator("role")
    @classmethod
    def _is_no_specimen(cls, value: TubeRole) -> TubeRole:
        if value is TubeRole.SPECIMEN:
            raise ValueError("specimens are named by identifiers.fcs_file")
        return value

    @model_validator(mode="after")
    def _names_the_marker(self) -> Self:
        if self.role in (TubeRole.FMO, TubeRole.SINGLE_STAIN) and "{marker}" not in self.pattern:
            raise ValueError(f"the pattern '{self.pattern}' of {self.role} tubes does not hold {{marker}}")
        return self


class TubeSidecar(BaseModel):
    """What a file NAME.toml beside an FCS file may say of it; what it says counts before the file's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: TubeRole | None = None
    accession_id: str = ""
    marker: str = ""
    batch: str = ""
    data_set: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _names_the_marker(self) -> Self:
        if self.role in (TubeRole.FMO, TubeRole.SINGLE_STAIN) and not self.marker:
            raise ValueError(f"a tube of role {self.role} needs its marker")
        return self


class Fixation(Declaration):
    """How cells of a panel are stained and fixed, which decides what can be read from them.

    Attributes
    ----------
    order
        Whether antibodies met living or fixed cells.
    fixative
        As in the protocol: "1 % paraformaldehyde".
    viability_dye
        ``"fixable"`` dyes bind amines and stay; ``"dna"`` dyes, such as 7-AAD and propidium iodide, enter every fixed cell.
    permeabilised
        Whether cells were opened for staining inside, as with a FoxP3 buffer set.
    hours_to_acquisition
        Longest time between fixation and acquisition.
    """

    order: Literal["stain_then_fix", "fix_then_stain"]
    fixative: Annotated[str, Field(min_length=1)]
    viability_dye: Literal["fixable", "dna", "none"] = "fixable"
    permeabilised: bool = False
    hours_to_acquisition: Annotated[float, Field(ge=0)]


class CountMeasurand(BaseModel):
    """Cells of a population per microlitre of blood: the same day's lymphocyte count times its share of lymphocytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Code
    population: str
    lymphocytes: str = "lymphocytes"
    scale: Scale = "log"

    @field_validator("code")
    @classmethod
    def _says_its_unit(cls, value: str) -> str:
        if not value.endswith("_PER_UL"):
            raise ValueError(f"'{value}' counts cells per microlitre of blood; its code must end in _PER_UL")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class HaematologyCount:
    """A blood count as in haematology.csv; it belongs to a specimen, or to a subject's day."""

    lymphocytes_per_ul: float
    accession_id: str = ""
    subject_id: str = ""
    day: date | None = None


class PanelMeasurand(BaseModel):
    """A frequency (population of denominator, in percent) or a ratio of two populations' counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Code
    population: str
    denominator: str
    kind: Literal["frequency", "ratio"] = "frequency"
    scale: Scale = "linear"


class PanelReference(Declaration):
    """Which gating template PBMC are gated with, and which of its frequencies the study reports."""

    name: str
    materials: Annotated[tuple[Material, ...], Field(min_length=1)]
    due: tuple[Code, ...]
    measurands: Annotated[tuple[PanelMeasurand, ...], Field(min_length=1)]
    counts: tuple[CountMeasurand, ...] = ()
    fixation: Fixation | None = None
