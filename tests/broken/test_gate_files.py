"""Files of gates with one wound each, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.evaluation import evaluate
from biomarkers.errors import GatingError, SourceFileError
from biomarkers.readers.gates import read_gates

HEAD = (
    '<gating:Gating-ML xmlns:gating="http://www.isac-net.org/std/Gating-ML/v2.0/gating" '
    'xmlns:transforms="http://www.isac-net.org/std/Gating-ML/v2.0/transformations" '
    'xmlns:data-type="http://www.isac-net.org/std/Gating-ML/v2.0/datatypes">'
)


def axis(limits: str = 'gating:min="1"', channel: str = "PE-A", compensation: str = "uncompensated") -> str:
    return (
        f'<gating:dimension gating:compensation-ref="{compensation}" {limits}>'
        f'<data-type:fcs-dimension data-type:name="{channel}"/></gating:dimension>'
    )


def rectangle(gate_id: str = "A", inner: str | None = None, parent: str = "") -> str:
    above = f' gating:parent_id="{parent}"' if parent else ""
    return f'<gating:RectangleGate gating:id="{gate_id}"{above}>{axis() if inner is None else inner}</gating:RectangleGate>'


def logicle(parameters: str) -> str:
    named = " ".join(f'transforms:{part.split("=")[0]}="{part.split("=")[1]}"' for part in parameters.split())
    return f'<transforms:transformation transforms:id="L"><transforms:logicle {named}/></transforms:transformation>'


def polygon(corners: int) -> str:
    vertex = '<gating:vertex><gating:coordinate data-type:value="1"/><gating:coordinate data-type:value="2"/></gating:vertex>'
    return f'<gating:PolygonGate gating:id="P">{axis("")}{axis("", "FSC-A")}{vertex * corners}</gating:PolygonGate>'


def quadrant(divider: str) -> str:
    return (
        '<gating:QuadrantGate gating:id="Q"><gating:divider gating:id="D" gating:compensation-ref="uncompensated">'
        '<data-type:fcs-dimension data-type:name="PE-A"/><gating:value>3</gating:value></gating:divider>'
        f'<gating:Quadrant gating:id="Q1"><gating:position gating:divider_ref="{divider}" gating:location="5"/>'
        "</gating:Quadrant></gating:QuadrantGate>"
    )


def matrix(values: str) -> str:
    names = '<data-type:fcs-dimension data-type:name="PE-A"/><data-type:fcs-dimension data-type:name="FSC-A"/>'
    rows = "".join(
        "<transforms:spectrum>"
        + "".join(f'<transforms:coefficient transforms:value="{value}"/>' for value in row.split(","))
        + "</transforms:spectrum>"
        for row in values.split(";")
    )
    return (
        f'<transforms:spectrumMatrix transforms:id="M"><transforms:fluorochromes>{names}</transforms:fluorochromes>'
        f"<transforms:detectors>{names}</transforms:detectors>{rows}</transforms:spectrumMatrix>"
    )


WOUNDS = [
    ("no-gates", HEAD, "It holds no gates. File 'gates.xml'."),
    ("no-id", HEAD + "<gating:RectangleGate>" + axis() + "</gating:RectangleGate>", "a 'RectangleGate' has no usable 'id'"),
    ("same-id-twice", HEAD + rectangle() + rectangle(), "The id 'A' is used 2 times. File 'gates.xml'. Gate 'A'."),
    ("no-dimension", HEAD + rectangle(inner=""), "RectangleGate 'A'. Export the gates again"),
    ("not-a-number", HEAD + rectangle(inner=axis('gating:min="ten"')), "'min' of a 'dimension' says 'ten', no number"),
    ("infinite", HEAD + rectangle(inner=axis('gating:min="1e999"')), "says '1e999', which is too large"),
    ("nan", HEAD + rectangle(inner=axis('gating:max="NaN"')), "'max' of a 'dimension' says 'NaN', no number"),
    ("underscored", HEAD + rectangle(inner=axis('gating:max="1_000"')), "says '1_000', no number"),
    ("unknown-parent", HEAD + rectangle(parent="Z"), "Gate 'A'. Correct the gate"),
    ("circle", HEAD + rectangle("A", parent="B") + rectangle("B", parent="A"), "Gates refer to each other in a circle: A, B."),
    ("own-parent", HEAD + rectangle("A", parent="A"), "Gates refer to each other in a circle: A."),
    (
        "unknown-matrix",
        HEAD + rectangle(inner=axis(compensation="M2")),
        "It refers to compensation 'M2', which is not there.",
    ),
    ("two-corners", HEAD + polygon(2), "A polygon needs three corners; it has 2."),
    ("too-many-corners", HEAD + polygon(2001), "it has 2001 corners, more than 2000"),
    ("unknown-divider", HEAD + quadrant("E"), "a quadrant refers to divider 'E', which is not there"),
    (
        "logicle-width",
        HEAD + logicle("T=1000 W=3 M=4.5 A=0") + rectangle(),
        "W is 3 and A is 0, outside of what M = 4.5 allows",
    ),
    ("logicle-top", HEAD + logicle("T=0 W=0.5 M=4.5 A=0") + rectangle(), "T is 0 and M is 4.5, which describes no scale"),
    ("logicle-missing", HEAD + logicle("T=1000 W=0.5 M=4.5") + rectangle(), "'A' of a 'logicle' is no number"),
    ("matrix-rows", HEAD + matrix("1,0") + rectangle(), "2 rows of 2 coefficients are needed"),
    (
        "boolean-of-nothing",
        HEAD + '<gating:BooleanGate gating:id="B"><gating:and/></gating:BooleanGate>',
        "'and' of 0 gates has no meaning.",
    ),
    (
        "boolean-of-what",
        HEAD + '<gating:BooleanGate gating:id="B"><gating:xor/></gating:BooleanGate>',
        "it says neither 'and', 'or' nor 'not'",
    ),
]


def written(folder: Path, content: str | bytes, name: str = "gates.xml") -> Path:
    path = folder / name
    if isinstance(content, str):
        closed = content + "</gating:Gating-ML>" if content.startswith("<gating:Gating-ML") else content
        content = closed.encode()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("content", "message"), [wound[1:] for wound in WOUNDS], ids=[wound[0] for wound in WOUNDS])
def test_a_wounded_gatingml_document_is_refused_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(SourceFileError) as refusal:
        read_gates(written(tmp_path, content))
    assert message in str(refusal.value)


def test_all_faults_of_a_document_are_told_together(tmp_path: Path) -> None:
    content = HEAD + rectangle("A", inner=axis('gating:min="x"')) + rectangle("B", inner="") + polygon(2001)
    with pytest.raises(SourceFileError) as refusal:
        read_gates(written(tmp_path, content))
    assert len(refusal.value.faults) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not well-formed XML"),
        (b"<Workspace>", "it is not well-formed XML"),
        (b"\x89PNG\r\n\x1a\n", "it is not well-formed XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><Workspace>&a;</Workspace>', "it declares a document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><Workspace/>', "it declares a document type"),
        (b'<?xml version="1.0" encoding="UTF-7"?><Workspace/>', "its encoding 'UTF-7' is not UTF-8"),
        ("<Workspace/>".encode("utf-16"), "its encoding is not UTF-8"),
        (b"<a>" * 300, "it has more or deeper elements than any file of gates"),
        (b"<html/>", "it is neither Gating-ML 2.0 nor a FlowJo workspace"),
        (b'<Workspace flowJoVersion="9.9"/>', "saved by FlowJo '9.9'; version 10 is read"),
        (b'<Workspace flowJoVersion="11.0"/>', "saved by FlowJo '11.0'; version 10 is read"),
        (b'<Workspace flowJoVersion="10.8"/>', "The workspace holds 0 samples."),
    ],
)
def test_what_is_no_file_of_gates_or_might_harm_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SourceFileError) as refusal:
        read_gates(written(tmp_path, content))
    assert message in str(refusal.value)


def workspace(*samples: str) -> str:
    spaces = HEAD.removeprefix("<gating:Gating-ML").removesuffix(">")
    return f'<Workspace flowJoVersion="10.8"{spaces}><SampleList>{"".join(samples)}</SampleList></Workspace>'


def sample(name: str, shape: str, scale: str = "") -> str:
    return (
        f"<Sample><Transformations>{scale}</Transformations><SampleNode name='{name}'><Subpopulations><Population name='T'>"
        f"<Gate>{shape}</Gate></Population></Subpopulations></SampleNode></Sample>"
    )


def test_one_sample_with_an_unknown_gate_does_not_stop_the_others(tmp_path: Path) -> None:
    good, bad = sample("good.fcs", rectangle()), sample("bad.fcs", "<gating:CurlyQuad/>")
    gates = read_gates(written(tmp_path, workspace(good, bad), "gates.wsp"))
    assert [gate.name for gate in gates.strategy_for("good.fcs").gates] == ["T"]
    with pytest.raises(SourceFileError, match="a 'CurlyQuad' of FlowJo is not read") as refusal:
        gates.strategy_for("bad")
    assert "sample 'bad.fcs', population 'T'" in str(refusal.value)


def test_a_gate_on_a_scale_nobody_documented_is_refused_and_one_beside_it_is_not(tmp_path: Path) -> None:
    scale = "<transforms:miltenyi><data-type:parameter data-type:name='PE-A'/></transforms:miltenyi>"
    on_it, beside = sample("a.fcs", rectangle(), scale), sample("b.fcs", rectangle(inner=axis(channel="FSC-A")), scale)
    gates = read_gates(written(tmp_path, workspace(on_it, beside), "gates.wsp"))
    assert list(gates.strategies) == ["b.fcs"]
    assert "its scale 'miltenyi' is not documented" in str(gates.refused["a.fcs"])


def tube() -> Acquisition:
    return Acquisition(
        name="tube",
        version="3.1",
        events=np.array([[0.5, 3.0], [2.0, 1.0], [np.nan, 2.0]], dtype=np.float32),
        channels=(Channel(detector="PE-A", marker="CD3", top=1000.0), Channel(detector="FSC-A", marker="", top=1000.0)),
        spillover=None,
        keywords={},
        acquired_at="",
        findings=(),
    )


def test_gates_on_channels_the_file_lacks_are_refused_with_all_of_them(tmp_path: Path) -> None:
    content = HEAD + rectangle("A", inner=axis(channel="X")) + rectangle("B", inner=axis(channel="Y"))
    strategy = read_gates(written(tmp_path, content)).strategy_for("tube")
    with pytest.raises(GatingError) as refusal:
        evaluate(strategy, tube())
    assert "channel 'X'" in str(refusal.value)
    assert "channel 'Y'" in str(refusal.value)


def test_a_matrix_that_cannot_be_undone_is_refused(tmp_path: Path) -> None:
    content = HEAD + matrix("1,1;1,1") + rectangle(inner=axis(compensation="M"))
    strategy = read_gates(written(tmp_path, content)).strategy_for("tube")
    with pytest.raises(GatingError, match="'M' cannot be undone"):
        evaluate(strategy, tube())


def test_an_event_without_a_value_lies_in_no_rectangle_on_either_side(tmp_path: Path) -> None:
    content = HEAD + rectangle("A") + rectangle("B", inner=axis('gating:max="1"'))
    members = evaluate(read_gates(written(tmp_path, content)).strategy_for("tube"), tube())
    assert members["A"].tolist() == [False, True, False]
    assert members["B"].tolist() == [True, False, False]
