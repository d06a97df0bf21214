"""Several sections of one specimen and stain as one: a second step.

Knows which slides of a specimen count. Counts are added over areas; each slide's own results stay on record, and the pooled
ones take their place in the timepoint table. Of several scans of one section one counts. The order of arrival decides nothing
but which of two undecided scans is the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from biomarkers.ihc.analysis import SlideAnalysis, StudyScore
from biomarkers.ihc.pooling import POOLING_STEP, pool_slides
from biomarkers.ihc.protocol import StainProtocol
from biomarkers.ihc.section import study_result
from biomarkers.provenance import Input, Provenance, canonical_json, content_digest
from biomarkers.readers.stain_protocols import protocol_named
from biomarkers.results import Assay, DerivedAnalysis, Finding, Parent, Result, Run, Severity, derived_run_identity
from biomarkers.store.decisions import Decision
from biomarkers.store.results import read_analysis
from biomarkers.store.slides import StoredSlide, decisions_on_slides, stored_slides
from biomarkers.store.study_lists import current_pathology
from biomarkers.study.pathology import PathologyReading
from biomarkers.study.tissue import SlideRole, StainReference
from flows.whole_set import WholeSet, parent_input

STEP = POOLING_STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One scan of a section with its result of the score that is pooled."""

    stored: StoredSlide
    analysis: SlideAnalysis
    result: Result
    decision: Decision | None


