from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import flowio
import numpy as np
import pytest

from biomarkers.simulation.cells import COLOURS, DETECTORS, cytometer_day, draw_tube, spillover_matrix
from biomarkers.simulation.courses import BloodCells
from biomarkers.simulation.fcs_bytes import Detector, fcs_bytes
from biomarkers.simulation.phenotypes import MARKER_BY_DETECTOR, kinds_of
from biomarkers.simulation.seeds import stream
from biomarkers.simulation.study import SimulatedStudy

BLOOD = BloodCells(
    lymphocytes_of_live=0.7,
    t_of_lymphocytes=0.7,
    b_of_lymphocytes=0.1,
    nk_of_lymphocytes=0.15,
    cd4_of_t=0.6,
    cd8_of_t=0.33,
    treg_of_cd4=0.06,
    naive_of_cd4=0.4,
    naive_of_cd8=0.3,
    pd1_of_cd4_memory=0.3,
    pd1_of_cd8_memory=0.4,
    dead_of_cells=0.08,
)


def test_flowio_reads_the_file_as_fcs_31_with_the_panels_channels(study: SimulatedStudy, tmp_path: Path) -> None:
    job = replace(study.acquisitions[0], events=700)
    job.write(tmp_path)
    read = flowio.FlowData(tmp_path / job.file_name)
    assert read.version == "3.1"
    assert (read.event_count, read.channel_count) == (700, 16)
    assert read.pnn_labels == [detector.name for detector in DETECTORS]
    assert read.pns_labels == ["", "", "", *MARKER_BY_DETECTOR.values(), ""]
    assert read.text["accession_id"] == job.accession_id
    count, *rest = read.text["spillover"].split(",")
    assert int(count) == 12
    assert tuple(rest[:12]) == COLOURS
    matrix = np.array([float(number) for number in rest[12:]]).reshape(12, 12)
    assert np.allclose(np.diag(matrix), 1.0)


def test_values_survive_the_file(tmp_path: Path) -> None:
    events = stream(1, "events").normal(1000.0, 300.0, (50, 2)).astype(np.float32)
    path = tmp_path / "two.fcs"
    path.write_bytes(fcs_bytes(events, [Detector(name="A"), Detector(name="B", marker="CD3")], {"NOTE": "one|two"}))
    read = flowio.FlowData(path)
    assert np.array_equal(read.as_array(preprocess=False), events)


def test_counts_are_those_of_the_drawn_cells_and_children_never_exceed_parents() -> None:
    tube = draw_tube(BLOOD, 20_000, cytometer_day(stream(1, "day")), stream(1, "tube"))
    counts = tube.counts
    assert counts["live"] > counts["lymphocytes"] > counts["T"] > counts["CD4"] > counts["CD8"]
    assert counts["T"] + counts["B"] + counts["NK"] < counts["lymphocytes"]
    memory = ("naive", "central_memory", "effector_memory", "effector")
    for lineage in ("CD4", "CD8"):
        assert sum(counts[f"{lineage}_{subset}"] for subset in memory) == counts[lineage]
        assert 0 < counts[f"{lineage}_PD1"] < counts[lineage]
    assert 0 < counts["Treg"] < counts["CD4"]
    # Four standard errors of a binomial share.
    share = counts["T"] / counts["lymphocytes"]
    assert share == pytest.approx(0.7, abs=4 * np.sqrt(0.7 * 0.3 / counts["lymphocytes"]))


def test_shares_of_all_kinds_of_cells_add_up_to_one() -> None:
    assert sum(kind.share for kind in kinds_of(BLOOD)) == pytest.approx(1.0)
    assert min(kind.share for kind in kinds_of(BLOOD)) > 0.0


def test_compensation_with_the_embedded_matrix_leaves_b_cells_without_cd3() -> None:
    tube = draw_tube(BLOOD, 20_000, cytometer_day(stream(4, "day")), stream(4, "tube"))
    compensated = tube.events[:, 3:15].astype(np.float64) @ np.linalg.inv(tube.spillover)
    cd3, cd19 = (compensated[:, COLOURS.index(name)] for name in ("BV785-A", "PE-Cy7-A"))
    b_cells = cd19 > 4000.0
    assert 0.02 < b_cells.mean() < 0.15
    assert abs(np.median(cd3[b_cells])) < 600.0
    raw = tube.events[:, 3 + COLOURS.index("BV711-A")]
    assert np.median(raw[cd3 > 5000.0]) > np.median(compensated[cd3 > 5000.0, COLOURS.index("BV711-A")]) + 300.0


def test_fixed_cuts_on_compensated_light_find_the_true_frequencies() -> None:
    tube = draw_tube(BLOOD, 20_000, cytometer_day(stream(2, "day")), stream(2, "tube"))
    light = tube.events[:, 3:15].astype(np.float64) @ np.linalg.inv(tube.spillover)
    column = {marker: light[:, index] for index, marker in enumerate(MARKER_BY_DETECTOR.values())}
    area, height = tube.events[:, 0], tube.events[:, 1]
    living = (column["Viability"] < 3500.0) & (area / height < 1.35) & (area > 40_000.0)
    t_cells = living & (column["CD3"] > 3000.0)
    helpers = t_cells & (column["CD4"] > 6000.0) & (column["CD8"] < 5000.0)
    assert helpers.sum() / t_cells.sum() == pytest.approx(tube.counts["CD4"] / tube.counts["T"], abs=0.01)
    assert t_cells.sum() / living.sum() == pytest.approx(tube.counts["T"] / tube.counts["live"], abs=0.03)


def test_the_tube_holds_doublets_debris_and_dead_cells() -> None:
    tube = draw_tube(BLOOD, 20_000, cytometer_day(stream(3, "day")), stream(3, "tube"))
    area, height = tube.events[:, 0], tube.events[:, 1]
    viability = (tube.events[:, 3:15].astype(np.float64) @ np.linalg.inv(tube.spillover))[:, 0]
    assert 0.03 < np.mean(area / height > 1.4) < 0.08
    assert 0.03 < np.mean(area < 35_000.0) < 0.09
    assert 0.04 < np.mean((viability > 8000.0) & (area > 35_000.0)) < 0.14
    assert np.all(np.diff(tube.events[:, 15]) >= 0.0), "time runs forward"


def test_cytometers_drift_between_days_and_not_within_one() -> None:
    monday, again, tuesday = (cytometer_day(stream(1, "cytometer", day)) for day in ("2025-03-03", "2025-03-03", "2025-03-04"))
    assert np.array_equal(monday.gains, again.gains)
    assert 0.001 < np.abs(np.log(monday.gains / tuesday.gains)).max() < 0.6


def test_the_spillover_matrix_can_be_inverted_well() -> None:
    assert np.linalg.cond(spillover_matrix()) < 5.0


def test_a_dry_tube_has_too_few_events_and_is_the_only_kind_of_short_file(study: SimulatedStudy) -> None:
    assert sorted({job.events for job in study.acquisitions}) == [40, 20_000]
