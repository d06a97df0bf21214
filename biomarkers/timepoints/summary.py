"""Summaries per visit and measurand, and per arm side by side.

Knows how rows are counted and which estimates are made of values and of their changes; bounds enter as bounds. Must not know
how an estimate is computed, and makes no test, least of all between arms. The last planned visits hold only the subjects still
on study: the counts beside each figure say how many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from biomarkers.study.arms import ArmAssignments
from biomarkers.study.roster import Roster
from biomarkers.timepoints.alignment import Status, TimepointRow
from biomarkers.timepoints.censored import Known, Step, geometric_mean, median_limits, quantile, turnbull
from biomarkers.timepoints.due import NotExpected, study_end

Shown: TypeAlias = "float | str | None"
"""A number; text such as ``<3.1`` where only a bound can be given; None where there is nothing to say."""

_REPORTED = frozenset({Status.MEASURED, Status.BELOW_RANGE, Status.ABOVE_RANGE})
_RECEIVED = _REPORTED | {Status.NOT_EVALUABLE, Status.PENDING}
_DUE = _RECEIVED | {Status.MISSING}


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One measurand at one planned visit, of one arm where arms were given; the fields are the columns in their order.

    Attributes
    ----------
    n_randomised
        Subjects of the roster, or of the arm.
    n_on_study
        Those of them whom nothing kept from this visit.
    n_progressed, n_died, n_withdrawn
        Subjects of whom the visit is not expected because of this; withdrawn also counts who left the study otherwise.
    n_due
        Cells received or missing.
    n_received
        Of these, cells with a specimen, whether measured or not.
    n_measured
        Cells with a value or a bound; ``n_below`` and ``n_above`` of them are bounds.
    n_paired
        Values and bounds that can be compared with their baseline; ``n_uncensored_pairs`` of them give a number.
    median, q1, q3
        Of values and bounds, by Turnbull's estimate, averaged at the edge of two steps.
    geometric_mean
        By maximum likelihood of log-normal values with their bounds; empty where too few are exact.
    median_change
        Of the changes from baseline, as ``median``.
    median_change_lower, median_change_upper
        95 % limits by order statistics; empty for fewer than six pairs.
    """

    visit: str
    measurand: str
    arm: str | None
    n_randomised: int
    n_on_study: int
    n_progressed: int
    n_died: int
    n_withdrawn: int
    n_due: int
    n_received: int
    n_measured: int
    n_below: int
    n_above: int
    n_not_evaluable: int
    n_paired: int
    n_uncensored_pairs: int
    median: Shown
    q1: Shown
    q3: Shown
    geometric_mean: float | None
    median_change: Shown
    median_change_lower: float | None
    median_change_upper: float | None


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    visit_number: int
    visit: str
    assay: str
    measurand: str
    arm: str


@dataclass(frozen=True, slots=True)
class _Subjects:
    """Who is summarised together, and what ended their part in the study by the date."""

    count: int
    ended: dict[str, NotExpected]


def summarise(
    rows: Iterable[TimepointRow], roster: Roster, assignments: ArmAssignments | None = None, *, as_of: date
) -> tuple[SummaryRow, ...]:
    """Summarise the timepoint table.

    Parameters
    ----------
    rows
        As of the same date; visits that are not planned are left out.
    assignments
        Gives a row per arm, in which subjects without an arm are left out. None gives one row over all subjects.

    Returns
    -------
    tuple of SummaryRow
        By visit number, assay, measurand and arm.
    """
    grouped: dict[_Group, list[TimepointRow]] = {}
    for row in rows:
        arm = "" if assignments is None else assignments.arm(row.subject_id)
        if row.visit_number is not None and arm is not None:
            grouped.setdefault(_Group(row.visit_number, row.visit, row.assay, row.measurand, arm), []).append(row)
    subjects = {arm: _subjects(roster, assignments, arm, as_of) for arm in {group.arm for group in grouped}}
    return tuple(
        _summary(group, grouped[group], subjects[group.arm], arm=None if assignments is None else group.arm)
        for group in sorted(grouped)
    )


