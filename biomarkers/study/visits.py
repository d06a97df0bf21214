"""Which visit a specimen belongs to, and by which rule.

Knows labels, windows, the first dose and aliquots: the label decides, the window checks; a window assigns only where there is
no label and one answer. Must not know results, files or arms. Whatever cannot be decided waits for a person with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from enum import StrEnum

from biomarkers.results import Finding, Severity, finding_codes
from biomarkers.study.declaration import Material
from biomarkers.study.definition import BASELINE_VISIT, UNSUMMARISED_VISITS, SpecimenRules, StudyDefinition
from biomarkers.study.roster import Moment, Roster, Specimen, Subject
from biomarkers.study.schedule import ScheduledVisit, study_day, subject_schedule

HAEMOLYSIS = "HAEMOLYSIS"
FREEZE_THAW = "FREEZE_THAW"
PROCESSED_BEFORE_COLLECTED = "PROCESSED_BEFORE_COLLECTED"
SPECIMEN_REJECTED = "SPECIMEN_REJECTED"

REJECTED_CONDITIONS = frozenset({"REJECTED", "UNSATISFACTORY", "UNUSABLE"})
"""Conditions on receipt, in any case, with which a specimen stands for a visit only where no other one can."""

_OF_BASELINE = "BASELINE_"


class Rule(StrEnum):
    """What decided a specimen's visit."""

    LABEL = "label"
    WINDOW = "window"
    UNSCHEDULED = "unscheduled"
    NOT_CHOSEN = "not_chosen"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """One specimen's place in the trial.

    Attributes
    ----------
    visit, visit_number
        None while the specimen waits; the number is also None for visits that are not planned.
    rule
        ``not_chosen`` means that another specimen stands for this visit and material, or that this one cannot be a baseline.
    study_day
        None without a first dose or a known subject.
    days_from_target
        Calendar days after the visit's target date; None without one.
    in_window
        None where the visit has no window for the material.
    chosen
        Whether the specimen's results enter the timepoint table.
    collected_on
        The day of collection; an aliquot's is its parent's.
    note
        Why it waits or was not chosen, for a person; empty otherwise.
    """

    accession_id: str
    subject_id: str
    material: Material
    visit: str | None
    visit_number: int | None
    rule: Rule
    study_day: int | None
    days_from_target: int | None
    in_window: bool | None
    chosen: bool
    findings: tuple[Finding, ...]
    collected_on: date
    note: str

    @property
    def finding_codes(self) -> str:
        """Codes of the findings, joined by ``;``, as the timepoint table shows them."""
        return finding_codes(self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Collection:
    """What was taken from a subject at one moment, with the visit found for it; aliquots share it."""

    root: Specimen
    rule: Rule
    scheduled: ScheduledVisit | None = None
    unplanned_visit: str | None = None
    first_dose: date | None = None
    acceptable: bool = True
    findings: tuple[Finding, ...] = ()
    note: str = ""


class _DoseOrder(StrEnum):
    BEFORE = "before"
    AFTER = "after"
    UNKNOWN = "unknown"


def align_specimens(definition: StudyDefinition, roster: Roster) -> tuple[Alignment, ...]:
    """Find the visit of every specimen.

    A known label decides, and the window only checks it. Without a label a window assigns, if exactly one visit's window
    holds the day. An aliquot takes its parent's place. Of several collections of one material for one visit the nearest to
    the target day is chosen, the earlier on a tie; for the baseline the last one before the first dose. Tubes of equal
    subject, material, moment and lesion are one collection and are chosen together.

    Returns
    -------
    tuple of Alignment
        One for each specimen, by accession id.
    """
    schedules = {subject_id: subject_schedule(definition, subject, roster) for subject_id, subject in roster.subjects.items()}
    collection_by_root: dict[str, _Collection] = {}
    placed: list[tuple[Specimen, _Collection]] = []
    for accession_id in sorted(roster.specimens):
        specimen = roster.specimens[accession_id]
        root, lineage = _root(specimen, roster)
        if root.accession_id not in collection_by_root:
            collection_by_root[root.accession_id] = _place(root, roster, schedules.get(root.subject_id, {}))
        collection = collection_by_root[root.accession_id]
        placed.append((specimen, _inherit(specimen, collection, lineage, definition.specimens)))
    chosen_claims = _chosen_claims(placed)
    return _with_findings_of_baseline([_alignment(specimen, one, chosen_claims) for specimen, one in placed])


def _with_findings_of_baseline(alignments: Sequence[Alignment]) -> tuple[Alignment, ...]:
    """Tell of each later specimen what is known of the state of its baseline: a change is as good as the worse of the two."""
    states: dict[tuple[str, Material], dict[str, Finding]] = {}
    for one in alignments:
        if one.chosen and one.visit == BASELINE_VISIT:
            of_baseline = states.setdefault((one.subject_id, one.material), {})
            of_baseline.update({found.code: found for found in one.findings if found.code in _STATES})
    return tuple(
        replace(one, findings=(*one.findings, *told))
        if one.visit not in (None, BASELINE_VISIT) and (told := _told_of_baseline(states.get((one.subject_id, one.material))))
        else one
        for one in alignments
    )


_STATES = frozenset({HAEMOLYSIS, FREEZE_THAW, PROCESSED_BEFORE_COLLECTED, SPECIMEN_REJECTED})


def _told_of_baseline(states: Mapping[str, Finding] | None) -> tuple[Finding, ...]:
    if not states:
        return ()
    return tuple(replace(found, code=f"{_OF_BASELINE}{code}", severity=Severity.NOTE) for code, found in sorted(states.items()))


def _root(specimen: Specimen, roster: Roster) -> tuple[Specimen, tuple[Finding, ...]]:
    """Follow the parents up to the specimen that was collected."""
    current, seen = specimen, {specimen.accession_id}
    while current.parent_accession_id:
        parent = roster.specimens.get(current.parent_accession_id)
        if parent is None or parent.accession_id in seen:
            what = "is not in the specimen list" if parent is None else "descends from the specimen itself"
            message = f"Its parent '{current.parent_accession_id}' {what}; it is placed by its own label and date."
            finding = _finding("PARENT_UNKNOWN", current, message, "Correct parent_accession_id in specimens.csv.")
            return (current if parent is None else specimen), (finding,)
        seen.add(parent.accession_id)
        current = parent
    return current, ()


def _place(root: Specimen, roster: Roster, schedule: Mapping[str, ScheduledVisit]) -> _Collection:
    """Find the visit of a collected specimen by its label or by windows."""
    subject = roster.subjects.get(root.subject_id)
    if subject is None:
        return _wait(
            root, "SUBJECT_UNKNOWN", f"Subject '{root.subject_id}' is not in the roster.", "Drop a roster.csv with it."
        )
    label = root.nominal_visit
    impossible = tuple(_impossible(root, subject))
    if label in UNSUMMARISED_VISITS:
        found = _Collection(root=root, rule=Rule.UNSCHEDULED, unplanned_visit=label)
    elif label in schedule:
        found = _by_label(root, subject, schedule[label])
    elif label:
        known = ", ".join([*schedule, *UNSUMMARISED_VISITS])
        found = _wait(root, "VISIT_UNKNOWN", f"Its label '{label}' is no visit of the study.", f"Label it one of {known}.")
    elif impossible:
        found = _wait(root, "VISIT_UNDECIDED", "It has no label, and its dates contradict each other.", "Correct its dates.")
    else:
        found = _by_window(root, subject, schedule.values())
    start = subject.treatment_start
    return replace(found, findings=(*found.findings, *impossible), first_dose=None if start is None else start.day)


def _by_label(root: Specimen, subject: Subject, scheduled: ScheduledVisit) -> _Collection:
    findings: list[Finding] = []
    acceptable, note = True, ""
    window = scheduled.window(root.material)
    day = root.collected_at.day
    if window is not None and day not in window:
        since = "any day before" if window.first is None else window.first.isoformat()
        message = f"Collected on {day}, outside the window of {scheduled.visit.code} from {since} to {window.last}."
        findings.append(_finding("OUT_OF_WINDOW", root, message, "Check the label and the date of collection."))
    if scheduled.visit.is_baseline:
        order = _dose_order(root.collected_at, subject.treatment_start)
        if order is _DoseOrder.UNKNOWN:
            message = "Collected on the day of the first dose; one of the two times is unknown, so before the dose is assumed."
            remedy = "Enter the times of collection and of the first dose."
            findings.append(_finding("BASELINE_TIME_ASSUMED", root, message, remedy))
        elif order is _DoseOrder.AFTER:
            acceptable = False
            note = f"Collected at {root.collected_at}, not before the first dose at {subject.treatment_start}."
            findings.append(_finding("COLLECTED_AFTER_FIRST_DOSE", root, note, "Check the label and both times."))
    return _Collection(
        root=root, rule=Rule.LABEL, scheduled=scheduled, acceptable=acceptable, findings=tuple(findings), note=note
    )


def _by_window(root: Specimen, subject: Subject, schedule: Iterable[ScheduledVisit]) -> _Collection:
    fitting = [visit for visit in schedule if (window := visit.window(root.material)) and root.collected_at.day in window]
    order = _dose_order(root.collected_at, subject.treatment_start)
    fitting = [visit for visit in fitting if not (visit.visit.is_baseline and order is _DoseOrder.AFTER)]
    remedy = "Enter its nominal_visit in specimens.csv."
    if len(fitting) != 1:
        names = " and ".join(visit.visit.code for visit in fitting) or "no visit"
        message = f"It has no label, and its day {root.collected_at.day} lies in the window of {names}."
        return _wait(root, "VISIT_UNDECIDED", message, remedy)
    only = fitting[0]
    if only.visit.is_baseline and order is _DoseOrder.UNKNOWN:
        message = "It has no label and was collected on the day of the first dose; one of the two times is unknown."
        return _wait(root, "VISIT_UNDECIDED", message, f"{remedy.removesuffix('.')}, or both times.")
    return _Collection(root=root, rule=Rule.WINDOW, scheduled=only)


def _dose_order(collected: Moment, first_dose: Moment | None) -> _DoseOrder:
    """Whether a specimen was collected before the first dose; while there was none, everything was."""
    if first_dose is None or collected.day < first_dose.day:
        return _DoseOrder.BEFORE
    if collected.day > first_dose.day:
        return _DoseOrder.AFTER
    if collected.time is None or first_dose.time is None:
        return _DoseOrder.UNKNOWN
    return _DoseOrder.BEFORE if _clock(collected.time) < _clock(first_dose.time) else _DoseOrder.AFTER


def _clock(moment: time) -> time:
    """Return the wall clock's time: a stated and an unstated offset cannot be compared, and both were read off one wall."""
    return moment.replace(tzinfo=None)


def _impossible(root: Specimen, subject: Subject) -> Iterable[Finding]:
    day = root.collected_at.day
    if subject.death_date is not None and day > subject.death_date:
        message = f"Collected on {day}, after the subject's death on {subject.death_date}."
        yield _finding("COLLECTED_AFTER_DEATH", root, message, "Check whose tube it is, and both dates.")
    if root.received_at is not None and root.received_at.day < day:
        message = f"Received on {root.received_at.day}, before it was collected on {day}."
        yield _finding("RECEIVED_BEFORE_COLLECTED", root, message, "Check both dates.")


def _states(specimen: Specimen, rules: SpecimenRules) -> Iterable[Finding]:
    """Tell what happened to a specimen before it was measured, as far as it bears on its numbers."""
    if rules.is_haemolysed(specimen.hemolysis):
        message = f"Haemolysis is noted as '{specimen.hemolysis}'."
        yield _finding(HAEMOLYSIS, specimen, message, "Judge whether the measurand bears it.")
    if specimen.freeze_thaw is not None and specimen.freeze_thaw > rules.most_freeze_thaw_cycles:
        message = f"It was frozen and thawed {specimen.freeze_thaw} times."
        yield _finding(FREEZE_THAW, specimen, message, "Measure a fresher aliquot, or judge whether the measurand bears it.")
    for name, moment in (("Processed", specimen.processed_at), ("Frozen", specimen.frozen_at)):
        if moment is not None and _is_before(moment, specimen.collected_at):
            message = f"{name} at {moment}, before it was collected at {specimen.collected_at}."
            yield _finding(
                PROCESSED_BEFORE_COLLECTED, specimen, message, "Check both times, and the clocks they were read off."
            )
    if specimen.condition.strip().upper() in REJECTED_CONDITIONS:
        message = f"Its condition on receipt is '{specimen.condition}'."
        yield _finding(SPECIMEN_REJECTED, specimen, message, "It stands for a visit only as long as no other specimen can.")


def _is_before(one: Moment, other: Moment) -> bool:
    if one.day != other.day:
        return one.day < other.day
    return one.time is not None and other.time is not None and _clock(one.time) < _clock(other.time)


def _inherit(specimen: Specimen, collection: _Collection, lineage: tuple[Finding, ...], rules: SpecimenRules) -> _Collection:
    """Give an aliquot its parent's place; what contradicts the parent is told, another subject's stops it."""
    root = collection.root
    findings = [*collection.findings, *lineage, *_states(specimen, rules)]
    if specimen.subject_id != root.subject_id:
        message = f"It is of subject '{specimen.subject_id}', its parent '{root.accession_id}' of '{root.subject_id}'."
        return _wait(specimen, "PARENT_OF_OTHER_SUBJECT", message, "Correct one of the two in specimens.csv.")
    if specimen.collected_at.day != root.collected_at.day:
        message = f"Collected on {specimen.collected_at.day}, its parent '{root.accession_id}' on {root.collected_at.day}."
        findings.append(_finding("PARENT_DIFFERS", specimen, message, "Correct one of the two; the parent's date is used."))
    if specimen.nominal_visit and specimen.nominal_visit != root.nominal_visit:
        labels = f"'{specimen.nominal_visit}', its parent '{root.accession_id}' '{root.nominal_visit}'"
        remedy = "Correct one of the two; the parent's label is used, because one specimen never fills two visits."
        findings.append(_finding("PARENT_DIFFERS", specimen, f"It is labelled {labels}.", remedy))
    return replace(collection, findings=tuple(findings))


@dataclass(frozen=True, slots=True)
class _Seat:
    """One material of one visit of one subject: one collection has it."""

    subject_id: str
    visit: str
    material: Material


@dataclass(frozen=True, slots=True, order=True)
class _Claim:
    """A collection's claim to a seat; the smallest wins, and tubes of equal claims are one collection.

    A known time of day goes before an unknown one of the same day.
    """

    is_rejected: bool
    distance_days: int
    day: int
    timeless: bool
    second: float
    lesion: str


def _chosen_claims(placed: Iterable[tuple[Specimen, _Collection]]) -> Mapping[_Seat, _Claim]:
    chosen: dict[_Seat, _Claim] = {}
    for specimen, collection in placed:
        seat = _seat(specimen, collection)
        if seat is not None and collection.acceptable:
            claim = _claim(specimen, collection)
            chosen[seat] = min(chosen.get(seat, claim), claim)
    return chosen


def _seat(specimen: Specimen, collection: _Collection) -> _Seat | None:
    if collection.scheduled is None:
        return None
    return _Seat(specimen.subject_id, collection.scheduled.visit.code, specimen.material)


def _claim(specimen: Specimen, collection: _Collection) -> _Claim:
    is_rejected = specimen.condition.strip().upper() in REJECTED_CONDITIONS
    moment = collection.root.collected_at
    clock = None if moment.time is None else _clock(moment.time)
    day, second = moment.day.toordinal(), 0.0
    if clock is not None:
        second = clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6
    if collection.scheduled is not None and collection.scheduled.visit.is_baseline:
        # All that claim the baseline were collected before the first dose: the last one wins, however far from its target.
        return _Claim(is_rejected, 0, -day, clock is None, -second, collection.root.lesion)
    distance = abs(_days_from_target(collection) or 0)
    return _Claim(is_rejected, distance, day, clock is None, second, collection.root.lesion)


def _days_from_target(collection: _Collection) -> int | None:
    if collection.scheduled is None or collection.scheduled.target_date is None:
        return None
    return (collection.root.collected_at.day - collection.scheduled.target_date).days


def _in_window(collection: _Collection) -> bool | None:
    window = None if collection.scheduled is None else collection.scheduled.window(collection.root.material)
    if window is None:
        return None
    return collection.acceptable and collection.root.collected_at.day in window


def _alignment(specimen: Specimen, collection: _Collection, chosen_claims: Mapping[_Seat, _Claim]) -> Alignment:
    seat = _seat(specimen, collection)
    visit = None if collection.scheduled is None else collection.scheduled.visit
    rule, note, chosen = collection.rule, collection.note, collection.rule is Rule.UNSCHEDULED
    if seat is not None:
        chosen = collection.acceptable and chosen_claims[seat] == _claim(specimen, collection)
        rule = rule if chosen else Rule.NOT_CHOSEN
        if not chosen and collection.acceptable:
            better = (
                "was collected later, before the first dose"
                if visit and visit.is_baseline
                else "is nearer its target day or earlier"
            )
            if _claim(specimen, collection).is_rejected and not chosen_claims[seat].is_rejected:
                better = "was not rejected on receipt"
            note = f"Another specimen of {seat.material} for {seat.visit} {better}."
    day = collection.root.collected_at.day
    return Alignment(
        accession_id=specimen.accession_id,
        subject_id=specimen.subject_id,
        material=specimen.material,
        visit=collection.unplanned_visit if visit is None else visit.code,
        visit_number=None if visit is None else visit.number,
        rule=rule,
        study_day=None if collection.first_dose is None else study_day(day, collection.first_dose),
        days_from_target=_days_from_target(collection),
        in_window=_in_window(collection),
        chosen=chosen,
        findings=collection.findings,
        collected_on=day,
        note=note,
    )


def _wait(specimen: Specimen, code: str, reason: str, remedy: str) -> _Collection:
    finding = _finding(code, specimen, reason, remedy)
    return _Collection(root=specimen, rule=Rule.WAITING, findings=(finding,), note=reason)


def _finding(code: str, specimen: Specimen, message: str, remedy: str) -> Finding:
    where = f"Specimen '{specimen.accession_id}' ({specimen.material}) of subject '{specimen.subject_id}'."
    return Finding(code=code, severity=Severity.WARNING, where=where, message=message, remedy=remedy)
