"""Lists as CSV: header and lines, and how their faults are told, all at once, each with its line and column.

Knows cells. Must not know which lists there are.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TypeVar

from biomarkers.errors import Fault, SourceFileError
from biomarkers.study.roster import Moment

LARGEST_NUMBER = 1e15
"""No list of a laboratory holds a larger one, and no column of the store takes a whole number much larger."""

LARGEST_LIST_BYTES = 64_000_000
"""Some hundred thousand rows; a list of a trial has thousands."""

Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


@dataclass(kw_only=True)
class ListTable:
    """A CSV being read; gathers every fault before it raises."""

    name: str
    lines: Sequence[tuple[int, Mapping[str, str]]]
    faults: list[Fault] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, *, required: Sequence[str], optional: Sequence[str]) -> ListTable:
        """Read a list with its header; lines that do not fit it become faults."""
        text = _text(path)
        delimiter = ";" if ";" in text.split("\n", 1)[0] and "," not in text.split("\n", 1)[0] else ","
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
        except csv.Error as error:
            raise SourceFileError(
                what=f"The file is no table: {error}.", where=f"File '{path.name}'.", remedy="Save it again as CSV."
            ) from error
        cells = [(line, row) for line, row in cells if any(row)]
        if not cells:
            raise SourceFileError(
                what="The file is empty.", where=f"File '{path.name}'.", remedy="Export the list again and drop it anew."
            )
        header = [column.casefold() for column in cells[0][1]]
        table = cls(name=path.name, lines=[])
        table._check_header(header, required, optional)
        lines = []
        for line, row in cells[1:]:
            if len(row) != len(header):
                table.faults.append(
                    Fault(
                        where=f"File '{path.name}', line {line}.",
                        what=f"The line has {len(row)} cells where the header has {len(header)}.",
                        remedy="Check for a missing or stray separator.",
                    )
                )
                continue
            lines.append((line, dict(zip(header, row, strict=True))))
        table.lines = lines
        return table

    def _check_header(self, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
        problems = [
            *(f"the column '{column}' must be there" for column in required if column not in header),
            *(f"the column '{column}' is not known" for column in header if column not in {*required, *optional}),
            *(f"the column '{column}' stands {count} times" for column, count in Counter(header).items() if count > 1),
        ]
        if problems:
            raise SourceFileError(
                what=f"The header does not fit: {'; '.join(problems)}.",
                where=f"File '{self.name}', line 1; found {', '.join(header)}.",
                remedy=f"Required columns: {', '.join(required)}. Optional: {', '.join(optional) or 'none'}.",
            )

    def rows(self) -> Iterator[ListRow]:
        """Give the lines below the header."""
        return (ListRow(table=self, line=line, cells=cells) for line, cells in self.lines)

    def no_doubles(self, column: str, values: Sequence[str]) -> None:
        """Note a fault for every value that stands more than once."""
        for value, count in Counter(values).items():
            if count > 1 and value:
                self.faults.append(
                    Fault(
                        where=f"File '{self.name}', {column} '{value}'.",
                        what=f"It stands on {count} lines.",
                        remedy="Each may stand once; remove the others.",
                    )
                )

    def finish(self) -> None:
        """Raise all faults found, if there are any."""
        if self.faults:
            raise SourceFileError.gathered(self.faults)


@dataclass(frozen=True, kw_only=True)
class ListRow:
    """One line of a list."""

    table: ListTable
    line: int
    cells: Mapping[str, str]

    def fault(self, column: str, what: str, remedy: str) -> None:
        """Note a fault of a cell."""
        where = f"File '{self.table.name}', line {self.line}, column '{column}'."
        self.table.faults.append(Fault(where=where, what=f"The cell {what}.", remedy=remedy))

    def text(self, column: str) -> str:
        """Return a cell; empty where the list does not have the column."""
        return self.cells.get(column, "")

    def matching(self, column: str, fits: Callable[[str], bool], meaning: str) -> str:
        """Return a cell that must fit."""
        text = self.text(column)
        if not fits(text):
            self.fault(column, f"holds '{text}', which is not {meaning}", "Correct the cell.")
        return text

    def one_of(self, column: str, values: Mapping[str, Value], otherwise: Value) -> Value:
        """Return what a word stands for."""
        text = self.text(column).upper()
        if text not in values:
            self.fault(column, f"holds '{text}', which is not known", f"Use one of {', '.join(sorted(values))}.")
        return values.get(text, otherwise)

    def number(self, column: str, kind: type[Number], meaning: str) -> Number | None:
        """Return a number; None where the cell is empty."""
        text = self.text(column)
        if not text:
            return None
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not -LARGEST_NUMBER < number < LARGEST_NUMBER:  # not a number at all compares false
            self.fault(
                column, f"holds '{text[:40]}', which is not {meaning}", "Enter a number with a decimal point, or nothing."
            )
            return None
        return number

    def day(self, column: str) -> date | None:
        """Return a day; None where the cell is empty."""
        moment = self.moment(column)
        return None if moment is None else moment.day

    def moment(self, column: str) -> Moment | None:
        """Return a day with the time of day where it is given; None where the cell is empty."""
        text = self.text(column)
        if not text:
            return None
        try:
            if len(text) <= len("YYYY-MM-DD"):
                return Moment(day=date.fromisoformat(text))
            both = datetime.fromisoformat(text)
        except ValueError:
            self.fault(column, f"holds '{text}', which is no date", "Write dates as YYYY-MM-DD or YYYY-MM-DDTHH:MM.")
            return None
        return Moment(day=both.date(), time=both.time())


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST_LIST_BYTES:
            raise SourceFileError(
                what=f"The file has {size} bytes; a list of the study has at most {LARGEST_LIST_BYTES}.",
                where=f"File '{path.name}'.",
                remedy="Check that this is the file you meant.",
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceFileError(
            what="The file is not UTF-8 text.", where=f"File '{path.name}'.", remedy="Save it as 'CSV UTF-8' and drop it again."
        ) from error
    except OSError as error:
        raise SourceFileError(
            what=f"The file cannot be read: {error.strerror}.", where=f"File '{path.name}'.", remedy="Check its rights."
        ) from error
