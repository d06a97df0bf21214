"""Does it matter where on the plate a well lies: its edge, a drift along rows or columns.

Knows wells by position and which of them hold the same material. Must not know what any of them should hold: a slot is compared
with itself alone, so an effect shows only where replicates of one slot lie in different places.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.stats import t as t_distribution

from biomarkers.elisa.plate import WellPosition
from biomarkers.results import Finding, Severity

EffectName: TypeAlias = Literal["edge", "row drift", "column drift"]

LARGEST_EFFECT_PERCENT = 10.0
"""An effect of place this large, and surely there, moves results by more than good replicates scatter."""

_NAMES: tuple[EffectName, ...] = ("edge", "row drift", "column drift")
_SURE = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedWell:
    """A well with a positive number: response or concentration; wells of one slot hold the same."""

    position: WellPosition
    slot: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateEffect:
    """One effect of place, in percent of the value.

    Attributes
    ----------
    percent
        Outermost wells over inner ones, or the last row or column over the first.
    lower, upper
        Limits with a confidence of 99.9 %, since every plate is looked at.
    """

    name: EffectName
    percent: float
    lower: float
    upper: float
    wells: int
    findings: tuple[Finding, ...]


def plate_effects(
    wells: Sequence[PlacedWell], *, rows: int, columns: int, where: str, limit_percent: float = LARGEST_EFFECT_PERCENT
) -> tuple[PlateEffect, ...]:
    """Estimate the effects of place that the replicates of a plate can tell; the others are left out.

    Notes
    -----
    Logarithms of the values, each less its slot's mean, are regressed on place less the slot's mean place. Duplicates side by
    side tell nothing of rows; a plate holding one material in every well, as in validation, tells all three.
    """
    by_slot: dict[str, list[PlacedWell]] = defaultdict(list)
    for well in wells:
        if well.value > 0:
            by_slot[well.slot].append(well)
    groups = [members for members in by_slot.values() if len(members) > 1]
    if not groups:
        return ()
    places = np.vstack([_centred(np.array([_place(well.position, rows, columns) for well in members])) for members in groups])
    values = np.concatenate([_centred(np.array([[math.log(well.value)] for well in members]))[:, 0] for members in groups])
    told = [index for index in range(len(_NAMES)) if _is_told(places, index)]
    freedom = len(values) - len(groups) - len(told)
    if not told or freedom < 1:
        return ()
    design = places[:, told]
    found = np.linalg.lstsq(design, values, rcond=None)[0]
    left = values - design @ found
    spread = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * float(left @ left) / freedom)
    t = float(t_distribution.ppf(0.5 + _SURE / 2, freedom))
    return tuple(
        _effect(_NAMES[index], float(value), t * float(error), len(values), where, limit_percent)
        for index, value, error in zip(told, found, spread, strict=True)
    )


def _place(position: WellPosition, rows: int, columns: int) -> tuple[float, float, float]:
    is_edge = position.row in (0, rows - 1) or position.column in (0, columns - 1)
    return float(is_edge), position.row / max(rows - 1, 1), position.column / max(columns - 1, 1)


def _centred(
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.asarray(values - values.mean(axis=0), dtype=np.float64)


def _is_told(places: np.ndarray[tuple[int, ...], np.dtype[np.float64]], index: int) -> bool:
    """Whether a direction varies within slots, beyond what the others already explain."""
    others = np.delete(places, index, axis=1)
    explained = others @ np.linalg.lstsq(others, places[:, index], rcond=None)[0]
    return float(np.sum((places[:, index] - explained) ** 2)) > 0.05


def _effect(  # noqa: PLR0917  - a row of a table
    name: EffectName, log_effect: float, half: float, wells: int, where: str, limit_percent: float
) -> PlateEffect:
    lower, middle, upper = (100.0 * math.expm1(value) for value in (log_effect - half, log_effect, log_effect + half))
    findings: tuple[Finding, ...] = ()
    if abs(middle) > limit_percent and lower * upper > 0:
        across = "the outermost wells over the inner ones" if name == "edge" else "from the first to the last"
        findings = (
            Finding(
                code="PLATE_EFFECT",
                severity=Severity.WARNING,
                where=where,
                message=f"There is an effect of place ({name}): {middle:+.1f} %, {across}; {limit_percent:g} % is allowed.",
                remedy="Check incubation, washing and the time between pipetting the first and the last well.",
            ),
        )
    return PlateEffect(
        name=name,
        percent=middle,
        lower=lower,
        upper=upper,
        wells=wells,
        findings=findings,
    )
