"""One acquisition from events to the frequencies the study reports.

Knows the order of the steps and the records that stay behind as evidence. Must not know files, the store or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biomarkers.cytometry import cuts, density, ellipses, gating
from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.cut_records import ControlCut, CutRecord, cut_records
from biomarkers.cytometry.frequencies import Spread, frequency_interval, ratio_interval, spread_of
from biomarkers.cytometry.gating import GatedPopulation, Gating, gate_acquisition
from biomarkers.cytometry.panel import FEWEST_COUNTED, ROOT, Panel
from biomarkers.errors import Fault, StudyDefinitionError
from biomarkers.provenance import JsonValue, Provenance
from biomarkers.results import Assay, Finding, Interval, Quantity, Result, Run, Severity
from biomarkers.study.cellular import PanelMeasurand, TubeRole

PROTOCOL_CODE = "FIXATION_UNSUPPORTED"
"""Code of findings about what the declared protocol cannot show."""


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
class ControlReading:
    """One measurand of the control PBMC in one batch: a point of its Levey-Jennings chart.

    Attributes
    ----------
    measured_at
        ISO 8601, so that it sorts.
    value
        None where the control's number was not reportable, which fails the batch by itself.
    """

    batch: str
    measured_at: str
    measurand: str
    value: float | None
    unit: str
    lower: float | None
    upper: float | None
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionAnalysis:
    """An acquisition analysed: the run with its results, and the populations behind them.

    Attributes
    ----------
    panel
        Empty where the tube's part is not gated, such as beads.
    role, marker, batch
        The part the tube plays, and for controls what they control; a batch groups tubes stained together.
    removed_events
        Events left out for unsteady signal or flow.
    readings
        Of a control PBMC: the study's frequencies, for its chart. They are no results of any specimen.
    found
        The cuts it found itself, to be held against those of other tubes of its batch.
    control_cuts
        Of an FMO: where the negatives of the gates that ask for it end.
    """

    run: Run
    panel: str
    events: int
    populations: tuple[PopulationRecord, ...]
    role: TubeRole = TubeRole.SPECIMEN
    marker: str = ""
    batch: str = ""
    removed_events: int = 0
    readings: tuple[ControlReading, ...] = ()
    found: tuple[CutRecord, ...] = ()
    control_cuts: tuple[ControlCut, ...] = ()


def parameters(panel: Panel) -> JsonValue:
    """Every setting the numbers depend on besides the events: the whole template and the thresholds of the method."""
    return {
        "panel": panel.model_dump(mode="json"),
        "fewest_counted": FEWEST_COUNTED,
        "no_valley_quality": cuts.NO_VALLEY_QUALITY,
        "weak_valley_quality": gating.WEAK_VALLEY_QUALITY,
        "borrow_below_quality": cuts.BORROW_BELOW_QUALITY,
        "reference_below_quality": cuts.REFERENCE_BELOW_QUALITY,
        "least_percent_beyond": gating.LEAST_PERCENT_BEYOND,
        "ellipse_core_share": ellipses.CORE_SHARE,
        "least_prominence": density.LEAST_PROMINENCE,
        "density_bins": density.BINS,
        "cut_draws": density.DRAWS,
    }


def analyse_acquisition(
    acquisition: Acquisition,
    panel: Panel,
    *,
    measurands: Sequence[PanelMeasurand],
    accession_id: str,
    run_id: str,
    provenance: Provenance,
) -> AcquisitionAnalysis:
    """Gate an acquisition and give the frequencies and ratios the study reports.

    Parameters
    ----------
    measurands
        What the study reports from this panel.

    Raises
    ------
    GatingError
        The acquisition lacks markers the panel requires.
    StudyDefinitionError
        A measurand names a population the panel does not have; all of them at once.
    """
    check_measurands(measurands, panel)
    return analyse_gating(
        gate_acquisition(acquisition, panel),
        measurands=measurands,
        accession_id=accession_id,
        run_id=run_id,
        provenance=provenance,
        acquired_at=acquisition.acquired_at,
    )


def analyse_gating(
    gated: Gating,
    *,
    measurands: Sequence[PanelMeasurand],
    accession_id: str,
    run_id: str,
    provenance: Provenance,
    acquired_at: str,
) -> AcquisitionAnalysis:
    """Give the frequencies and ratios of a gating, however it came about: found by the template, or drawn by a person."""
    results = tuple(
        _result(gated, measurand, accession_id=accession_id, run_id=run_id, provenance=provenance) for measurand in measurands
    )
    run = Run(
        run_id=run_id,
        assay=Assay.CYTOMETRY,
        name=gated.acquisition,
        acquired_at=acquired_at,
        findings=gated.findings,
        results=results,
        provenance=provenance,
    )
    return AcquisitionAnalysis(
        run=run,
        panel=gated.panel.name,
        events=gated.event_count,
        populations=population_records(gated),
        found=cut_records(gated),
    )


def check_measurands(measurands: Sequence[PanelMeasurand], panel: Panel) -> None:
    """Refuse measurands whose populations the panel cannot give.

    Raises
    ------
    StudyDefinitionError
        All such measurands at once.
    """
    known = [population.name for population in panel.populations]
    faults = [
        Fault(
            where=f"Measurand '{measurand.code}', panel '{panel.name}'.",
            what=f"The panel has no population '{name}'; it has {', '.join(known)}.",
            remedy="Correct the measurand in study.toml or add the population to the panel.",
        )
        for measurand in measurands
        for name in (measurand.population, measurand.denominator)
        if name not in known
    ]
    if faults:
        raise StudyDefinitionError.gathered(faults)


def population_records(gated: Gating) -> tuple[PopulationRecord, ...]:
    """Put every population of a gating on record, in the template's order."""
    return tuple(_record(gated, population) for population in gated.populations.values())


