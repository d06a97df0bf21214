"""Tubes of staining batches as recorded: which part each plays, and what the control PBMC read.

Knows how they lie in the tables. Must not know limits or rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import func, select

from biomarkers.cytometry.analysis import ControlReading
from biomarkers.cytometry.cut_records import ControlCut, CutRecord
from biomarkers.results import Assay, Severity
from biomarkers.store.current import first_numbers, is_current, is_measured
from biomarkers.store.database import Reading
from biomarkers.store.decisions import Decision
from biomarkers.store.schema import acquisition, analysis, derived_from, disposition, finding, result, source_file
from biomarkers.study.cellular import TubeRole

_READINGS = TypeAdapter(tuple[ControlReading, ...])
_FOUND = TypeAdapter(tuple[CutRecord, ...])
_CONTROL_CUTS = TypeAdapter(tuple[ControlCut, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTube:
    """A tube with a batch, as its current analysis has it.

    Attributes
    ----------
    readings
        Of a control PBMC; empty for other tubes.
    acquired_at
        The instrument's own date and time, verbatim.
    marker
        Which an FMO lacks, or a single stain alone has.
    found
        The cuts it found itself; empty unless they were asked for.
    control_cuts
        Of an FMO; empty unless cuts were asked for.
    """

    run_id: str
    analysis_id: str
    name: str
    panel: str
    role: TubeRole
    batch: str
    received_at: datetime
    readings: tuple[ControlReading, ...]
    marker: str = ""
    acquired_at: str = ""
    found: tuple[CutRecord, ...] = ()
    control_cuts: tuple[ControlCut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeResult:
    """A result of a tube's current analysis, whether or not it still stands, and the last decision about it."""

    result_id: str
    analysis_id: str
    accession_id: str
    decision: Decision | None


def batched_tubes(reading: Reading, *, with_cuts: bool = False) -> tuple[StoredTube, ...]:
    """Return the tubes whose batch is known, in the order in which they were first recorded."""
    return _tubes(reading, with_cuts=with_cuts, batched=True)


def all_tubes(reading: Reading, *, with_cuts: bool = False) -> tuple[StoredTube, ...]:
    """Return all tubes, also those without a batch, in the order in which they were first recorded."""
    return _tubes(reading, with_cuts=with_cuts, batched=False)


def _tubes(reading: Reading, *, with_cuts: bool, batched: bool) -> tuple[StoredTube, ...]:
    firsts = first_numbers()
    query = (
        select(
            analysis.c.run_id,
            analysis.c.analysis_id,
            analysis.c.name,
            analysis.c.acquired_at,
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
            marker=row.more["marker"],
            acquired_at=row.acquired_at,
            found=_FOUND.validate_python(row.more.get("found", ())) if with_cuts else (),
            control_cuts=_CONTROL_CUTS.validate_python(row.more.get("control_cuts", ())) if with_cuts else (),
        )
        for row in reading.connection.execute(query)
        if row.more["batch"] or not batched
    )


def tube_results(reading: Reading, *, step: str = "") -> Mapping[str, tuple[TubeResult, ...]]:
    """Return the results of the current analyses of acquisitions, measured or derived by a step, by run."""
    last = select(disposition.c.result_id, func.max(disposition.c.id).label("id")).group_by(disposition.c.result_id).subquery()
    query = (
        select(result.c.run_id, result.c.result_id, result.c.analysis_id, result.c.accession_id, disposition.c.decision)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .outerjoin(last, last.c.result_id == result.c.result_id)
        .outerjoin(disposition, disposition.c.id == last.c.id)
        .where(is_current(), analysis.c.step == step, analysis.c.assay == Assay.CYTOMETRY.value)
        .order_by(result.c.run_id, result.c.ordinal)
    )
    found: dict[str, list[TubeResult]] = {}
    for row in reading.connection.execute(query):
        found.setdefault(row.run_id, []).append(
            TubeResult(
                result_id=row.result_id,
                analysis_id=row.analysis_id,
                accession_id=row.accession_id,
                decision=None if row.decision is None else Decision(row.decision),
            )
        )
    return {run_id: tuple(results) for run_id, results in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class JointValue:
    """A number of an acquisition by itself, and with its batch; the latter counts. None where it is not evaluable."""

    accession_id: str
    measurand: str
    unit: str
    single: float | None
    single_lower: float | None
    single_upper: float | None
    joint: float | None
    joint_lower: float | None
    joint_upper: float | None
    finding_codes: str
    own_run_id: str
    joint_run_id: str


def joint_values(reading: Reading, *, step: str) -> tuple[JointValue, ...]:
    """Return the numbers that a step put in the place of acquisitions' own, side by side with those."""
    own = result.alias("own")
    query = (
        select(result, own.c.value.label("single"), own.c.lower.label("below"), own.c.upper.label("above"))
        .add_columns(own.c.run_id.label("own_run_id"), own.c.unit.label("own_unit"))
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .join(derived_from, derived_from.c.analysis_id == result.c.analysis_id)
        .join(
            own,
            (own.c.analysis_id == derived_from.c.source_analysis_id)
            & (own.c.result_id == derived_from.c.source_result_id)
            & (own.c.accession_id == result.c.accession_id)
            & (own.c.measurand == result.c.measurand),
        )
        .where(is_current(), analysis.c.step == step, derived_from.c.replaces == 1)
        .order_by(result.c.accession_id, result.c.run_id, result.c.ordinal)
    )
    return tuple(
        JointValue(
            accession_id=row.accession_id,
            measurand=row.measurand,
            unit=row.unit or row.own_unit,
            single=row.single,
            single_lower=row.below,
            single_upper=row.above,
            joint=row.value,
            joint_lower=row.lower,
            joint_upper=row.upper,
            finding_codes=row.finding_codes,
            own_run_id=row.own_run_id,
            joint_run_id=row.run_id,
        )
        for row in reading.connection.execute(query)
    )


def rejected_tubes(reading: Reading) -> frozenset[str]:
    """Return the runs of acquisitions of which, as a whole, nothing is reportable."""
    query = (
        select(analysis.c.run_id)
        .join(finding, finding.c.analysis_id == analysis.c.analysis_id)
        .where(
            is_current(),
            is_measured(),
            analysis.c.assay == Assay.CYTOMETRY.value,
            finding.c.result_id.is_(None),
            finding.c.severity == Severity.REJECT.value,
        )
    )
    return frozenset(reading.connection.execute(query).scalars())
