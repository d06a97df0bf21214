"""SoftMax Pro text exports.

Knows the blocks of that format: plates in plate or time layout, reduced copies, group tables with their masks. Must not know
layouts or maps of ours; the vendor's own concentrations are left where they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile

from biomarkers.elisa.plate import PlateRead, WellPosition, WellRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.differences import differences
from biomarkers.readers.plate_reads.plate_tables import is_readable
from biomarkers.readers.plate_reads.readings import LONGEST_WORD, parse_number, parse_reading
from biomarkers.readers.sheets import Sheet

MOST_PLATES = 2000

_PLATE_SHAPES = {24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}

_NAME, _LAYOUT, _READ_TYPE, _MODE, _DATA_TYPE, _WAVELENGTH_COUNT, _WAVELENGTHS = 1, 3, 4, 5, 6, 14, 15
_FIRST_COLUMN, _COLUMNS, _WELLS, _FIRST_ROW, _ROWS = 16, 17, 18, 19, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One block of the export, from its first line to its ``~End``."""

    kind: str
    line: int
    rows: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """A plate's name, or a group's."""
        return self.rows[0][_NAME] if self.kind == "Plate" else self.rows[0][0].partition(":")[2].strip()

    def column(self, formula: str) -> str:
        """Name of the group column with a formula such as ``!WellIDs``; empty where the group lists none."""
        return next((row[1] for row in self.rows if len(row) > 2 and row[2] == formula), "")


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
    reduced: bool


def recognise(text: str) -> bool:
    """Whether a text is a SoftMax Pro export: it says how many blocks it has, or begins with a plate of known layout."""
    start = text[:4000].lstrip("\ufeff \t\r\n")[:200]
    return bool(re.match(r"##BLOCKS=\s*\d+", start) or re.match(r"Plate:\t[^\t]*\t[\d.]+\t(Plate|Time)Format\t", start))


def text_in(sheets: Sequence[Sheet]) -> str:
    """Return the text of a SoftMax Pro export that was saved as a workbook; empty where the sheets are none."""
    for sheet in sheets:
        text = "\n".join("\t".join(row) for row in sheet.rows)
        if recognise(text):
            return text
    return ""


