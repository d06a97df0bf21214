"""What study.toml declares of tumour sections: stains, the scores the study reports, and the part a slide plays.

Must not know how a slide is scored.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from biomarkers.study.declaration import Code, Declaration, Material, Scale

HE_STAIN = "HE"
"""What a section stained with haematoxylin and eosin is called; it is kept and not scored."""


class SlideRole(StrEnum):
    """What part a slide plays; only specimens reach the timepoint table."""

    SPECIMEN = "SPECIMEN"
    POSITIVE_CONTROL = "POSITIVE_CONTROL"
    NEGATIVE_CONTROL = "NEGATIVE_CONTROL"
    HE = "HE"


class SlidePattern(BaseModel):
    """File names of slides that play a part other than a specimen.

    ``pattern`` is the name without its extension and may hold ``{accession_id}``, ``{stain}``, ``{section}`` and ``{batch}``,
    as in ``"POSITIVE_{stain}_{batch}"``; case is ignored. Stains, sections and batches are letters, digits and hyphens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: SlideRole
    pattern: str

    @field_validator("role")
    @classmethod
    def _is_no_specimen(cls, value: SlideRole) -> SlideRole:
        if value is SlideRole.SPECIMEN:
            raise ValueError("specimens are named by identifiers.slide_file")
        return value

    @model_validator(mode="after")
    def _names_the_stain(self) -> Self:
        if self.role is not SlideRole.HE and "{stain}" not in self.pattern:
            raise ValueError(f"the pattern '{self.pattern}' of {self.role} slides does not hold {{stain}}")
        return self


class StainReference(Declaration):
    """Which protocol a stain is scored with, and which of its scores the study reports.

    ``rescans`` says what becomes of a further scan of a section that is on record: it waits for a person (``"ask"``), or is
    taken in and the ``"first"`` or the ``"latest"`` counts.
    """

    code: Code
    protocol: str
    materials: Annotated[tuple[Material, ...], Field(min_length=1)]
    due: tuple[Code, ...]
    scores: Annotated[
        tuple[Literal["DENSITY_TISSUE", "DENSITY_TUMOUR", "PCT_POSITIVE", "HSCORE", "TPS", "CPS"], ...], Field(min_length=1)
    ]
    rescans: Literal["ask", "first", "latest"] = "ask"

    @field_validator("scores", mode="before")
    @classmethod
    def _refuses_areas(cls, value: object) -> object:
        if isinstance(value, list | tuple) and "IC" in value:
            raise ValueError(
                "IC is the share of tumour area covered by positive immune cells and is not computed from cells; "
                "have a pathologist score it"
            )
        return value


IHC_UNITS = {
    "DENSITY_TISSUE": "cells/mm2",
    "DENSITY_TUMOUR": "cells/mm2",
    "PCT_POSITIVE": "%",
    "HSCORE": "H-score",
    "TPS": "%",
    "CPS": "CPS",
}
IHC_SCALES: dict[str, Scale] = {
    "DENSITY_TISSUE": "log",
    "DENSITY_TUMOUR": "log",
    "PCT_POSITIVE": "linear",
    "HSCORE": "linear",
    "TPS": "linear",
    "CPS": "linear",
}
