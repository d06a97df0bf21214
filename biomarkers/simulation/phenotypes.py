"""Kinds of blood cells and what each looks like: light scatter, twelve antibodies, and the populations it counts for.

Knows phenotypes. Must not know instruments, noise or subjects. Levels are invented; they are chosen so that populations are as
far apart, and as close, as on real logicle plots: CD4 dim on monocytes, CD8 dim on a part of NK cells, CCR7 and PD-1 as
shoulders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from biomarkers.simulation.courses import BloodCells

MARKER_BY_DETECTOR: Mapping[str, str] = MappingProxyType(
    {
        "BV510-A": "Viability",
        "BV785-A": "CD3",
        "BV650-A": "CD4",
        "APC-H7-A": "CD8",
        "PE-Cy7-A": "CD19",
        "BV421-A": "CD56",
        "FITC-A": "CD45RA",
        "PE-CF594-A": "CCR7",
        "PE-A": "PD-1",
        "BV711-A": "CD25",
        "PerCP-Cy5-5-A": "CD127",
        "APC-A": "FoxP3",
    }
)
"""Antibody by detector, in the order of the spillover matrix."""


BRIGHT: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "Viability": (32000.0, 0.35),
        "CD3": (17000.0, 0.22),
        "CD4": (24000.0, 0.20),
        "CD8": (36000.0, 0.28),
        "CD19": (13000.0, 0.25),
        "CD56": (9000.0, 0.40),
        "CD45RA": (15000.0, 0.35),
        "CCR7": (5000.0, 0.35),
        "PD-1": (4200.0, 0.40),
        "CD25": (7000.0, 0.30),
        "CD127": (4500.0, 0.35),
        "FoxP3": (4500.0, 0.35),
    }
)
"""Compensated median of cells that carry a marker, and the spread of its natural logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Medians of forward and side scatter, and the spreads of their logarithms."""

    forward: float
    side: float
    forward_spread: float
    side_spread: float


LYMPHOCYTE = Scatter(forward=72000.0, side=21000.0, forward_spread=0.09, side_spread=0.16)
LARGE_LYMPHOCYTE = Scatter(forward=77000.0, side=25000.0, forward_spread=0.10, side_spread=0.18)
MONOCYTE = Scatter(forward=118000.0, side=60000.0, forward_spread=0.12, side_spread=0.20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of cell: its share of intact cells, the populations it belongs to, its markers as shares of the bright level."""

    share: float
    populations: frozenset[str]
    scatter: Scatter = LYMPHOCYTE
    levels: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def kinds_of(blood: BloodCells) -> tuple[Kind, ...]:
    """Return every kind of intact cell with its share of all intact cells."""
    lymphocytes = frozenset({"lymphocytes"})
    whole = blood.lymphocytes_of_live
    other = 1.0 - blood.t_of_lymphocytes - blood.b_of_lymphocytes - blood.nk_of_lymphocytes
    return (
        Kind(
            share=1.0 - whole,
            populations=frozenset(),
            scatter=MONOCYTE,
            levels={"CD4": 0.12, "CD45RA": 0.08, "CD127": 0.05, "CD25": 0.04, "CCR7": 0.06},
        ),
        *_t_kinds(blood, whole * blood.t_of_lymphocytes),
        Kind(
            share=whole * blood.b_of_lymphocytes,
            populations=lymphocytes | {"B"},
            levels={"CD19": 1.0, "CD45RA": 1.1, "CCR7": 0.55, "CD25": 0.06},
        ),
        Kind(
            share=whole * blood.nk_of_lymphocytes * 0.60,
            populations=lymphocytes | {"NK"},
            scatter=LARGE_LYMPHOCYTE,
            levels={"CD56": 0.9, "CD45RA": 0.9},
        ),
        Kind(
            share=whole * blood.nk_of_lymphocytes * 0.32,
            populations=lymphocytes | {"NK"},
            scatter=LARGE_LYMPHOCYTE,
            levels={"CD56": 0.9, "CD45RA": 0.9, "CD8": 0.13},
        ),
        Kind(
            share=whole * blood.nk_of_lymphocytes * 0.08,
            populations=lymphocytes | {"NK"},
            levels={"CD56": 4.0, "CD45RA": 0.3, "CD127": 0.5},
        ),
        Kind(share=whole * other, populations=lymphocytes, scatter=LARGE_LYMPHOCYTE, levels={"CD45RA": 0.25, "CD4": 0.03}),
    )


_MEMORY = {
    "naive": {"CD45RA": 1.0, "CCR7": 1.0, "CD127": 0.9},
    "central_memory": {"CD45RA": 0.035, "CCR7": 0.9, "CD127": 1.0},
    "effector_memory": {"CD45RA": 0.035, "CD127": 0.6},
    "effector": {"CD45RA": 0.8, "CD127": 0.12},
}


def _t_kinds(blood: BloodCells, share: float) -> Iterator[Kind]:
    yield from _subsets("CD4", share * blood.cd4_of_t * (1.0 - blood.treg_of_cd4), blood)
    yield from _subsets("CD8", share * blood.cd8_of_t, blood)
    t = frozenset({"lymphocytes", "T"})
    treg = {"CD3": 0.9, "CD4": 0.9, "CD25": 1.0, "CD127": 0.12, "FoxP3": 1.0, "CD45RA": 0.035, "CCR7": 0.7, "PD-1": 0.06}
    yield Kind(
        share=share * blood.cd4_of_t * blood.treg_of_cd4, populations=t | {"CD4", "CD4_central_memory", "Treg"}, levels=treg
    )
    rest = share * (1.0 - blood.cd4_of_t - blood.cd8_of_t)
    neither = {"CD3": 1.6, "CD45RA": 0.3, "CD127": 0.5, "PD-1": 0.06}
    yield Kind(share=rest * 0.8, populations=t, levels=neither)
    yield Kind(share=rest * 0.2, populations=t, levels={"CD3": 1.0, "CD4": 0.9, "CD8": 0.5, "CD127": 0.6, "CD45RA": 0.05})


def _subsets(lineage: str, share: float, blood: BloodCells) -> Iterator[Kind]:
    is_helper = lineage == "CD4"
    naive = blood.naive_of_cd4 if is_helper else blood.naive_of_cd8
    experienced = (0.55, 0.41, 0.04) if is_helper else (0.17, 0.45, 0.38)
    exhausted = blood.pd1_of_cd4_memory if is_helper else blood.pd1_of_cd8_memory
    portions = (naive, *((1.0 - naive) * portion for portion in experienced))
    for (name, levels), portion in zip(_MEMORY.items(), portions, strict=True):
        marked = 0.01 if name == "naive" else exhausted
        for carries, part in ((True, marked), (False, 1.0 - marked)):
            populations = {"lymphocytes", "T", lineage, f"{lineage}_{name}"} | ({f"{lineage}_PD1"} if carries else set())
            yield Kind(
                share=share * portion * part,
                populations=frozenset(populations),
                levels={
                    **levels,
                    "CD3": 1.0,
                    lineage: 1.0,
                    "CD25": 0.10 if is_helper and name != "naive" else 0.03,
                    "CD56": 0.02 if is_helper or name == "naive" else 0.05,
                    "PD-1": 1.0 if carries else 0.05,
                },
            )
