"""One result, one run and their past looked up by id, as the pages behind a number need them.

Knows where an id lies and what became of it. Must not know what any of it means.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from biomarkers.store.audit import AuditEvent
from biomarkers.store.current import is_current
from biomarkers.store.database import Reading
from biomarkers.store.name_lists import is_one_of
from biomarkers.store.schema import alignment_set, analysis, audit_event, disposition, result, supersession, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultVersion:
    """One value that was ever recorded of a measurand in a specimen.

    Attributes
    ----------
    is_current
        No other analysis has taken the place of the one it belongs to.
    replaced_because
        Why another has; empty for a current one.
    """

    result_id: str
    analysis_id: str
    run_id: str
    run_name: str
    step: str
    accession_id: str
    assay: str
    measurand: str
    value: float | None
    comparator: str
    unit: str
    lower: float | None
    upper: float | None
    denominator: str
    n_replicates: int | None
    finding_codes: str
    recorded_at: datetime
    is_current: bool
    replaced_because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionTaken:
    """A decision about a result."""

    result_id: str
    decision: str
    reason: str
    decided_by: str
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisEntry:
    """An analysis of a run by its ids."""

    analysis_id: str
    run_id: str
    assay: str
    name: str
    step: str
    instrument_sha256: str
    finding_codes: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictEntry:
    """What was decided about a plate's results of one analyte, and by which rule."""

    run_id: str
    analyte: str
    verdict: str
    sentence: str


def result_place(reading: Reading, *, result_id: str) -> ResultVersion | None:
    """Return a result by its id, the current one where several analyses gave it; None where there is none."""
    found = _versions(reading, result.c.result_id == result_id)
    return next((one for one in reversed(found) if one.is_current), found[-1] if found else None)


def result_versions(reading: Reading, *, accession_id: str, measurand: str) -> tuple[ResultVersion, ...]:
    """Return everything ever recorded of a measurand in a specimen, the oldest first."""
    return _versions(reading, (result.c.accession_id == accession_id) & (result.c.measurand == measurand))


def decisions_about(reading: Reading, *, result_ids: Collection[str]) -> tuple[DecisionTaken, ...]:
    """Return every decision about some results, the oldest first."""
    query = select(disposition).where(is_one_of(disposition.c.result_id, result_ids)).order_by(disposition.c.id)
    return tuple(
        DecisionTaken(
            result_id=row.result_id,
            decision=row.decision,
            reason=row.reason,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
        )
        for row in reading.connection.execute(query)
    )


def last_decisions_by_run(reading: Reading, *, assay: str) -> dict[str, DecisionTaken]:
    """Return, by run of an assay, the last decision about any current result of it; runs nobody decided about are absent."""
    query = (
        select(disposition, result.c.run_id)
        .join(result, result.c.result_id == disposition.c.result_id)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .where(is_current(), analysis.c.step == "", analysis.c.assay == assay)
        .order_by(disposition.c.id)
    )
    return {
        row.run_id: DecisionTaken(
            result_id=row.result_id,
            decision=row.decision,
            reason=row.reason,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
        )
        for row in reading.connection.execute(query)
    }


def current_analysis(reading: Reading, *, run_id: str) -> AnalysisEntry | None:
    """Return the analysis of a run that counts, measured or derived; None where there is no such run."""
    found = _entries(reading, run_id=run_id)
    return found[-1] if found else None


def current_analyses(reading: Reading) -> tuple[AnalysisEntry, ...]:
    """Return the analysis that counts of every run, measured or derived, the newest first."""
    return tuple(reversed(_entries(reading)))


def current_verdicts(reading: Reading) -> tuple[VerdictEntry, ...]:
    """Return the verdicts on all plates as they stand."""
    query = (
        select(analysis.c.run_id, verdict.c.analyte, verdict.c.verdict, verdict.c.sentence)
        .join(analysis, analysis.c.analysis_id == verdict.c.analysis_id)
        .where(is_current())
        .order_by(analysis.c.id, verdict.c.ordinal)
    )
    return tuple(
        VerdictEntry(run_id=row.run_id, analyte=row.analyte, verdict=row.verdict, sentence=row.sentence)
        for row in reading.connection.execute(query)
    )


def table_state(reading: Reading) -> tuple[int, ...]:
    """Return numbers that change whenever the timepoint table may have changed, and at nothing else that is recorded.

    The last one is that of the specimens' places and what is due.
    """
    last = (
        select(func.coalesce(func.max(column), 0)).scalar_subquery()
        for column in (analysis.c.id, disposition.c.id, alignment_set.c.id)
    )
    return tuple(reading.connection.execute(select(*last)).one())


def latest_events(reading: Reading, *, before: int | None, action: str, limit: int) -> tuple[AuditEvent, ...]:
    """Return entries of the audit trail backwards from a number, all of them or those whose action begins so."""
    query = select(audit_event).order_by(audit_event.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_event.c.id < before)
    if action:
        query = query.where(audit_event.c.action.startswith(action, autoescape=True))
    return tuple(
        AuditEvent(
            number=row.id,
            at=row.at,
            actor=row.actor,
            action=row.action,
            entity=row.entity,
            detail=row.detail,
            reason=row.reason,
            previous_hash=row.previous_hash,
            hash=row.hash,
        )
        for row in reading.connection.execute(query)
    )


def _entries(reading: Reading, *, run_id: str | None = None) -> list[AnalysisEntry]:
    query = select(analysis).where(is_current()).order_by(analysis.c.id)
    if run_id is not None:
        query = query.where(analysis.c.run_id == run_id)
    return [
        AnalysisEntry(
            analysis_id=row.analysis_id,
            run_id=row.run_id,
            assay=row.assay,
            name=row.name,
            step=row.step,
            instrument_sha256=row.instrument_sha256,
            finding_codes=row.finding_codes,
            reason=row.reason,
            recorded_at=row.recorded_at,
        )
        for row in reading.connection.execute(query)
    ]


def _versions(reading: Reading, condition: object) -> tuple[ResultVersion, ...]:
    query = (
        select(
            result,
            analysis.c.name,
            analysis.c.step,
            analysis.c.recorded_at,
            supersession.c.new_analysis_id,
            supersession.c.reason.label("replaced_because"),
        )
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .outerjoin(supersession, supersession.c.old_analysis_id == analysis.c.analysis_id)
        .where(condition)  # type: ignore[arg-type]  # a condition over columns, as the two callers write it
        .order_by(analysis.c.id)
    )
    return tuple(
        ResultVersion(
            result_id=row.result_id,
            analysis_id=row.analysis_id,
            run_id=row.run_id,
            run_name=row.name,
            step=row.step,
            accession_id=row.accession_id,
            assay=row.assay,
            measurand=row.measurand,
            value=row.value,
            comparator=row.comparator,
            unit=row.unit,
            lower=row.lower,
            upper=row.upper,
            denominator=row.denominator,
            n_replicates=row.n_replicates,
            finding_codes=row.finding_codes,
            recorded_at=row.recorded_at,
            is_current=row.new_analysis_id is None,
            replaced_because=row.replaced_because or "",
        )
        for row in reading.connection.execute(query)
    )
