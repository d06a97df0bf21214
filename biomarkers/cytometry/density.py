"""Where a cut lies on one scale, and how sure that is.

Knows densities, their valleys, tails and mixtures. Must not know markers, events' other channels or populations. Everything is
deterministic: the bootstrap draws from a generator seeded by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Choice: TypeAlias = Literal["deepest", "highest"]
Side: TypeAlias = Literal["above", "below"]

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

BINS = 1024
"""Bins of a density; one bin is far below the bandwidth for any number of events a tube holds."""

TRIM_PERCENT = 0.1
"""Events ignored at each end of the scale, so that a few outliers do not stretch it."""

LEAST_PROMINENCE = 0.02
"""Height of a peak above its surroundings, as share of the highest, from which it counts as a population."""

FAINT_PROMINENCE = 0.003
"""The same where a known population is parted from a neighbour perhaps a hundred times rarer, as lymphocytes from monocytes."""

TRUE_VALLEY_QUALITY = 0.3
"""Quality from which a valley beside a dim population parts it from the bright one rather than being a ripple on a shoulder."""

FAINT_VALLEY_QUALITY = 0.1
"""Quality from which a valley between a known population and its neighbour is believed."""

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

    @property
    def resolution(self) -> float:
        """Reach, on the scale, of 95 % of the smoothing to either side: no place can be told more finely."""
        return 2.0 * self.bandwidth_bins * self.bin_width


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
        smooth=_smoothed(counts.astype(np.float64), bandwidth_bins),
        bandwidth_bins=bandwidth_bins,
    )


def find_peaks(
    density: Density, least_prominence: float = LEAST_PROMINENCE
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return the bins of all peaks that count, from left to right, and their prominences."""
    smooth = density.smooth
    steps = np.flatnonzero(np.diff(smooth) != 0)
    if steps.size == 0:
        return np.empty(0, dtype=np.intp), np.empty(0)
    # Runs of equal values count once, at their middle; zeros beyond both ends let a peak at the edge be a peak.
    starts, ends = np.append(0, steps + 1), np.append(steps, smooth.size - 1)
    levels = np.concatenate(([0.0], smooth[starts], [0.0]))
    tops = np.flatnonzero((levels[1:-1] > levels[:-2]) & (levels[1:-1] > levels[2:]))
    prominences = np.array([_prominence(levels, int(top) + 1) for top in tops])
    kept = prominences >= least_prominence * float(smooth.max())
    middles: npt.NDArray[np.intp] = (starts[tops] + ends[tops]) // 2
    return middles[kept], prominences[kept]


def _prominence(levels: npt.NDArray[np.float64], top: int) -> float:
    """Height above the higher of the two lowest points that lie between a peak and higher ground, or the end."""
    height = levels[top]
    higher_left = np.flatnonzero(levels[:top] > height)
    higher_right = np.flatnonzero(levels[top + 1 :] > height)
    left = levels[int(higher_left[-1]) : top] if higher_left.size else levels[:top]
    right = levels[top + 1 : top + 2 + int(higher_right[0])] if higher_right.size else levels[top + 1 :]
    return float(height - max(left.min(), right.min()))


def find_valley(density: Density, choice: Choice = "deepest") -> Valley | None:
    """Cut between the two most prominent peaks; None where there are fewer than two.

    Parameters
    ----------
    choice
        ``"deepest"`` cuts at the lowest place between the two; ``"highest"`` at the last true valley below the upper one, so
        that a dim population between them counts as negative.
    """
    peaks, prominences = find_peaks(density)
    if peaks.size < 2:
        return None
    # Stable sort: of equal prominences the left one comes first, whatever the platform.
    left, right = sorted(int(bin_) for bin_ in peaks[np.argsort(-prominences, kind="stable")[:2]])
    deepest = _valley_between(density, left, right)
    if choice == "deepest":
        return deepest
    for between in reversed([int(bin_) for bin_ in peaks if left < bin_ < right]):
        valley = _valley_between(density, between, right)
        if valley.quality >= TRUE_VALLEY_QUALITY:
            return valley
    return deepest


def first_valley(density: Density, start: float, low: float, high: float) -> Valley | None:
    """Cut between a known population and whatever comes next above it.

    Parameters
    ----------
    start
        The known population's place; its peak is the highest density up to ``low``.
    low, high
        Limits the cut must lie between.

    Returns
    -------
    Valley or None
        The first valley above the population that another peak follows; None where none does.
    """
    centres, smooth = density.centres, density.smooth
    around = np.flatnonzero(np.abs(centres - start) <= max(low - start, density.bin_width))
    if around.size == 0:
        return None
    own = int(around[np.argmax(smooth[around])])
    peaks, _ = find_peaks(density, FAINT_PROMINENCE)
    for following in (int(bin_) for bin_ in peaks if bin_ > own and centres[bin_] > low):
        valley = _valley_between(density, own, following)
        if low <= valley.cut <= high and valley.quality >= FAINT_VALLEY_QUALITY:
            return valley
    return None


