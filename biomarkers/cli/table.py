"""`biomarkers timepoints`: the table by subject, visit and measurand."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import typer

from biomarkers.cli.output import say


class TableFormat(StrEnum):
    """What the table is written as."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    XLSX = "xlsx"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("timepoints")(timepoints)


def timepoints(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    measurand: list[str] = typer.Option([], "--measurand", help="Only these measurands; may be given several times."),
    visit: list[str] = typer.Option([], "--visit", help="Only these visits; may be given several times."),
    subject: list[str] = typer.Option([], "--subject", help="Only these subjects; may be given several times."),
    wide: bool = typer.Option(False, "--wide", help="One row per subject and visit, a column a measurand."),
    arm: bool = typer.Option(False, "--arm", help="Add the arm; needs the right to it."),
    summary: bool = typer.Option(False, "--summary", help="Per visit and measurand, and per arm with --arm."),
    as_of: datetime | None = typer.Option(None, "--as-of", formats=["%Y-%m-%d"], help="As of this date; today if left out."),
    table_format: TableFormat | None = typer.Option(None, "--format", help="Text on the terminal unless said otherwise."),
    output: Path | None = typer.Option(None, "--output", help="Write to this file instead of stdout."),
    as_json: bool = typer.Option(False, "--json", help="The same as --format json."),
) -> None:
    """Print the timepoint table: what is known for each subject, visit and measurand, and why a cell is empty."""
    from biomarkers.laboratory import open_lab
    from biomarkers.reports.tables import TEXT_FORMATS, write_table

    if wide and summary:
        raise typer.BadParameter("--wide and --summary exclude each other.")
    chosen = TableFormat.JSON if as_json else table_format or _from_ending(output)
    if chosen.value not in TEXT_FORMATS and output is None:
        raise typer.BadParameter(f"--format {chosen.value} needs --output FILE.")
    with open_lab(lab) as laboratory:
        day = as_of.date() if as_of else None
        if summary:
            table = laboratory.summary(measurand=measurand, visit=visit, subject=subject, arm=arm, as_of=day)
        else:
            table = laboratory.timepoints(measurand=measurand, visit=visit, subject=subject, wide=wide, arm=arm, as_of=day)
    content = write_table(table, chosen.value)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)
        say(f"{len(table)} rows written to {output}.")


def _from_ending(output: Path | None) -> TableFormat:
    endings = {".csv": TableFormat.CSV, ".json": TableFormat.JSON, ".parquet": TableFormat.PARQUET, ".xlsx": TableFormat.XLSX}
    return endings.get(output.suffix.lower(), TableFormat.CSV) if output else TableFormat.TEXT
