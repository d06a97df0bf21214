"""Public FCS files of several instruments and laboratories."""

from __future__ import annotations

import csv
from pathlib import Path

import flowio
import numpy as np
import pytest

from biomarkers.cytometry.analysis import population_records
from biomarkers.cytometry.compensation import compensate
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.cytometry.markers import match_markers
from biomarkers.cytometry.transforms import Logicle
from biomarkers.readers.fcs import read_fcs
from biomarkers.readers.panels import packaged_panel, read_panel

fk = pytest.importorskip("flowkit")
pytestmark = pytest.mark.real

MOUSE = "flowsom_mouse_wsp/68983.fcs"


@pytest.fixture(scope="session")
def cytometry(real_data: Path) -> Path:
    return real_data / "cytometry"


@pytest.fixture(scope="session")
def panels(project_root: Path) -> Path:
    return project_root / "tests" / "data" / "panels"


@pytest.mark.parametrize(
    "name",
    [
        MOUSE,
        "raw_fcs/100715.fcs",
        "raw_fcs/OMIP021_Donor1.fcs",
        "raw_fcs/PBMC_spectral_UNMIXED.fcs",
        "raw_fcs/PeacoQC_111.fcs",
        "gatingml2_compliance/data1.fcs",
        "luciernaga_wsp/CellCounts4L-NY071-1.fcs",
        "luciernaga_wsp/CellCounts4L-NY072-1.fcs",
    ],
)
def test_events_equal_flowios(cytometry: Path, name: str) -> None:
    acquisition = read_fcs(cytometry / name)
    reference = flowio.FlowData(cytometry / name)
    np.testing.assert_allclose(acquisition.events, reference.as_array(), rtol=1e-6)
    assert [channel.detector for channel in acquisition.channels] == [label.strip() for label in reference.pnn_labels]


def test_the_first_of_several_data_sets_is_read_with_its_offset_mended(cytometry: Path) -> None:
    acquisition = read_fcs(cytometry / "raw_fcs/coulter.lmd")
    assert acquisition.events.shape == (18_110, 8)
    assert [finding.code for finding in acquisition.findings] == [
        "OFFSETS_CORRECTED",
        "COMPENSATION_AMBIGUOUS",
        "SEVERAL_DATA_SETS",
    ]
    with pytest.warns(UserWarning, match="incorrect data offset"):
        reference = flowio.FlowData(cytometry / "raw_fcs/coulter.lmd", ignore_offset_error=True, nextdata_offset=0)
    np.testing.assert_allclose(acquisition.events, reference.as_array(), rtol=1e-6)


@pytest.mark.parametrize("place", ["start", "stop"])
def test_where_header_and_text_disagree_the_one_that_fits_the_events_is_used(cytometry: Path, place: str) -> None:
    path = cytometry / f"raw_fcs/data_{place}_offset_discrepancy_example.fcs"
    acquisition = read_fcs(path)
    reference = flowio.FlowData(path, ignore_offset_discrepancy=True)
    raw = np.reshape(np.array(reference.events, dtype=np.float64), (2, 26))
    assert acquisition.events.shape == (2, 26)
    np.testing.assert_array_equal(acquisition.events[:, 25], raw[:, 25])  # the time channel, in steps
    assert "only TEXT fits 2 events of 54 bytes" in acquisition.findings[0].message


def test_compensation_and_logicle_equal_flowkits_event_by_event(cytometry: Path, panels: Path) -> None:
    panel = read_panel(panels / "mouse-lymphocytes.toml")
    acquisition = read_fcs(cytometry / MOUSE)
    columns = match_markers(panel, acquisition)
    compensated = compensate(acquisition, panel, columns)
    sample = fk.Sample(str(cytometry / MOUSE))
    sample.apply_compensation(sample.metadata["spill"])
    logicle = fk.transforms.LogicleTransform(262_144, 0.75, 4.5, 0)
    sample.apply_transform(logicle)
    ours = Logicle(top=262_144.0, width=0.75)
    for name in ("CD3", "CD19", "CD4", "CD8", "NK1.1", "TCRb", "TCRgd"):
        column = columns[name]
        # float32 of values up to 262144: steps of 0.03.
        np.testing.assert_allclose(compensated.values[:, column], sample.get_events("comp")[:, column], atol=0.05)
        np.testing.assert_allclose(ours.apply(compensated.values[:, column]), sample.get_events("xform")[:, column], atol=1e-5)


