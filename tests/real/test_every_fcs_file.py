"""Every public FCS file at hand is read, with what had to be decided about it, or refused for the right reason."""

from __future__ import annotations

from pathlib import Path

import flowio
import numpy as np
import pytest

from biomarkers.readers.fcs import read_fcs

pytestmark = pytest.mark.real

EXPECTED: dict[str, tuple[str, int, int, bool, tuple[str, ...]]] = {
    # version, events and channels as the README beside the files and flowio say; spillover; what had to be decided
    "flowsom_mouse_wsp/68983.fcs": ("3.0", 19_225, 18, True, ()),
    "gatingml2_compliance/data1.fcs": ("2.0", 13_367, 8, False, ()),
    "itn_drift/itn_02.fcs": ("3.0", 10_000, 8, False, ("AMPLIFICATION_IGNORED",)),
    "luciernaga_wsp/CellCounts4L-NY071-1.fcs": ("3.1", 5376, 61, True, ()),
    "luciernaga_wsp/CellCounts4L-NY072-1.fcs": ("3.1", 8520, 61, True, ()),
    "raw_fcs/100715.fcs": ("2.0", 65_016, 16, True, ()),
    "raw_fcs/OMIP021_Donor1.fcs": ("3.0", 5000, 22, True, ()),
    "raw_fcs/PBMC_spectral_UNMIXED.fcs": ("3.1", 8000, 18, False, ()),
    "raw_fcs/PeacoQC_111.fcs": ("3.0", 10_000, 22, True, ()),
    "raw_fcs/coulter.lmd": (
        "2.0",
        18_110,
        8,
        False,
        ("OFFSETS_CORRECTED", "COMPENSATION_AMBIGUOUS", "SEVERAL_DATA_SETS"),  # $DFC1TO3 says 28.40
    ),
    "raw_fcs/data_start_offset_discrepancy_example.fcs": ("3.0", 2, 26, True, ("OFFSETS_CORRECTED", "TIMESTEP_UNREADABLE")),
    "raw_fcs/data_stop_offset_discrepancy_example.fcs": ("3.0", 2, 26, True, ("OFFSETS_CORRECTED", "TIMESTEP_UNREADABLE")),
}


def test_no_file_is_forgotten(real_data: Path) -> None:
    folder = real_data / "cytometry"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in {".fcs", ".lmd"}}
    assert found == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_file_is_read_with_what_had_to_be_decided(real_data: Path, name: str) -> None:
    version, events, channels, has_spillover, codes = EXPECTED[name]
    acquisition = read_fcs(real_data / "cytometry" / name)
    assert (acquisition.version, acquisition.event_count, len(acquisition.channels)) == (version, events, channels)
    assert (acquisition.spillover is not None) == has_spillover
    assert tuple(finding.code for finding in acquisition.findings) == codes


def test_the_second_data_set_of_a_coulter_file_equals_flowios(real_data: Path) -> None:
    path = real_data / "cytometry/raw_fcs/coulter.lmd"
    acquisition = read_fcs(path, data_set=2)
    reference = flowio.FlowData(path, ignore_offset_error=True, nextdata_offset=363_602)
    np.testing.assert_array_equal(acquisition.events, np.reshape(reference.events, (-1, 8)).astype(np.float32))
    assert [channel.detector for channel in acquisition.channels] == ["FS", "SS", "FL1", "FL2", "FL3", "FL4", "FL5", "TIME"]
