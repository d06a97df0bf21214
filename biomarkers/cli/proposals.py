"""Recomputed results of signed runs, which wait for a person: proposals list, accept, refuse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.provenance import JsonValue
    from biomarkers.store.proposals import Figure, Proposal

app = typer.Typer(no_args_is_help=True, help="Recomputed results of reviewed or released runs, which wait for a person.")


def add_to(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="proposals")


@app.command("list")
def list_them(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Print what recomputation would change in signed runs: each result as it counts and as it would."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        found = laboratory.proposals()
    if as_json:
        print_json({"proposals": [_document(one) for one in found]})
        return
    if not found:
        say("No recomputed result waits for a decision.")
    for one in found:
        typer.echo(f"Proposal {one.id}, run {one.run_id}, {one.proposed_at:%Y-%m-%d %H:%M} UTC: {one.reason}")
        print_table(
            ["specimen", "measurand", "counts", "would count"],
            [(change.accession_id, change.measurand, _told(change.before), _told(change.after)) for change in one.changes],
        )
        if not one.changes:
            typer.echo("No number changes; findings or provenance do.")


@app.command("accept")
def accept(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    proposal: int = typer.Argument(..., help="Its number, as the list gives it."),
    *,
    reason: str = typer.Option(..., "--reason", help="Why; kept on record."),
) -> None:
    """Let a proposal count: the run is computed again, and supersedes if the same comes out. Its signatures are void then."""
    from biomarkers.cli.lab import recompute_once
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        decided = laboratory.decide_proposal(proposal, accepted=True, reason=reason)
        report = recompute_once(laboratory, decided.reason, only=[decided.run_id])
    for failed in report.failed:
        say(f"The decision is on record; the results stay as they were: {failed}")
    if report.proposed:
        say("Something else came out than was accepted; it is a new proposal.")
    if report.failed or report.proposed:
        raise typer.Exit(1)
    say(f"Run {decided.run_id} has new results. It is to be reviewed again.")


@app.command("refuse")
def refuse(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    proposal: int = typer.Argument(..., help="Its number, as the list gives it."),
    *,
    reason: str = typer.Option(..., "--reason", help="Why; kept on record."),
) -> None:
    """Keep what was signed; the same outcome is not proposed again."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        decided = laboratory.decide_proposal(proposal, accepted=False, reason=reason)
    say(f"Run {decided.run_id} stays as it is.")


def _told(figure: Figure | None) -> str:
    if figure is None:
        return "none"
    if figure.value is None:
        return "not evaluable"
    limits = "" if figure.lower is None or figure.upper is None else f" ({figure.lower:.4g} to {figure.upper:.4g})"
    return f"{figure.comparator}{figure.value:.6g} {figure.unit}{limits}"


def _document(one: Proposal) -> JsonValue:
    from biomarkers.store.records import plain

    return plain(one)
