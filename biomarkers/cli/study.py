"""`biomarkers check`: what is wrong with a laboratory's declarations, all at once."""

from __future__ import annotations

from pathlib import Path

import typer

from biomarkers.cli.output import print_json, say


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    target: Path = typer.Argument(..., help="A laboratory, a study.toml, a panel, or a plate layout.", exists=True),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Walk every declaration and say all that is wrong at once; then list what the laboratory assumes."""
    from biomarkers.cli.plates import draw_layout
    from biomarkers.laboratory import check_declarations
    from biomarkers.readers.plate_layouts import read_layout

    report = check_declarations(target)
    if as_json:
        print_json(
            {
                "checked": list(report.checked),
                "faults": [{"what": fault.what, "where": fault.where, "remedy": fault.remedy} for fault in report.faults],
                "assumptions": list(report.assumptions),
            }
        )
    else:
        for name in report.checked:
            typer.echo(f"checked  {name}")
        if target.suffix == ".csv" and not report.faults:
            typer.echo(draw_layout(read_layout(target)))
        for fault in report.faults:
            typer.echo(f"FAULT    {fault}")
        for assumption in report.assumptions:
            typer.echo(f"assumed  {assumption}")
        say(f"{len(report.checked)} declarations, {len(report.faults)} faults, {len(report.assumptions)} assumptions.")
    if report.faults:
        raise typer.Exit(1)
