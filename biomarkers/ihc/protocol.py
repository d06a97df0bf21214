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


class ArtefactSettings(_Settings):
    """What is not scored; lengths in micrometres, densities as length of the vector of the three channels' optical densities.

    ``least_focus`` is the ratio of fine to broad detail below which a place is out of focus. ``darkest_light`` is of 255.
    """

    margin_um: Positive = 8.0
    darkest_light: Annotated[int, Field(ge=0, le=60)] = 16
    dark_width_um: Positive = 32.0
    pen_density: Positive = 0.6
    pen_strange_share: Annotated[float, Field(gt=0, lt=1)] = 0.18
    pen_black_density: Positive = 0.9
    pen_grey_cosine: Annotated[float, Field(gt=0, lt=1)] = 0.989
    pen_blue_density: Positive = 0.9
    pen_dab_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    pen_width_um: Positive = 80.0
    fold_smoothing_um: Positive = 8.0
    fold_times_typical: Positive = 2.5
    fold_length_um: Positive = 200.0
    fold_elongation: Positive = 4.0
    least_focus: Positive = 0.22
    least_focus_contrast: Positive = 0.004


class DetectionSettings(_Settings):
    """How cells are found; lengths in micrometres, areas in square micrometres, thresholds in optical density.

    Slides whose nuclei exceed ``usual_density`` are brought down to it. A seed must reach ``seed_share`` of the slide's own
    typical nuclear response, and ``seed_floor`` on any slide. ``least_haematoxylin_um2`` is the least optical density
    integrated over a nucleus: specks and out-of-focus shadows hold less. Pieces of a nucleus join as told in
    :func:`~biomarkers.ihc.basins.rejoined`; chromogen reaches ``chromogen_rim_um`` beyond the blob it makes. Differences of
    chromogen beyond ``chromogen_ceiling`` are noise of nearly black pixels and split no nucleus.
    """

    pixel_size_um: Positive = 0.5
    assumed_pixel_size_um: Positive = 0.25
    tile_px: Annotated[int, Field(ge=256, le=8192)] = 1024
    halo_um: Positive = 32.0
    haematoxylin_ceiling: Positive = 0.3
    seed_scales_um: Annotated[tuple[Positive, ...], Field(min_length=1)] = (2.0, 3.0)
    seed_distance_um: Positive = 2.5
    usual_density: Positive = 0.5
    seed_share: Annotated[float, Field(gt=0, lt=1)] = 0.35
    seed_floor: Positive = 0.01
    saddle_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    ellipse_share: Annotated[float, Field(gt=0, le=1)] = 0.94
    half_elongation: Positive = 1.1
    half_ellipse_share: Annotated[float, Field(gt=0, le=1)] = 0.9
    largest_of_halves_um2: Positive = 90.0
    local_mean_um: Positive = 6.0
    smoothing_um: Positive = 0.5
    opening_um: Positive = 1.0
    edge_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    rim_um: tuple[Positive, Positive] = (0.5, 2.5)
    chromogen_density: Positive = 0.3
    chromogen_ceiling: Positive = 1.2
    chromogen_rim_um: Positive = 1.0
    smallest_nucleus_um2: Positive = 10.0
    largest_nucleus_um2: Positive = 400.0
    least_haematoxylin_um2: Positive = 1.7


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
    fewest_tumour_cells: Annotated[int, Field(ge=1)] = 100
    block_um: Positive = 128.0


class ControlSettings(_Settings):
    """What the control slides of a batch must show; declared by the laboratory, for its own tissue and antibody.

    ``positive_h_score`` is the range of the positive control's H-score, ``largest_background_percent`` the largest percentage
    of positive cells on the slide without primary antibody.
    """

    positive_h_score: tuple[Annotated[float, Field(ge=0, le=300)], Annotated[float, Field(ge=0, le=300)]] | None = None
    largest_background_percent: Annotated[float, Field(ge=0, le=100)] = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.positive_h_score is not None and self.positive_h_score[0] > self.positive_h_score[1]:
            raise ValueError("positive_h_score must give the lower limit first")
        return self


class StainProtocol(_Settings):
    """One stain: what it marks, where, and every setting used to measure it.

    ``clone`` and ``platform`` name antibody and stainer; without them no TPS or CPS is given, for they mean different things
    with different assays.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)]
    stain: Code
    title: str
    marks: str
    source: DeclarationSource
    directions: StainDirections = StainDirections()
    tissue: TissueSettings = TissueSettings()
    artefacts: ArtefactSettings = ArtefactSettings()
    detection: DetectionSettings = DetectionSettings()
    scoring: ScoringSettings
    evaluability: EvaluabilitySettings
    controls: ControlSettings = ControlSettings()
    clone: str = ""
    platform: str = ""

    def digest(self) -> str:
        """SHA-256 of the protocol's content."""
        return content_digest(self.parameters())

    def parameters(self) -> dict[str, JsonValue]:
        """Every setting, defaults included, for the provenance of what is measured with it."""
        dumped: dict[str, JsonValue] = self.model_dump(mode="json")
        return dumped
