"""`biomarkers decisions`: what people decided, as a file, and told again to a rebuilt laboratory."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from biomarkers.cli.output import print_json, say

app = typer.Typer(no_args_is_help=True, help="What people decided about wells, results and runs.")


@app.command("export")
def export(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    output: Path | None = typer.Option(None, "--output", help="Write to this file instead of stdout.", dir_okay=False),
) -> None:
    """Print every decision as a line of JSON: masked wells, which result counts, reviews and releases; a release has it too."""
    from biomarkers.laboratory import open_lab
    from biomarkers.laboratory.decision_log import decisions_text

    with open_lab(lab) as laboratory:
        text = decisions_text(laboratory)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
        say(f"{text.count(chr(10))} decisions written to {output}.")


@app.command("replay")
def replay(
    lab: Path = typer.Argument(..., help="The laboratory's folder, rebuilt from its raw bytes."),
    file: Path = typer.Argument(..., help="What 'decisions export' or a release has written.", exists=True, dir_okay=False),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Tell a laboratory again what people decided, by whom, when and why; what is on record already stays as it is."""
    from biomarkers.cli.lab import recompute_once, sweep_once
    from biomarkers.laboratory import open_lab
    from biomarkers.laboratory.decision_log import replay_decisions

    failed: list[str] = []
    with open_lab(lab) as laboratory:
        told = replay_decisions(
            laboratory,
            file,
            renew=lambda runs: failed.extend(recompute_once(laboratory, "Decisions were replayed.", only=runs).failed),
            derive=lambda: failed.extend(sweep_once(laboratory, []).faults),
        )
    counts = {
        kind.value: {"taken": len(one.taken), "known": len(one.known), "passed_over": len(one.passed_over)}
        for kind, one in told.items()
    }
    passed_over = [f"{one.what} {one.about}: {why}" for each in told.values() for one, why in each.passed_over.items()]
    if as_json:
        print_json({"decisions": counts, "passed_over": passed_over, "failed": failed})
    else:
        for kind, one in counts.items():
            typer.echo(f"{kind:7} {one['taken']} put on record, {one['known']} there already, {one['passed_over']} passed over")
        for line in (*passed_over, *failed):
            say(line)
    if failed:
        raise typer.Exit(1)
