"""SoftMax Pro text exports.

Knows the blocks of that format: plates in plate or time layout, reduced copies, group tables with their masks. Must not know
layouts or maps of ours; the vendor's own concentrations are left where they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from biomarkers.elisa.plate import PlateRead, WellPosition, WellRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.readings import parse_number, parse_reading

_PLATE_SHAPES = {24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}

_NAME, _LAYOUT, _READ_TYPE, _MODE, _DATA_TYPE, _WAVELENGTH_COUNT, _WAVELENGTHS = 1, 3, 4, 5, 6, 14, 15
_FIRST_COLUMN, _COLUMNS, _WELLS, _FIRST_ROW, _ROWS = 16, 17, 18, 19, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One block of the export, from its first line to its ``~End``."""

    kind: str
    line: int
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlateHeader:
    name: str
    by_well: bool
    wavelengths_nm: tuple[float, ...]
    rows: int
    columns: int
    first_row: int
    first_column: int
    read_rows: int
    read_columns: int


def recognise(text: str) -> bool:
    """Whether a text is a SoftMax Pro export: it says how many blocks it has, or begins with a plate of known layout."""
    start = text.lstrip("\ufeff \t\r\n")[:200]
    return bool(re.match(r"##BLOCKS=\s*\d+", start) or re.match(r"Plate:\t[^\t]*\t[\d.]+\t(Plate|Time)Format\t", start))


