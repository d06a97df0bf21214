"""`biomarkers timepoints`, `attrition`, `completeness`: the tables of a study."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import pandas as pd

    from biomarkers.laboratory import Laboratory


class TableFormat(StrEnum):
    """What a table is written as."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    XLSX = "xlsx"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("timepoints")(timepoints)
    app.command("attrition")(attrition)
    app.command("completeness")(completeness)


LAB = typer.Argument(..., help="The laboratory's folder.")
MEASURAND = typer.Option([], "--measurand", help="Only these measurands; may be given several times.")
VISIT = typer.Option([], "--visit", help="Only these visits; may be given several times.")
SUBJECT = typer.Option([], "--subject", help="Only these subjects; may be given several times.")
ARM = typer.Option(False, "--arm", help="Add the arm; needs the right to it.")
AS_OF = typer.Option(None, "--as-of", formats=["%Y-%m-%d"], help="As of this date; today if left out.")
FORMAT = typer.Option(None, "--format", help="Text on the terminal unless said otherwise.")
OUTPUT = typer.Option(None, "--output", help="Write to this file instead of stdout.", dir_okay=False)
AS_JSON = typer.Option(False, "--json", help="The same as --format json.")


def timepoints(
    lab: Path = LAB,
    *,
    measurand: list[str] = MEASURAND,
    visit: list[str] = VISIT,
    subject: list[str] = SUBJECT,
    wide: bool = typer.Option(False, "--wide", help="One row per subject and visit, a column a measurand."),
    arm: bool = ARM,
    changes: bool = typer.Option(
        False, "--changes", help="Each value against its baseline: absolute, percent, fold, interval."
    ),
    transitions: bool = typer.Option(False, "--transitions", help="Who went from below to within to above the range."),
    summary: bool = typer.Option(False, "--summary", help="Per visit and measurand, and per arm with --arm."),
    tests: bool = typer.Option(False, "--tests", help="Tests of change from baseline, within each arm with --arm."),
    between_arms: bool = typer.Option(
        False, "--between-arms", help="Tests between arms; refused unless the study is comparative."
    ),
    mixed_model: bool = typer.Option(
        False, "--mixed-model", help="A mixed model for repeated measures of one --measurand, within each arm with --arm."
    ),
    as_of: datetime | None = AS_OF,
    table_format: TableFormat | None = FORMAT,
    output: Path | None = OUTPUT,
    as_json: bool = AS_JSON,
) -> None:
    """Print the timepoint table: what is known for each subject, visit and measurand, and why a cell is empty."""
    from biomarkers.laboratory import open_lab

    views = {
        "--wide": wide,
        "--changes": changes,
        "--transitions": transitions,
        "--summary": summary,
        "--tests": tests,
        "--between-arms": between_arms,
        "--mixed-model": mixed_model,
    }
    asked = [name for name, is_asked in views.items() if is_asked]
    if len(asked) > 1:
        raise typer.BadParameter(f"{' and '.join(asked)} exclude each other.")
    view = asked[0] if asked else ""
    if view == "--mixed-model" and len(measurand) != 1:
        raise typer.BadParameter("--mixed-model needs one --measurand.")
    if subject and view in {"--tests", "--between-arms", "--mixed-model"}:
        raise typer.BadParameter(f"{view} takes all subjects; leave --subject out.")
    chosen = _format(table_format, output, as_json=as_json)
    day = as_of.date() if as_of else None
    with open_lab(lab) as laboratory:
        if not view and chosen in {TableFormat.CSV, TableFormat.PARQUET}:
            pieces = laboratory.timepoint_batches(measurand=measurand, visit=visit, subject=subject, arm=arm, as_of=day)
            _stream(pieces, chosen, output)
            return
        table = _view(laboratory, view, measurand, visit, subject, arm=arm, day=day)
    _put(table, chosen, output, name=view.removeprefix("--") or "timepoints")


