"""Plain plate grids and well lists in CSV, TSV and XLSX.

Knows a plate drawn as rows of letters and columns of numbers, and a list with one well a row. Must not accept a file of unknown
structure: whatever stands beside the grids must be one of the few notes named here, else the file is not recognised.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from biomarkers.elisa.plate import PlateRead, WellPosition
from biomarkers.errors import Fault, SourceFileError
from biomarkers.readers.plate_reads.plate_tables import MOST_FAULTS, SHAPES, by_plate, read_table, table_at, trimmed, well_reads
from biomarkers.readers.plate_reads.readings import parse_number
from biomarkers.readers.sheets import Sheet

_WAVELENGTH = re.compile(r"(?:wavelength:?\s*|abs(?:orbance)?\s*|od\s*|a\s*)?(\d{3,4})(?:[.,]0+)?\s*(?:nm)?", re.IGNORECASE)

_NOTE_KEYS = {
    "plate": "plate", "plate_id": "plate", "plate id": "plate", "plate name": "plate", "barcode": "plate",
    "wavelength": "wavelength", "wavelength_nm": "wavelength", "wavelength (nm)": "wavelength", "wavelength [nm]": "wavelength",
    "reference": "reference", "reference_nm": "reference", "reference (nm)": "reference", "reference wavelength": "reference",
    "date": "date", "acquired_at": "date", "read_at": "date", "read at": "date", "date/time": "date", "time": "time",
}  # fmt: skip

_WELL_NAMES = frozenset({"well", "wells", "well id", "well_id", "well position", "well positions", "position", "well name"})
_PLATE_NAMES = frozenset({"plate", "plate_id", "plate id", "plate name", "barcode"})
_VALUE_NAMES = frozenset({"od", "value", "absorbance", "abs", "raw", "raw data", "reading", "response", "result"})
_WAVELENGTH_NAMES = frozenset({"wavelength", "wavelength_nm", "wavelength (nm)", "wavelength [nm]"})


@dataclass(slots=True, kw_only=True)
class _Notes:
    """What the lines before a grid said; plate and date stay in force, the wavelength belongs to the next grid."""

    plate: str = ""
    wavelength_nm: float | None = None
    reference_nm: float | None = None
    acquired: list[str] = field(default_factory=list)


def recognise(sheets: Sequence[Sheet]) -> bool:
    """Whether every sheet that holds anything is plain grids with known notes, or a list with one well a row."""
    filled = [sheet for sheet in sheets if any(any(row) for row in sheet.rows)]
    return bool(filled) and all(_is_list(sheet) or _is_grids(sheet) for sheet in filled)


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate: per plate, one read a wavelength; a plate without a name takes the file's stem.

    Grids of one name are one plate as long as each brings a new wavelength; a wavelength that comes again begins another.

    Raises
    ------
    SourceFileError
        A grid is cut off, a well stands twice, or wells hold words no reader writes; all such wells are named.
    """
    reads: list[PlateRead] = []
    for sheet in sheets:
        if any(any(row) for row in sheet.rows):
            where = f"File '{file_name}'" + (f", sheet '{sheet.name}'" if sheet.name else "")
            reads.extend(_list_reads(sheet, where, stem) if _is_list(sheet) else _grid_reads(sheet, where, stem))
    return by_plate(reads)


def _is_grids(sheet: Sheet) -> bool:
    found = titles = 0
    row = 0
    while row < len(sheet.rows):
        table = table_at(sheet.rows, row)
        if table is not None:
            if not table.has_number:
                return False  # a grid of words is a layout or an annotation
            found, titles = found + 1, 0
            row = table.end
            continue
        cells = trimmed(sheet.rows[row])
        if cells and not _is_note(cells):
            titles += 1
            if titles > 1 or len(cells) != 1:
                return False
        row += 1
    return found > 0


def _is_note(cells: Sequence[str]) -> bool:
    return len(cells) == 2 and cells[0].rstrip(":").casefold() in _NOTE_KEYS


def _grid_reads(sheet: Sheet, where: str, stem: str) -> Iterator[PlateRead]:
    notes = _Notes()
    row = 0
    while row < len(sheet.rows):
        table = table_at(sheet.rows, row)
        if table is None:
            _take_note(trimmed(sheet.rows[row]), notes)
            row += 1
            continue
        _take_corner(table.corner, notes)
        yield read_table(
            table,
            plate_id=notes.plate or stem,
            wavelength_nm=notes.wavelength_nm,
            reference_nm=notes.reference_nm,
            acquired_at=" ".join(notes.acquired),
            place=f"{where}, row {row + 1}.",
        )
        notes.wavelength_nm = notes.reference_nm = None
        row = table.end


