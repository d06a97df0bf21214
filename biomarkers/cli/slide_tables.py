"""`biomarkers ihc batches` and `ihc pairs`: what the slides of a laboratory say together.

Knows what is asked for and how it is shown. Must not know how batches are judged or visits compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from biomarkers.ihc.pooling import SlideCircumstances
    from biomarkers.laboratory.slide_pairs import SlidePair
    from biomarkers.laboratory.stain_batches import StainBatch
    from biomarkers.provenance import JsonValue
    from biomarkers.results import Finding, Interval

LAB = typer.Argument(exists=True, file_okay=False, help="The laboratory's folder.")


def _page_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.casefold() != ".html":
        raise typer.BadParameter("the file's name must end in .html")
    return path


def batches(
    lab: Annotated[Path, LAB],
    *,
    stain: Annotated[str, typer.Option(help="Only this stain.")] = "",
    page: Annotated[
        Path | None, typer.Option(callback=_page_file, help="Write a page (.html): controls, limits, drift of stains by slide.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every stain batch: its control slides against their limits, and slides whose stain directions drifted."""
    from biomarkers.laboratory import open_lab
    from biomarkers.laboratory.stain_batches import stain_batches

    with open_lab(lab) as laboratory, laboratory.database.read() as reading:
        study_id = laboratory.definition.study.id
        found = [
            batch
            for batch in stain_batches(reading, laboratory.folder, laboratory.definition)
            if not stain or batch.stain.casefold() == stain.casefold()
        ]
    if page is not None:
        from biomarkers.reports.stain_batch_page import stain_batch_page

        page.write_text(stain_batch_page(found, title=f"Stain batches of {study_id}"), encoding="utf-8")
    if as_json:
        print_json({"batches": [_batch_document(batch) for batch in found]})
        return
    if not found:
        say("No slide on record says in which batch it was stained; a sidecar's batch, or {batch} in a file pattern, does.")
    for batch in found:
        _show_batch(batch)


def _show_batch(batch: StainBatch) -> None:
    words = {True: "accepted", False: "failed", None: "not judged"}
    print_table(
        ("control", "kind", "reads", "from", "to", "verdict"),
        [
            (verdict.slide, verdict.kind, verdict.value, verdict.lower, verdict.upper, words[verdict.is_accepted])
            for verdict in batch.verdicts
        ],
        title=f"{batch.stain}, batch '{batch.batch}': {len(batch.specimens)} specimen slides",
    )
    for finding in (*batch.findings, *(finding for drift in batch.drifts for finding in drift.findings)):
        typer.echo(f"{finding.severity.value.upper()} {finding.code}: {finding.where} {finding.message} {finding.remedy}")
    typer.echo("")


def _batch_document(batch: StainBatch) -> JsonValue:
    return {
        "stain": batch.stain,
        "batch": batch.batch,
        "specimens": [slide.accession_id for slide in batch.specimens],
        "controls": [
            {
                "slide": verdict.slide,
                "kind": verdict.kind,
                "value": verdict.value,
                "limits": [verdict.lower, verdict.upper],
                "accepted": verdict.is_accepted,
            }
            for verdict in batch.verdicts
        ],
        "slides": [
            {
                "slide": drift.slide,
                "angle_deg": dict(drift.angle_deg_by_stain),
                "limit_deg": dict(drift.limit_deg_by_stain),
                "drifted": bool(drift.findings),
            }
            for drift in batch.drifts
        ],
        "findings": [_finding(finding) for finding in batch.findings],
    }


def pairs(
    lab: Annotated[Path, LAB],
    *,
    subject: Annotated[str, typer.Option(help="Only this subject.")] = "",
    measurand: Annotated[str, typer.Option(help="Only this measurand, such as CD8_DENSITY_TISSUE.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare each subject's later slides with baseline: the change with 95 % limits, stain batch and scanner of both.

    Limits cover the spread of cells over the sections, not the choice of section, block or lesion, which between two biopsies
    is usually the larger part.
    """
    from biomarkers.ihc.pooling import POOLING_STEP
    from biomarkers.laboratory import open_lab
    from biomarkers.laboratory.slide_pairs import slide_pairs
    from biomarkers.store.slides import runs_derived_from_slides, stored_slides

    with open_lab(lab) as laboratory:
        rows = laboratory.rows()
        with laboratory.database.read() as reading:
            slides = stored_slides(reading)
            pooled = runs_derived_from_slides(reading, step=POOLING_STEP)
    found = [
        pair
        for pair in slide_pairs(rows, slides, pooled)
        if (not subject or pair.subject_id == subject) and (not measurand or pair.measurand == measurand)
    ]
    if as_json:
        print_json({"pairs": [_pair_document(pair) for pair in found]})
        return
    columns = ("subject", "measurand", "visit", "baseline", "later", "change", "from", "to", "ratio", "from", "to", "differs")
    print_table(columns, [_pair_row(pair) for pair in found])
    for finding in dict.fromkeys(finding for pair in found for finding in pair.change.findings):
        say(f"{finding.severity.value.upper()} {finding.code}: {finding.where} {finding.message} {finding.remedy}")


def _pair_row(pair: SlidePair) -> tuple[object, ...]:
    change = pair.change
    return (
        pair.subject_id,
        pair.measurand,
        pair.visit,
        change.baseline,
        change.later,
        change.difference,
        *_limits(change.difference_interval),
        change.ratio,
        *_limits(change.ratio_interval),
        " ".join(finding.code for finding in change.findings),
    )


def _limits(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.lower, interval.upper)


def _pair_document(pair: SlidePair) -> JsonValue:
    change = pair.change
    return {
        "subject_id": pair.subject_id,
        "visit": pair.visit,
        "measurand": pair.measurand,
        "unit": pair.unit,
        "accession_id": pair.accession_id,
        "baseline_accession_id": pair.baseline_accession_id,
        "run_id": pair.run_id,
        "baseline_run_id": pair.baseline_run_id,
        "baseline": change.baseline,
        "later": change.later,
        "difference": change.difference,
        "difference_interval": list(_limits(change.difference_interval)),
        "ratio": change.ratio,
        "ratio_interval": list(_limits(change.ratio_interval)),
        "baseline_slides": _circumstances(change.baseline_circumstances),
        "later_slides": _circumstances(change.later_circumstances),
        "findings": [_finding(finding) for finding in change.findings],
    }


def _circumstances(given: SlideCircumstances) -> JsonValue:
    return {"batch": given.batch, "scanner": given.scanner}


def _finding(finding: Finding) -> JsonValue:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "where": finding.where,
        "message": finding.message,
        "remedy": finding.remedy,
    }
