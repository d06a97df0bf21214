"""What people decided: which result counts, and which wells are left out.

Knows that every decision has a reason and a name, that the last one counts, and that earlier ones stay. Must not know how a
number changes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, insert, select

from biomarkers.errors import StoreError
from biomarkers.store import audit, timepoint_rows
from biomarkers.store.current import is_current
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.schema import analysis, disposition, result, well_mask


class Decision(StrEnum):
    """What a person, or a rule declared beforehand, decided about a result."""

    REPORTABLE = "reportable"
    REPEATED = "repeated"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True, kw_only=True)
class WellMask:
    """A decision about one well of a run: left out, or taken back in."""

    run_id: str
    position: str
    masked: bool
    reason: str
    decided_by: str
    decided_at: datetime


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
        .where(result.c.result_id == result_id, is_current())
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
    timepoint_rows.refresh_result(transaction, result_id)
    audit.append(
        transaction,
        at=decided_at,
        actor=decided_by,
        action="result.disposed",
        entity=result_id,
        detail={"decision": decision.value, "run_id": found.run_id},
        reason=reason,
    )


def mask_wells(
    transaction: Transaction,
    *,
    run_id: str,
    positions: Iterable[str],
    masked: bool,
    reason: str,
    decided_by: str,
    decided_at: datetime,
) -> None:
    """Write down that a person leaves wells of a plate out, or takes them back in; results follow when it is computed again.

    Raises
    ------
    StoreError
        No reason or name is given, no well is named, or one already stands as asked.
    """
    wells = sorted(set(positions))
    if not reason or not decided_by or not wells:
        raise StoreError(
            what="A decision about wells names them, has a reason and a name.",
            where=f"Run '{run_id}'.",
            remedy="Name the wells, and say why.",
        )
    transaction.serialise()
    standing = masks_by_run(transaction).get(run_id, {})
    idle = [position for position in wells if (position in standing) is masked]
    if idle:
        raise StoreError(
            what=f"{', '.join(idle)} {'is masked' if masked else 'is not masked'} already.",
            where=f"Run '{run_id}'.",
            remedy="Leave it out of the list.",
        )
    transaction.connection.execute(
        insert(well_mask),
        [
            {
                "run_id": run_id,
                "position": position,
                "masked": int(masked),
                "reason": reason,
                "decided_by": decided_by,
                "decided_at": decided_at,
            }
            for position in wells
        ],
    )
    audit.append(
        transaction,
        at=decided_at,
        actor=decided_by,
        action="wells.masked" if masked else "wells.unmasked",
        entity=run_id,
        detail={"wells": wells},
        reason=reason,
    )


def mask_history(reading: Reading, *, run_id: str) -> tuple[WellMask, ...]:
    """Return every decision about wells of a run, the oldest first."""
    rows = reading.connection.execute(select(well_mask).where(well_mask.c.run_id == run_id).order_by(well_mask.c.id))
    return tuple(
        WellMask(
            run_id=row.run_id,
            position=row.position,
            masked=bool(row.masked),
            reason=row.reason,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
        )
        for row in rows
    )


def masks_by_run(reading: Reading) -> Mapping[str, Mapping[str, str]]:
    """Return the wells left out as decisions stand: for each run the reason by well, with who and when."""
    last = select(func.max(well_mask.c.id)).group_by(well_mask.c.run_id, well_mask.c.position)
    query = select(well_mask).where(well_mask.c.id.in_(last), well_mask.c.masked == 1).order_by(well_mask.c.id)
    found: dict[str, dict[str, str]] = {}
    for row in reading.connection.execute(query):
        found.setdefault(row.run_id, {})[row.position] = f"{row.reason} ({row.decided_by}, {row.decided_at:%Y-%m-%d %H:%M})"
    return found
