"""What people decide about plates, and what controls say of them: mask, plates accept, controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.answers import answer_for
from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.elisa.control_charts import ControlSeries
    from biomarkers.provenance import JsonValue

app = typer.Typer(no_args_is_help=True, help="Files about plates that wait for a person's word.")


@app.callback()
def _group() -> None:
    """Keep `accept` a command of its own name, although it is the only one."""


def add_to(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.command("mask")(mask)
    parent.command("controls")(controls)
    parent.add_typer(app, name="plates")


@app.command("accept")
def accept(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    file: Path = typer.Argument(..., help="The export or plate map that waits in inbox/elisa.", exists=True, dir_okay=False),
    *,
    reason: str = typer.Option(..., "--reason", help="Why; kept on record."),
    replaces: bool = typer.Option(False, "--replaces", help="This read counts in place of the first one."),
) -> None:
    """Answer for a corrected plate map, or a second read of a plate, and take it in."""
    from getpass import getuser

    from biomarkers.readers.sign_offs import sign_off_text

    def word(_sidecar: Path, why: str) -> str:
        return sign_off_text(by=getuser(), reason=why, replaces=replaces)

    answer_for(lab, file, reason=reason, word=word)


def mask(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    plate: str = typer.Argument(..., help="Its plate_id, or its run_id."),
    wells: list[str] = typer.Argument(..., help="Wells such as A01 B12."),
    *,
    reason: str = typer.Option(..., "--reason", help="Why; kept on record and shown on the quality page."),
    unmask: bool = typer.Option(False, "--unmask", help="Take the wells back in."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Leave wells of a recorded plate out, with a reason; new results supersede the plate's."""
    from biomarkers.cli.lab import recompute_once
    from biomarkers.laboratory import open_lab

    if not reason.strip():
        raise typer.BadParameter("--reason must say why.")
    named = ", ".join(wells)
    with open_lab(lab) as laboratory:
        run = laboratory.mask(plate, wells, reason=reason.strip(), masked=not unmask)
        what = f"Wells {named} were {'unmasked' if unmask else 'masked'}: {reason.strip()}"
        report = recompute_once(laboratory, what, only=[run.run_id])
    if as_json:
        print_json({"run_id": run.run_id, "wells": list(wells), "changed": report.changed, "failed": list(report.failed)})
    else:
        say(f"Plate '{run.name}': {named} {'unmasked' if unmask else 'masked'}.")
    for failed in report.failed:
        say(f"The decision is on record; the plate's results stay as they were: {failed}")
    if report.failed:
        raise typer.Exit(1)


def controls(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    analyte: str | None = typer.Option(None, "--analyte", help="Only this analyte's."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Print the controls of every analyte, level and lot over its runs, with the Westgard rules each run breaks."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        found = laboratory.controls(analyte=analyte)
    if as_json:
        print_json({"series": [_document(series) for series in found]})
        return
    for series in found:
        standing = "limits set" if series.is_established else "limits preliminary"
        limits = "no limits yet" if series.mean is None else f"mean {series.mean:.4g}, sd {series.sd:.4g}, {standing}"
        print_table(
            ["run", "measured", "value", "z", "accepted", "rules"],
            [
                (
                    one.point.run_id,
                    one.point.measured_at[:10],
                    one.point.value,
                    one.z,
                    "yes" if one.point.is_accepted else "no",
                    " ".join(one.violated),
                )
                for one in series.points
            ],
            title=f"{series.analyte} {series.level}, lot '{series.kit_lot}': {limits} ({series.runs_behind_limits} runs)",
        )
        typer.echo("")


def _document(series: ControlSeries) -> JsonValue:
    return {
        "analyte": series.analyte,
        "level": series.level,
        "kit_lot": series.kit_lot,
        "mean": series.mean,
        "sd": series.sd,
        "runs_behind_limits": series.runs_behind_limits,
        "is_established": series.is_established,
        "points": [
            {
                "run_id": one.point.run_id,
                "measured_at": one.point.measured_at,
                "value": one.point.value,
                "accepted": one.point.is_accepted,
                "z": one.z,
                "violated": list(one.violated),
            }
            for one in series.points
        ],
    }
