"""What study.toml declares of tumour sections: the stains and the scores the study reports.

Must not know how a slide is scored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from biomarkers.study.declaration import Code, Declaration, Material, Scale


class StainReference(Declaration):
    """Which protocol a stain is scored with, and which of its scores the study reports."""

    code: Code
    protocol: str
    materials: Annotated[tuple[Material, ...], Field(min_length=1)]
    due: tuple[Code, ...]
    scores: Annotated[tuple[Literal["DENSITY_TISSUE", "PCT_POSITIVE", "HSCORE"], ...], Field(min_length=1)]


IHC_UNITS = {"DENSITY_TISSUE": "cells/mm2", "PCT_POSITIVE": "%", "HSCORE": "H-score"}
IHC_SCALES: dict[str, Scale] = {"DENSITY_TISSUE": "log", "PCT_POSITIVE": "linear", "HSCORE": "linear"}
