"""Everything people decided, in its order, so that a laboratory rebuilt from its raw bytes can be told it again.

Knows which decisions there are and which of them are on record. Must not know files, nor how a number follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from sqlalchemy import select

from biomarkers.store.current import is_current
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.decisions import Decision, dispose, mask_wells
from biomarkers.store.schema import analysis, disposition, result, well_mask
from biomarkers.store.signatures import Meaning, sign, signatures, signed_digest


class DecisionKind(StrEnum):
    """What was decided about."""

    WELLS = "wells"
    RESULT = "result"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenDecision:
    """A decision with who, when and why.

    Attributes
    ----------
    about
        The run whose wells, or which as a whole, or the result: ids that derive from content, and are the same again.
    what
        ``masked`` or ``unmasked``, a :class:`~biomarkers.store.decisions.Decision`, or a meaning of a signature.
    wells
        Of a decision about wells.
    digest, full_name
        Of a signature: what it binds to, and how its person is called.
    """

    kind: DecisionKind
    about: str
    what: str
    reason: str
    decided_by: str
    decided_at: datetime
    wells: tuple[str, ...] = ()
    digest: str = ""
    full_name: str = ""


Log: TypeAlias = tuple[TakenDecision, ...]


def all_decisions(reading: Reading) -> Log:
    """Return every decision about wells, results and runs, the oldest first."""
    return tuple(
        sorted((*_of_wells(reading), *_of_results(reading), *_of_runs(reading)), key=lambda one: (one.decided_at, one.kind))
    )


def _of_wells(reading: Reading) -> Log:
    together: dict[tuple[str, int, str, str, datetime], list[str]] = {}
    for row in reading.connection.execute(select(well_mask).order_by(well_mask.c.id)):
        key = row.run_id, row.masked, row.reason, row.decided_by, row.decided_at
        together.setdefault(key, []).append(row.position)
    return tuple(
        TakenDecision(
            kind=DecisionKind.WELLS,
            about=run_id,
            what="masked" if masked else "unmasked",
            reason=reason,
            decided_by=decided_by,
            decided_at=decided_at,
            wells=tuple(wells),
        )
        for (run_id, masked, reason, decided_by, decided_at), wells in together.items()
    )


def _of_results(reading: Reading) -> Log:
    return tuple(
        TakenDecision(
            kind=DecisionKind.RESULT,
            about=row.result_id,
            what=row.decision,
            reason=row.reason,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
        )
        for row in reading.connection.execute(select(disposition).order_by(disposition.c.id))
    )


def _of_runs(reading: Reading) -> Log:
    return tuple(
        TakenDecision(
            kind=DecisionKind.RUN,
            about=run_id,
            what=one.meaning.value,
            reason=one.reason,
            decided_by=one.signed_by,
            decided_at=one.signed_at,
            digest=one.digest,
            full_name=one.full_name,
        )
        for run_id, several in signatures(reading).items()
        for one in several
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What telling decisions again did.

    Attributes
    ----------
    taken, known
        Put on record now, or there before.
    passed_over
        Those about something that is not there: another result or run came out, or it was decided of what is superseded.
    """

    taken: Log
    known: Log
    passed_over: Mapping[TakenDecision, str]


def tell_again(transaction: Transaction, given: Log, *, about: DecisionKind) -> Told:
    """Put decisions of one kind on record as they were taken: by whom, when, and why.

    A decision about a result that is not current is passed over: it had no effect where it was taken, or another number came
    out. A signature binds to a digest, and is told again only where the same results stand under it.
    """
    transaction.serialise()
    there = set(all_decisions(transaction))
    chosen = [one for one in given if one.kind is about]
    taken: list[TakenDecision] = []
    passed_over: dict[TakenDecision, str] = {}
    for one in chosen:
        if one in there:
            continue
        why = _why_not(transaction, one)
        if why:
            passed_over[one] = why
            continue
        _take(transaction, one)
        taken.append(one)
    return Told(taken=tuple(taken), known=tuple(one for one in chosen if one in there), passed_over=passed_over)


def _why_not(reading: Reading, one: TakenDecision) -> str:
    """Say why a decision cannot be told again; empty where it can."""
    if one.kind is DecisionKind.RESULT:
        query = (
            select(result.c.result_id)
            .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
            .where(result.c.result_id == one.about, is_current())
        )
        return "" if reading.connection.execute(query).first() else "there is no such current result"
    query = select(analysis.c.run_id).where(analysis.c.run_id == one.about).limit(1)
    if reading.connection.execute(query).first() is None:
        return "there is no such run"
    if one.kind is DecisionKind.RUN and signed_digest(reading, run_id=one.about) != one.digest:
        return "its results are not those that were signed"
    return ""


def _take(transaction: Transaction, one: TakenDecision) -> None:
    match one.kind:
        case DecisionKind.WELLS:
            mask_wells(
                transaction,
                run_id=one.about,
                positions=one.wells,
                masked=one.what == "masked",
                reason=one.reason,
                decided_by=one.decided_by,
                decided_at=one.decided_at,
            )
        case DecisionKind.RESULT:
            dispose(
                transaction,
                result_id=one.about,
                decision=Decision(one.what),
                reason=one.reason,
                decided_by=one.decided_by,
                decided_at=one.decided_at,
            )
        case DecisionKind.RUN:
            sign(
                transaction,
                run_id=one.about,
                meaning=Meaning(one.what),
                digest=one.digest,
                signed_by=one.decided_by,
                full_name=one.full_name,
                signed_at=one.decided_at,
                reason=one.reason,
            )
