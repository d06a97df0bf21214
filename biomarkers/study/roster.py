"""Whose tube, and from when.

Knows subjects, specimens and actual visit dates as the study files list them. Must not know an arm, a window rule or a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from types import MappingProxyType

from biomarkers.study.declaration import Material


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A day, and the time of day where it is known."""

    day: date
    time: time | None = None

    def __str__(self) -> str:
        return self.day.isoformat() if self.time is None else f"{self.day.isoformat()}T{self.time.isoformat()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A trial participant as in roster.csv. Carries no arm. None means not known yet, or has not happened."""

    subject_id: str
    site: str
    treatment_start: Moment | None = None
    randomised_on: date | None = None
    treatment_end: date | None = None
    progression_date: date | None = None
    next_therapy_start: date | None = None
    off_study_date: date | None = None
    off_study_reason: str = ""
    death_date: date | None = None
    consent_withdrawn_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """Material from one collection as in specimens.csv."""

    accession_id: str
    subject_id: str
    material: Material
    collected_at: Moment
    nominal_visit: str = ""
    parent_accession_id: str = ""
    received_at: Moment | None = None
    condition: str = ""
    anticoagulant: str = ""
    processed_at: Moment | None = None
    frozen_at: Moment | None = None
    freeze_thaw: int | None = None
    hemolysis: str = ""
    volume_ul: float | None = None
    fixed_at: Moment | None = None
    tissue_source: str = ""
    lesion: str = ""
    block: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActualVisit:
    """When a planned visit took place, or why it did not, as in visits.csv."""

    subject_id: str
    visit: str
    actual_date: date | None
    status: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The study files taken together.

    Attributes
    ----------
    subjects, specimens
        By id.
    visits
        Actual visits by subject id and visit code.
    """

    subjects: Mapping[str, Subject] = field(default_factory=lambda: MappingProxyType({}))
    specimens: Mapping[str, Specimen] = field(default_factory=lambda: MappingProxyType({}))
    visits: Mapping[tuple[str, str], ActualVisit] = field(default_factory=lambda: MappingProxyType({}))