def _record(gated: Gating, population: GatedPopulation) -> PopulationRecord:
    parent_count = int(np.count_nonzero(gated.parent_membership(population.name)))
    findings = _findings_about(gated, population.name)
    interval = frequency_interval([spread_of(gated, population.name)]) if parent_count else None
    return PopulationRecord(
        name=population.name,
        parent=population.parent,
        denominator=population.parent,
        count=population.count,
        parent_count=parent_count,
        frequency_percent=100.0 * population.count / parent_count if parent_count else None,
        lower=interval.lower if interval else None,
        upper=interval.upper if interval else None,
        median_intensity=_medians(gated, population),
        quality=population.quality,
        cuts=_named_cuts(population),
        reportable=not _is_rejected(findings),
        findings=findings,
    )


def _findings_about(gated: Gating, name: str) -> tuple[Finding, ...]:
    """Gather what speaks against a population: its own findings, rejections of the acquisition, and trouble above it."""
    population = gated.populations[name]
    findings = [finding for finding in gated.findings if finding.severity is Severity.REJECT]
    findings.extend(population.findings)
    for ancestor in gated.panel.ancestors(name):
        # What the protocol takes from the populations below is said at each of them; without viability they stay.
        own = [finding for finding in gated.populations[ancestor].findings if finding.code != PROTOCOL_CODE]
        if _is_rejected(own):
            findings.append(
                Finding(
                    code="PARENT_REJECTED",
                    severity=Severity.REJECT,
                    where=f"Acquisition '{gated.acquisition}', population '{name}'.",
                    message=f"It lies within '{ancestor}', which itself is not reportable.",
                    remedy=f"See the findings of '{ancestor}'.",
                )
            )
            break
    template = gated.panel.population(name)
    fewest = FEWEST_COUNTED if template is None else template.min_count
    if population.count < fewest and not any(finding.code == "FEW_EVENTS" for finding in findings):
        findings.append(
            Finding(
                code="FEW_EVENTS",
                severity=Severity.WARNING,
                where=f"Acquisition '{gated.acquisition}', population '{name}'.",
                message=f"It holds {population.count} events; below {fewest} a frequency is not quantified.",
                remedy="Acquire more events of this tube.",
            )
        )
    return tuple(findings)


