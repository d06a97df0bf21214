"""What a subject's specimens hold: concentrations, cell fractions and densities, visit by visit.

Knows invented biology: what is typical before treatment, how treatment and progression move it, and how subjects differ. Must
not know instruments; every number is a truth the instruments are then held against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from numpy.random import Generator

from biomarkers.simulation.seeds import stream
from biomarkers.simulation.subjects import SimulatedSubject
from biomarkers.study.soluble import Analyte


@dataclass(frozen=True, slots=True, kw_only=True)
class _Soluble:
    """An analyte before treatment, and what multiplies it afterwards.

    ``spread`` and ``within`` are standard deviations of the natural logarithm: between subjects, and between visits of one.
    """

    median: float
    spread: float
    within: float
    treated: float = 1.0
    responding: float = 1.0
    progressing: float = 1.0


# In the unit of the packaged study: ng/mL for kynurenine, ug/mL for tryptophan, pg/mL for interleukins.
_SOLUBLE: Mapping[str, _Soluble] = MappingProxyType(
    {
        "KYN": _Soluble(median=470.0, spread=0.30, within=0.12, treated=1.08, responding=0.80, progressing=1.35),
        "TRP": _Soluble(median=10.5, spread=0.20, within=0.10, treated=0.97, responding=1.08, progressing=0.85),
        "IL2": _Soluble(median=9.0, spread=0.80, within=0.25, treated=1.1, responding=1.5),
        "IL6": _Soluble(median=13.0, spread=0.80, within=0.30, treated=1.2, responding=0.7, progressing=1.9),
        "IL8": _Soluble(median=60.0, spread=0.65, within=0.25, treated=1.1, responding=0.7, progressing=1.7),
        "IL10": _Soluble(median=9.0, spread=0.75, within=0.25, treated=1.1, progressing=1.4),
        "IL15": _Soluble(median=6.5, spread=0.55, within=0.20, treated=1.6, responding=1.2),
    }
)

_OTHER_SOLUBLE = 0.08
"""An analyte this page does not know lies at this share of its range, on the logarithmic scale, above its lower limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BloodCells:
    """Fractions PBMC are drawn with, each of the population named after ``of``."""

    lymphocytes_of_live: float
    t_of_lymphocytes: float
    b_of_lymphocytes: float
    nk_of_lymphocytes: float
    cd4_of_t: float
    cd8_of_t: float
    treg_of_cd4: float
    naive_of_cd4: float
    naive_of_cd8: float
    pd1_of_cd4_memory: float
    pd1_of_cd8_memory: float
    dead_of_cells: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueStain:
    """How a stain marks a section.

    Attributes
    ----------
    density_per_mm2
        Wanted density of positive cells for lymphocyte markers; None where ``positive_share`` says it instead.
    positive_share
        Wanted share of positive cells among all.
    grade_shares
        Shares of 1+, 2+ and 3+ among positive cells.
    """

    density_per_mm2: float | None
    positive_share: float | None
    grade_shares: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effect:
    """How far treatment has worked at a visit, and whether the tumour grows again."""

    is_treated: bool
    is_responding: bool
    is_progressing: bool


def _effect(subject: SimulatedSubject, visit: str, baseline: str) -> _Effect:
    treated = visit != baseline
    progressing = visit in {"PROGRESSION", "END_OF_TREATMENT"}
    return _Effect(
        is_treated=treated, is_responding=treated and subject.responds and not progressing, is_progressing=progressing
    )


def concentration(subject: SimulatedSubject, analyte: Analyte, visit: str, *, baseline: str, draw: str, seed: int) -> float:
    """Return the true concentration in one plasma specimen, in the analyte's unit.

    Parameters
    ----------
    draw
        Names the collection; two draws at one visit differ by the variation within a subject.
    """
    known = _SOLUBLE.get(analyte.code) or _typical(analyte)
    effect = _effect(subject, visit, baseline)
    person = stream(seed, "soluble", subject.subject_id, analyte.code).standard_normal()
    moment = stream(seed, "soluble", subject.subject_id, analyte.code, draw).standard_normal()
    level = math.log(known.median) + known.spread * person + known.within * moment
    level += math.log(known.treated) * effect.is_treated + math.log(known.responding) * effect.is_responding
    return math.exp(level + math.log(known.progressing) * effect.is_progressing)


def _typical(analyte: Analyte) -> _Soluble:
    limits = analyte.limits
    return _Soluble(median=limits.lloq * (limits.uloq / limits.lloq) ** _OTHER_SOLUBLE, spread=0.6, within=0.2)


