"""What people decide about slides: slides accept."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True, help="Files about slides that wait for a person's word.")


@app.callback()
def _group() -> None:
    """Keep `accept` a command of its own name, although it is the only one."""


@app.command("accept")
def accept(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    file: Path = typer.Argument(..., help="The slide or annotation that waits in inbox/ihc.", exists=True, dir_okay=False),
    *,
    reason: str = typer.Option(..., "--reason", help="Why; kept on record."),
    replaces: bool = typer.Option(False, "--replaces", help="This scan counts in place of the first one."),
) -> None:
    """Answer for a further scan of a recorded section, or a corrected annotation, and take it in."""
    from getpass import getuser

    from biomarkers.cli.lab import print_report, require_in_inbox, sweep_once
    from biomarkers.lab.inbox import stem
    from biomarkers.laboratory import open_lab
    from biomarkers.readers.slide_sidecars import read_slide_sidecar, slide_sidecar_text
    from biomarkers.study.slides import SlideSidecar

    if not reason.strip():
        raise typer.BadParameter("--reason must say why.")
    with open_lab(lab) as laboratory:
        require_in_inbox(laboratory, [file])
        name = stem(file.name)
        sidecar = file.with_name(f"{name}.toml")
        said = read_slide_sidecar(sidecar) if sidecar.exists() else SlideSidecar()
        signed = said.model_copy(update={"by": getuser(), "reason": reason.strip(), "replaces": replaces})
        sidecar.write_text(slide_sidecar_text(signed), encoding="utf-8")
        together = sorted(one for one in file.parent.iterdir() if one.is_file() and stem(one.name) == name)
        report = sweep_once(laboratory, together)
    print_report(report)
    if report.faults:
        raise typer.Exit(3)
    if any(one.state not in {"recorded", "seen"} for one in report.files):
        raise typer.Exit(1)
