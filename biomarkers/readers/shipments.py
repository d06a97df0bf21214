"""shipments.csv → what sites say they sent.

Knows its columns and how their faults are told, all at once, each with its line. Must not know what arrived.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from biomarkers.readers.list_tables import ListTable
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.identifiers import is_accession_id
from biomarkers.study.shipments import ShippedSpecimen


def read_shipments(path: Path, definition: StudyDefinition) -> tuple[ShippedSpecimen, ...]:
    """Read shipments.csv, the full list of all shipments, in the order of its lines.

    Raises
    ------
    SourceFileError
        With every faulty cell named by line and column, a specimen sent twice, and a place that two share.
    """
    rows = ListTable.read(path, required=("accession_id", "shipped_on"), optional=("box", "position"))
    shipped: list[ShippedSpecimen] = []
    for row in rows.rows():
        accession_id = row.matching(
            "accession_id", lambda text: is_accession_id(definition.identifiers, text), "an accession id"
        )
        day = row.day("shipped_on")
        if day is None:
            row.fault("shipped_on", "is empty", "Enter the day it was sent as YYYY-MM-DD.")
        box, position = row.text("box"), row.text("position")
        shipped.append(ShippedSpecimen(accession_id=accession_id, shipped_on=day or date.min, box=box, position=position))
    rows.no_doubles("accession_id", [one.accession_id for one in shipped])
    placed = [f"{one.shipped_on} {one.box} {one.position}" for one in shipped if one.box and one.position]
    rows.no_doubles("shipped_on, box and position", placed)
    rows.finish()
    return tuple(shipped)
