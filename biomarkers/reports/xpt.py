"""Data sets as SAS transport files of version 5.

Knows that format and the library that writes it. Must not know what a data set holds. The same data set and time of creation
always give the same bytes; the format holds plain characters only, others become a question mark.
"""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from biomarkers.reports.shaped import Dataset, Variable

SAS_EPOCH = date(1960, 1, 1)
"""Dates are days since then."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_STAMP = re.compile(rb"\d{2}[A-Z]{3}\d{2}:\d{2}:\d{2}:\d{2}")
_HEADER_BYTES = 80 * 9
"""Library and member headers end before; behind them stand the variables' own."""


def write_xpt(dataset: Dataset, *, created_at: datetime) -> bytes:
    """Return a data set as a transport file; dates are numbers with the format DATE9.

    Parameters
    ----------
    created_at
        Stands in the file; give the release's own time, so that a rebuilt release has the same bytes.
    """
    import pyreadstat  # noqa: PLC0415  - needed by exports alone

    table = pd.DataFrame({variable.name: _values(dataset, variable) for variable in dataset.variables})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{dataset.name.lower()}.xpt"
        pyreadstat.write_xport(
            table,
            path,
            file_label=dataset.label[:40],
            column_labels={variable.name: variable.label for variable in dataset.variables},
            table_name=dataset.name,
            file_format_version=5,
            variable_format={variable.name: "DATE9." for variable in dataset.variables if variable.kind == "date"},
        )
        content = path.read_bytes()
    moment = created_at.astimezone(UTC)
    # Written without the language of the machine, which would name months in its own way.
    stamp = f"{moment.day:02d}{_MONTHS[moment.month - 1]}{moment:%y:%H:%M:%S}".encode()
    return _STAMP.sub(stamp, content[:_HEADER_BYTES]) + content[_HEADER_BYTES:]


def _values(dataset: Dataset, variable: Variable) -> pd.Series:
    column = dataset.column(variable.name)
    if variable.kind == "text":
        return pd.Series([_plain(value) for value in column], dtype="object")
    if variable.kind == "date":
        return pd.Series([_days(value) for value in column], dtype="float64")
    return pd.Series([np.nan if value is None else float(value) for value in column], dtype="float64")


def _plain(value: str | float | None) -> str:
    return "" if value is None else str(value).encode("ascii", "replace").decode("ascii")


def _days(value: str | float | None) -> float:
    return np.nan if value is None else float((date.fromisoformat(str(value)) - SAS_EPOCH).days)
