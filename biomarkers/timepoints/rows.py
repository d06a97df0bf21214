"""What the timepoint table is made of and looks like: results as they come in, specimens in their place, rows and columns.

Knows the table's columns and statuses. Must not know how a row is found, nor an arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from itertools import starmap
from typing import Literal, Protocol, TypeAlias

from biomarkers.results import Assay, Comparator
from biomarkers.study.declaration import Material

Decision: TypeAlias = Literal["", "reportable", "repeated", "excluded"]


class Status(StrEnum):
    """What is known of a cell, or why it is empty."""

    MEASURED = "measured"
    BELOW_RANGE = "below_range"
    ABOVE_RANGE = "above_range"
    PENDING = "pending"
    MISSING = "missing"
    NOT_YET_DUE = "not_yet_due"
    NOT_EXPECTED = "not_expected"
    NOT_EVALUABLE = "not_evaluable"


class AlignedSpecimen(Protocol):
    """What the table needs of a specimen's place in the trial.

    :class:`~biomarkers.study.visits.Alignment` has it, and so has whatever the store reads back of one.
    """

    @property
    def accession_id(self) -> str:
        """The specimen's accession id."""

    @property
    def subject_id(self) -> str:
        """Whose specimen it is."""

    @property
    def material(self) -> Material:
        """What it is made of."""

    @property
    def visit(self) -> str | None:
        """The visit it belongs to; None while it waits."""

    @property
    def visit_number(self) -> int | None:
        """The visit's number; None where the visit is not planned."""

    @property
    def study_day(self) -> int | None:
        """The study day of collection."""

    @property
    def days_from_target(self) -> int | None:
        """Calendar days after the visit's target date."""

    @property
    def in_window(self) -> bool | None:
        """Whether it was collected within the visit's window."""

    @property
    def chosen(self) -> bool:
        """Whether its results enter the table."""

    @property
    def finding_codes(self) -> str:
        """Codes of its findings, joined by ``;``."""

    @property
    def collected_on(self) -> date:
        """The day of collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedInput:
    """A current result as the table takes it in.

    Attributes
    ----------
    finding_codes, source_sha256s
        Joined by ``;``, the instrument's file first.
    order
        Place of the result's run in the order of first recording: the first one stays reportable, and a recomputation does
        not move a run behind its repeat.
    disposition
        The latest decision on the result; empty when nobody decided.
    """

    accession_id: str
    assay: Assay
    measurand: str
    value: float | None
    comparator: Comparator
    unit: str
    lower: float | None
    upper: float | None
    denominator: str
    n_replicates: int | None
    evaluable: bool
    finding_codes: str
    run_id: str
    result_id: str
    source_sha256s: str
    order: int
    disposition: Decision = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimepointRow:
    """One subject, visit and measurand; the fields are the table's columns in their order, None is an empty cell.

    Attributes
    ----------
    days_from_target
        Calendar days after the visit's target date.
    value
        The bound itself where ``comparator`` is ``<`` or ``>``.
    baseline
        Empty at the baseline visit, where the baseline is only a bound, and where the two cannot be compared.
    change_bound_lower, change_bound_upper
        The possible changes where a value is only a bound; an open end is empty.
    findings
        Codes joined by ``;``, each once, in alphabetical order; empty text when there are none.
    """

    study_id: str
    subject_id: str
    visit: str
    visit_number: int | None
    study_day: int | None
    days_from_target: int | None
    in_window: bool | None
    assay: str
    measurand: str
    status: str
    value: float | None
    comparator: str | None
    unit: str | None
    lower: float | None
    upper: float | None
    denominator: str | None
    baseline: float | None
    change: float | None
    percent_change: float | None
    change_bound_lower: float | None
    change_bound_upper: float | None
    n_replicates: int | None
    findings: str
    accession_id: str | None
    run_id: str | None
    baseline_run_id: str | None
    result_id: str | None
    source_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimepointColumns:
    """The timepoint table column by column; fields and their meaning are those of :class:`TimepointRow`."""

    study_id: Sequence[str]
    subject_id: Sequence[str]
    visit: Sequence[str]
    visit_number: Sequence[int | None]
    study_day: Sequence[int | None]
    days_from_target: Sequence[int | None]
    in_window: Sequence[bool | None]
    assay: Sequence[str]
    measurand: Sequence[str]
    status: Sequence[str]
    value: Sequence[float | None]
    comparator: Sequence[str | None]
    unit: Sequence[str | None]
    lower: Sequence[float | None]
    upper: Sequence[float | None]
    denominator: Sequence[str | None]
    baseline: Sequence[float | None]
    change: Sequence[float | None]
    percent_change: Sequence[float | None]
    change_bound_lower: Sequence[float | None]
    change_bound_upper: Sequence[float | None]
    n_replicates: Sequence[int | None]
    findings: Sequence[str]
    accession_id: Sequence[str | None]
    run_id: Sequence[str | None]
    baseline_run_id: Sequence[str | None]
    result_id: Sequence[str | None]
    source_sha256: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.subject_id)

    def rows(self) -> tuple[TimepointRow, ...]:
        """Return the same table row by row."""
        columns = [getattr(self, name) for name in _NAMES]
        return tuple(starmap(_row, zip(*columns, strict=True)))


def _row(*cells: object) -> TimepointRow:
    return TimepointRow(**dict(zip(_NAMES, cells, strict=True)))  # type: ignore[arg-type]  # columns and fields are the same


_NAMES = tuple(one.name for one in fields(TimepointRow))
