"""`biomarkers worklist`: what an assay is to measure next, as plate maps ready to fill and a bench sheet."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.laboratory.worklists import Worklist
    from biomarkers.provenance import JsonValue


class AssayName(StrEnum):
    """Assays of a laboratory."""

    ELISA = "elisa"
    CYTOMETRY = "cytometry"
    IHC = "ihc"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worklist")(worklist)


def worklist(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    assay: AssayName = typer.Option(..., "--assay", help="Which assay's work.", case_sensitive=False),
    layout: str = typer.Option("", "--layout", help="Name of a plate layout; the one that serves the analyte if left out."),
    output: Path | None = typer.Option(None, "--output", help="Write maps and bench sheet into this folder.", file_okay=False),
    as_of: datetime | None = typer.Option(None, "--as-of", formats=["%Y-%m-%d"], help="As of this date; today if left out."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """List specimens due and repeats with their reason, and plan the plates: a subject's visits lie on one plate."""
    from biomarkers.laboratory import open_lab
    from biomarkers.laboratory.worklists import worklist as make
    from biomarkers.reports.bench_sheets import worklist_files
    from biomarkers.results import Assay

    with open_lab(lab) as laboratory:
        found = make(laboratory, Assay(assay.value), layout=layout, as_of=as_of.date() if as_of else None)
        files = worklist_files(found, laboratory.definition)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
        say(f"{len(files)} files written to {output}: {', '.join(files)}.")
    if as_json:
        print_json(_document(found))
        return
    print_table(
        ["subject", "visit", "accession", "material", "measurand", "reason", "why", "dilution", "volume left"],
        [
            (
                item.subject_id,
                item.visit,
                item.accession_id,
                item.material,
                item.measurand,
                item.reason,
                item.why,
                item.dilution_factor,
                item.volume_left_ul,
            )
            for item in found.tubes
        ],
    )
    for plate in found.plates:
        count = len(plate.rows)
        typer.echo(f"Plate {plate.plate_id}: {count} specimens, layout {plate.layout}, {plate.free_slots} slots free.")
    if found.without_layout:
        say(f"No layout serves {', '.join(found.without_layout)}; put one into plate_layouts.")


def _document(found: Worklist) -> JsonValue:
    return {
        "assay": found.assay.value,
        "as_of": found.as_of.isoformat(),
        "items": [asdict(item) for item in found.items],
        "plates": [
            {
                "plate_id": plate.plate_id,
                "layout": plate.layout,
                "analyte": plate.analyte,
                "free_slots": plate.free_slots,
                "map": [asdict(row) for row in plate.rows],
            }
            for plate in found.plates
        ],
        "without_layout": list(found.without_layout),
    }
