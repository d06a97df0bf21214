"""One acquisition from events to the frequencies the study reports.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from biomarkers.results import Finding, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationRecord:
    """One gated population.

    Attributes
    ----------
    denominator
        The population ``frequency_percent`` refers to; here always the parent.
    lower, upper
        95 % limits of ``frequency_percent``.
    median_intensity
        Compensated linear median by marker.
    quality
        0 to 1: how clear the cut is; None where the gate has no data-driven cut.
    cuts
        Where the cuts lie, by marker or channel, on the transformed scale.
    reportable
        False where the number must not leave the laboratory; the findings say why.
    """

    name: str
    parent: str
    denominator: str
    count: int
    parent_count: int
    frequency_percent: float | None
    lower: float | None
    upper: float | None
    median_intensity: Mapping[str, float]
    quality: float | None
    cuts: Mapping[str, float]
    reportable: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionAnalysis:
    """An acquisition analysed: the run with its results, and the populations behind them."""

    run: Run
    panel: str
    events: int
    populations: tuple[PopulationRecord, ...]
