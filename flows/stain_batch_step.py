"""What control slides and drifting stains say of a stain batch: a second step that remarks, and changes no number.

Knows whom a finding concerns. Must not know the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from biomarkers.ihc.pooling import POOLING_STEP
from biomarkers.laboratory.stain_batches import StainBatch, stain_batches
from biomarkers.provenance import Input, canonical_json, content_digest
from biomarkers.results import Assay, DerivedAnalysis, Remark, Run, derived_run_identity
from biomarkers.store.slides import runs_derived_from_slides
from flows.whole_set import WholeSet, run_input

STEP = "stain batches"


async def stain_batch_remarks(whole: WholeSet) -> Sequence[DerivedAnalysis]:
    """Remark on every specimen of a stain batch whose control slides fail or are missing, and on slides whose stain drifted."""
    with whole.database.read() as reading:
        batches = stain_batches(reading, whole.folder, whole.definition)
        pooled = runs_derived_from_slides(reading, step=POOLING_STEP)
    return [_derived(whole, batch, remarks) for batch in batches if (remarks := _remarks(batch, pooled))]


def _remarks(batch: StainBatch, pooled: Mapping[str, frozenset[str]]) -> tuple[Remark, ...]:
    """Say it of each slide, and of the runs that pool it with others."""
    found: dict[Remark, None] = {}
    for slide in batch.specimens:
        for run_id in (slide.run_id, *sorted(pooled.get(slide.run_id, ()))):
            for finding in batch.findings:
                found[Remark(run_id=run_id, finding=finding)] = None
    for slide, drift in zip(batch.slides, batch.drifts, strict=bool(batch.drifts)):
        for run_id in (slide.run_id, *sorted(pooled.get(slide.run_id, ()))):
            for finding in drift.findings:
                found[Remark(run_id=run_id, finding=finding)] = None
    return tuple(found)


def run_of(batch: StainBatch) -> str:
    """Name the run that says what there is to say of a batch."""
    return derived_run_identity(Assay.IHC, STEP, _key(batch))


def _key(batch: StainBatch) -> str:
    return f"{batch.stain} {batch.batch.casefold()}"


def _derived(whole: WholeSet, batch: StainBatch, remarks: tuple[Remark, ...]) -> DerivedAnalysis:
    key = _key(batch)
    in_order = sorted(batch.slides, key=lambda slide: slide.run_id)
    controls = batch.protocol.controls.model_dump(mode="json")
    provenance = whole.provenance(
        (source for slide in in_order for source in slide.sources),
        (
            *(run_input(slide.run_id, slide.analysis_id) for slide in in_order),
            Input(kind="controls", name=batch.stain, sha256=content_digest(controls)),
        ),
        canonical_json({"step": STEP, "of": key, "controls": controls}),
    )
    run = Run(
        run_id=run_of(batch),
        assay=Assay.IHC,
        name=f"Stain batch '{batch.batch}' of {batch.stain}",
        acquired_at="",
        findings=tuple(remark.finding for remark in remarks),
        results=(),
        provenance=provenance,
    )
    return DerivedAnalysis(step=STEP, run=run, parents=(), remarks=remarks)
