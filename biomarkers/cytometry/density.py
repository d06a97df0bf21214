"""Where a cut lies on one scale, and how sure that is.

Knows densities, their valleys, tails and mixtures. Must not know markers, events' other channels or populations. Everything is
deterministic: the bootstrap draws from a generator seeded by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

BINS = 1024
"""Bins of a density; one bin is far below the bandwidth for any number of events a tube holds."""

TRIM_PERCENT = 0.1
"""Events ignored at each end of the scale, so that a few outliers do not stretch it."""

LEAST_PROMINENCE = 0.02
"""Height of a peak above its surroundings, as share of the highest, from which it counts as a population."""

FEWEST_VALUES = 20
"""Values below which a density says nothing."""

DRAWS = 48
"""Bootstrap draws for the spread of a cut; the standard error of a standard deviation from 48 is a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Density:
    """Histogram with its Gaussian smoothing.

    Attributes
    ----------
    centres, counts, smooth
        Middle of each bin, values in it, smoothed values in it; shape (BINS,).
    bandwidth_bins
        Standard deviation of the smoothing, in bins.
    """

    centres: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    smooth: npt.NDArray[np.float64]
    bandwidth_bins: float

    @property
    def bin_width(self) -> float:
        """Width of a bin on the scale."""
        return float(self.centres[1] - self.centres[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Valley:
    """A cut between two peaks.

    Attributes
    ----------
    cut
        Where the density is lowest between the peaks.
    quality
        1 - depth of the valley over the lower peak: 1 is a clean split, 0 no split at all.
    lower_peak, upper_peak
        The peaks' places on the scale.
    """

    cut: float
    quality: float
    lower_peak: float
    upper_peak: float


def estimate_density(values: Floats, adjust: float = 1.5) -> Density | None:
    """Smooth a histogram of values by Silverman's rule times ``adjust``; None where there are too few or all are equal."""
    finite = values[np.isfinite(values)]
    if finite.size < FEWEST_VALUES:
        return None
    low, first_quarter, third_quarter, high = np.percentile(finite, [TRIM_PERCENT, 25, 75, 100 - TRIM_PERCENT])
    if not high > low:
        return None
    inside = finite[(finite >= low) & (finite <= high)]
    quartile_spread = (third_quarter - first_quarter) / 1.34
    deviation = float(inside.std(dtype=np.float64))
    spread = min(deviation, quartile_spread) if quartile_spread > 0 else deviation
    # Room on both sides lets a peak at the edge be a peak, and smoothing lose nothing.
    bandwidth = 0.9 * spread * inside.size**-0.2 * adjust
    edge = 4 * bandwidth
    counts, edges = np.histogram(inside, bins=BINS, range=(float(low - edge), float(high + edge)))
    width = float(edges[1] - edges[0])
    bandwidth_bins = max(1.0, bandwidth / width)
    return Density(
        centres=(edges[:-1] + edges[1:]) / 2,
        counts=counts.astype(np.float64),
        smooth=ndimage.gaussian_filter1d(counts.astype(np.float64), bandwidth_bins, mode="constant"),
        bandwidth_bins=bandwidth_bins,
    )


def find_peaks(density: Density) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return the bins of all peaks that count, from left to right, and their prominences."""
    padded = np.concatenate(([0.0], density.smooth, [0.0]))
    peaks, properties = signal.find_peaks(padded, prominence=LEAST_PROMINENCE * float(density.smooth.max()))
    return peaks - 1, properties["prominences"]


def find_valley(density: Density) -> Valley | None:
    """Cut between the two most prominent peaks; None where there are fewer than two."""
    peaks, prominences = find_peaks(density)
    if peaks.size < 2:
        return None
    # Stable sort: of equal prominences the left one comes first, whatever the platform.
    left, right = sorted(int(bin_) for bin_ in peaks[np.argsort(-prominences, kind="stable")[:2]])
    bottom = _lowest_bin(density.smooth, left, right)
    lower = float(min(density.smooth[left], density.smooth[right]))
    return Valley(
        cut=float(density.centres[bottom]),
        quality=1.0 - float(density.smooth[bottom]) / lower,
        lower_peak=float(density.centres[left]),
        upper_peak=float(density.centres[right]),
    )


def lowest_between(density: Density, low: float, high: float) -> Valley | None:
    """Return the lowest place of the density between two places of the scale, None where no bin lies between them.

    The quality compares the bottom with the highest density on the poorer side of it.
    """
    inside = np.flatnonzero((density.centres >= low) & (density.centres <= high))
    if inside.size < 3:
        return None
    bottom = _lowest_bin(density.smooth, int(inside[0]), int(inside[-1]))
    left_peak = int(np.argmax(density.smooth[: bottom + 1]))
    right_peak = bottom + int(np.argmax(density.smooth[bottom:]))
    lower = float(min(density.smooth[left_peak], density.smooth[right_peak]))
    return Valley(
        cut=float(density.centres[bottom]),
        quality=max(0.0, 1.0 - float(density.smooth[bottom]) / lower) if lower > 0 else 0.0,
        lower_peak=float(density.centres[left_peak]),
        upper_peak=float(density.centres[right_peak]),
    )


def tail_cut(density: Density, *, widths: float, side: int) -> float:
    """Cut a number of half-widths away from the highest peak, judged on that peak's far side.

    Parameters
    ----------
    widths
        How many standard deviations of the peak.
    side
        +1 cuts above the peak and measures its width below it; -1 the other way round.
    """
    peak = int(np.argmax(density.smooth))
    far = np.arange(peak, -1, -1) if side > 0 else np.arange(peak, density.smooth.size)
    # exp(-1/2) of the height lies one standard deviation from a Gaussian's centre.
    below = np.flatnonzero(density.smooth[far] < np.exp(-0.5) * density.smooth[peak])
    reach = int(below[0]) if below.size else far.size
    width = max(reach**2 - density.bandwidth_bins**2, 1.0) ** 0.5 * density.bin_width
    return float(density.centres[peak]) + side * widths * width


def mixture_cut(density: Density, iterations: int = 200) -> float:
    """Cut where two Gaussians fitted to the histogram are equally likely; of use only where there is no valley."""
    weight, place = density.counts, density.centres
    cumulative = np.cumsum(weight) / weight.sum()
    means = np.array([np.interp(share, cumulative, place) for share in (0.2, 0.8)])
    total_deviation = float(np.sqrt(np.average((place - np.average(place, weights=weight)) ** 2, weights=weight)))
    deviations = np.full(2, max(total_deviation / 2, density.bin_width))
    shares = np.full(2, 0.5)
    membership = np.zeros((2, place.size))
    for _ in range(iterations):
        height = shares[:, None] / deviations[:, None] * np.exp(-0.5 * ((place - means[:, None]) / deviations[:, None]) ** 2)
        membership = height / np.maximum(height.sum(axis=0), 1e-300)
        mass = np.maximum((membership * weight).sum(axis=1), 1e-9)
        means = (membership * weight * place).sum(axis=1) / mass
        variance = (membership * weight * (place - means[:, None]) ** 2).sum(axis=1) / mass
        deviations = np.maximum(np.sqrt(variance), density.bin_width)
        shares = mass / mass.sum()
    low, high = int(np.argmin(means)), int(np.argmax(means))
    between = np.flatnonzero((place >= means[low]) & (place <= means[high]))
    if between.size == 0:
        return float(means.mean())
    return float(place[between[np.argmin(np.abs(membership[low, between] - membership[high, between]))]])


def redraw_cuts(density: Density, valley: Valley, seed: int) -> npt.NDArray[np.float64]:
    """Draw the cut again from resampled histograms: its spread says how far it would move on another tube of the same cells.

    Returns
    -------
    ndarray
        :data:`DRAWS` cuts; the same seed gives the same draws.
    """
    # Only the stretch between the peaks, with room for the smoothing, is drawn: the peaks themselves hardly move.
    first, last = (int(np.argmin(np.abs(density.centres - peak))) for peak in (valley.lower_peak, valley.upper_peak))
    room = int(np.ceil(4 * density.bandwidth_bins))
    start, stop = max(0, first - room), min(density.counts.size, last + room + 1)
    drawn = np.random.default_rng(seed).poisson(density.counts[start:stop], size=(DRAWS, stop - start)).astype(np.float64)
    smooth = ndimage.gaussian_filter1d(drawn, density.bandwidth_bins, axis=1, mode="constant")
    inner = smooth[:, first - start : last - start + 1]
    bottoms = [_lowest_bin(row, 0, row.size - 1) for row in inner]
    cuts: npt.NDArray[np.float64] = density.centres[first + np.array(bottoms, dtype=np.intp)]
    return cuts


def _lowest_bin(smooth: npt.NDArray[np.float64], left: int, right: int) -> int:
    # Between two clean populations the density is zero over a stretch; its middle is as far from both as can be.
    stretch = smooth[left : right + 1]
    lowest = np.flatnonzero(stretch <= stretch.min() + 1e-9 * float(stretch.max()))
    return left + int(lowest[lowest.size // 2])
