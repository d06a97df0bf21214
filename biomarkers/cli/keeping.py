"""Commands of operators: up, night, backup, restore, doctor."""

from __future__ import annotations

from pathlib import Path

import typer

from biomarkers.cli.output import print_json, say


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("night")(night)
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.command("doctor")(doctor)


def up(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    unit: bool = typer.Option(False, "--print-unit", help="Print a unit of systemd that runs this as a service, and end."),
) -> None:
    """Run everything a laboratory needs on this machine until stopped: orchestration, watching, nights and pages."""
    import signal
    import threading

    from biomarkers.lab.folders import existing_lab

    if unit:
        typer.echo(_unit(existing_lab(lab).root.resolve()), nl=False)
        return
    from biomarkers.laboratory import open_lab
    from flows.server import stop_lasting_server
    from flows.services import supervisor
    from flows.supervisor import only_one

    folder = existing_lab(lab)
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    with only_one(folder):
        with open_lab(lab) as laboratory:  # says at once what is wrong with the declarations, and makes missing tables
            settings = laboratory.settings
        try:
            supervisor(folder, settings, say=typer.echo).run(stop)
        finally:
            stop_lasting_server(folder)
            typer.echo("server       stopped")


def _unit(root: Path) -> str:
    """Write the unit of a service that runs as who asks for it, writes to the laboratory alone, and is given time to stop."""
    import os
    import pwd
    import sys

    program = Path(sys.executable).with_name("biomarkers")
    place = str(root).replace("%", "%%")
    return f"""\
[Unit]
Description=Biomarker laboratory {root.name}
After=network-online.target
Wants=network-online.target
RequiresMountsFor="{place}"

[Service]
Type=exec
User={pwd.getpwuid(os.getuid()).pw_name}
ExecStart="{program}" up "{place}"
Restart=on-failure
RestartSec=15
TimeoutStopSec=90
KillMode=mixed
UMask=0027
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ReadWritePaths="{place}"

[Install]
WantedBy=multi-user.target
"""


def night(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Do a night's work now: sweep, renew what is stale, back up, look at everything, and write the night's page."""
    from biomarkers.cli.lab import working_bench
    from biomarkers.laboratory import open_lab
    from biomarkers.reports.night_page import night_json

    with open_lab(lab) as laboratory, working_bench(laboratory) as bench:
        from flows.nightly import run_night

        done = run_night(bench)
    if as_json:
        typer.echo(night_json(done))
    else:
        for step in done.steps:
            typer.echo(f"{step.verdict:8} {step.name:14} {step.what}{'. ' if step.remedy else ''}{step.remedy}")
        say(f"The page of the night is in {lab / 'nights'}.")
    for fault in bench.faults:
        say(fault)
    if done.verdict == "failed":
        raise typer.Exit(1)


def backup(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    to: Path | None = typer.Option(
        None, "--to", help="The folder that holds the backups; lab.toml's if left out.", file_okay=False
    ),
) -> None:
    """Copy database, declarations and original bytes while the laboratory works, and prove that the copy can be restored."""
    from biomarkers import safekeeping
    from biomarkers.checkup import backup_store
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        made = safekeeping.backup(laboratory, to or backup_store(laboratory))
    safekeeping.prove(made)
    manifest = made.manifest
    typer.echo(f"{made.place}")
    say(f"{len(manifest.files)} files, {len(manifest.raw)} originals; audit trail: {manifest.audit_entries} entries.")
    say(f"Keep its end elsewhere: {manifest.audit_head}")


def restore(
    backup: Path = typer.Argument(..., help="One of the folders that 'biomarkers backup' made.", exists=True, file_okay=False),
    lab: Path = typer.Argument(..., help="The new laboratory's folder; must not exist, or be empty."),
    *,
    database_url: str | None = typer.Option(None, "--database-url", help="An empty PostgreSQL database to restore into."),
) -> None:
    """Make a laboratory from a backup in a new folder; every byte is checked against the backup's manifest."""
    from biomarkers import safekeeping

    with safekeeping.restore(backup, lab, database_url=database_url) as laboratory:
        verdict = laboratory.verify_audit()
    say(f"Restored in {lab}; the audit trail has {verdict.entries} entries and is {'whole' if verdict.is_whole else 'BROKEN'}.")
    say("Files in 'done' and evidence pages are not kept in backups: the originals are in 'raw', pages are drawn again.")
    if not verdict.is_whole:
        raise typer.Exit(1)


def doctor(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    quick: bool = typer.Option(False, "--quick", help="Do not read every original and compute every timepoint again."),
    rebuild: bool = typer.Option(False, "--rebuild", help="First compute anew what the view 'timepoint' keeps."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Look whether the laboratory can do its work: space, rights, clock, database, versions, audit, backup, digests."""
    from biomarkers.checkup import Verdict, examine
    from biomarkers.laboratory import open_lab
    from biomarkers.store import timepoint_rows

    with open_lab(lab) as laboratory:
        if rebuild:
            with laboratory.database.write() as transaction:
                timepoint_rows.rebuild(transaction)
        findings = examine(laboratory, digests=not quick)
    if as_json:
        print_json(
            {
                "checks": [
                    {"subject": f.subject, "verdict": f.verdict.value, "what": f.what, "remedy": f.remedy} for f in findings
                ]
            }
        )
    else:
        for finding in findings:
            typer.echo(
                f"{finding.verdict.value:8} {finding.subject:9} {finding.what}{'. ' if finding.remedy else ''}{finding.remedy}"
            )
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(1)
