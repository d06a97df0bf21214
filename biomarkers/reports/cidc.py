"""A slide's scores in the shape of the CIMAC-CIDC schema for immunohistochemistry: one row a slide.

Knows the schema's names, units and limits. Must not know how a score was found. What was not measured is left empty, never 0;
and the schema's proportions run from 0 to 1 where the clinic says percent, the combined positive score included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from biomarkers.ihc.records import ScoreRecord
from biomarkers.provenance import JsonValue

Call = Literal["positive", "negative", "no_call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CidcPreamble:
    """What is the same for all slides of a batch; empty where nobody declared it."""

    protocol_identifier: str
    antibody: str
    clone: str = ""
    lot: str = ""
    dilution: str = ""
    incubation_time: str = ""
    stainer: str = ""
    scanner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CidcRow:
    """One slide.

    Attributes
    ----------
    cimac_id
        The accession id.
    marker_positive
        By the cut-off declared for the marker; ``no_call`` where there is none, or no percentage.
    tumor_proportion_score, combined_positive_score
        From 0 to 1.
    inflammatory_cells, positive_inflammatory_cell_area
        From 0 to 1; not measured here.
    intensity
        0 to 3; a reader's summary of the whole slide, not computed here.
    percentage_expression
        Positive cells in percent of all cells.
    h_score
        0 to 300.
    comment
        Why something is empty: the codes of the findings that forbid a score.
    """

    cimac_id: str
    marker_positive: Call
    tumor_proportion_score: float | None
    combined_positive_score: float | None
    inflammatory_cells: float | None
    positive_inflammatory_cell_area: float | None
    intensity: float | None
    percentage_expression: float | None
    h_score: float | None
    comment: str


COLUMNS = tuple(field.name for field in fields(CidcRow))

SCORES = COLUMNS[2:-1]
"""The schema asks for at least one of them."""


def cidc_row(record: ScoreRecord, *, cimac_id: str, positive_from_percent: float | None = None) -> CidcRow:
    """Put the scores of a slide's tissue into a row.

    Parameters
    ----------
    positive_from_percent
        From which percentage of positive cells on a slide is called positive, as the study declares; without it there is no
        call.
    """
    percent = record.positive_percent
    call: Call = "no_call"
    if percent is not None and positive_from_percent is not None:
        call = "positive" if percent >= positive_from_percent else "negative"
    refused = sorted({finding.code for finding in record.findings if finding.severity.value == "reject"})
    return CidcRow(
        cimac_id=cimac_id,
        marker_positive=call,
        tumor_proportion_score=None if record.tps is None else record.tps / 100.0,
        combined_positive_score=None if record.cps is None else record.cps / 100.0,
        inflammatory_cells=None,
        positive_inflammatory_cell_area=None,
        intensity=None,
        percentage_expression=percent,
        h_score=record.h_score,
        comment=";".join(refused),
    )


def has_score(row: CidcRow) -> bool:
    """Whether the schema would take the row: it asks for one score at least."""
    return any(getattr(row, name) is not None for name in SCORES)


def cidc_document(preamble: CidcPreamble, rows: Sequence[CidcRow]) -> JsonValue:
    """Put preamble and rows into one document; slides without any score are listed apart, with the reason."""
    told: dict[str, JsonValue] = {name: value for name, value in asdict(preamble).items() if value}
    taken = [{name: value for name, value in asdict(row).items() if value not in (None, "")} for row in rows if has_score(row)]
    left: list[JsonValue] = [{"cimac_id": row.cimac_id, "reasons": row.comment} for row in rows if not has_score(row)]
    return {**told, "records": list(taken), "not_evaluable": left}
