"""A person's gates over those found: what is drawn is where events change sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.corrections import compare_gates
from biomarkers.cytometry.found_gates import found_gates
from biomarkers.cytometry.gate_shapes import Ellipsoid, Rectangle, Shape
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.strategy import assemble
from biomarkers.reports.gate_corrections import ComparedGates, compared_gates, compared_picture


@pytest.fixture(scope="module")
def acquisition(make_tube: Callable[..., Acquisition]) -> Acquisition:
    return make_tube()


@pytest.fixture(scope="module")
def gated(acquisition: Acquisition, panel: Panel) -> Gating:
    return gate_acquisition(acquisition, panel)


def corrected(gated: Gating, acquisition: Acquisition, name: str, change: Callable[[Shape], Shape]) -> ComparedGates:
    """Correct one population's last gate."""
    found = found_gates(gated, acquisition).strategy
    gates = [replace(gate, shape=change(gate.shape)) if gate.name == name else gate for gate in found.gates]
    other = assemble(gates, scales=found.scales, matrices=found.matrices)
    return compared_gates(gated, acquisition, compare_gates(gated, acquisition, other))


def with_lower_border_up(shape: Shape) -> Shape:
    assert isinstance(shape, Rectangle)
    first = shape.sides[0]
    assert first.minimum is not None
    return replace(shape, sides=(replace(first, minimum=first.minimum * 1.25), *shape.sides[1:]))


def test_gates_nobody_changed_are_not_drawn(gated: Gating, acquisition: Acquisition) -> None:
    found = found_gates(gated, acquisition).strategy
    assert compared_gates(gated, acquisition, compare_gates(gated, acquisition, found)).gates == ()


def test_a_moved_border_is_drawn_where_the_cut_lies_on_the_scale_shown(gated: Gating, acquisition: Acquisition) -> None:
    (gate,) = corrected(gated, acquisition, "T", with_lower_border_up).gates
    assert (gate.population, gate.parent, gate.kind) == ("T", "singlets", "moved")
    (cut,) = (one.value for one in gated.populations["T"].cuts if one.marker == gate.axes[0].marker)
    ours, theirs = gate.ours[0][0][0], gate.corrected[0][0][0]
    values = gated.scaled[gate.axes[0].marker][gated.parent_membership("T")]
    # The found border is written in the middle of the gap between events in which the cut lies.
    assert np.count_nonzero((values > min(ours, cut)) & (values <= max(ours, cut))) == 0
    assert theirs > ours
    assert sum(count for row in gate.counts for count in row) <= np.count_nonzero(gated.parent_membership("T"))
    picture = str(compared_picture(gate))
    assert picture.count("gate-ours") == picture.count("gate-corrected") == 1


def test_an_ellipse_a_person_drew_is_traced_on_the_scale_of_the_picture(gated: Gating, acquisition: Acquisition) -> None:
    covariance = np.asarray(((0.004, 0.001), (0.001, 0.003)))

    def ellipse(shape: Shape) -> Shape:
        assert isinstance(shape, Rectangle)
        rows = tuple(tuple(float(one) for one in row) for row in covariance)
        return Ellipsoid(dimensions=shape.dimensions, mean=(0.75, 0.25), covariance=rows, distance_square=1.5)

    gates = corrected(gated, acquisition, "CD4", ellipse).gates
    gate = next(one for one in gates if one.population == "CD4")
    assert gate.kind == "redrawn"
    order = [axis.marker for axis in gate.axes]
    found = found_gates(gated, acquisition).strategy
    shape = next(one.shape for one in found.gates if one.name == "CD4")
    assert isinstance(shape, Rectangle)
    detectors = {detector: marker for marker, detector in gated.detectors.items()}
    own = [order.index(detectors[one.channel]) for one in shape.dimensions]
    points = np.asarray(gate.corrected[0])[:, own] - (0.75, 0.25)
    distances = np.einsum("ij,jk,ik->i", points, np.linalg.inv(covariance), points)
    # Edges of a many-cornered polygon lie a little inside the ellipse.
    assert distances.max() == pytest.approx(1.5, rel=1e-6)
    assert distances.min() > 1.5 * 0.99
    assert len(gate.ours[0]) == 5  # a rectangle, closed
    assert str(compared_picture(gate)).count("gate-ours") == 1


def test_what_is_kept_as_evidence_is_read_back_as_it_was(gated: Gating, acquisition: Acquisition) -> None:
    compared = corrected(gated, acquisition, "T", with_lower_border_up)
    assert ComparedGates.model_validate_json(compared.model_dump_json()) == compared
