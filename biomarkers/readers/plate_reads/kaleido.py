"""Kaleido exports: results for a measurement drawn as plates, with the measurement's settings further down.

Knows where barcode, measurement and wavelength stand. Must not take the plate map for results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.plate_tables import by_plate, read_table, table_at, trimmed
from biomarkers.readers.sheets import Sheet

_RESULTS = re.compile(r"Results for\s+(?P<name>.+)")


def recognise(sheets: Sequence[Sheet]) -> bool:
    """Whether a file is a Kaleido export: it names the software and has results for a measurement."""
    if not sheets:
        return False
    rows = sheets[0].rows
    return any(_result_name(row) for row in rows) and any(
        cell.startswith(("Kaleido ", "Exported with Kaleido")) for row in rows for cell in row[:3]
    )


def _plain(text: str) -> str:
    """Text with ordinary spaces; Kaleido writes some that do not break."""
    return " ".join(text.split())


def _result_name(row: Sequence[str]) -> str:
    found = _RESULTS.fullmatch(_plain(row[0])) if row else None
    return found["name"] if found else ""


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate: one read a measurement; a plate is named by its barcode, real or given by Kaleido.

    Raises
    ------
    SourceFileError
        A measurement is no absorbance, its wavelength is not stated, or a table is cut off.
    """
    sheet = sheets[0]
    reads = list(_reads(sheet, _settings(sheet), file_name, stem))
    if not reads:
        raise SourceFileError(
            what="The Kaleido export holds no results drawn as a plate.",
            where=f"File '{file_name}'.",
            remedy="Export the results in the plate format.",
        )
    return by_plate(reads)


def _reads(sheet: Sheet, settings: Mapping[str, str], file_name: str, stem: str) -> Iterator[PlateRead]:
    started = next((trimmed(row)[-1] for row in sheet.rows if row and row[0] == "Measurement Started:"), "")
    name = barcode = ""
    for index, row in enumerate(sheet.rows):
        if not row:
            continue
        if _plain(row[0]) in ("Analysis Result", "Platemap"):
            name = ""
        name = _result_name(row) or name
        if name and _plain(row[0]).startswith("Barcode:"):
            barcode = _plain(row[0]).removeprefix("Barcode:").strip()
        table = table_at(sheet.rows, index) if name else None
        if table is not None:
            place = f"File '{file_name}', row {index + 1}, measurement '{name}'."
            yield read_table(
                table,
                plate_id=barcode or stem,
                wavelength_nm=_wavelength(name, settings, place),
                acquired_at=started,
                place=place,
            )


def _settings(sheet: Sheet) -> dict[str, str]:
    """Wavelength as written, by measurement."""
    found = {}
    technique = ""
    for row in sheet.rows:
        if len(row) > 4 and row[0] == "Tech":
            technique = _plain(row[4])
        elif len(row) > 4 and row[0] == "Excitation wavelength [nm]" and technique:
            found[technique] = row[4]
    return found


def _wavelength(name: str, settings: Mapping[str, str], place: str) -> float:
    if not name.casefold().startswith("abs"):
        raise SourceFileError(
            what=f"The measurement '{name}' is no absorbance; only absorbance is understood.",
            where=place,
            remedy="Export an absorbance measurement.",
        )
    text = settings.get(name, "")
    if not re.fullmatch(r"\d{3,4}", text):
        raise SourceFileError(
            what="The export does not state the measurement's wavelength.",
            where=place,
            remedy="Include the measurements' settings when exporting.",
        )
    return float(text)
