"""Completeness: what is known of every subject, visit and assay, and why the rest is empty.

Knows which status speaks for an assay whose measurands differ. Must not know how a matrix is drawn, nor an arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from biomarkers.results import Assay
from biomarkers.study.definition import StudyDefinition, Visit
from biomarkers.timepoints.alignment import Status, TimepointRow
from biomarkers.timepoints.due import DueCell

STATUS_ORDER = (
    Status.MISSING,
    Status.PENDING,
    Status.NOT_EVALUABLE,
    Status.NOT_YET_DUE,
    Status.NOT_EXPECTED,
    Status.MEASURED,
    Status.BELOW_RANGE,
    Status.ABOVE_RANGE,
)
"""Which status speaks for an assay when its measurands differ: the one that asks for most attention."""

NOT_DUE = "NOT_DUE"
"""Why a cell is empty that the study never asked for."""

_REPORTED = frozenset({Status.MEASURED, Status.BELOW_RANGE, Status.ABOVE_RANGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletenessCell:
    """One assay at one planned visit of one subject.

    Attributes
    ----------
    status
        As in the timepoint table; bounds count as measured.
    reason
        Why it is not expected (a :class:`~biomarkers.timepoints.due.NotExpected`, or ``NOT_DUE``), the codes of the findings of
        what is not evaluable, or that what is pending has not arrived; empty otherwise.
    n_due, n_reported
        Measurands due, and those of them with a value or a bound.
    accession_ids
        The specimens behind the cell; empty for subjects who withdrew their consent.
    """

    subject_id: str
    visit: str
    visit_number: int
    assay: str
    status: str
    reason: str
    n_due: int
    n_reported: int
    accession_ids: tuple[str, ...]


def completeness_matrix(
    definition: StudyDefinition,
    rows: Iterable[TimepointRow],
    due: Iterable[DueCell],
    receipts: Mapping[str, str] = MappingProxyType({}),
) -> tuple[CompletenessCell, ...]:
    """Tell of every subject, planned visit and assay of the study what is there, and why the rest is not.

    Parameters
    ----------
    rows
        The timepoint table, of all measurands.
    due
        What is due; it says why a cell is not expected.
    receipts
        Of specimens whose receipt is not noted, by accession, what is known of them.

    Returns
    -------
    tuple of CompletenessCell
        By subject, visit number and assay, without gaps: what is not due for an assay is a cell as well.
    """
    grouped: dict[tuple[str, str, str], list[TimepointRow]] = {}
    subjects: dict[str, None] = {}
    for row in rows:
        subjects.setdefault(row.subject_id)
        grouped.setdefault((row.subject_id, row.visit, row.assay), []).append(row)
    asked: dict[tuple[str, str, str], list[DueCell]] = {}
    for cell in due:
        subjects.setdefault(cell.subject_id)
        asked.setdefault((cell.subject_id, cell.visit, cell.assay.value), []).append(cell)
    assays = [assay for assay in Assay if any(measurand.assay is assay for measurand in definition.measurands)]
    return tuple(
        _cell(subject_id, visit, assay, grouped, asked, receipts=receipts)
        for subject_id in sorted(subjects)
        for visit in sorted(definition.visits, key=lambda one: one.number)
        for assay in assays
    )


def _cell(
    subject_id: str,
    visit: Visit,
    assay: Assay,
    grouped: Mapping[tuple[str, str, str], Sequence[TimepointRow]],
    asked: Mapping[tuple[str, str, str], Sequence[DueCell]],
    *,
    receipts: Mapping[str, str],
) -> CompletenessCell:
    key = subject_id, visit.code, assay.value
    rows, due = grouped.get(key, ()), asked.get(key, ())
    found = {row.status for row in rows}
    status = next((one for one in STATUS_ORDER if one in found), Status.NOT_EXPECTED)
    if status in _REPORTED:
        status = Status.MEASURED
    return CompletenessCell(
        subject_id=subject_id,
        visit=visit.code,
        visit_number=visit.number,
        assay=assay.value,
        status=status.value,
        reason=_reason(status, rows, due, receipts),
        n_due=len(due),
        n_reported=sum(row.status in _REPORTED for row in rows),
        accession_ids=tuple(sorted({row.accession_id for row in rows if row.accession_id is not None})),
    )


def _reason(status: Status, rows: Sequence[TimepointRow], due: Sequence[DueCell], receipts: Mapping[str, str]) -> str:
    if not rows and not due:
        return NOT_DUE
    if status is Status.NOT_EXPECTED:
        return ";".join(sorted({cell.not_expected_reason for cell in due} - {""}))
    if status is Status.NOT_EVALUABLE:
        joined = (row.findings for row in rows if row.status == Status.NOT_EVALUABLE)
        return ";".join(sorted({code for codes in joined for code in codes.split(";")} - {""}))
    if status is Status.PENDING:
        waiting = (row.accession_id for row in rows if row.status == Status.PENDING)
        return ";".join(sorted({receipts.get(accession_id or "", "") for accession_id in waiting} - {""}))
    return ""
