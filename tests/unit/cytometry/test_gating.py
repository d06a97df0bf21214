"""Gating a tube whose cells are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Spillover
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import BooleanGate, FixedGate, GateTemplate, Panel, QuantileGate, TailGate
from biomarkers.errors import GatingError

MakeTube: TypeAlias = Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]


@pytest.mark.parametrize("population", ["CD4", "CD8", "B", "NK"])
def test_each_lineage_is_found_almost_event_by_event(make_tube: MakeTube, panel: Panel, population: str) -> None:
    acquisition, kinds = make_tube()
    members = gate_acquisition(acquisition, panel).populations[population].membership
    truth = kinds == population
    overlap = 2 * np.sum(members & truth) / (members.sum() + truth.sum())
    assert overlap > 0.97, "cells lie five standard deviations apart; only doublets and scatter tails may be lost"


def test_dead_cells_and_doublets_and_monocytes_are_no_lymphocytes(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, kinds = make_tube()
    members = gate_acquisition(acquisition, panel).populations["lymphocytes"].membership
    for unwanted in ("dead", "monocyte", "doublet"):
        assert members[kinds == unwanted].mean() < 0.03, unwanted


def test_the_same_events_give_the_same_gates_and_draws_every_time(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    one, other = (gate_acquisition(acquisition, panel) for _ in range(2))
    for name, population in one.populations.items():
        np.testing.assert_array_equal(population.membership, other.populations[name].membership)
        for cut, again in zip(population.cuts, other.populations[name].cuts, strict=True):
            assert cut.value == again.value
            np.testing.assert_array_equal(cut.draws, again.draws)


def test_memberships_do_not_depend_on_the_order_of_events(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    order = np.random.default_rng(1).permutation(acquisition.event_count)
    shuffled = replace(acquisition, events=acquisition.events[order])
    straight, mixed = gate_acquisition(acquisition, panel), gate_acquisition(shuffled, panel)
    # NK borrows negatives evenly over the file, so its cut may move by a bin; all others see the same numbers.
    for name in ("singlets", "lymphocytes", "T", "CD4", "CD8", "B"):
        np.testing.assert_array_equal(straight.populations[name].membership[order], mixed.populations[name].membership)


def test_a_lineage_whose_marker_was_not_stained_is_rejected_and_the_others_are_gated(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube(markers=("Viability", "CD3", "CD4", "CD8", "CD19"))
    gated = gate_acquisition(acquisition, panel)
    assert gated.populations["NK"].count == 0
    assert [finding.code for finding in gated.populations["NK"].findings] == ["MARKER_MISSING"]
    assert gated.populations["B"].count > 500


def test_without_a_viability_dye_all_singlets_count_as_live_and_it_is_said(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube(markers=("CD3", "CD4", "CD8", "CD19", "CD56"))
    gated = gate_acquisition(acquisition, panel)
    assert gated.populations["live"].count == gated.populations["singlets"].count
    assert gated.populations["live"].findings[0].code == "MARKER_MISSING"


def test_missing_required_markers_are_all_named_at_once(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube(markers=("Viability", "CD19"))
    with pytest.raises(GatingError) as caught:
        gate_acquisition(acquisition, panel)
    assert [fault.where for fault in caught.value.faults] == [
        "Acquisition 'tube', marker 'CD3'.",
        "Acquisition 'tube', marker 'CD4'.",
        "Acquisition 'tube', marker 'CD8'.",
    ]


def test_a_panel_for_raw_events_refuses_events_scaled_already(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    scaled = replace(acquisition, keywords={"DATA_SCALE": "compensated and scaled"})
    with pytest.raises(GatingError, match="would compensate and scale them again"):
        gate_acquisition(scaled, panel)


def test_a_marker_that_only_shows_noise_has_no_valley_and_is_rejected(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    events = acquisition.events.copy()
    events[:, 4] = np.random.default_rng(3).normal(500, 200, len(events))  # CD3
    gated = gate_acquisition(replace(acquisition, events=events), panel)
    assert any(f.code == "NO_VALLEY" and f.severity == "reject" for f in gated.populations["T"].findings)


def test_light_seen_twice_is_reported_as_unresolved_compensation(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    events = acquisition.events.copy()
    events[:, 6] = events[:, 5] * 0.8 + np.random.default_rng(3).normal(0, 100, len(events))  # CD8 shows CD4's light
    unmixed = Spillover(keyword="SPILL", detectors=acquisition.spillover.detectors, matrix=np.eye(6))
    gated = gate_acquisition(replace(acquisition, events=events, spillover=unmixed), panel)
    rejected = [finding for finding in gated.findings if finding.severity == "reject"]
    assert [finding.code for finding in rejected] == ["COMPENSATION_UNRESOLVED"]
    assert "CD4 and CD8 among 'T'" in rejected[0].message


def test_events_that_are_no_measurement_are_kept_by_no_gate(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    events = acquisition.events.copy()
    events[::50, 4] = np.nan
    gated = gate_acquisition(replace(acquisition, events=events), panel)
    assert not gated.populations["T"].membership[::50].any()
    assert not gated.populations["B"].membership[::50].any()


def test_an_empty_acquisition_gives_empty_populations_with_findings(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    gated = gate_acquisition(replace(acquisition, events=acquisition.events[:0]), panel)
    assert all(population.count == 0 for population in gated.populations.values())
    assert all(any(f.severity == "reject" for f in population.findings) for population in gated.populations.values())


def test_tail_quantile_fixed_and_boolean_gates_do_as_they_say(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, kinds = make_tube()
    more = (
        GateTemplate(name="by_tail", parent="T", gates=(TailGate(method="tail", marker="CD19", sign="-", widths=4.0),)),
        GateTemplate(
            name="by_quantile",
            parent="T",
            gates=(QuantileGate(method="quantile", marker="CD4", sign="-", of="CD8", quantile=0.5),),
        ),
        GateTemplate(name="by_place", parent="T", gates=(FixedGate(method="fixed", marker="CD8", sign="+", cut=0.5),)),
        GateTemplate(
            name="neither",
            parent="T",
            gates=(BooleanGate(method="boolean", all_of=("T",), none_of=("CD4", "CD8")),),
        ),
    )
    extended = panel.model_copy(update={"populations": (*panel.populations, *more)})
    gated = gate_acquisition(acquisition, extended)
    t = gated.populations["T"]
    assert gated.populations["by_tail"].count > 0.99 * t.count
    assert np.mean(
        gated.scaled["CD4"][gated.populations["CD8"].membership] <= gated.populations["by_quantile"].cuts[0].value
    ) == (pytest.approx(0.5, abs=0.01))
    assert set(kinds[gated.populations["by_place"].membership]) <= {"CD8", "doublet"}
    assert gated.populations["neither"].count == t.count - gated.populations["CD4"].count - gated.populations["CD8"].count
