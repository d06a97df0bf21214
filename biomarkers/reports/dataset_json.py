"""Data sets as Dataset-JSON, version 1.1.

Knows that form. Must not know what a data set holds. The same data set and time of creation always give the same bytes.

References
----------
CDISC. Dataset-JSON v1.1, https://www.cdisc.org/standards/data-exchange/dataset-json
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from biomarkers.provenance import JsonValue
from biomarkers.reports.shaped import Dataset, Kind, Variable

VERSION = "1.1.0"

_TYPES: dict[Kind, str] = {"text": "string", "integer": "integer", "number": "double", "date": "date"}


def write_dataset_json(dataset: Dataset, *, study_id: str, created_at: datetime, software: str) -> bytes:
    """Return a data set as Dataset-JSON 1.1.

    Parameters
    ----------
    created_at
        Stands in the file; give the release's own time, so that a rebuilt release has the same bytes.
    software
        Name and version of this package, as results carry it.
    """
    name, _, version = software.partition(" ")
    document: dict[str, JsonValue] = {
        "datasetJSONCreationDateTime": created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "datasetJSONVersion": VERSION,
        "fileOID": f"{study_id}.{dataset.name}",
        "originator": name,
        "sourceSystem": {"name": name, "version": version or "unknown"},
        "studyOID": study_id,
        "metaDataVersionOID": f"MDV.{study_id}",
        "itemGroupOID": f"IG.{dataset.name}",
        "records": len(dataset.rows),
        "name": dataset.name,
        "label": dataset.label,
        "columns": [_column(dataset, variable) for variable in dataset.variables],
        "rows": [list(row) for row in dataset.rows],
    }
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _column(dataset: Dataset, variable: Variable) -> dict[str, JsonValue]:
    column: dict[str, JsonValue] = {
        "itemOID": f"IT.{dataset.name}.{variable.name}",
        "name": variable.name,
        "label": variable.label,
        "dataType": _TYPES[variable.kind],
    }
    if variable.kind == "text":
        column["length"] = dataset.length(variable)
    if variable.kind == "date":
        column |= {"targetDataType": "integer", "displayFormat": "DATE9."}
    if variable.key is not None:
        column["keySequence"] = variable.key
    return column