def _subjects(roster: Roster, assignments: ArmAssignments | None, arm: str, as_of: date) -> _Subjects:
    members = [
        subject
        for subject in roster.subjects.values()
        if (assignments is None or assignments.arm(subject.subject_id) == arm)
        and (subject.randomised_on is None or subject.randomised_on <= as_of)
    ]
    ends = {subject.subject_id: study_end(subject) for subject in members}
    return _Subjects(len(members), {subject_id: end.reason for subject_id, end in ends.items() if end is not None})


def _summary(group: _Group, rows: Sequence[TimepointRow], subjects: _Subjects, *, arm: str | None) -> SummaryRow:
    ended = [subjects.ended.get(row.subject_id) for row in rows if row.status == Status.NOT_EXPECTED]
    n_progressed, n_died = ended.count(NotExpected.PROGRESSED), ended.count(NotExpected.DIED)
    n_withdrawn = ended.count(NotExpected.OFF_STUDY) + ended.count(NotExpected.CONSENT_WITHDRAWN)
    values = [_known_value(row.value, row.comparator) for row in rows if row.value is not None]
    changes = [_known_change(row) for row in rows if row.value is not None and row.baseline_run_id is not None]
    steps, change_steps = turnbull(values) if values else (), turnbull(changes) if changes else ()
    limits = median_limits(changes)
    return SummaryRow(
        visit=group.visit,
        measurand=group.measurand,
        arm=arm,
        n_randomised=subjects.count,
        n_on_study=subjects.count - n_progressed - n_died - n_withdrawn,
        n_progressed=n_progressed,
        n_died=n_died,
        n_withdrawn=n_withdrawn,
        n_due=_count(rows, _DUE),
        n_received=_count(rows, _RECEIVED),
        n_measured=_count(rows, _REPORTED),
        n_below=_count(rows, {Status.BELOW_RANGE}),
        n_above=_count(rows, {Status.ABOVE_RANGE}),
        n_not_evaluable=_count(rows, {Status.NOT_EVALUABLE}),
        n_paired=len(changes),
        n_uncensored_pairs=sum(change.is_exact for change in changes),
        median=_shown(steps, 0.5, least=0.0),
        q1=_shown(steps, 0.25, least=0.0),
        q3=_shown(steps, 0.75, least=0.0),
        geometric_mean=geometric_mean(values),
        median_change=_shown(change_steps, 0.5, least=-math.inf),
        median_change_lower=limits.lower,
        median_change_upper=limits.upper,
    )


def _count(rows: Iterable[TimepointRow], statuses: Iterable[str]) -> int:
    wanted = set(statuses)
    return sum(row.status in wanted for row in rows)


def _known_value(value: float, comparator: str | None) -> Known:
    if comparator == "<":
        return Known(low=0.0, high=value, open_high=True)
    if comparator == ">":
        return Known(low=value, high=math.inf, open_low=True)
    return Known(low=value, high=value)


def _known_change(row: TimepointRow) -> Known:
    if row.change is not None:
        return Known(low=row.change, high=row.change)
    return Known(
        low=-math.inf if row.change_bound_lower is None else row.change_bound_lower,
        high=math.inf if row.change_bound_upper is None else row.change_bound_upper,
    )


def _shown(steps: Sequence[Step], share: float, *, least: float) -> Shown:
    """Show a quantile as a number, as a bound, or as the two ends it lies between."""
    if not steps:
        return None
    found = quantile(steps, share)
    if found.low == found.high:
        return found.low
    has_low, has_high = found.low > least, math.isfinite(found.high)
    if has_low and has_high:
        return f"{found.low:.6g} to {found.high:.6g}"
    if has_high:
        return f"<{found.high:.6g}"
    return f">{found.low:.6g}" if has_low else None
