"""SkanIt workbooks: sheets of measurement results, each plate's tables below its name.

Knows which tables hold absorbance as measured, and where plate and wavelength stand. Must not use what SkanIt computed as if it
had been measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.plate_tables import PlateTable, by_plate, read_table, table_at, trimmed
from biomarkers.readers.sheets import Sheet

_RESULTS = "Measurement results"
_WAVELENGTH = re.compile(r"Wavelength:\s*(\d{3,4}(?:[.,]\d+)?)\s*nm", re.IGNORECASE)

MEASURED = "Abs"
"""Corner of a table of readings; SkanIt names computed tables otherwise, such as ``Blank subtracted`` or ``AVG``."""

SAMPLES = "Sample"
"""Corner of a table that says what each well holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkanItTable:
    """One table of a results sheet.

    Attributes
    ----------
    step
        The protocol step that made it, such as ``Absorbance 1`` or ``Blank Subtraction 2``.
    wavelength_nm
        As written above the table; None where it is not.
    """

    sheet: str
    step: str
    plate: str
    wavelength_nm: float | None
    acquired_at: str
    table: PlateTable


def recognise(sheets: Sequence[Sheet]) -> bool:
    """Whether a workbook is a SkanIt report: one of its sheets begins with measurement results."""
    return any(_is_results(sheet) for sheet in sheets)


def _is_results(sheet: Sheet) -> bool:
    first = next((row for row in sheet.rows if any(row)), ())
    return trimmed(first) == (_RESULTS,) and any(
        table is not None for index in range(len(sheet.rows)) for table in [table_at(sheet.rows, index)]
    )


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate: one read a wavelength, as measured.

    Raises
    ------
    SourceFileError
        No table holds absorbance, a table is cut off, or wells hold words no reader writes.
    """
    reads = [
        read_table(
            one.table,
            plate_id=one.plate,
            wavelength_nm=one.wavelength_nm,
            acquired_at=one.acquired_at,
            place=f"File '{file_name}', sheet '{one.sheet}', row {one.table.line + 1}.",
        )
        for one in tables_of(sheets, stem=stem)
        if one.table.corner == MEASURED and not one.table.is_blank
    ]
    if not reads:
        raise SourceFileError(
            what="The SkanIt workbook holds no table of absorbance ('Abs').",
            where=f"File '{file_name}'.",
            remedy="Include the absorbance step in the report; other modes are not understood.",
        )
    return by_plate(reads)


def tables_of(sheets: Sequence[Sheet], *, stem: str) -> Iterator[SkanItTable]:
    """Find every table of the results sheets, with what stands above it."""
    for sheet in sheets:
        if _is_results(sheet):
            yield from _tables_in(sheet, stem)


def _tables_in(sheet: Sheet, stem: str) -> Iterator[SkanItTable]:
    heads = [trimmed(row) for row in sheet.rows[:5]]
    acquired_at = heads[2][0] if len(heads) > 2 and heads[2] else ""
    step = heads[4][0] if len(heads) > 4 and heads[4] else sheet.name
    wavelength_nm: float | None = None
    plate = ""
    row = 5
    while row < len(sheet.rows):
        table = table_at(sheet.rows, row)
        if table is not None:
            yield SkanItTable(
                sheet=sheet.name,
                step=step,
                plate=plate or stem,
                wavelength_nm=wavelength_nm,
                acquired_at=acquired_at,
                table=table,
            )
            row = table.end
            continue
        cells = trimmed(sheet.rows[row])
        if len(cells) == 1 and cells[0]:
            found = _WAVELENGTH.fullmatch(cells[0])
            if found:
                wavelength_nm = float(found[1].replace(",", "."))
            else:
                plate = cells[0]
        row += 1
