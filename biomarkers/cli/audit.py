"""`biomarkers audit`: the record of who did what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.output import print_json

if TYPE_CHECKING:
    from biomarkers.store.audit import AuditHead

app = typer.Typer(no_args_is_help=True, help="The record of who did what.")


@app.callback()
def _group() -> None:
    """Keep `verify` a command of its own name, although it is the only one."""


@app.command("verify")
def verify(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    head: str = typer.Option("", "--head", help="NUMBER:HASH as printed earlier and kept outside the laboratory."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Check the hash chain from its first entry, and name the first broken one."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        verdict = laboratory.verify_audit(expected_head=_head(head))
    reached = f"{verdict.head.number}:{verdict.head.hash}"
    broken = "" if verdict.broken is None else f"Audit entry {verdict.broken.number} is broken: {verdict.broken.what}."
    if as_json:
        print_json({"whole": verdict.is_whole, "entries": verdict.entries, "head": reached, "broken": broken})
    else:
        typer.echo(broken or f"The audit chain is whole: {verdict.entries} entries, head {reached}")
    if not verdict.is_whole:
        raise typer.Exit(1)


def _head(text: str) -> AuditHead | None:
    from biomarkers.store.audit import AuditHead

    if not text:
        return None
    number, _, digest = text.partition(":")
    if not number.isdigit() or not digest:
        raise typer.BadParameter("--head takes NUMBER:HASH, as this command prints it.")
    return AuditHead(number=int(number), hash=digest)
