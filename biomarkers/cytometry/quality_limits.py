"""Thresholds an acquisition is held against before its gates are believed: configuration, each with its source.

Knows the ``[quality]`` table of a panel. Must not know events. Every default can be replaced in the panel's TOML, and then
carries the source given there: ``[quality] margin_percent = { value = 3.0, source = "SOP 12, version 2" }``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_PEACOQC = "PeacoQC's default (Emmaneel, Cytometry A 2022;101:325)"
_USUAL = "usual in cytometry laboratories; to be confirmed by each site"
_OURS = "assumption of this software; to be confirmed by each site"


class Limit(BaseModel):
    """A threshold and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Annotated[float, Field(ge=0)]
    source: Annotated[str, Field(min_length=3)]


def _limit(value: float, source: str) -> Limit:
    return Limit(value=value, source=source)


class QualityLimits(BaseModel):
    """All thresholds; percentages are of the events named.

    Attributes
    ----------
    fewest_events
        Events of the file below which it is flagged: at 1000 a population of 5 % rests on 50 events.
    margin_percent
        Events on one detector's upper margin.
    gap_percent
        Share of the acquisition time without a single event.
    slice_events, most_slices
        Events in each slice of the time series at least, and slices at most.
    fewest_events_in_time
        Events below which stability over time cannot be judged.
    deviation
        Robust standard deviations of a slice's signal from the whole acquisition's, from which it is removed.
    short_stretch
        Slices: a stretch of good ones shorter than this between removed ones is removed with them.
    rate_factor
        Times faster or slower than the acquisition's own median rate, from which a slice is removed.
    drift_points
        Percentage points by which the share of events above a quantile may change between the first and last fifth.
    removed_percent, unusable_percent
        Events removed for such slices from which the file is flagged, and from which nothing is reported.
    doublet_percent
        Events that are no single cells.
    debris_percent
        Events with less than half the forward scatter of the median lymphocyte.
    viability_percent
        Live of single cells, at least.
    lineage_lymphocytes, rare_lymphocytes
        Lymphocytes wanted for the lineages and for rare subsets.
    detected_events, quantified_events
        Events of a population from which it counts as present, and from which its number is quantified.
    blood_count_cv_percent
        Coefficient of variation of the haematology analyser's lymphocyte count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fewest_events: Limit = _limit(1000, _USUAL)
    margin_percent: Limit = _limit(5.0, _USUAL)
    gap_percent: Limit = _limit(10.0, _OURS)
    slice_events: Limit = _limit(150, _PEACOQC)
    most_slices: Limit = _limit(500, _PEACOQC)
    fewest_events_in_time: Limit = _limit(1500, "PeacoQC does not run on fewer")
    deviation: Limit = _limit(6.0, _PEACOQC)
    short_stretch: Limit = _limit(5, _PEACOQC)
    rate_factor: Limit = _limit(2.0, _OURS)
    drift_points: Limit = _limit(10.0, _OURS)
    removed_percent: Limit = _limit(20.0, _USUAL)
    unusable_percent: Limit = _limit(70.0, "PeacoQC warns from here on")
    doublet_percent: Limit = _limit(15.0, _USUAL)
    debris_percent: Limit = _limit(30.0, _OURS)
    viability_percent: Limit = _limit(70.0, _USUAL)
    lineage_lymphocytes: Limit = _limit(10_000, _USUAL)
    rare_lymphocytes: Limit = _limit(50_000, _USUAL)
    detected_events: Limit = _limit(20, "usual limit of detection in rare-event cytometry, 20 to 30 events")
    blood_count_cv_percent: Limit = _limit(
        5.0, "half the within-subject variation of about 10 %; to be confirmed by haematology"
    )
    quantified_events: Limit = _limit(
        50, "usual lower limit of quantification, a counting CV of 14 %; CLSI H62 (2021) leaves it open"
    )
