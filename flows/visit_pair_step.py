"""Visits whose slides were stained in different batches or scanned by different scanners: a second step that remarks.

Knows which run hears of it: the later one. Must not know how visits are compared. What it says depends on results and study
lists alone, not on the day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from biomarkers.ihc.pooling import POOLING_STEP
from biomarkers.laboratory.slide_pairs import SlidePair, slide_pairs
from biomarkers.provenance import canonical_json
from biomarkers.results import Assay, DerivedAnalysis, Remark, Run, derived_run_identity
from biomarkers.store.slides import StoredSlide, runs_derived_from_slides, stored_slides
from biomarkers.store.timepoint_rows import ALL_COLLECTED, read_assay
from flows.whole_set import WholeSet, run_input

STEP = "slide pairs"


async def slide_pair_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on a later visit's slides that differ from the baseline's in batch or scanner."""
    with whole.database.read() as reading:
        slides = stored_slides(reading)
        if not slides:
            return ()
        pooled = runs_derived_from_slides(reading, step=POOLING_STEP)
        rows = read_assay(reading, as_of=ALL_COLLECTED, assay=Assay.IHC).rows()
    by_runs: dict[tuple[str, str], list[SlidePair]] = {}
    for pair in slide_pairs(rows, slides, pooled):
        if pair.change.findings:
            by_runs.setdefault((pair.run_id, pair.baseline_run_id), []).append(pair)
    return [_derived(whole, pairs, _behind(runs, slides, pooled)) for runs, pairs in by_runs.items()]


def _behind(runs: tuple[str, str], slides: Sequence[StoredSlide], pooled: Mapping[str, frozenset[str]]) -> list[StoredSlide]:
    found = [slide for slide in slides if {slide.run_id, *pooled.get(slide.run_id, ())} & set(runs)]
    return sorted(found, key=lambda slide: slide.run_id)


def _derived(whole: WholeSet, pairs: Sequence[SlidePair], slides: Sequence[StoredSlide]) -> DerivedAnalysis:
    first = pairs[0]
    remarks = tuple(
        Remark(run_id=pair.run_id, accession_id=pair.accession_id, measurand=pair.measurand, finding=finding)
        for pair in pairs
        for finding in pair.change.findings
    )
    key = f"{first.run_id} {first.baseline_run_id}"
    provenance = whole.provenance(
        (source for slide in slides for source in slide.sources),
        (run_input(slide.run_id, slide.analysis_id) for slide in slides),
        canonical_json({"step": STEP, "of": key}),
    )
    run = Run(
        run_id=derived_run_identity(Assay.IHC, STEP, key),
        assay=Assay.IHC,
        name=f"Slides of {first.accession_id} against {first.baseline_accession_id}",
        acquired_at="",
        findings=tuple(remark.finding for remark in remarks),
        results=(),
        provenance=provenance,
    )
    return DerivedAnalysis(step=STEP, run=run, parents=(), remarks=remarks)
