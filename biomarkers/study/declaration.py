"""What every declaration of study.toml shares: its source, its codes, and the materials specimens are made of.

Must not know what is declared.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints

DeclarationSource: TypeAlias = Literal["protocol", "assumption"]
Scale: TypeAlias = Literal["linear", "log"]
Code: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=40)]


class Material(StrEnum):
    """What a specimen is made of."""

    PLASMA = "PLASMA"
    SERUM = "SERUM"
    PBMC = "PBMC"
    WHOLE_BLOOD = "WHOLE_BLOOD"
    FFPE_BLOCK = "FFPE_BLOCK"
    FFPE_SECTION = "FFPE_SECTION"


class Declaration(BaseModel):
    """A part of study.toml that says whether the protocol states it or the laboratory assumes it; refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: DeclarationSource