def test_mouse_lymphocytes_are_gated_as_the_experts_gated_them(cytometry: Path, panels: Path) -> None:
    gated = gate_acquisition(read_fcs(cytometry / MOUSE), read_panel(panels / "mouse-lymphocytes.toml"))
    with (cytometry / "flowsom_mouse_wsp/gatingResult.csv").open() as file:
        labels = np.array([row[0] for row in csv.reader(file)])
    # F1 of a plain valley gater on this file, from published prototypes: B .98, CD4 .94, CD8 .95, gd .94, NK/NKT .93; the
    # experts' polygons cut corners that no rectangle can.
    least = {"B": ("B cells", 0.95), "CD4": ("CD4 T cells", 0.93), "CD8": ("CD8 T cells", 0.94), "gd_T": ("gd T cells", 0.92)}
    for population, (label, floor) in least.items():
        members, truth = gated.populations[population].membership, labels == label
        assert 2 * np.sum(members & truth) / (members.sum() + truth.sum()) > floor, population
    assert all(record.reportable for record in population_records(gated))


def test_spectral_pbmc_named_only_by_detector_are_gated_with_their_doubts_told(cytometry: Path, panels: Path) -> None:
    gated = gate_acquisition(
        read_fcs(cytometry / "raw_fcs/PBMC_spectral_UNMIXED.fcs"), read_panel(panels / "pbmc-spectral.toml")
    )
    records = {record.name: record for record in population_records(gated)}
    assert set(records) == {"singlets", "live", "lymphocytes", "T", "CD4", "CD8", "B", "NK"}
    # Lymphocytes of PBMC: T 60-90 %, B 2-20 %, NK 2-25 %: wide ranges that any healthy donor fits.
    assert 60 < records["T"].frequency_percent < 90
    assert 2 < records["B"].frequency_percent < 20
    assert 2 < records["NK"].frequency_percent < 25
    assert records["CD4"].count + records["CD8"].count < records["T"].count
    assert "TIME_NOT_ASCENDING" in {finding.code for finding in gated.findings}
    assert "WEAK_VALLEY" in {finding.code for finding in records["lymphocytes"].findings}


def test_the_trial_panel_refuses_numbers_from_unmixed_events_without_a_matrix(cytometry: Path) -> None:
    gated = gate_acquisition(read_fcs(cytometry / "raw_fcs/PBMC_spectral_UNMIXED.fcs"), packaged_panel("pbmc-lineage"))
    assert not any(record.reportable for record in population_records(gated))
    assert "COMPENSATION_MISSING" in {finding.code for finding in gated.findings}


def test_nothing_is_reportable_from_a_file_whose_compensation_does_not_resolve(cytometry: Path) -> None:
    gated = gate_acquisition(read_fcs(cytometry / "raw_fcs/100715.fcs"), packaged_panel("pbmc-lineage"))
    records = population_records(gated)
    assert not any(record.reportable for record in records)
    assert all("COMPENSATION_UNRESOLVED" in {finding.code for finding in record.findings} for record in records)


def test_markers_named_with_their_fluorochromes_are_gated_by_the_trial_panel(cytometry: Path) -> None:
    gated = gate_acquisition(read_fcs(cytometry / "raw_fcs/OMIP021_Donor1.fcs"), packaged_panel("pbmc-lineage"))
    records = {record.name: record for record in population_records(gated)}
    assert [name for name, record in records.items() if record.reportable] == [
        "singlets",
        "live",
        "lymphocytes",
        "T",
        "CD4",
        "CD8",
    ]
    assert 50 < records["T"].frequency_percent < 90
    assert 85 < records["CD4"].frequency_percent + records["CD8"].frequency_percent < 100
    assert {finding.code for finding in records["NK"].findings} >= {"MARKER_MISSING"}
