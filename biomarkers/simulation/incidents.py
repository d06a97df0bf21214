"""What goes wrong in a clinic: lost tubes, refused biopsies, late draws, missing labels and times, blood nobody planned.

Knows collections and how each incident changes them. Must not know what they contain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from numpy.random import Generator

from biomarkers.simulation.specimens import TISSUE, Collection, blood_collection, due_materials, morning
from biomarkers.simulation.subjects import AS_OF, SMALLEST_STUDY_WITH_LOSSES, SimulatedSubject, day_of
from biomarkers.study.declaration import Material
from biomarkers.study.definition import Anchor, StudyDefinition, Visit
from biomarkers.study.roster import Moment

REFUSED_BIOPSY_SHARE = 0.15
LOST_SHARE = 0.02
UNLABELLED_SHARE = 0.01
LATE_SHARE = 0.02
UNTIMED_SHARE = 0.04
EXTRA_DRAW_SHARE = 0.05
"""Shares of collections an incident befalls; each befalls one at least where more than three could have it."""

LATE_DAYS = 8
"""So much after the visit no window of blood is open any more."""

CLEAR_OF_PROGRESSION_DAYS = 40
"""Farther than this from progression, an unlabelled tube can belong to one visit only."""

_SCREENING_DAYS = 9
_UNSCHEDULED_DAYS = 50


def with_incidents(
    definition: StudyDefinition, collections: Sequence[Collection], subjects: Sequence[SimulatedSubject], rng: Generator
) -> tuple[Collection, ...]:
    """Let each kind of incident befall collections that nothing has befallen yet, and add the blood nobody planned."""
    planned = {visit.code: visit for visit in definition.visits}
    clear = set(_clear_visits(definition, subjects))
    first_dose = {subject.subject_id: subject.first_dose for subject in subjects}

    def is_later(one: Collection) -> bool:
        return not planned[one.visit].is_baseline and planned[one.visit].anchor is Anchor.FIRST_DOSE

    befallen = _befall(collections, rng, REFUSED_BIOPSY_SHARE, lambda one: one.is_tissue and is_later(one), _lost)
    befallen = _befall(befallen, rng, LOST_SHARE, lambda one: not one.is_tissue and is_later(one), _lost)
    befallen = _befall(
        befallen,
        rng,
        UNLABELLED_SHARE,
        lambda one: one.material is Material.PLASMA and is_later(one) and (one.subject_id, one.visit) in clear,
        lambda one: replace(one, label="", is_touched=True),
    )
    befallen = _befall(
        befallen, rng, LATE_SHARE, lambda one: not one.is_tissue and is_later(one) and _could_be_late(one), _late
    )
    befallen = _befall(
        befallen,
        rng,
        UNTIMED_SHARE,
        lambda one: not one.is_tissue and one.collected_at.day == first_dose[one.subject_id],
        lambda one: replace(one, collected_at=Moment(day=one.collected_at.day), is_touched=True),
    )
    return (*befallen, *_unplanned(definition, befallen, subjects, rng))


def _befall(
    collections: Sequence[Collection],
    rng: Generator,
    share: float,
    fits: Callable[[Collection], bool],
    change: Callable[[Collection], Collection],
) -> tuple[Collection, ...]:
    fitting = [index for index, one in enumerate(collections) if not one.is_touched and fits(one)]
    count = max(1, round(share * len(fitting))) if len(fitting) > 3 else 0
    chosen = {fitting[int(place)] for place in rng.permutation(len(fitting))[:count]}
    return tuple(change(one) if index in chosen else one for index, one in enumerate(collections))


def _lost(one: Collection) -> Collection:
    return replace(one, is_lost=True, is_touched=True)


def _could_be_late(one: Collection) -> bool:
    return one.received_at.day + timedelta(days=LATE_DAYS) <= AS_OF


def _late(one: Collection) -> Collection:
    by = timedelta(days=LATE_DAYS)
    return replace(
        one,
        collected_at=replace(one.collected_at, day=one.collected_at.day + by),
        received_at=replace(one.received_at, day=one.received_at.day + by),
        is_touched=True,
    )


def _clear_visits(definition: StudyDefinition, subjects: Sequence[SimulatedSubject]) -> Iterator[tuple[str, str]]:
    """Visits that took place on their target day and far from progression, by subject id and visit code."""
    for subject in subjects:
        progression = subject.subject.progression_date
        for visit in definition.visits:
            when = subject.visit_dates.get(visit.code)
            if when is None or visit.anchor is not Anchor.FIRST_DOSE or when != day_of(subject.first_dose, visit.target_day):
                continue
            if progression is None or abs((when - progression).days) > CLEAR_OF_PROGRESSION_DAYS:
                yield subject.subject_id, visit.code


def _unplanned(
    definition: StudyDefinition, collections: Sequence[Collection], subjects: Sequence[SimulatedSubject], rng: Generator
) -> Iterator[Collection]:
    """Draw blood twice before the first dose, between visits, and at the end of treatment."""
    baseline = definition.baseline
    blood = [material for material in due_materials(definition, baseline) if material not in TISSUE]
    at_baseline = {one.subject_id: one for one in collections if one.material in blood and one.visit == baseline.code}
    planned_last = _last_planned(definition)
    stayed = [subject.subject_id for subject in subjects if planned_last.code in subject.visit_dates]
    count = max(1, round(EXTRA_DRAW_SHARE * len(subjects))) if len(subjects) >= SMALLEST_STUDY_WITH_LOSSES else 0
    order = [stayed[int(place)] for place in rng.permutation(len(stayed))]
    for visit, chosen, days in (
        (baseline.code, order[:count], -_SCREENING_DAYS),
        ("UNSCHEDULED", order[count : 2 * count], _UNSCHEDULED_DAYS),
    ):
        for subject_id in chosen:
            day = at_baseline[subject_id].collected_at.day + timedelta(days=days)
            yield from _draw(subject_id, visit, blood, Moment(day=day, time=morning(rng)))
    for subject in subjects:
        withdrawal = subject.subject.off_study_date
        if withdrawal is not None and subject.subject.death_date is None:
            yield from _draw(subject.subject_id, "END_OF_TREATMENT", blood, Moment(day=withdrawal, time=morning(rng)))


def _draw(subject_id: str, visit: str, materials: Sequence[Material], collected_at: Moment) -> Iterator[Collection]:
    for material in materials:
        yield replace(blood_collection(subject_id, visit, material, collected_at), is_touched=True)


def _last_planned(definition: StudyDefinition) -> Visit:
    planned = [visit for visit in definition.visits if visit.anchor is Anchor.FIRST_DOSE]
    return max(planned, key=lambda visit: visit.target_day)
