"""Results recorded, superseded, disposed and read.

Knows which analysis of a run is current: the one that no other supersedes. Must not know how a number was measured, which
visit it belongs to, or how files are handled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Row, Subquery, exists, func, insert, select

from biomarkers.errors import StoreError
from biomarkers.provenance import Provenance, Source
from biomarkers.results import Assay, Comparator, Run
from biomarkers.store import audit
from biomarkers.store.analyses import read_analysis, write_analysis
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.evidence import Analysis
from biomarkers.store.records import record_of
from biomarkers.store.schema import analysis, analysis_source, disposition, result, source_file, supersession
from biomarkers.timepoints import alignment as timepoints
from biomarkers.timepoints.alignment import AlignedInput

__all__ = [
    "Decision",
    "Recorded",
    "RecordedRun",
    "StoredResult",
    "Superseded",
    "aligned_inputs",
    "current_results",
    "current_runs",
    "dispose",
    "history",
    "is_recorded",
    "read_analysis",
    "record_analysis",
    "run_by_instrument",
]


class Decision(StrEnum):
    """What a person, or a rule declared beforehand, decided about a result."""

    REPORTABLE = "reportable"
    REPEATED = "repeated"
    EXCLUDED = "excluded"


_WORDS: Mapping[Decision | None, timepoints.Decision] = {
    None: "",
    Decision.REPORTABLE: "reportable",
    Decision.REPEATED: "repeated",
    Decision.EXCLUDED: "excluded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What recording an analysis did.

    Attributes
    ----------
    analysis_id
        Of the run's current analysis, the one just recorded or the equal one already there.
    changed
        False where the run's current analysis was this one already, and nothing was written.
    superseded
        The analysis that this one replaced; empty where the run is new.
    """

    analysis_id: str
    changed: bool
    superseded: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run as it stands: its current analysis and the files it came from, the instrument's first.

    ``ordinal`` counts runs by when they were first recorded; an analysis that supersedes another keeps its run's place.
    """

    run_id: str
    analysis_id: str
    assay: Assay
    name: str
    acquired_at: str
    instrument_sha256: str
    sources: tuple[Source, ...]
    finding_codes: str
    ordinal: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A current result with everything the timepoint table says about it.

    Attributes
    ----------
    value
        None when the result is not evaluable.
    level
        Confidence of ``lower`` and ``upper``; None without an interval.
    ordinal
        Place of the run by when it was first recorded: among accepted results of one accession the lowest stays reportable,
        and recomputing a run does not move it behind a repeat of it.
    source_sha256s
        Digests joined by ``;``, the instrument file first.
    disposition
        The last decision about this result; None where nobody decided.
    """

    result_id: str
    analysis_id: str
    run_id: str
    accession_id: str
    assay: Assay
    measurand: str
    value: float | None
    comparator: Comparator
    unit: str
    lower: float | None
    upper: float | None
    level: float | None
    denominator: str
    n_replicates: int | None
    finding_codes: str
    source_sha256s: str
    ordinal: int
    recorded_at: datetime
    disposition: Decision | None

    @property
    def is_evaluable(self) -> bool:
        """Whether a number or a bound is reported."""
        return self.value is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """One step of a run's history: which analysis another replaced, and why."""

    old_analysis_id: str
    new_analysis_id: str
    reason: str
    recorded_at: datetime


