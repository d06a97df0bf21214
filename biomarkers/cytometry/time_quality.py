"""Whether signal and flow were steady while a tube was acquired, and which stretches of it to leave out.

Knows events in the order they were seen, which is known only where a clock or running numbers go with them: files that software
has sorted or put together look disturbed everywhere, and nothing of them is left out. Must not know markers, gates or files.

The events are cut into slices of equal number. For each channel and each of five quantiles of the whole acquisition, a slice's
share of events above the quantile has a known expectation and, in a steady acquisition, binomial scatter; no transform changes
it. A slice is removed where a share lies further from the median of all slices than the limit allows, in robust standard
deviations of the series or binomial ones, whichever are larger. The rule, its limit of 6 and the handling of short stretches
are those of PeacoQC; shares above quantiles stand here where PeacoQC follows the peaks of a density, and its isolation tree is
not used. A slice passed much faster or slower than the others is removed as well.

References
----------
Emmaneel A et al. PeacoQC: peak-based selection of high quality cytometry data. Cytometry A 2022;101:325-338.
Monaco G et al. flowAI: automatic and interactive anomaly discerning tools. Bioinformatics 2016;32:2473-2480.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition, is_time
from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.results import Finding, Severity

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Where shares are followed: low ones see negatives move, high ones positives."""

SAMPLED_EVENTS = 50_000
"""Events the quantiles are found from; their own error is then a fraction of a slice's."""

FEWEST_TICKS = 10
"""Steps of the clock a slice must last for its rate to mean anything."""

BACKWARD_STEPS = 0.001
"""Share of steps by which a clock may run backwards: it starts anew at most a few times."""

MAD_TO_SD = 1.4826

Floats = npt.NDArray[np.float64]


class Slice(StrEnum):
    """Why a slice is kept or removed."""

    GOOD = "good"
    SIGNAL = "signal"
    RATE = "rate"
    BETWEEN = "between"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A channel's slow change: the share of events above one quantile in the first and in the last fifth, in percent."""

    channel: str
    first_percent: float
    last_percent: float

    @property
    def points(self) -> float:
        """Change in percentage points."""
        return self.last_percent - self.first_percent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeQuality:
    """An acquisition judged over time.

    Attributes
    ----------
    keep
        One boolean an event, in file order: those to gate.
    edges
        Events at which slices begin, with the end; two entries when nothing could be judged.
    slices
        What became of each slice.
    deviation
        Largest robust deviation of any channel, by slice.
    worst
        The channel that deviates most, by slice.
    seconds, rate
        By slice: when it began, in the clock's unit, and events per unit relative to the median; None without a usable clock.
    drifts
        Channels that changed slowly, the largest change first. They remove nothing.
    """

    keep: npt.NDArray[np.bool_]
    edges: npt.NDArray[np.int64]
    slices: tuple[Slice, ...]
    deviation: Floats
    worst: tuple[str, ...]
    seconds: Floats | None
    rate: Floats | None
    drifts: tuple[Drift, ...]
    findings: tuple[Finding, ...]

    @property
    def removed(self) -> int:
        """Events not kept."""
        return int(self.keep.size - np.count_nonzero(self.keep))

    @property
    def removed_percent(self) -> float:
        """The same, of all events."""
        return 100.0 * self.removed / self.keep.size if self.keep.size else 0.0


