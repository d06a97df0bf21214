"""What stays behind of a scored slide, as evidence.

Knows the records alone; the store keeps exactly these. Must not know how any number was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from biomarkers.results import Finding, Interval, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaRecord:
    """An area of the slide, and the share of the tissue it makes up.

    Attributes
    ----------
    name
        ``"tissue"``, then what was left out: ``"pen"``, ``"fold"``, ``"saturated"``, ``"out of focus"``, ``"necrosis"``,
        ``"exclude"`` (places may overlap), and last ``"evaluable"``, the tissue that is left.
    area_mm2
        None without a pixel size.
    """

    name: str
    area_mm2: float | None
    share_of_tissue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """The scores of one region of a slide.

    Attributes
    ----------
    region
        ``"tissue"`` for all tissue that can be evaluated, the kind of annotation for all annotations of that kind together, or
        ``"KIND: NAME"`` for one of several.
    area_mm2
        Of the region that can be evaluated: without masks, necrosis and exclusions. None without a pixel size.
    class_counts
        Cells by intensity class, keys ``"0"``, ``"1+"``, ``"2+"``, ``"3+"``.
    positive_percent, density_per_mm2, h_score
        None where they cannot be given; the findings say why.
    intervals
        95 % limits by score name: ``positive_percent``, ``density_per_mm2``, ``h_score``, ``tps``, ``cps``. They cover the
        spread of cells over the section, never the choice of section, block or lesion.
    inflations
        By score name, how many times larger the variance is than that of independent cells; pooling needs it.
    standard_errors
        By score name, in the score's unit.
    h_score_cells
        What the H-score is taken over: ``"all cells"`` or ``"tumour cells"``.
    tumour_cells
        None where cells are not classed.
    tps, cps
        None where refused or not asked for; the findings say why.
    """

    region: str
    stain: str
    area_mm2: float | None
    cells: int
    positive: int
    class_counts: Mapping[str, int]
    positive_percent: float | None
    density_per_mm2: float | None
    h_score: float | None
    intervals: Mapping[str, Interval]
    findings: tuple[Finding, ...]
    inflations: Mapping[str, float] | None = None
    standard_errors: Mapping[str, float] | None = None
    h_score_cells: str = "all cells"
    tumour_cells: int | None = None
    tps: float | None = None
    cps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideAnalysis:
    """A slide analysed: the run with its results, and the scores behind them.

    Attributes
    ----------
    areas
        Tissue, what was left out of it and why, and what was scored.
    stain_angles_deg
        Angle of each stain found on the slide to the protocol's direction; absent where too few pixels are stained.
    role
        What part the slide plays; only a specimen gives results.
    accession_id
        Of the specimen; empty for a control that shows none.
    section
        Which of several sections of the specimen; empty where there is but one.
    batch, scanner
        Slides stained together, and what scanned this one; empty where nobody said.
    """

    run: Run
    stain: str
    pixel_size_um: float | None
    stain_vectors: Mapping[str, tuple[float, float, float]]
    white_point: tuple[float, float, float]
    scores: tuple[ScoreRecord, ...]
    areas: tuple[AreaRecord, ...] = ()
    stain_angles_deg: Mapping[str, float] | None = None
    role: str = "SPECIMEN"
    accession_id: str = ""
    section: str = ""
    batch: str = ""
    scanner: str = ""
