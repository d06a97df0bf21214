"""Cells per microlitre of blood, from a specimen's frequencies and the same day's blood count: a second step.

Knows which acquisition of a specimen counts, and which blood count belongs to it. Must not know how a count is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from biomarkers.cytometry.analysis import AcquisitionAnalysis
from biomarkers.cytometry.counts import blood_counts, same_day_count
from biomarkers.cytometry.joint_analysis import JointAnalysis
from biomarkers.errors import AssayError
from biomarkers.provenance import Input, Source, canonical_json, content_digest
from biomarkers.readers.panels import read_panel
from biomarkers.results import Assay, DerivedAnalysis, Finding, Parent, Result, Run, Severity, derived_run_identity
from biomarkers.store.database import Reading
from biomarkers.store.derivations import SourceResult, counting_results
from biomarkers.store.results import read_analysis
from biomarkers.store.study_lists import current_haematology, current_roster, haematology_origins
from biomarkers.study.cellular import HaematologyCount, PanelReference
from biomarkers.study.roster import Specimen
from flows.whole_set import WholeSet, parent_input

LIST_NAME = "haematology.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """A specimen's acquisition, the result that makes it count, and the blood count of its day."""

    reference: PanelReference
    source: SourceResult
    analysis: AcquisitionAnalysis
    blood_count: HaematologyCount | None
    list_sha256: str
    disagreement: str


async def counts_in_blood(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Derive the declared counts for every specimen whose acquisition is on record."""
    derived: list[DerivedAnalysis] = []
    for reference in whole.definition.panels:
        if reference.counts:
            with whole.database.read() as reading:
                derived += [_derived(whole, one) for one in _counted(reading, reference)]
    return derived


def _counted(reading: Reading, reference: PanelReference) -> Iterator[_Counted]:
    # Every acquisition gives a result of every measurand, so that the first tells which acquisition counts.
    code = reference.measurands[0].code
    counting = tuple(counting_results(reading, measurands=(code,)))
    if not counting:
        return
    roster, listed = current_roster(reading), current_haematology(reading)
    origins = haematology_origins(reading)
    for accession_id, by_measurand in counting:
        source = by_measurand[code]
        specimen = roster.specimens.get(accession_id)
        analysis = read_analysis(reading, analysis_id=source.stored.analysis_id)
        if isinstance(analysis, JointAnalysis):
            analysis = analysis.as_acquisition()
        if specimen is None or not isinstance(analysis, AcquisitionAnalysis):
            continue
        blood_count, disagreement = _of_the_day(listed, specimen)
        yield _Counted(
            reference=reference,
            source=source,
            analysis=analysis,
            blood_count=blood_count,
            list_sha256="" if blood_count is None else origins[blood_count],
            disagreement=disagreement,
        )


def _of_the_day(listed: Sequence[HaematologyCount], specimen: Specimen) -> tuple[HaematologyCount | None, str]:
    """Find a specimen's blood count; where several disagree there is none, and why is said."""
    try:
        return same_day_count(listed, specimen), ""
    except AssayError as error:
        return None, " ".join(fault.what for fault in error.faults)


def _derived(whole: WholeSet, one: _Counted) -> DerivedAnalysis:
    stored = one.source.stored
    accession_id = stored.accession_id
    run_id = derived_run_identity(Assay.CYTOMETRY, f"counts {one.reference.name}", accession_id)
    panel = read_panel(whole.folder.panels / f"{one.analysis.panel}.toml")
    sources = list(one.analysis.run.provenance.sources)
    if one.list_sha256:
        sources.append(Source(role="haematology", name=LIST_NAME, sha256=one.list_sha256))
    declared = content_digest([count.model_dump(mode="json") for count in one.reference.counts])
    provenance = whole.provenance(
        sources,
        (parent_input(stored.result_id), Input(kind="counts", name=one.reference.name, sha256=declared)),
        canonical_json(
            {
                "lymphocytes_per_ul": None if one.blood_count is None else one.blood_count.lymphocytes_per_ul,
                "quality": panel.quality.model_dump(mode="json"),
            }
        ),
    )
    results = blood_counts(
        one.analysis,
        one.reference.counts,
        one.blood_count,
        accession_id=accession_id,
        provenance=provenance,
        limits=panel.quality,
    )
    run = Run(
        run_id=run_id,
        assay=Assay.CYTOMETRY,
        name=f"Cells in blood {accession_id}",
        acquired_at="",
        findings=(),
        results=tuple(_told(replace(result, run_id=run_id), one.disagreement) for result in results),
        provenance=provenance,
    )
    parent = Parent(analysis_id=stored.analysis_id, result_id=stored.result_id)
    return DerivedAnalysis(step="counts in blood", run=run, parents=(parent,))


def _told(result: Result, disagreement: str) -> Result:
    """Say that a day's blood counts disagree, where that is why there is none."""
    if not disagreement:
        return result
    finding = Finding(
        code="BLOOD_COUNTS_DISAGREE",
        severity=Severity.REJECT,
        where=f"Specimen '{result.accession_id}'.",
        message=disagreement,
        remedy=f"Keep the right one in {LIST_NAME} and drop it again.",
    )
    others = (known for known in result.findings if known.code != "BLOOD_COUNT_MISSING")
    return replace(result, findings=(*others, finding))
