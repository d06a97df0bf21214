"""Plate layouts drawn as plates in CSV, and plate maps as CSV or XLSX lists.

Knows both file shapes and tells all their faults at once, each with its cell. Must not know which accessions or analytes exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from biomarkers.elisa.plate import LayoutWell, MapEntry, PlateLayout, PlateMap, WellPosition, WellRole, layout_faults, row_index
from biomarkers.errors import Fault, SourceFileError, StudyDefinitionError
from biomarkers.readers.plate_reads.readings import parse_number
from biomarkers.readers.sheets import Sheet, read_sheets

BLOCKS = ("role", "slot", "concentration", "dilution", "analyte")
"""Names in the top-left cells of a layout's blocks; only ``role`` is required."""

SHAPES = ((8, 12), (16, 24))

MAP_COLUMNS = ("plate_id", "layout", "analyte", "slot", "accession_id", "dilution_factor", "kit_lot")
REQUIRED_MAP_COLUMNS = ("plate_id", "layout", "slot", "accession_id")


def read_layout(path: Path) -> PlateLayout:
    """Read a layout; its name is the file's stem.

    Raises
    ------
    StudyDefinitionError
        Blocks, rows or cells are not what a layout holds; every fault is named with its well.
    """
    try:
        sheets = read_sheets(path)
    except SourceFileError as error:
        raise StudyDefinitionError(what=error.what, where=error.where, remedy=error.remedy) from error
    return parse_layout(sheets[0], name=path.stem)


def parse_layout(sheet: Sheet, *, name: str) -> PlateLayout:
    """Make a layout of a sheet of plate-shaped blocks.

    Raises
    ------
    StudyDefinitionError
        As for :func:`read_layout`.
    """
    faults: list[Fault] = []
    blocks = _blocks(sheet, name, faults)
    if "role" not in blocks and not faults:
        faults.append(
            Fault(
                where=f"Layout '{name}'.",
                what="The layout has no block 'role'.",
                remedy="Draw the plate with 'role' in the top-left cell, 1 to 12 beside it and A to H below it.",
            )
        )
    if faults:
        raise StudyDefinitionError.gathered(faults)
    rows, columns = _shape(blocks["role"])
    wells = [
        _layout_well(WellPosition(row=row, column=column), blocks, name, faults)
        for row in range(rows)
        for column in range(columns)
    ]
    layout = PlateLayout(name=name, rows=rows, columns=columns, wells=tuple(wells))
    faults.extend(layout_faults(layout))
    if faults:
        raise StudyDefinitionError.gathered(faults)
    return layout


def _shape(block: Mapping[WellPosition, str]) -> tuple[int, int]:
    return max(well.row for well in block) + 1, max(well.column for well in block) + 1


def _blocks(sheet: Sheet, name: str, faults: list[Fault]) -> dict[str, dict[WellPosition, str]]:
    blocks: dict[str, dict[WellPosition, str]] = {}
    row = 0
    while row < len(sheet.rows):
        cells = sheet.rows[row]
        if not any(cells):
            row += 1
            continue
        kind = cells[0].casefold()
        where = f"Layout '{name}', row {row + 1}."
        if kind not in BLOCKS or kind in blocks:
            told = f"a second block '{kind}'" if kind in blocks else f"'{cells[0]}'"
            faults.append(
                Fault(
                    where=where,
                    what=f"Found {told} where a block of the layout must begin.",
                    remedy=f"Begin each block once with one of {', '.join(BLOCKS)}, and leave a blank row between blocks.",
                )
            )
            return blocks
        end = row + 1
        while end < len(sheet.rows) and any(sheet.rows[end]):
            end += 1
        block = _block(sheet.rows[row:end], where, kind, faults)
        if block is None:
            return blocks
        blocks[kind] = block
        row = end
    if len({_shape(block) for block in blocks.values()}) > 1:
        faults.append(
            Fault(
                where=f"Layout '{name}'.",
                what="The blocks have different numbers of rows or columns.",
                remedy="Draw every block as the same plate.",
            )
        )
    return blocks


def _block(rows: Sequence[tuple[str, ...]], where: str, kind: str, faults: list[Fault]) -> dict[WellPosition, str] | None:
    header = [cell for cell in rows[0][1:] if cell]
    letters = [row_index(row[0]) for row in rows[1:]]
    shape = (len(letters), len(header))
    if shape not in SHAPES or header != [str(n) for n in range(1, len(header) + 1)] or letters != list(range(len(letters))):
        faults.append(
            Fault(
                where=where,
                what=f"The block '{kind}' is not drawn as a plate of 96 or 384 wells.",
                remedy="Write 1 to 12 (or 24) beside its name and A to H (or P) below it, without gaps.",
            )
        )
        return None
    return {
        WellPosition(row=row, column=column): cells[column + 1] if column + 1 < len(cells) else ""
        for row, cells in enumerate(rows[1:])
        for column in range(len(header))
    }


