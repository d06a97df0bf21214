"""Gen5 exports, as text or workbook, of one plate or several.

Knows the blocks of that format: plate information, procedure, layout, results with a label at each row's end, kinetic tables.
Must not know layouts or maps of ours; the vendor's own concentrations are handed on as the text they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.elisa.plate import PlateRead, WellPosition, row_index
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.differences import differences
from biomarkers.readers.plate_reads.plate_tables import SHAPES, by_plate, header_columns, is_readable, well_reads
from biomarkers.readers.sheets import Sheet

CONCENTRATION_LABEL = "[Concentration]"

_READING = re.compile(r"(?:(?P<name>[^\[\]]*?)\s*:\s*)?(?P<nm>\d{3,4})")
_REDUCED = re.compile(r"(?P<what>[^\[\]]+?)\s*\[(?:[^\[\]:]*:)?(?P<nm>\d{3,4})\]")
_LONGEST_LABEL = 200
_PREFERRED_REDUCTION = "Mean V"

_Texts = dict[WellPosition, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gen5Plate:
    """One plate's part of an export.

    Attributes
    ----------
    results, layout
        Text of every well by the label at its row's end, such as ``450nm:450``, ``[Concentration]`` or ``Well ID``.
    curve
        Rows below *Curve Fitting Results*: names, then the fitted values.
    read_names
        What the procedure calls its reads; empty where the procedure was not exported.
    times
        How many times of a kinetic read are listed.
    """

    name: str
    line: int
    acquired_at: str
    rows: int
    columns: int
    results: Mapping[str, _Texts]
    layout: Mapping[str, _Texts]
    curve: tuple[tuple[str, ...], ...]
    procedure: str
    read_names: frozenset[str]
    times: int


def recognise(sheets: Sequence[Sheet]) -> bool:
    """Whether a file is a Gen5 export: it names its software version first, and its plates by number."""
    return any(_is_gen5(sheet) for sheet in sheets)


def _is_gen5(sheet: Sheet) -> bool:
    start = [row[0] for row in sheet.rows[:20] if row]
    return "Software Version" in start and any(row and row[0] == "Plate Number" for row in sheet.rows)


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate: one read a wavelength as measured, and one more where the export subtracts a reference itself.

    A kinetic read has many numbers a well. Where the export reduces them to one, such as *Mean V [420]*, that number is read at
    its wavelength; the times themselves are left in the file.

    Raises
    ------
    SourceFileError
        The export is cut off, or holds no absorbance with one number a well.
    """
    return by_plate(
        [one for plate in plates_of(sheets, file_name=file_name, stem=stem) for one in _plate_reads(plate, file_name)]
    )


