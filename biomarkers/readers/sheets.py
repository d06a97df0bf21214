"""Text and workbook files as sheets of verbatim cells.

Knows encodings, delimiters and how a workbook is opened without being harmed by it. Must not know what any cell means.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from biomarkers.errors import SourceFileError

if TYPE_CHECKING:
    import xlrd

LARGEST_TEXT_BYTES = 10_000_000
"""A thousand 96-well plates in text take about as much; more would also take longer to refuse than anybody should wait."""

LARGEST_TEXT_LINES = 200_000
LARGEST_TEXT_CELLS = 2_000_000

LARGEST_WORKBOOK_BYTES = 10_000_000
LARGEST_UNPACKED_BYTES = 12_000_000
LARGEST_COMPRESSION_RATIO = 100.0
"""Real workbooks compress 5 to 20 times; one made to fill the memory a thousand times and more."""

LARGEST_OLD_WORKBOOK_BYTES = 2_000_000
MOST_OLD_SHEETS = 20
"""An old workbook is not packed, so its size bounds the work it can make; several sheets may lie on the same bytes."""

LARGEST_SHEET_CELLS = 500_000
"""Cells read of one sheet; a 384-well plate as a list with ten columns has 3840."""

_ZIP = b"PK\x03\x04"
_OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_WORKBOOK_FAULTS = (
    OSError,
    SyntaxError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What openpyxl lets through of a damaged workbook; malformed XML is a SyntaxError."""

_FORBIDDEN_IN_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows of cells as text, stripped of blanks around them; numbers of a workbook in their shortest exact form.

    Attributes
    ----------
    name
        The sheet's name; empty for text files.
    delimiter
        What separated the cells; empty for workbooks.
    """

    name: str
    rows: tuple[tuple[str, ...], ...]
    delimiter: str


def read_sheets(path: Path) -> tuple[Sheet, ...]:
    """Read a text file or an Excel workbook as sheets; what kind of file it is, its bytes decide, not its name.

    Raises
    ------
    SourceFileError
        The file is empty, too large, binary, damaged, or a workbook that unpacks to more than it should.
    """
    start = _start(path)
    if start.startswith(_OLD_EXCEL):
        return _old_workbook(path)
    if start.startswith(_ZIP):
        return _workbook(path)
    return (text_sheet(read_text(path), path),)


def text_sheet(text: str, path: Path) -> Sheet:
    """Divide a text into cells, whatever separates them.

    Raises
    ------
    SourceFileError
        The text has more cells than any export, or its quotation marks do not close.
    """
    delimiter = _delimiter(text)
    return Sheet(name="", rows=_rows(text, delimiter, path), delimiter=delimiter)


def is_workbook(path: Path) -> bool:
    """Whether a file's bytes begin as an Excel workbook's do, of the new kind or the old binary one.

    Raises
    ------
    SourceFileError
        The file is empty or cannot be opened.
    """
    return _start(path).startswith((_ZIP, _OLD_EXCEL))


def _start(path: Path) -> bytes:
    with _opened(path) as file:
        start = file.read(8)
    if not start:
        raise SourceFileError(what="The file is empty.", where=_where(path), remedy="Export it again and drop the new file.")
    return start


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, UTF-16 or an eight-bit Western encoding, line ends as they are.

    Raises
    ------
    SourceFileError
        The file is empty, too large or no text.
    """
    with _opened(path) as file:
        content = file.read(LARGEST_TEXT_BYTES + 1)
    if len(content) > LARGEST_TEXT_BYTES:
        raise SourceFileError(
            what=f"The file is larger than {LARGEST_TEXT_BYTES // 1_000_000} MB, more than any plate export.",
            where=_where(path),
            remedy="Check that this is the file you meant.",
        )
    text = _decoded(content, path)
    if text.count("\n") + text.count("\r") > 2 * LARGEST_TEXT_LINES:
        raise SourceFileError(
            what=f"The file has more than {LARGEST_TEXT_LINES} lines, more than any plate export.",
            where=_where(path),
            remedy="Check that this is the file you meant.",
        )
    if not text.strip():
        raise SourceFileError(what="The file is empty.", where=_where(path), remedy="Export it again and drop the new file.")
    if _FORBIDDEN_IN_TEXT.search(text):
        raise SourceFileError(
            what="The file is neither text nor an Excel workbook.",
            where=_where(path),
            remedy="Export the plate as text or .xlsx.",
        )
    return text


