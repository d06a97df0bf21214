"""`biomarkers release`: a locked snapshot with its manifest of digests."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import typer

from biomarkers.cli.output import print_json, say


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("release")(release)


def release(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    name: str = typer.Argument(..., help="What the release is called; releases are never changed."),
    *,
    as_of: datetime | None = typer.Option(None, "--as-of", formats=["%Y-%m-%d"], help="As of this date; today if left out."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Lock a snapshot without arms in LAB/releases/NAME: the tables, SDTM and ADaM-shaped sets, a manifest of digests."""
    from biomarkers.laboratory import open_lab
    from biomarkers.reports.release_files import make_release

    with open_lab(lab) as laboratory:
        made = make_release(laboratory, name, as_of=as_of.date() if as_of else None)
    if as_json:
        print_json(
            {
                "release": made.name,
                "folder": str(made.folder),
                "as_of": made.as_of.isoformat(),
                "files": dict(made.files),
                "manifest_sha256": made.manifest_sha256,
                "audit_head": {"number": made.head.number, "hash": made.head.hash},
            }
        )
        return
    typer.echo(f"release     {made.name}, as of {made.as_of}, {len(made.files)} files in {made.folder}")
    typer.echo(f"manifest    sha256 {made.manifest_sha256}")
    typer.echo(f"audit head  {made.head.number} {made.head.hash}")
    say("Keep these lines outside the laboratory: they show later that nothing before the release was changed.")