def read(text: str, *, file_name: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate of an export: per plate, one read a wavelength.

    Plates keep the names the export gives them; equal names are told apart by the caller. Wells masked in a group table keep
    their number and are flagged; the table's name is the reason.

    Raises
    ------
    SourceFileError
        The export is cut off, holds no plate, or holds kinetic or spectral data.
    """
    sections = tuple(_sections(text, file_name))
    masks = _masks(sections)
    plates = tuple(
        tuple(_masked(one, masks.get(index, {})) for one in _plate_reads(section, _plate_header(section, file_name), file_name))
        for index, section in enumerate(sections)
        if section.kind == "Plate"
    )
    if not plates:
        raise SourceFileError(
            what="The SoftMax Pro export holds no plate.",
            where=f"File '{file_name}'.",
            remedy="Include the plate sections when exporting.",
        )
    return plates


def _sections(text: str, file_name: str) -> Iterator[_Section]:
    announced: int | None = None
    count = 0
    kind, first, rows = "", 0, []  # type: str, int, list[tuple[str, ...]]
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        cells = tuple(cell.strip().strip('"') for cell in line.split("\t"))
        started = re.match(r"(Plate|Group|Note|Graph|Cuvette Set|Introduction|Experiment)s?:", cells[0])
        if announced is None and cells[0].startswith("##BLOCKS="):
            announced = _announced(cells[0])
        elif not kind and started:
            kind, first, rows = started[1], number, [cells]
        elif kind and cells[0] == "~End":
            yield _Section(kind=kind, line=first, rows=tuple(rows))
            kind, count = "", count + 1
        elif kind:
            rows.append(cells)
    if kind or (announced is not None and count < announced):
        told = f"the block in line {first} has no '~End'" if kind else f"{count} of {announced} blocks are there"
        raise SourceFileError(
            what=f"The SoftMax Pro export is cut off: {told}.",
            where=f"File '{file_name}'.",
            remedy="Export it again and drop the new file.",
        )


def _announced(cell: str) -> int | None:
    found = re.search(r"\d+", cell)
    return None if found is None else int(found[0])


def _plate_header(section: _Section, file_name: str) -> _PlateHeader:
    cells = (*section.rows[0], *[""] * (_ROWS + 1))
    where = f"File '{file_name}', line {section.line}, plate '{cells[_NAME]}'."
    if cells[_READ_TYPE] != "Endpoint":
        raise SourceFileError(
            what=f"The plate holds a read of type '{cells[_READ_TYPE]}'; only endpoint reads give one number a well.",
            where=where,
            remedy="Export an endpoint read.",
        )
    if cells[_MODE] != "Absorbance":
        raise SourceFileError(
            what=f"The plate was read in the mode '{cells[_MODE]}'; only absorbance is understood.",
            where=where,
            remedy="Export an absorbance read.",
        )
    numbers = [_whole(cells[index]) for index in (_FIRST_COLUMN, _COLUMNS, _WELLS, _FIRST_ROW, _ROWS)]
    first_column, columns, wells, first_row, rows = numbers
    shape = _PLATE_SHAPES.get(wells or 0)
    wavelengths = tuple(parse_number(part) for part in cells[_WAVELENGTHS].split())
    stated = _whole(cells[_WAVELENGTH_COUNT])
    if (
        shape is None
        or cells[_LAYOUT] not in ("PlateFormat", "TimeFormat")
        or first_column is None
        or columns is None
        or first_row is None
        or rows is None
        or not (0 < first_column <= first_column + columns - 1 <= shape[1])
        or not (0 < first_row <= first_row + rows - 1 <= shape[0])
        or not wavelengths
        or None in wavelengths
        or len(wavelengths) != stated
    ):
        raise SourceFileError(
            what="The plate's first line does not say its layout, wavelengths, rows and columns as SoftMax Pro writes them.",
            where=where,
            remedy="Export it again without changing the text.",
        )
    return _PlateHeader(
        name=cells[_NAME] or "Plate",
        by_well=cells[_LAYOUT] == "TimeFormat",
        wavelengths_nm=tuple(one for one in wavelengths if one is not None),
        rows=shape[0],
        columns=shape[1],
        first_row=first_row - 1,
        first_column=first_column - 1,
        read_rows=rows,
        read_columns=columns,
    )


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,4}", text) else None


def _plate_reads(section: _Section, header: _PlateHeader, file_name: str) -> Iterator[PlateRead]:
    where = f"File '{file_name}', plate '{header.name}' in line {section.line}."
    table = section.rows[1:]
    grids = _by_well(table, header, where) if header.by_well else _by_plate(table, header, where)
    for wavelength_nm, texts in zip(header.wavelengths_nm, grids, strict=True):
        yield PlateRead(
            plate_id=header.name,
            rows=header.rows,
            columns=header.columns,
            wavelength_nm=wavelength_nm,
            reference_nm=None,
            acquired_at="",
            wells=tuple(
                _well_read(WellPosition(row=row, column=column), texts.get(WellPosition(row=row, column=column), ""), where)
                for row in range(header.rows)
                for column in range(header.columns)
            ),
        )


def _well_read(position: WellPosition, text: str, where: str) -> WellRead:
    found = parse_reading(text)
    if found is None:
        raise SourceFileError(
            what=f"The well {position} holds '{text}', which is neither a number nor a word SoftMax Pro writes.",
            where=where,
            remedy="Export it again without changing the text.",
        )
    reason = "masked in the export's plate table" if found.flag == "masked" else ""
    return WellRead(position=position, raw_text=text, value=found.value, flag=found.flag, mask_reason=reason)


def _raw_rows(table: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Rows of the raw block: those after its header up to the header of the reduced copy."""
    for row in table[1:]:
        if _is_header(row):
            return
        yield row


def _is_header(row: tuple[str, ...]) -> bool:
    return not any(row[:2]) and len(row) > 2 and (row[2] == "1" or WellPosition.parse(row[2]) is not None)


def _by_well(table: Sequence[tuple[str, ...]], header: _PlateHeader, where: str) -> list[dict[WellPosition, str]]:
    """Time layout: a column a well, a row a wavelength."""
    positions = {index: WellPosition.parse(cell) for index, cell in enumerate(table[0][2:], start=2) if cell} if table else {}
    rows = [row for row in _raw_rows(table) if any(row[1:])]
    expected = header.read_rows * header.read_columns
    named = {position for position in positions.values() if position is not None}
    if len(rows) != len(header.wavelengths_nm) or len(named) < expected or None in positions.values():
        raise _incomplete(where, f"{len(rows)} rows of {len(named)} wells", f"{len(header.wavelengths_nm)} of {expected}")
    return [
        {position: row[index] for index, position in positions.items() if position is not None and index < len(row)}
        for row in rows
    ]


def _by_plate(table: Sequence[tuple[str, ...]], header: _PlateHeader, where: str) -> list[dict[WellPosition, str]]:
    """Plate layout: the plate's shape, one block a wavelength side by side."""
    blocks = _column_blocks(table[0] if table else ())
    rows = [row for _, row in zip(range(header.read_rows), _raw_rows(table), strict=False)]
    filled = [row for row in rows if any(row[2:])]
    if len(blocks) != len(header.wavelengths_nm) or len(rows) < header.read_rows or not filled:
        raise _incomplete(
            where, f"{len(blocks)} blocks of {len(rows)} rows", f"{len(header.wavelengths_nm)} of {header.read_rows}"
        )
    return [
        {
            WellPosition(row=header.first_row + offset, column=column): row[index]
            for offset, row in enumerate(rows)
            for index, column in block.items()
            if index < len(row)
        }
        for block in blocks
    ]


def _incomplete(where: str, found: str, expected: str) -> SourceFileError:
    return SourceFileError(
        what=f"The plate's table is incomplete: {found} where there must be {expected}.",
        where=where,
        remedy="Export the raw data again and drop the new file.",
    )


def _column_blocks(header: Sequence[str]) -> list[dict[int, int]]:
    """Cell index to plate column, one mapping a wavelength; an empty cell divides the blocks."""
    numbered = [(index, _whole(cell)) for index, cell in enumerate(header) if index >= 2]
    return [
        {index: column - 1 for index, column in block if column is not None}
        for present, grouped in groupby(numbered, key=lambda item: item[1] is not None)
        if present
        for block in [list(grouped)]
    ]


_Masks = dict[WellPosition, str]


def _masks(sections: Sequence[_Section]) -> dict[int, _Masks]:
    """Masked wells by the index of their plate's section.

    A group table belongs to the plate it names, else to the plate before it, as SoftMax Pro writes them in an experiment.
    """
    masks: dict[int, _Masks] = defaultdict(dict)
    plates: list[int] = []
    for index, section in enumerate(sections):
        if section.kind == "Plate":
            plates.append(index)
        elif section.kind == "Group" and plates:
            for well, plate_name in _masked_in_group(section):
                named = [one for one in plates if sections[one].rows[0][_NAME] == plate_name]
                plate = named[-1] if named else plates[-1]
                masks[plate][well] = f"masked in SoftMax Pro, group '{section.rows[0][0].partition(':')[2].strip()}'"
    return masks


def _masked_in_group(section: _Section) -> Iterator[tuple[WellPosition, str]]:
    header = next((row for row in section.rows[1:] if "Wells" in row), None)
    if header is None:
        return
    wells, value = header.index("Wells"), _value_column(section, header)
    plate = header.index("WellPlateName") if "WellPlateName" in header else None
    for row in section.rows:
        position = WellPosition.parse(row[wells]) if len(row) > wells else None
        if position is not None and len(row) > value and row[value].casefold() == "masked":
            yield position, row[plate] if plate is not None and plate < len(row) else ""


def _value_column(section: _Section, header: Sequence[str]) -> int:
    """Column of the wells' own readings: the one whose formula is !WellValues; else the one after the wells' names."""
    name = next((row[1] for row in section.rows if len(row) > 2 and row[2] == "!WellValues"), None)
    return header.index(name) if name in header else header.index("Wells") + 1


def _masked(plate: PlateRead, masks: _Masks) -> PlateRead:
    if not masks:
        return plate
    wells = tuple(
        replace(well, flag="masked", mask_reason=masks[well.position])
        if well.position in masks and well.flag in ("", "masked")
        else well
        for well in plate.wells
    )
    return replace(plate, wells=wells)
