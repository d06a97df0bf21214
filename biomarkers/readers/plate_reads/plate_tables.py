"""Tables drawn as a plate inside an export: 1 to 12 (or 24) across, A to H (or P) down.

Knows that shape and what becomes of each well's text. Must not know any vendor, nor what stands around the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from biomarkers.elisa.plate import PlateRead, WellPosition, WellRead, row_index
from biomarkers.errors import Fault, SourceFileError
from biomarkers.readers.plate_reads.readings import LONGEST_WORD, parse_number, parse_reading

SHAPES = ((8, 12), (16, 24))
"""Rows and columns of the plates immunoassays use."""

MOST_FAULTS = 96
"""After so many faults a table is of another kind than it seems; naming more helps nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateTable:
    """One table as it stands in the file.

    Attributes
    ----------
    corner
        The cell above the row letters.
    line
        Index of the header row.
    columns
        Plate columns the header counts.
    rows
        The lettered rows with their letter; fewer than the plate has where the file is cut off.
    """

    corner: str
    line: int
    columns: int
    rows: tuple[tuple[str, ...], ...]

    @property
    def end(self) -> int:
        """Index of the first row below the table."""
        return self.line + 1 + len(self.rows)

    @property
    def plate_rows(self) -> int:
        """Rows a plate with so many columns has."""
        return next(rows for rows, columns in SHAPES if columns == self.columns)

    @property
    def has_number(self) -> bool:
        """Whether any well holds a number; a table of words is a layout or an annotation."""
        return any(parse_number(cell) is not None for cells in self.rows for cell in cells[1 : self.columns + 1])

    @property
    def holds_names(self) -> bool:
        """Whether most filled wells hold something no reader writes: a layout whose names may be numbers now and then."""
        filled = [cell for cells in self.rows for cell in cells[1 : self.columns + 1] if cell]
        return 2 * sum(parse_reading(cell) is None for cell in filled) > len(filled)

    @property
    def is_blank(self) -> bool:
        """Whether no well holds anything."""
        return not any(cell for cells in self.rows for cell in cells[1 : self.columns + 1])

    def texts(self) -> dict[WellPosition, str]:
        """Text of every well; empty where the row is shorter than the plate."""
        return {
            WellPosition(row=row, column=column): cells[column + 1] if column + 1 < len(cells) else ""
            for row, cells in enumerate(self.rows)
            for column in range(self.columns)
        }


def trimmed(row: Sequence[str]) -> tuple[str, ...]:
    """Return a row without the empty cells at its end."""
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return tuple(row[:end])


def header_columns(row: Sequence[str]) -> int:
    """How many plate columns a row of numbers heads, 0 where it is none: a corner cell, then 1, 2, 3 ... to the plate's end."""
    numbers = [int(cell) if re.fullmatch(r"0?\d{1,2}", cell, re.ASCII) else None for cell in trimmed(row)[1:]]
    return len(numbers) if len(numbers) in (12, 24) and numbers == list(range(1, len(numbers) + 1)) else 0


def table_at(rows: Sequence[Sequence[str]], line: int) -> PlateTable | None:
    """Take the table whose header is the given row; None where that row heads none."""
    columns = header_columns(rows[line])
    if not columns:
        return None
    lettered: list[tuple[str, ...]] = []
    for cells in rows[line + 1 : line + 17]:
        if not cells or row_index(cells[0]) != len(lettered):
            break
        lettered.append(tuple(cells))
    return PlateTable(corner=rows[line][0], line=line, columns=columns, rows=tuple(lettered))


def require_whole(table: PlateTable, place: str) -> None:
    """Refuse a table that lacks rows of its plate.

    Raises
    ------
    SourceFileError
        The file breaks off within the table.
    """
    if len(table.rows) != table.plate_rows:
        raise SourceFileError(
            what=f"The grid has {len(table.rows)} rows where a plate with {table.columns} columns has {table.plate_rows}.",
            where=place,
            remedy="The file may be cut off; export it again and drop the new file.",
        )