def judge_time(acquisition: Acquisition, limits: QualityLimits, columns: Sequence[int] | None = None) -> TimeQuality:
    """Judge signal and flow over time.

    Parameters
    ----------
    columns
        Channels to follow, such as those the panel uses; by default all but the clock and running numbers.
    """
    count = acquisition.event_count
    if _clock(acquisition) is None and not _is_numbered(acquisition):
        return _unjudged(acquisition)  # the acquisition's own findings say that the clock is missing or runs backwards
    if count < limits.fewest_events_in_time.value:
        return _unjudged(acquisition, _too_few(acquisition, limits))
    slice_count = int(min(limits.most_slices.value, count // limits.slice_events.value))
    edges = np.linspace(0, count, slice_count + 1).astype(np.int64)
    followed = _followed(acquisition, columns)
    shares = _shares(acquisition, followed, edges)
    deviations = _deviations(shares, np.diff(edges))
    deviation = deviations.max(axis=(0, 1), initial=0.0)
    places = deviations.max(axis=1, initial=0.0).argmax(axis=0) if followed else np.zeros(slice_count, dtype=np.int64)
    worst = tuple(acquisition.channels[followed[place]].detector if followed else "" for place in places)
    seconds, rate = _rates(acquisition, edges)
    by_signal = deviation > limits.deviation.value
    factor = limits.rate_factor.value
    by_rate = np.zeros_like(by_signal) if rate is None else (rate > factor) | (rate < 1 / factor)
    bad = by_signal | by_rate
    between = _short_stretches(bad, int(limits.short_stretch.value))
    slices = tuple(
        Slice.SIGNAL if signal else Slice.RATE if speed else Slice.BETWEEN if lone else Slice.GOOD
        for signal, speed, lone in zip(by_signal, by_rate, between, strict=True)
    )
    keep = np.repeat(~(bad | between), np.diff(edges))
    drifts = _drifts(acquisition, followed, shares, ~(bad | between), limits)
    judged = TimeQuality(
        keep=keep,
        edges=edges,
        slices=slices,
        deviation=deviation,
        worst=worst,
        seconds=seconds,
        rate=rate,
        drifts=drifts,
        findings=(),
    )
    findings = (*_removal_findings(acquisition.name, judged, limits), *_drift_findings(acquisition.name, drifts, limits))
    return TimeQuality(
        keep=keep,
        edges=edges,
        slices=slices,
        deviation=deviation,
        worst=worst,
        seconds=seconds,
        rate=rate,
        drifts=drifts,
        findings=findings,
    )


def _unjudged(acquisition: Acquisition, *findings: Finding) -> TimeQuality:
    count = acquisition.event_count
    return TimeQuality(
        keep=np.ones(count, dtype=np.bool_),
        edges=np.array([0, count], dtype=np.int64),
        slices=(Slice.GOOD,),
        deviation=np.zeros(1),
        worst=("",),
        seconds=None,
        rate=None,
        drifts=(),
        findings=findings,
    )


def _too_few(acquisition: Acquisition, limits: QualityLimits) -> Finding:
    return Finding(
        code="TIME_NOT_JUDGED",
        severity=Severity.NOTE,
        where=f"Acquisition '{acquisition.name}'.",
        message=f"{acquisition.event_count} events are too few to judge signal and flow over time; "
        f"{limits.fewest_events_in_time.value:.0f} are needed.",
        remedy="Acquire more events of this tube.",
    )


def _clock(acquisition: Acquisition) -> npt.NDArray[np.float64] | None:
    """Return the time of each event; None without a clock that runs forward."""
    index = next((i for i, channel in enumerate(acquisition.channels) if is_time(channel)), None)
    if index is None:
        return None
    time = acquisition.events[:, index].astype(np.float64)
    runs = np.isfinite(time).all() and np.mean(np.diff(time) < 0) <= BACKWARD_STEPS
    return time if runs else None


def _followed(acquisition: Acquisition, columns: Sequence[int] | None) -> list[int]:
    chosen = range(len(acquisition.channels)) if columns is None else sorted(set(columns))
    return [index for index in chosen if not is_time(acquisition.channels[index]) and _varies(acquisition.events[:, index])]


def _varies(column: npt.NDArray[np.float32]) -> bool:
    """Whether a channel measures something: it is neither constant nor a number that runs with the events."""
    sample = column[:: max(1, column.size // 2000)]
    steps = np.diff(sample[np.isfinite(sample)])
    return bool(np.any(steps < 0))


def _shares(acquisition: Acquisition, followed: Sequence[int], edges: npt.NDArray[np.int64]) -> Floats:
    """Share of each slice's events above each quantile: shape (channels, quantiles, slices)."""
    shares = np.zeros((len(followed), len(QUANTILES), edges.size - 1))
    sizes = np.diff(edges)
    step = max(1, acquisition.event_count // SAMPLED_EVENTS)
    for place, index in enumerate(followed):
        column = np.ascontiguousarray(acquisition.events[:, index])
        sample = column[::step]
        levels = np.quantile(sample[np.isfinite(sample)], QUANTILES)
        for number, level in enumerate(levels):
            above = (column > level).view(np.uint8)
            shares[place, number] = np.add.reduceat(above, edges[:-1], dtype=np.int64) / sizes
    return shares


def _deviations(shares: Floats, sizes: npt.NDArray[np.int64]) -> Floats:
    centre = np.median(shares, axis=2, keepdims=True)
    distance = np.abs(shares - centre)
    spread = MAD_TO_SD * np.median(distance, axis=2, keepdims=True)
    binomial = np.sqrt(np.clip(centre * (1 - centre), 1e-12, None) / sizes)
    # A share near 0 or 1, where many events hold one value, has hardly any scatter of its own: at least one event's worth.
    deviations: Floats = distance / np.maximum(np.maximum(spread, binomial), 1.0 / sizes)
    return deviations


def _rates(acquisition: Acquisition, edges: npt.NDArray[np.int64]) -> tuple[Floats | None, Floats | None]:
    """When each slice began, and its rate relative to the median; None without a clock that runs forward finely enough."""
    time = _clock(acquisition)
    if time is None:
        return None, None
    starts = time[edges[:-1]]
    lasting = np.diff(np.append(starts, time[-1]))
    steps = np.diff(np.unique(time))
    if steps.size == 0 or np.median(lasting) < FEWEST_TICKS * float(steps.min()):
        return starts, None
    rate = np.diff(edges) / np.maximum(lasting, float(steps.min()))
    return starts, rate / np.median(rate)


def _short_stretches(bad: npt.NDArray[np.bool_], shortest: int) -> npt.NDArray[np.bool_]:
    """Find good slices in stretches too short to be trusted, where any are bad at all."""
    lone = np.zeros_like(bad)
    if not bad.any():
        return lone
    borders = np.flatnonzero(np.diff(np.concatenate([[True], bad, [True]]).astype(np.int8)))
    for begin, end in zip(borders[::2], borders[1::2], strict=True):
        lone[begin:end] = end - begin < shortest
    return lone


def _is_numbered(acquisition: Acquisition) -> bool:
    """Whether a channel numbers the events in their order: it rises by the same from each to the next."""
    stride = max(1, acquisition.event_count // 2000)
    for column in acquisition.events.T:
        steps = np.diff(column[::stride].astype(np.float64))
        if steps.size and np.isfinite(steps).all() and steps.min() > 0 and steps.max() < 1.01 * steps.min():
            return True
    return False


def _drifts(
    acquisition: Acquisition, followed: Sequence[int], shares: Floats, good: npt.NDArray[np.bool_], limits: QualityLimits
) -> tuple[Drift, ...]:
    kept = np.flatnonzero(good)
    fifth = kept.size // 5
    if fifth < 2:
        return ()
    first, last = shares[:, :, kept[:fifth]], shares[:, :, kept[-fifth:]]
    change = last.mean(axis=2) - first.mean(axis=2)
    noise = np.sqrt((first.var(axis=2, ddof=1) + last.var(axis=2, ddof=1)) / fifth)
    found = []
    for place, index in enumerate(followed):
        number = int(np.argmax(np.abs(change[place])))
        moved = abs(float(change[place, number]))
        if 100 * moved > limits.drift_points.value and moved > limits.deviation.value * float(noise[place, number]):
            found.append(
                Drift(
                    channel=acquisition.channels[index].detector,
                    first_percent=100 * float(first[place, number].mean()),
                    last_percent=100 * float(last[place, number].mean()),
                )
            )
    return tuple(sorted(found, key=lambda drift: -abs(drift.points)))


def _removal_findings(name: str, judged: TimeQuality, limits: QualityLimits) -> Iterator[Finding]:
    if judged.removed == 0:
        return
    percent = judged.removed_percent
    severity = Severity.NOTE
    if percent > limits.removed_percent.value:
        severity = Severity.WARNING
    if percent > limits.unusable_percent.value:
        severity = Severity.REJECT
    reasons = Counter(judged.slices)
    blamed = Counter(worst for worst, kind in zip(judged.worst, judged.slices, strict=True) if kind is Slice.SIGNAL)
    parts = []
    if blamed:
        channels = ", ".join(f"'{channel}'" for channel, _ in blamed.most_common(3))
        parts.append(f"{reasons[Slice.SIGNAL]} slices for their signal (most in {channels})")
    if reasons[Slice.RATE]:
        parts.append(f"{reasons[Slice.RATE]} for their flow rate")
    if reasons[Slice.BETWEEN]:
        parts.append(f"{reasons[Slice.BETWEEN]} between them")
    yield Finding(
        code="TIME_SLICES_REMOVED",
        severity=severity,
        where=f"Acquisition '{name}'.",
        message=f"{judged.removed} of {judged.keep.size} events ({percent:.1f} %) were left out; of "
        f"{len(judged.slices)} slices {', '.join(parts)}.",
        remedy="Look at the signal over time; acquire the tube again if much is missing.",
    )


def _drift_findings(name: str, drifts: Sequence[Drift], limits: QualityLimits) -> Iterator[Finding]:
    if not drifts:
        return
    told = ", ".join(f"'{drift.channel}' from {drift.first_percent:.0f} to {drift.last_percent:.0f} %" for drift in drifts[:4])
    more = f" and {len(drifts) - 4} more channels" if len(drifts) > 4 else ""
    yield Finding(
        code="SIGNAL_DRIFT",
        severity=Severity.WARNING,
        where=f"Acquisition '{name}'.",
        message=f"Between its first and last fifth the share of bright events changed: {told}{more}; more than "
        f"{limits.drift_points.value:g} points are flagged.",
        remedy="Look at the signal over time: let the instrument warm up, keep the tube mixed.",
    )
