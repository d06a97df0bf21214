"""What the gated populations say about the tube itself: doublets, debris, viability, enough lymphocytes.

Knows counts and the panel's limits. Must not know how a population was gated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.quality_limits import Limit, QualityLimits
from biomarkers.results import Finding, Severity

DEBRIS_OF_LYMPHOCYTE = 0.5
"""Forward scatter, relative to the median lymphocyte's, below which an event is debris: lymphocytes vary by a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeCounts:
    """Events of a tube.

    Attributes
    ----------
    judged
        Events gated: all of them, less the slices left out.
    singlets, live, lymphocytes
        None where the panel does not tell them apart.
    debris
        From :func:`debris_events`; None where it cannot be told.
    """

    judged: int
    singlets: int | None = None
    live: int | None = None
    lymphocytes: int | None = None
    debris: int | None = None


def debris_events(forward_scatter: npt.NDArray[np.float32], lymphocytes: npt.NDArray[np.bool_]) -> int | None:
    """Count events far smaller than lymphocytes; None without lymphocytes.

    Parameters
    ----------
    forward_scatter
        Linear, one value an event.
    lymphocytes
        Their membership.
    """
    seen = forward_scatter[lymphocytes]
    seen = seen[np.isfinite(seen)]
    if seen.size == 0:
        return None
    return int(np.count_nonzero(forward_scatter < DEBRIS_OF_LYMPHOCYTE * float(np.median(seen))))


def tube_findings(name: str, counts: TubeCounts, limits: QualityLimits) -> tuple[Finding, ...]:
    """Judge a gated tube by its panel's limits."""
    return tuple(_findings(f"Acquisition '{name}'.", counts, limits))


def _findings(where: str, counts: TubeCounts, limits: QualityLimits) -> Iterator[Finding]:
    if counts.judged > 0 and counts.singlets is not None:
        doublets = 100.0 * (1 - counts.singlets / counts.judged)
        if doublets > limits.doublet_percent.value:
            yield _told(
                "MANY_DOUBLETS",
                where,
                f"{doublets:.1f} % of events are no single cells",
                limits.doublet_percent,
                "Filter the suspension and acquire more slowly.",
            )
    if counts.judged > 0 and counts.debris is not None:
        debris = 100.0 * counts.debris / counts.judged
        if debris > limits.debris_percent.value:
            yield _told(
                "MUCH_DEBRIS",
                where,
                f"{debris:.1f} % of events are smaller than half a lymphocyte",
                limits.debris_percent,
                "Raise the threshold on forward scatter; check thawing and lysis.",
            )
    if counts.live is not None and counts.singlets:
        viable = 100.0 * counts.live / counts.singlets
        if viable < limits.viability_percent.value:
            yield Finding(
                code="LOW_VIABILITY",
                severity=Severity.WARNING,
                where=where,
                message=f"{viable:.1f} % of single cells are alive; at least {limits.viability_percent.value:g} % are wanted "
                f"({limits.viability_percent.source}).",
                remedy="Check transport and thawing; read rare populations with care.",
            )
    if counts.lymphocytes is not None:
        yield from _few_lymphocytes(where, counts.lymphocytes, limits)


def _few_lymphocytes(where: str, count: int, limits: QualityLimits) -> Iterator[Finding]:
    for limit, use, severity in (
        (limits.lineage_lymphocytes, "lineages", Severity.WARNING),
        (limits.rare_lymphocytes, "rare subsets", Severity.NOTE),
    ):
        if count < limit.value:
            yield Finding(
                code="FEW_LYMPHOCYTES",
                severity=severity,
                where=where,
                message=f"The tube holds {count} lymphocytes; {limit.value:.0f} are wanted for {use} ({limit.source}).",
                remedy="Acquire more events of this tube.",
            )
            return


def _told(code: str, where: str, what: str, limit: Limit, remedy: str) -> Finding:
    return Finding(
        code=code,
        severity=Severity.WARNING,
        where=where,
        message=f"{what}; more than {limit.value:g} % is flagged ({limit.source}).",
        remedy=remedy,
    )
