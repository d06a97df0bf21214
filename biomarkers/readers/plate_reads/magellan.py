"""Tecan Magellan workbooks: a grid with ``<>`` in its corner, or a list with one well a row and the settings below.

Knows both forms and where the wavelengths stand. Must not take a grid of words, which is Magellan's own layout, for a plate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from biomarkers.elisa.plate import PlateRead, WellPosition
from biomarkers.errors import Fault, SourceFileError
from biomarkers.readers.plate_reads.differences import differences
from biomarkers.readers.plate_reads.plate_tables import (
    MOST_FAULTS,
    SHAPES,
    by_plate,
    is_readable,
    read_table,
    table_at,
    trimmed,
    well_reads,
)
from biomarkers.readers.sheets import Sheet

_LONGEST_LINE = 300
_CORNER = "<>"
_WELLS = "Well positions"
_WAVELENGTH = re.compile(r"(?:Measurement\s+)?Wavelength:\s*(\d{3,4})\s*nm", re.IGNORECASE)
_PLAIN_WAVELENGTH = re.compile(r"(\d{3,4})\s*nm", re.IGNORECASE)
_LABEL = re.compile(r"Meas\. temperature:\s*(?P<label>.+?):\s*[\d.,]+\s*.C.*")
_MODE = re.compile(r"(?:Measurement\s+)?Mode:\s*(?P<mode>.+)", re.IGNORECASE)
_DATE = re.compile(r"Date of measurement:\s*(?P<date>[^/]+)/\s*Time of measurement:\s*(?P<time>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What the lines beside a list or grid say."""

    labels: tuple[str, ...]
    wavelengths_nm: tuple[float, ...]
    mode: str
    acquired_at: str


