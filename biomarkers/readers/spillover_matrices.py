"""Spillover matrices: as an FCS file's keyword states them, and as a table of their own.

Knows the keywords' many names. Must not know events or whether a matrix fits its panel. A matrix whose meaning is not certain
is not applied, and a finding says so.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomarkers.cytometry.acquisition import Spillover
from biomarkers.errors import SourceFileError
from biomarkers.results import Finding, Severity

SPILLOVER_KEYWORDS = ("$SPILLOVER", "SPILLOVER", "$SPILL", "SPILL")
"""Where a spillover matrix is found: by FCS 3.1, then as other software writes it."""

WITHDRAWN_KEYWORDS = re.compile(r"\$?COMP|\$DFC\d+TO\d+")
"""How FCS 2.0 and 3.0 stated compensation. FCS 3.1 withdrew both: writers disagreed about percent or fraction, rows or columns,
and whether it had been applied to the events already."""

MOST_DETECTORS = 512
"""No instrument has more; keeps a lying matrix from costing minutes to invert."""

LARGEST_TABLE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedSpillover:
    """What a file says of spillover."""

    spillover: Spillover | None
    findings: tuple[Finding, ...]


def stated_spillover(keywords: Mapping[str, str], name: str) -> StatedSpillover:
    """Find the spillover matrix of an FCS data set among its keywords (upper case)."""
    for keyword in SPILLOVER_KEYWORDS:
        text = keywords.get(keyword, "")
        if not text:
            continue
        try:
            return StatedSpillover(spillover=_parse(keyword, text), findings=())
        except ValueError as error:
            return StatedSpillover(
                spillover=None,
                findings=(
                    Finding(
                        code="SPILLOVER_UNREADABLE",
                        severity=Severity.WARNING,
                        where=f"File '{name}', keyword {keyword}.",
                        message=f"The spillover matrix cannot be used: {error}.",
                        remedy="Export the file again with the compensation that was set at acquisition.",
                    ),
                ),
            )
    return StatedSpillover(spillover=None, findings=_withdrawn(keywords, name))


def _withdrawn(keywords: Mapping[str, str], name: str) -> tuple[Finding, ...]:
    stated = sorted(keyword for keyword in keywords if WITHDRAWN_KEYWORDS.fullmatch(keyword))
    if not stated or not any(_changes_something(keyword, keywords[keyword]) for keyword in stated):
        return ()
    return (
        Finding(
            code="COMPENSATION_AMBIGUOUS",
            severity=Severity.WARNING,
            where=f"File '{name}', keyword {', '.join(stated[:4])}{' and more' if len(stated) > 4 else ''}.",
            message="The file states compensation in keywords withdrawn with FCS 3.1, whose meaning differs between writers; "
            "it was not applied.",
            remedy="Export the file as FCS 3.1 with $SPILLOVER, or give the panel the matrix as a table.",
        ),
    )


def _changes_something(keyword: str, text: str) -> bool:
    try:
        numbers = [float(field) for field in text.split(",")]
    except ValueError:
        return True
    if keyword.startswith("$DFC"):
        return any(numbers)
    count = int(numbers[0]) if numbers and 0 < numbers[0] <= MOST_DETECTORS else 0
    if count == 0 or len(numbers) != 1 + count * count:
        return True
    matrix = np.array(numbers[1:]).reshape(count, count)
    return bool(np.any(matrix != np.diag(np.diag(matrix))))


def _parse(keyword: str, text: str) -> Spillover:
    fields = [field.strip() for field in text.split(",")]
    if not fields[0].isascii() or not fields[0].isdigit() or not 0 < int(fields[0][:6]) <= MOST_DETECTORS:
        raise ValueError(f"it begins with '{fields[0][:20]}', no number of detectors")
    count = int(fields[0])
    if len(fields) != 1 + count + count * count:
        raise ValueError(f"{count} detectors need {1 + count + count * count} fields, there are {len(fields)}")
    return _matrix(keyword, fields[1 : 1 + count], fields[1 + count :])


def _matrix(keyword: str, detectors: Sequence[str], coefficients: Sequence[str]) -> Spillover:
    count = len(detectors)
    try:
        matrix = np.array([float(field) for field in coefficients], dtype=np.float64).reshape(count, count)
    except ValueError:
        raise ValueError("a coefficient is no number") from None
    if len({detector.casefold() for detector in detectors}) != count or not np.isfinite(matrix).all():
        raise ValueError("a detector is named twice, or a coefficient is not finite")
    return Spillover(keyword=keyword, detectors=tuple(detectors), matrix=matrix)


def read_spillover_table(path: Path) -> Spillover:
    """Read a matrix that belongs to a panel rather than to a file.

    A CSV or TSV whose header names the detectors; each following row says what one fluorochrome sheds on every detector, 1 on
    its own. A first column with the rows' names is allowed, and must then name the detectors in the header's order.

    Raises
    ------
    SourceFileError
        It is no such table.
    """
    try:
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            raise _refused(path, f"it is larger than {LARGEST_TABLE_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
            if any(cell.strip() for cell in row)
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, str(error)) from error
    if len(rows) < 2:
        raise _refused(path, "it needs a header of detectors and one row for each")
    header, body = rows[0], rows[1:]
    if not header[0]:
        header = header[1:]
    named = all(len(row) == len(header) + 1 for row in body)
    if named and [row[0].casefold() for row in body] != [detector.casefold() for detector in header]:
        raise _refused(path, "the rows' names are not the header's detectors in the same order")
    cells = [row[1:] if named else row for row in body]
    if len(header) > MOST_DETECTORS or len(cells) != len(header) or any(len(row) != len(header) for row in cells):
        raise _refused(path, f"{len(header)} detectors need as many rows of as many coefficients")
    try:
        return _matrix(path.name, header, [cell for row in cells for cell in row])
    except ValueError as error:
        raise _refused(path, str(error)) from error


def _refused(path: Path, why: str) -> SourceFileError:
    return SourceFileError(
        what=f"The file is no spillover matrix: {why}.",
        where=f"File '{path.name}'.",
        remedy="Write one header row of detectors and one row of coefficients for each of them.",
    )
