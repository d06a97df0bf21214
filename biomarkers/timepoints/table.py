"""Timepoint rows as data frames: long, wide, and with arms for those who have the right to them.

Knows column types and what a wide cell shows. Must not know where rows come from. The only place that joins rows with arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from biomarkers.study.arms import ArmAssignments
from biomarkers.timepoints.alignment import TimepointColumns, TimepointRow

TIMEPOINT_COLUMNS = tuple(field.name for field in fields(TimepointRow))

_INTEGERS = ("visit_number", "study_day", "days_from_target", "n_replicates")
_NUMBERS = (
    *("value", "lower", "upper", "baseline", "change", "percent_change"),
    *("change_bound_lower", "change_bound_upper"),
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ArmedRow:
    """A row with its subject's arm; its printed form tells no arm. None where the subject was not allocated."""

    row: TimepointRow
    arm: str | None

    def __repr__(self) -> str:
        return f"ArmedRow({self.row!r})"


def with_arms(rows: Iterable[TimepointRow], assignments: ArmAssignments) -> tuple[ArmedRow, ...]:
    """Give each row its subject's arm."""
    return tuple(ArmedRow(row=row, arm=assignments.arm(row.subject_id)) for row in rows)


def timepoint_table(rows: Sequence[TimepointRow]) -> pd.DataFrame:
    """Return the rows as a data frame whose column types do not depend on what happens to be missing.

    Counts and days are ``Int64``, ``in_window`` is ``boolean``, numbers are ``float64`` with NaN for missing, everything else
    is text with None for missing. There is no column ``arm``.
    """
    return pd.DataFrame({name: _column(name, [getattr(row, name) for row in rows]) for name in TIMEPOINT_COLUMNS}, copy=False)


def timepoint_frame(columns: TimepointColumns, assignments: ArmAssignments | None = None) -> pd.DataFrame:
    """Return the same data frame from columns, without the detour over rows; with assignments ``arm`` follows the subject."""
    frame: dict[str, pd.Series] = {}
    for name in TIMEPOINT_COLUMNS:
        frame[name] = _column(name, getattr(columns, name))
        if name == "subject_id" and assignments is not None:
            frame["arm"] = _column("arm", [assignments.arm(subject_id) for subject_id in columns.subject_id])
    return pd.DataFrame(frame, copy=False)


def rows_with_arms(rows: Sequence[TimepointRow], assignments: ArmAssignments) -> pd.DataFrame:
    """Return :func:`timepoint_table` with the column ``arm`` after ``subject_id``."""
    table = timepoint_table(rows)
    arms = pd.Series([armed.arm for armed in with_arms(rows, assignments)], index=table.index, dtype=object)
    table.insert(TIMEPOINT_COLUMNS.index("subject_id") + 1, "arm", arms)
    return table


def wide_table(rows: Sequence[TimepointRow], assignments: ArmAssignments | None = None) -> pd.DataFrame:
    """Return one row per subject and visit with a column for each measurand.

    An exact value is a number; a bound is text such as ``<3.1``, so that nobody averages it by mistake; a cell without a value
    is empty. ``study_day`` is empty where a visit's specimens, such as blood and tissue, were taken on different days. A visit
    that is not planned gives a row for each of its days. With assignments ``arm`` follows ``subject_id``.
    """
    rows_by_place: dict[_Place, dict[str, TimepointRow]] = {}
    for row in rows:
        unplanned_day = row.study_day if row.visit_number is None else None
        rows_by_place.setdefault(_Place(row.subject_id, row.visit, unplanned_day), {}).setdefault(row.measurand, row)
    firsts = [next(iter(found.values())) for found in rows_by_place.values()]
    columns = {"study_id": _column("study_id", [row.study_id for row in firsts])}
    columns["subject_id"] = _column("subject_id", [row.subject_id for row in firsts])
    if assignments is not None:
        columns["arm"] = _column("arm", [assignments.arm(row.subject_id) for row in firsts])
    columns["visit"] = _column("visit", [row.visit for row in firsts])
    columns["visit_number"] = _column("visit_number", [row.visit_number for row in firsts])
    columns["study_day"] = _column("study_day", [_common_day(found.values()) for found in rows_by_place.values()])
    for measurand in dict.fromkeys(row.measurand for row in rows):
        columns[measurand] = _column(measurand, [_shown(found.get(measurand)) for found in rows_by_place.values()])
    return pd.DataFrame(columns)


@dataclass(frozen=True, slots=True)
class _Place:
    subject_id: str
    visit: str
    unplanned_day: int | None


def _common_day(rows: Iterable[TimepointRow]) -> int | None:
    days = {row.study_day for row in rows if row.study_day is not None}
    return days.pop() if len(days) == 1 else None


def _shown(row: TimepointRow | None) -> float | str | None:
    if row is None or row.value is None:
        return None
    return f"{row.comparator}{row.value:.12g}" if row.comparator else row.value


def _column(name: str, values: Sequence[float | str | None]) -> pd.Series:
    if name in _INTEGERS:
        return pd.Series(_masked(values))
    if name == "in_window":
        return pd.Series(values, dtype="boolean")
    if name in _NUMBERS:
        return pd.Series(np.array(values, dtype=np.float64))
    texts = np.empty(len(values), dtype=object)
    texts[:] = values
    return pd.Series(texts, dtype=object)


def _masked(values: Sequence[float | str | None]) -> pd.arrays.IntegerArray:
    numbers = np.array(values, dtype=np.float64)
    missing = np.isnan(numbers)
    return pd.arrays.IntegerArray(np.where(missing, 0.0, numbers).astype(np.int64), missing)
