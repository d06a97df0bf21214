"""Workspaces and Gating-ML of other software on their real files, and our own gates written, read back and read by FlowKit."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition
from biomarkers.cytometry.evaluation import count_populations, evaluate
from biomarkers.cytometry.found_gates import FoundGates, found_gates
from biomarkers.cytometry.gate_shapes import Polygon
from biomarkers.cytometry.gated import Gating
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.panel import Panel
from biomarkers.cytometry.strategy import Strategy
from biomarkers.errors import SourceFileError
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.flowjo_writing import WorkspaceSample, write_workspace
from biomarkers.readers.gates import read_gates
from biomarkers.readers.gatingml_writing import write_gatingml
from biomarkers.readers.panels import packaged_panel, read_panel

fk = pytest.importorskip("flowkit")
pytestmark = pytest.mark.real

MOUSE = ("flowsom_mouse_wsp/68983.fcs", "flowsom_mouse_wsp/gating.wsp")


@pytest.fixture(scope="session")
def cytometry(real_data: Path) -> Path:
    return real_data / "cytometry"


@pytest.fixture(scope="session")
def labelled(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published labelled data as FCS: one EuroFlow file and both of HIPC."""
    pytest.importorskip("rdata", reason="the published R data are converted with it")
    tool = real_data.parent / "tools" / "euroflow_to_fcs.py"
    spec = importlib.util.spec_from_file_location("euroflow_to_fcs", tool)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("labelled")
    for name in ("euroflow_lst/Cytometry1.RData", "hipc_tcell/HIPC_Stanford.RData"):
        module.convert(real_data / "cytometry" / name, folder)
    return folder


