"""Which channel carries which marker."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.markers import match_markers
from biomarkers.cytometry.panel import FixedGate, GateTemplate, Marker, Panel
from biomarkers.errors import GatingError


def _acquisition(*channels: tuple[str, str]) -> Acquisition:
    return Acquisition(
        name="tube",
        version="3.1",
        events=np.empty((0, len(channels)), dtype=np.float32),
        channels=tuple(Channel(detector=detector, marker=marker, top=1024.0) for detector, marker in channels),
        spillover=None,
        keywords={},
        acquired_at="",
        findings=(),
    )


def _panel(*markers: Marker) -> Panel:
    gates = tuple(FixedGate(method="fixed", marker=marker.name, sign="+", cut=0.0) for marker in markers)
    return Panel(name="p", title="p", markers=markers, populations=(GateTemplate(name="all", gates=gates),))


@pytest.mark.parametrize(
    ("detector", "written", "wanted"),
    [
        ("BV785-A", "CD3", "CD3"),
        ("BV785-A", "BV785 - CD3", "CD3"),
        ("APC-A", "CD3:APC", "CD3"),
        ("V450-A", "VIVID / CD14", "CD14"),
        ("CD3", "", "CD3"),
        ("PE-A", "pd 1", "PD-1"),
        ("PE-A", "NK1/1", "NK1.1"),
        ("PB-A", "CD4+CD20", "CD4+CD20"),
        ("PB-A", "CD4+CD20:PB-A", "CD4+CD20"),
        ("R780-A", "CD3", "CD3"),
        ("FL1-H", "CD4 FITC", "CD4"),
        ("FL2-H", "CD8-PE", "CD8"),
        ("V1-A", "BV421_CD56", "CD56"),
        ("V2-A", "HLA-DR PerCP-Cy5.5", "HLA-DR"),
        ("V3-A", "CD45RA Alexa Fluor 700", "CD45RA"),
    ],
)
def test_names_are_matched_as_operators_write_them(detector: str, written: str, wanted: str) -> None:
    panel = _panel(Marker(name=wanted))
    assert match_markers(panel, _acquisition(("FSC-A", ""), (detector, written))) == {wanted: 1}


@pytest.mark.parametrize(
    ("detector", "written"),
    [("PE-A", "CD45RA"), ("PB-A", "CD4+CD20"), ("CD4-A", "EMPTY"), ("X", "CD40"), ("X", "CD45RA FITC"), ("X", "CD4 B PE")],
)
def test_a_name_that_only_begins_alike_is_another_marker(detector: str, written: str) -> None:
    with pytest.raises(GatingError):
        match_markers(_panel(Marker(name="CD4"), Marker(name="CD45")), _acquisition((detector, written)))


def test_of_area_height_and_width_of_one_antibody_the_area_is_meant() -> None:
    acquisition = _acquisition(("PE-H", "CD3"), ("PE-A", "CD3"), ("PE-W", "CD3"))
    assert match_markers(_panel(Marker(name="CD3")), acquisition) == {"CD3": 1}


def test_every_mismatch_is_reported_at_once_with_what_the_file_has() -> None:
    panel = _panel(Marker(name="CD3"), Marker(name="CD4"), Marker(name="CD8"))
    with pytest.raises(GatingError) as caught:
        match_markers(panel, _acquisition(("PE-A", "CD8"), ("APC-A", "CD8"), ("FITC-A", "CD19")))
    absent = "No channel carries the marker; the file has 'PE-A' (CD8), 'APC-A' (CD8), 'FITC-A' (CD19)."
    told = {fault.where: fault.what for fault in caught.value.faults}
    assert told == {
        "Acquisition 'tube', marker 'CD3'.": absent,
        "Acquisition 'tube', marker 'CD4'.": absent,
        "Acquisition 'tube', marker 'CD8'.": "The marker fits 2 channels: 'PE-A', 'APC-A'.",
    }


def test_two_markers_on_one_channel_are_refused() -> None:
    panel = _panel(Marker(name="CD3"), Marker(name="T cell", aliases=("CD3",)))
    with pytest.raises(GatingError, match="Several markers of the panel fit this one channel: 'CD3', 'T cell'"):
        match_markers(panel, _acquisition(("PE-A", "CD3")))
