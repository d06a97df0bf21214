"""Two overlapping Gaussians on one scale, for populations that form one hump with a shoulder.

Knows the fit and its spread. Must not know markers or populations. Everything is deterministic: the bootstrap draws from a
generator seeded by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.density import BINS, DRAWS, Density

MIXTURE_BINS = 128
"""Bins a mixture is fitted to again on resampled histograms."""

MIXTURE_REDRAW_STEPS = 40
"""Steps of the fit from where it lay; beyond them it hardly moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Two Gaussians fitted to a density.

    Attributes
    ----------
    cut
        Where an event is equally likely to belong to either.
    quality
        1 - 2 x the share of the smaller one that lies on the wrong side of the cut: 1 is a clean split, 0 a coin's throw.
    means, deviations, shares
        Of the lower and of the upper one.
    """

    cut: float
    quality: float
    means: tuple[float, float]
    deviations: tuple[float, float]
    shares: tuple[float, float]


def fit_mixture(density: Density, iterations: int = 200) -> Mixture:
    """Fit two Gaussians to the histogram by expectation and maximisation."""
    cumulative = np.cumsum(density.counts) / density.counts.sum()
    place = density.centres
    means = np.array([[np.interp(share, cumulative, place) for share in (0.2, 0.8)]])
    middle = np.average(place, weights=density.counts)
    total_deviation = float(np.sqrt(np.average((place - middle) ** 2, weights=density.counts)))
    deviations = np.full((1, 2), max(total_deviation / 2, density.bin_width))
    fitted = _maximised(density.counts[None, :], place, (means, deviations, np.full((1, 2), 0.5)), iterations)
    return _mixture(*(values[0] for values in fitted))


def mixture_cut(density: Density, iterations: int = 200) -> float:
    """Cut where two Gaussians fitted to the histogram are equally likely; of use only where there is no valley."""
    return fit_mixture(density, iterations).cut


def redraw_mixture(density: Density, mixture: Mixture, seed: int) -> npt.NDArray[np.float64]:
    """Fit the mixture again to resampled histograms, from where it lies; the same seed gives the same cuts."""
    # Coarser bins lose nothing against the width of a Gaussian, and keep the redrawing quick.
    step = BINS // MIXTURE_BINS
    counts, place = density.counts.reshape(-1, step).sum(axis=1), density.centres.reshape(-1, step).mean(axis=1)
    drawn = np.random.default_rng(seed).poisson(counts, size=(DRAWS, counts.size)).astype(np.float64)
    start = [np.tile(values, (DRAWS, 1)) for values in (mixture.means, mixture.deviations, mixture.shares)]
    fitted = _maximised(drawn, place, (start[0], start[1], start[2]), MIXTURE_REDRAW_STEPS)
    return np.array([_mixture(*(values[number] for values in fitted)).cut for number in range(DRAWS)])


def _maximised(
    weight: npt.NDArray[np.float64],
    place: npt.NDArray[np.float64],
    start: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]],
    iterations: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Improve means, deviations and shares, each of shape (histograms, 2), of as many histograms at once."""
    means, deviations, shares = start
    least = float(place[1] - place[0])
    for _ in range(iterations):
        scaled = (place - means[:, :, None]) / deviations[:, :, None]
        height = shares[:, :, None] / deviations[:, :, None] * np.exp(-0.5 * scaled**2)
        owned = height / np.maximum(height.sum(axis=1, keepdims=True), 1e-300) * weight[:, None, :]
        mass = np.maximum(owned.sum(axis=2), 1e-9)
        moved = (owned * place).sum(axis=2) / mass
        variance = (owned * (place - moved[:, :, None]) ** 2).sum(axis=2) / mass
        settled = bool(np.max(np.abs(moved - means)) < 1e-3 * least)
        means, deviations = moved, np.maximum(np.sqrt(variance), least)
        shares = mass / mass.sum(axis=1, keepdims=True)
        if settled:
            break
    return means, deviations, shares


def _mixture(means: npt.NDArray[np.float64], deviations: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> Mixture:
    order = np.argsort(means, kind="stable")
    (low, high), (narrow, wide), (few, many) = (
        (float(value) for value in values[order]) for values in (means, deviations, shares)
    )
    between = np.linspace(low, high, 2001)
    # Logarithms: far from both Gaussians their heights themselves would vanish.
    odds = (
        np.log(max(few, 1e-12) / narrow)
        - 0.5 * ((between - low) / narrow) ** 2
        - np.log(max(many, 1e-12) / wide)
        + 0.5 * ((between - high) / wide) ** 2
    )
    cut = float(between[int(np.argmin(np.abs(odds)))])
    wrong = (_beyond((cut - low) / narrow), _beyond((high - cut) / wide))
    return Mixture(
        cut=cut,
        quality=max(0.0, 1.0 - 2.0 * (wrong[0] if few < many else wrong[1])),
        means=(low, high),
        deviations=(narrow, wide),
        shares=(few, many),
    )


def _beyond(deviations: float) -> float:
    """Share of a Gaussian farther up than so many standard deviations."""
    return 0.5 * erfc(deviations / sqrt(2.0))
