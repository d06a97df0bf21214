"""Stain batches, their control slides and drift; and visits compared: who hears of what, whatever the order of arrival."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from biomarkers.laboratory.slide_pairs import slide_pairs
from biomarkers.store import alignments
from biomarkers.store.results import aligned_inputs
from biomarkers.store.slides import runs_derived_from_slides, stored_slides
from biomarkers.study.declaration import Material
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.visits import align_specimens
from biomarkers.timepoints.alignment import timepoint_rows
from biomarkers.timepoints.due import due_cells
from flows.pooling_step import STEP as POOLING
from flows.pooling_step import pooled_sections
from flows.stain_batch_step import stain_batch_remarks
from flows.visit_pair_step import slide_pair_remarks

if TYPE_CHECKING:
    from tests.unit.flows.slides.conftest import SlideStore

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DENSITY = "CD8_DENSITY_TISSUE"


def own_protocol(store: SlideStore, controls: str) -> None:
    """Let the laboratory declare what its control slides must show."""
    from importlib import resources  # noqa: PLC0415

    packaged = (resources.files("biomarkers.ihc") / "protocols" / "cd8.toml").read_text(encoding="utf-8")
    store.whole.folder.stain_protocols.mkdir()
    (store.whole.folder.stain_protocols / "cd8.toml").write_text(f"{packaged}\n[controls]\n{controls}\n", encoding="utf-8")


def test_a_batch_without_controls_says_so_and_a_slide_without_batch_hears_nothing(slide_store: SlideStore) -> None:
    slide = slide_store.slide("a", batch="B1")
    slide_store.slide("b", accession_id="ATR-000002")
    slide_store.run(stain_batch_remarks)
    run_id = slide.run.run_id
    assert slide_store.remarks() == {(run_id, "STAIN_CONTROL_MISSING"), (run_id, "NEGATIVE_CONTROL_MISSING")}
    assert slide_store.run(stain_batch_remarks) == ()


def test_a_failed_control_flags_every_specimen_of_its_batch_alone_whatever_came_first(
    new_slide_store: Callable[[], SlideStore],
) -> None:
    """Positive cells are all 2+: half of them make an H-score of 100."""
    seen = set()
    arrivals = (
        ("bad control", {"role": "POSITIVE_CONTROL", "batch": "B1", "positive": 500}),
        ("clean", {"role": "NEGATIVE_CONTROL", "batch": "B1", "positive": 0}),
        ("specimen", {"batch": "B1"}),
    )
    for order in permutations(arrivals):
        store = new_slide_store()
        own_protocol(store, "positive_h_score = [120, 160]")
        good = {"batch": "B2", "accession_id": "ATR-000002"}
        for name, given in (
            *order,
            ("good control", {"role": "POSITIVE_CONTROL", "batch": "B2", "positive": 700}),
            ("clean too", {"role": "NEGATIVE_CONTROL", "batch": "B2", "positive": 0}),
            ("another", good),
        ):
            store.slide(name, **given)  # type: ignore[arg-type]
        made = store.run(stain_batch_remarks)
        seen.add((frozenset(store.remarks()), made[0].run.analysis_id, made[0].run.findings[0].message))
    ((remarks, _, message),) = seen
    assert {code for _, code in remarks} == {"STAIN_CONTROL_FAILED"}
    assert "'bad control' reads 100, outside 120 to 160" in message


def test_background_and_drift_are_told_and_reach_the_pool(slide_store: SlideStore) -> None:
    generator = np.random.default_rng(3)
    for number in range(6):
        red, green, blue = np.asarray([0.27, 0.57, 0.78]) + generator.normal(0, 0.005, 3)
        slide_store.slide(f"s{number}", accession_id=f"ATR-00001{number}", batch="B1", dab=(red, green, blue))
    drifted = slide_store.slide("late", section="1", batch="B1", dab=(0.45, 0.58, 0.68))
    slide_store.slide("late 2", section="2", batch="B1")
    slide_store.slide("negative", role="NEGATIVE_CONTROL", batch="B1", positive=100)
    (pooled,) = slide_store.run(pooled_sections)
    slide_store.run(stain_batch_remarks)
    told = slide_store.remarks()
    assert {run_id for run_id, code in told if code == "STAIN_DRIFT"} == {drifted.run.run_id, pooled.run.run_id}
    assert len({run_id for run_id, code in told if code == "BACKGROUND_TOO_HIGH"}) == 6 + 2 + 1
    with slide_store.whole.database.read() as reading:
        (standing,) = [one for one in aligned_inputs(reading) if one.run_id == pooled.run.run_id and one.measurand == DENSITY]
    assert {"SECTIONS_POOLED", "STAIN_DRIFT", "BACKGROUND_TOO_HIGH"} <= set(standing.finding_codes.split(";"))


@pytest.fixture
def visits(slide_store: SlideStore) -> SlideStore:
    """A subject with a section at baseline and one at C2D1."""
    definition = slide_store.whole.definition
    start = datetime(2026, 1, 5, tzinfo=UTC).date()
    subject = Subject(subject_id="S-001", site="01", randomised_on=start, treatment_start=Moment(day=start))
    specimens = {
        name: Specimen(
            accession_id=name,
            subject_id="S-001",
            material=Material.FFPE_SECTION,
            collected_at=Moment(day=day),
            nominal_visit=visit,
        )
        for name, day, visit in (
            ("ATR-000001", datetime(2026, 1, 2, tzinfo=UTC).date(), "BASELINE"),
            ("ATR-000002", datetime(2026, 1, 26, tzinfo=UTC).date(), "C2D1"),
        )
    }
    roster = Roster(subjects={"S-001": subject}, specimens=specimens, visits={})
    with slide_store.whole.database.write() as transaction:
        alignments.record(
            transaction,
            alignments=align_specimens(definition, roster),
            due=due_cells(definition, roster),
            recorded_at=NOW,
        )
    return slide_store


def test_visits_are_compared_with_an_interval_and_what_differs_is_told_of_the_later_one(visits: SlideStore) -> None:
    visits.slide("before", positive=50, area_mm2=0.5, batch="B1", scanner="GT450")
    later = visits.slide("after", accession_id="ATR-000002", positive=200, area_mm2=0.5, batch="B2", scanner="GT450")
    visits.run(slide_pair_remarks)
    assert visits.remarks() == {(later.run.run_id, "BATCH_CHANGED")}
    assert visits.run(slide_pair_remarks) == ()
    with visits.whole.database.read() as reading:
        aligned = alignments.current(reading)
        assert aligned is not None
        rows = timepoint_rows("study", aligned.alignments, aligned.due, aligned_inputs(reading), as_of=NOW.date())
        pairs = slide_pairs(rows, stored_slides(reading), runs_derived_from_slides(reading, step=POOLING))
    (pair,) = [pair for pair in pairs if pair.measurand == DENSITY]
    change = pair.change
    assert (change.baseline, change.later, change.difference) == (100.0, 400.0, 300.0)
    assert change.difference_interval is not None
    assert change.difference_interval.lower is not None
    assert change.difference_interval.upper is not None
    assert 200 < change.difference_interval.lower < 300 < change.difference_interval.upper < 400
    assert change.ratio == 4.0
    assert (change.baseline_circumstances.batch, change.later_circumstances.batch) == ("B1", "B2")
    assert [finding.code for finding in change.findings] == ["BATCH_CHANGED"]


def test_a_pooled_visit_has_the_scanners_of_all_its_sections(visits: SlideStore) -> None:
    visits.slide("before", scanner="GT450")
    visits.slide("after", accession_id="ATR-000002", section="1", scanner="GT450")
    visits.slide("after 2", accession_id="ATR-000002", section="2", scanner="NanoZoomer")
    (pooled,) = visits.run(pooled_sections)
    visits.run(slide_pair_remarks)
    assert visits.remarks() == {(pooled.run.run_id, "SCANNER_CHANGED")}