def recognise(sheets: Sequence[Sheet]) -> bool:
    """Whether a file is a Magellan export: a grid with its corner, or a list of well positions beside raw data."""
    return any(_is_list(sheet) or _grids(sheet) for sheet in sheets)


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate: one read a measurement. A plate without a name takes the file's stem.

    Raises
    ------
    SourceFileError
        No sheet holds numbers, another mode than absorbance was read, a grid is cut off, or wells are listed twice.
    """
    reads: list[PlateRead] = []
    for sheet in sheets:
        settings = _settings(sheet)
        where = f"File '{file_name}'" + (f", sheet '{sheet.name}'" if sheet.name else "")
        if settings.mode and not settings.mode.casefold().startswith("absorbance"):
            raise SourceFileError(
                what=f"The plate was read in the mode '{settings.mode}'; only absorbance is understood.",
                where=f"{where}.",
                remedy="Export an absorbance read.",
            )
        reads.extend(
            _list_reads(sheet, settings, where, stem) if _is_list(sheet) else _grid_reads(sheet, settings, where, stem)
        )
    if not reads:
        raise SourceFileError(
            what="The Magellan export holds no grid with numbers.",
            where=f"File '{file_name}'.",
            remedy="Export the raw data.",
        )
    return by_plate(reads)


def _settings(sheet: Sheet) -> _Settings:
    lines = [cells[0] for row in sheet.rows for cells in [trimmed(row)] if len(cells) == 1 and len(cells[0]) <= _LONGEST_LINE]
    wavelengths = [float(found[1]) for line in lines if (found := _WAVELENGTH.fullmatch(line))]
    dates = [f"{found['date']} {found['time']}" for line in lines if (found := _DATE.fullmatch(line))]
    modes = [found["mode"] for line in lines if (found := _MODE.fullmatch(line))]
    # Older versions list the filters alone, a line each.
    plain = [float(found[1]) for line in lines if (found := _PLAIN_WAVELENGTH.fullmatch(line))]
    return _Settings(
        labels=tuple(found["label"] for line in lines if (found := _LABEL.fullmatch(line))),
        wavelengths_nm=tuple(wavelengths or plain),
        mode=modes[0] if modes else "",
        acquired_at=dates[0] if dates else "",
    )


def _wavelength_of(label: str, settings: _Settings) -> float | None:
    """Wavelength of a measurement by its label; None where the export does not tie them together."""
    if len(settings.labels) == len(settings.wavelengths_nm) and label in settings.labels:
        return settings.wavelengths_nm[settings.labels.index(label)]
    return settings.wavelengths_nm[0] if len(settings.wavelengths_nm) == 1 else None


def _grids(sheet: Sheet) -> bool:
    return any(row and row[0] == _CORNER and table_at(sheet.rows, index) is not None for index, row in enumerate(sheet.rows))


def _grid_reads(sheet: Sheet, settings: _Settings, where: str, stem: str) -> Iterator[PlateRead]:
    row = 0
    label = ""
    while row < len(sheet.rows):
        table = table_at(sheet.rows, row)
        if table is None:
            cells = trimmed(sheet.rows[row])
            label = cells[0] if len(cells) == 1 else label
            row += 1
            continue
        if table.corner == _CORNER and table.has_number and not table.holds_names:
            yield read_table(
                table,
                plate_id=stem,
                wavelength_nm=_wavelength_of(label, settings),
                acquired_at=settings.acquired_at,
                place=f"{where}, row {row + 1}.",
            )
        row = table.end


def _header(sheet: Sheet) -> int | None:
    return next((index for index, row in enumerate(sheet.rows) if any(row)), None)


def _is_list(sheet: Sheet) -> bool:
    header = _header(sheet)
    return header is not None and _WELLS in sheet.rows[header] and bool(_value_columns(sheet.rows[header], _settings(sheet)))


def _value_columns(names: Sequence[str], settings: _Settings) -> dict[int, str]:
    """Columns of readings: those the settings name as measurements, else the ones whose name begins with raw data."""
    labelled = {index: name for index, name in enumerate(names) if name in settings.labels}
    return labelled or {index: name for index, name in enumerate(names) if name.casefold().startswith("raw data")}


def _list_reads(sheet: Sheet, settings: _Settings, where: str, stem: str) -> Iterator[PlateRead]:
    header = _header(sheet)
    assert header is not None
    names = sheet.rows[header]
    values = _value_columns(names, settings)
    wells: dict[WellPosition, tuple[str, ...]] = {}
    faults: list[Fault] = []
    for number, row in enumerate(sheet.rows[header + 1 :], start=header + 2):
        cells = (*row, *[""] * len(names))
        position = WellPosition.parse(cells[names.index(_WELLS)])
        if position is None:
            if cells[names.index(_WELLS)] and len(faults) < MOST_FAULTS:
                what = f"'{cells[names.index(_WELLS)]}' is no well."
                faults.append(Fault(where=f"{where}, row {number}.", what=what, remedy="Export the plate again."))
            continue
        if position in wells and len(faults) < MOST_FAULTS:
            what = f"Well {position} is listed twice."
            faults.append(Fault(where=f"{where}, row {number}.", what=what, remedy="Export one plate a file."))
        wells[position] = cells
    if faults or not wells:
        faults = faults or [Fault(where=f"{where}.", what="The list holds no well.", remedy="Export the plate again.")]
        raise SourceFileError.gathered(faults)
    plate_id = _plate_name(wells.values(), names) or stem
    raw = [
        _column_read({position: cells[index] for position, cells in wells.items()}, settings, label, plate_id, where)
        for index, label in values.items()
    ]
    yield from raw
    others = (
        (name, {position: cells[index] for position, cells in wells.items()})
        for index, name in enumerate(names)
        if name and index not in values and name != _WELLS
    )
    computed = (_column_read(texts, settings, name, plate_id, where) for name, texts in others if is_readable(texts))
    yield from differences(computed, raw)


def _plate_name(rows: Iterable[tuple[str, ...]], names: Sequence[str]) -> str:
    """Return the plate's name, which Magellan may write beside some of its wells only; empty where it names none or several."""
    if "Plate" not in names:
        return ""
    found = {row[names.index("Plate")] for row in rows} - {""}
    return found.pop() if len(found) == 1 else ""


def _column_read(texts: Mapping[WellPosition, str], settings: _Settings, label: str, plate_id: str, where: str) -> PlateRead:
    place = f"{where}, plate '{plate_id}', column '{label}'."
    shape = next((one for one in SHAPES if all(well.row < one[0] and well.column < one[1] for well in texts)), None)
    if shape is None:
        raise SourceFileError(what="The wells lie outside a plate of 384 wells.", where=place, remedy="Check the wells' names.")
    return PlateRead(
        plate_id=plate_id,
        rows=shape[0],
        columns=shape[1],
        wavelength_nm=_wavelength_of(label, settings),
        reference_nm=None,
        acquired_at=settings.acquired_at,
        wells=well_reads(texts, place),
    )
