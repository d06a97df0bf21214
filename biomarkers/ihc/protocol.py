"""How one stain is measured, as declared in a stain protocol.

Knows every setting of the method with its unit and default. Must not know files; thresholds are optical densities (base 10)
against the slide's own white point, and mean nothing in programs that compute optical density differently.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from biomarkers.provenance import JsonValue, content_digest
from biomarkers.study.declaration import Code, DeclarationSource

Direction: TypeAlias = tuple[
    Annotated[float, Field(ge=-1, le=1)], Annotated[float, Field(ge=-1, le=1)], Annotated[float, Field(ge=-1, le=1)]
]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Compartment: TypeAlias = Literal["nucleus", "membrane"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StainDirections(_Settings):
    """Directions of the stains in red, green and blue optical density.

    The defaults are those of Ruifrok and Johnston (2001), Anal Quant Cytol Histol 23:291, as QuPath rounds them. A slide's own
    directions are taken where they lie within ``largest_angle_deg`` of these.
    """

    haematoxylin: Direction = (0.65, 0.70, 0.29)
    dab: Direction = (0.27, 0.57, 0.78)
    largest_angle_deg: Positive = 20.0
    largest_residual_share: Annotated[float, Field(gt=0, lt=1)] = 0.15


class TissueSettings(_Settings):
    """Where tissue is: mean optical density of the three channels on a coarse grid."""

    pixel_size_um: Positive = 4.0
    smallest_density: Positive = 0.01
    bridged_um: Positive = 10.0
    smallest_piece_um2: Positive = 2000.0
    smallest_hole_um2: Positive = 500.0


class DetectionSettings(_Settings):
    """How cells are found; lengths in micrometres, areas in square micrometres, thresholds in optical density.

    ``seed_share`` is the fraction of the slide's own typical nuclear response a nucleus must reach, within the limits of
    ``seed_floor`` and ``seed_ceiling``. ``least_haematoxylin_um2`` is the least optical density integrated over a nucleus:
    specks and out-of-focus shadows hold less.
    """

    pixel_size_um: Positive = 0.5
    assumed_pixel_size_um: Positive = 0.25
    tile_px: Annotated[int, Field(ge=256, le=8192)] = 1024
    halo_um: Positive = 32.0
    haematoxylin_ceiling: Positive = 0.4
    seed_scales_um: Annotated[tuple[Positive, ...], Field(min_length=1)] = (2.0, 3.0)
    seed_distance_um: Positive = 2.5
    seed_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    seed_floor: Positive = 0.015
    seed_ceiling: Positive = 0.05
    saddle_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    ellipse_share: Annotated[float, Field(gt=0, le=1)] = 0.94
    local_mean_um: Positive = 7.5
    smoothing_um: Positive = 0.5
    opening_um: Positive = 1.0
    chromogen_density: Positive = 0.3
    smallest_nucleus_um2: Positive = 10.0
    largest_nucleus_um2: Positive = 400.0
    least_haematoxylin_um2: Positive = 1.4


class ScoringSettings(_Settings):
    """Where DAB is read and from which optical density on a cell counts as 1+, 2+ and 3+.

    For the membrane, DAB is read on a ring around the nucleus and the ring's ``ring_quantile`` counts, so that a thin complete
    membrane counts and the stained side of a neighbour does not; or over the nucleus, where that is more.
    """

    compartment: Compartment
    cutoffs: tuple[Positive, Positive, Positive]
    ring_um: Positive = 2.0
    ring_quantile: Annotated[float, Field(gt=0, lt=1)] = 0.6
    needs_tumour_class: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.cutoffs[0] < self.cutoffs[1] < self.cutoffs[2]:
            raise ValueError("cutoffs must rise from 1+ to 3+")
        return self


class EvaluabilitySettings(_Settings):
    """What a slide needs before a number is reported, and the side of the blocks its intervals are built from."""

    smallest_tissue_mm2: Positive
    fewest_cells: Annotated[int, Field(ge=1)]
    block_um: Positive = 128.0


class StainProtocol(_Settings):
    """One stain: what it marks, where, and every setting used to measure it."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)]
    stain: Code
    title: str
    marks: str
    source: DeclarationSource
    directions: StainDirections = StainDirections()
    tissue: TissueSettings = TissueSettings()
    detection: DetectionSettings = DetectionSettings()
    scoring: ScoringSettings
    evaluability: EvaluabilitySettings

    def digest(self) -> str:
        """SHA-256 of the protocol's content."""
        return content_digest(self.parameters())

    def parameters(self) -> dict[str, JsonValue]:
        """Every setting, defaults included, for the provenance of what is measured with it."""
        dumped: dict[str, JsonValue] = self.model_dump(mode="json")
        return dumped
