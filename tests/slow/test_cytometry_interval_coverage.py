"""How often the intervals of frequencies hold what the cells were drawn with."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel, Spillover
from biomarkers.cytometry.analysis import population_records
from biomarkers.cytometry.gating import gate_acquisition
from biomarkers.readers.panels import packaged_panel
from biomarkers.simulation.cells import COLOURS, DETECTORS, cytometer_day, draw_tube
from biomarkers.simulation.courses import BloodCells
from biomarkers.simulation.phenotypes import kinds_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TUBES = 200


def _person(rng: np.random.Generator) -> BloodCells:
    def share(typical: float, spread: float) -> float:
        logit = np.log(typical / (1 - typical)) + spread * rng.standard_normal()
        return float(1 / (1 + np.exp(-logit)))

    t, b, nk = share(0.70, 0.25), share(0.10, 0.35), share(0.14, 0.35)
    whole = t + b + nk + 0.03
    cd4, cd8 = share(0.60, 0.30), share(0.32, 0.30)
    t_whole = cd4 + cd8 + 0.07
    return BloodCells(
        lymphocytes_of_live=share(0.74, 0.30),
        t_of_lymphocytes=t / whole,
        b_of_lymphocytes=b / whole,
        nk_of_lymphocytes=nk / whole,
        cd4_of_t=cd4 / t_whole,
        cd8_of_t=cd8 / t_whole,
        treg_of_cd4=share(0.055, 0.25),
        naive_of_cd4=share(0.42, 0.40),
        naive_of_cd8=share(0.36, 0.50),
        pd1_of_cd4_memory=share(0.28, 0.30),
        pd1_of_cd8_memory=share(0.34, 0.30),
        dead_of_cells=share(0.07, 0.35),
    )


def test_intervals_of_95_percent_hold_the_frequency_drawn_from_in_93_to_97_of_100() -> None:
    panel = packaged_panel("pbmc-lineage")
    channels = tuple(Channel(detector=one.name, marker=one.marker, top=262_144.0) for one in DETECTORS)
    held: dict[str, list[bool]] = {}
    for seed in range(TUBES):
        rng = np.random.default_rng(seed)
        blood = _person(rng)
        tube = draw_tube(blood, int(rng.choice([5000, 15_000, 40_000])), cytometer_day(rng), rng)
        acquisition = Acquisition(
            name=str(seed),
            version="3.1",
            events=tube.events,
            channels=channels,
            spillover=Spillover(keyword="$SPILLOVER", detectors=COLOURS, matrix=tube.spillover),
            keywords={},
            acquired_at="",
            findings=(),
        )
        share = {"live": 1.0}
        for kind in kinds_of(blood):
            for population in kind.populations:
                share[population] = share.get(population, 0.0) + kind.share
        for record in population_records(gate_acquisition(acquisition, panel)):
            if record.name in share and record.parent in share and record.lower is not None:
                true = 100.0 * share[record.name] / share[record.parent]
                held.setdefault(record.name, []).append(record.lower <= true <= record.upper)
    coverage = {name: float(np.mean(each)) for name, each in held.items()}
    overall = float(np.mean([each for several in held.values() for each in several]))
    assert 0.93 <= overall <= 0.97, coverage
    # One population's 200 intervals: 95 in 100 within three standard errors of chance.
    assert min(coverage.values()) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / TUBES) - 0.02, coverage
