"""`biomarkers cytometry`: one FCS file, without a lab.

Knows how a gating is shown on a terminal and as JSON. Must not know how it is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.output import print_json, print_table, say

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
    from biomarkers.cytometry.analysis import population_records
    from biomarkers.cytometry.gating import gate_acquisition
    from biomarkers.readers.fcs import read_fcs

    template = _panel(panel)
    gated = gate_acquisition(read_fcs(file), template)
    records = population_records(gated)
    if membership is not None:
        from biomarkers.readers.memberships import write_membership

        write_membership(membership, gated.membership)
    if as_json:
        print_json(_document(gated, records))
    else:
        _show(gated, records)


def _panel(name: str) -> Panel:
    from biomarkers.readers.panels import packaged_panel, read_panel

    return read_panel(Path(name)) if name.endswith(".toml") else packaged_panel(name)


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
    print_table(
        ["population", "of", "count", "percent", "lower", "upper", "quality", "findings"],
        [
            [
                record.name,
                record.denominator,
                record.count,
                # A number that must not leave the laboratory is not shown to people either.
                *([record.frequency_percent, record.lower, record.upper] if record.reportable else ["-", "-", "-"]),
                record.quality,
                ", ".join(sorted({finding.code for finding in record.findings})),
            ]
            for record in records
        ],
        title=f"{gated.acquisition}: {gated.event_count} events, panel {gated.panel.name}",
    )
    for finding in dict.fromkeys((*gated.findings, *(finding for record in records for finding in record.findings))):
        say(f"{finding.severity.value} {finding.code}: {finding.where} {finding.message} {finding.remedy}")
