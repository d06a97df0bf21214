"""What study.toml declares of lymphocytes in blood: the panel and the frequencies the study reports.

Must not know how a population is gated.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from biomarkers.study.declaration import Code, Declaration, Material, Scale


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
