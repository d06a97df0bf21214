"""`biomarkers export`: results as standard-shaped data sets."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path

import typer

from biomarkers.cli.output import say


class StandardName(StrEnum):
    """What results can be exported as."""

    SDTM = "sdtm"
    ADAM = "adam"
    CIDC = "cidc"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    standard: StandardName = typer.Option(..., "--as", help="sdtm and adam as Dataset-JSON and XPT; cidc as JSON and CSV."),
    output: Path | None = typer.Option(
        None, "--output", help="The folder to write into; LAB-STANDARD-DATE beside the laboratory if left out.", file_okay=False
    ),
    arm: bool = typer.Option(False, "--arm", help="Planned treatment in the adam data sets; needs the right to it."),
    as_of: datetime | None = typer.Option(None, "--as-of", formats=["%Y-%m-%d"], help="As of this date; today if left out."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document: the folder and its files."),
) -> None:
    """Write the results shaped like a standard (not checked for compliance), every row with its source digest."""
    from biomarkers.cli.output import print_json
    from biomarkers.laboratory import open_lab
    from biomarkers.provenance import utc_now
    from biomarkers.reports.exports import Standard, export_files

    if arm and standard is not StandardName.ADAM:
        raise typer.BadParameter(f"--arm belongs to --as adam; {standard.value} data sets hold no treatment here.")
    day = as_of.date() if as_of else utc_now().date()
    with open_lab(lab) as laboratory:
        assignments = laboratory.arms() if arm else None
        files = export_files(laboratory, Standard(standard.value), as_of=day, assignments=assignments)
        root = laboratory.folder.root
    folder = output or root.with_name(f"{root.name}-{standard.value}-{day}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if as_json:
        print_json({"folder": str(folder), "as_of": day.isoformat(), "files": sorted(files)})
    else:
        for name in sorted(files):
            typer.echo(str(folder / name))
    say(f"{len(files)} files as of {day} written to {folder}; shaped like the standard, not checked against its rules.")
