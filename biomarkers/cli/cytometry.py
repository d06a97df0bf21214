"""`biomarkers cytometry`: one FCS file, without a lab.

Knows how a gating is shown on a terminal and as JSON. Must not know how it is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.cytometry.acquisition import Acquisition
    from biomarkers.cytometry.analysis import PopulationRecord
    from biomarkers.cytometry.corrections import GateComparison
    from biomarkers.cytometry.evaluation import PopulationCount
    from biomarkers.cytometry.gating import Gating
    from biomarkers.cytometry.panel import Panel
    from biomarkers.provenance import JsonValue
    from biomarkers.results import Finding

app = typer.Typer(no_args_is_help=True, help="Flow cytometry, one file at a time, without a lab.")


@app.command()
def gate(  # noqa: PLR0917  - typer hands options over by name
    file: Annotated[Path, typer.Argument(help="FCS file, version 2.0 to 3.2.", exists=True, dir_okay=False)],
    panel: Annotated[str, typer.Option(help="Gating template: a packaged name such as pbmc-lineage, or a .toml file.")],
    membership: Annotated[
        Path | None, typer.Option(help="Write a Parquet file: one boolean column a population, one row an event.")
    ] = None,
    gatingml: Annotated[Path | None, typer.Option(help="Write the gates found as Gating-ML 2.0 (.xml).")] = None,
    workspace: Annotated[Path | None, typer.Option(help="Write the gates found as a FlowJo 10 workspace (.wsp).")] = None,
    spillover: Annotated[
        Path | None, typer.Option(help="Undo this spillover matrix (CSV or TSV, detectors in its header), not the file's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Gate one FCS file and print its populations with frequencies, intervals and findings."""
    from biomarkers.cytometry.analysis import population_records
    from biomarkers.cytometry.gating import gate_acquisition

    template = _panel(panel)
    acquisition = _acquisition(file, spillover)
    gated = gate_acquisition(acquisition, template)
    records = population_records(gated)
    if gatingml is not None:
        _write_gatingml(gatingml, gated, acquisition)
    if workspace is not None:
        _write_workspace(workspace, file.name, gated, acquisition)
    if membership is not None:
        from biomarkers.readers.memberships import write_membership

        write_membership(membership, gated.membership)
    if as_json:
        print_json(_document(gated, records))
    else:
        _show(gated, records)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="FCS file, version 2.0 to 3.2.", exists=True, dir_okay=False)],
    gates: Annotated[
        Path, typer.Argument(help="Gating-ML 2.0 (.xml) or FlowJo 10 workspace (.wsp).", exists=True, dir_okay=False)
    ],
    sample: Annotated[str, typer.Option(help="The file's name in the workspace, where it has another one there.")] = "",
    membership: Annotated[
        Path | None, typer.Option(help="Write a Parquet file: one boolean column a population, one row an event.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Apply gates drawn in other software to one FCS file and count each population."""
    from biomarkers.cytometry.evaluation import count_populations, evaluate
    from biomarkers.readers.gates import read_gates

    strategy = read_gates(gates).strategy_for(sample or file.name)
    acquisition = _acquisition(file, None)
    members = evaluate(strategy, acquisition)
    counts = count_populations(strategy, members)
    if membership is not None:
        from biomarkers.readers.memberships import write_membership

        write_membership(membership, members)
    if as_json:
        print_json({"events": acquisition.event_count, "populations": [_counted(one) for one in counts]})
    else:
        print_table(
            ["population", "count", "percent of parent"],
            [["/".join(one.path), one.count, one.percent] for one in counts],
            title=f"{acquisition.name}: {acquisition.event_count} events, gates of {gates.name}",
        )


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(help="FCS file, version 2.0 to 3.2.", exists=True, dir_okay=False)],
    gates: Annotated[
        Path, typer.Argument(help="Corrected gates: Gating-ML 2.0 or FlowJo 10 workspace.", exists=True, dir_okay=False)
    ],
    panel: Annotated[str, typer.Option(help="Gating template: a packaged name such as pbmc-lineage, or a .toml file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Compare gates a person corrected with those found: borders moved, counts and frequencies before and after."""
    from biomarkers.cytometry.corrections import compare_gates, comparison_document
    from biomarkers.cytometry.gating import gate_acquisition
    from biomarkers.readers.gates import read_gates

    acquisition = _acquisition(file, None)
    gated = gate_acquisition(acquisition, _panel(panel))
    comparison = compare_gates(gated, acquisition, read_gates(gates).strategy_for(file.name))
    if as_json:
        print_json(comparison_document(comparison))
    else:
        _show_comparison(comparison)


@app.command("import-template")
def import_template(
    file: Annotated[Path, typer.Argument(help="Gating template of openCyto, as CSV.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="What the panel shall be called: lower case letters, digits, hyphens.")],
) -> None:
    """Translate an openCyto gating template and print it as a panel in TOML; what differs is told beside it."""
    from biomarkers.readers.opencyto_templates import panel_text, read_opencyto_template

    imported = read_opencyto_template(file, name=name)
    for note in imported.notes:
        say(note)
    typer.echo(panel_text(imported.panel), nl=False)


def _acquisition(file: Path, spillover: Path | None) -> Acquisition:
    from dataclasses import replace

    from biomarkers.readers.fcs import read_fcs

    acquisition = read_fcs(file)
    if spillover is None:
        return acquisition
    from biomarkers.readers.spillover_matrices import read_spillover_table

    return replace(acquisition, spillover=read_spillover_table(spillover))


def _write_gatingml(path: Path, gated: Gating, acquisition: Acquisition) -> None:
    from biomarkers.cytometry.found_gates import found_gates
    from biomarkers.readers.gatingml_writing import write_gatingml

    found = found_gates(gated, acquisition)
    write_gatingml(path, found.strategy)
    _say_left_out(path, found.left_out)


def _write_workspace(path: Path, file_name: str, gated: Gating, acquisition: Acquisition) -> None:
    from biomarkers.cytometry.evaluation import count_populations, evaluate
    from biomarkers.cytometry.found_gates import found_gates
    from biomarkers.readers.flowjo_writing import WorkspaceSample, write_workspace

    found = found_gates(gated, acquisition, ellipses_as_polygons=True)
    counted = count_populations(found.strategy, evaluate(found.strategy, acquisition))
    counts = {one.gate_id: one.count for one in counted}
    sample = WorkspaceSample(file_name=file_name, acquisition=acquisition, strategy=found.strategy, counts=counts)
    write_workspace(path, [sample])
    _say_left_out(path, found.left_out)


def _say_left_out(path: Path, left_out: tuple[str, ...]) -> None:
    if left_out:
        say(f"{path.name} holds no gates for {', '.join(left_out)}: none could be placed.")


def _counted(one: PopulationCount) -> JsonValue:
    return {
        "path": list(one.path),
        "count": one.count,
        "parent_count": one.parent_count,
        "frequency_percent": one.percent,
    }


def _show_comparison(comparison: GateComparison) -> None:
    print_table(
        ["population", "gate", "count before", "after", "percent before", "after", "gained", "lost", "borders"],
        [
            [
                change.population,
                change.kind,
                change.count_before,
                change.count_after,
                change.percent_before,
                change.percent_after,
                change.gained,
                change.lost,
                ", ".join(f"{move.channel} {move.side}" for move in change.moves),
            ]
            for change in comparison.changes
        ],
        title=f"{comparison.acquisition}: corrected gates beside those found",
    )
    if comparison.unknown:
        say(f"Not used, because the panel does not know them: {', '.join(comparison.unknown)}.")


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
