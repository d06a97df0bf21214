"""With which cuts from elsewhere a batch's tubes are gated again: agreed, lent, controlled, frozen; made without events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from biomarkers.cytometry.batch_cuts import BatchTube, kept_runs, missing_controls, plan_batch
from biomarkers.cytometry.cut_records import ControlCut, CutRecord, ScaleRecord, TubeCuts, cut_records
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.roles import controlled_markers
from biomarkers.cytometry.transforms import Asinh, Linear, Logicle

SCALE = ScaleRecord(kind="asinh", cofactor=150.0)
CD3, PD1 = ("T", "CD3"), ("CD4_PD1", "PD-1")
FMO = ControlCut(
    population="CD4_PD1", marker="PD-1", quantile=0.99, value=480.0, lower=450.0, upper=510.0, draws=(470.0, 490.0), events=900
)


def cut(place: tuple[str, str], value: float, quality: float, *, origin: str = "own", lacks: bool = False) -> CutRecord:
    return CutRecord(
        population=place[0],
        marker=place[1],
        value=value,
        quality=quality,
        origin=origin,
        draws=tuple(value * factor for factor in (0.97, 0.99, 1.0, 1.01, 1.03)),
        lowest=0.8 * value,
        highest=1.2 * value,
        lacks_valley=lacks,
        scale=SCALE,
    )


def tube(run_id: str, subject_id: str, *cuts: CutRecord, accession_id: str = "", is_decided: bool = False) -> BatchTube:
    return BatchTube(
        run_id=run_id,
        accession_id=accession_id or run_id,
        subject_id=subject_id,
        own=TubeCuts.of_records(run_id, cuts, tube=run_id),
        is_decided=is_decided,
    )


def visits(*values: float) -> list[BatchTube]:
    return [tube(f"r{number}", "S1", cut(CD3, value, 0.9)) for number, value in enumerate(values)]


def test_a_found_cut_and_its_scale_come_back_from_record_as_they_were(panel: Panel, make_tube: object) -> None:
    acquisition, _ = make_tube()  # type: ignore[operator]  # a maker, as the fixture says
    gated = gate_acquisition(acquisition, panel)
    found = TubeCuts.of_gating(gated)
    kept = TubeCuts.of_records("tube", cut_records(gated))
    assert list(kept.cuts) == list(found.cuts)
    for place, own in found.cuts.items():
        assert kept.cuts[place].value == own.value
        np.testing.assert_allclose(kept.cuts[place].draws, own.draws, rtol=1e-6)
        assert kept.transforms[place] == found.transforms[place]
    for transform in (Linear(), Asinh(cofactor=5.0), Logicle(top=262_144.0, width=0.7)):
        assert ScaleRecord.of(transform).transform == transform


def test_visits_that_agree_share_one_cut_whatever_their_order(panel: Panel) -> None:
    several = visits(970.0, 1000.0, 1020.0)
    plans = [plan_batch(order, panel) for order in permutations(several)]
    assert all(plan == plans[0] for plan in plans)
    values = {one.outside[0].value for one in plans[0].values()}
    assert len(values) == 1
    assert 970.0 < values.pop() < 1020.0
    assert plans[0]["r0"].companions == ("r1", "r2")


def test_two_tubes_of_one_specimen_are_no_two_visits(panel: Panel) -> None:
    repeated = [replace(one, accession_id="A1") for one in visits(980.0, 1000.0)]
    assert plan_batch(repeated, panel) == {}


def test_a_visit_without_a_valley_takes_the_others_cut_only_where_its_template_says_so(panel: Panel) -> None:
    flat = tube("r9", "S1", cut(CD3, 400.0, 0.0, origin="mixture"), cut(("live", "Viability"), 300.0, 0.0, origin="mixture"))
    others = [replace(one, own=_with(one, cut(("live", "Viability"), 700.0, 0.9))) for one in visits(980.0, 1000.0)]
    plan = plan_batch([*others, flat], panel)["r9"]
    assert [one.marker for one in plan.outside] == ["CD3"]
    assert [one.finding.code for one in plan.of_gates] == ["CUT_FROM_OTHER_VISITS"]


def _with(one: BatchTube, *more: CutRecord) -> TubeCuts:
    further = TubeCuts.of_records(one.run_id, more, tube=one.run_id)
    return TubeCuts(
        acquisition=one.run_id,
        cuts={**one.own.cuts, **further.cuts},
        transforms={**one.own.transforms, **further.transforms},
    )


@pytest.mark.parametrize(("quality", "borrows"), [(0.05, True), (0.45, True), (0.6, False)])
def test_a_poor_valley_borrows_the_batchs_where_the_template_says_so(panel: Panel, quality: float, borrows: bool) -> None:  # noqa: FBT001
    batch = [tube(f"o{number}", f"S{number}", cut(CD3, 950.0 + 10 * number, 0.9)) for number in range(5)]
    poor = tube("poor", "S9", cut(CD3, 400.0, quality))
    plans = plan_batch([*batch, poor], panel)
    assert set(plans) == ({"poor"} if borrows else set())
    if borrows:
        (lent,) = plans["poor"].outside
        assert (lent.kind, lent.value) == ("group", 970.0)
        assert [one.finding.code for one in plans["poor"].of_gates] == ["CUT_FROM_GROUP"]
    # Four others are too few to know what the batch's cut is, and a limit drawn without a valley is lent by nobody.
    assert plan_batch([*batch[:4], poor], panel) == {}
    drawn = [
        tube(f"o{number}", f"S{number}", cut(CD3, 950.0, 0.9, origin="quantile of CD8", lacks=True)) for number in range(6)
    ]
    assert plan_batch([*drawn, poor], panel) == {}


def test_an_fmo_decides_where_there_is_no_valley_and_nowhere_else(panel: Panel) -> None:
    without = tube("without", "S1", cut(PD1, 900.0, 0.6, origin="quantile of CD4_naive", lacks=True))
    clear = tube("clear", "S2", cut(PD1, 900.0, 0.6))
    plans = plan_batch([without, clear], panel, [FMO])
    assert set(plans) == {"without"}
    assert [(one.kind, one.value) for one in plans["without"].outside] == [("control", 480.0)]
    # Two visits that could only agree on a reference population's quantile both take the FMO's instead.
    pair = [without, replace(without, run_id="again", accession_id="again")]
    plans = plan_batch(pair, panel, [FMO])
    assert {one.kind for plan in plans.values() for one in plan.outside} == {"control"}


def test_a_missing_fmo_is_told_by_the_markers_that_ask_for_one(panel: Panel) -> None:
    asked = controlled_markers(panel)
    assert asked == ("FoxP3", "CD25", "PD-1")
    (finding,) = missing_controls("B1", asked, ["PD-1"])
    assert finding.code == "FMO_MISSING"
    assert "CD25, FoxP3" in finding.message
    assert missing_controls("B1", asked, asked) == ()


def decided(tubes: Sequence[BatchTube], panel: Panel) -> list[BatchTube]:
    """The same tubes as they stand after they were gated together, the first of them reviewed."""
    plans = plan_batch(tubes, panel)
    return [replace(one, standing=plans[one.run_id].cuts, is_decided=number == 0) for number, one in enumerate(tubes)]


def test_after_a_review_the_earlier_visits_stay_and_a_later_one_takes_their_cuts(panel: Panel) -> None:
    earlier = decided(visits(980.0, 1000.0), panel)
    later = tube("r7", "S1", cut(CD3, 1010.0, 0.9))
    assert kept_runs([*earlier, later]) == {"r0", "r1"}
    plans = plan_batch([*earlier, later], panel)
    assert set(plans) == {"r7"}
    (taken,) = plans["r7"].outside
    assert taken.value == earlier[0].standing[0].value  # type: ignore[index]  # it stands
    assert [one.code for one in plans["r7"].of_tube] == ["CUTS_FROZEN"]


def test_a_later_visit_whose_staining_moved_keeps_its_own_cut_beside_frozen_ones(panel: Panel) -> None:
    earlier = decided(visits(980.0, 1000.0), panel)
    moved = tube("r7", "S1", cut(CD3, 9000.0, 0.9))
    plan = plan_batch([*earlier, moved], panel)["r7"]
    assert plan.outside == ()
    assert [one.finding.code for one in plan.of_gates] == ["CUT_SHIFTED"]
