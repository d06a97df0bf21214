"""An analysis put on record: new, equal to the current one, or superseding it.

Knows when an analysis supersedes another. Must not know how a number was measured, or how files are handled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from biomarkers.errors import StoreError
from biomarkers.results import Run
from biomarkers.store import audit, timepoint_rows
from biomarkers.store.analyses import write_analysis
from biomarkers.store.current import is_current
from biomarkers.store.database import Transaction
from biomarkers.store.evidence import Analysis
from biomarkers.store.name_lists import is_one_of
from biomarkers.store.schema import analysis, source_file, supersession


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
    proposed
        The run is signed, so that what came out waits for a person as a proposal, and nothing counts otherwise than before.
    """

    analysis_id: str
    changed: bool
    superseded: str
    proposed: bool = False


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
        select(analysis.c.analysis_id, analysis.c.content_id, is_current().label("current")).where(
            analysis.c.run_id == run.run_id
        )
    ).all()
    current = next((row for row in history if row.current), None)
    content_id = run.analysis_id
    if current is not None and current.content_id == content_id:
        return Recorded(analysis_id=current.analysis_id, changed=False, superseded="")
    if current is not None and not reason:
        raise StoreError(
            what=f"Run '{run.run_id}' is recorded already, with another outcome.",
            where=f"Analysis '{current.analysis_id}'.",
            remedy="Say why it is analysed again; results are superseded with a reason, never replaced.",
        )
    times = sum(row.content_id == content_id for row in history)
    analysis_id = content_id if times == 0 else f"{content_id}.{times + 1}"
    write_analysis(transaction, given, analysis_id=analysis_id, content_id=content_id, reason=reason, recorded_at=recorded_at)
    superseded = "" if current is None else str(current.analysis_id)
    if superseded:
        transaction.connection.execute(
            insert(supersession).values(
                old_analysis_id=superseded, new_analysis_id=analysis_id, reason=reason, recorded_at=recorded_at
            )
        )
    timepoint_rows.refresh_analyses(transaction, (analysis_id, superseded))
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
    query = select(source_file.c.sha256).where(is_one_of(source_file.c.sha256, digests))
    known = set(transaction.connection.execute(query).scalars())
    unknown = [source for source in run.provenance.sources if source.sha256 not in known]
    if unknown or not digests:
        raise StoreError(
            what="The run names no source." if not digests else f"Source '{unknown[0].name}' was never registered.",
            where=where,
            remedy="Register the bytes of every source before the results made from them.",
        )
