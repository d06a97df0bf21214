"""Tables as text, CSV, JSON, Parquet and XLSX.

Knows formats, and that a cell beginning like a formula must stay text. Must not know where a table comes from.
"""

from __future__ import annotations

import io
import json
import math

import pandas as pd

TEXT_FORMATS = ("text", "csv", "json")
"""Formats that can go to a terminal or a pipe."""

FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")


def write_table(table: pd.DataFrame, table_format: str) -> bytes:
    """Return the bytes of a table.

    Parameters
    ----------
    table
        Columns as in the timepoint table; missing values are empty, never 0.
    table_format
        ``text``, ``csv``, ``json``, ``parquet`` or ``xlsx``.
    """
    writers = {"text": _text, "csv": _csv, "json": _json, "parquet": _parquet, "xlsx": _xlsx}
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
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _csv(table: pd.DataFrame) -> bytes:
    return _guarded(table).to_csv(index=False, lineterminator="\n").encode()


def _json(table: pd.DataFrame) -> bytes:
    rows = [
        {str(name): (None if isinstance(value, float) and math.isnan(value) else value) for name, value in row.items()}
        for row in table.astype(object).where(table.notna(), None).to_dict(orient="records")
    ]
    return (json.dumps(rows, indent=1, ensure_ascii=False, default=str, allow_nan=False) + "\n").encode()


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _xlsx(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        table.to_excel(writer, sheet_name="timepoints", index=False)
        for row in writer.sheets["timepoints"].iter_rows():
            for cell in row:
                # A spreadsheet program takes such text for a formula; typed as text it stays what it is.
                if isinstance(cell.value, str) and cell.value.startswith(FORMULA_BEGINNINGS):
                    cell.data_type = "s"
                    cell.quotePrefix = True
    return buffer.getvalue()


def _guarded(table: pd.DataFrame) -> pd.DataFrame:
    def guard(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_BEGINNINGS) else value

    texts = [name for name in table.columns if table[name].dtype == object]
    return table.assign(**{str(name): table[name].map(guard) for name in texts})
