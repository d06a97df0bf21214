"""Controls and curves of plates as recorded: what control charts are made of.

Knows how they lie in the tables, and which plates' verdicts let them count. Must not know limits or rules.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from biomarkers.elisa.records import ControlRecord
from biomarkers.store.current import first_numbers, is_current, is_measured
from biomarkers.store.database import Reading
from biomarkers.store.records import record_of
from biomarkers.store.schema import analysis, analysis_source, control, curve, source_file, verdict, well


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredControl:
    """A control of a plate's current analysis.

    Attributes
    ----------
    acquired_at, received_at
        When the instrument says it read the plate, verbatim, and when its export was first received.
    is_accepted
        Whether the plate's verdict on the analyte accepts its results.
    """

    run_id: str
    analysis_id: str
    name: str
    acquired_at: str
    received_at: datetime
    is_accepted: bool
    record: ControlRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScatter:
    """How far an accepted plate's calibrators scatter around their curve, and the method by which the curve was fitted."""

    run_id: str
    analysis_id: str
    name: str
    analyte: str
    method: tuple[str, str, str]
    residual_sd: float
    acquired_at: str
    received_at: datetime


def stored_controls(reading: Reading, *, analyte: str | None = None) -> tuple[StoredControl, ...]:
    """Return the controls of all current plates, of one analyte or of all, in the order in which plates were first recorded."""
    firsts = first_numbers()
    query = (
        select(
            control,
            analysis.c.run_id,
            analysis.c.name,
            analysis.c.acquired_at,
            source_file.c.received_at,
            verdict.c.verdict.label("verdict_word"),
        )
        .join(analysis, analysis.c.analysis_id == control.c.analysis_id)
        .join(firsts, firsts.c.run_id == analysis.c.run_id)
        .join(source_file, source_file.c.sha256 == analysis.c.instrument_sha256)
        .outerjoin(verdict, (verdict.c.analysis_id == control.c.analysis_id) & (verdict.c.analyte == control.c.analyte))
        .where(is_current(), is_measured())
        .order_by(firsts.c.first, control.c.ordinal)
    )
    if analyte is not None:
        query = query.where(control.c.analyte == analyte)
    return tuple(
        StoredControl(
            run_id=str(row["run_id"]),
            analysis_id=str(row["analysis_id"]),
            name=str(row["name"]),
            acquired_at=str(row["acquired_at"]),
            received_at=row["received_at"],
            is_accepted=row["verdict_word"] in {"accepted", "accepted_with_findings"},
            record=record_of(ControlRecord, dict(row)),
        )
        for row in reading.connection.execute(query).mappings()
    )


def stored_scatters(reading: Reading) -> tuple[StoredScatter, ...]:
    """Return the scatter of all curves of current plates that were not rejected, in the order of first recording."""
    firsts = first_numbers()
    query = (
        select(
            curve,
            analysis.c.run_id,
            analysis.c.name,
            analysis.c.acquired_at,
            source_file.c.received_at,
        )
        .join(analysis, analysis.c.analysis_id == curve.c.analysis_id)
        .join(firsts, firsts.c.run_id == analysis.c.run_id)
        .join(source_file, source_file.c.sha256 == analysis.c.instrument_sha256)
        .outerjoin(verdict, (verdict.c.analysis_id == curve.c.analysis_id) & (verdict.c.analyte == curve.c.analyte))
        .where(is_current(), is_measured(), verdict.c.verdict != "rejected", curve.c.residual_sd.is_not(None))
        .order_by(firsts.c.first, curve.c.ordinal)
    )
    return tuple(
        StoredScatter(
            run_id=row.run_id,
            analysis_id=row.analysis_id,
            name=row.name,
            analyte=row.analyte,
            method=(row.model, row.weights, row.replicates),
            residual_sd=row.residual_sd,
            acquired_at=row.acquired_at,
            received_at=row.received_at,
        )
        for row in reading.connection.execute(query)
    )


def sources_by_run(reading: Reading, *, run_ids: Collection[str] | None = None) -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Return role, name and digest of the files behind each current measured run, the instrument's first.

    Of all runs unless ``run_ids`` says of which.
    """
    query = (
        select(analysis.c.run_id, analysis_source.c.role, analysis_source.c.name, analysis_source.c.sha256)
        .join(analysis, analysis.c.analysis_id == analysis_source.c.analysis_id)
        .where(is_current(), is_measured())
        .order_by(analysis_source.c.analysis_id, analysis_source.c.ordinal)
    )
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in reading.connection.execute(query, execution_options={"yield_per": 1_000}):
        if run_ids is None or row.run_id in run_ids:
            found.setdefault(row.run_id, []).append((row.role, row.name, row.sha256))
    return {run_id: tuple(sources) for run_id, sources in found.items()}


def plate_positions(reading: Reading, *, analysis_id: str) -> frozenset[str]:
    """Return the wells of a plate."""
    return frozenset(reading.connection.execute(select(well.c.position).where(well.c.analysis_id == analysis_id)).scalars())
