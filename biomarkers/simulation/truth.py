"""What is true of the simulated specimens: the numbers an analysis should come back with.

Knows how truth is written and read. It lies beside a laboratory, never in it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from biomarkers.errors import SourceFileError
from biomarkers.results import Assay

COLUMNS = ("accession_id", "subject_id", "visit", "assay", "measurand", "value", "unit")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueValue:
    """The true number of one measurand in one specimen.

    For plasma it is the concentration poured into the wells; for cells and slides it is what was realised: counted over the
    cells that were drawn, not the frequency they were drawn with.
    """

    accession_id: str
    subject_id: str
    visit: str
    assay: Assay
    measurand: str
    value: float
    unit: str


def write_truth(path: Path, values: Iterable[TrueValue]) -> None:
    """Write the true values as CSV, sorted by accession and measurand."""
    ordered = sorted(values, key=lambda true: (true.accession_id, true.assay, true.measurand))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for true in ordered:
            writer.writerow(
                [true.accession_id, true.subject_id, true.visit, true.assay, true.measurand, repr(true.value), true.unit]
            )


def read_truth(path: Path) -> tuple[TrueValue, ...]:
    """Read what :func:`write_truth` wrote.

    Raises
    ------
    SourceFileError
        The file cannot be read, lacks a column, or holds a value that is no number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(_true_value(row) for row in csv.DictReader(file))
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        raise SourceFileError(
            what=f"The truth of the simulated study cannot be read: {error}.",
            where=f"File '{path.name}'.",
            remedy="Simulate the study again; nothing else writes this file.",
        ) from error


def _true_value(row: dict[str, str]) -> TrueValue:
    return TrueValue(
        accession_id=row["accession_id"],
        subject_id=row["subject_id"],
        visit=row["visit"],
        assay=Assay(row["assay"]),
        measurand=row["measurand"],
        value=float(row["value"]),
        unit=row["unit"],
    )