def _where(path: Path) -> str:
    return f"File '{path.name}'."


def _opened(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceFileError(
            what=f"The file cannot be opened: {error.strerror or error}.",
            where=_where(path),
            remedy="Check that it is still there and may be read.",
        ) from error


def _decoded(content: bytes, path: Path) -> str:
    try:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            return content.decode("utf-16")
        if content.startswith(b"\xef\xbb\xbf"):
            return content.decode("utf-8-sig")
        encoding = _utf16_without_mark(content)
        if encoding:
            return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise SourceFileError(
            what="The text of the file is damaged or cut off.",
            where=_where(path),
            remedy="Export it again and drop the new file.",
        ) from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        # Plate readers write the degree sign in the machine's own eight-bit encoding; every byte is some letter in this one.
        return content.decode("latin-1")


def _utf16_without_mark(content: bytes) -> str:
    start = content[:400]
    if len(start) < 4 or start.count(0) < len(start) // 3:
        return ""
    return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"


def _delimiter(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    for delimiter in ("\t", ";"):
        if sum(delimiter in line for line in lines) * 2 >= len(lines):
            return delimiter
    return ","


def _rows(text: str, delimiter: str, path: Path) -> tuple[tuple[str, ...], ...]:
    try:
        rows: list[tuple[str, ...]] = []
        cells = 0
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            cells += len(row)
            if cells > LARGEST_TEXT_CELLS:
                raise SourceFileError(
                    what=f"The file holds more than {LARGEST_TEXT_CELLS} cells, more than any plate export.",
                    where=_where(path),
                    remedy="Check that this is the file you meant.",
                )
            rows.append(tuple(cell.strip() for cell in row))
        return tuple(rows)
    except csv.Error as error:
        raise SourceFileError(
            what=f"The cells of the file cannot be told apart: {error}.",
            where=_where(path),
            remedy="Check its quotation marks, or export it again.",
        ) from error


def _workbook(path: Path) -> tuple[Sheet, ...]:
    _require_harmless(path)
    # Imported late: it takes a quarter of a second, and most exports are text.
    from openpyxl import load_workbook  # noqa: PLC0415  - see above

    try:
        # An open file, because by a path openpyxl would judge the extension.
        with (
            warnings.catch_warnings(action="ignore"),  # openpyxl remarks on styles and properties, which nobody reads here
            _opened(path) as file,
            contextlib.closing(load_workbook(file, read_only=True, data_only=True, keep_links=False)) as book,
        ):
            return tuple(
                Sheet(name=sheet.title, rows=_cells(sheet.iter_rows(values_only=True), path, sheet.title), delimiter="")
                for sheet in book.worksheets
            )
    except _WORKBOOK_FAULTS as error:
        told = str(error).partition("\n")[0].replace(str(path), path.name).rstrip(".")
        raise SourceFileError(
            what=f"The workbook cannot be read: {type(error).__name__}: {told}.",
            where=_where(path),
            remedy="Open and save it in a spreadsheet program, then drop it again.",
        ) from error


def _require_harmless(path: Path) -> None:
    """Refuse a workbook that would unpack to more than any plate needs, before anything is unpacked."""
    try:
        packed = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SourceFileError(
            what="The workbook is damaged or cut off.", where=_where(path), remedy="Export it again and drop the new file."
        ) from error
    if any(part.compress_size > packed for part in parts):
        # A reader would ask for that many bytes at once, and for the memory to hold them.
        raise SourceFileError(
            what="The workbook is damaged: one of its parts claims to be longer than the whole file.",
            where=_where(path),
            remedy="Export it again and drop the new file.",
        )
    unpacked = sum(part.file_size for part in parts)
    if (
        packed > LARGEST_WORKBOOK_BYTES
        or unpacked > LARGEST_UNPACKED_BYTES
        or unpacked > LARGEST_COMPRESSION_RATIO * max(packed, 1)
    ):
        raise SourceFileError(
            what=f"The workbook of {packed} bytes would unpack to {unpacked} bytes; no plate export needs that.",
            where=_where(path),
            remedy="Do not open it; ask where the file comes from.",
        )


def _old_workbook(path: Path) -> tuple[Sheet, ...]:
    """Read a workbook of the old binary kind, one sheet in memory at a time."""
    # Imported late: few laboratories still have such files.
    import xlrd  # noqa: PLC0415  - see above
    from xlrd.biffh import XLRDError  # noqa: PLC0415  - see above
    from xlrd.compdoc import CompDocError  # noqa: PLC0415  - see above

    with _opened(path) as file:
        content = file.read(LARGEST_OLD_WORKBOOK_BYTES + 1)
    if len(content) > LARGEST_OLD_WORKBOOK_BYTES:
        raise SourceFileError(
            what=f"The workbook is larger than {LARGEST_OLD_WORKBOOK_BYTES // 1_000_000} MB, more than any plate export.",
            where=_where(path),
            remedy="Save the plate's sheets alone as .xlsx and drop that.",
        )
    try:
        # The library would print its remarks to the terminal, and widen every row to the longest.
        with xlrd.open_workbook(file_contents=content, logfile=io.StringIO(), on_demand=True, ragged_rows=True) as book:
            if book.nsheets > MOST_OLD_SHEETS:
                raise SourceFileError(
                    what=f"The workbook has {book.nsheets} sheets, more than any plate export.",
                    where=_where(path),
                    remedy="Save the plate's sheets alone as .xlsx and drop that.",
                )
            sheets = []
            for index, name in enumerate(book.sheet_names()):
                sheet = book.sheet_by_index(index)
                sheets.append(Sheet(name=name, rows=_cells(_old_rows(sheet, book.datemode), path, name), delimiter=""))
                book.unload_sheet(index)
            return tuple(sheets)
    except (XLRDError, CompDocError, AssertionError, struct.error, *_WORKBOOK_FAULTS) as error:
        raise SourceFileError(
            what=f"The workbook cannot be read: {type(error).__name__}: {error}.",
            where=_where(path),
            remedy="Open and save it in a spreadsheet program, then drop it again.",
        ) from error


def _old_rows(sheet: xlrd.sheet.Sheet, datemode: Literal[0, 1]) -> Iterator[tuple[object, ...]]:
    return (tuple(_old_value(cell, datemode) for cell in sheet.row(row)) for row in range(sheet.nrows))


def _old_value(cell: xlrd.sheet.Cell, datemode: Literal[0, 1]) -> object:
    """Give a cell the Python type that a new workbook's cell would have."""
    import xlrd  # noqa: PLC0415  - see above

    match cell.ctype:
        case xlrd.XL_CELL_DATE:
            return xlrd.xldate_as_datetime(float(cell.value), datemode)
        case xlrd.XL_CELL_BOOLEAN:
            return bool(cell.value)
        case xlrd.XL_CELL_ERROR:
            return xlrd.error_text_from_code.get(int(cell.value), "#N/A")
        case xlrd.XL_CELL_EMPTY | xlrd.XL_CELL_BLANK:
            return None
        case _:
            return cell.value


def _cells(rows: Iterable[tuple[object, ...]], path: Path, sheet: str) -> tuple[tuple[str, ...], ...]:
    found: list[tuple[str, ...]] = []
    count = 0
    for row in rows:
        count += max(len(row), 1)
        if count > LARGEST_SHEET_CELLS:
            raise SourceFileError(
                what=f"The sheet '{sheet}' holds more than {LARGEST_SHEET_CELLS} cells, more than any plate export.",
                where=_where(path),
                remedy="Remove the empty rows and columns around the data, and save the workbook.",
            )
        found.append(tuple(_cell_text(value) for value in row))
    return tuple(found)


def _cell_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return str(value).strip()
