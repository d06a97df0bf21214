"""Files seen, each once, by the digest of its bytes.

Knows which bytes have been received, when first and under which name. Must not know where they lie or what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from biomarkers.store.database import Reading, Transaction
from biomarkers.store.schema import source_file


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file as first received.

    Attributes
    ----------
    assay
        The inbox: an assay's name or ``"study"``.
    kind
        What it was taken for: ``"plate_read"``, ``"plate_map"``, ``"acquisition"``, ``"slide"``, ``"roster"``, ...
    """

    sha256: str
    size: int
    assay: str
    kind: str
    first_name: str
    received_at: datetime


def register(
    transaction: Transaction,
    *,
    sha256: str,
    size: int,
    assay: str,
    kind: str,
    name: str,
    received_at: datetime,
) -> bool:
    """Register a file's bytes; return whether they are new.

    Bytes registered before stay as they were: neither another name nor another time changes them.
    """
    transaction.serialise()
    if find(transaction, sha256=sha256) is not None:
        return False
    transaction.connection.execute(
        insert(source_file).values(sha256=sha256, size=size, assay=assay, kind=kind, first_name=name, received_at=received_at)
    )
    return True


def find(reading: Reading, *, sha256: str) -> SourceFile | None:
    """Return the file of these bytes, or None where they were never received."""
    row = reading.connection.execute(select(source_file).where(source_file.c.sha256 == sha256)).first()
    if row is None:
        return None
    return SourceFile(
        sha256=row.sha256,
        size=row.size,
        assay=row.assay,
        kind=row.kind,
        first_name=row.first_name,
        received_at=row.received_at,
    )


def all_sources(reading: Reading) -> tuple[SourceFile, ...]:
    """Return every file received, in the order of arrival."""
    rows = reading.connection.execute(select(source_file).order_by(source_file.c.received_at, source_file.c.sha256))
    return tuple(
        SourceFile(
            sha256=row.sha256,
            size=row.size,
            assay=row.assay,
            kind=row.kind,
            first_name=row.first_name,
            received_at=row.received_at,
        )
        for row in rows
    )
