"""Commands about a whole laboratory: init, ingest, recompute, dispose, status, demo."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.laboratory import Laboratory, LabStatus
    from flows.bench import Bench, Progress, SweepReport
    from flows.recompute import RecomputeReport


class Decision(StrEnum):
    """What a person decides about a result."""

    REPORTABLE = "reportable"
    REPEATED = "repeated"
    EXCLUDED = "excluded"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init")(init)
    app.command("ingest")(ingest)
    app.command("recompute")(recompute)
    app.command("dispose")(dispose)
    app.command("status")(status)
    app.command("demo")(demo)


def init(
    lab: Path = typer.Argument(..., help="The folder to make."),
    *,
    study: Path | None = typer.Option(None, "--study", help="A study.toml; the packaged study if left out.", dir_okay=False),
) -> None:
    """Make a laboratory's folder."""
    from biomarkers.laboratory import create_laboratory

    with create_laboratory(lab, study=study) as laboratory:
        say(f"Laboratory for study '{laboratory.definition.study.id}' made in {laboratory.folder.root}.")
        say(f"Drop files into {laboratory.folder.root / 'inbox'}, then run: biomarkers ingest {lab}")


def ingest(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    files: list[Path] = typer.Argument(None, help="Only these files of its inboxes.", exists=True, dir_okay=False),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Take what lies in the inboxes: one sweep, now. Ends with 1 when a file was quarantined."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        require_in_inbox(laboratory, files or [])
        report = sweep_once(laboratory, files or [])
    if as_json:
        print_json(
            {
                "files": [
                    {
                        "name": file.name,
                        "assay": file.assay,
                        "state": file.state,
                        "what": file.reason.what,
                        "where": file.reason.where,
                        "remedy": file.reason.remedy,
                    }
                    for file in report.files
                ],
                "faults": list(report.faults),
            }
        )
    else:
        print_report(report)
    if report.faults:
        raise typer.Exit(3)
    if any(file.state == "quarantined" for file in report.files):
        raise typer.Exit(1)


def require_in_inbox(laboratory: Laboratory, files: list[Path]) -> None:
    """Refuse files that lie in none of the laboratory's inboxes."""
    inbox = (laboratory.folder.root / "inbox").resolve()
    outside = [str(file) for file in files if inbox not in file.resolve().parents]
    if outside:
        raise typer.BadParameter(
            f"{', '.join(outside)} lies outside {inbox}. The folder says which assay a file is of: drop it into an inbox first."
        )


def sweep_once(laboratory: Laboratory, files: list[Path]) -> SweepReport:
    """Run one sweep with a progress bar; starts a Prefect server where none runs."""
    from concurrent.futures import ThreadPoolExecutor

    from flows.watching import settled_files

    with ThreadPoolExecutor(1) as aside:
        settling = aside.submit(settled_files, laboratory, files)
        with working_bench(laboratory) as bench:
            from flows.sweep import run_sweep

            return run_sweep(bench, settling.result())


@contextmanager
def working_bench(laboratory: Laboratory) -> Iterator[Bench]:
    """Set up a bench with a progress bar, and a Prefect server where none runs.

    Prefect reads its settings from the environment when it is imported: flows may be imported within the block, not before.
    """
    from flows.bench import at_bench
    from flows.server import prefect_server

    shared = laboratory.settings.orchestration.api_url
    with _progress() as show, at_bench(laboratory, show) as bench, prefect_server(laboratory.folder, shared=shared):
        yield bench


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a bar on stderr; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as ProgressBar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("waiting for files and the server", total=None)

        def show(done: int, known: int, text: str) -> None:
            bar.update(line, completed=done, total=known, description=text)

        yield show


def print_report(report: SweepReport) -> None:
    """Print what became of the files of a sweep."""
    for file in report.files:
        if file.state in {"quarantined", "waiting"}:
            typer.echo(f"{file.state:12} {file.assay}/{file.name}: {file.reason.what} {file.reason.where} {file.reason.remedy}")
    counts = {state: sum(file.state == state for file in report.files) for state in sorted({f.state for f in report.files})}
    typer.echo(", ".join(f"{count} {state}" for state, count in counts.items()) or "Nothing lay in the inboxes.")
    for fault in report.faults:
        say(fault)


def recompute(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    reason: str = typer.Option(..., "--reason", help="Why; kept with every result that changes."),
    only: list[str] = typer.Option([], "--only", help="Only this run, by its run_id or name; give it again for more."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Make new results from the same bytes by today's definition and code; old ones stay, superseded.

    What comes out for reviewed or released runs is proposed, and counts when a person accepts it.
    """
    from biomarkers.laboratory import open_lab

    if not reason.strip():
        raise typer.BadParameter("--reason must say why.")
    with open_lab(lab) as laboratory:
        report = recompute_once(laboratory, reason.strip(), only=laboratory.run_ids(only))
    if as_json:
        print_json(
            {
                "changed": report.changed,
                "unchanged": report.unchanged,
                "derived": report.derived,
                "proposed": report.proposed,
                "failed": list(report.failed),
            }
        )
    else:
        typer.echo(f"{report.changed} runs have new results, {report.unchanged} came out the same.")
        typer.echo(f"{report.derived} derived runs changed.")
        if report.proposed:
            typer.echo(f"{report.proposed} signed runs came out otherwise; see 'biomarkers proposals list {lab}'.")
        for failed in report.failed:
            typer.echo(f"kept as it was: {failed}")
    if report.failed:
        raise typer.Exit(1)


def recompute_once(laboratory: Laboratory, reason: str, *, only: Collection[str] = ()) -> RecomputeReport:
    """Compute every run again, or only some, with a progress bar; starts a Prefect server where none runs."""
    with working_bench(laboratory) as bench:
        from flows.recompute import run_recompute

        return run_recompute(bench, reason=reason, only=only)


def dispose(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    result: str = typer.Argument(..., help="The result_id, as in the timepoint table."),
    *,
    decision: Decision = typer.Option(..., "--as", help="What becomes of the result."),
    reason: str = typer.Option(..., "--reason", help="Why; kept on record."),
) -> None:
    """Decide which run counts; the decision, its reason and who decided stay on record."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        laboratory.dispose(result, decision=decision.value, reason=reason)
    say(f"Result {result} is {decision.value}.")


def status(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Tell what became of every file, what waits and for what, what is due and missing."""
    from biomarkers.laboratory import open_lab

    with open_lab(lab) as laboratory:
        found = laboratory.status()
    if as_json:
        print_json(_status_document(found))
        return
    rows = [(file.state, file.assay, file.name, file.what, file.remedy) for file in found.files]
    print_table(["state", "assay", "file", "what happened", "what to do"], rows, title="Files")
    needed = [(due.subject_id, due.visit, due.assay, due.status) for due in found.due if due.status in {"missing", "pending"}]
    print_table(["subject", "visit", "assay", "status"], needed, title="\nDue and not there")
    if found.stale:
        print_table(
            ["assay", "run", "why", "signed results"],
            [(run.assay, run.name, run.why, run.proposed) for run in found.stale],
            title="\nMade from what no longer stands; 'biomarkers recompute' renews them",
        )
    for specimen in found.waiting_specimens:
        typer.echo(f"Specimen waits for a person: {specimen}")


def _status_document(found: LabStatus) -> dict[str, list[dict[str, str | None]]]:
    return {
        "files": [
            {
                "name": file.name,
                "assay": file.assay,
                "state": file.state,
                "what": file.what,
                "where": file.where,
                "remedy": file.remedy,
                "sha256": file.sha256,
                "received_at": None if file.received_at is None else file.received_at.isoformat(),
            }
            for file in found.files
        ],
        "due": [
            {"subject_id": due.subject_id, "visit": due.visit, "assay": due.assay, "status": due.status} for due in found.due
        ],
        "waiting_specimens": [{"what": specimen} for specimen in found.waiting_specimens],
        "stale": [
            {"run_id": run.run_id, "name": run.name, "assay": run.assay, "why": run.why, "proposed": run.proposed}
            for run in found.stale
        ],
    }


def demo(
    lab: Path = typer.Argument(Path("demo-lab"), help="The folder to make; remade if a demo made it."),
    *,
    subjects: int = typer.Option(12, "--subjects", min=3, help="How many subjects to simulate."),
    seed: int = typer.Option(1, "--seed", min=0, help="The same seed gives the same study."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Simulate a study, ingest its files, print the timepoint table and how close it came to the truth."""
    from biomarkers.cli.demonstration import run_demo

    raise typer.Exit(run_demo(lab, subjects=subjects, seed=seed, as_json=as_json))
