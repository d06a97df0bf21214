"""pathology.csv → what pathologists said of each section.

Knows its columns and how their faults are told, all at once, each with its line. Must not know what is already recorded.
"""

from __future__ import annotations

from pathlib import Path

from biomarkers.errors import Fault
from biomarkers.readers.list_tables import ListRow, ListTable
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.identifiers import is_accession_id
from biomarkers.study.pathology import PathologyReading

COLUMNS = ("accession_id", "tumour_present", "viable_tumour_percent", "necrosis_percent", "reader")

_ANSWERS = {"YES": True, "Y": True, "TRUE": True, "1": True, "NO": False, "N": False, "FALSE": False, "0": False}


def read_pathology(path: Path, definition: StudyDefinition) -> tuple[PathologyReading, ...]:
    """Read pathology.csv, the full list of readings, in the order of its lines; a specimen has at most one by each reader.

    Raises
    ------
    SourceFileError
        With every faulty cell named by line and column.
    """
    table = ListTable.read(path, required=COLUMNS, optional=())
    readings = [_reading(row, definition) for row in table.rows()]
    seen: set[tuple[str, str]] = set()
    for row, reading in zip(table.rows(), readings, strict=True):
        key = (reading.accession_id, reading.reader.casefold())
        if key in seen:
            table.faults.append(
                Fault(
                    where=f"File '{path.name}', line {row.line}.",
                    what=f"Reader '{reading.reader}' read accession '{reading.accession_id}' on an earlier line already.",
                    remedy="Keep the line that counts.",
                )
            )
        seen.add(key)
    table.finish()
    return tuple(readings)


def _reading(row: ListRow, definition: StudyDefinition) -> PathologyReading:
    accession = row.matching("accession_id", lambda text: is_accession_id(definition.identifiers, text), "an accession id")
    present = row.one_of("tumour_present", _ANSWERS, otherwise=True)
    viable, necrosis = (_percent(row, column) for column in ("viable_tumour_percent", "necrosis_percent"))
    if not row.text("reader"):
        row.fault("reader", "is empty", "Enter who read the section.")
    if not present and viable:
        row.fault("viable_tumour_percent", f"holds {viable:g} although no tumour is present", "Find out which is true.")
    if viable is not None and necrosis is not None and viable + necrosis > 100:
        row.fault(
            "necrosis_percent",
            f"and viable_tumour_percent add up to {viable + necrosis:g} %, more than the section",
            "Both are percent of the section's area; correct them.",
        )
    return PathologyReading(
        accession_id=accession,
        tumour_present=present,
        viable_tumour_percent=viable,
        necrosis_percent=necrosis,
        reader=row.text("reader"),
    )


def _percent(row: ListRow, column: str) -> float | None:
    value = row.number(column, float, "a percentage")
    if value is not None and not 0 <= value <= 100:
        row.fault(column, f"holds {value:g}, which is no percentage", "Enter a number from 0 to 100, or nothing.")
        return None
    return value
