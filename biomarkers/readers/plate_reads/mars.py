"""BMG MARS exports drawn as plates, of 96 and 384 wells.

Knows the header of that format and the titles of its tables. The first number in ``Raw Data (450 1)`` is the wavelength, the
second counts the reads. Must not use a table MARS computed as if it had been measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.differences import differences
from biomarkers.readers.plate_reads.plate_tables import PlateTable, by_plate, is_readable, read_table, table_at, trimmed
from biomarkers.readers.sheets import Sheet

_RAW = re.compile(r"Raw Data\s*\((?:\D*?)(\d{3,4})(?:\s*nm)?(?:\s+\d+)?\)", re.IGNORECASE)
_HEAD_ROWS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Titled:
    title: str
    table: PlateTable


def recognise(sheets: Sequence[Sheet]) -> bool:
    """Whether a file is a MARS export: its head names the user and the test."""
    facts = _facts(sheets[0]) if sheets else {}
    return "user" in facts and "test name" in facts


def _facts(sheet: Sheet) -> dict[str, str]:
    """Take what the head says, by its lower-case name; several facts stand in one row, divided by cells."""
    cells = [cell for row in sheet.rows[:_HEAD_ROWS] for cell in row if cell]
    pairs = [cell.partition(":") for cell in cells]
    return {name.strip().casefold(): value.strip() for name, colon, value in reversed(pairs) if colon}


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate: one read a wavelength as measured, and one more where the export subtracts a reference itself.

    Raises
    ------
    SourceFileError
        The export holds no raw data drawn as a plate, another mode than absorbance, or is cut off.
    """
    sheet = sheets[0]
    facts = _facts(sheet)
    where = f"File '{file_name}'"
    alone = (row[0] for row in sheet.rows[:_HEAD_ROWS] if len(trimmed(row)) == 1 and ":" not in row[0])
    mode = next(alone, "")
    if mode and not mode.casefold().startswith(("absorbance", "raw data")):
        raise SourceFileError(
            what=f"The plate was read in the mode '{mode}'; only absorbance is understood.",
            where=f"{where}.",
            remedy="Export an absorbance read.",
        )
    plate_id = facts.get("id1") or stem
    acquired_at = " ".join(one for one in (facts.get("date", ""), facts.get("time", "")) if one)
    raw: list[PlateRead] = []
    computed: list[PlateRead] = []
    for one in _titled(sheet):
        found = _RAW.fullmatch(one.title)
        if found is None and not (raw and is_readable(one.table.texts())):
            continue
        read_here = read_table(
            one.table,
            plate_id=plate_id,
            wavelength_nm=float(found[1]) if found else None,
            acquired_at=acquired_at,
            place=f"{where}, row {one.table.line + 1}.",
        )
        (raw if found else computed).append(read_here)
    if not raw:
        raise SourceFileError(
            what="The MARS export holds no table 'Raw Data' with its wavelength.",
            where=f"{where}.",
            remedy="Export the raw data in the plate's shape.",
        )
    return by_plate([*raw, *differences(computed, raw)])


def _titled(sheet: Sheet) -> Iterator[_Titled]:
    title = ""
    row = 0
    while row < len(sheet.rows):
        table = table_at(sheet.rows, row)
        if table is not None:
            yield _Titled(title=title, table=table)
            row = table.end
            continue
        cells = trimmed(sheet.rows[row])
        if len(cells) == 1:
            title = cells[0]
        row += 1
