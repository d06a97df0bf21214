"""`biomarkers arms`: allocation of subjects, kept apart from everything else."""

from __future__ import annotations

from pathlib import Path

import typer

from biomarkers.cli.output import say

app = typer.Typer(no_args_is_help=True, help="Allocation of subjects to arms, kept apart.")


@app.callback()
def _group() -> None:
    """Allocation of subjects to arms, kept apart."""


@app.command("load")
def load(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    file: Path = typer.Argument(..., help="arms.csv: subject_id, arm.", exists=True, dir_okay=False),
) -> None:
    """Put the allocation into a store of its own; who can read that store has the right to arms."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        count = laboratory.load_arms(file)
    say(f"Allocation of {count} subjects loaded.")
