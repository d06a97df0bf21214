"""Blood of people at several visits as the simulation draws it, with a drift of staining that is no biology."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from biomarkers.simulation.courses import BloodCells
from biomarkers.simulation.phenotypes import kinds_of

BLOOD = BloodCells(
    lymphocytes_of_live=0.75,
    t_of_lymphocytes=0.72,
    b_of_lymphocytes=0.10,
    nk_of_lymphocytes=0.15,
    cd4_of_t=0.60,
    cd8_of_t=0.32,
    treg_of_cd4=0.06,
    naive_of_cd4=0.42,
    naive_of_cd8=0.36,
    pd1_of_cd4_memory=0.28,
    pd1_of_cd8_memory=0.34,
    dead_of_cells=0.07,
)

DRIFT = {"PD-1": 0.6, "FoxP3": 0.6, "CD25": 0.7, "CCR7": 0.6}
"""Antibodies of one visit shine at six tenths of the usual: it moves positives, and is no biology."""


def varied(blood: BloodCells, seed: int) -> BloodCells:
    """The same person at another visit: proportions change, as under treatment."""
    rng = np.random.default_rng(seed)

    def moved(share: float) -> float:
        logit = np.log(share / (1 - share)) + 0.25 * rng.standard_normal()
        return float(1 / (1 + np.exp(-logit)))

    return replace(
        blood,
        treg_of_cd4=moved(blood.treg_of_cd4),
        naive_of_cd4=moved(blood.naive_of_cd4),
        naive_of_cd8=moved(blood.naive_of_cd8),
        pd1_of_cd4_memory=moved(blood.pd1_of_cd4_memory),
        pd1_of_cd8_memory=moved(blood.pd1_of_cd8_memory),
    )


def share_percent(blood: BloodCells, population: str, denominator: str) -> float:
    """Frequency the cells were drawn with."""
    kinds = kinds_of(blood)
    top, bottom = (sum(kind.share for kind in kinds if name in kind.populations) for name in (population, denominator))
    return 100.0 * top / bottom
