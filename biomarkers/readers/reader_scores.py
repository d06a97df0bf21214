"""READERS.csv: what people scored, to be compared with what was measured.

Knows its columns: accession, stain, score, and then one column for each reader. Must not know any measurement.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biomarkers.errors import Fault, SourceFileError

FIXED_COLUMNS = ("accession_id", "stain", "score")
SCORES = ("DENSITY_TISSUE", "DENSITY_TUMOUR", "PCT_POSITIVE", "HSCORE", "TPS", "CPS")

LARGEST_FILE_BYTES = 16_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderScore:
    """One line: one score of one specimen by several readers.

    Attributes
    ----------
    value_by_reader
        Absent where a reader gave none.
    """

    line: int
    accession_id: str
    measurand: str
    value_by_reader: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderScores:
    """A whole file: its readers in the order of their columns, and its lines."""

    readers: tuple[str, ...]
    lines: tuple[ReaderScore, ...]


def read_reader_scores(path: Path) -> ReaderScores:
    """Read what people scored.

    Raises
    ------
    SourceFileError
        The file has no reader, or cells that are no numbers; all of them are told at once.
    """
    rows = list(_rows(path))
    if not rows:
        raise SourceFileError(what="The file is empty.", where=f"File '{path.name}'.", remedy="Export the list again.")
    readers = _readers(rows[0][1], path.name)
    faults: list[Fault] = []
    lines: list[ReaderScore] = []
    seen: set[tuple[str, str]] = set()
    for number, cells in rows[1:]:
        where = f"File '{path.name}', line {number}."
        if len(cells) != len(FIXED_COLUMNS) + len(readers):
            what = f"The line has {len(cells)} cells where the header has {len(FIXED_COLUMNS) + len(readers)}."
            faults.append(Fault(where=where, what=what, remedy="Check for a missing or stray separator."))
            continue
        accession, stain, score = cells[0], cells[1].upper(), cells[2].upper()
        if score not in SCORES:
            faults.append(Fault(where=where, what=f"The score '{score}' is not known.", remedy=f"Use {', '.join(SCORES)}."))
        if not accession or not stain:
            faults.append(Fault(where=where, what="The accession or the stain is empty.", remedy="Enter both."))
        measurand = f"{stain}_{score}"
        if (accession, measurand) in seen:
            faults.append(Fault(where=where, what="The same score stands on an earlier line.", remedy="Keep one of them."))
        seen.add((accession, measurand))
        values = {reader: value for reader, value in _values(cells, readers, where, faults) if value is not None}
        lines.append(ReaderScore(line=number, accession_id=accession, measurand=measurand, value_by_reader=values))
    if faults:
        raise SourceFileError.gathered(faults)
    return ReaderScores(readers=readers, lines=tuple(lines))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise SourceFileError(
                what=f"The file is larger than {LARGEST_FILE_BYTES // 1_000_000} MB.",
                where=f"File '{path.name}'.",
                remedy="Give the readers' scores alone.",
            )
        text = path.read_text(encoding="utf-8-sig")
        first = text.split("\n", 1)[0]
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=";" if ";" in first and "," not in first else ",", strict=True
        )
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except (OSError, ValueError, csv.Error) as error:
        raise SourceFileError(
            what=f"The file is no table: {error}.", where=f"File '{path.name}'.", remedy="Save it again as CSV in UTF-8."
        ) from error


def _readers(header: Sequence[str], name: str) -> tuple[str, ...]:
    fixed = tuple(column.casefold() for column in header[: len(FIXED_COLUMNS)])
    readers = tuple(header[len(FIXED_COLUMNS) :])
    if fixed != FIXED_COLUMNS or not readers or not all(readers) or len(set(readers)) < len(readers):
        raise SourceFileError(
            what="The header does not fit.",
            where=f"File '{name}', line 1; found {', '.join(header)}.",
            remedy=f"Begin with {', '.join(FIXED_COLUMNS)}, then one column for each reader, each under a name of its own.",
        )
    return readers


def _values(
    cells: Sequence[str], readers: Sequence[str], where: str, faults: list[Fault]
) -> Iterator[tuple[str, float | None]]:
    for reader, text in zip(readers, cells[len(FIXED_COLUMNS) :], strict=True):
        value: float | None = None
        if text:
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value) or value < 0:
                faults.append(
                    Fault(
                        where=where,
                        what=f"Reader '{reader}' gave '{text}', which is no score.",
                        remedy="Enter a number of 0 or more with a decimal point, or nothing.",
                    )
                )
                value = None
        yield reader, value
