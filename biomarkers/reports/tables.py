"""Tables as text, CSV, JSON, Parquet and XLSX.

Knows formats, and that a cell beginning like a formula must stay text. Must not know where a table comes from.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence

import pandas as pd

TEXT_FORMATS = ("text", "csv", "json")
"""Formats that can go to a terminal or a pipe."""

FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")

EXPLANATIONS: Mapping[str, str] = {
    "study_id": "Study, as named in study.toml.",
    "subject_id": "Trial participant.",
    "arm": "Randomised treatment; only for those with the right to it.",
    "visit": "Visit the specimen counts for: its label decides, a window only where there is no label.",
    "visit_number": "Order of the planned visits; empty for visits that are not planned.",
    "study_day": "Day of collection; the first dose is day 1, the day before is day -1, there is no day 0.",
    "days_from_target": "Calendar days after the visit's target date, which delayed cycles move.",
    "in_window": "Whether the specimen was collected within the visit's window.",
    "assay": "elisa, cytometry or ihc.",
    "measurand": "What is reported.",
    "status": "What is known of the cell as of the date, or why it is empty.",
    "value": "The value, or the bound where comparator is < or >.",
    "comparator": "< or > where the value is only a bound.",
    "unit": "Unit of value, lower, upper, baseline and change; the change of a percentage is in percentage points.",
    "lower": "Lower 95 % limit of the value.",
    "upper": "Upper 95 % limit of the value.",
    "denominator": "What a frequency, ratio or density refers to.",
    "baseline": "The value at BASELINE; empty where it is only a bound.",
    "change": "Value less baseline; empty where either is only a bound.",
    "percent_change": "100 times change over baseline; empty where the baseline is 0 or either is a bound.",
    "change_bound_lower": "Least possible change where an end is a bound; no confidence limit; empty where there is no end.",
    "change_bound_upper": "Greatest possible change where an end is a bound; no confidence limit; empty where there is no end.",
    "n_replicates": "Independent readings behind the value: wells, events, cells.",
    "findings": "Codes of what a reader of the number must know, joined by ;.",
    "accession_id": "The laboratory's id of the specimen.",
    "run_id": "The plate, acquisition or scan.",
    "baseline_run_id": "That of the baseline; equal to run_id where both were measured in one run.",
    "result_id": "Names the result for a disposition.",
    "source_sha256": "Digests of the files behind the number, the instrument's first.",
    "n_randomised": "Subjects randomised by the date.",
    "n_on_study": "Of them, whom nothing kept from this visit.",
    "n_progressed": "Not expected here because they progressed before.",
    "n_died": "Not expected here because they died before.",
    "n_withdrawn": "Not expected here because they left the study or withdrew their consent.",
    "n_due": "Received or missing.",
    "n_received": "With a specimen, measured or not.",
    "n_measured": "With a value or a bound.",
    "n_below": "Of them below the range.",
    "n_above": "Of them above the range.",
    "n_not_evaluable": "Measured, and no number can be given.",
    "n_paired": "Measured here and at baseline, and comparable.",
    "n_uncensored_pairs": "Pairs of two numbers.",
    "median": "Median by Turnbull's estimate; a bound where more than half are bounds.",
    "q1": "First quartile by Turnbull's estimate.",
    "q3": "Third quartile by Turnbull's estimate.",
    "geometric_mean": "By maximum likelihood with bounds; none over 70 % bounds or under five exact values.",
    "geometric_mean_lower": "Lower 95 % limit, by the profile likelihood where there are bounds.",
    "geometric_mean_upper": "Upper 95 % limit, by the profile likelihood where there are bounds.",
    "median_change": "Median of the changes from baseline.",
    "median_change_lower": "Lower 95 % limit by order statistics; none under six pairs.",
    "median_change_upper": "Upper 95 % limit by order statistics; none under six pairs.",
    "percent_below": "Share of the measured below the range.",
    "percent_above": "Share of the measured above the range.",
    "pseudo_median_change": "Hodges-Lehmann estimate of the change; a median only where changes are symmetric.",
    "pseudo_median_change_lower": "Its lower 95 % limit, which belongs to the pseudo-median alone.",
    "pseudo_median_change_upper": "Its upper 95 % limit, which belongs to the pseudo-median alone.",
    "individual_changes": "Each change, where there are too few pairs for an interval.",
    "scale": "log: the change is the fold; linear: the difference.",
    "baseline_comparator": "< or > where the baseline is only a bound.",
    "change_unit": "Unit of the change; percentage points where the measurand is a percentage.",
    "fold_change": "Value over baseline; empty where the baseline is 0 or either is a bound.",
    "fold_bound_lower": "Least possible fold where an end is a bound; no confidence limit.",
    "fold_bound_upper": "Greatest possible fold where an end is a bound; no confidence limit.",
    "interval_lower": "Lower 95 % limit of the fold where scale is log, else of the difference.",
    "interval_upper": "Upper 95 % limit of the fold where scale is log, else of the difference.",
    "interval_basis": "Which variances the interval holds.",
    "transition": "Where baseline and value lie against the range.",
    "is_same_run": "Whether both were measured in one run.",
    "baseline_accession_id": "Specimen of the baseline.",
    "n_subjects": "How many subjects.",
    "subjects": "Which, joined by ;.",
    "stage": "What is counted: from randomised to paired.",
    "n_not_yet_due": "The window has not closed.",
    "n_missing": "Due, and nothing was received.",
    "n_pending": "Received, without a result yet.",
    "reason": "Why it is not expected, or the findings of what is not evaluable.",
    "accession_ids": "Specimens behind the cell, joined by ;.",
    "test": "signed-rank where every change is a number, sign where some are bounds.",
    "n_used": "Changes with a known sign.",
    "n_undecided": "Changes that are 0, or bounds on both sides of it.",
    "p_value": "Two-sided; none with fewer than six changes.",
    "p_holm": "Corrected by Holm over all tests of the table.",
    "family_size": "Over how many tests was corrected.",
}
"""What a column of the timepoint table or of the summary means, for the sheet that explains them."""


def write_table(
    table: pd.DataFrame,
    table_format: str,
    *,
    name: str = "timepoints",
    explanations: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> bytes:
    """Return the bytes of a table.

    Parameters
    ----------
    table
        Columns as in the timepoint table; missing values are empty, never 0.
    table_format
        ``text``, ``csv``, ``json``, ``parquet`` or ``xlsx``.
    name
        Of the sheet in a workbook.
    explanations
        What a workbook's second sheet says of columns, before what this page knows of them.
    notes
        Sentences that belong to the table: lines above that sheet, lines below text. CSV, JSON and Parquet hold rows alone.
    """
    if table_format == "xlsx":
        return _xlsx(table, name, {**EXPLANATIONS, **(explanations or {})}, notes)
    if table_format == "text":
        return _text(table) + "".join(f"{note}\n" for note in notes).encode()
    writers = {"csv": _csv, "json": _json, "parquet": _parquet}
    return writers[table_format](table)


def _text(table: pd.DataFrame) -> bytes:
    """Lay the table out for a terminal: four digits, nothing where nothing is known, no column that is empty throughout."""
    hidden = [name for name in ("study_id", "result_id", "source_sha256", "baseline_run_id") if name in table]
    shown = table.drop(columns=hidden).astype(object)
    cells = shown.map(_shown)
    cells = cells.loc[:, [(cells[name] != "").any() for name in cells.columns]]
    if cells.empty:
        return b"No rows.\n"
    with pd.option_context("display.width", 10_000, "display.max_colwidth", None):
        return (cells.to_string(index=False) + "\n").encode()


def _shown(value: object) -> str:
    if _is_missing(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _csv(table: pd.DataFrame) -> bytes:
    return guarded(table).to_csv(index=False, lineterminator="\n").encode()


def _json(table: pd.DataFrame) -> bytes:
    rows = [
        {str(name): (None if isinstance(value, float) and math.isnan(value) else value) for name, value in row.items()}
        for row in table.astype(object).where(table.notna(), None).to_dict(orient="records")
    ]
    return (json.dumps(rows, indent=1, ensure_ascii=False, default=str, allow_nan=False) + "\n").encode()


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    # A column of numbers and bounds, such as a summary's median, has one type in the file: text.
    mixed = [name for name in table.columns if table[name].dtype == object and _is_mixed(table[name])]
    table.assign(**{str(name): table[name].map(_as_text) for name in mixed}).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _is_mixed(column: pd.Series) -> bool:
    return len({type(value) for value in column if not _is_missing(value)}) > 1


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _as_text(value: object) -> str | None:
    if _is_missing(value):
        return None
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _xlsx(table: pd.DataFrame, name: str, explanations: Mapping[str, str], notes: Sequence[str]) -> bytes:
    columns = pd.DataFrame(
        {
            "column": [str(column) for column in table.columns],
            "meaning": [explanations.get(str(column), "") for column in table.columns],
        }
    )
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        table.to_excel(writer, sheet_name=name[:31], index=False, freeze_panes=(1, 0))
        columns.to_excel(writer, sheet_name="columns", index=False, startrow=len(notes))
        for row, note in enumerate(notes, start=1):
            writer.sheets["columns"].cell(row=row, column=1, value=note)
        for sheet in writer.sheets.values():
            for cells in sheet.iter_rows():
                for cell in cells:
                    # A spreadsheet program takes such text for a formula; typed as text it stays what it is.
                    if isinstance(cell.value, str) and cell.value.startswith(FORMULA_BEGINNINGS):
                        cell.data_type = "s"
                        cell.quotePrefix = True
    return buffer.getvalue()


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before text that a spreadsheet program would take for a formula."""

    def guard(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_BEGINNINGS) else value

    texts = [name for name in table.columns if table[name].dtype == object]
    return table.assign(**{str(name): table[name].map(guard) for name in texts})
