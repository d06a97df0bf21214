"""One slide from tiles to scores.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from biomarkers.results import Finding, Interval, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """The scores of one region of a slide.

    Attributes
    ----------
    region
        ``"tissue"`` for the whole tissue mask, else the annotation's name.
    area_mm2
        None without a pixel size.
    class_counts
        Cells by intensity class, keys ``"0"``, ``"1+"``, ``"2+"``, ``"3+"``.
    positive_percent, density_per_mm2, h_score
        None where they cannot be given; the findings say why.
    intervals
        95 % limits by score name: ``positive_percent``, ``density_per_mm2``, ``h_score``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideAnalysis:
    """A slide analysed: the run with its results, and the scores behind them."""

    run: Run
    stain: str
    pixel_size_um: float | None
    stain_vectors: Mapping[str, tuple[float, float, float]]
    white_point: tuple[float, float, float]
    scores: tuple[ScoreRecord, ...]
