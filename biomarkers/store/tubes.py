"""Tubes of staining batches as recorded: which part each plays, and what the control PBMC read.

Knows how they lie in the tables. Must not know limits or rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import select

from biomarkers.cytometry.analysis import ControlReading
from biomarkers.results import Assay
from biomarkers.store.current import first_numbers, is_current, is_measured
from biomarkers.store.database import Reading
from biomarkers.store.schema import acquisition, analysis, source_file
from biomarkers.study.cellular import TubeRole

_READINGS = TypeAdapter(tuple[ControlReading, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTube:
    """A tube with a batch, as its current analysis has it.

    Attributes
    ----------
    readings
        Of a control PBMC; empty for other tubes.
    """

    run_id: str
    analysis_id: str
    name: str
    panel: str
    role: TubeRole
    batch: str
    received_at: datetime
    readings: tuple[ControlReading, ...]


def batched_tubes(reading: Reading) -> tuple[StoredTube, ...]:
    """Return the tubes whose batch is known, in the order in which they were first recorded."""
    firsts = first_numbers()
    query = (
        select(
            analysis.c.run_id,
            analysis.c.analysis_id,
            analysis.c.name,
            analysis.c.more,
            acquisition.c.panel,
            source_file.c.received_at,
        )
        .join(firsts, firsts.c.run_id == analysis.c.run_id)
        .join(acquisition, acquisition.c.analysis_id == analysis.c.analysis_id)
        .join(source_file, source_file.c.sha256 == analysis.c.instrument_sha256)
        .where(is_current(), is_measured(), analysis.c.assay == Assay.CYTOMETRY.value)
        .order_by(firsts.c.first)
    )
    return tuple(
        StoredTube(
            run_id=row.run_id,
            analysis_id=row.analysis_id,
            name=row.name,
            panel=row.panel,
            role=TubeRole(row.more["role"]),
            batch=row.more["batch"],
            received_at=row.received_at,
            readings=_READINGS.validate_python(row.more["readings"]),
        )
        for row in reading.connection.execute(query)
        if row.more.get("batch")
    )