def record_analysis(
    transaction: Transaction,
    given: Analysis,
    *,
    reason: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> Recorded:
    """Record a run as analysed, with its results, findings and evidence, and an entry in the audit trail.

    If the run's current analysis is this one, nothing changes. If it is another, this one supersedes it, and the reason is
    kept. An analysis that was superseded before and holds again is recorded anew under a further id, since nothing that was
    written is changed.

    Parameters
    ----------
    reason
        Why the run is analysed again; may be empty only where it was not recorded before.

    Raises
    ------
    StoreError
        If a source was never registered, two results say the same thing, or a recomputation has no reason.
    """
    transaction.serialise()
    run = given.run
    _require_sound(transaction, run)
    history = transaction.connection.execute(
        select(analysis.c.analysis_id, analysis.c.content_id, _is_current().label("current")).where(
            analysis.c.run_id == run.run_id
        )
    ).all()
    current = next((row for row in history if row.current), None)
    if current is not None and current.content_id == run.analysis_id:
        return Recorded(analysis_id=current.analysis_id, changed=False, superseded="")
    if current is not None and not reason:
        raise StoreError(
            what=f"Run '{run.run_id}' is recorded already, with another outcome.",
            where=f"Analysis '{current.analysis_id}'.",
            remedy="Say why it is analysed again; results are superseded with a reason, never replaced.",
        )
    times = sum(row.content_id == run.analysis_id for row in history)
    analysis_id = run.analysis_id if times == 0 else f"{run.analysis_id}.{times + 1}"
    write_analysis(transaction, given, analysis_id=analysis_id, reason=reason, recorded_at=recorded_at)
    superseded = "" if current is None else str(current.analysis_id)
    if superseded:
        transaction.connection.execute(
            insert(supersession).values(
                old_analysis_id=superseded, new_analysis_id=analysis_id, reason=reason, recorded_at=recorded_at
            )
        )
    audit.append(
        transaction,
        at=recorded_at,
        actor=actor,
        action="analysis.superseded" if superseded else "analysis.recorded",
        entity=run.run_id,
        detail={"analysis_id": analysis_id, "supersedes": superseded, "results": len(run.results)},
        reason=reason,
    )
    return Recorded(analysis_id=analysis_id, changed=True, superseded=superseded)


def current_results(reading: Reading, *, measurand: str | None = None) -> tuple[StoredResult, ...]:
    """Return the results of all current analyses, in the order in which their runs were first recorded."""
    decided = (
        select(disposition.c.result_id, func.max(disposition.c.id).label("last")).group_by(disposition.c.result_id).subquery()
    )
    firsts = _first_numbers()
    query = (
        select(
            result,
            analysis.c.source_sha256s,
            analysis.c.recorded_at,
            firsts.c.first.label("run_ordinal"),
            disposition.c.decision,
        )
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .join(firsts, firsts.c.run_id == result.c.run_id)
        .outerjoin(decided, decided.c.result_id == result.c.result_id)
        .outerjoin(disposition, disposition.c.id == decided.c.last)
        .where(_is_current())
        .order_by(firsts.c.first, result.c.ordinal)
    )
    if measurand is not None:
        query = query.where(result.c.measurand == measurand)
    return tuple(_stored(row) for row in reading.connection.execute(query))


def aligned_inputs(reading: Reading) -> tuple[AlignedInput, ...]:
    """Return the current results as the timepoint table takes them in."""
    return tuple(
        AlignedInput(
            accession_id=stored.accession_id,
            assay=stored.assay,
            measurand=stored.measurand,
            value=stored.value,
            comparator=stored.comparator,
            unit=stored.unit,
            lower=stored.lower,
            upper=stored.upper,
            denominator=stored.denominator,
            n_replicates=stored.n_replicates,
            evaluable=stored.is_evaluable,
            finding_codes=stored.finding_codes,
            run_id=stored.run_id,
            result_id=stored.result_id,
            source_sha256s=stored.source_sha256s,
            order=stored.ordinal,
            disposition=_WORDS[stored.disposition],
        )
        for stored in current_results(reading)
    )


def current_runs(reading: Reading, *, assay: Assay | None = None, name: str | None = None) -> tuple[RecordedRun, ...]:
    """Return the recorded runs, all of them, of one assay, or of one name, in the order of first recording."""
    conditions: list[ColumnElement[bool]] = []
    if assay is not None:
        conditions.append(analysis.c.assay == assay.value)
    if name is not None:
        conditions.append(analysis.c.name == name)
    return _runs(reading, *conditions)


def run_by_instrument(reading: Reading, *, instrument_sha256: str) -> tuple[RecordedRun, ...]:
    """Return the runs recorded from an instrument file's bytes: one, or each plate of a file that holds several."""
    return _runs(reading, analysis.c.instrument_sha256 == instrument_sha256)


def is_recorded(reading: Reading, *, sha256: str) -> bool:
    """Whether the current analysis of some run was made from these bytes, as instrument file, plate map or otherwise."""
    query = (
        select(analysis_source.c.sha256)
        .join(analysis, analysis.c.analysis_id == analysis_source.c.analysis_id)
        .where(analysis_source.c.sha256 == sha256, _is_current())
        .limit(1)
    )
    return reading.connection.execute(query).first() is not None


def history(reading: Reading, *, run_id: str) -> tuple[Superseded, ...]:
    """Return what superseded what in a run, the oldest step first."""
    query = (
        select(supersession)
        .join(analysis, analysis.c.analysis_id == supersession.c.new_analysis_id)
        .where(analysis.c.run_id == run_id)
        .order_by(analysis.c.id)
    )
    return tuple(
        Superseded(
            old_analysis_id=row.old_analysis_id,
            new_analysis_id=row.new_analysis_id,
            reason=row.reason,
            recorded_at=row.recorded_at,
        )
        for row in reading.connection.execute(query)
    )


def dispose(
    transaction: Transaction, *, result_id: str, decision: Decision, reason: str, decided_by: str, decided_at: datetime
) -> None:
    """Decide about a current result, with a reason; the last decision counts, and earlier ones stay on record."""
    if not reason or not decided_by:
        raise StoreError(
            what="A decision about a result needs a reason and a name.",
            where=f"Result '{result_id}'.",
            remedy="Say why, and who decides.",
        )
    transaction.serialise()
    found = transaction.connection.execute(
        select(result.c.run_id)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .where(result.c.result_id == result_id, _is_current())
    ).first()
    if found is None:
        raise StoreError(
            what="There is no such current result.",
            where=f"Result '{result_id}'.",
            remedy="Take the result_id from the timepoint table; a superseded result can no longer be decided about.",
        )
    transaction.connection.execute(
        insert(disposition).values(
            result_id=result_id, decision=decision.value, reason=reason, decided_by=decided_by, decided_at=decided_at
        )
    )
    audit.append(
        transaction,
        at=decided_at,
        actor=decided_by,
        action="result.disposed",
        entity=result_id,
        detail={"decision": decision.value, "run_id": found.run_id},
        reason=reason,
    )


def _is_current() -> ColumnElement[bool]:
    return ~exists().where(supersession.c.old_analysis_id == analysis.c.analysis_id)


def _first_numbers() -> Subquery:
    return select(analysis.c.run_id, func.min(analysis.c.id).label("first")).group_by(analysis.c.run_id).subquery()


def _require_sound(transaction: Transaction, run: Run) -> None:
    """Refuse a run that the tables could not hold without losing something."""
    where = f"Run '{run.run_id}'."
    doubled = [key for key, count in Counter((r.accession_id, r.measurand) for r in run.results).items() if count > 1]
    if doubled:
        accession_id, measurand = doubled[0]
        raise StoreError(
            what=f"The run gives two results for '{measurand}' of '{accession_id}'.",
            where=where,
            remedy="One run reports a measurand of a specimen once; combine its replicates.",
        )
    if any(r.run_id != run.run_id or r.assay is not run.assay or r.provenance != run.provenance for r in run.results):
        raise StoreError(
            what="A result names another run, assay or provenance than its run does.",
            where=where,
            remedy="Stamp every result of a run with the provenance of the run.",
        )
    digests = {source.sha256 for source in run.provenance.sources}
    known = set(transaction.connection.execute(select(source_file.c.sha256).where(source_file.c.sha256.in_(digests))).scalars())
    unknown = [source for source in run.provenance.sources if source.sha256 not in known]
    if unknown or not digests:
        raise StoreError(
            what="The run names no source." if not digests else f"Source '{unknown[0].name}' was never registered.",
            where=where,
            remedy="Register the bytes of every source before the results made from them.",
        )


def _stored(row: Row[tuple[object, ...]]) -> StoredResult:
    return StoredResult(
        result_id=row.result_id,
        analysis_id=row.analysis_id,
        run_id=row.run_id,
        accession_id=row.accession_id,
        assay=Assay(row.assay),
        measurand=row.measurand,
        value=row.value,
        comparator=row.comparator,
        unit=row.unit,
        lower=row.lower,
        upper=row.upper,
        level=row.level,
        denominator=row.denominator,
        n_replicates=row.n_replicates,
        finding_codes=row.finding_codes,
        source_sha256s=row.source_sha256s,
        ordinal=row.run_ordinal,
        recorded_at=row.recorded_at,
        disposition=None if row.decision is None else Decision(row.decision),
    )


def _runs(reading: Reading, *conditions: ColumnElement[bool]) -> tuple[RecordedRun, ...]:
    firsts = _first_numbers()
    query = (
        select(analysis, firsts.c.first)
        .join(firsts, firsts.c.run_id == analysis.c.run_id)
        .where(_is_current(), *conditions)
        .order_by(firsts.c.first)
    )
    return tuple(
        RecordedRun(
            run_id=row.run_id,
            analysis_id=row.analysis_id,
            assay=Assay(row.assay),
            name=row.name,
            acquired_at=row.acquired_at,
            instrument_sha256=row.instrument_sha256,
            sources=record_of(Provenance, row.provenance).sources,
            finding_codes=row.finding_codes,
            ordinal=row.first,
            recorded_at=row.recorded_at,
        )
        for row in reading.connection.execute(query)
    )
