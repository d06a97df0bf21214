"""`biomarkers cytometry`: one FCS file, without a lab.

Knows how a gating is shown on a terminal and as JSON. Must not know how it is done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from biomarkers.cytometry.analysis import PopulationRecord
    from biomarkers.cytometry.gating import Gating
    from biomarkers.cytometry.panel import Panel
    from biomarkers.provenance import JsonValue
    from biomarkers.results import Finding

app = typer.Typer(no_args_is_help=True, help="Flow cytometry, one file at a time, without a lab.")


@app.callback()
def _group() -> None:
    """Keep `gate` a subcommand while it is the only one."""


@app.command()
def gate(
    file: Annotated[Path, typer.Argument(help="FCS file, version 2.0 to 3.2.", exists=True, dir_okay=False)],
    panel: Annotated[str, typer.Option(help="Gating template: a packaged name such as pbmc-lineage, or a .toml file.")],
    membership: Annotated[
        Path | None, typer.Option(help="Write a Parquet file: one boolean column a population, one row an event.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Gate one FCS file and print its populations with frequencies, intervals and findings."""
    from biomarkers.cytometry.analysis import population_records  # noqa: PLC0415  - keeps the command line quick to start
    from biomarkers.cytometry.gating import gate_acquisition  # noqa: PLC0415  - keeps the command line quick to start
    from biomarkers.readers.fcs import read_fcs  # noqa: PLC0415  - keeps the command line quick to start

    template = _panel(panel)
    gated = gate_acquisition(read_fcs(file), template)
    records = population_records(gated)
    if membership is not None:
        _write_membership(gated, membership)
    if as_json:
        typer.echo(json.dumps(_document(gated, records), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        _show(gated, records)


def _panel(name: str) -> Panel:
    from biomarkers.readers.panels import packaged_panel, read_panel  # noqa: PLC0415  - keeps the command line quick to start

    return read_panel(Path(name)) if name.endswith(".toml") else packaged_panel(name)


def _write_membership(gated: Gating, path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415  - keeps the command line quick to start
    from pyarrow import parquet  # noqa: PLC0415  - keeps the command line quick to start

    from biomarkers.errors import SourceFileError  # noqa: PLC0415  - keeps the command line quick to start

    try:
        parquet.write_table(pa.table({name: pa.array(members) for name, members in gated.membership.items()}), path)
    except OSError as error:
        raise SourceFileError(
            what=f"The membership cannot be written: {error.strerror or error}.",
            where=f"File '{path}'.",
            remedy="Choose a folder that exists and that this account may write to.",
        ) from error


def _document(gated: Gating, records: tuple[PopulationRecord, ...]) -> JsonValue:
    return {
        "events": gated.event_count,
        "panel": gated.panel.name,
        "populations": [
            {
                "name": record.name,
                "parent": record.parent,
                "count": record.count,
                "parent_count": record.parent_count,
                "frequency_percent": record.frequency_percent,
                "denominator": record.denominator,
                "lower": record.lower,
                "upper": record.upper,
                "median_intensity": dict(record.median_intensity),
                "quality": record.quality,
                "cuts": dict(record.cuts),
                "reportable": record.reportable,
                "findings": [_finding(finding) for finding in record.findings],
            }
            for record in records
        ],
        "findings": [_finding(finding) for finding in gated.findings],
    }


def _finding(finding: Finding) -> JsonValue:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "where": finding.where,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _show(gated: Gating, records: tuple[PopulationRecord, ...]) -> None:
    from rich.console import Console  # noqa: PLC0415  - keeps the command line quick to start
    from rich.table import Table  # noqa: PLC0415  - keeps the command line quick to start
    from rich.text import Text  # noqa: PLC0415  - keeps the command line quick to start

    table = Table(title=f"{gated.acquisition}: {gated.event_count} events, panel {gated.panel.name}", title_justify="left")
    table.add_column("population")
    table.add_column("of")
    for heading in ("count", "%", "95 % limits", "quality"):
        table.add_column(heading, justify="right")
    table.add_column("findings")
    for record in records:
        shown = record.reportable and record.frequency_percent is not None
        table.add_row(
            record.name,
            record.denominator,
            str(record.count),
            f"{record.frequency_percent:.2f}" if shown and record.frequency_percent is not None else "not reportable",
            f"{record.lower:.2f} to {record.upper:.2f}"
            if shown and record.lower is not None and record.upper is not None
            else "",
            "" if record.quality is None else f"{record.quality:.2f}",
            ", ".join(sorted({finding.code for finding in record.findings})),
        )
    Console().print(table)
    talk = Console(stderr=True)
    said = dict.fromkeys((*gated.findings, *(finding for record in records for finding in record.findings)))
    for finding in said:
        talk.print(Text(f"{finding.severity.value} {finding.code}: {finding.where} {finding.message} {finding.remedy}"))
