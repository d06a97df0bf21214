"""A person's gates beside the found ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.corrections import (
    BY_PERSON,
    PopulationChange,
    analyse_correction,
    compare_gates,
    comparison_document,
    corrected_gating,
)
from biomarkers.cytometry.found_gates import MATRIX, found_gates
from biomarkers.cytometry.gate_shapes import Rectangle
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.strategy import Gate, Strategy, assemble
from biomarkers.errors import GatingError
from biomarkers.provenance import Provenance
from biomarkers.study.cellular import PanelMeasurand

Maker = Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]
NOWHERE = Provenance(sources=(), inputs=(), software="test", parameters="{}", computed_at=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def acquisition(make_tube: Maker) -> Acquisition:
    return make_tube()[0]


@pytest.fixture(scope="module")
def panel(panel: Panel) -> Panel:
    """The lineages of the packaged panel: the tube carries no more markers."""
    lineages = ("singlets", "live", "lymphocytes", "T", "CD4", "CD8", "B", "NK")
    kept = tuple(population for population in panel.populations if population.name in lineages)
    return panel.model_copy(update={"populations": kept})


@pytest.fixture(scope="module")
def gated(acquisition: Acquisition, panel: Panel) -> Gating:
    return gate_acquisition(acquisition, panel)


@pytest.fixture(scope="module")
def found(gated: Gating, acquisition: Acquisition) -> Strategy:
    return found_gates(gated, acquisition).strategy


def rebuilt(strategy: Strategy, gates: list[Gate]) -> Strategy:
    return assemble(gates, scales=strategy.scales, matrices=strategy.matrices)


def with_lower_border(strategy: Strategy, name: str, factor: float) -> Strategy:
    gates = []
    for gate in strategy.gates:
        if gate.name == name and isinstance(gate.shape, Rectangle):
            first = gate.shape.sides[0]
            assert first.minimum is not None
            moved = replace(first, minimum=first.minimum * factor)
            gates.append(replace(gate, shape=replace(gate.shape, sides=(moved, *gate.shape.sides[1:]))))
        else:
            gates.append(gate)
    return rebuilt(strategy, gates)


def by_name(changes: tuple[PopulationChange, ...]) -> dict[str, PopulationChange]:
    return {change.population: change for change in changes}


def test_gates_that_nobody_touched_change_nothing(gated: Gating, acquisition: Acquisition, found: Strategy) -> None:
    comparison = compare_gates(gated, acquisition, found)
    assert not comparison.is_changed
    assert {change.kind for change in comparison.changes} == {"unchanged"}
    assert comparison.unknown == ()
    assert corrected_gating(gated, comparison, by="A. Person", reason="-").populations == gated.populations


def test_a_moved_border_is_named_with_both_places_and_moves_what_lies_below(
    gated: Gating, acquisition: Acquisition, found: Strategy
) -> None:
    comparison = compare_gates(gated, acquisition, with_lower_border(found, "T", 1.45))
    changes = by_name(comparison.changes)
    (move,) = changes["T"].moves
    assert (move.channel, move.side) == (gated.detectors["CD3"], "lower")
    assert move.before is not None
    assert move.after is not None
    assert move.after > move.before
    assert changes["T"].kind == "moved"
    assert changes["T"].lost > 0 == changes["T"].gained
    assert changes["T"].count_before - changes["T"].count_after == changes["T"].lost
    assert changes["CD4"].kind == "follows"
    assert changes["lymphocytes"].kind == "unchanged"
    assert changes["NK"].kind == "unchanged"


def test_the_corrected_numbers_say_who_and_why_and_the_found_ones_stay(
    gated: Gating, acquisition: Acquisition, found: Strategy
) -> None:
    before = gated.populations["T"].count
    measurand = PanelMeasurand(code="T_PCT_LYMPH", population="T", denominator="lymphocytes")
    analysis = analyse_correction(
        gated,
        acquisition,
        with_lower_border(found, "T", 1.45),
        by="A. Person",
        reason="dim cells are NK.",
        measurands=[measurand],
        accession_id="ATR-000001",
        run_id="run",
        provenance=NOWHERE,
    )
    record = next(one for one in analysis.populations if one.name == "T")
    assert gated.populations["T"].count == before > record.count
    assert record.quality is None
    told = next(finding for finding in record.findings if finding.code == "GATE_BY_PERSON")
    assert f"A. Person corrected the gate: dim cells are NK. It kept {before} events before" in told.message
    (result,) = analysis.run.results
    assert result.quantity is not None
    assert result.quantity.value == pytest.approx(100.0 * record.count / record.parent_count)
    assert told in result.findings


def test_corrected_cuts_lie_on_the_templates_scale_and_name_their_origin(
    gated: Gating, acquisition: Acquisition, found: Strategy
) -> None:
    comparison = compare_gates(gated, acquisition, with_lower_border(found, "T", 1.1))
    corrected = corrected_gating(gated, comparison, by="A. Person", reason="-").populations["T"]
    (cut,) = corrected.cuts
    assert (cut.marker, cut.sign, cut.origin) == ("CD3", "+", BY_PERSON)
    np.testing.assert_array_equal(
        corrected.membership, gated.parent_membership("T") & cut.keeps(gated.scaled["CD3"]), err_msg="as drawn"
    )


def test_a_removed_gate_leaves_its_population_without_a_number(
    gated: Gating, acquisition: Acquisition, found: Strategy
) -> None:
    comparison = compare_gates(gated, acquisition, rebuilt(found, [gate for gate in found.gates if gate.name != "NK"]))
    assert by_name(comparison.changes)["NK"].kind == "removed"
    removed = corrected_gating(gated, comparison, by="A. Person", reason="no CD56.").populations["NK"]
    assert removed.count == 0
    assert [finding.code for finding in removed.findings] == ["GATE_REMOVED"]


def test_populations_the_panel_does_not_know_are_listed_and_not_used(
    gated: Gating, acquisition: Acquisition, found: Strategy
) -> None:
    extra = Gate(gate_id="mine", name="mine", parent="T", shape=found.gate("T").shape)
    assert compare_gates(gated, acquisition, rebuilt(found, [*found.gates, extra])).unknown == ("mine",)


def test_another_tree_or_another_matrix_is_refused(gated: Gating, acquisition: Acquisition, found: Strategy) -> None:
    moved = [replace(gate, parent="lymphocytes") if gate.name == "CD8" else gate for gate in found.gates]
    with pytest.raises(GatingError, match="below 'lymphocytes'; the panel has it once, below 'T'"):
        compare_gates(gated, acquisition, rebuilt(found, moved))
    matrix = found.matrices[MATRIX]
    other = replace(matrix, coefficients=matrix.coefficients + 0.01)
    with pytest.raises(GatingError, match="another spillover matrix, 'Spillover'"):
        compare_gates(gated, acquisition, assemble(found.gates, scales=found.scales, matrices={MATRIX: other}))


def test_a_comparison_is_also_plain_data(gated: Gating, acquisition: Acquisition, found: Strategy) -> None:
    document = comparison_document(compare_gates(gated, acquisition, with_lower_border(found, "T", 1.45)))
    assert isinstance(document, dict)
    assert document["method"] == "by a person"
    populations = document["populations"]
    assert isinstance(populations, list)
    changed = next(one for one in populations if isinstance(one, dict) and one["name"] == "T")
    assert isinstance(changed, dict)
    assert changed["change"] == "moved"
