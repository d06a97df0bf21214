"""What is due for whom and when, and from when on it is no longer expected.

Knows the schedule of visits and what ends a subject's part in them. Must not know which specimens came, any result or any arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from biomarkers.results import Assay
from biomarkers.study.declaration import Material
from biomarkers.study.definition import Anchor, Measurand, StudyDefinition
from biomarkers.study.roster import Roster, Subject
from biomarkers.study.schedule import DateRange, ScheduledVisit, subject_schedule


class NotExpected(StrEnum):
    """Why a cell is not expected; the first of these that happened on the earliest day."""

    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    DIED = "DIED"
    PROGRESSED = "PROGRESSED"
    OFF_STUDY = "OFF_STUDY"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCell:
    """One measurand due at one visit of one subject.

    Attributes
    ----------
    materials
        Any of them will do.
    window_first, window_last
        The days within which a specimen counts, over all materials; None while the anchor is not known, and the first also
        where any earlier day will do.
    not_expected_from
        Since when the visit can no longer be reached; None while it can.
    not_expected_reason
        A :class:`NotExpected`, or empty.
    hidden
        Consent was withdrawn: neither results nor specimens are shown, on whatever day the table holds.
    """

    subject_id: str
    visit: str
    visit_number: int
    assay: Assay
    measurand: str
    unit: str
    materials: tuple[Material, ...]
    window_first: date | None
    window_last: date | None
    target_date: date | None
    not_expected_from: date | None
    not_expected_reason: str
    hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEnd:
    """When and why no further visit is expected of a subject."""

    since: date
    reason: NotExpected


def due_cells(definition: StudyDefinition, roster: Roster) -> tuple[DueCell, ...]:
    """List every measurand due at every planned visit of every subject, by subject, visit number, assay and measurand.

    A visit is not expected once the subject died, went off study, or (but for the visit of progression itself) progressed
    before its target date. A visit that took place was reached whatever happened before.
    """
    cells = (cell for subject in roster.subjects.values() for cell in _subject_cells(definition, subject, roster))
    return tuple(sorted(cells, key=lambda cell: (cell.subject_id, cell.visit_number, cell.assay, cell.measurand)))


def _subject_cells(definition: StudyDefinition, subject: Subject, roster: Roster) -> Iterator[DueCell]:
    for scheduled in subject_schedule(definition, subject, roster).values():
        end = _end(subject, scheduled)
        for measurand in definition.measurands:
            if scheduled.visit.code not in measurand.due:
                continue
            window = _joint_window(measurand, scheduled)
            yield DueCell(
                subject_id=subject.subject_id,
                visit=scheduled.visit.code,
                visit_number=scheduled.visit.number,
                assay=measurand.assay,
                measurand=measurand.code,
                unit=measurand.unit,
                materials=measurand.materials,
                window_first=None if window is None else window.first,
                window_last=None if window is None else window.last,
                target_date=scheduled.target_date,
                not_expected_from=None if end is None else end.since,
                not_expected_reason="" if end is None else end.reason.value,
                hidden=subject.consent_withdrawn_on is not None,
            )


def study_end(subject: Subject) -> StudyEnd | None:
    """Return the first event after which no planned visit but that of progression is expected; withdrawn consent before all."""
    return _first(_ends(subject))


def _end(subject: Subject, scheduled: ScheduledVisit) -> StudyEnd | None:
    if subject.consent_withdrawn_on is None and scheduled.took_place:
        return None
    target = scheduled.target_date
    is_progression = scheduled.visit.anchor is Anchor.PROGRESSION
    return _first(
        end
        for end in _ends(subject)
        if end.reason is NotExpected.CONSENT_WITHDRAWN
        or ((target is None or end.since < target) and not (is_progression and end.reason is NotExpected.PROGRESSED))
    )


def _first(ends: Iterable[StudyEnd]) -> StudyEnd | None:
    """Withdrawn consent counts whenever it was withdrawn; of equal days the kind named first in :class:`NotExpected`."""
    order = list(NotExpected)
    return min(
        ends,
        key=lambda end: (end.reason is not NotExpected.CONSENT_WITHDRAWN, end.since, order.index(end.reason)),
        default=None,
    )


def _ends(subject: Subject) -> Iterator[StudyEnd]:
    dates = {
        NotExpected.CONSENT_WITHDRAWN: subject.consent_withdrawn_on,
        NotExpected.DIED: subject.death_date,
        NotExpected.PROGRESSED: subject.progression_date,
        NotExpected.OFF_STUDY: subject.off_study_date,
    }
    for reason, since in dates.items():
        if since is not None:
            yield StudyEnd(since=since, reason=reason)


def _joint_window(measurand: Measurand, scheduled: ScheduledVisit) -> DateRange | None:
    """From the first to the last day on which any of the measurand's materials counts."""
    windows = [window for material in measurand.materials if (window := scheduled.window(material)) is not None]
    if not windows:
        return None
    firsts = [window.first for window in windows if window.first is not None]
    return DateRange(
        first=min(firsts) if len(firsts) == len(windows) else None,
        last=max(window.last for window in windows),
    )
