"""When a subject's visits are expected: study days, target dates and windows.

Knows how first dose, progression and actual visit dates move a planned visit. Must not know specimens or results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from biomarkers.study.declaration import Material
from biomarkers.study.definition import Anchor, StudyDefinition, Visit
from biomarkers.study.roster import Roster, Subject


def study_day(day: date, first_dose: date) -> int:
    """Return the study day of a date: the first dose is day 1, the day before is day -1, and there is no day 0.

    Examples
    --------
    >>> study_day(date(2025, 3, 10), date(2025, 3, 10)), study_day(date(2025, 3, 9), date(2025, 3, 10))
    (1, -1)
    """
    days = (day - first_dose).days
    return days + 1 if days >= 0 else days


def date_of_study_day(day: int, first_dose: date) -> date:
    """Return the date of a study day; the inverse of :func:`study_day`.

    Raises
    ------
    ValueError
        The day is 0, which does not exist.
    """
    if day == 0:
        raise ValueError("there is no study day 0")
    return shifted(first_dose, day - 1 if day > 0 else day)


def shifted(day: date, days: int) -> date:
    """Return the date some days later, held at the calendar's ends, because study files may hold dates such as 9999-12-31."""
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return date.max if days > 0 else date.min


@dataclass(frozen=True, slots=True, kw_only=True)
class DateRange:
    """Days from first to last, both included; ``first`` is None where any earlier day will do."""

    first: date | None
    last: date

    def __contains__(self, day: date) -> bool:
        return (self.first is None or self.first <= day) and day <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledVisit:
    """One planned visit of one subject in calendar dates.

    Attributes
    ----------
    anchor_date
        First dose or progression; None while it is not known, and then there is neither target nor window.
    target_date
        The actual date of the visit where it took place, else the planned date moved by the delays so far.
    window_shift_days
        By how much the windows move against their plan.
    took_place
        Whether visits.csv gives an actual date.
    """

    visit: Visit
    anchor_date: date | None
    target_date: date | None
    window_shift_days: int
    took_place: bool

    def window(self, material: Material) -> DateRange | None:
        """Return the dates within which a specimen of this material counts; None without an anchor or a declared window."""
        declared = self.visit.window(material)
        if declared is None or self.anchor_date is None:
            return None
        return DateRange(
            first=None if declared.first_day is None else self._date(declared.first_day, self.anchor_date),
            last=self._date(declared.last_day, self.anchor_date),
        )

    def _date(self, day: int, anchor_date: date) -> date:
        return shifted(_planned_date(self.visit.anchor, day, anchor_date), self.window_shift_days)


def subject_schedule(definition: StudyDefinition, subject: Subject, roster: Roster) -> Mapping[str, ScheduledVisit]:
    """Place every planned visit of a subject in the calendar, by visit code.

    A visit that took place on another day than planned moves its own target and window, and those of every later visit of
    the same anchor that has no actual date yet: cycles are counted from the cycle before. The baseline's windows stay where
    they are, because they end with the first dose itself, and its actual date delays nothing.
    """
    schedule: dict[str, ScheduledVisit] = {}
    for anchor in Anchor:
        delay_days = 0
        for visit in sorted((v for v in definition.visits if v.anchor is anchor), key=lambda v: (v.target_day, v.number)):
            recorded = roster.visits.get((subject.subject_id, visit.code))
            actual = None if recorded is None else recorded.actual_date
            anchor_date = _anchor_date(visit, subject, actual)
            planned = None if anchor_date is None else _planned_date(anchor, visit.target_day, anchor_date)
            if visit.is_baseline:
                target, shift_days = actual if planned is not None and actual is not None else planned, 0
            else:
                if actual is not None and planned is not None:
                    delay_days = (actual - planned).days
                target, shift_days = None if planned is None else shifted(planned, delay_days), delay_days
            schedule[visit.code] = ScheduledVisit(
                visit=visit,
                anchor_date=anchor_date,
                target_date=target,
                window_shift_days=shift_days,
                took_place=actual is not None,
            )
    return schedule


def _anchor_date(visit: Visit, subject: Subject, actual: date | None) -> date | None:
    if visit.anchor is Anchor.FIRST_DOSE:
        return None if subject.treatment_start is None else subject.treatment_start.day
    if subject.progression_date is None and actual is not None:
        # The visit took place before the roster learned of the progression: its own date is the best anchor there is.
        return shifted(actual, -visit.target_day)
    return subject.progression_date


def _planned_date(anchor: Anchor, day: int, anchor_date: date) -> date:
    return date_of_study_day(day, anchor_date) if anchor is Anchor.FIRST_DOSE else shifted(anchor_date, day)
