"""The study files as recorded: rosters, specimen lists and visit lists, each a full list that replaces the one before.

Knows that the newest list of a kind counts and that older ones stay. Must not know a CSV file, an arm or a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import TypeAlias

from sqlalchemy import Row, Table, insert, select

from biomarkers.errors import StoreError
from biomarkers.store import audit
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.schema import actual_visit, specimen, study_list, subject
from biomarkers.study.declaration import Material
from biomarkers.study.roster import ActualVisit, Roster, Specimen, Subject

Entry: TypeAlias = Subject | Specimen | ActualVisit


class ListKind(StrEnum):
    """The three study files a laboratory's database keeps; allocations to arms are not among them."""

    ROSTER = "roster"
    SPECIMENS = "specimens"
    VISITS = "visits"


def record_roster(
    transaction: Transaction,
    *,
    subjects: Iterable[Subject],
    sha256: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record a roster; return False where the current one came from these bytes already."""
    return _record(transaction, ListKind.ROSTER, subject, tuple(subjects), sha256, recorded_at, actor)


def record_specimens(
    transaction: Transaction,
    *,
    specimens: Iterable[Specimen],
    sha256: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record a specimen list; return False where the current one came from these bytes already."""
    return _record(transaction, ListKind.SPECIMENS, specimen, tuple(specimens), sha256, recorded_at, actor)


def record_visits(
    transaction: Transaction,
    *,
    visits: Iterable[ActualVisit],
    sha256: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record a list of actual visits; return False where the current one came from these bytes already."""
    return _record(transaction, ListKind.VISITS, actual_visit, tuple(visits), sha256, recorded_at, actor)


def current_roster(reading: Reading) -> Roster:
    """Return the newest list of each kind taken together; empty where none was recorded yet."""
    subjects = [_subject(row) for row in _rows(reading, ListKind.ROSTER, subject)]
    specimens = [_specimen(row) for row in _rows(reading, ListKind.SPECIMENS, specimen)]
    visits = [_visit(row) for row in _rows(reading, ListKind.VISITS, actual_visit)]
    return Roster(
        subjects=MappingProxyType({entry.subject_id: entry for entry in sorted(subjects, key=lambda s: s.subject_id)}),
        specimens=MappingProxyType({entry.accession_id: entry for entry in sorted(specimens, key=lambda s: s.accession_id)}),
        visits=MappingProxyType(
            {
                (entry.subject_id, entry.visit): entry
                for entry in sorted(visits, key=lambda visit: (visit.subject_id, visit.visit))
            }
        ),
    )


def current_digest(reading: Reading, *, kind: ListKind) -> str | None:
    """Return the digest of the file the current list of a kind came from; None where there is none."""
    found = reading.connection.execute(
        select(study_list.c.sha256).where(study_list.c.kind == kind.value).order_by(study_list.c.id.desc()).limit(1)
    ).scalar_one_or_none()
    return None if found is None else str(found)


def _record(  # noqa: PLR0917  - one private step behind the three functions above
    transaction: Transaction,
    kind: ListKind,
    table: Table,
    entries: Sequence[Entry],
    sha256: str,
    recorded_at: datetime,
    actor: str,
) -> bool:
    transaction.serialise()
    if current_digest(transaction, kind=kind) == sha256:
        return False
    list_id = transaction.connection.execute(
        insert(study_list).values(kind=kind.value, sha256=sha256, recorded_at=recorded_at)
    ).inserted_primary_key
    if list_id is None:
        raise StoreError(what="The list was given no number.", where=f"List of {kind.value}.", remedy="Report this.")
    rows = [{"list_id": list_id[0], **_row(entry)} for entry in entries]
    if "ordinal" in table.c:
        rows = [{**row, "ordinal": ordinal} for ordinal, row in enumerate(rows)]
    if rows:
        transaction.connection.execute(insert(table), rows)
    audit.append(
        transaction,
        at=recorded_at,
        actor=actor,
        action=f"{kind.value}.recorded",
        entity=sha256,
        detail={"entries": len(rows)},
    )
    return True


def _row(entry: Entry) -> dict[str, object]:
    values = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def _rows(reading: Reading, kind: ListKind, table: Table) -> Sequence[Row[tuple[object, ...]]]:
    newest = (
        select(study_list.c.id)
        .where(study_list.c.kind == kind.value)
        .order_by(study_list.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return reading.connection.execute(select(table).where(table.c.list_id == newest)).all()


def _subject(row: Row[tuple[object, ...]]) -> Subject:
    return Subject(
        subject_id=row.subject_id,
        site=row.site,
        treatment_start=row.treatment_start,
        randomised_on=row.randomised_on,
        treatment_end=row.treatment_end,
        progression_date=row.progression_date,
        next_therapy_start=row.next_therapy_start,
        off_study_date=row.off_study_date,
        off_study_reason=row.off_study_reason,
        death_date=row.death_date,
        consent_withdrawn_on=row.consent_withdrawn_on,
    )


def _specimen(row: Row[tuple[object, ...]]) -> Specimen:
    return Specimen(
        accession_id=row.accession_id,
        subject_id=row.subject_id,
        material=Material(row.material),
        collected_at=row.collected_at,
        nominal_visit=row.nominal_visit,
        parent_accession_id=row.parent_accession_id,
        received_at=row.received_at,
        condition=row.condition,
        anticoagulant=row.anticoagulant,
        processed_at=row.processed_at,
        frozen_at=row.frozen_at,
        freeze_thaw=row.freeze_thaw,
        hemolysis=row.hemolysis,
        volume_ul=row.volume_ul,
        fixed_at=row.fixed_at,
        tissue_source=row.tissue_source,
        lesion=row.lesion,
        block=row.block,
    )


def _visit(row: Row[tuple[object, ...]]) -> ActualVisit:
    return ActualVisit(
        subject_id=row.subject_id,
        visit=row.visit,
        actual_date=row.actual_date,
        status=row.status,
        reason=row.reason,
    )