def flowjos_counts(workspace: Path, sample: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Counts FlowJo itself wrote beside each population."""

    def below(node: ET.Element, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
        for element in node.findall("Subpopulations/Population"):
            here = (*path, element.get("name", ""))
            yield here, int(element.get("count", "-1"))
            yield from below(element, here)

    for node in ET.parse(workspace).iter("SampleNode"):  # noqa: S314  - published with FlowSOM
        if node.get("name") == sample:
            yield from below(node, ())


def test_all_fifteen_populations_of_the_mouse_workspace_are_counted_as_flowjo_counted_them(cytometry: Path) -> None:
    acquisition = read_fcs(cytometry / MOUSE[0])
    strategy = read_gates(cytometry / MOUSE[1]).strategy_for("68983.fcs")
    ours = {one.path: one.count for one in count_populations(strategy, evaluate(strategy, acquisition))}
    theirs = dict(flowjos_counts(cytometry / MOUSE[1], "68983.fcs"))
    assert len(theirs) == 15
    assert list(ours) == list(theirs)
    for path, count in theirs.items():
        assert abs(ours[path] - count) <= max(13, 0.001 * count), path


@pytest.mark.parametrize("sample", ["CellCounts4L-NY071-1.fcs", "CellCounts4L-NY072-1.fcs"])
def test_the_aurora_workspace_is_counted_as_flowkit_counts_it(cytometry: Path, sample: str) -> None:
    acquisition = read_fcs(cytometry / "luciernaga_wsp" / sample)
    strategy = read_gates(cytometry / "luciernaga_wsp/CellCounts.wsp").strategy_for(sample)
    counts = [one.count for one in count_populations(strategy, evaluate(strategy, acquisition))]
    # Margin, CD45+; FlowJo itself says 2193 and 2983 of CD45+.
    assert counts == {"CellCounts4L-NY071-1.fcs": [5173, 2189], "CellCounts4L-NY072-1.fcs": [8023, 2985]}[sample]


def test_the_mouse_workspace_keeps_the_same_events_as_in_flowkit(cytometry: Path) -> None:
    acquisition = read_fcs(cytometry / MOUSE[0])
    strategy = read_gates(cytometry / MOUSE[1]).strategy_for("68983.fcs")
    assert_equals_flowkits_workspace(strategy, acquisition, cytometry / MOUSE[0], cytometry / MOUSE[1])


def test_a_file_the_workspace_does_not_name_is_refused_with_the_names_it_has(cytometry: Path) -> None:
    gates = read_gates(cytometry / MOUSE[1])
    with pytest.raises(SourceFileError, match=re.escape("no samples called 'other.fcs'; it has '68983.fcs'")):
        gates.strategy_for("other.fcs")


def assert_equals_flowkits_workspace(strategy: Strategy, acquisition: Acquisition, fcs: Path, workspace: Path) -> None:
    sample = fk.Sample(str(fcs), sample_id=fcs.name)
    reference = fk.Workspace(str(workspace), fcs_samples=[sample])
    reference.analyze_samples(verbose=False, use_mp=False)
    members = evaluate(strategy, acquisition)
    for gate in strategy.gates:
        path = ("root", *strategy.path(gate.gate_id)[:-1])
        expected = reference.get_gate_membership(fcs.name, gate.name, gate_path=path)
        np.testing.assert_array_equal(members[gate.gate_id], expected, err_msg=gate.name)


def assert_equals_flowkits_gatingml(strategy: Strategy, acquisition: Acquisition, fcs: Path, document: Path) -> None:
    from flowkit._resources import gml_schema  # noqa: PLC0415  - the standard's own schema
    from lxml import etree  # noqa: PLC0415

    assert gml_schema.validate(etree.parse(str(document))), gml_schema.error_log.last_error
    reference = fk.parse_gating_xml(str(document))
    results = reference.gate_sample(fk.Sample(str(fcs), sample_id=fcs.name))
    paths = dict(reference.get_gate_ids())
    members = evaluate(strategy, acquisition)
    for gate in strategy.gates:
        expected = results.get_gate_membership(gate.gate_id, gate_path=paths[gate.gate_id])
        np.testing.assert_array_equal(members[gate.gate_id], expected, err_msg=gate.name)


@dataclass(frozen=True)
class Tube:
    fcs: Path
    acquisition: Acquisition
    gated: Gating


def tube(fcs: Path, panel: Panel) -> Tube:
    acquisition = read_fcs(fcs)
    return Tube(fcs=fcs, acquisition=acquisition, gated=gate_acquisition(acquisition, panel))


def assert_reads_back(one: Tube, folder: Path, *, least_gates: int) -> None:
    """Write both formats, read them back, and ask FlowKit too."""
    document, workspace = folder / "gates.xml", folder / "gates.wsp"
    found = found_gates(one.gated, one.acquisition)
    write_gatingml(document, found.strategy)
    assert_same_members(one, found, read_gates(document).strategy_for(one.fcs.name), least_gates)
    polygons = found_gates(one.gated, one.acquisition, ellipses_as_polygons=True)
    sample = WorkspaceSample(file_name=one.fcs.name, acquisition=one.acquisition, strategy=polygons.strategy, counts={})
    write_workspace(workspace, [sample])
    assert_same_members(one, polygons, read_gates(workspace).strategy_for(one.fcs.name), least_gates)
    assert_equals_flowkits_gatingml(read_gates(document).strategy_for(one.fcs.name), one.acquisition, one.fcs, document)
    assert_equals_flowkits_workspace(read_gates(workspace).strategy_for(one.fcs.name), one.acquisition, one.fcs, workspace)


def assert_same_members(one: Tube, found: FoundGates, read: Strategy, least_gates: int) -> None:
    members = evaluate(read, one.acquisition)
    by_name = {gate.name: members[gate.gate_id] for gate in read.gates}
    written = [name for name in one.gated.populations if name not in found.left_out]
    assert len(written) >= least_gates
    for name in written:
        np.testing.assert_array_equal(by_name[name], one.gated.populations[name].membership, err_msg=name)


def test_gates_of_the_trials_panel_read_back_with_the_same_events(cytometry: Path, tmp_path: Path) -> None:
    one = tube(cytometry / "raw_fcs/OMIP021_Donor1.fcs", packaged_panel("pbmc-lineage"))
    assert_reads_back(one, tmp_path, least_gates=6)


def test_gates_on_detectors_shared_by_two_markers_read_back_with_the_same_events(labelled: Path, tmp_path: Path) -> None:
    one = tube(labelled / "Cytometry1.fcs", packaged_panel("euroflow-lst"))
    assert_reads_back(one, tmp_path, least_gates=6)


def test_gates_of_memory_subsets_read_back_with_the_same_events(labelled: Path, tmp_path: Path) -> None:
    one = tube(labelled / "HIPC_Stanford_1228_1A.fcs", packaged_panel("hipc-tcell"))
    assert_reads_back(one, tmp_path, least_gates=6)


def test_gates_of_a_laboratorys_own_panel_read_back_with_the_same_events(
    cytometry: Path, project_root: Path, tmp_path: Path
) -> None:
    one = tube(cytometry / MOUSE[0], read_panel(project_root / "tests/data/panels/mouse-lymphocytes.toml"))
    assert_reads_back(one, tmp_path, least_gates=9)


REFERRING = {"parent", "of", "pool_with", "reference", "borrow", "all_of", "any_of", "none_of", "among"}
"""Fields of a template that name populations."""


def renamed(panel: Panel, names: dict[str, str]) -> Panel:
    """Call some of a panel's populations otherwise, wherever they are named."""

    def new(value: object, *, is_name: bool) -> object:
        if isinstance(value, dict):
            return {key: new(one, is_name=key in REFERRING) for key, one in value.items()}
        if isinstance(value, list):
            return [new(one, is_name=is_name) for one in value]
        return names.get(value, value) if is_name and isinstance(value, str) else value

    content = panel.model_dump(mode="json")
    for population in content["populations"]:
        population["name"] = names.get(population["name"], population["name"])
    return Panel.model_validate_json(json.dumps({key: new(value, is_name=False) for key, value in content.items()}))


def test_populations_with_signs_colons_and_other_letters_keep_their_names(
    cytometry: Path, project_root: Path, tmp_path: Path
) -> None:
    plain = read_panel(project_root / "tests/data/panels/mouse-lymphocytes.toml")
    names = {"T": "CD3+", "B": "CD4+CD20:PB-A", "CD4": "1st <CD4> & more", "CD8": 'CD8 "\u03b4"', "live": "FCS"}
    one = tube(cytometry / MOUSE[0], renamed(plain, names))
    assert {"CD3+", "CD4+CD20:PB-A", "1st <CD4> & more", 'CD8 "\u03b4"'} <= set(one.gated.populations)
    assert_reads_back(one, tmp_path, least_gates=9)


def test_a_polygon_stands_for_an_ellipse_only_in_the_workspace(labelled: Path) -> None:
    one = tube(labelled / "Cytometry1.fcs", packaged_panel("euroflow-lst"))
    assert not any(isinstance(gate.shape, Polygon) for gate in found_gates(one.gated, one.acquisition).strategy.gates)
    drawn = found_gates(one.gated, one.acquisition, ellipses_as_polygons=True).strategy.gates
    assert any(isinstance(gate.shape, Polygon) and len(gate.shape.vertices) >= 128 for gate in drawn)
