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
    from biomarkers.laboratory.cut_overview import CutOverview
    from biomarkers.provenance import JsonValue
    from biomarkers.results import Finding

app = typer.Typer(no_args_is_help=True, help="Flow cytometry: one file at a time without a lab, and a lab's cuts over batches.")

DataSet = Annotated[int | None, typer.Option(min=1, help="Which data set, where the file holds several; the first is 1.")]


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
    data_set: DataSet = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Gate one FCS file and print its populations with frequencies, intervals and findings.

    Stretches of unsteady signal or flow are left out, as they are in a laboratory.
    """
    from biomarkers.cytometry.analysis import population_records
    from biomarkers.cytometry.examined import examine, with_tube_findings

    acquisition = _acquisition(file, spillover, data_set)
    examined = examine(acquisition, _panel(panel))
    gated = with_tube_findings(examined.gated, examined.over_time)
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
def apply(  # noqa: PLR0917  - typer hands options over by name
    file: Annotated[Path, typer.Argument(help="FCS file, version 2.0 to 3.2.", exists=True, dir_okay=False)],
    gates: Annotated[
        Path, typer.Argument(help="Gating-ML 2.0 (.xml) or FlowJo 10 workspace (.wsp).", exists=True, dir_okay=False)
    ],
    sample: Annotated[str, typer.Option(help="The file's name in the workspace, where it has another one there.")] = "",
    membership: Annotated[
        Path | None, typer.Option(help="Write a Parquet file: one boolean column a population, one row an event.")
    ] = None,
    data_set: DataSet = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Apply gates drawn in other software to one FCS file and count each population."""
    from biomarkers.cytometry.evaluation import count_populations, evaluate
    from biomarkers.readers.gates import read_gates

    strategy = read_gates(gates).strategy_for(sample or file.name)
    acquisition = _acquisition(file, None, data_set)
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
    data_set: DataSet = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Compare gates a person corrected with those found: borders moved, counts and frequencies before and after."""
    from biomarkers.cytometry.corrections import compare_gates, comparison_document
    from biomarkers.cytometry.examined import examine
    from biomarkers.readers.gates import read_gates

    acquisition = _acquisition(file, None, data_set)
    gated = examine(acquisition, _panel(panel)).gated
    comparison = compare_gates(gated, acquisition, read_gates(gates).strategy_for(file.name))
    if as_json:
        print_json(comparison_document(comparison))
    else:
        _show_comparison(comparison)


@app.command()
def cuts(
    lab: Annotated[Path, typer.Argument(help="The laboratory's folder.")],
    output: Annotated[Path, typer.Option(help="The page to write (.html).", dir_okay=False)],
    panel: Annotated[str, typer.Option(help="Only acquisitions of this gating template.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Draw every gate's cut over a lab's acquisitions by staining batch, and the control PBMC's charts, on one page."""
    from biomarkers.laboratory import open_lab
    from biomarkers.laboratory.cut_overview import cut_overview
    from biomarkers.reports.cut_page import cut_page

    with open_lab(lab) as laboratory, laboratory.database.read() as reading:
        overview = cut_overview(reading)
        title = f"Cuts over batches, {laboratory.definition.study.id}"
    output.write_text(cut_page(overview, title=title, panel=panel), encoding="utf-8")
    if as_json:
        print_json(_overview_document(overview))
    else:
        failed = [batch.batch for batch in overview.batches if batch.failed]
        say(
            f"{len(overview.tubes)} acquisitions in {len(overview.batches)} batches: written to {output}. "
            + (f"The control PBMC failed in {', '.join(failed)}." if failed else "No control PBMC failed.")
        )


@app.command()
def visits(
    lab: Annotated[Path, typer.Argument(help="The laboratory's folder.")],
    accession: Annotated[str, typer.Option(help="Only this specimen.")] = "",
    measurand: Annotated[str, typer.Option(help="Only this measurand.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002  - a command-line switch
) -> None:
    """Show numbers of acquisitions by themselves beside those gated with their batch, which count."""
    from dataclasses import asdict

    from biomarkers.cytometry.joint_analysis import STEP
    from biomarkers.laboratory import open_lab
    from biomarkers.store.tubes import joint_values

    with open_lab(lab) as laboratory, laboratory.database.read() as reading:
        found = [
            one
            for one in joint_values(reading, step=STEP)
            if accession in {"", one.accession_id} and measurand in {"", one.measurand}
        ]
    if as_json:
        print_json({"values": [asdict(one) for one in found]})
        return
    print_table(
        ["accession", "measurand", "by itself", "lower", "upper", "with its batch", "lower", "upper", "unit", "findings"],
        [
            [
                one.accession_id,
                one.measurand,
                *(one.single, one.single_lower, one.single_upper),
                *(one.joint, one.joint_lower, one.joint_upper),
                one.unit,
                one.finding_codes,
            ]
            for one in found
        ],
        title="Acquisitions by themselves, and gated with their staining batch",
    )


def _overview_document(overview: CutOverview) -> JsonValue:
    return {
        "batches": [
            {"batch": one.batch, "specimens": one.specimens, "has_control": one.has_control, "failed": dict(one.failed)}
            for one in overview.batches
        ],
        "cuts": [
            {
                "acquisition": tube.name,
                "run_id": tube.run_id,
                "batch": tube.batch,
                "day": tube.day,
                "population": population,
                "marker": marker,
                "value": cut.value,
                "quality": cut.quality,
                "origin": cut.origin,
                "joint": tube.joint.get((population, marker)),
                "deviations_from_batch": tube.far.get((population, marker)),
            }
            for tube in overview.tubes
            for (population, marker), cut in tube.found.items()
        ],
    }


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


def _acquisition(file: Path, spillover: Path | None, data_set: int | None) -> Acquisition:
    from dataclasses import replace

    from biomarkers.readers.fcs import read_fcs

    acquisition = read_fcs(file, data_set=data_set)
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
        "removed_events": int(gated.event_count - gated.root_membership.sum()),
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