def _is_rejected(findings: Sequence[Finding]) -> bool:
    return any(finding.severity is Severity.REJECT for finding in findings)


def _medians(gated: Gating, population: GatedPopulation) -> Mapping[str, float]:
    if population.count == 0:
        return {}
    medians = {marker: float(np.median(values[population.membership])) for marker, values in gated.linear.items()}
    return {marker: value for marker, value in medians.items() if np.isfinite(value)}


def _named_cuts(population: GatedPopulation) -> Mapping[str, float]:
    """Cuts by marker; where a marker has two sides, its lower and upper limit."""
    markers = [cut.marker for cut in population.cuts]
    named: dict[str, float] = {}
    for cut in population.cuts:
        name = cut.marker
        if markers.count(cut.marker) > 1:
            name = f"{cut.marker} {'above' if cut.sign == '+' else 'below'}"
        # Two cuts on one side of a marker: the narrower one decides.
        narrower = max if cut.sign == "+" else min
        named[name] = narrower(named[name], cut.value) if name in named else cut.value
    return named


def _result(gated: Gating, measurand: PanelMeasurand, *, accession_id: str, run_id: str, provenance: Provenance) -> Result:
    top, bottom = gated.populations[measurand.population], gated.populations[measurand.denominator]
    findings = _unique((*_findings_about(gated, top.name), *_findings_about(gated, bottom.name)))
    quantity: Quantity | None = None
    interval: Interval | None = None
    if not _is_rejected(findings):
        nested = measurand.kind == "frequency" and bottom.name in gated.panel.ancestors(top.name)
        if bottom.count == 0 or (top.count == 0 and not nested):
            empty = bottom.name if bottom.count == 0 else top.name
            findings = (
                *findings,
                Finding(
                    code="FEW_EVENTS",
                    severity=Severity.REJECT,
                    where=f"Acquisition '{gated.acquisition}', population '{empty}'.",
                    message=f"It holds no events, so '{measurand.code}' has no value.",
                    remedy="Acquire more events of this tube.",
                ),
            )
        else:
            estimate = _estimate(gated, measurand)
            quantity, interval = estimate.quantity, estimate.interval
    return Result(
        accession_id=accession_id,
        assay=Assay.CYTOMETRY,
        measurand=measurand.code,
        quantity=quantity,
        interval=interval,
        denominator=bottom.name,
        n_replicates=bottom.count,
        run_id=run_id,
        findings=findings,
        provenance=provenance,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """A number with its interval."""

    quantity: Quantity
    interval: Interval


def _estimate(gated: Gating, measurand: PanelMeasurand) -> _Estimate:
    top, bottom = measurand.population, measurand.denominator
    ratio = gated.populations[top].count / gated.populations[bottom].count
    above_top = gated.panel.ancestors(top)
    if measurand.kind == "frequency" and bottom in above_top:
        interval = frequency_interval(_path(gated, top, bottom))
        return _Estimate(quantity=Quantity(value=100.0 * ratio, unit="%"), interval=interval)
    above_bottom = (bottom, *gated.panel.ancestors(bottom))
    shared = next((name for name in (top, *above_top) if name in above_bottom), ROOT)
    factor, unit = (100.0, "%") if measurand.kind == "frequency" else (1.0, "ratio")
    interval = ratio_interval(_path(gated, top, shared), _path(gated, bottom, shared), factor)
    return _Estimate(quantity=Quantity(value=factor * ratio, unit=unit), interval=interval)


def _path(gated: Gating, name: str, above: str) -> list[Spread]:
    """Spreads of each step from a population up to, not including, one above it."""
    steps: list[Spread] = []
    while name not in (above, ROOT):
        steps.append(spread_of(gated, name))
        name = gated.populations[name].parent
    return steps


def _unique(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))
