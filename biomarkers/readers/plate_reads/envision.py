"""EnVision exports: plate information, then each label's results drawn as a plate.

Knows where plate, barcode, label and filter stand. Must not take the plate map or the background for results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from biomarkers.elisa.plate import PlateRead
from biomarkers.errors import SourceFileError
from biomarkers.readers.plate_reads.plate_tables import by_plate, read_table, table_at, trimmed
from biomarkers.readers.sheets import Sheet

_RESULTS = re.compile(r"Results for (?P<label>.+?)\s+-\s+channel\s+.*", re.IGNORECASE)
_ABSORBANCE = re.compile(r"(?:A|Abs(?:orbance)?\s*|Photometric\s*)(?P<nm>\d{3,4})(?:\D.*)?", re.IGNORECASE)
_LONGEST_LINE = 300
_CENTRE = re.compile(r"CWL\s*=\s*(\d{3,4})\s*nm", re.IGNORECASE)


def recognise(sheets: Sequence[Sheet]) -> bool:
    """Whether a file is an EnVision export: plate information first, then results for a label."""
    if not sheets:
        return False
    rows = sheets[0].rows
    first = next((trimmed(row) for row in rows if any(row)), ())
    return first == ("Plate information",) and any(row and _results(row[0]) for row in rows)


def _results(text: str) -> re.Match[str] | None:
    return _RESULTS.fullmatch(text) if len(text) <= _LONGEST_LINE else None


def read(sheets: Sequence[Sheet], *, file_name: str, stem: str) -> tuple[tuple[PlateRead, ...], ...]:
    """Read every plate: one read a label; a plate is named by its barcode, else ``Plate 1`` as the export counts it.

    Raises
    ------
    SourceFileError
        A label is no absorbance, or a table is cut off.
    """
    sheet = sheets[0]
    filters = _filter_by_label(sheet)
    reads = list(_reads(sheet, filters, file_name, stem))
    if not reads:
        raise SourceFileError(
            what="The EnVision export holds no results drawn as a plate.",
            where=f"File '{file_name}'.",
            remedy="Export in the plate format.",
        )
    return by_plate(reads)


def _reads(sheet: Sheet, filters: Mapping[str, str], file_name: str, stem: str) -> Iterator[PlateRead]:
    facts: dict[str, str] = {}
    label = ""
    for index, row in enumerate(sheet.rows):
        first = row[0] if row else ""
        results = _results(first)
        if first == "Plate information":
            facts, label = _plate_facts(sheet.rows[index + 1 : index + 3]), ""
        elif results:
            label = results["label"]
        elif label:
            table = table_at(sheet.rows, index)
            if table is not None:
                place = f"File '{file_name}', row {index + 1}, label '{label}'."
                yield read_table(
                    table,
                    plate_id=_plate_name(facts) or stem,
                    wavelength_nm=_wavelength(label, facts, filters, place),
                    acquired_at=facts.get("Measurement date", ""),
                    place=place,
                )
                label = ""


def _plate_facts(rows: Sequence[tuple[str, ...]]) -> dict[str, str]:
    if len(rows) < 2:
        return {}
    # A spreadsheet is kept from reading a barcode as a number by writing it as a formula.
    return {name: value.removeprefix("=").strip('"') for name, value in zip(rows[0], rows[1], strict=False) if name}


def _plate_name(facts: Mapping[str, str]) -> str:
    number = facts.get("Plate", "")
    return facts.get("Barcode", "") or (f"Plate {number}" if number else "")


def _wavelength(label: str, facts: Mapping[str, str], filters: Mapping[str, str], place: str) -> float:
    """Take the filter's own centre where the export describes it, else the number in the label's name."""
    name = re.sub(r"\(\d+\)$", "", label)
    named = _ABSORBANCE.fullmatch(name)
    light = facts.get("Measinfo", "")
    if named is None or ("Em=" in light and "Em=N/A" not in light):
        raise SourceFileError(
            what=f"The label '{label}' is no absorbance; only absorbance is understood.",
            where=place,
            remedy="Export an absorbance label, named A and its wavelength.",
        )
    centre = _CENTRE.search(filters.get(name, ""))
    return float(centre[1] if centre else named["nm"])


def _filter_by_label(sheet: Sheet) -> dict[str, str]:
    """Find the description of each label's filter in the sections the export calls Labels and Filters."""
    filter_names, descriptions = {}, {}
    part = label = described = ""
    for row in sheet.rows:
        cells = trimmed(row)
        value = cells[4] if len(cells) > 4 else ""
        if not cells:
            continue
        if len(cells) == 1 and cells[0].endswith(":"):
            part = cells[0]
        elif part == "Labels:" and cells[0] == "Exc. filter":
            filter_names[label] = value
        elif part == "Labels:" and value and _ABSORBANCE.fullmatch(cells[0]):
            label = cells[0]
        elif part == "Filters:" and cells[0] == "Description":
            descriptions[described] = value
        elif part == "Filters:" and cells[0] in filter_names.values():
            described = cells[0]
    return {label: descriptions[name] for label, name in filter_names.items() if name in descriptions}
