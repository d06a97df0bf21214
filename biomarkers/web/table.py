"""The timepoint table kept ready, filtered, sorted and cut into pages.

Knows that the table changes only when something is recorded or the day changes. Must not know how it is shown, nor an arm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from biomarkers.laboratory import Laboratory
from biomarkers.provenance import utc_now
from biomarkers.store import alignments, lookups, timepoint_rows
from biomarkers.store.study_lists import current_roster
from biomarkers.study.roster import Roster
from biomarkers.timepoints.alignment import TimepointRow
from biomarkers.timepoints.attrition import Attrition, attrition
from biomarkers.timepoints.due import DueCell

ROWS_ON_A_PAGE = 100

SORTABLE: dict[str, Callable[[TimepointRow], object]] = {
    "subject_id": lambda row: row.subject_id,
    "visit": lambda row: row.visit_number if row.visit_number is not None else 10_000,
    "measurand": lambda row: row.measurand,
    "status": lambda row: row.status,
    "value": lambda row: row.value,
    "change": lambda row: row.change,
    "percent_change": lambda row: row.percent_change,
    "study_day": lambda row: row.study_day,
    "assay": lambda row: row.assay,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The table as of a day, the state of the store it was made from, what is due, and whom it is about."""

    rows: tuple[TimepointRow, ...]
    due: tuple[DueCell, ...]
    roster: Roster
    day: date
    state: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rows somebody wants to see, and in which order; empty means all."""

    measurand: str = ""
    visit: str = ""
    subject: str = ""
    status: str = ""
    assay: str = ""
    sort: str = ""
    descending: bool = False

    def of(self, rows: Sequence[TimepointRow]) -> list[TimepointRow]:
        """Return the rows chosen, in order; what has no value stands last either way."""
        kept = [
            row
            for row in rows
            if (not self.measurand or row.measurand == self.measurand)
            and (not self.visit or row.visit == self.visit)
            and (not self.subject or row.subject_id == self.subject)
            and (not self.status or row.status == self.status)
            and (not self.assay or row.assay == self.assay)
        ]
        if self.sort not in SORTABLE:
            return kept
        key = SORTABLE[self.sort]
        known = [row for row in kept if key(row) is not None]
        known.sort(key=key, reverse=self.descending)  # type: ignore[arg-type]  # one column's values compare with each other
        return known + [row for row in kept if key(row) is None]


class TableKeeper:
    """Makes the table when it has changed, and gives it to everyone who asks until it changes again."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._lock = threading.Lock()
        self._table: Table | None = None
        self._attrition: tuple[Table, tuple[Attrition, ...]] | None = None

    def current(self) -> Table:
        """Return the table as of today in UTC."""
        day = utc_now().date()
        with self._laboratory.database.read() as reading:
            state = lookups.table_state(reading)
        kept = self._table
        if kept is not None and (kept.state, kept.day) == (state, day):
            return kept
        with self._lock:  # one makes it, the others wait for it
            kept = self._table
            if kept is None or (kept.state, kept.day) != (state, day):
                kept = self._made(day, kept)
                self._table = kept
            return kept

    def attrition(self, table: Table) -> tuple[Attrition, ...]:
        """Count who is where, over all arms together, once for each state of the table."""
        kept = self._attrition
        if kept is None or kept[0] is not table:
            kept = (table, attrition(table.rows, table.roster, as_of=table.day))
            self._attrition = kept
        return kept[1]

    def _made(self, day: date, before: Table | None) -> Table:
        """Read the rows kept in the store; whom it is about and what is due only where that was recorded anew."""
        with self._laboratory.database.read() as reading:
            state = lookups.table_state(reading)
            rows = tuple(row for columns in timepoint_rows.read_batches(reading, as_of=day) for row in columns.rows())
            if before is not None and before.state[-1] == state[-1]:
                return replace(before, rows=rows, day=day, state=state)
            aligned = alignments.current(reading)
            due = () if aligned is None else aligned.due
            return Table(rows=rows, due=due, roster=current_roster(reading), day=day, state=state)
