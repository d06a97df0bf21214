"""One FCS file's events as the instrument recorded them, and what can be said of them before any gate.

Knows channels, the spillover matrix that came with the events, and findings about margin, time and number of events. Must not
know the file format, markers' biology or any gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.quality_limits import QualityLimits
from biomarkers.results import Finding, Severity

TIME_BINS = 50
"""Slices of the acquisition time; with a thousand events an empty slice cannot be chance (twenty are expected in each)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One column of the events.

    Attributes
    ----------
    detector
        The instrument's name for it ($PnN).
    marker
        What the antibody binds as the operator wrote it ($PnS); empty where nothing was written.
    top
        Upper end of the channel's range ($PnR) on the scale of the events.
    """

    detector: str
    marker: str
    top: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spillover:
    """Light of each fluorochrome in each detector, as the file states it.

    Attributes
    ----------
    keyword
        Where it was written: ``$SPILLOVER``, ``SPILL``.
    detectors
        Names of rows and columns.
    matrix
        Square; row *i* says what fluorochrome *i* sheds on every detector, 1 on its own.
    """

    keyword: str
    detectors: tuple[str, ...]
    matrix: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Acquisition:
    """The events of one tube.

    Attributes
    ----------
    name
        What people call the file.
    events
        float32, one row an event in file order, one column a channel; linear, gain and amplification undone, not compensated.
    keywords
        The file's own words about itself, upper-case names, without those that describe channels.
    acquired_at
        Date and time as the instrument wrote them; empty when it did not.
    findings
        What the reader had to decide or could not trust.
    """

    name: str
    version: str
    events: npt.NDArray[np.float32]
    channels: tuple[Channel, ...]
    spillover: Spillover | None
    keywords: Mapping[str, str]
    acquired_at: str
    findings: tuple[Finding, ...]

    @property
    def event_count(self) -> int:
        """Number of events."""
        return int(self.events.shape[0])

    def detector_index(self, detector: str) -> int | None:
        """Return the column of a detector, upper and lower case alike, or None."""
        wanted = detector.casefold()
        return next((i for i, channel in enumerate(self.channels) if channel.detector.casefold() == wanted), None)


def quality_findings(acquisition: Acquisition, limits: QualityLimits | None = None) -> tuple[Finding, ...]:
    """Judge the events before gating: how many, how many at the margin, whether time runs and the flow never stops.

    Parameters
    ----------
    limits
        The panel's own; without them the defaults.
    """
    applied = limits or QualityLimits()
    return (
        *_count_findings(acquisition, applied),
        *_margin_findings(acquisition, applied),
        *_time_findings(acquisition, applied),
    )


def is_time(channel: Channel) -> bool:
    """Whether the channel is the clock rather than light."""
    return channel.detector.casefold() == "time"


def _count_findings(acquisition: Acquisition, limits: QualityLimits) -> Iterator[Finding]:
    count = acquisition.event_count
    if count >= limits.fewest_events.value:
        return
    yield Finding(
        code="FEW_EVENTS",
        severity=Severity.REJECT if count == 0 else Severity.WARNING,
        where=f"Acquisition '{acquisition.name}'.",
        message=f"The file holds {count} events; {limits.fewest_events.value:.0f} are wanted.",
        remedy="Acquire more events of this tube, or report nothing from it.",
    )


def _margin_findings(acquisition: Acquisition, limits: QualityLimits) -> Iterator[Finding]:
    if acquisition.event_count == 0:
        return
    for index, channel in enumerate(acquisition.channels):
        if is_time(channel) or channel.top <= 0:
            continue
        column = acquisition.events[:, index]
        # Detectors saturate one step below the declared range, or exactly on it. Values beyond it are no margin: some software
        # rescales the events and leaves the range as it was.
        on_margin = (column >= channel.top * 0.9999) & (column <= channel.top)
        percent = 100.0 * float(np.count_nonzero(on_margin)) / acquisition.event_count
        if percent > limits.margin_percent.value:
            yield Finding(
                code="MARGIN_EVENTS",
                severity=Severity.WARNING,
                where=f"Acquisition '{acquisition.name}', channel '{channel.detector}'.",
                message=f"{percent:.1f} % of events lie on the upper margin; more than {limits.margin_percent.value:g} % "
                f"is suspicious ({limits.margin_percent.source}).",
                remedy="Lower this detector's voltage at the next acquisition; look at the events on the margin.",
            )


def _time_findings(acquisition: Acquisition, limits: QualityLimits) -> Iterator[Finding]:
    where = f"Acquisition '{acquisition.name}', channel 'Time'."
    index = next((i for i, channel in enumerate(acquisition.channels) if is_time(channel)), None)
    if index is None:
        yield Finding(
            code="TIME_MISSING",
            severity=Severity.NOTE,
            where=f"Acquisition '{acquisition.name}'.",
            message="There is no time channel, so a blocked or unsteady flow cannot be seen.",
            remedy="Export the time channel with the events.",
        )
        return
    time = acquisition.events[:, index]
    time = time[np.isfinite(time)]
    if time.size < limits.fewest_events.value or time[0] == time[-1]:
        return
    backwards = 100.0 * float(np.mean(np.diff(time) < 0))
    if backwards > 0.1:  # single steps back happen where two detectors' clocks are merged
        yield Finding(
            code="TIME_NOT_ASCENDING",
            severity=Severity.WARNING,
            where=where,
            message=f"Time runs backwards at {backwards:.1f} % of events: files were joined, or events were sorted.",
            remedy="Drop the file as the instrument wrote it.",
        )
        return
    if np.unique(time).size < 2 * TIME_BINS:  # a clock of whole seconds leaves slices empty by itself
        return
    per_bin, _ = np.histogram(time, bins=TIME_BINS)
    empty = 100.0 * float(np.mean(per_bin == 0))
    if empty > limits.gap_percent.value:
        yield Finding(
            code="FLOW_STOPPED",
            severity=Severity.WARNING,
            where=where,
            message=f"No event was seen during {empty:.0f} % of the acquisition time.",
            remedy="Check the tube for clogging; acquire again if frequencies before and after the stop differ.",
        )