def _view(
    laboratory: Laboratory,
    view: str,
    measurand: list[str],
    visit: list[str],
    subject: list[str],
    *,
    arm: bool,
    day: date | None,
) -> pd.DataFrame:
    match view:
        case "--changes":
            return laboratory.changes(measurand=measurand, visit=visit, subject=subject, arm=arm, as_of=day)
        case "--transitions":
            return laboratory.transitions(measurand=measurand, visit=visit, subject=subject, arm=arm, as_of=day)
        case "--summary":
            return laboratory.summary(measurand=measurand, visit=visit, subject=subject, arm=arm, as_of=day)
        case "--tests" | "--between-arms":
            return laboratory.tests(measurand=measurand, visit=visit, arm=arm, between_arms=view == "--between-arms", as_of=day)
        case "--mixed-model":
            return laboratory.mixed_model(measurand[0], arm=arm, as_of=day)
        case _:
            return laboratory.timepoints(
                measurand=measurand, visit=visit, subject=subject, wide=view == "--wide", arm=arm, as_of=day
            )


def attrition(
    lab: Path = LAB,
    *,
    measurand: list[str] = MEASURAND,
    visit: list[str] = VISIT,
    arm: bool = ARM,
    names: bool = typer.Option(False, "--names", help="One row per stage, with its subjects."),
    as_of: datetime | None = AS_OF,
    table_format: TableFormat | None = FORMAT,
    output: Path | None = OUTPUT,
    as_json: bool = AS_JSON,
) -> None:
    """Print who is where per visit and measurand: randomised, on study, due, received, measured, paired."""
    from biomarkers.laboratory import open_lab

    chosen = _format(table_format, output, as_json=as_json)
    with open_lab(lab) as laboratory:
        table = laboratory.attrition(
            measurand=measurand, visit=visit, arm=arm, names=names, as_of=as_of.date() if as_of else None
        )
    _put(table, chosen, output, name="attrition")


def completeness(
    lab: Path = LAB,
    *,
    long: bool = typer.Option(False, "--long", help="One row per subject, visit and assay, with reason and specimens."),
    as_of: datetime | None = AS_OF,
    table_format: TableFormat | None = FORMAT,
    output: Path | None = OUTPUT,
    as_json: bool = AS_JSON,
) -> None:
    """Print what is known of every subject, visit and assay, and why the rest is empty; then dates that cannot be right."""
    from biomarkers.laboratory import open_lab

    chosen = _format(table_format, output, as_json=as_json)
    day = as_of.date() if as_of else None
    with open_lab(lab) as laboratory:
        table = laboratory.completeness(wide=not long, as_of=day)
        irregular = laboratory.irregularities(as_of=day)
    _put(table, chosen, output, name="completeness")
    for finding in irregular:
        say(f"{finding.code}: {finding.message} {finding.where} {finding.remedy}")


def _format(table_format: TableFormat | None, output: Path | None, *, as_json: bool) -> TableFormat:
    from biomarkers.reports.tables import TEXT_FORMATS

    chosen = TableFormat.JSON if as_json else table_format or _from_ending(output)
    if chosen.value not in TEXT_FORMATS and output is None:
        raise typer.BadParameter(f"--format {chosen.value} needs --output FILE.")
    return chosen


def _put(table: pd.DataFrame, chosen: TableFormat, output: Path | None, *, name: str) -> None:
    """Print or write a table; its notes stand in text and workbooks, and are said aloud beside other formats."""
    from biomarkers.reports.tables import write_table

    notes: list[str] = table.attrs.get("notes", [])
    content = write_table(table, chosen.value, name=name, notes=notes)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)
        say(f"{len(table)} rows written to {output}.")
    if chosen not in {TableFormat.TEXT, TableFormat.XLSX}:
        for note in notes:
            say(note)


def _stream(pieces: Iterator[pd.DataFrame], chosen: TableFormat, output: Path | None) -> None:
    """Write the table piece by piece; a file appears when it is whole."""
    from biomarkers.reports.streams import stream_table

    if output is None:
        stream_table(pieces, chosen.value, sys.stdout.buffer)
        return
    draft = output.with_name(f".{output.name}.partial")
    try:
        with draft.open("wb") as target:
            count = stream_table(pieces, chosen.value, target)
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)
    say(f"{count} rows written to {output}.")


def _from_ending(output: Path | None) -> TableFormat:
    endings = {".csv": TableFormat.CSV, ".json": TableFormat.JSON, ".parquet": TableFormat.PARQUET, ".xlsx": TableFormat.XLSX}
    return endings.get(output.suffix.lower(), TableFormat.CSV) if output else TableFormat.TEXT
