"""Who takes part, in which arm, and what happens to them.

Knows enrolment, dose delays, progression, withdrawal and death, all on a fixed calendar. Must not know a specimen or a number
that is measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta

from numpy.random import Generator

from biomarkers.errors import StudyDefinitionError
from biomarkers.simulation.seeds import spread, stream
from biomarkers.study.definition import Anchor, StudyDefinition
from biomarkers.study.roster import Moment, Subject

FIRST_START = date(2025, 1, 13)
"""First dose of the first subject, a Monday."""

ENROLMENT_DAYS = 240
"""First doses are spread over about eight months."""

AS_OF = date(2025, 11, 28)
"""Data cut: nothing later is known. The last subjects' C6D1 lies behind it, so that something is not yet due."""

SCAN_INTERVAL_DAYS = 42
"""Imaging every second cycle; progression is found at a scan."""

MEDIAN_DAYS_TO_PROGRESSION = (170.0, 120.0)
"""By arm, in the order of the study's arms; the last one serves further arms."""

DELAY_SHARE = 0.35
WITHDRAWN_SHARE = 0.08
DEATH_SHARE = 0.07
SMALLEST_STUDY_WITH_LOSSES = 6
"""Below this nobody withdraws or dies: three subjects should fill a table."""

_SITES = ("LONDON", "LEIDEN", "BOLOGNA")
_TREATED = time(10, 0)
_SETTLED_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSubject:
    """A subject with everything the simulation knows.

    Attributes
    ----------
    subject
        What the roster may show at the data cut. Carries no arm.
    arm
        Written beside the truth alone.
    responds
        Whether the tumour takes the treatment well; decides the biomarkers' courses.
    visit_dates
        When each visit that took place by the data cut took place, by visit code.
    """

    subject: Subject
    arm: str
    responds: bool
    visit_dates: Mapping[str, date]

    @property
    def subject_id(self) -> str:
        """The subject's id."""
        return self.subject.subject_id

    @property
    def first_dose(self) -> date:
        """The day of the first dose, which is study day 1."""
        assert self.subject.treatment_start is not None, "every simulated subject was treated"
        return self.subject.treatment_start.day


