"""The page of a night's work says what was done and what to do, and carries nothing from outside."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from biomarkers.reports.night_page import Completeness, Night, NightStep, night_json, night_markdown, night_page, tell_shortly


def a_night(*steps: NightStep) -> Night:
    return Night(
        study_id="a-study",
        began_at=datetime(2026, 3, 1, 4, 15, tzinfo=UTC),
        ended_at=datetime(2026, 3, 1, 4, 17, 30, tzinfo=UTC),
        software="biomarkers 0.1.0",
        steps=steps,
        waiting=("elisa/<script>alert(1)</script>.txt: no plate map.",),
        completeness=(Completeness(assay="elisa", count_by_status={"measured": 12, "missing": 1}),),
        audit_entries=42,
        audit_head="ab" * 32,
    )


SOUND = NightStep(name="audit", verdict="ok", what="42 entries, whole")
STALE = NightStep(name="digests", verdict="failed", what="1 original | has changed", remedy="Put it back from a backup.")


def test_a_night_is_as_good_as_its_worst_step() -> None:
    assert a_night(SOUND).verdict == "ok"
    assert a_night(SOUND, NightStep(name="backup", verdict="warning", what="old")).verdict == "warning"
    assert a_night(SOUND, STALE).verdict == "failed"


def test_the_page_shows_every_step_and_shows_foreign_words_as_text() -> None:
    page = night_page(a_night(SOUND, STALE))
    assert "42 entries, whole" in page
    assert "Put it back from a backup." in page
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "http" not in page
    assert "ab" * 32 in page


def test_the_notification_holds_counts_and_verdicts_and_no_file_name() -> None:
    told = tell_shortly([a_night(SOUND, STALE)])
    assert told == "a-study, night of 2026-03-01: failed. audit ok, digests failed"


def test_prefect_and_machines_get_the_same_verdicts() -> None:
    night = a_night(SOUND, STALE)
    assert "| digests | failed | 1 original \\| has changed |" in night_markdown(night)
    assert json.loads(night_json(night))["verdict"] == "failed"
