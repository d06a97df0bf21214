"""From frequencies to cells: per microlitre of blood by the same day's blood count, per microlitre of suspension by beads.

Knows the arithmetic, its intervals and its limit of quantification. Must not know where a blood count was listed. Isolated PBMC
have lost their volume: beads in them count the suspension, never blood.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from biomarkers.cytometry.analysis import AcquisitionAnalysis, PopulationRecord
from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.errors import AssayError, Fault, StudyDefinitionError
from biomarkers.provenance import Provenance
from biomarkers.results import Assay, Finding, Interval, Quantity, Result, Severity
from biomarkers.study.cellular import CELLS_PER_UL, CountMeasurand, HaematologyCount
from biomarkers.study.roster import Specimen

NORMAL_95 = 1.959963984540054


def same_day_count(counts: Iterable[HaematologyCount], specimen: Specimen) -> HaematologyCount | None:
    """Find the blood count of a specimen: by its accession or its parent's, else by its subject on the day of collection.

    Raises
    ------
    AssayError
        Several counts fit and disagree.
    """
    listed = tuple(counts)
    accessions = {specimen.accession_id, specimen.parent_accession_id} - {""}
    fitting = [count for count in listed if count.accession_id in accessions] or [
        count
        for count in listed
        if count.subject_id == specimen.subject_id and count.day is not None and count.day == specimen.collected_at.day
    ]
    if len({count.lymphocytes_per_ul for count in fitting}) > 1:
        said = ", ".join(f"{count.lymphocytes_per_ul:g}" for count in fitting)
        raise AssayError(
            what=f"The blood counts of one day disagree: {said} lymphocytes per microlitre.",
            where=f"Specimen '{specimen.accession_id}'.",
            remedy="Keep the right one in haematology.csv and drop it again.",
        )
    return fitting[0] if fitting else None


def blood_counts(
    analysis: AcquisitionAnalysis,
    measurands: Sequence[CountMeasurand],
    blood_count: HaematologyCount | None,
    *,
    accession_id: str,
    provenance: Provenance,
    limits: QualityLimits | None = None,
) -> tuple[Result, ...]:
    """Give cells per microlitre of blood for each measurand; not evaluable, with the reason, where they cannot be given.

    Parameters
    ----------
    blood_count
        From :func:`same_day_count`; None where that day has none.
    provenance
        Must name the haematology list among its sources beside the instrument file.

    Raises
    ------
    StudyDefinitionError
        A measurand names a population the panel does not have, or one that does not lie among the lymphocytes; all at once.
    """
    by_name = {record.name: record for record in analysis.populations}
    _check(measurands, by_name)
    applied = limits or QualityLimits()
    return tuple(
        _count(analysis, by_name, measurand, blood_count, accession_id=accession_id, provenance=provenance, limits=applied)
        for measurand in measurands
    )


def _check(measurands: Sequence[CountMeasurand], by_name: dict[str, PopulationRecord]) -> None:
    faults = []
    for measurand in measurands:
        unknown = [name for name in (measurand.population, measurand.lymphocytes) if name not in by_name]
        if unknown:
            what = f"The panel has no population '{unknown[0]}'; it has {', '.join(by_name)}."
        elif measurand.lymphocytes not in (measurand.population, *_above(measurand.population, by_name)):
            what = (
                f"'{measurand.population}' does not lie within '{measurand.lymphocytes}', which is what the blood count counts."
            )
        else:
            continue
        faults.append(
            Fault(where=f"Measurand '{measurand.code}'.", what=what, remedy="Correct the measurand in study.toml or the panel.")
        )
    if faults:
        raise StudyDefinitionError.gathered(faults)


def _above(name: str, by_name: dict[str, PopulationRecord]) -> list[str]:
    above = []
    while name in by_name:
        name = by_name[name].parent
        above.append(name)
    return above


def _count(
    analysis: AcquisitionAnalysis,
    by_name: dict[str, PopulationRecord],
    measurand: CountMeasurand,
    blood_count: HaematologyCount | None,
    *,
    accession_id: str,
    provenance: Provenance,
    limits: QualityLimits,
) -> Result:
    population, lymphocytes = by_name[measurand.population], by_name[measurand.lymphocytes]
    findings = tuple(dict.fromkeys((*population.findings, *lymphocytes.findings)))
    quantity: Quantity | None = None
    interval: Interval | None = None
    if blood_count is None:
        findings = (*findings, _no_blood_count(accession_id))
    elif lymphocytes.count == 0:
        findings = (*findings, _no_lymphocytes(analysis, lymphocytes))
    elif not any(finding.severity is Severity.REJECT for finding in findings):
        quantity, interval, below = _in_blood(population, lymphocytes, by_name, blood_count, limits)
        if below:
            told = [finding for finding in findings if finding.code != "FEW_EVENTS"]
            findings = (*told, quantification_finding(analysis.run.name, population, limits))
    return Result(
        accession_id=accession_id,
        assay=Assay.CYTOMETRY,
        measurand=measurand.code,
        quantity=quantity,
        interval=interval,
        denominator="blood",
        n_replicates=population.count,
        run_id=analysis.run.run_id,
        findings=findings,
        provenance=provenance,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A population's share of its parent with its limits."""

    share: float
    lower: float
    upper: float