def day_of(first_dose: date, study_day: int) -> date:
    """Return the date of a study day; day 1 is the first dose, the day before is day -1.

    Examples
    --------
    >>> day_of(date(2025, 1, 13), 1), day_of(date(2025, 1, 13), -1)
    (datetime.date(2025, 1, 13), datetime.date(2025, 1, 12))
    """
    return first_dose + timedelta(days=study_day - 1 if study_day > 0 else study_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What happens to one subject, before the visits are laid out."""

    subject_id: str
    site: str
    arm: str
    responds: bool
    first_dose: date
    delay_days: int
    delayed_cycle: int
    progression: date | None
    withdrawal: date | None = None
    death: date | None = None

    def visit_day(self, target_day: int, cycle_days: int) -> date:
        """Date of a visit counted from the first dose, moved by the delayed cycle if it comes after it."""
        moved = self.delay_days if (target_day - 1) // cycle_days + 1 >= self.delayed_cycle else 0
        return day_of(self.first_dose, target_day) + timedelta(days=moved)


def simulate_subjects(definition: StudyDefinition, *, subjects: int, seed: int) -> tuple[SimulatedSubject, ...]:
    """Enrol subjects and follow them to the data cut, in the order of their first doses."""
    rng = stream(seed, "subjects")
    courses = list(_courses(definition, subjects, rng))
    if subjects >= SMALLEST_STUDY_WITH_LOSSES:
        courses = _with_losses(definition, courses, rng)
    return tuple(_followed(definition, course) for course in courses)


def _courses(definition: StudyDefinition, count: int, rng: Generator) -> Iterator[_Course]:
    arms = _allocation(definition, count, rng)
    arm_codes = [arm.code for arm in definition.arms]
    times, delays, responses = spread(rng, count), spread(rng, count), spread(rng, count)
    last_target = max(visit.target_day for visit in definition.visits)
    for index, arm in enumerate(arms):
        offset = ENROLMENT_DAYS * index / max(count - 1, 1)
        first_dose = FIRST_START + timedelta(days=round(offset))
        number = min(arm_codes.index(arm), len(MEDIAN_DAYS_TO_PROGRESSION) - 1)
        days = -math.log(1.0 - times[index]) * MEDIAN_DAYS_TO_PROGRESSION[number] / math.log(2.0)
        scan = SCAN_INTERVAL_DAYS * math.ceil(days / SCAN_INTERVAL_DAYS) + int(rng.integers(-3, 4))
        # A visit that delay has moved beyond the data cut would be neither due nor missing; it would only be confusing.
        known_early = day_of(first_dose, last_target) + timedelta(days=_SETTLED_DAYS) <= AS_OF
        delayed = delays[index] < DELAY_SHARE and known_early
        yield _Course(
            subject_id=numbered_id(definition.identifiers.subject_id, index + 1),
            site=_SITES[int(rng.integers(len(_SITES)))],
            arm=arm,
            responds=responses[index] < (0.5 if number == 0 else 0.2),
            first_dose=first_dose,
            delay_days=(7, 7, 14)[int(rng.integers(3))] if delayed else 0,
            delayed_cycle=int(rng.integers(2, 6)),
            progression=day_of(first_dose, scan + 1),
        )


def _allocation(definition: StudyDefinition, count: int, rng: Generator) -> list[str]:
    """Randomise in permuted blocks, so that the ratio holds at any time."""
    block = [arm.code for arm in definition.arms for _ in range(arm.ratio)]
    allocated: list[str] = []
    while len(allocated) < count:
        allocated += [block[int(place)] for place in rng.permutation(len(block))]
    return allocated[:count]


def _with_losses(definition: StudyDefinition, courses: Sequence[_Course], rng: Generator) -> list[_Course]:
    """Let some subjects withdraw and some die before the last planned visit, in place of their progression."""
    changed = list(courses)
    n_withdrawn = max(1, round(WITHDRAWN_SHARE * len(courses)))
    n_dead = max(1, round(DEATH_SHARE * len(courses)))
    last_target = max(visit.target_day for visit in definition.visits if visit.anchor is Anchor.FIRST_DOSE)
    followed = [
        index
        for index, course in enumerate(courses)
        if day_of(course.first_dose, last_target) + timedelta(days=_SETTLED_DAYS) <= AS_OF
    ]
    # Those who progress late lose least by losing their progression: the share that progresses early stays.
    followed.sort(key=lambda index: courses[index].progression or date.max, reverse=True)
    leaving = [followed[int(place)] for place in rng.permutation(min(len(followed), 2 * (n_withdrawn + n_dead)))]
    for number, index in enumerate(leaving[: n_withdrawn + n_dead]):
        when = day_of(courses[index].first_dose, int(rng.integers(45, 95)))
        if number < n_withdrawn:
            changed[index] = replace(courses[index], progression=None, withdrawal=when)
        else:
            changed[index] = replace(courses[index], progression=None, death=when)
    return changed


def _followed(definition: StudyDefinition, course: _Course) -> SimulatedSubject:
    progression = course.progression if course.progression is not None and course.progression <= AS_OF else None
    ended = min((when for when in (progression, course.withdrawal, course.death) if when is not None), default=None)
    withdrawn, dead = course.withdrawal, course.death
    return SimulatedSubject(
        subject=Subject(
            subject_id=course.subject_id,
            site=course.site,
            treatment_start=Moment(day=course.first_dose, time=_TREATED),
            randomised_on=course.first_dose - timedelta(days=4),
            treatment_end=None if ended is None else ended - timedelta(days=3),
            progression_date=progression,
            off_study_date=withdrawn or dead,
            off_study_reason="withdrawal by subject" if withdrawn else "death" if dead else "",
            death_date=dead,
        ),
        arm=course.arm,
        responds=course.responds,
        visit_dates=dict(_visits(definition, course, progression, ended)),
    )


def _visits(
    definition: StudyDefinition, course: _Course, progression: date | None, ended: date | None
) -> Iterator[tuple[str, date]]:
    for visit in definition.visits:
        if visit.anchor is Anchor.PROGRESSION:
            if progression is None:
                continue
            # The visit follows the scan by up to a week, by no random draw of its own: it must not move with the cohort.
            when = progression + timedelta(days=visit.target_day + progression.toordinal() % 8)
        else:
            when = course.visit_day(visit.target_day, definition.cycle.length_days)
            if ended is not None and ended <= when:
                continue
        if when <= AS_OF:
            yield visit.code, when


def numbered_id(pattern: str, number: int) -> str:
    """Return the id of that number under a pattern of a fixed prefix and counted digits.

    Raises
    ------
    StudyDefinitionError
        The pattern is of another shape, so no id can be made that is sure to fit it.

    Examples
    --------
    >>> numbered_id("ATR-[0-9]{6}", 17)
    'ATR-000017'
    """
    found = re.fullmatch(r"([A-Za-z0-9-]*)\[0-9\]\{(\d+)\}", pattern)
    if found is None or len(str(number)) > int(found[2]):
        raise StudyDefinitionError(
            what=f"No id number {number} can be made for the pattern '{pattern}'.",
            where="Study definition, entry 'identifiers'.",
            remedy="For a simulated study use a prefix and counted digits, such as 'ATR-[0-9]{6}'.",
        )
    return f"{found[1]}{number:0{int(found[2])}d}"
