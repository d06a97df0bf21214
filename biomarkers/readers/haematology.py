"""haematology.csv → blood counts.

Knows the list's columns. Must not know which specimen a count serves.
"""

from __future__ import annotations

from pathlib import Path

from biomarkers.readers.list_tables import ListTable
from biomarkers.study.cellular import HaematologyCount
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.identifiers import is_accession_id, is_subject_id

MOST_LYMPHOCYTES_PER_UL = 500_000.0
"""Beyond any leukaemia; a larger number was given per another volume."""

FEWEST_LYMPHOCYTES_PER_UL = 10.0
"""Below any counted blood; a smaller number was given in 10^9 per litre, in which a healthy count is 1 to 4."""


def read_haematology(path: Path, definition: StudyDefinition) -> tuple[HaematologyCount, ...]:
    """Read haematology.csv, the full list of blood counts, in the order of its lines.

    Each line names an ``accession_id``, or a ``subject_id`` with its ``date``, and ``lymphocytes_per_ul``.

    Raises
    ------
    SourceFileError
        With every faulty cell named by line and column.
    """
    rows = ListTable.read(path, required=("lymphocytes_per_ul",), optional=("accession_id", "subject_id", "date"))
    counts: list[HaematologyCount] = []
    for row in rows.rows():
        accession, subject, day = row.text("accession_id"), row.text("subject_id"), row.day("date")
        if accession:
            row.matching("accession_id", lambda text: is_accession_id(definition.identifiers, text), "an accession id")
        if subject:
            row.matching("subject_id", lambda text: is_subject_id(definition.identifiers, text), "a subject id")
        if not accession and not (subject and row.text("date")):
            row.fault("accession_id", "is empty", "Name the specimen, or the subject and the date of the blood count.")
        number = row.number("lymphocytes_per_ul", float, "a number of lymphocytes per microlitre")
        if number is None:
            if not row.text("lymphocytes_per_ul"):
                row.fault("lymphocytes_per_ul", "is empty", "Enter the count, or leave the line out.")
            continue
        if not FEWEST_LYMPHOCYTES_PER_UL <= number <= MOST_LYMPHOCYTES_PER_UL:
            row.fault(
                "lymphocytes_per_ul",
                f"holds {number:g}, which is no count per microlitre",
                "Give lymphocytes per microlitre: 1.2 x 10^9 per litre are 1200 per microlitre.",
            )
        counts.append(HaematologyCount(lymphocytes_per_ul=number, accession_id=accession, subject_id=subject, day=day))
    rows.no_doubles("accession_id", [count.accession_id for count in counts])
    rows.no_doubles(
        "subject_id and date", [f"{count.subject_id} {count.day}" for count in counts if not count.accession_id and count.day]
    )
    rows.finish()
    return tuple(counts)
