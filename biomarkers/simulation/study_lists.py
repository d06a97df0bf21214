"""The clinic's and the bench's lists as CSV: roster, specimens, visits, kit lots; and, beside the truth, the arms.

Knows the columns the laboratory expects. No list that goes into the laboratory holds an arm.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import TypeAlias

from biomarkers.elisa.lots import KitLot
from biomarkers.study.cellular import HaematologyCount
from biomarkers.study.roster import ActualVisit, Moment, Specimen, Subject

Cell: TypeAlias = str | int | float | date | Moment | None

ROSTER_COLUMNS = (
    "subject_id",
    "site",
    "randomised_on",
    "treatment_start",
    "treatment_end",
    "progression_date",
    "next_therapy_start",
    "off_study_date",
    "off_study_reason",
    "death_date",
    "consent_withdrawn_on",
)
VISIT_COLUMNS = ("subject_id", "visit", "actual_date", "status", "reason")
SPECIMEN_COLUMNS = (
    "accession_id",
    "subject_id",
    "material",
    "collected_at",
    "nominal_visit",
    "parent_accession_id",
    "received_at",
    "condition",
    "anticoagulant",
    "processed_at",
    "frozen_at",
    "freeze_thaw",
    "hemolysis",
    "volume_ul",
    "fixed_at",
    "tissue_source",
    "lesion",
    "block",
)


LOT_COLUMNS = ("analyte", "kit_lot", "expiry", "slot", "value", "lower", "upper")


def write_roster(path: Path, subjects: Iterable[Subject]) -> None:
    """Write roster.csv."""
    _write_records(path, ROSTER_COLUMNS, subjects)


def write_specimens(path: Path, specimens: Iterable[Specimen]) -> None:
    """Write specimens.csv."""
    _write_records(path, SPECIMEN_COLUMNS, specimens)


def write_visits(path: Path, visits: Iterable[ActualVisit]) -> None:
    """Write visits.csv."""
    _write_records(path, VISIT_COLUMNS, visits)


def write_lots(path: Path, lots: Iterable[KitLot]) -> None:
    """Write lots.csv: a line for each calibrator and control of each lot."""
    rows: list[list[Cell]] = []
    for lot in lots:
        head: list[Cell] = [lot.analyte, lot.kit_lot, lot.expires_on]
        rows += [[*head, slot, value, None, None] for slot, value in lot.calibrators.items()]
        rows += [[*head, slot, one.nominal, one.lower, one.upper] for slot, one in lot.controls.items()]
    write_rows(path, LOT_COLUMNS, rows)


def write_haematology(path: Path, counts: Iterable[HaematologyCount]) -> None:
    """Write haematology.csv."""
    rows = [[one.accession_id, one.subject_id, one.day, one.lymphocytes_per_ul] for one in counts]
    write_rows(path, ("accession_id", "subject_id", "date", "lymphocytes_per_ul"), rows)


def write_arms(path: Path, arm_by_subject: Mapping[str, str]) -> None:
    """Write arms.csv; it never goes into an inbox."""
    write_rows(path, ("subject_id", "arm"), sorted(arm_by_subject.items()))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table as CSV: empty for what is not known, ISO 8601 for days."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_text(cell) for cell in row])


def _write_records(path: Path, columns: Sequence[str], records: Iterable[Subject | Specimen | ActualVisit]) -> None:
    rows: list[list[Cell]] = []
    for record in records:
        names = {field.name for field in fields(record)}
        assert names == set(columns), "the list and the record hold the same columns"
        rows.append([getattr(record, column) for column in columns])
    write_rows(path, columns, rows)


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:g}"
    return str(cell)