def plates_of(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[Gen5Plate, ...]:
    """Divide an export by plate.

    Raises
    ------
    SourceFileError
        A table of the export is cut off, or a plate holds no results.
    """
    found = []
    for sheet in sheets:
        if not _is_gen5(sheet):
            continue
        starts = [index for index, row in enumerate(sheet.rows) if row and row[0] == "Plate Number"]
        for start, end in zip(starts, [*starts[1:], len(sheet.rows)], strict=True):
            found.append(_plate(sheet.rows, start, end, file_name, stem))
    return tuple(found)


def _plate(rows: Sequence[tuple[str, ...]], start: int, end: int, file_name: str, stem: str) -> Gen5Plate:
    # The first of each name: further down, a kinetic table has a column 'Time' too.
    facts = {row[0].rstrip(":"): row[1] for row in reversed(rows[start:end]) if len(row) > 1 and row[0]}
    name = facts.get("Plate Number") or stem
    place = f"File '{file_name}', plate '{name}' in line {start + 1}."
    tables: dict[str, dict[str, _Texts]] = {"Layout": {}, "Results": {}}
    shapes: set[tuple[int, int]] = set()
    part = ""
    for index in range(start, end):
        title = rows[index][0] if rows[index] else ""
        if title in tables and not any(rows[index][1:]):
            part = title
        elif part and not title and header_columns(rows[index][: _table_width(rows[index])]):
            columns = header_columns(rows[index][: _table_width(rows[index])])
            tables[part].update(_labelled((rows[below] for below in range(index + 1, end)), columns, place))
            shapes.add((next(one for one, wide in SHAPES if wide == columns), columns))
            part = ""
    if not tables["Results"] or len(shapes) != 1:
        raise SourceFileError(
            what="The Gen5 export holds no results drawn as a plate.",
            where=place,
            remedy="Include the results as a matrix of the whole plate when exporting.",
        )
    ((plate_rows, columns),) = shapes
    return Gen5Plate(
        name=name,
        line=start + 1,
        acquired_at=" ".join(one for one in (facts.get("Date", ""), facts.get("Time", "")) if one),
        rows=plate_rows,
        columns=columns,
        results=tables["Results"],
        layout=tables["Layout"],
        curve=_curve(rows[start:end]),
        procedure=" ".join(cell for row in rows[start:end] for cell in row[:2] if cell)[:20_000],
        read_names=frozenset(row[1] for row in rows[start:end] if len(row) > 1 and row[0] == "Read"),
        times=_times(rows[start:end]),
    )


def _table_width(row: Sequence[str]) -> int:
    """Cells of a header row, without empty ones at its end."""
    return max((index + 1 for index, cell in enumerate(row) if cell), default=0)


def _labelled(rows: Iterable[tuple[str, ...]], columns: int, place: str) -> dict[str, _Texts]:
    """Take a table whose rows end in a label; rows without a letter belong to the letter above."""
    expected = next(one for one, wide in SHAPES if wide == columns)
    tables: dict[str, _Texts] = {}
    row = -1
    for cells in rows:
        if not any(cells):
            break
        if cells[0]:
            if row_index(cells[0]) != row + 1:
                break
            row += 1
        label = cells[columns + 1] if len(cells) > columns + 1 else ""
        if row < 0 or row >= expected:
            break
        table = tables.setdefault(label, {})
        positions = [WellPosition(row=row, column=column) for column in range(columns)]
        if positions[0] in table:
            raise _cut_off(place, f"row {cells[0] or row + 1} has the label '{label}' twice")
        table.update(zip(positions, (*cells[1 : columns + 1], *[""] * columns), strict=False))
    for label, table in tables.items():
        if len(table) != expected * columns:
            raise _cut_off(place, f"the table '{label}' has {len(table)} of {expected * columns} wells")
    return tables


def _cut_off(place: str, what: str) -> SourceFileError:
    return SourceFileError(
        what=f"The Gen5 export is cut off or changed: {what}.",
        where=place,
        remedy="Export it again and drop the new file.",
    )


def _curve(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    start = next((index for index, row in enumerate(rows) if row and row[0].endswith("Curve Fitting Results")), None)
    if start is None:
        return ()
    filled = [row for row in rows[start + 1 :] if any(row)]
    return tuple(filled[:2]) if filled and filled[0][0] == "Curve Name" else ()


def _times(rows: Sequence[tuple[str, ...]]) -> int:
    start = next((index for index, row in enumerate(rows) if row[:1] == ("Time",) and WellPosition.parse(row[-1])), None)
    if start is None:
        return 0
    count = 0
    for row in rows[start + 1 :]:
        if not row or not re.fullmatch(r"\d+:\d\d:\d\d", row[0]):
            break
        count += 1
    return count


def _plate_reads(plate: Gen5Plate, file_name: str) -> Iterator[PlateRead]:
    place = f"File '{file_name}', plate '{plate.name}' in line {plate.line}."
    if re.search(r"\b(Fluorescence|Luminescence)\b", plate.procedure) and "Absorbance" not in plate.procedure:
        raise SourceFileError(
            what="The plate was read in another mode than absorbance; only absorbance is understood.",
            where=place,
            remedy="Export an absorbance read.",
        )
    labels = readings(plate)
    if labels:
        raw = [_read(plate, label, nm, place) for label, nm in labels.items()]
        yield from raw
        computed = (
            _read(plate, label, None, place)
            for label, texts in plate.results.items()
            if label not in labels and label != CONCENTRATION_LABEL and is_readable(texts)
        )
        yield from differences(computed, raw)
        return
    reduced = reductions(plate)
    if not reduced:
        raise _nothing_to_read(plate, place)
    for label, nm in reduced.items():
        yield _read(plate, label, nm, place)


def readings(plate: Gen5Plate) -> dict[str, float]:
    """Labels of the tables that hold readings as measured, with their wavelength in nm.

    ``450`` and ``abs450:450`` are readings, ``Blank abs450:450`` is computed from one: its name is no read of the procedure, or
    is another table's label with a word before it.
    """
    found = {label: _READING.fullmatch(label) for label in plate.results if len(label) <= _LONGEST_LABEL}
    return {
        label: float(match["nm"])
        for label, match in found.items()
        if match
        and 200 <= float(match["nm"]) <= 1100
        and (match["name"] is None or not plate.read_names or match["name"] in plate.read_names)
        and not any(label[space.end() :] in plate.results for space in re.finditer(" ", label))
    }


def reductions(plate: Gen5Plate) -> dict[str, float]:
    """Labels of the tables that reduce a kinetic read to one number a well, one a wavelength: the mean rate if there is one."""
    matches = {label: _REDUCED.fullmatch(label) for label in plate.results if len(label) <= _LONGEST_LABEL}
    found = {label: (match["what"], float(match["nm"])) for label, match in matches.items() if match}
    chosen = {}
    for nm in dict.fromkeys(nm for _, nm in found.values()):
        of_nm = [label for label, (_, other) in found.items() if other == nm]
        preferred = [label for label in of_nm if found[label][0] == _PREFERRED_REDUCTION]
        if preferred or len(of_nm) == 1:
            chosen[(preferred or of_nm)[0]] = nm
    return chosen


def _read(plate: Gen5Plate, label: str, wavelength_nm: float | None, place: str) -> PlateRead:
    return PlateRead(
        plate_id=plate.name,
        rows=plate.rows,
        columns=plate.columns,
        wavelength_nm=wavelength_nm,
        reference_nm=None,
        acquired_at=plate.acquired_at,
        wells=well_reads(plate.results[label], f"{place[:-1]}, table '{label}'."),
    )


def _nothing_to_read(plate: Gen5Plate, place: str) -> SourceFileError:
    there = ", ".join(f"'{label[:60]}'" for label in list(plate.results)[:12])
    kinetic = f"The plate was read {plate.times} times, and " if plate.times else ""
    return SourceFileError(
        what=f"{kinetic}no table of the export holds one reading a well: its tables are {there}.",
        where=place,
        remedy="Include the raw data of an endpoint read, or the mean rate (Mean V) of a kinetic one, as a matrix.",
    )