def blood_cells(subject: SimulatedSubject, visit: str, *, baseline: str, draw: str, seed: int) -> BloodCells:
    """Return the fractions one PBMC specimen is drawn with."""
    effect = _effect(subject, visit, baseline)
    person = stream(seed, "blood", subject.subject_id)
    moment = stream(seed, "blood", subject.subject_id, draw)

    def share(typical: float, spread: float, shift: float = 0.0) -> float:
        """Vary a fraction on the logit scale, so that it stays one."""
        logit = math.log(typical / (1.0 - typical)) + shift
        logit += spread * person.standard_normal() + 0.3 * spread * moment.standard_normal()
        return 1.0 / (1.0 + math.exp(-logit))

    treated, responding, growing = effect.is_treated, effect.is_responding, effect.is_progressing
    lymphocytes = share(0.74, 0.30, -0.45 * treated - 0.15 * growing)
    t, b, nk, other = (
        share(0.70, 0.25, 0.10 * treated),
        share(0.10, 0.35, -0.50 * treated),
        share(0.14, 0.35),
        0.03,
    )
    whole = t + b + nk + other
    cd4, cd8, neither = share(0.60, 0.30, -0.10 * treated - 0.10 * responding), share(0.32, 0.30, 0.15 * responding), 0.07
    t_whole = cd4 + cd8 + neither
    return BloodCells(
        lymphocytes_of_live=lymphocytes,
        t_of_lymphocytes=t / whole,
        b_of_lymphocytes=b / whole,
        nk_of_lymphocytes=nk / whole,
        cd4_of_t=cd4 / t_whole,
        cd8_of_t=cd8 / t_whole,
        treg_of_cd4=share(0.055, 0.25, -0.20 * responding + 0.25 * growing),
        naive_of_cd4=share(0.42, 0.40, -0.15 * treated),
        naive_of_cd8=share(0.36, 0.50, -0.15 * treated),
        pd1_of_cd4_memory=share(0.28, 0.30, 0.15 * responding),
        pd1_of_cd8_memory=share(0.34, 0.30, 0.45 * responding + 0.15 * growing),
        dead_of_cells=share(0.07, 0.35),
    )


# Positive cells per mm2 of tissue (CD4, CD8) or their share of all cells (others), before treatment.
_LYMPHOCYTE_DENSITY: Mapping[str, float] = MappingProxyType({"CD4": 150.0, "CD8": 110.0})
_TUMOUR_SHARE = 0.10
_LARGEST_POSITIVE_SHARE = 0.6


def lymphocytes_per_ul(subject_id: str, *, draw: str, seed: int) -> float:
    """Return the lymphocyte count a haematology analyser gives of one draw, to ten cells as analysers print it."""
    person = stream(seed, "haematology", subject_id)
    moment = stream(seed, "haematology", subject_id, draw)
    count = 1400.0 * math.exp(0.30 * person.standard_normal() + 0.10 * moment.standard_normal())
    return 10.0 * round(count / 10.0)


def tissue_stain(subject: SimulatedSubject, stain: str, visit: str, *, baseline: str, seed: int) -> TissueStain:
    """Return how one stain marks one section; T cells enter the tumours that respond, most under the first arm."""
    effect = _effect(subject, visit, baseline)
    person = stream(seed, "tissue", subject.subject_id, stain)
    moment = stream(seed, "tissue", subject.subject_id, stain, visit)
    grades = _grades(person)
    change = math.log(2.4) * effect.is_responding + 0.20 * float(moment.standard_normal())
    typical = _LYMPHOCYTE_DENSITY.get(stain.upper())
    if typical is None:
        logit = math.log(_TUMOUR_SHARE / (1.0 - _TUMOUR_SHARE)) + 1.1 * person.standard_normal() + 0.5 * change
        share = min(1.0 / (1.0 + math.exp(-logit)), _LARGEST_POSITIVE_SHARE)
        return TissueStain(density_per_mm2=None, positive_share=share, grade_shares=grades)
    density = typical * math.exp(0.6 * person.standard_normal() + change)
    return TissueStain(density_per_mm2=density, positive_share=None, grade_shares=grades)


def _grades(rng: Generator) -> tuple[float, float, float]:
    weak, moderate, strong = (float(share) for share in rng.dirichlet((6.0, 8.0, 6.0)))
    return weak, moderate, strong
