"""Methods of gating on values whose populations are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import BooleanGate, GateTemplate, MixtureGate, Panel, QuantileGate, TailGate, ValleyGate

MakeTube: TypeAlias = Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]


def with_populations(panel: Panel, *more: GateTemplate) -> Panel:
    return panel.model_copy(update={"populations": (*panel.populations, *more)})


def _with_channel(acquisition: Acquisition, marker: str, values: npt.NDArray[np.float64]) -> Acquisition:
    events = np.column_stack((acquisition.events, values)).astype(np.float32)
    return replace(
        acquisition, events=events, channels=(*acquisition.channels, Channel(detector="X-A", marker=marker, top=262_144.0))
    )


def test_membership_follows_from_parent_cuts_ellipses_and_boolean_gates_alone(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    gated = gate_acquisition(acquisition, panel)
    for name, population in gated.populations.items():
        template = panel.population(name)
        if any(finding.code == "MARKER_MISSING" for finding in population.findings) or name in ("singlets", "T_memory"):
            continue  # the singlets' cuts are on a ratio of two channels; memory markers are not in this tube
        members = gated.parent_membership(name).copy()
        for cut in population.cuts:
            members &= cut.keeps(gated.scaled[cut.marker])
        for ellipse in population.ellipses:
            members &= ellipse.keeps(*(gated.scaled[marker] for marker in ellipse.markers))
        assert not any(isinstance(gate, BooleanGate) for gate in template.gates)
        np.testing.assert_array_equal(members, population.membership, err_msg=name)


def test_every_reported_gate_carries_a_quality_between_0_and_1(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    for name, population in gate_acquisition(acquisition, panel).populations.items():
        if population.count:
            assert population.quality is not None, name
            assert 0.0 <= population.quality <= 1.0


def test_a_tail_of_a_reference_population_ignores_the_populations_own_cells(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, kinds = make_tube()
    tail = TailGate(method="tail", marker="CD19", sign="+", of="T", widths=4.0)
    gated = gate_acquisition(acquisition, with_populations(panel, GateTemplate(name="X", parent="lymphocytes", gates=(tail,))))
    members = gated.populations["X"].membership
    assert members[kinds == "B"].mean() > 0.97
    assert members[kinds == "CD4"].mean() < 0.01
    assert gated.populations["X"].cuts[0].origin == "tail of T"


def test_a_mixture_parts_two_overlapping_populations_where_there_is_no_valley(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, kinds = make_tube()
    rng = np.random.default_rng(2)
    shoulder = np.where(kinds == "CD8", 3.2, 1.0) + 0.8 * rng.standard_normal(len(kinds))
    tube = _with_channel(acquisition, "CD57", 150 * np.sinh(shoulder))
    markers = (*panel.markers, panel.markers[4].model_copy(update={"name": "CD57", "scale": None, "aliases": ()}))
    gate = MixtureGate(method="mixture", marker="CD57", sign="+")
    wider = with_populations(panel, GateTemplate(name="X", parent="T", gates=(gate,))).model_copy(update={"markers": markers})
    population = gate_acquisition(tube, wider).populations["X"]
    (cut,) = population.cuts
    assert 0.1 < cut.quality < 0.95
    assert cut.draws.std() > 0
    assert population.membership[kinds == "CD8"].mean() > 0.8
    assert population.membership[kinds == "CD4"].mean() < 0.2


def test_where_there_is_no_valley_a_reference_population_decides_and_it_is_said(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    noise = 500 * np.random.default_rng(2).standard_normal(acquisition.event_count)
    tube = _with_channel(acquisition, "CD57", noise)
    markers = (*panel.markers, panel.markers[4].model_copy(update={"name": "CD57", "aliases": ()}))
    gate = ValleyGate(method="valley", marker="CD57", sign="+", without="quantile", reference="CD8", quantile=0.99)
    wider = with_populations(panel, GateTemplate(name="X", parent="CD4", gates=(gate,))).model_copy(update={"markers": markers})
    population = gate_acquisition(tube, wider).populations["X"]
    assert population.cuts[0].lacks_valley
    assert "NO_VALLEY" in {finding.code for finding in population.findings}
    # One in a hundred of cells like the reference lies above its quantile of .99.
    assert 0.002 < population.count / 3600 < 0.03


def test_an_fmo_control_decides_where_the_batch_has_one(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    fmo, _ = make_tube(seed=9)
    column = fmo.detector_index("D5-A")  # CD56
    events = fmo.events.copy()
    events[:, column] = 2000 + 100 * np.random.default_rng(3).standard_normal(fmo.event_count)
    control = gate_acquisition(replace(fmo, events=events), panel)
    gate = QuantileGate(method="quantile", marker="CD56", sign="+", of="CD4", quantile=0.99, control=True)
    wider = with_populations(panel, GateTemplate(name="X", parent="lymphocytes", gates=(gate,)))
    alone = gate_acquisition(acquisition, wider).populations["X"].cuts[0]
    informed = gate_acquisition(acquisition, wider, controls={"CD56": control}).populations["X"].cuts[0]
    assert (alone.origin, informed.origin) == ("quantile of CD4", "quantile of control")
    scale = gate_acquisition(acquisition, wider).transforms["CD56"]
    # The control's own 99th percentile, after its spill from CD19 was undone: near 2000 + 2.3 x 100.
    assert informed.value == pytest.approx(scale.exact(np.array([2230.0]))[0], abs=0.02)


def test_cd14_is_used_where_a_tube_has_it_and_purity_is_then_no_longer_in_doubt(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, kinds = make_tube()
    stained = np.where(kinds == "monocyte", 20_000.0, 0.0) + 150 * np.random.default_rng(2).standard_normal(len(kinds))
    gated = gate_acquisition(_with_channel(acquisition, "CD14", stained), panel)
    lymphocytes = gated.populations["lymphocytes"]
    assert [cut.marker for cut in lymphocytes.cuts] == ["CD14"]
    assert "PURITY_UNVERIFIED" not in {finding.code for finding in lymphocytes.findings}
    assert not lymphocytes.membership[kinds == "monocyte"].any()


def test_a_combination_hands_on_what_was_found_about_its_parts(make_tube: MakeTube, panel: Panel) -> None:
    acquisition, _ = make_tube()
    events = acquisition.events.copy()
    events[:, acquisition.detector_index("D5-A")] = 100 * np.random.default_rng(3).standard_normal(len(events))  # CD56
    either = GateTemplate(name="B_or_NK", parent="lymphocytes", gates=(BooleanGate(method="boolean", any_of=("B", "NK")),))
    both = GateTemplate(name="only_NK", parent="lymphocytes", gates=(BooleanGate(method="boolean", all_of=("NK",)),))
    gated = gate_acquisition(replace(acquisition, events=events), with_populations(panel, either, both))
    assert any(f.severity == "reject" for f in gated.populations["NK"].findings)
    assert {f.severity.value for f in gated.populations["B_or_NK"].findings} == {"warning"}
    assert "reject" in {f.severity.value for f in gated.populations["only_NK"].findings}
    assert "through 'NK'" in gated.populations["only_NK"].findings[0].where