def read(text: str, *, file_name: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate of an export: per plate, one read a wavelength, and one more where a reference is already subtracted.

    An export of reduced values alone gives one read; at several wavelengths it does not say how they were reduced, and the read
    has no wavelength. Plates keep the names the export gives them; equal names are told apart by the caller. Wells masked in a
    group table keep their number and are flagged; the table's name is the reason.

    Raises
    ------
    SourceFileError
        The export is cut off, holds no plate, or holds kinetic or spectral data.
    """
    sections = tuple(sections_of(text, file_name))
    if sum(section.kind == "Plate" for section in sections) > MOST_PLATES:
        raise SourceFileError(
            what=f"The SoftMax Pro export holds more than {MOST_PLATES} plates, more than any experiment.",
            where=f"File '{file_name}'.",
            remedy="Check that this is the file you meant.",
        )
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


def sections_of(text: str, file_name: str) -> Iterator[Section]:
    """Divide an export into its blocks.

    Raises
    ------
    SourceFileError
        A block has no end, or fewer blocks are there than the first line announces.
    """
    announced: int | None = None
    count = 0
    kind, first, rows = "", 0, []  # type: str, int, list[tuple[str, ...]]
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.lstrip("\ufeff")), start=1):
        cells = tuple(cell.strip().strip('"') for cell in line.split("\t"))
        started = re.match(r"(Plate|Group|Note|Graph|Cuvette Set|Introduction|Experiment)s?:", cells[0])
        if announced is None and cells[0].startswith("##BLOCKS="):
            announced = _announced(cells[0])
        elif not kind and started:
            kind, first, rows = started[1], number, [cells]
        elif kind and cells[0] == "~End":
            yield Section(kind=kind, line=first, rows=tuple(rows))
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
    found = re.search(r"\d{1,9}", cell)
    return None if found is None else int(found[0])


def _plate_header(section: Section, file_name: str) -> _PlateHeader:
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
        reduced=cells[_DATA_TYPE].casefold() == "reduced",
    )


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,4}", text) else None


def _plate_reads(section: Section, header: _PlateHeader, file_name: str) -> Iterator[PlateRead]:
    where = f"File '{file_name}', plate '{header.name}' in line {section.line}."
    measured, reduced = _divided(section.rows[1:])
    if header.reduced or (reduced and not _holds_anything(measured)):
        only = header.wavelengths_nm[0] if len(header.wavelengths_nm) == 1 else None
        (texts,) = _grids(reduced or measured, header, 1, where)
        yield _plate_read(header, only, texts, where)
        return
    grids = _grids(measured, header, len(header.wavelengths_nm), where)
    raw = [_plate_read(header, nm, texts, where) for nm, texts in zip(header.wavelengths_nm, grids, strict=True)]
    yield from raw
    if reduced and len(raw) > 1:
        (texts,) = _grids(reduced, header, 1, where)
        if is_readable(texts):
            yield from differences([_plate_read(header, None, texts, where)], raw)


def _plate_read(header: _PlateHeader, wavelength_nm: float | None, texts: _Texts, where: str) -> PlateRead:
    return PlateRead(
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
            what=f"The well {position} holds '{text[:LONGEST_WORD]}', which is neither a number nor a word SoftMax Pro writes.",
            where=where,
            remedy="Export it again without changing the text.",
        )
    reason = "masked in the export's plate table" if found.flag == "masked" else ""
    return WellRead(
        position=position,
        raw_text=text,
        value=found.value,
        flag=found.flag,
        mask_reason=reason,
        is_mask_explained=not reason,
    )


_Table = Sequence[tuple[str, ...]]
_Texts = dict[WellPosition, str]


def _divided(table: _Table) -> tuple[_Table, _Table]:
    """Divide a plate's table at the header of the reduced copy: the block as measured, and that copy or nothing."""
    second = next((index for index, row in enumerate(table) if index and _is_header(row)), len(table))
    return table[:second], table[second:]


def _holds_anything(table: _Table) -> bool:
    return any(any(row[2:]) for row in table[1:])


def _grids(table: _Table, header: _PlateHeader, blocks: int, where: str) -> list[_Texts]:
    return _by_well(table, header, blocks, where) if header.by_well else _by_plate(table, header, blocks, where)


def _is_header(row: tuple[str, ...]) -> bool:
    """Whether a row numbers columns from 1, several of them, or names wells; a well can read exactly 1 as well."""
    cells = tuple(takewhile(bool, row[2:]))
    if any(row[:2]) or not cells:
        return False
    counted = tuple(str(number) for number in range(1, len(cells) + 1))
    return (len(cells) > 1 and cells == counted) or WellPosition.parse(cells[0]) is not None


def _by_well(table: _Table, header: _PlateHeader, blocks: int, where: str) -> list[_Texts]:
    """Time layout: a column a well, a row a wavelength."""
    positions = {index: WellPosition.parse(cell) for index, cell in enumerate(table[0][2:], start=2) if cell} if table else {}
    rows = [row for row in table[1:] if any(row[1:])]
    expected = header.read_rows * header.read_columns
    named = {position for position in positions.values() if position is not None}
    if len(rows) != blocks or len(named) < expected or None in positions.values():
        raise _incomplete(where, f"{len(rows)} rows of {len(named)} wells", f"{blocks} of {expected}")
    return [
        {position: row[index] for index, position in positions.items() if position is not None and index < len(row)}
        for row in rows
    ]


def _by_plate(table: _Table, header: _PlateHeader, blocks: int, where: str) -> list[_Texts]:
    """Plate layout: the plate's shape, one block a wavelength side by side."""
    columns = _column_blocks(table[0] if table else ())
    rows = table[1 : header.read_rows + 1]
    filled = [row for row in rows if any(row[2:])]
    if len(columns) != blocks or len(rows) < header.read_rows or not filled:
        raise _incomplete(where, f"{len(columns)} blocks of {len(rows)} rows", f"{blocks} of {header.read_rows}")
    return [
        {
            WellPosition(row=header.first_row + offset, column=column): row[index]
            for offset, row in enumerate(rows)
            for index, column in block.items()
            if index < len(row)
        }
        for block in columns
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


def _masks(sections: Sequence[Section]) -> dict[int, _Masks]:
    """Masked wells by the index of their plate's section.

    A group table belongs to the plate it names, else to the plate before it, as SoftMax Pro writes them in an experiment.
    """
    masks: dict[int, _Masks] = defaultdict(dict)
    latest = 0
    index_by_name: dict[str, int] = {}
    for index, section in enumerate(sections):
        if section.kind == "Plate":
            latest = index_by_name[section.name] = index
        elif section.kind == "Group" and index_by_name:
            for well, plate_name in _masked_in_group(section):
                masks[index_by_name.get(plate_name, latest)][well] = f"masked in SoftMax Pro, group '{section.name}'"
    return masks


def group_header(section: Section) -> tuple[str, ...] | None:
    """Return the row of column names of a group table: the first that names the column of the wells."""
    names = {section.column("!WellIDs"), "Wells", "Well"} - {""}
    return next((row for row in section.rows[1:] if names & set(row)), None)


def well_column(section: Section, header: Sequence[str]) -> int:
    """Index of the column that names the wells."""
    return next(header.index(name) for name in (section.column("!WellIDs"), "Wells", "Well") if name and name in header)


def _masked_in_group(section: Section) -> Iterator[tuple[WellPosition, str]]:
    header = group_header(section)
    if header is None:
        return
    wells, value = well_column(section, header), _value_column(section, header)
    plate = header.index("WellPlateName") if "WellPlateName" in header else None
    for row in section.rows:
        position = WellPosition.parse(row[wells]) if len(row) > wells else None
        if position is not None and len(row) > value and row[value].casefold() == "masked":
            yield position, row[plate] if plate is not None and plate < len(row) else ""


def _value_column(section: Section, header: Sequence[str]) -> int:
    """Column of the wells' own readings: the one whose formula is !WellValues; else the one after the wells' names."""
    name = section.column("!WellValues")
    return header.index(name) if name in header else well_column(section, header) + 1


def _masked(plate: PlateRead, masks: _Masks) -> PlateRead:
    if not masks:
        return plate
    wells = tuple(
        replace(well, flag="masked", mask_reason=masks[well.position], is_mask_explained=False)
        if well.position in masks and well.flag in ("", "masked")
        else well
        for well in plate.wells
    )
    return replace(plate, wells=wells)
