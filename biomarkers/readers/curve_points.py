"""Points of one calibration curve as a list: ``concentration, response`` and, where wanted, ``name``.

Knows that file alone. Must not know what is fitted through the points.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biomarkers.elisa.plate import WellFlag
from biomarkers.errors import Fault, SourceFileError
from biomarkers.readers.plate_reads.readings import parse_number, parse_reading
from biomarkers.readers.sheets import read_sheets

COLUMNS = ("concentration", "response", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One row.

    Attributes
    ----------
    concentration
        None for an unknown.
    response
        None where the reader gave no number; ``flag`` then says why.
    name
        Unknowns of one name are replicates; empty where not given.
    """

    concentration: float | None
    response: float | None
    flag: WellFlag
    name: str
    row: int


def read_points(path: Path) -> tuple[CurvePoint, ...]:
    """Read the points in the order of the file.

    Raises
    ------
    SourceFileError
        A column is missing, or cells are no numbers; every fault is named with its row.
    """
    rows = read_sheets(path)[0].rows
    header = next((index for index, row in enumerate(rows) if any(row)), 0)
    names = [cell.casefold() for cell in rows[header]]
    missing = [name for name in COLUMNS[:2] if name not in names]
    if missing:
        raise SourceFileError(
            what=f"The column '{missing[0]}' is missing.",
            where=f"File '{path.name}', row {header + 1}.",
            remedy="Name the columns concentration, response and, where wanted, name.",
        )
    faults: list[Fault] = []
    points: list[CurvePoint] = []
    for number, row in enumerate(rows[header + 1 :], start=header + 2):
        cells = {name: row[names.index(name)] if name in names and names.index(name) < len(row) else "" for name in COLUMNS}
        if not any(cells.values()):
            continue
        where = f"File '{path.name}', row {number}."
        concentration = parse_number(cells["concentration"])
        if cells["concentration"] and (concentration is None or concentration < 0):
            what = f"The concentration '{cells['concentration']}' is no number of at least 0."
            faults.append(Fault(where=where, what=what, remedy="Write a plain number; leave it empty for an unknown."))
        reading = parse_reading(cells["response"])
        if reading is None:
            what = f"The response '{cells['response']}' is no number."
            faults.append(Fault(where=where, what=what, remedy="Write a plain number."))
            continue
        points.append(
            CurvePoint(concentration=concentration, response=reading.value, flag=reading.flag, name=cells["name"], row=number)
        )
    if faults or not points:
        faults = faults or [Fault(where=f"File '{path.name}'.", what="The file holds no point.", remedy="Add the calibrators.")]
        raise SourceFileError.gathered(faults)
    return tuple(points)