def _take_note(cells: Sequence[str], notes: _Notes) -> None:
    if len(cells) == 1:
        wavelength = wavelength_in(cells[0])
        if wavelength is not None:
            notes.wavelength_nm = wavelength
        else:
            notes.plate = cells[0]
    elif len(cells) == 2:
        match _NOTE_KEYS[cells[0].rstrip(":").casefold()]:
            case "plate":
                notes.plate = cells[1]
            case "wavelength":
                notes.wavelength_nm = wavelength_in(cells[1])
            case "reference":
                notes.reference_nm = wavelength_in(cells[1])
            case _:
                notes.acquired.append(cells[1])


def _take_corner(cell: str, notes: _Notes) -> None:
    wavelength = wavelength_in(cell)
    if wavelength is not None:
        notes.wavelength_nm = wavelength


def wavelength_in(text: str) -> float | None:
    """Return the wavelength in nm that a label such as ``OD450`` or ``Wavelength: 450 nm`` names; None where it names none."""
    found = _WAVELENGTH.fullmatch(text.strip())
    return float(found[1]) if found and 200 <= float(found[1]) <= 1100 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListColumns:
    header: int
    well: int
    plate: int | None
    wavelength: int | None
    values: tuple[tuple[int, float | None], ...]


def _is_list(sheet: Sheet) -> bool:
    columns = _list_columns(sheet)
    if columns is None:
        return False
    below = [row for row in sheet.rows[columns.header + 1 :] if any(row)]
    # A remark under the list has no well; then the list is not plain.
    return bool(below) and all(len(row) > columns.well and row[columns.well] for row in below)


def _list_columns(sheet: Sheet) -> _ListColumns | None:
    """Columns of a well list, whose header is the sheet's first row that holds anything."""
    header = next((index for index, row in enumerate(sheet.rows) if any(row)), None)
    if header is None:
        return None
    names = [cell.casefold() for cell in sheet.rows[header]]
    wells = [index for index, name in enumerate(names) if name in _WELL_NAMES]
    wavelength = next((index for index, name in enumerate(names) if name in _WAVELENGTH_NAMES), None)
    values = tuple(
        (index, wavelength_in(name)) for index, name in enumerate(names) if name in _VALUE_NAMES or wavelength_in(name)
    )
    if len(wells) != 1 or not values or (wavelength is not None and len(values) > 1):
        return None
    plate = next((index for index, name in enumerate(names) if name in _PLATE_NAMES), None)
    return _ListColumns(header=header, well=wells[0], plate=plate, wavelength=wavelength, values=values)


@dataclass(frozen=True, slots=True)
class _ReadKey:
    plate: str
    wavelength_nm: float | None


def _list_reads(sheet: Sheet, where: str, stem: str) -> Iterator[PlateRead]:
    columns = _list_columns(sheet)
    assert columns is not None
    texts: dict[_ReadKey, dict[WellPosition, str]] = defaultdict(dict)
    faults: list[Fault] = []
    for number, row in enumerate(sheet.rows[columns.header + 1 :], start=columns.header + 2):
        cells = (*row, *[""] * len(sheet.rows[columns.header]))
        if not any(cells):
            continue
        if len(faults) >= MOST_FAULTS:
            break
        position = WellPosition.parse(cells[columns.well])
        place = f"{where}, row {number}."
        if position is None:
            faults.append(Fault(where=place, what=f"'{cells[columns.well]}' is no well.", remedy="Write it like A1 or H12."))
            continue
        plate = cells[columns.plate] if columns.plate is not None else ""
        for index, named in columns.values:
            wavelength = parse_number(cells[columns.wavelength]) if columns.wavelength is not None else named
            wells = texts[_ReadKey(plate or stem, wavelength)]
            if position in wells:
                faults.append(
                    Fault(where=place, what=f"Well {position} is listed twice.", remedy="Give each plate its own name.")
                )
            wells[position] = cells[index]
    if faults or not texts:
        faults = faults or [Fault(where=f"{where}.", what="The list holds no well.", remedy="Export the plate again.")]
        raise SourceFileError.gathered(faults)
    for key, wells in texts.items():
        yield _list_read(key, wells, where)


def _list_read(key: _ReadKey, texts: Mapping[WellPosition, str], where: str) -> PlateRead:
    place = f"{where}, plate '{key.plate}'."
    shape = next(
        (one for one in SHAPES if all(well.row < one[0] and well.column < one[1] for well in texts)),
        None,
    )
    if shape is None:
        raise SourceFileError(what="The wells lie outside a plate of 384 wells.", where=place, remedy="Check the wells' names.")
    return PlateRead(
        plate_id=key.plate,
        rows=shape[0],
        columns=shape[1],
        wavelength_nm=key.wavelength_nm,
        reference_nm=None,
        acquired_at="",
        wells=well_reads(texts, place),
    )
