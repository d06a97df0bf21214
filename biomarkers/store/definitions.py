"""Declarations as they stood when numbers were made from them: study, layouts, panels, stain protocols.

Knows each by kind, name and digest. Must not know what a declaration says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Row, Select, insert, select

from biomarkers.store import audit
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.schema import definition


class DefinitionKind(StrEnum):
    """What is declared; the value is also the ``kind`` of an input in a provenance."""

    STUDY = "study"
    LAYOUT = "layout"
    PANEL = "panel"
    STAIN_PROTOCOL = "stain_protocol"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDefinition:
    """One version of a declaration.

    Attributes
    ----------
    name
        For a study its id; the ``timepoint`` view takes ``study_id`` from here.
    sha256
        As inputs in a provenance name it.
    content
        The declaration's text, or its canonical JSON.
    """

    kind: DefinitionKind
    name: str
    sha256: str
    content: str
    recorded_at: datetime


def record_definition(
    transaction: Transaction,
    *,
    kind: DefinitionKind,
    name: str,
    sha256: str,
    content: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record a version of a declaration; return False where it is the current one already."""
    transaction.serialise()
    current = current_definition(transaction, kind=kind, name=name)
    if current is not None and current.sha256 == sha256:
        return False
    transaction.connection.execute(
        insert(definition).values(kind=kind.value, name=name, sha256=sha256, content=content, recorded_at=recorded_at)
    )
    audit.append(
        transaction,
        at=recorded_at,
        actor=actor,
        action="definition.recorded",
        entity=f"{kind.value}/{name}",
        detail={"sha256": sha256, "before": "" if current is None else current.sha256},
    )
    return True


def current_definition(reading: Reading, *, kind: DefinitionKind, name: str) -> StoredDefinition | None:
    """Return the newest version of a declaration, or None where none was recorded."""
    return _first(reading, select(definition).where(definition.c.kind == kind.value, definition.c.name == name))


def definition_by_digest(reading: Reading, *, kind: DefinitionKind, sha256: str) -> StoredDefinition | None:
    """Return the version of a declaration that a provenance names."""
    return _first(reading, select(definition).where(definition.c.kind == kind.value, definition.c.sha256 == sha256))


def _first(reading: Reading, query: Select[tuple[object, ...]]) -> StoredDefinition | None:
    row: Row[tuple[object, ...]] | None = reading.connection.execute(query.order_by(definition.c.id.desc()).limit(1)).first()
    if row is None:
        return None
    return StoredDefinition(
        kind=DefinitionKind(row.kind),
        name=row.name,
        sha256=row.sha256,
        content=row.content,
        recorded_at=row.recorded_at,
    )
