"""Gates held against experts' labels of each event, in published data sets stored as R data.

The conversion needs the package `rdata`, which nothing else here needs; without it these tests are skipped and say so.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel
from biomarkers.cytometry.analysis import population_records
from biomarkers.cytometry.gating import Gating, gate_acquisition
from biomarkers.readers.panels import packaged_panel

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1200)]

HEALTHY = (1, 3, 5, 7, 9, 11, 13, 16, 19, 21, 30, 36, 38)
"""Files of healthy donors; 15 repeats the lymphocytes of 3."""

LYMPHOMA = (22, 24)
EXCHANGED = (16, 19, 21)
"""Files published with the names of four channels exchanged."""

POPULATIONS = ("lymphocytes", "T", "CD4", "CD8", "B", "NK")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    acquisition: Acquisition
    labels: npt.NDArray[np.str_]


@cache
def read_labelled(path: Path) -> dict[str, Labelled]:
    """Data frames of events with the expert's label of each, by name."""
    rdata = pytest.importorskip("rdata", reason="the labelled cytometry is stored as R data; install 'rdata' to read it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = rdata.read_rda(path)
    frames = {name: frame for name, frame in content.items() if hasattr(frame, "columns")}
    found = {}
    for name, frame in frames.items():
        beside = content.get(f"{name}_labels")
        labels = frame.iloc[:, -1] if beside is None else beside
        values = frame.iloc[:, :-1] if beside is None else frame
        channels = tuple(_channel(str(column), float(values[column].max())) for column in values.columns)
        acquisition = Acquisition(
            name=name,
            version="",
            events=values.to_numpy(dtype=np.float32),
            channels=channels,
            spillover=None,
            keywords={"DATA_SCALE": "compensated and scaled"},
            acquired_at="",
            findings=(),
        )
        found[name] = Labelled(acquisition=acquisition, labels=np.asarray(labels).astype(str))
    return found


def _channel(column: str, top: float) -> Channel:
    name = re.sub(r" (LOGICAL|LINEAR|Exp-SSC Low)$", "", column)
    marker, _, detector = name.partition(":") if ":" in name else ("", "", name)
    if not marker and not name.startswith(("FSC", "SSC")):
        marker = name
    return Channel(detector=detector.strip(), marker=marker.strip(), top=max(top, 1.0))


def truth_of(labels: npt.NDArray[np.str_]) -> dict[str, npt.NDArray[np.bool_]]:
    """Lymphoid lineages from the labels of two operators, who name them differently."""
    plain = np.char.replace(labels, "negativo", "-")
    rejected = np.array([bool(re.search("debris|doublet", label, re.IGNORECASE)) for label in plain])
    starts = np.char.startswith
    double = plain == "CD4+CD8+"
    cd4 = starts(plain, "CD4+CD8") & ~double & ~rejected
    cd8 = starts(plain, "CD8+CD4") & ~rejected
    t = cd4 | cd8 | ((starts(plain, "TCRgd") | double) & ~rejected)
    b = starts(plain, "Mature SIg") & ~rejected
    nk = np.isin(plain, ("CD56dim", "CD56bright", "NK CELLS"))
    return {"lymphocytes": t | b | nk, "T": t, "CD4": cd4, "CD8": cd8, "B": b, "NK": nk}


def f1(members: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    return 2 * float(np.sum(members & truth)) / max(1.0, float(members.sum() + truth.sum()))


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "cytometry"


def _gated(folder: Path, number: int) -> tuple[Gating, dict[str, npt.NDArray[np.bool_]]]:
    (labelled,) = read_labelled(folder / "euroflow_lst" / f"Cytometry{number}.RData").values()
    return gate_acquisition(labelled.acquisition, packaged_panel("euroflow-lst")), truth_of(labelled.labels)


def test_healthy_blood_is_gated_as_the_experts_gated_it(folder: Path) -> None:
    scores, errors = [], []
    parents = {"T": "lymphocytes", "CD4": "T", "CD8": "T", "B": "lymphocytes", "NK": "lymphocytes"}
    for number in HEALTHY:
        gated, truth = _gated(folder, number)
        scores.append([f1(gated.populations[name].membership, truth[name]) for name in POPULATIONS])
        ours = [gated.populations[name].count / gated.populations[parent].count for name, parent in parents.items()]
        theirs = [truth[name].sum() / truth[parent].sum() for name, parent in parents.items()]
        errors.append([100 * abs(one - other) for one, other in zip(ours, theirs, strict=True)])
    # What was asked for: medians .985 .997 .995 .98 .99 .95, tenth percentiles .93 .98 .98 .95 .94 .88. More is reached, which
    # the limits here guard.
    median, tenth = np.median(scores, axis=0), np.quantile(scores, 0.1, axis=0)
    assert (median >= [0.994, 0.997, 0.996, 0.985, 0.990, 0.985]).all(), dict(zip(POPULATIONS, median.round(4), strict=True))
    assert (tenth >= [0.97, 0.982, 0.98, 0.96, 0.96, 0.95]).all(), dict(zip(POPULATIONS, tenth.round(4), strict=True))
    # Asked for: at most 1 point for T, 0.5 for CD4 and CD8, 0.4 for B, 1 for NK.
    middle = np.median(errors, axis=0)
    assert (middle <= [0.4, 0.4, 0.45, 0.1, 0.2]).all(), dict(zip(parents, middle.round(3), strict=True))


def test_exchanged_channel_names_are_reported_and_gated_right_all_the_same(folder: Path) -> None:
    for number in HEALTHY:
        gated, _ = _gated(folder, number)
        codes = {finding.code for finding in gated.findings}
        assert ("CHANNEL_NAMES_EXCHANGED" in codes) == (number in EXCHANGED), number


def test_in_lymphoma_t_cell_subsets_stay_right_and_the_scatter_gate_is_flagged(folder: Path) -> None:
    for number in LYMPHOMA:
        gated, truth = _gated(folder, number)
        for name in ("T", "CD4", "CD8"):
            assert f1(gated.populations[name].membership, truth[name]) > 0.985, (number, name)
        flagged = {record.name: {finding.code for finding in record.findings} for record in population_records(gated)}
        assert "SCATTER_UNRESOLVED" in flagged["lymphocytes"]


def test_t_cell_subsets_of_pbmc_are_gated_as_the_experts_gated_them(folder: Path) -> None:
    # Asked for: CD4 and CD8 .99, naive .96, central memory .95 and .75, effector memory .94 and .80.
    least = {"CD4": 0.995, "CD8": 0.995, "CD4_naive": 0.96, "CD8_naive": 0.965}
    least |= {"CD4_central_memory": 0.96, "CD8_central_memory": 0.84, "CD4_effector_memory": 0.935, "CD8_effector_memory": 0.84}
    for name, labelled in read_labelled(folder / "hipc_tcell" / "HIPC_Stanford.RData").items():
        gated = gate_acquisition(labelled.acquisition, packaged_panel("hipc-tcell"))
        for population, floor in least.items():
            lineage, _, subset = population.partition("_")
            wanted = f"{lineage} {subset.replace('_', ' ').title()}"
            truth = labelled.labels == wanted if subset else np.char.startswith(labelled.labels, f"{lineage} ")
            assert f1(gated.populations[population].membership, truth) >= floor, (name, population)
        flagged = {record.name: {finding.code for finding in record.findings} for record in population_records(gated)}
        assert "FEW_EVENTS" in flagged["CD4_effector"]


def test_subsamples_of_ten_thousand_events_vary_hardly_more_than_counting_does(folder: Path) -> None:
    (labelled,) = read_labelled(folder / "euroflow_lst" / "Cytometry21.RData").values()
    panel = packaged_panel("euroflow-lst")
    names = ("T", "CD4", "CD8", "B", "NK")
    shares, parents = [], []
    for seed in range(15):
        chosen = np.sort(np.random.default_rng(seed).choice(labelled.acquisition.event_count, 10_000, replace=False))
        gated = gate_acquisition(replace(labelled.acquisition, events=labelled.acquisition.events[chosen]), panel)
        counts = [(gated.populations[name].count, int(gated.parent_membership(name).sum())) for name in names]
        shares.append([count / parent for count, parent in counts])
        parents.append([parent for _, parent in counts])
    share, size = np.mean(shares, axis=0), np.mean(parents, axis=0)
    variation = np.std(shares, axis=0, ddof=1) / share
    binomial = np.sqrt((1 - share) / (share * size))
    assert (variation <= 1.3 * binomial).all(), dict(zip(names, (variation / binomial).round(2), strict=True))
