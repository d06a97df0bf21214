"""`biomarkers audit`: the record of who did what."""

from __future__ import annotations

from pathlib import Path

import typer

from biomarkers.cli.output import print_json

app = typer.Typer(no_args_is_help=True, help="The record of who did what.")


@app.callback()
def _group() -> None:
    """Keep `verify` a command of its own name, although it is the only one."""


@app.command("verify")
def verify(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    head: str = typer.Option("", "--head", help="The chain's head as printed earlier and kept outside the laboratory."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Check the hash chain from its first entry, and name the first broken one."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        verdict = laboratory.verify_audit(expected_head=head or None)
    if as_json:
        print_json({"intact": verdict.intact, "entries": verdict.entries, "head": verdict.head, "broken": verdict.message})
    elif verdict.intact:
        typer.echo(f"The audit chain is intact: {verdict.entries} entries, head {verdict.head}.")
    else:
        typer.echo(verdict.message)
    if not verdict.intact:
        raise typer.Exit(1)
