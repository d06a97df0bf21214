"""What is said of events before any gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from biomarkers.cytometry.acquisition import Acquisition, quality_findings

MakeTube: TypeAlias = Callable[..., tuple[Acquisition, npt.NDArray[np.str_]]]


def _codes(acquisition: Acquisition) -> list[str]:
    return [finding.code for finding in quality_findings(acquisition)]


def test_a_sound_acquisition_has_no_findings(make_tube: MakeTube) -> None:
    assert _codes(make_tube()[0]) == []


def test_a_saturated_detector_is_named(make_tube: MakeTube) -> None:
    acquisition, _ = make_tube()
    events = acquisition.events.copy()
    events[:1500, 0] = 262_143.0
    found = quality_findings(replace(acquisition, events=events))
    assert [finding.code for finding in found] == ["MARGIN_EVENTS"]
    assert "'FSC-A'" in found[0].where


def test_few_events_and_no_events_differ_in_severity(make_tube: MakeTube) -> None:
    acquisition, _ = make_tube()
    few = quality_findings(replace(acquisition, events=acquisition.events[:900]))
    none = quality_findings(replace(acquisition, events=acquisition.events[:0]))
    assert [(few[0].code, few[0].severity), (none[0].code, none[0].severity)] == [
        ("FEW_EVENTS", "warning"),
        ("FEW_EVENTS", "reject"),
    ]


def test_joined_files_and_a_stopped_flow_are_seen_in_time(make_tube: MakeTube) -> None:
    acquisition, _ = make_tube()
    count = acquisition.event_count
    events = acquisition.events.copy()
    events[:, -1] = np.random.default_rng(1).random(count)
    assert _codes(replace(acquisition, events=events)) == ["TIME_NOT_ASCENDING"]
    events[:, -1] = np.arange(count) + np.where(np.arange(count) > count // 2, count, 0)
    assert _codes(replace(acquisition, events=events)) == ["FLOW_STOPPED"]


def test_a_coarse_clock_is_no_stopped_flow(make_tube: MakeTube) -> None:
    acquisition, _ = make_tube()
    events = acquisition.events.copy()
    events[:, -1] = np.floor(np.arange(acquisition.event_count) / 2000)
    assert _codes(replace(acquisition, events=events)) == []
