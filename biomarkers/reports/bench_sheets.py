"""Worklists as files: plate maps ready to fill, and a bench sheet to print.

Knows how a map and a sheet look. Must not know what is due. A kit lot is empty in the map and is written in at the bench.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping
from dataclasses import fields

from biomarkers.laboratory.worklists import Worklist
from biomarkers.reports.tables import FORMULA_BEGINNINGS
from biomarkers.study.definition import StudyDefinition
from biomarkers.timepoints.worklist import MapRow, PlannedPlate, WorkItem

_STYLE = (
    "body{font:13px/1.4 system-ui,sans-serif;margin:1.5rem}table{border-collapse:collapse;margin-bottom:2rem}"
    "th,td{text-align:left;padding:.2rem .6rem;border:1px solid #99a}th{background:#eef2f5}"
    "@media print{section{break-after:page}}"
)

_HEADS = ("slot", "accession", "subject", "visit", "why", "dilution", "volume left (µl)", "done")


def worklist_files(worklist: Worklist, definition: StudyDefinition) -> Mapping[str, bytes]:
    """Return the files of a worklist by name: a map for each plate, the list as CSV, and the bench sheet."""
    files = {f"{plate.plate_id}.map.csv": plate_map_csv(plate) for plate in worklist.plates}
    stem = f"worklist-{worklist.assay.value}-{worklist.as_of}"
    files[f"{stem}.csv"] = _items_csv(worklist)
    files[f"{stem}.html"] = bench_sheet(worklist, definition)
    return files


def plate_map_csv(plate: PlannedPlate) -> bytes:
    """Return a plate's map; its columns are those a plate map must have."""
    names = [field.name for field in fields(MapRow)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in plate.rows:
        writer.writerow(["" if getattr(row, name) is None else _plain(getattr(row, name)) for name in names])
    return buffer.getvalue().encode()


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _items_csv(worklist: Worklist) -> bytes:
    names = [field.name for field in fields(WorkItem)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for item in worklist.items:
        writer.writerow([_guarded(getattr(item, name)) for name in names])
    return buffer.getvalue().encode()


def _guarded(value: str | float | None) -> str | float | None:
    """Keep a spreadsheet program from taking text for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_BEGINNINGS) else value


def bench_sheet(worklist: Worklist, definition: StudyDefinition) -> bytes:
    """Return a page to print: a section a plate, or the list of specimens where nothing goes onto plates."""
    title = f"Worklist {worklist.assay.value}, {worklist.as_of}"
    study = definition.study
    intro = f"Study {study.id}; {study.masking}. {len(worklist.items)} measurements to make."
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(intro)}</p>",
    ]
    if worklist.without_layout:
        parts.append(f"<p>No layout of the laboratory serves: {html.escape(', '.join(worklist.without_layout))}.</p>")
    for plate in worklist.plates:
        parts.append(
            f"<section><h2>{html.escape(plate.plate_id)}: {html.escape(plate.analyte)}, layout {html.escape(plate.layout)}</h2>"
            "<p>Kit lot: ____________ &nbsp; Operator: ____________ &nbsp; Date: ____________ &nbsp; "
            f"{plate.free_slots} slots free.</p>"
        )
        slots = [row.slot for row in plate.rows]
        parts += [*_table([_cells(item, slot) for item, slot in zip(plate.items, slots, strict=True)]), "</section>"]
    planned = {(item.accession_id, item.measurand) for plate in worklist.plates for item in plate.items}
    rest = [item for item in worklist.tubes if (item.accession_id, item.measurand) not in planned]
    if rest:
        parts += ["<section><h2>Not on a plate</h2>", *_table([_cells(item, item.measurand) for item in rest]), "</section>"]
    return "\n".join([*parts, "</body></html>", ""]).encode()


def _cells(item: WorkItem, first: str) -> tuple[str, ...]:
    return (
        first,
        item.accession_id,
        item.subject_id,
        item.visit,
        f"{item.reason}: {item.why}",
        "as layout" if item.dilution_factor is None else f"1 in {item.dilution_factor:g}",
        "" if item.volume_left_ul is None else f"{item.volume_left_ul:g}",
        "",
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _HEADS)
    body = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return [f"<table><thead><tr>{head}</tr></thead><tbody>", *body, "</tbody></table>"]
