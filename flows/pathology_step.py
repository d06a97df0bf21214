"""What pathologists say of a section, held against its scores: a second step.

Knows which results a reading is about. A section in which every reader finds no tumour has no number for tumour tissue; where
readers differ the number stands with a warning; what they say of viable tumour and necrosis is shown beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from biomarkers.ihc.analysis import SlideAnalysis
from biomarkers.ihc.pooling import POOLING_STEP
from biomarkers.provenance import Input, canonical_json, content_digest
from biomarkers.results import Assay, DerivedAnalysis, Finding, Parent, Remark, Run, Severity, derived_run_identity
from biomarkers.store.results import measured_analyses, read_analysis
from biomarkers.store.slides import runs_derived_from_slides
from biomarkers.store.study_lists import current_pathology
from biomarkers.study.pathology import PathologyReading
from flows.whole_set import WholeSet, parent_input, run_input

STEP = "pathology"


async def pathology_results(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Hold every slide of a specimen that pathologists have read against what they said."""
    with whole.database.read() as reading:
        by_accession: dict[str, list[PathologyReading]] = {}
        for one in current_pathology(reading):
            by_accession.setdefault(one.accession_id, []).append(one)
        if not by_accession:
            return ()
        recorded = [
            (analysis_id, read_analysis(reading, analysis_id=analysis_id))
            for analysis_id in measured_analyses(reading, assay=Assay.IHC, accession_ids=tuple(by_accession))
        ]
        pooled = runs_derived_from_slides(reading, step=POOLING_STEP)
    return [
        _derived(
            whole,
            analysis_id,
            slide,
            by_accession[slide.run.results[0].accession_id],
            also=sorted(pooled.get(slide.run.run_id, ())),
        )
        for analysis_id, slide in recorded
        if isinstance(slide, SlideAnalysis)
    ]


def _derived(
    whole: WholeSet,
    analysis_id: str,
    slide: SlideAnalysis,
    readings: Sequence[PathologyReading],
    *,
    also: Sequence[str],
) -> DerivedAnalysis:
    """Say of a slide, and of the runs that pool it with others, what was read."""
    measured = slide.run.results
    accession_id = measured[0].accession_id
    has_no_tumour = not any(reading.tumour_present for reading in readings)
    run_id = derived_run_identity(Assay.IHC, STEP, slide.run.run_id)
    provenance = whole.provenance(
        slide.run.provenance.sources,
        (
            run_input(slide.run.run_id, analysis_id),
            *(parent_input(result.result_id) for result in measured if has_no_tumour),
            Input(kind="pathology", name=accession_id, sha256=content_digest([asdict(reading) for reading in readings])),
        ),
        canonical_json({"step": STEP}),
    )
    where = f"Specimen '{accession_id}', slide '{slide.run.name}'."
    remarks = tuple(
        Remark(run_id=run_id_spoken_of, accession_id=accession_id, finding=finding)
        for run_id_spoken_of in (slide.run.run_id, *also)
        for finding in (() if has_no_tumour else _said(readings, where))
    )
    refusal = _no_tumour(readings, where)
    results = tuple(
        replace(
            result,
            quantity=None,
            interval=None,
            findings=(*result.findings, refusal),
            run_id=run_id,
            provenance=provenance,
        )
        for result in measured
        if has_no_tumour
    )
    return DerivedAnalysis(
        step=STEP,
        run=Run(
            run_id=run_id,
            assay=Assay.IHC,
            name=f"Pathology of {slide.run.name}",
            acquired_at="",
            findings=tuple(remark.finding for remark in remarks),
            results=results,
            provenance=provenance,
        ),
        parents=tuple(
            Parent(analysis_id=analysis_id, result_id=result.result_id, replaces=True) for result in measured if has_no_tumour
        ),
        remarks=remarks,
    )


def _no_tumour(readings: Sequence[PathologyReading], where: str) -> Finding:
    readers = ", ".join(reading.reader for reading in readings)
    return Finding(
        code="NO_TUMOUR",
        severity=Severity.REJECT,
        where=where,
        message=f"The section holds no tumour, as read by {readers}; its scores would not be those of tumour tissue.",
        remedy="Cut another section or block, or correct pathology.csv.",
    )


def _said(readings: Sequence[PathologyReading], where: str) -> Iterator[Finding]:
    without = [reading.reader for reading in readings if not reading.tumour_present]
    if without:
        yield Finding(
            code="TUMOUR_DISPUTED",
            severity=Severity.WARNING,
            where=where,
            message=f"Some readers find tumour in the section; {', '.join(without)} did not.",
            remedy="Let the readers agree, and correct pathology.csv.",
        )
    yield Finding(
        code="PATHOLOGY_READ",
        severity=Severity.NOTE,
        where=where,
        message=" ".join(_sentence(reading) for reading in readings),
        remedy="Nothing to do.",
    )


def _sentence(reading: PathologyReading) -> str:
    tumour = "tumour is present" if reading.tumour_present else "no tumour"
    parts = [
        f"{name} {value:g} %"
        for name, value in (("viable tumour", reading.viable_tumour_percent), ("necrosis", reading.necrosis_percent))
        if value is not None
    ]
    return f"{reading.reader}: {', '.join([tumour, *parts])}."
