"""Stability over time of public files, all with the default limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.cytometry.time_quality import judge_time
from biomarkers.readers.fcs import read_fcs

pytestmark = pytest.mark.real


def test_the_example_of_peacoqc_has_one_clear_disturbance(real_data: Path) -> None:
    acquisition = read_fcs(real_data / "cytometry/raw_fcs/PeacoQC_111.fcs")
    judged = judge_time(acquisition, QualityLimits())
    # The file ships with PeacoQC as an example of a disturbed acquisition: the disturbed slices stand tens of standard
    # deviations out, all others stay below the limit.
    assert 5 < judged.removed_percent < 15
    bad = np.flatnonzero(judged.deviation > 6)
    assert judged.deviation[bad].max() > 40
    assert np.array_equal(bad, np.arange(bad[0], bad[0] + bad.size)), "one stretch"
    assert [finding.code for finding in judged.findings] == ["TIME_SLICES_REMOVED"]


@pytest.mark.parametrize(
    "name",
    [
        "itn_drift/itn_02.fcs",
        "raw_fcs/100715.fcs",
        "raw_fcs/OMIP021_Donor1.fcs",
        "raw_fcs/PBMC_spectral_UNMIXED.fcs",
        "gatingml2_compliance/data1.fcs",
    ],
)
def test_files_nobody_calls_disturbed_lose_nothing(real_data: Path, name: str) -> None:
    judged = judge_time(read_fcs(real_data / "cytometry" / name), QualityLimits())
    assert judged.removed == 0
    assert judged.drifts == ()
