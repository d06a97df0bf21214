"""The audit trail: who did what, when and why, each entry chained to the one before by its hash.

Knows the chain and how to prove it whole. Must not know what the actions mean, and is never told an arm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Text, insert, select, type_coerce

from biomarkers.provenance import JsonValue, canonical_json, content_digest
from biomarkers.store.columns import utc_text, writable
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.schema import audit_event

GENESIS = "0" * 64
"""What the first entry names as the hash before it."""

PROGRAM = "biomarkers"
"""The actor of what the program does by itself."""

IN_PORTIONS = {"yield_per": 1000}
"""A trail grows without end; it is read in portions, never as a whole."""

Detail: TypeAlias = "dict[str, JsonValue]"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One entry of the trail; numbers run from 1 without a gap."""

    number: int
    at: datetime
    actor: str
    action: str
    entity: str
    detail: JsonValue
    reason: str
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The last entry by number and hash. Kept outside the database it shows that no later part was cut off or rewritten."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenEntry:
    """The first entry that does not hold, and what is wrong with it."""

    number: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What a walk along the whole chain found.

    ``head`` is the last entry that holds, ``broken`` the first that does not; None where all hold.
    """

    head: AuditHead
    broken: BrokenEntry | None

    @property
    def entries(self) -> int:
        """How many entries hold."""
        return self.head.number

    @property
    def is_whole(self) -> bool:
        """Whether every entry holds."""
        return self.broken is None


def append(
    transaction: Transaction,
    *,
    at: datetime,
    actor: str,
    action: str,
    entity: str,
    detail: Detail | None = None,
    reason: str = "",
) -> AuditHead:
    """Add an entry to the end of the chain, within the transaction of what it reports.

    Parameters
    ----------
    actor
        A person's login, or :data:`PROGRAM`.
    action
        What was done, as ``noun.verb``: ``"analysis.recorded"``.
    entity
        What it was done to, by its id.
    detail
        What the action changed; old and new values where there were old ones.
    """
    if not actor or not action:
        raise ValueError("an audit entry names who acted and what was done")
    transaction.serialise()
    before = head(transaction)
    number = before.number + 1
    kept: JsonValue = writable(detail or {})
    chained = _hash(before.hash, number, utc_text(at), actor, action, entity, canonical_json(kept), reason)
    transaction.connection.execute(
        insert(audit_event).values(
            id=number,
            at=at,
            actor=actor,
            action=action,
            entity=entity,
            detail=kept,
            reason=reason,
            previous_hash=before.hash,
            hash=chained,
        )
    )
    return AuditHead(number=number, hash=chained)


def head(reading: Reading) -> AuditHead:
    """Return the last entry's number and hash; number 0 while there is none."""
    row = reading.connection.execute(
        select(audit_event.c.id, audit_event.c.hash).order_by(audit_event.c.id.desc()).limit(1)
    ).first()
    return AuditHead(number=0, hash=GENESIS) if row is None else AuditHead(number=row.id, hash=row.hash)


def events(reading: Reading, *, entity: str | None = None) -> Iterator[AuditEvent]:
    """Give the entries in order, all of them or those about one entity."""
    query = select(audit_event).order_by(audit_event.c.id)
    if entity is not None:
        query = query.where(audit_event.c.entity == entity)
    with reading.connection.execute(query, execution_options=IN_PORTIONS) as rows:
        for row in rows:
            yield AuditEvent(
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


def verify(reading: Reading, *, expected_head: AuditHead | None = None) -> AuditVerdict:
    """Walk along the whole chain and name the first entry that does not hold.

    Parameters
    ----------
    expected_head
        A head kept outside the database, of now or earlier. Without it a chain whose end was cut off, or that was rewritten
        as a whole, cannot be told from a sound one.
    """
    columns = audit_event.c
    # Moments and details are compared as the text that was hashed: what can no longer be read as one must be named, not trip.
    query = select(
        columns.id,
        type_coerce(columns.at, Text).label("at"),
        columns.actor,
        columns.action,
        columns.entity,
        type_coerce(columns.detail, Text).label("detail"),
        columns.reason,
        columns.previous_hash,
        columns.hash,
    ).order_by(columns.id)
    reached = AuditHead(number=0, hash=GENESIS)
    broken: BrokenEntry | None = None
    with reading.connection.execute(query, execution_options=IN_PORTIONS) as rows:
        for row in rows:
            chained = _hash(row.previous_hash, row.id, row.at, row.actor, row.action, row.entity, row.detail, row.reason)
            if row.id != reached.number + 1:
                missing = reached.number + 1
                broken = BrokenEntry(number=missing, what=f"it is missing: entry {row.id} follows entry {reached.number}")
            elif row.previous_hash != reached.hash:
                broken = BrokenEntry(number=row.id, what="it does not name the hash of the entry before it")
            elif row.hash != chained:
                broken = BrokenEntry(number=row.id, what="its content does not agree with its hash")
            elif expected_head is not None and row.id == expected_head.number and row.hash != expected_head.hash:
                broken = BrokenEntry(number=row.id, what="it is not the entry whose hash was kept outside")
            if broken is not None:
                return AuditVerdict(head=reached, broken=broken)
            reached = AuditHead(number=row.id, hash=row.hash)
    if expected_head is not None and reached.number < expected_head.number:
        cut = f"it is missing: the chain ends at {reached.number}, and was known to reach {expected_head.number}"
        broken = BrokenEntry(number=reached.number + 1, what=cut)
    return AuditVerdict(head=reached, broken=broken)


def _hash(  # noqa: PLR0917  - the order of the arguments is the order in which they are hashed
    previous_hash: str, number: int, at: str, actor: str, action: str, entity: str, detail: str, reason: str
) -> str:
    return content_digest([previous_hash, number, at, actor, action, entity, detail, reason])
