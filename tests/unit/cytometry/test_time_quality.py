"""Acquisitions that were steady, and such as were disturbed in known places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from biomarkers.cytometry.acquisition import Acquisition, Channel, quality_findings
from biomarkers.cytometry.quality_limits import Limit, QualityLimits
from biomarkers.cytometry.time_quality import Slice, judge_time

LIMITS = QualityLimits()


def _steady(count: int = 30_000, seed: int = 1, *, channels: int = 6) -> Acquisition:
    rng = np.random.default_rng(seed)
    positive = rng.random((count, channels)) < 0.4
    light = np.where(positive, 9.0, 5.0) + 0.5 * rng.standard_normal((count, channels))
    time = np.cumsum(rng.exponential(0.002, count))
    return Acquisition(
        name="tube",
        version="3.1",
        events=np.column_stack([np.exp(light), time]).astype(np.float32),
        channels=(
            *(Channel(detector=f"D{index}-A", marker="", top=262_144.0) for index in range(channels)),
            Channel(detector="Time", marker="", top=262_144.0),
        ),
        spillover=None,
        keywords={},
        acquired_at="",
        findings=(),
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_steady_acquisition_loses_nothing(seed: int) -> None:
    judged = judge_time(_steady(seed=seed), LIMITS)
    assert judged.removed == 0
    assert judged.keep.all()
    assert judged.findings == ()
    assert len(judged.slices) == 200  # 150 events each


def test_a_disturbed_stretch_is_left_out_and_its_channel_named() -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[12_000:13_500, 2] *= 3.0
    judged = judge_time(replace(acquisition, events=events), LIMITS)
    assert not judged.keep[12_000:13_500].any()
    assert judged.removed == 1500
    assert [finding.code for finding in judged.findings] == ["TIME_SLICES_REMOVED"]
    assert judged.findings[0].severity == "note"
    assert "1500 of 30000 events (5.0 %) were left out; of 200 slices 10 slices for their signal (most in 'D2-A')" in (
        judged.findings[0].message
    )


def test_a_short_good_stretch_between_disturbed_ones_is_left_out_with_them() -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[12_000:13_500, 2] *= 3.0
    events[13_950:15_000, 2] *= 3.0
    judged = judge_time(replace(acquisition, events=events), LIMITS)
    assert not judged.keep[12_000:15_000].any()
    assert judged.slices.count(Slice.BETWEEN) == 3


def test_a_clog_is_left_out_for_its_rate_alone() -> None:
    acquisition = _steady()
    events = acquisition.events.astype(np.float64)
    waits = np.diff(events[:, -1], prepend=0.0)
    waits[6000:7500] *= 4
    events[:, -1] = np.cumsum(waits)
    judged = judge_time(replace(acquisition, events=events.astype(np.float32)), LIMITS)
    assert set(judged.slices[40:50]) == {Slice.RATE}
    assert judged.removed == 1500
    assert judged.rate is not None
    assert judged.rate[45] == pytest.approx(0.25, rel=0.3)


def test_a_slow_drift_removes_nothing_and_is_told_with_its_size() -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[:, 3] *= np.linspace(1.0, 1.6, len(events), dtype=np.float32)
    judged = judge_time(replace(acquisition, events=events), LIMITS)
    assert judged.removed == 0
    assert [drift.channel for drift in judged.drifts] == ["D3-A"]
    assert judged.drifts[0].points > 10
    assert [finding.code for finding in judged.findings] == ["SIGNAL_DRIFT"]


def test_the_verdict_depends_on_the_order_of_values_and_not_on_their_scale() -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[12_000:12_600, 2] *= 2.0
    plain = judge_time(replace(acquisition, events=events), LIMITS)
    bent = events.copy()
    bent[:, :-1] = np.arcsinh(events[:, :-1].astype(np.float64) / 150)
    again = judge_time(replace(acquisition, events=bent), LIMITS)
    np.testing.assert_array_equal(plain.keep, again.keep)


@pytest.mark.parametrize(("share", "severity"), [(0.15, "note"), (0.3, "warning")])
def test_much_left_out_is_a_warning(share: float, severity: str) -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[: int(share * 30_000), 0] *= 5.0
    judged = judge_time(replace(acquisition, events=events), LIMITS)
    assert judged.removed_percent == pytest.approx(100 * share, abs=1)
    assert judged.findings[0].severity == severity


def test_nearly_everything_left_out_gives_no_number() -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[: int(0.45 * 30_000), 0] *= 5.0
    events[int(0.5 * 30_000) :, -1] += 1.0
    lenient = LIMITS.model_copy(update={"unusable_percent": Limit(value=40, source="this test")})
    judged = judge_time(replace(acquisition, events=events), lenient)
    assert judged.findings[0].severity == "reject"


def test_without_a_clock_signal_is_judged_all_the_same_and_running_numbers_are_passed_over() -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[12_000:13_500, 2] *= 3.0
    events[:, -1] = np.arange(len(events))
    renamed = (*acquisition.channels[:-1], Channel(detector="Event #", marker="", top=1e6))
    judged = judge_time(replace(acquisition, events=events, channels=renamed), LIMITS)
    assert judged.removed == 1500
    assert judged.seconds is None
    assert judged.drifts == ()


def test_too_few_events_are_not_judged_and_it_is_said() -> None:
    judged = judge_time(_steady(1400), LIMITS)
    assert judged.keep.all()
    assert [finding.code for finding in judged.findings] == ["TIME_NOT_JUDGED"]


def test_a_channel_that_holds_one_value_or_none_is_no_trouble() -> None:
    acquisition = _steady()
    events = acquisition.events.copy()
    events[:, 0] = 5.0
    events[:, 1] = np.nan
    events[::7, 2] = np.nan
    assert judge_time(replace(acquisition, events=events), LIMITS).removed == 0


def test_a_file_that_software_sorted_loses_nothing_because_its_order_is_no_time() -> None:
    acquisition = _steady()
    by_brightness = acquisition.events[np.argsort(acquisition.events[:, 0])]
    exported = replace(acquisition, events=np.ascontiguousarray(by_brightness[:, :-1]), channels=acquisition.channels[:-1])
    for shuffled in (exported, replace(acquisition, events=by_brightness)):
        judged = judge_time(shuffled, LIMITS)
        assert judged.removed == 0
        assert judged.findings == ()
        assert {one.code for one in quality_findings(shuffled, LIMITS)} <= {"TIME_MISSING", "TIME_NOT_ASCENDING"} != set()
