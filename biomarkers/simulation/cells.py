"""PBMC as events: a tube run through a cytometer.

Knows autofluorescence, debris, doublets, dying cells, spillover, noise of light and electronics, and drift between days. Must
not know files or subjects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from biomarkers.simulation.courses import BloodCells
from biomarkers.simulation.fcs_bytes import TOP_OF_SCALE, Detector
from biomarkers.simulation.phenotypes import BRIGHT, LYMPHOCYTE, MARKER_BY_DETECTOR, Kind, Scatter, kinds_of

COLOURS = tuple(MARKER_BY_DETECTOR)
DETECTORS = (
    Detector(name="FSC-A"),
    Detector(name="FSC-H"),
    Detector(name="SSC-A"),
    *(Detector(name=name, marker=marker) for name, marker in MARKER_BY_DETECTOR.items()),
    Detector(name="Time"),
)

_SPILL: Mapping[tuple[str, str], float] = MappingProxyType(
    {
        ("BV421-A", "BV510-A"): 0.09,
        ("BV510-A", "BV421-A"): 0.05,
        ("BV510-A", "BV650-A"): 0.04,
        ("BV650-A", "BV711-A"): 0.24,
        ("BV650-A", "BV785-A"): 0.08,
        ("BV650-A", "APC-A"): 0.10,
        ("BV711-A", "BV785-A"): 0.26,
        ("BV711-A", "PerCP-Cy5-5-A"): 0.05,
        ("BV785-A", "BV711-A"): 0.03,
        ("BV785-A", "PE-Cy7-A"): 0.04,
        ("BV785-A", "APC-H7-A"): 0.05,
        ("FITC-A", "PE-A"): 0.12,
        ("FITC-A", "BV510-A"): 0.02,
        ("PE-A", "PE-CF594-A"): 0.30,
        ("PE-A", "PerCP-Cy5-5-A"): 0.07,
        ("PE-A", "PE-Cy7-A"): 0.015,
        ("PE-CF594-A", "PE-A"): 0.20,
        ("PE-CF594-A", "PerCP-Cy5-5-A"): 0.14,
        ("PE-CF594-A", "PE-Cy7-A"): 0.03,
        ("PerCP-Cy5-5-A", "PE-Cy7-A"): 0.11,
        ("PerCP-Cy5-5-A", "BV711-A"): 0.16,
        ("PE-Cy7-A", "APC-H7-A"): 0.03,
        ("APC-A", "APC-H7-A"): 0.10,
        ("APC-A", "BV650-A"): 0.04,
        ("APC-H7-A", "APC-A"): 0.02,
        ("APC-H7-A", "PE-Cy7-A"): 0.03,
    }
)
"""Share of a dye's light that falls into another detector, dye first."""

_AUTOFLUORESCENCE = 120.0
_AUTOFLUORESCENCE_SPREAD = 0.35
_ELECTRONIC_NOISE = 45.0
_PHOTON_NOISE = 2.2
"""Noise per square root of light: what makes compensated negatives spread beside a bright neighbour."""

_DEBRIS = Scatter(forward=15000.0, side=8000.0, forward_spread=0.35, side_spread=0.50)
_HEIGHT_OF_AREA = 0.86
_HEIGHT_SPREAD = 0.025

DEBRIS_SHARE = 0.06
DOUBLET_SHARE = 0.05
_DEBRIS_THAT_STAINS = 0.75
"""Most debris of thawed or fixed cells binds the amine dye."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """Events of one acquisition with their truth.

    Attributes
    ----------
    events
        Shape (events, 16), in the order of :data:`DETECTORS`, spillover included.
    counts
        True intact, living, single cells by population; ``live`` are all of them.
    membership
        Which events those are, by population.
    """

    events: NDArray[np.float32]
    counts: Mapping[str, int]
    spillover: NDArray[np.float64]
    membership: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CytometerDay:
    """How the cytometer stood that day: gain by colour, and of the two scatters."""

    gains: NDArray[np.float64]
    forward: float
    side: float


def cytometer_day(rng: Generator) -> CytometerDay:
    """Draw a day's settings: lasers and detectors drift by some percent between days."""
    return CytometerDay(
        gains=np.exp(0.09 * rng.standard_normal(len(COLOURS))),
        forward=float(np.exp(0.03 * rng.standard_normal())),
        side=float(np.exp(0.03 * rng.standard_normal())),
    )


def spillover_matrix() -> NDArray[np.float64]:
    """Return the instrument's spillover, dyes in rows, detectors in columns, ones on the diagonal."""
    matrix = np.eye(len(COLOURS))
    for (dye, detector), share in _SPILL.items():
        matrix[COLOURS.index(dye), COLOURS.index(detector)] = share
    return matrix