def _layout_well(
    position: WellPosition, blocks: Mapping[str, Mapping[WellPosition, str]], name: str, faults: list[Fault]
) -> LayoutWell:
    cells = {kind: blocks[kind].get(position, "") if kind in blocks else "" for kind in BLOCKS}
    where = f"Layout '{name}', well {position}."
    role = WellRole.EMPTY
    if cells["role"]:
        try:
            role = WellRole(cells["role"].upper())
        except ValueError:
            known = ", ".join(WellRole)
            faults.append(Fault(where=where, what=f"'{cells['role']}' is no role.", remedy=f"Use one of {known}."))
    concentration = _number(cells["concentration"], where, "concentration", faults)
    if concentration is not None and concentration < 0:
        faults.append(Fault(where=where, what="The concentration is below 0.", remedy="Correct it; the zero calibrator is 0."))
    dilution = _number(cells["dilution"], where, "dilution", faults)
    if dilution is not None and dilution <= 0:
        faults.append(
            Fault(
                where=where, what="The dilution factor is not above 0.", remedy="Write 4 for one part in four; 1 for undiluted."
            )
        )
    return LayoutWell(
        position=position,
        role=role,
        slot=cells["slot"],
        concentration=concentration,
        dilution=1.0 if dilution is None else dilution,
        analyte=cells["analyte"],
    )


def _number(text: str, where: str, what: str, faults: list[Fault]) -> float | None:
    if not text:
        return None
    number = parse_number(text)
    if number is None:
        faults.append(Fault(where=where, what=f"The {what} '{text}' is no number.", remedy="Write a plain number."))
    return number


def read_plate_map(path: Path) -> tuple[PlateMap, ...]:
    """Read a plate map, one :class:`PlateMap` a plate in the order of the file.

    Rows without an accession are slots left empty and are passed over.

    Raises
    ------
    SourceFileError
        Columns are missing or unknown, cells are empty or no number, a plate names two layouts; every fault has its row.
    """
    sheets = [sheet for sheet in read_sheets(path) if any(any(row) for row in sheet.rows)]
    if len(sheets) != 1:
        raise SourceFileError(
            what=f"The plate map has {len(sheets)} sheets that hold something; it must have one.",
            where=f"File '{path.name}'.",
            remedy="Keep the map's sheet alone.",
        )
    return parse_plate_map(sheets[0], file_name=path.name)


def parse_plate_map(sheet: Sheet, *, file_name: str) -> tuple[PlateMap, ...]:
    """Make plate maps of a sheet with one slot a row.

    Raises
    ------
    SourceFileError
        As for :func:`read_plate_map`.
    """
    header = next(index for index, row in enumerate(sheet.rows) if any(row))
    names = [cell.casefold() for cell in sheet.rows[header]]
    faults = list(_header_faults(names, file_name))
    if faults:
        raise SourceFileError.gathered(faults)
    entries: dict[str, list[MapEntry]] = {}
    layouts: dict[str, str] = {}
    for number, row in enumerate(sheet.rows[header + 1 :], start=header + 2):
        cells = {name: row[index] if index < len(row) else "" for index, name in enumerate(names) if name}
        if not any(cells.values()) or not cells["accession_id"]:
            continue
        where = f"File '{file_name}', row {number}."
        faults.extend(
            Fault(where=where, what=f"'{name}' is empty.", remedy="Fill it in.")
            for name in ("plate_id", "layout", "slot")
            if not cells[name]
        )
        plate_id = cells["plate_id"]
        layout = layouts.setdefault(plate_id, cells["layout"])
        if cells["layout"] != layout:
            what = f"Plate '{plate_id}' has the layouts '{layout}' and '{cells['layout']}'."
            faults.append(Fault(where=where, what=what, remedy="Give each plate one layout."))
        entries.setdefault(plate_id, []).append(_map_entry(cells, where, faults))
    if not entries and not faults:
        what = "The plate map names no accession."
        faults.append(Fault(where=f"File '{file_name}'.", what=what, remedy="Write which accession sits in which slot."))
    if faults:
        raise SourceFileError.gathered(faults)
    return tuple(
        PlateMap(plate_id=plate_id, layout=layouts[plate_id], entries=tuple(of_plate)) for plate_id, of_plate in entries.items()
    )


def _header_faults(names: Sequence[str], file_name: str) -> Iterator[Fault]:
    where = f"File '{file_name}', first row."
    for name in REQUIRED_MAP_COLUMNS:
        if name not in names:
            yield Fault(
                where=where, what=f"The column '{name}' is missing.", remedy=f"A plate map has {', '.join(MAP_COLUMNS)}."
            )
    for name, count in Counter(name for name in names if name).items():
        if name not in MAP_COLUMNS:
            # A misspelt 'dilution_factor' that was passed over would make every number wrong by that factor.
            remedy = f"Remove or rename it; a plate map has {', '.join(MAP_COLUMNS)}."
            yield Fault(where=where, what=f"The column '{name}' is not known.", remedy=remedy)
        elif count > 1:
            yield Fault(where=where, what=f"The column '{name}' stands {count} times.", remedy="Keep one of them.")


def _map_entry(cells: Mapping[str, str], where: str, faults: list[Fault]) -> MapEntry:
    dilution = _number(cells.get("dilution_factor", ""), where, "dilution factor", faults)
    if dilution is not None and dilution <= 0:
        faults.append(
            Fault(
                where=where, what="The dilution factor is not above 0.", remedy="Write 4 for one part in four; 1 for undiluted."
            )
        )
    return MapEntry(
        slot=cells["slot"],
        accession_id=cells["accession_id"],
        analyte=cells.get("analyte", ""),
        dilution_factor=dilution,
        kit_lot=cells.get("kit_lot", ""),
    )
