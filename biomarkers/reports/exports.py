"""A laboratory's results as standard-shaped files: SDTM, ADaM, CIMAC-CIDC.

Knows which data sets and files a standard is delivered as. Must not know how a variable is filled, nor write to a disk. Every
file depends on the results, the study and the date alone, never on when it was made.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from datetime import UTC, date, datetime, time
from enum import StrEnum

from biomarkers.cytometry.panel import Panel
from biomarkers.ihc.pooling import POOLING_STEP
from biomarkers.ihc.records import ScoreRecord
from biomarkers.laboratory.face import Laboratory
from biomarkers.provenance import software_version, utc_now
from biomarkers.readers.panels import read_panel
from biomarkers.readers.stain_protocols import protocol_named
from biomarkers.reports.adam import adam_datasets
from biomarkers.reports.cdisc import sdtm_datasets
from biomarkers.reports.cidc import COLUMNS, CidcPreamble, CidcRow, cidc_document, cidc_row
from biomarkers.reports.dataset_json import write_dataset_json
from biomarkers.reports.shaped import Dataset, define_html, define_table
from biomarkers.reports.tables import write_table
from biomarkers.reports.xpt import write_xpt
from biomarkers.results import Assay
from biomarkers.store.evidence import Analysis
from biomarkers.store.results import current_runs, read_analysis
from biomarkers.store.slides import runs_derived_from_slides
from biomarkers.study.arms import ArmAssignments
from biomarkers.timepoints.alignment import TimepointRow

WHOLE_SECTION = "tissue"
"""The region of a slide whose scores are exported: all its tissue."""


class Standard(StrEnum):
    """What results can be exported as."""

    SDTM = "sdtm"
    ADAM = "adam"
    CIDC = "cidc"


def export_files(
    laboratory: Laboratory,
    standard: Standard,
    *,
    as_of: date | None = None,
    assignments: ArmAssignments | None = None,
) -> Mapping[str, bytes]:
    """Return the files of an export by name.

    Parameters
    ----------
    assignments
        Gives ADaM its planned treatments; the other standards' data sets here hold none.
    """
    day = as_of or utc_now().date()
    rows = laboratory.rows(as_of=day)
    roster = laboratory.standing().roster
    if standard is Standard.CIDC:
        return _cidc_files(laboratory, rows)
    if standard is Standard.SDTM:
        datasets = sdtm_datasets(laboratory.definition, rows, roster, panels=_panels(laboratory))
        title = "SDTM-shaped data sets"
    else:
        datasets = adam_datasets(laboratory.definition, rows, roster, assignments)
        title = "ADaM-shaped data sets"
    return shaped_files(datasets, study_id=laboratory.definition.study.id, as_of=day, title=title)


def shaped_files(datasets: Sequence[Dataset], *, study_id: str, as_of: date, title: str) -> Mapping[str, bytes]:
    """Return each data set as Dataset-JSON and as a transport file, and the table that defines them as CSV and as a page."""
    # The date the data hold for, not the moment of writing: the same data give the same bytes.
    created_at = datetime.combine(as_of, time(0), UTC)
    files: dict[str, bytes] = {}
    for one in datasets:
        files[f"{one.name.lower()}.json"] = write_dataset_json(
            one, study_id=study_id, created_at=created_at, software=software_version()
        )
        files[f"{one.name.lower()}.xpt"] = write_xpt(one, created_at=created_at)
    files["define.csv"] = write_table(define_table(datasets), "csv")
    files["define.html"] = define_html(datasets, f"{title}, study {study_id}, as of {as_of}").encode()
    return files


def _panels(laboratory: Laboratory) -> Mapping[str, Panel]:
    places = {one.name: laboratory.folder.panels / f"{one.name}.toml" for one in laboratory.definition.panels}
    return {name: read_panel(path) for name, path in places.items() if path.is_file()}


def _cidc_files(laboratory: Laboratory, rows: Iterable[TimepointRow]) -> Mapping[str, bytes]:
    """Return a document and a table for each stain of the study."""
    by_stain = _rows_by_stain(_slides(laboratory, rows))
    files: dict[str, bytes] = {}
    for stain in laboratory.definition.stains:
        protocol = protocol_named(stain.protocol, laboratory.folder.stain_protocols)
        preamble = CidcPreamble(
            protocol_identifier=laboratory.definition.study.id,
            antibody=stain.code,
            clone=protocol.clone,
            stainer=protocol.platform,
        )
        found = by_stain.get(stain.code, [])
        document = cidc_document(preamble, found)
        files[f"cidc-{stain.code}.json"] = (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
        files[f"cidc-{stain.code}.csv"] = _cidc_csv(found)
    return files


def _slides(laboratory: Laboratory, rows: Iterable[TimepointRow]) -> list[Analysis]:
    """Return the slides behind the table, each once, by accession; behind a pooled number stand several."""
    accession_by_run = {row.run_id: row.accession_id or "" for row in rows if row.assay == Assay.IHC and row.run_id}
    with laboratory.database.read() as reading:
        for slide_run, pooled in runs_derived_from_slides(reading, step=POOLING_STEP).items():
            for run_id in pooled & accession_by_run.keys():
                accession_by_run[slide_run] = accession_by_run[run_id]
        runs = [run for run in current_runs(reading, assay=Assay.IHC) if run.run_id in accession_by_run]
        runs.sort(key=lambda run: (accession_by_run[run.run_id], run.run_id))
        return [read_analysis(reading, analysis_id=run.analysis_id) for run in runs]


def _rows_by_stain(slides: Iterable[Analysis]) -> Mapping[str, list[CidcRow]]:
    found: dict[str, list[CidcRow]] = {}
    for slide in slides:
        scores: Sequence[ScoreRecord] = getattr(slide, "scores", ())
        for score in scores:
            if score.region == WHOLE_SECTION and slide.run.results:
                row = cidc_row(score, cimac_id=slide.run.results[0].accession_id)
                found.setdefault(score.stain, []).append(row)
    return found


def _cidc_csv(rows: Sequence[CidcRow]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if value is None else value for value in astuple(row)] for row in rows)
    return buffer.getvalue().encode()