def draw_tube(
    blood: BloodCells,
    events: int,
    day: CytometerDay,
    rng: Generator,
    staining: Mapping[str, float] = MappingProxyType({}),
) -> Tube:
    """Run a tube: cells, pairs of cells, dying cells and debris in the order they passed the laser.

    Parameters
    ----------
    staining
        Brightness of a marker relative to the usual, by marker: what a new lot or a shorter incubation does.
    """
    kinds = kinds_of(blood)
    shares = np.array([kind.share for kind in kinds])
    n_debris, n_doublets = rng.binomial(events, [DEBRIS_SHARE, DOUBLET_SHARE])
    n_cells = events - n_debris
    kind = rng.choice(len(kinds), size=n_cells, p=shares / shares.sum())
    is_doublet = np.arange(n_cells) < n_doublets
    is_dead = (rng.random(n_cells) < blood.dead_of_cells) & ~is_doublet
    colours, forward, side = _cells(kinds, kind, is_dead, rng, staining)
    height = _HEIGHT_OF_AREA * forward * np.exp(_HEIGHT_SPREAD * rng.standard_normal(n_cells))
    pair = slice(0, n_doublets)
    partner = rng.choice(len(kinds), size=n_doublets, p=shares / shares.sum())
    more, more_forward, more_side = _cells(kinds, partner, rng.random(n_doublets) < 0.3 * blood.dead_of_cells, rng, staining)
    # Two cells in a row: areas add up, while the peak is hardly higher than that of the larger one.
    height[pair] = np.maximum(height[pair], _HEIGHT_OF_AREA * more_forward) * rng.uniform(1.0, 1.22, n_doublets)
    colours[pair] += more
    forward[pair] += more_forward
    side[pair] += more_side
    grime, grime_forward, grime_side = _debris(n_debris, rng)
    grime_height = _HEIGHT_OF_AREA * grime_forward * np.exp(2.0 * _HEIGHT_SPREAD * rng.standard_normal(n_debris))
    spillover = spillover_matrix()
    light = np.concatenate([colours, grime])
    scatter = np.column_stack(
        [
            np.concatenate([forward, grime_forward]) * day.forward,
            np.concatenate([height, grime_height]) * day.forward,
            np.concatenate([side, grime_side]) * day.side,
        ]
    )
    seen = _detected(light, spillover, day, rng)
    order = rng.permutation(events)
    time = np.sort(rng.random(events)) * 0.02 * events
    table = np.column_stack([np.clip(scatter, 0.0, TOP_OF_SCALE - 1.0), seen])[order]
    # Debris, doublets and dying cells are of no kind.
    whole = np.concatenate([np.where(is_doublet | is_dead, -1, kind), np.full(n_debris, -1)])[order]
    membership = _membership(kinds, whole)
    return Tube(
        events=np.column_stack([table, time]).astype(np.float32),
        counts={population: int(np.count_nonzero(members)) for population, members in membership.items()},
        spillover=spillover * day.gains[None, :] / day.gains[:, None],
        membership=membership,
    )


def _cells(
    kinds: tuple[Kind, ...],
    kind: NDArray[np.int64],
    is_dead: NDArray[np.bool_],
    rng: Generator,
    staining: Mapping[str, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Light of the dyes, forward and side scatter of cells of the given kinds."""
    markers = tuple(MARKER_BY_DETECTOR.values())
    bright = np.array([BRIGHT[marker][0] * staining.get(marker, 1.0) for marker in markers])
    spread = np.array([BRIGHT[marker][1] for marker in markers])
    levels = np.array([[one.levels.get(marker, 0.0) for marker in markers] for one in kinds]) * bright
    count = len(kind)
    stained = levels[kind]
    lively = np.exp(spread * rng.standard_normal((count, len(markers))))
    own = _AUTOFLUORESCENCE * np.exp(_AUTOFLUORESCENCE_SPREAD * rng.standard_normal((count, 1)))
    forms = [one.scatter for one in kinds]
    size = np.array([[form.forward, form.side, form.forward_spread, form.side_spread] for form in forms])[kind]
    # A larger cell glows more of itself.
    own = own * (size[:, :1] / LYMPHOCYTE.forward) ** 2
    # Dying cells shrink, grow granular, glow, and take up the dye.
    own = np.where(is_dead[:, None], 3.0 * own, own)
    light = stained * lively * np.where(is_dead[:, None], 0.75, 1.0) + own
    light[:, 0] += np.where(is_dead, bright[0] * np.exp(spread[0] * rng.standard_normal(count)), 0.0)
    forward = size[:, 0] * np.exp(size[:, 2] * rng.standard_normal(count)) * np.where(is_dead, 0.68, 1.0)
    side = size[:, 1] * np.exp(size[:, 3] * rng.standard_normal(count)) * np.where(is_dead, 1.7, 1.0)
    return light, forward, side


def _debris(count: int, rng: Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    light = 60.0 * np.exp(0.6 * rng.standard_normal((count, len(COLOURS))))
    stains = rng.random(count) < _DEBRIS_THAT_STAINS
    light[:, 0] += np.where(stains, 9000.0 * np.exp(0.7 * rng.standard_normal(count)), 0.0)
    forward = _DEBRIS.forward * np.exp(_DEBRIS.forward_spread * rng.standard_normal(count))
    return light, forward, _DEBRIS.side * np.exp(_DEBRIS.side_spread * rng.standard_normal(count))


def _detected(
    light: NDArray[np.float64], spillover: NDArray[np.float64], day: CytometerDay, rng: Generator
) -> NDArray[np.float64]:
    """Light of the dyes as the detectors tell it: spilt over, with noise, in the day's gain."""
    # einsum without a plan stays off BLAS, whose sums may differ in the last bit with the number of threads.
    arriving: NDArray[np.float64] = np.einsum("ij,jk->ik", light, spillover, optimize=False)
    noise = rng.standard_normal(arriving.shape) * np.sqrt(_PHOTON_NOISE**2 * arriving + _ELECTRONIC_NOISE**2)
    seen: NDArray[np.float64] = np.clip((arriving + noise) * day.gains, -TOP_OF_SCALE / 2.0, TOP_OF_SCALE - 1.0)
    return seen


def _membership(kinds: tuple[Kind, ...], kind: NDArray[np.int64]) -> Mapping[str, NDArray[np.bool_]]:
    members = {"live": kind >= 0}
    for population in sorted({name for one in kinds for name in one.populations}):
        belonging = [number for number, one in enumerate(kinds) if population in one.populations]
        members[population] = np.isin(kind, belonging)
    return members
