"""Gating-ML documents and FlowJo workspaces damaged at random: read and applied, or refused in our own words.

Each kind is damaged `BIOMARKERS_FUZZ_MUTATIONS` times (100 000 unless set) or for `BIOMARKERS_FUZZ_CPU_SECONDS` of CPU (900
unless set), whichever comes first, in a child process that may take no more than 1 GB; the count is printed. Most wounds are
inside well-formed XML, so that they are met behind the parser: values exchanged for hostile ones, elements doubled, dropped,
renamed, moved. What is still read is applied to some events. More than ten seconds count as a hang.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from damage import be_child, judge_long_run, judge_slices, read_damaged

from biomarkers.cytometry.acquisition import Acquisition, Channel, Spillover
from biomarkers.cytometry.evaluation import evaluate
from biomarkers.cytometry.gate_shapes import Combination, Dimension, Ellipsoid, Polygon, Rectangle, Reference, Side
from biomarkers.cytometry.gating_scales import ParametricAsinh, ParametricLogicle
from biomarkers.cytometry.strategy import Gate, SpilloverMatrix, Strategy, assemble
from biomarkers.errors import BiomarkersError
from biomarkers.readers.flowjo_writing import WorkspaceSample, workspace_document
from biomarkers.readers.gates import read_gates
from biomarkers.readers.gatingml_writing import gatingml_document

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "cytometry"

KINDS = ("gatingml", "workspace")

SPACES = {
    "gating": "http://www.isac-net.org/std/Gating-ML/v2.0/gating",
    "transforms": "http://www.isac-net.org/std/Gating-ML/v2.0/transformations",
    "data-type": "http://www.isac-net.org/std/Gating-ML/v2.0/datatypes",
}

VALUES = [
    "", " ", "0", "-0", "-1", "1", "0.5", "1e-300", "1e300", "1e999", "-1e15", "262144", "4.5", "0.0000001", "25", "NaN", "INF",
    "inf", "0x10", "1_000", "9" * 400, "\u0663", "root", "FCS", "uncompensated", "true", "(((((", "Comp-", "PE-A", "FL1-H",
    "\U0001f9ea", "a/b/c", "../..", "%s", "256", "OLS", "10.8", "11",
]  # fmt: skip

TOKENS = [
    b"<",
    b">",
    b"&",
    b"&#0;",
    b"&amp;",
    b"<!--",
    b"]]>",
    b"<!DOCTYPE a>",
    b'"',
    b"\x00",
    b"\xff",
    b"xmlns:",
    b"</",
    b"/>",
]


def sources(kind: str) -> list[bytes]:
    """Documents of one kind: our own writing, and the public ones where they are there."""
    if kind == "gatingml":
        found = [own_gatingml()]
        if REAL.is_dir():
            found += [path.read_bytes() for path in sorted((REAL / "gatingml2_compliance/gml").glob("*.xml"))]
        return found
    found = [own_workspace()]
    if REAL.is_dir():
        found.append((REAL / "flowsom_mouse_wsp/gating.wsp").read_bytes())
    return [slim(content) for content in found]


def slim(content: bytes) -> bytes:
    """A workspace without its windows and plots, so that wounds hit what is read."""
    root = ET.fromstring(content)  # noqa: S314  - ours, or a published file
    for parent in list(root.iter()):
        for element in list(parent):
            if element.tag in {"Graph", "TableEditor", "LayoutEditor", "Cytometers", "Keyword"}:
                parent.remove(element)
    return ET.tostring(root)


def own_gatingml() -> bytes:

    return ET.tostring(gatingml_document(own_strategy()))


def own_workspace() -> bytes:

    strategy = own_strategy()
    kept = tuple(gate for gate in strategy.gates if not isinstance(gate.shape, Ellipsoid))
    sample = WorkspaceSample(file_name="tube.fcs", acquisition=tube(), strategy=replace(strategy, gates=kept), counts={})
    root = workspace_document([sample])
    channels = ("FSC-A", "Comp-PE-A")
    axes = "".join(
        f"<gating:dimension><data-type:fcs-dimension data-type:name='{name}'/></gating:dimension>" for name in channels
    )
    ellipse = (
        "<Population name='E'><Gate><gating:EllipsoidGate {}>"
        + axes
        + "<gating:foci>{}</gating:foci><gating:edge>{}</gating:edge></gating:EllipsoidGate></Gate></Population>"
    )
    point = "<gating:vertex><gating:coordinate data-type:value='{}'/><gating:coordinate data-type:value='{}'/></gating:vertex>"
    named = " ".join(f"xmlns:{prefix}='{space}'" for prefix, space in SPACES.items())
    foci = point.format(90, 100) + point.format(120, 130)
    edge = "".join(point.format(x, y) for x, y in ((80, 90), (130, 140), (100, 120), (110, 110)))
    end = "</Subpopulations></SampleNode>"
    text = ET.tostring(root, encoding="unicode").replace(end, ellipse.format(named, foci, edge) + end)
    return text.encode()


def own_strategy() -> Strategy:

    x = Dimension(channel="PE-A", compensation="M", scale="L")
    y = Dimension(channel="APC-A", compensation="M", scale="S")
    forward = Dimension(channel="FSC-A")
    box = Rectangle(sides=(Side(dimension=x, minimum=0.2, maximum=0.9), Side(dimension=y, minimum=0.1)))
    around = Polygon(dimensions=(forward, x), vertices=((10.0, 0.1), (9e4, 0.2), (9e4, 0.9), (10.0, 0.8)))
    round_one = Ellipsoid(dimensions=(x, y), mean=(0.5, 0.5), covariance=((0.1, 0.01), (0.01, 0.1)), distance_square=1.0)
    either = Combination(operation="or", references=(Reference(gate="A"), Reference(gate="B")))
    without = Combination(operation="not", references=(Reference(gate="A"),))
    names = ("PE-A", "APC-A")
    return assemble(
        [
            Gate(gate_id="A", name="A+", parent=None, shape=box),
            Gate(gate_id="B", name="B", parent="A", shape=around),
            Gate(gate_id="C", name="C", parent=None, shape=round_one),
            Gate(gate_id="D", name="D", parent="A", shape=either),
            Gate(gate_id="E", name="E", parent=None, shape=without),
        ],
        scales={
            "L": ParametricLogicle(top=262_144.0, width=0.5, decades=4.5, negative_decades=0.0),
            "S": ParametricAsinh(top=262_144.0, decades=4.5, negative_decades=0.5),
        },
        matrices={"M": SpilloverMatrix(fluorochromes=names, detectors=names, coefficients=np.array([[1, 0.1], [0.05, 1]]))},
    )


def tube() -> Acquisition:
    """Three hundred events with the channels the documents speak of."""

    names = ["PE-A", "APC-A", "FSC-A", "FSC-H", "FSC-W", "SSC-A", "SSC-H", "SSC-W", "Time", "FL1-H", "FL2-H", "FL3-H", "FL4-H"]
    names += ["FITC-A", "Pacific Blue-A", "AmCyan-A", "Qdot 605-A", "Alexa Fluor 700-A", "APC-Cy7-A", "PE-Texas Red-A"]
    names += ["PE-Cy5-A", "PE-Cy7-A"]
    events = np.random.default_rng(3).lognormal(6, 2, (300, len(names))).astype(np.float32)
    events[:5], events[5:10] = np.nan, -1000.0
    return Acquisition(
        name="tube",
        version="3.1",
        events=events,
        channels=tuple(Channel(detector=name, marker="", top=262_144.0) for name in names),
        spillover=Spillover(keyword="SPILL", detectors=("PE-A", "APC-A"), matrix=np.array([[1, 0.1], [0.05, 1]])),
        keywords={},
        acquired_at="",
        findings=(),
    )


def damaged_inside(tree: ET.Element, chance: random.Random) -> bytes:
    """One to five wounds in a document that stays well-formed."""
    root = copy.deepcopy(tree)
    for _ in range(chance.randint(1, 5)):
        elements = list(root.iter())
        element = chance.choice(elements)
        wound = chance.randrange(8)
        if wound <= 2 and element.attrib:
            element.set(chance.choice(list(element.attrib)), chance.choice(VALUES))
        elif wound == 3 and element.attrib:
            del element.attrib[chance.choice(list(element.attrib))]
        elif wound == 4 and len(element):
            element.remove(chance.choice(list(element)))
        elif wound == 5 and len(element):
            chosen = chance.choice(list(element))
            element.extend(copy.deepcopy(chosen) for _ in range(chance.choice((1, 1, 2, 40))))
        elif wound == 6:
            other = chance.choice(elements)
            element.tag, other.tag = other.tag, element.tag
            if chance.random() < 0.5:
                element.text = chance.choice(VALUES)
        else:
            other = chance.choice(elements)
            if sum(1 for _ in other.iter()) < 400:
                element.append(copy.deepcopy(other))
    return ET.tostring(root)


def damaged_bytes(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        here, span = chance.randrange(len(data) + 1), chance.choice((1, 2, 8, 60, 400))
        match chance.randrange(5):
            case 0:
                data[here : here + span] = chance.randbytes(span)
            case 1:
                del data[here : here + span]
            case 2:
                data[here:here] = chance.choice(TOKENS)
            case 3:
                data[here:here] = data[here : here + span] * chance.choice((1, 30))
            case _:
                other = chance.choice(others)
                start = chance.randrange(len(other))
                data[here : here + span] = other[start : start + chance.choice((8, 60, 2000))]
    return bytes(data)


def mutations(kind: str, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for prefix, space in SPACES.items():
        ET.register_namespace(prefix, space)
    files = sources(kind)
    trees = [ET.fromstring(content) for content in files]  # noqa: S314  - as above
    while True:
        chosen = chance.randrange(len(files))
        if chance.random() < 0.75:
            yield damaged_inside(trees[chosen], chance)
        else:
            yield damaged_bytes(files[chosen], files, chance)


def fuzz(kind: str, most: int, cpu_seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """Damage documents of one kind until the count or the time is spent; what is read is applied to events."""
    acquisition = tube()

    def read_and_apply(path: Path) -> None:
        for strategy in read_gates(path).strategies.values():
            evaluate(strategy, acquisition)

    return read_damaged(
        mutations(kind, seed),
        read_and_apply,
        folder / f"{kind}.xml",
        refusal=BiomarkersError,
        most=most,
        cpu_seconds=cpu_seconds,
    )


def test_a_short_slice_of_damaged_documents_of_both_kinds_is_read_or_refused(tmp_path: Path) -> None:
    judge_slices(Path(__file__), KINDS, most=300, cpu_seconds=1.5, least=20, folder=tmp_path, warnings="error")


@pytest.mark.slow
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_documents_are_read_or_refused_and_never_hang_or_fill_the_memory(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge_long_run(Path(__file__), kind, tmp_path, capsys, warnings="error")


if __name__ == "__main__":
    be_child(fuzz)
