"""Signatures under a run's results, and whether what was signed still stands.

Knows that a signature binds to the digest of the results, decisions and masks it was given under, so that later changes show.
Must not know who may sign.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, insert, select

from biomarkers.errors import StoreError
from biomarkers.provenance import JsonValue, content_digest
from biomarkers.store import audit
from biomarkers.store.columns import writable
from biomarkers.store.current import is_current
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.decisions import masks_by_run
from biomarkers.store.name_lists import is_one_of
from biomarkers.store.schema import analysis, disposition, result
from biomarkers.store.schema.people import signature


class Meaning(StrEnum):
    """What a person says by signing."""

    REVIEWED = "reviewed"
    RELEASED = "released"


class Standing(StrEnum):
    """How far a run's results have come; ``CHANGED`` were signed, and are no longer what was signed."""

    PRELIMINARY = "preliminary"
    REVIEWED = "reviewed"
    RELEASED = "released"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A person's signature; ``holds`` says whether the results are still those that were signed."""

    id: int
    run_id: str
    analysis_id: str
    meaning: Meaning
    digest: str
    signed_by: str
    full_name: str
    signed_at: datetime
    reason: str
    holds: bool


def signed_digest(reading: Reading, *, run_id: str) -> str:
    """Return the digest a signature under the run would bind to now."""
    return content_digest(_content(reading, [run_id])[run_id])


def sign(
    transaction: Transaction,
    *,
    run_id: str,
    meaning: Meaning,
    digest: str,
    signed_by: str,
    full_name: str,
    signed_at: datetime,
    reason: str,
    two_persons: bool = False,
) -> Signature:
    """Sign a run's results.

    Parameters
    ----------
    digest
        Of what the person has looked at, from :func:`signed_digest`.
    two_persons
        Whether the study asks that nobody releases what only they themselves have reviewed.

    Raises
    ------
    StoreError
        The run is not there, has changed since it was looked at, or is released without a standing review, or by the only
        person who reviewed it where the study asks for two.
    """
    transaction.serialise()
    content = _content(transaction, [run_id])[run_id]
    if content is None:
        raise StoreError(what="There is no such run.", where=f"Run '{run_id}'.", remedy="Open it from the list of runs.")
    if content_digest(content) != digest:
        raise StoreError(
            what="The results have changed since they were shown, so nothing was signed.",
            where=f"Run '{run_id}'.",
            remedy="Look at the results as they stand now, then sign.",
        )
    if meaning is Meaning.RELEASED and standings(transaction, [run_id])[run_id] is not Standing.REVIEWED:
        raise StoreError(
            what="Only reviewed results that have not changed since can be released.",
            where=f"Run '{run_id}'.",
            remedy="Let a reviewer sign them first.",
        )
    signed = signatures(transaction, run_ids=[run_id]).get(run_id, ())
    if meaning is Meaning.RELEASED and two_persons and reviewed_alone_by(signed) == signed_by:
        raise StoreError(
            what="The study asks for two persons: nobody releases results that only they themselves have reviewed.",
            where=f"Run '{run_id}'.",
            remedy="Let another reviewer release it, or review it too.",
        )
    analysis_id = str(content["analysis_id"])
    key = transaction.connection.execute(
        insert(signature).values(
            run_id=run_id,
            analysis_id=analysis_id,
            meaning=meaning.value,
            digest=digest,
            content=content,
            signed_by=signed_by,
            full_name=full_name,
            signed_at=signed_at,
            reason=reason,
        )
    ).inserted_primary_key
    audit.append(
        transaction,
        at=signed_at,
        actor=signed_by,
        action=f"run.{meaning.value}",
        entity=run_id,
        detail={"digest": digest, "analysis_id": analysis_id, "full_name": full_name},
        reason=reason,
    )
    return Signature(
        id=0 if key is None else key[0],
        run_id=run_id,
        analysis_id=analysis_id,
        meaning=meaning,
        digest=digest,
        signed_by=signed_by,
        full_name=full_name,
        signed_at=signed_at,
        reason=reason,
        holds=True,
    )


def signatures(reading: Reading, *, run_ids: Collection[str] | None = None) -> Mapping[str, tuple[Signature, ...]]:
    """Return the signatures of all runs that have any, or of some runs, the oldest first."""
    query = select(signature).order_by(signature.c.id)
    if run_ids is not None:
        query = query.where(is_one_of(signature.c.run_id, run_ids))
    rows = reading.connection.execute(query).all()
    now = {run_id: content_digest(content) for run_id, content in _content(reading, {row.run_id for row in rows}).items()}
    found: dict[str, list[Signature]] = {}
    for row in rows:
        found.setdefault(row.run_id, []).append(
            Signature(
                id=row.id,
                run_id=row.run_id,
                analysis_id=row.analysis_id,
                meaning=Meaning(row.meaning),
                digest=row.digest,
                signed_by=row.signed_by,
                full_name=row.full_name,
                signed_at=row.signed_at,
                reason=row.reason,
                holds=now[row.run_id] == row.digest,
            )
        )
    return {run_id: tuple(several) for run_id, several in found.items()}


def standings(reading: Reading, run_ids: Collection[str]) -> Mapping[str, Standing]:
    """Return how far each of some runs has come."""
    found = signatures(reading, run_ids=run_ids)
    return {run_id: standing(found.get(run_id, ())) for run_id in run_ids}


def standing(signed: Collection[Signature]) -> Standing:
    """Tell from a run's signatures how far it has come."""
    meanings = {one.meaning for one in signed if one.holds}
    if Meaning.RELEASED in meanings:
        return Standing.RELEASED
    if Meaning.REVIEWED in meanings:
        return Standing.REVIEWED
    return Standing.CHANGED if signed else Standing.PRELIMINARY


def reviewed_alone_by(signed: Collection[Signature]) -> str:
    """Name the one person whose review stands under a run; empty where nobody's does, or several persons' do."""
    reviewers = {one.signed_by for one in signed if one.holds and one.meaning is Meaning.REVIEWED}
    return next(iter(reviewers)) if len(reviewers) == 1 else ""


def _content(reading: Reading, run_ids: Collection[str]) -> dict[str, dict[str, JsonValue] | None]:
    """Gather what a signature binds to: the current analysis, its results with the last decision on each, and masked wells."""
    found: dict[str, dict[str, JsonValue] | None] = dict.fromkeys(run_ids)
    if not run_ids:
        return found
    masks = masks_by_run(reading)
    listed: dict[str, list[JsonValue]] = {}
    query = select(analysis.c.run_id, analysis.c.analysis_id).where(is_one_of(analysis.c.run_id, run_ids), is_current())
    for row in reading.connection.execute(query):
        listed[row.run_id] = []
        found[row.run_id] = {
            "run_id": row.run_id,
            "analysis_id": row.analysis_id,
            "results": listed[row.run_id],
            "masks": writable(dict(masks.get(row.run_id, {}))),
        }
    last = select(disposition.c.result_id, func.max(disposition.c.id).label("id")).group_by(disposition.c.result_id).subquery()
    of_results = (
        select(result, disposition.c.decision)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .outerjoin(last, last.c.result_id == result.c.result_id)
        .outerjoin(disposition, disposition.c.id == last.c.id)
        .where(is_one_of(result.c.run_id, run_ids), is_current())
        .order_by(result.c.run_id, result.c.ordinal)
    )
    for row in reading.connection.execute(of_results):
        listed[row.run_id].append(
            [
                row.result_id,
                row.accession_id,
                row.measurand,
                row.value,
                row.comparator,
                row.unit,
                row.lower,
                row.upper,
                row.decision or "",
            ]
        )
    return found
