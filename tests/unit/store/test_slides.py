"""Slides on record, on both engines: what they show, what was decided, and which derived runs took their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from biomarkers.ihc.records import SlideAnalysis
from biomarkers.provenance import Input, content_digest
from biomarkers.results import Assay, DerivedAnalysis, Parent, Run, derived_run_identity
from biomarkers.store.database import Database
from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.results import record_analysis
from biomarkers.store.slides import decisions_on_slides, results_on_slides, runs_derived_from_slides, stored_slides
from biomarkers.study.tissue import SlideRole

Register = Callable[[Database, Run], None]


def test_a_slide_is_told_with_its_section_batch_decisions_and_what_took_its_place(
    database: Database, slide: SlideAnalysis, register: Register, now: datetime
) -> None:
    given = replace(slide, accession_id="ATR-000005", section="2", batch="B1", scanner="GT450", stain_angles_deg={"dab": 3.5})
    (result,) = given.run.results
    run_id = derived_run_identity(Assay.IHC, "pooled", "ATR-000005")
    made_from = replace(
        given.run.provenance, inputs=(Input(kind="result", name=result.result_id, sha256=content_digest(result.result_id)),)
    )
    pooled = DerivedAnalysis(
        step="pooled",
        run=replace(
            given.run, run_id=run_id, provenance=made_from, results=(replace(result, run_id=run_id, provenance=made_from),)
        ),
        parents=(Parent(analysis_id=given.run.analysis_id, result_id=result.result_id, replaces=True),),
    )
    register(database, given.run)
    with database.write() as transaction:
        record_analysis(transaction, given, reason="", recorded_at=now)
        record_analysis(transaction, pooled, reason="", recorded_at=now)
        for decision in (Decision.REPORTABLE, Decision.REPEATED):
            dispose(
                transaction,
                result_id=result.result_id,
                decision=decision,
                reason="Seen.",
                decided_by="virchow",
                decided_at=now,
            )
    runs = [given.run.run_id]
    with database.read() as reading:
        (stored,) = stored_slides(reading)
        assert [one.run_id for one in stored_slides(reading, accession_id="ATR-000005")] == runs
        assert stored_slides(reading, accession_id="ATR-000006") == ()
        assert results_on_slides(reading, run_ids=runs) == (result.result_id,), "its place is taken, and it is there"
        assert decisions_on_slides(reading, run_ids=runs) == {result.result_id: Decision.REPEATED}
        assert runs_derived_from_slides(reading, step="pooled") == {given.run.run_id: frozenset({run_id})}
        assert runs_derived_from_slides(reading, step="another") == {}
    assert stored.shown == ("ATR-000005", "cd8", "2")
    assert (stored.role, stored.batch, stored.scanner) == (SlideRole.SPECIMEN, "B1", "GT450")
    assert stored.stain_vectors["dab"] == (0.27, 0.57, 0.78)
    assert stored.stain_angles_deg == {"dab": 3.5}
    assert stored.sources == given.run.provenance.sources