def _valley_between(density: Density, left: int, right: int) -> Valley:
    bottom = _lowest_bin(density.smooth, left, right)
    lower = float(min(density.smooth[left], density.smooth[right]))
    return Valley(
        cut=float(density.centres[bottom]),
        quality=1.0 - float(density.smooth[bottom]) / lower,
        lower_peak=float(density.centres[left]),
        upper_peak=float(density.centres[right]),
    )


def tail_cut(density: Density, *, peak: int, widths: float, side: Side) -> float:
    """Cut a number of standard deviations away from a peak, whose width is measured on its far side.

    Parameters
    ----------
    peak
        Bin of the peak.
    side
        On which side of the peak the cut lies.
    """
    far = np.arange(peak, -1, -1) if side == "above" else np.arange(peak, density.smooth.size)
    # exp(-1/2) of the height lies one standard deviation from a Gaussian's centre.
    below = np.flatnonzero(density.smooth[far] < np.exp(-0.5) * density.smooth[peak])
    reach = int(below[0]) if below.size else int(far.size)
    # The smoothing widened the peak; variances add.
    width = max(reach**2 - density.bandwidth_bins**2, 1.0) ** 0.5 * density.bin_width
    distance = widths * width if side == "above" else -widths * width
    return float(density.centres[peak]) + float(distance)


def edge_quality(density: Density, cut: float) -> float:
    """Judge a cut that no valley decided: 1 - density at the cut over the highest density.

    1 where no event lies near the cut, 0 where it goes through the middle of a population.
    """
    at = float(np.interp(cut, density.centres, density.smooth, left=0.0, right=0.0))
    return 1.0 - at / float(density.smooth.max())


def peak_bin(density: Density, which: Literal["highest", "lower", "upper"] = "highest") -> int:
    """Return the bin of the highest peak, or of the lower or upper one of the two most prominent."""
    peaks, prominences = find_peaks(density)
    if which == "highest" or peaks.size < 2:
        return int(np.argmax(density.smooth))
    pair = sorted(int(bin_) for bin_ in peaks[np.argsort(-prominences, kind="stable")[:2]])
    return pair[0] if which == "lower" else pair[1]


def redraw_quantile(values: Floats, quantile: float, seed: int) -> npt.NDArray[np.float64]:
    """Draw a quantile again: the rank of the value at it is binomial, whatever the distribution."""
    ordered = np.sort(values)
    ranks = np.random.default_rng(seed).binomial(ordered.size, quantile, size=DRAWS)
    drawn: npt.NDArray[np.float64] = ordered[np.clip(ranks, 0, ordered.size - 1)].astype(np.float64)
    return drawn


def redraw_tail(density: Density, cut: float, *, peak: int, widths: float, seed: int) -> npt.NDArray[np.float64]:
    """Draw a tail cut again: the peak's place and width are known to a share of the width that falls with its events."""
    width = abs(cut - float(density.centres[peak])) / widths
    # A mode's standard error, by Silverman's bandwidth, is near n^(-2/5) widths; of the width itself 1/sqrt(2n).
    events = max(float(density.counts.sum()), 2.0)
    error = width * (events**-0.8 + widths**2 / (2.0 * events)) ** 0.5
    drawn: npt.NDArray[np.float64] = cut + error * np.random.default_rng(seed).standard_normal(DRAWS)
    return drawn


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
    smooth = _smoothed(drawn, density.bandwidth_bins)
    inner = smooth[:, first - start : last - start + 1]
    lowest = inner <= inner.min(axis=1, keepdims=True) + 1e-9 * inner.max(axis=1, keepdims=True)
    # As in the cut itself, the middle one of several equally low bins.
    passed = np.cumsum(lowest, axis=1) > lowest.sum(axis=1, keepdims=True) // 2
    cuts: npt.NDArray[np.float64] = density.centres[first + np.argmax(passed, axis=1)]
    return cuts


def _smoothed(counts: npt.NDArray[np.float64], bandwidth_bins: float) -> npt.NDArray[np.float64]:
    """Convolve the last axis with a Gaussian, beyond whose ends there is nothing."""
    length = counts.shape[-1]
    # Room for the kernel keeps one end from reaching round into the other; a power of two is quickest.
    padded = 1 << (length + int(8 * bandwidth_bins)).bit_length()
    frequency = np.fft.rfftfreq(padded)
    response = np.exp(-2.0 * (np.pi * bandwidth_bins * frequency) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(counts, padded, axis=-1) * response, padded, axis=-1)[..., :length]
    # Rounding leaves the last bits of the transform where there is nothing at all.
    least = 1e-12 * np.max(smooth, axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = np.where(smooth > least, smooth, 0.0)
    return result


def _lowest_bin(smooth: npt.NDArray[np.float64], left: int, right: int) -> int:
    # Between two clean populations the density is zero over a stretch; its middle is as far from both as can be.
    stretch = smooth[left : right + 1]
    lowest = np.flatnonzero(stretch <= stretch.min() + 1e-9 * float(stretch.max()))
    return left + int(lowest[lowest.size // 2])
