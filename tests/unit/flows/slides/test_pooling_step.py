"""Sections of one specimen pooled: which scans count, what takes whose place, and that order and repetition change nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.results import aligned_inputs
from biomarkers.store.study_lists import record_pathology
from biomarkers.study.pathology import PathologyReading
from flows.pathology_step import pathology_results
from flows.pooling_step import pooled_sections

if TYPE_CHECKING:
    from tests.unit.flows.slides.conftest import SlideStore

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DENSITY = "CD8_DENSITY_TISSUE"


def decide(store: SlideStore, result_id: str, decision: Decision) -> None:
    with store.whole.database.write() as transaction:
        dispose(transaction, result_id=result_id, decision=decision, reason="Seen.", decided_by="virchow", decided_at=NOW)


def test_two_sections_pool_as_counts_over_areas_and_take_the_place_of_their_own(slide_store: SlideStore) -> None:
    one = slide_store.slide("a", positive=100, cells=2000, area_mm2=2.0)
    other = slide_store.slide("b", positive=100, cells=500, area_mm2=0.5, section="2")
    assert len(slide_store.standing(DENSITY)) == 2
    (made,) = slide_store.run(pooled_sections)
    (standing,) = slide_store.standing(DENSITY)
    assert standing.value == pytest.approx(200 / 2.5)
    assert standing.value != pytest.approx((50 + 200) / 2)
    assert standing.denominator == "2.5 mm² of tissue in 2 sections"
    assert standing.finding_codes == "SECTIONS_POOLED"
    assert {parent.analysis_id for parent in made.parents} == {one.run.analysis_id, other.run.analysis_id}
    assert {source.name for source in made.run.provenance.sources} == {"a", "b"}


def test_neither_order_of_arrival_nor_repetition_matters(new_slide_store: Callable[[], SlideStore]) -> None:
    seen = set()
    for order in permutations("abc"):
        store = new_slide_store()
        for name in order:
            store.slide(name, positive=30 + ord(name), section=name)
            store.run(pooled_sections)
        assert store.run(pooled_sections) == ()
        (standing,) = store.standing(DENSITY)
        seen.add((standing.result_id, standing.value, standing.source_sha256s))
    assert len(seen) == 1


def test_of_two_scans_of_one_section_the_first_counts_until_a_person_says_otherwise(slide_store: SlideStore) -> None:
    first = slide_store.slide("a", positive=100, area_mm2=1.0, section="1")
    slide_store.slide("a again", positive=300, area_mm2=1.0, section="1")
    assert slide_store.run(pooled_sections) == ()
    slide_store.slide("b", positive=50, area_mm2=1.0, section="2")
    slide_store.run(pooled_sections)
    (standing,) = slide_store.standing(DENSITY)
    assert standing.value == pytest.approx(75.0)
    own = next(result for result in first.run.results if result.measurand == DENSITY)
    decide(slide_store, own.result_id, Decision.REPEATED)
    slide_store.run(pooled_sections)
    numbers = [stored.value for stored in slide_store.standing(DENSITY) if stored.disposition is None]
    assert numbers == [pytest.approx(175.0)]


def test_a_result_declared_reportable_is_not_pooled(slide_store: SlideStore) -> None:
    one = slide_store.slide("a", section="1")
    slide_store.slide("b", section="2")
    own = next(result for result in one.run.results if result.measurand == DENSITY)
    decide(slide_store, own.result_id, Decision.REPORTABLE)
    (made,) = slide_store.run(pooled_sections)
    assert DENSITY not in {result.measurand for result in made.run.results}
    assert len(slide_store.standing(DENSITY)) == 2


def test_small_sections_are_enough_together_and_one_that_cannot_be_scored_is_not_dropped_unseen(
    new_slide_store: Callable[[], SlideStore],
) -> None:
    small = new_slide_store()
    for section in ("1", "2"):
        small.slide(
            section, positive=9, cells=90, area_mm2=0.03, section=section, findings=(small.refusal("TOO_LITTLE_TISSUE"),)
        )
    small.run(pooled_sections)
    (standing,) = small.standing(DENSITY)
    assert standing.value == pytest.approx(18 / 0.06)
    assert "TOO_LITTLE_TISSUE" not in standing.finding_codes

    lost = new_slide_store()
    lost.slide("a", section="1")
    bad = lost.slide("b", section="2", findings=(lost.refusal("WRONG_STAIN"),))
    lost.run(pooled_sections)
    (standing,) = lost.standing(DENSITY)
    assert standing.value is None
    assert {"SECTION_NOT_EVALUABLE", "WRONG_STAIN"} <= set(standing.finding_codes.split(";"))
    for result in bad.run.results:
        decide(lost, result.result_id, Decision.EXCLUDED)
    derived = lost.run(pooled_sections)
    assert derived == (), "one section is left: there is nothing to pool"


def test_what_is_said_of_a_section_is_said_of_the_pool_and_without_tumour_there_is_none(slide_store: SlideStore) -> None:
    for section in ("1", "2"):
        slide_store.slide(section, section=section)

    def read(*, tumour: bool) -> None:
        said = PathologyReading(
            accession_id="ATR-000001",
            reader="Virchow",
            tumour_present=tumour,
            viable_tumour_percent=None,
            necrosis_percent=None,
        )
        with slide_store.whole.database.write() as transaction:
            record_pathology(transaction, readings=[said], sha256=f"{int(tumour)}" * 64, recorded_at=NOW)

    read(tumour=True)
    slide_store.run(pooled_sections)
    slide_store.run(pathology_results)
    with slide_store.whole.database.read() as reading:
        (pooled,) = [one for one in aligned_inputs(reading) if one.measurand == DENSITY]
    assert set(pooled.finding_codes.split(";")) == {"SECTIONS_POOLED", "PATHOLOGY_READ"}
    read(tumour=False)
    assert slide_store.run(pooled_sections) == ()


def test_another_specimen_or_stain_is_not_pooled(slide_store: SlideStore) -> None:
    slide_store.slide("a", section="1")
    slide_store.slide("b", accession_id="ATR-000002", section="2")
    slide_store.slide("control", role="POSITIVE_CONTROL", section="3")
    assert slide_store.run(pooled_sections) == ()
