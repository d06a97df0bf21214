"""Who is where: from the randomised to the paired, per visit, measurand and arm, each count with its subjects.

Knows what each status says of a subject and why a visit is not expected. Must not know an estimate, nor how a table is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from operator import itemgetter
from typing import TypeAlias

from biomarkers.study.arms import ArmAssignments
from biomarkers.study.roster import Roster
from biomarkers.timepoints.alignment import Status, TimepointRow
from biomarkers.timepoints.due import NotExpected, study_end

REPORTED = frozenset({Status.MEASURED, Status.BELOW_RANGE, Status.ABOVE_RANGE})
RECEIVED = REPORTED | {Status.NOT_EVALUABLE, Status.PENDING}
DUE = RECEIVED | {Status.MISSING}


class Stage(StrEnum):
    """What can be counted of the subjects at a visit, in the order of a table of attrition."""

    RANDOMISED = "randomised"
    ON_STUDY = "on_study"
    PROGRESSED = "progressed"
    DIED = "died"
    WITHDRAWN = "withdrawn"
    NOT_YET_DUE = "not_yet_due"
    DUE = "due"
    MISSING = "missing"
    RECEIVED = "received"
    PENDING = "pending"
    MEASURED = "measured"
    BELOW = "below"
    ABOVE = "above"
    NOT_EVALUABLE = "not_evaluable"
    PAIRED = "paired"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Attrition:
    """One measurand at one planned visit, of one arm where arms were given; its printed form tells no arm.

    Attributes
    ----------
    arm
        None where no assignments were given.
    subjects_by_stage
        Every :class:`Stage` with its subjects in alphabetical order. ``randomised`` are the subjects of the roster, or of the
        arm; ``on_study`` those of them whom nothing kept from this visit; ``withdrawn`` also who left the study otherwise;
        ``due`` who was received or is missing; ``measured`` has a value or a bound, ``below`` and ``above`` of them a bound;
        ``paired`` can be compared with its baseline.
    rows
        The cells themselves.
    """

    visit: str
    visit_number: int
    assay: str
    measurand: str
    arm: str | None
    subjects_by_stage: Mapping[Stage, tuple[str, ...]]
    rows: tuple[TimepointRow, ...]

    def __repr__(self) -> str:
        return f"Attrition({self.visit!r}, {self.measurand!r}, {len(self.rows)} rows)"

    def count(self, stage: Stage) -> int:
        """Return how many subjects a stage has."""
        return len(self.subjects_by_stage[stage])


_Group: TypeAlias = tuple[int, str, str, str, str]
"""Visit number, visit, assay, measurand and arm; a bare tuple, for there is one to be looked up for every row of the table."""


def attrition(
    rows: Iterable[TimepointRow], roster: Roster, assignments: ArmAssignments | None = None, *, as_of: date
) -> tuple[Attrition, ...]:
    """Count the subjects of every planned visit and measurand.

    Parameters
    ----------
    rows
        As of the same date; visits that are not planned are left out.
    assignments
        Gives a group per arm, in which subjects without an arm are left out. None gives one group over all subjects.

    Returns
    -------
    tuple of Attrition
        By visit number, assay, measurand and arm.
    """
    grouped: dict[_Group, list[TimepointRow]] = {}
    for row in rows:
        arm = "" if assignments is None else assignments.arm(row.subject_id)
        if row.visit_number is not None and arm is not None:
            group = (row.visit_number, row.visit, row.assay, row.measurand, arm)
            if group in grouped:
                grouped[group].append(row)
            else:
                grouped[group] = [row]
    members = {arm: _members(roster, assignments, arm, as_of) for arm in {group[-1] for group in grouped}}
    return tuple(
        Attrition(
            visit=visit,
            visit_number=number,
            assay=assay,
            measurand=measurand,
            arm=None if assignments is None else arm,
            subjects_by_stage=_stages(of_group, members[arm]),
            rows=tuple(of_group),
        )
        for (number, visit, assay, measurand, arm), of_group in sorted(grouped.items(), key=itemgetter(0))
    )


def _members(roster: Roster, assignments: ArmAssignments | None, arm: str, as_of: date) -> dict[str, NotExpected | None]:
    """Return who was randomised by then, in order, and what ended each one's part in the study, if anything did."""
    return {
        subject.subject_id: None if (end := study_end(subject)) is None else end.reason
        for subject in sorted(roster.subjects.values(), key=lambda one: one.subject_id)
        if (assignments is None or assignments.arm(subject.subject_id) == arm)
        and (subject.randomised_on is None or subject.randomised_on <= as_of)
    }


_WITHDRAWN = frozenset({NotExpected.OFF_STUDY, NotExpected.CONSENT_WITHDRAWN})


def _stages(rows: Sequence[TimepointRow], members: Mapping[str, NotExpected | None]) -> Mapping[Stage, tuple[str, ...]]:
    by_status: dict[str, list[str]] = {}
    paired = []
    for row in rows:
        by_status.setdefault(row.status, []).append(row.subject_id)
        if row.value is not None and row.baseline_run_id is not None:
            paired.append(row.subject_id)
    ended = {subject_id: members.get(subject_id) for subject_id in by_status.get(Status.NOT_EXPECTED, ())}
    gone = {subject_id for subject_id, reason in ended.items() if reason is not None}

    def with_status(wanted: Iterable[str]) -> list[str]:
        return [subject_id for status in wanted for subject_id in by_status.get(status, ())]

    found: dict[Stage, list[str]] = {
        Stage.RANDOMISED: list(members),
        Stage.ON_STUDY: [subject_id for subject_id in members if subject_id not in gone],
        Stage.PROGRESSED: [one for one, reason in ended.items() if reason is NotExpected.PROGRESSED],
        Stage.DIED: [one for one, reason in ended.items() if reason is NotExpected.DIED],
        Stage.WITHDRAWN: [one for one, reason in ended.items() if reason in _WITHDRAWN],
        Stage.NOT_YET_DUE: with_status((Status.NOT_YET_DUE,)),
        Stage.DUE: with_status(DUE),
        Stage.MISSING: with_status((Status.MISSING,)),
        Stage.RECEIVED: with_status(RECEIVED),
        Stage.PENDING: with_status((Status.PENDING,)),
        Stage.MEASURED: with_status(REPORTED),
        Stage.BELOW: with_status((Status.BELOW_RANGE,)),
        Stage.ABOVE: with_status((Status.ABOVE_RANGE,)),
        Stage.NOT_EVALUABLE: with_status((Status.NOT_EVALUABLE,)),
        Stage.PAIRED: paired,
    }
    return {stage: tuple(sorted(found[stage])) for stage in Stage}
