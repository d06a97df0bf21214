"""What people decide about slides: slides accept."""

from __future__ import annotations

from pathlib import Path

import typer

from biomarkers.cli.answers import answer_for

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

    from biomarkers.readers.slide_sidecars import read_slide_sidecar, slide_sidecar_text
    from biomarkers.study.slides import SlideSidecar

    def word(sidecar: Path, why: str) -> str:
        said = read_slide_sidecar(sidecar) if sidecar.exists() else SlideSidecar()
        return slide_sidecar_text(said.model_copy(update={"by": getuser(), "reason": why, "replaces": replaces}))

    answer_for(lab, file, reason=reason, word=word)
