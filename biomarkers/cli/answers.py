"""What the commands share by which a person answers for a file that waits in an inbox."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer


def answer_for(lab: Path, file: Path, *, reason: str, word: Callable[[Path, str], str]) -> None:
    """Put a person's word beside a waiting file and take in what belongs together; end as the outcome says.

    Parameters
    ----------
    word
        Given the sidecar's place and the reason, returns what the sidecar is to say.
    """
    from biomarkers.cli.lab import print_report, require_in_inbox, sweep_once
    from biomarkers.lab.inbox import stem
    from biomarkers.laboratory import open_lab

    if not reason.strip():
        raise typer.BadParameter("--reason must say why.")
    with open_lab(lab) as laboratory:
        require_in_inbox(laboratory, [file])
        name = stem(file.name)
        sidecar = file.with_name(f"{name}.toml")
        sidecar.write_text(word(sidecar, reason.strip()), encoding="utf-8")
        together = sorted(one for one in file.parent.iterdir() if one.is_file() and stem(one.name) == name)
        report = sweep_once(laboratory, together)
    print_report(report)
    if report.faults:
        raise typer.Exit(3)
    if any(one.state not in {"recorded", "seen"} for one in report.files):
        raise typer.Exit(1)
