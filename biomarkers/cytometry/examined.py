"""An acquisition examined: judged over time, gated, and held against its limits and the declared staining protocol.

Knows in which order the checks are made and which numbers each speaks against. Must not know files, roles or the study's
measurands. An analysis in the laboratory, its quality page and a correction of its gates all begin here, so that they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.fixation import fixation_findings, purity_findings
from biomarkers.cytometry.gated import Gating, OutsideCut
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.markers import match_markers
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.time_quality import TimeQuality, judge_time
from biomarkers.cytometry.tube_quality import TubeCounts, debris_events, tube_findings
from biomarkers.results import Finding, Severity
from biomarkers.study.cellular import Fixation

FORWARD_SCATTER = "FSC-A"

OF_THE_TUBE = frozenset({"LOW_VIABILITY", "MANY_DOUBLETS", "MUCH_DEBRIS", "SIGNAL_DRIFT", "TIME_SLICES_REMOVED"})
"""Findings of a tube that concern every number from it. Few lymphocytes are told by the populations that are too small."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examined:
    """A gating of the steady stretches of an acquisition, and how steady it was.

    Attributes
    ----------
    gated
        Without the findings of :func:`with_findings`, so that gates may be corrected before they are added.
    """

    gated: Gating
    over_time: TimeQuality


def examine(
    acquisition: Acquisition,
    panel: Panel,
    *,
    outside: Sequence[OutsideCut] = (),
    controls: Mapping[str, Gating] = MappingProxyType({}),
) -> Examined:
    """Leave out stretches of unsteady signal or flow, and gate the rest.

    Parameters
    ----------
    outside, controls
        As for :func:`biomarkers.cytometry.gating.gate_acquisition`.

    Raises
    ------
    GatingError
        As :func:`biomarkers.cytometry.gating.gate_acquisition`.
    """
    followed = sorted(set(match_markers(panel, acquisition).values()))
    over_time = judge_time(acquisition, panel.quality, followed)
    usable = over_time.keep if over_time.removed else None
    gated = gate_acquisition(acquisition, panel, outside=outside, controls=controls, usable=usable)
    return Examined(gated=gated, over_time=over_time)


def with_findings(gated: Gating, over_time: TimeQuality, fixation: Fixation | None) -> Gating:
    """Add what speaks against the tube, and what the protocol takes from each population."""
    by_protocol = fixation_findings(gated.panel, fixation)
    by_purity = purity_findings(gated.panel, tuple(gated.linear))
    populations = {
        name: replace(
            population,
            findings=_added(population.findings, (*by_protocol.get(name, ()), *by_purity.get(name, ()))),
        )
        for name, population in gated.populations.items()
    }
    return with_tube_findings(replace(gated, populations=populations), over_time)


def with_tube_findings(gated: Gating, over_time: TimeQuality) -> Gating:
    """Add what speaks against the tube alone, where no staining protocol is declared."""
    tube = tube_findings(gated.acquisition, tube_counts(gated), gated.panel.quality)
    return replace(gated, findings=(*gated.findings, *over_time.findings, *tube))


def with_warnings_of_the_tube(analysis: AcquisitionAnalysis, *, removed_events: int) -> AcquisitionAnalysis:
    """Say beside every number what speaks against the whole tube; a reader of one number sees no other place."""
    warnings = [one for one in analysis.run.findings if one.severity is Severity.WARNING and one.code in OF_THE_TUBE]
    results = tuple(replace(one, findings=(*one.findings, *warnings)) for one in analysis.run.results)
    return replace(analysis, run=replace(analysis.run, results=results), removed_events=removed_events)


def tube_counts(gated: Gating) -> TubeCounts:
    """Count what a tube's quality is judged by; the populations are known by the names packaged panels give them."""
    populations = gated.populations
    singlets, live, lymphocytes = (populations.get(name) for name in ("singlets", "live", "lymphocytes"))
    has_dye = live is not None and bool(live.cuts) and singlets is not None and live.parent == "singlets"
    debris = None
    if lymphocytes is not None and FORWARD_SCATTER in gated.linear:
        usable = gated.root_membership
        debris = debris_events(gated.linear[FORWARD_SCATTER][usable], lymphocytes.membership[usable])
    return TubeCounts(
        judged=int(np.count_nonzero(gated.root_membership)),
        singlets=None if singlets is None else singlets.count,
        live=live.count if live is not None and has_dye else None,
        lymphocytes=None if lymphocytes is None else lymphocytes.count,
        debris=debris,
    )


def _added(own: Sequence[Finding], further: Iterable[Finding]) -> tuple[Finding, ...]:
    """Add findings; purity that gating has told of already is not told twice."""
    known = {finding.code for finding in own} & {"PURITY_UNVERIFIED"}
    return (*own, *(finding for finding in further if finding.code not in known))