async def pooled_sections(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Pool every specimen and stain of which several sections are on record."""
    with whole.database.read() as reading:
        groups = _groups(stored_slides(reading))
        if not groups:
            return ()
        readings = current_pathology(reading)
        runs = [slide.run_id for group in groups for slide in group]
        decisions = decisions_on_slides(reading, run_ids=runs)
        analyses = {slide.run_id: read_analysis(reading, analysis_id=slide.analysis_id) for group in groups for slide in group}
    derived = []
    for group in groups:
        stain = whole.definition.stain(group[0].stain)
        if stain is None or has_no_tumour(readings, group[0].accession_id):
            continue
        slides = {slide: analyses[slide.run_id] for slide in group}
        pooled = _pooled(
            whole,
            stain,
            {slide: found for slide, found in slides.items() if isinstance(found, SlideAnalysis)},
            decisions,
        )
        if pooled is not None:
            derived.append(pooled)
    return derived


def has_no_tumour(readings: Sequence[PathologyReading], accession_id: str) -> bool:
    """Whether a specimen was read and every reader finds no tumour in it: no number of it stands, pooled or not."""
    of_it = [one for one in readings if one.accession_id == accession_id]
    return bool(of_it) and not any(one.tumour_present for one in of_it)


def _groups(slides: Sequence[StoredSlide]) -> list[list[StoredSlide]]:
    """Gather the specimens' slides by specimen and stain; one section alone is nothing to pool."""
    found: dict[tuple[str, str], list[StoredSlide]] = {}
    for slide in slides:
        if slide.role is SlideRole.SPECIMEN and slide.accession_id:
            found.setdefault(slide.shown[:2], []).append(slide)
    return [group for group in found.values() if len({slide.shown for slide in group}) > 1]


def _pooled(
    whole: WholeSet,
    stain: StainReference,
    slides: Mapping[StoredSlide, SlideAnalysis],
    decisions: Mapping[str, Decision],
) -> DerivedAnalysis | None:
    protocol = protocol_named(stain.protocol, whole.folder.stain_protocols)
    accession_id = next(iter(slides)).accession_id
    by_score = {score: _standing(slides, f"{stain.code}_{score}", decisions) for score in stain.scores}
    by_score = {score: scans for score, scans in by_score.items() if len(_counting(scans)) > 1}
    if not by_score:
        return None
    used = {scan.stored.run_id: scan for scans in by_score.values() for scan in scans}
    in_order = sorted(used.values(), key=lambda scan: (scan.stored.section, scan.stored.run_id))
    parents = sorted(
        (
            Parent(analysis_id=scan.stored.analysis_id, result_id=scan.result.result_id, replaces=True)
            for scans in by_score.values()
            for scan in scans
        ),
        key=lambda parent: (parent.analysis_id, parent.result_id),
    )
    run_id = derived_run_identity(Assay.IHC, STEP, f"{accession_id} {stain.code}")
    provenance = whole.provenance(
        (source for scan in in_order for source in scan.stored.sources),
        (
            *(parent_input(parent.result_id) for parent in parents),
            Input(kind="evaluability", name=stain.code, sha256=_digest(protocol)),
        ),
        canonical_json({"step": STEP, "evaluability": protocol.evaluability.model_dump(mode="json")}),
    )
    results = tuple(
        _result(score, _counting(scans), protocol, accession_id=accession_id, run_id=run_id, provenance=provenance)
        for score, scans in by_score.items()
    )
    name = f"{stain.code} of {accession_id}, {len({scan.stored.shown for scan in in_order})} sections"
    run = Run(run_id=run_id, assay=Assay.IHC, name=name, acquired_at="", findings=(), results=results, provenance=provenance)
    return DerivedAnalysis(step=STEP, run=run, parents=tuple(parents))


def _digest(protocol: StainProtocol) -> str:
    return content_digest(protocol.evaluability.model_dump(mode="json"))


def _standing(
    slides: Mapping[StoredSlide, SlideAnalysis], measurand: str, decisions: Mapping[str, Decision]
) -> tuple[_Section, ...]:
    """Return the scans whose result of a measurand nobody set aside; none where somebody chose one to be reported."""
    found = tuple(
        _Section(stored=stored, analysis=analysis, result=result, decision=decisions.get(result.result_id))
        for stored, analysis in slides.items()
        for result in analysis.run.results
        if result.measurand == measurand
    )
    if any(scan.decision is Decision.REPORTABLE for scan in found):
        return ()
    return tuple(scan for scan in found if scan.decision is None)


def _counting(scans: Sequence[_Section]) -> tuple[_Section, ...]:
    """Choose one scan of each section, by the rule by which one result of a specimen is chosen: evaluable, else the first."""
    best: dict[tuple[str, str, str], _Section] = {}
    for scan in sorted(scans, key=lambda scan: (not scan.result.is_evaluable, scan.stored.ordinal)):
        best.setdefault(scan.stored.shown, scan)
    return tuple(sorted(best.values(), key=lambda scan: (scan.stored.section, scan.stored.run_id)))


def _result(
    score: StudyScore,
    scans: Sequence[_Section],
    protocol: StainProtocol,
    *,
    accession_id: str,
    run_id: str,
    provenance: Provenance,
) -> Result:
    where = f"Specimen '{accession_id}', stain {protocol.stain}."
    records = pool_slides([scan.analysis.scores for scan in scans], protocol.evaluability, where=where)
    made = study_result(score, records, protocol, accession_id=accession_id, run_id=run_id, provenance=provenance)
    denominator = f"{made.denominator} in {len(scans)} sections"
    return replace(made, denominator=denominator, findings=(*made.findings, *_findings(scans, made, where)))


def _findings(scans: Sequence[_Section], made: Result, where: str) -> Iterator[Finding]:
    names = ", ".join(f"'{scan.stored.name}'" for scan in scans)
    yield Finding(
        code="SECTIONS_POOLED",
        severity=Severity.NOTE,
        where=where,
        message=f"Counts of {len(scans)} sections were added over their areas and cells: {names}.",
        remedy="Nothing to do; each section's own results are on record.",
    )
    lost = [f"'{scan.stored.name}'" for scan in scans if not scan.result.is_evaluable]
    if lost and not made.is_evaluable:
        yield Finding(
            code="SECTION_NOT_EVALUABLE",
            severity=Severity.REJECT,
            where=where,
            message=f"No pooled number is given: {', '.join(lost)} cannot be scored, and is not dropped unseen.",
            remedy="Exclude its result ('biomarkers dispose LAB RESULT --as excluded'), or stain and scan the section again.",
        )
    for code, word, values in (
        ("BATCHES_POOLED", "stain batches", {scan.stored.batch for scan in scans} - {""}),
        ("PROTOCOLS_POOLED", "versions of the stain protocol", {scan.stored.protocol_sha256[:12] for scan in scans} - {""}),
    ):
        if len(values) > 1:
            yield Finding(
                code=code,
                severity=Severity.WARNING,
                where=where,
                message=f"The sections were scored in different {word}: {', '.join(sorted(values))}.",
                remedy="Compare the batches' control slides; 'biomarkers recompute' brings all to one protocol.",
            )