def read_table(
    table: PlateTable,
    *,
    plate_id: str,
    wavelength_nm: float | None,
    place: str,
    reference_nm: float | None = None,
    acquired_at: str = "",
) -> PlateRead:
    """Make a read of a table.

    Raises
    ------
    SourceFileError
        The table is cut off, or wells hold words no reader writes; all such wells are named.
    """
    require_whole(table, place)
    return PlateRead(
        plate_id=plate_id,
        rows=table.plate_rows,
        columns=table.columns,
        wavelength_nm=wavelength_nm,
        reference_nm=reference_nm,
        acquired_at=acquired_at,
        wells=well_reads(table.texts(), place),
    )


def well_reads(texts: Mapping[WellPosition, str], place: str) -> tuple[WellRead, ...]:
    """Understand the texts of a plate's wells.

    Raises
    ------
    SourceFileError
        Wells hold words no reader writes, all of them named; or no well holds a reading.
    """
    wells, faults = [], []
    for position in sorted(texts):
        found = parse_reading(texts[position])
        if found is None:
            faults.append(
                Fault(
                    where=f"{place[:-1]}, well {position}.",
                    what=(
                        f"The well holds '{texts[position][:LONGEST_WORD]}', which is neither a number nor a word a plate "
                        "reader writes."
                    ),
                    remedy="Correct the cell, or export the plate again.",
                )
            )
            continue
        reason = "marked in the export" if found.flag == "masked" else ""
        wells.append(
            WellRead(
                position=position,
                raw_text=texts[position],
                value=found.value,
                flag=found.flag,
                mask_reason=reason,
                is_mask_explained=not reason,
            )
        )
    if faults:
        raise SourceFileError.gathered(faults[:MOST_FAULTS])
    if all(well.flag == "missing" for well in wells):
        raise SourceFileError(
            what="No well of the plate holds a reading.", where=place, remedy="Export the plate's raw data again."
        )
    return tuple(wells)


def is_readable(texts: Mapping[WellPosition, str]) -> bool:
    """Whether every well's text is understood and one of them is a number, as in a table an instrument's software computed."""
    readings = [parse_reading(text) for text in texts.values()]
    return None not in readings and any(one is not None and one.value is not None for one in readings)


def by_plate(reads: Sequence[PlateRead]) -> tuple[tuple[PlateRead, ...], ...]:
    """Group reads of equal name as one plate as long as each brings a new wavelength; one that comes again begins another."""
    plates: list[list[PlateRead]] = []
    latest: dict[str, list[PlateRead]] = {}
    for one in reads:
        plate = latest.get(one.plate_id)
        if plate is None or any(_same_kind(other, one) for other in plate):
            plate = []
            plates.append(plate)
            latest[one.plate_id] = plate
        plate.append(one)
    return tuple(tuple(plate) for plate in plates)


def _same_kind(one: PlateRead, other: PlateRead) -> bool:
    return one.wavelength_nm == other.wavelength_nm and one.reference_nm == other.reference_nm


def told_apart(plates: Iterable[tuple[PlateRead, ...]]) -> tuple[PlateRead, ...]:
    """Give plates of equal name numbers: ``Plate1``, ``Plate1#2``."""
    grouped = tuple(plates)
    names = numbered(reads[0].plate_id for reads in grouped)
    return tuple(replace(read, plate_id=name) for reads, name in zip(grouped, names, strict=True) for read in reads)


def numbered(names: Iterable[str]) -> tuple[str, ...]:
    """Give names that come again numbers, so that each is there once.

    Examples
    --------
    >>> numbered(["a", "b", "a", "a#2"])
    ('a', 'b', 'a#2', 'a#2#2')
    """
    given: set[str] = set()
    latest: dict[str, int] = {}
    found = []
    for name in names:
        chosen = name
        while chosen in given:
            latest[name] = latest.get(name, 1) + 1
            chosen = f"{name}#{latest[name]}"
        given.add(chosen)
        found.append(chosen)
    return tuple(found)