def _in_blood(
    population: PopulationRecord,
    lymphocytes: PopulationRecord,
    by_name: dict[str, PopulationRecord],
    blood_count: HaematologyCount,
    limits: QualityLimits,
) -> tuple[Quantity, Interval | None, bool]:
    per_ul = blood_count.lymphocytes_per_ul
    smallest = limits.quantified_events.value
    if population.count < smallest:
        bound = per_ul * min(1.0, smallest / lymphocytes.count)
        return Quantity(value=bound, unit=CELLS_PER_UL, comparator="<"), None, True
    value = per_ul * population.count / lymphocytes.count
    below = above = (NORMAL_95 * limits.blood_count_cv_percent.value / 100) ** 2
    name = population.name
    while name != lymphocytes.name:
        record = by_name[name]
        if record.frequency_percent and record.lower and record.upper:
            below += log(record.frequency_percent / record.lower) ** 2
            above += log(record.upper / record.frequency_percent) ** 2
        name = record.parent
    interval = Interval(lower=value * exp(-sqrt(below)), upper=value * exp(sqrt(above)))
    return Quantity(value=value, unit=CELLS_PER_UL), interval, False


def quantification_finding(name: str, population: PopulationRecord, limits: QualityLimits) -> Finding:
    """Say that a population holds too few events for its number."""
    detected = population.count >= limits.detected_events.value
    told = "present but not quantified" if detected else "too few to say that it is present"
    return Finding(
        code="FEW_EVENTS",
        severity=Severity.WARNING,
        where=f"Acquisition '{name}', population '{population.name}'.",
        message=f"It holds {population.count} events, {told}: below {limits.quantified_events.value:g} nothing is quantified "
        f"({limits.quantified_events.source}).",
        remedy="Acquire more events of this tube.",
    )


def _no_blood_count(accession_id: str) -> Finding:
    return Finding(
        code="BLOOD_COUNT_MISSING",
        severity=Severity.REJECT,
        where=f"Specimen '{accession_id}'.",
        message="There is no lymphocyte count of the same day, and a frequency is no count.",
        remedy="List the day's count in haematology.csv and drop it.",
    )


def _no_lymphocytes(analysis: AcquisitionAnalysis, lymphocytes: PopulationRecord) -> Finding:
    return Finding(
        code="FEW_EVENTS",
        severity=Severity.REJECT,
        where=f"Acquisition '{analysis.run.name}', population '{lymphocytes.name}'.",
        message="It holds no events.",
        remedy="Acquire more events of this tube.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BeadCount:
    """Counting beads acquired with the cells.

    Attributes
    ----------
    bead_events
        Events gated as beads.
    beads_per_ul
        Beads per microlitre of the suspension that was acquired.
    """

    bead_events: int
    beads_per_ul: float


def per_ul_of_suspension(cell_events: int, beads: BeadCount) -> tuple[Quantity, Interval]:
    """Count cells per microlitre of the suspension by beads. This is no number of blood, and no measurand of the study.

    Raises
    ------
    AssayError
        There are too few beads, or their concentration is not known.
    """
    if beads.bead_events < 1 or not beads.beads_per_ul > 0:
        raise AssayError(
            what=f"{beads.bead_events} beads at {beads.beads_per_ul:g} per microlitre give no count.",
            where="Counting beads.",
            remedy="Gate the beads, and give their concentration from the lot's certificate.",
        )
    value = beads.beads_per_ul * cell_events / beads.bead_events
    spread = NORMAL_95 * sqrt(1 / max(cell_events, 1) + 1 / beads.bead_events)
    one_cell = beads.beads_per_ul / beads.bead_events
    return (
        Quantity(value=value, unit=f"{CELLS_PER_UL} of suspension"),
        Interval(
            lower=value * exp(-spread) if cell_events else 0.0,
            upper=max(value, one_cell) * exp(spread),
        ),
    )
