"""The study files as recorded: rosters, specimens, visits, kit lots, blood counts, each a full list that replaces the last.

Knows that the newest list of a kind counts and that older ones stay. Must not know a CSV file, an arm or a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import TypeAlias

from sqlalchemy import Row, Table, func, insert, select

from biomarkers.elisa.lots import KitLot
from biomarkers.errors import StoreError
from biomarkers.store import audit
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.lot_entries import LotEntry, lot_entries, lots_of
from biomarkers.store.schema import (
    actual_visit,
    blood_count,
    lot_entry,
    pathology_reading,
    shipped_specimen,
    specimen,
    study_list,
    subject,
)
from biomarkers.study.cellular import HaematologyCount
from biomarkers.study.declaration import Material
from biomarkers.study.pathology import PathologyReading
from biomarkers.study.roster import ActualVisit, Roster, Specimen, Subject
from biomarkers.study.shipments import ShippedSpecimen

Entry: TypeAlias = Subject | Specimen | ActualVisit | LotEntry | HaematologyCount | PathologyReading | ShippedSpecimen


class ListKind(StrEnum):
    """The study files a laboratory's database keeps; allocations to arms are not among them."""

    ROSTER = "roster"
    SPECIMENS = "specimens"
    VISITS = "visits"
    LOTS = "lots"
    HAEMATOLOGY = "haematology"
    PATHOLOGY = "pathology"
    SHIPMENTS = "shipments"


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


def record_lots(
    transaction: Transaction, *, lots: Iterable[KitLot], sha256: str, recorded_at: datetime, actor: str = audit.PROGRAM
) -> bool:
    """Record a list of kit lots; return False where the current one came from these bytes already."""
    entries = tuple(entry for lot in lots for entry in lot_entries(lot))
    return _record(transaction, ListKind.LOTS, lot_entry, entries, sha256, recorded_at, actor)


def record_haematology(
    transaction: Transaction,
    *,
    counts: Iterable[HaematologyCount],
    sha256: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record a list of blood counts; return False where the current one came from these bytes already."""
    return _record(transaction, ListKind.HAEMATOLOGY, blood_count, tuple(counts), sha256, recorded_at, actor)


def current_haematology(reading: Reading) -> tuple[HaematologyCount, ...]:
    """Return the blood counts of the newest list; none where no list was recorded yet."""
    rows = sorted(_rows(reading, ListKind.HAEMATOLOGY, blood_count), key=lambda row: int(row.ordinal))
    return tuple(
        HaematologyCount(
            lymphocytes_per_ul=row.lymphocytes_per_ul,
            accession_id=row.accession_id,
            subject_id=row.subject_id,
            day=row.day,
        )
        for row in rows
    )


def haematology_origins(reading: Reading) -> Mapping[HaematologyCount, str]:
    """Return, for each blood count ever listed, the digest of the first list that held it; later lists change nothing of it."""
    columns = (
        blood_count.c.accession_id,
        blood_count.c.subject_id,
        blood_count.c.day,
        blood_count.c.lymphocytes_per_ul,
        study_list.c.sha256,
    )
    query = select(*columns).join(study_list, study_list.c.id == blood_count.c.list_id).order_by(blood_count.c.list_id.desc())
    return {
        HaematologyCount(
            lymphocytes_per_ul=row.lymphocytes_per_ul,
            accession_id=row.accession_id,
            subject_id=row.subject_id,
            day=row.day,
        ): row.sha256
        for row in reading.connection.execute(query)
    }


def record_pathology(
    transaction: Transaction,
    *,
    readings: Iterable[PathologyReading],
    sha256: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record a list of pathologists' readings; return False where the current one came from these bytes already."""
    return _record(transaction, ListKind.PATHOLOGY, pathology_reading, tuple(readings), sha256, recorded_at, actor)


def current_pathology(reading: Reading) -> tuple[PathologyReading, ...]:
    """Return the pathologists' readings of the newest list; none where no list was recorded yet."""
    rows = sorted(_rows(reading, ListKind.PATHOLOGY, pathology_reading), key=lambda row: int(row.ordinal))
    return tuple(
        PathologyReading(
            accession_id=row.accession_id,
            tumour_present=bool(row.tumour_present),
            viable_tumour_percent=row.viable_tumour_percent,
            necrosis_percent=row.necrosis_percent,
            reader=row.reader,
        )
        for row in rows
    )


def record_shipments(
    transaction: Transaction,
    *,
    shipped: Iterable[ShippedSpecimen],
    sha256: str,
    recorded_at: datetime,
    actor: str = audit.PROGRAM,
) -> bool:
    """Record the list of all shipments; return False where the current one came from these bytes already."""
    return _record(transaction, ListKind.SHIPMENTS, shipped_specimen, tuple(shipped), sha256, recorded_at, actor)


def current_shipments(reading: Reading) -> tuple[ShippedSpecimen, ...]:
    """Return what sites sent by the newest list; nothing where no list was recorded yet."""
    rows = sorted(_rows(reading, ListKind.SHIPMENTS, shipped_specimen), key=lambda row: int(row.ordinal))
    return tuple(
        ShippedSpecimen(accession_id=row.accession_id, shipped_on=row.shipped_on, box=row.box, position=row.position)
        for row in rows
    )


def current_lots(reading: Reading) -> tuple[KitLot, ...]:
    """Return the kit lots of the newest list; none where no list was recorded yet."""
    rows = sorted(_rows(reading, ListKind.LOTS, lot_entry), key=lambda row: int(row.ordinal))
    return lots_of(
        LotEntry(
            analyte=row.analyte,
            kit_lot=row.kit_lot,
            expires_on=row.expires_on,
            slot=row.slot,
            value=row.value,
            lower=row.lower,
            upper=row.upper,
        )
        for row in rows
    )


def current_roster(reading: Reading, *, with_specimens: bool = True) -> Roster:
    """Return the newest list of each kind taken together; empty where none was recorded yet, or where it is not wanted."""
    subjects = [_subject(row) for row in _rows(reading, ListKind.ROSTER, subject)]
    specimens = [_specimen(row) for row in _rows(reading, ListKind.SPECIMENS, specimen)] if with_specimens else []
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


def last_list(reading: Reading) -> int:
    """Return the number of the list recorded last, of any kind; 0 while there is none. It tells whether a new one came."""
    return int(reading.connection.execute(select(func.coalesce(func.max(study_list.c.id), 0))).scalar_one())


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
    return {name: _cell(value) for name, value in values.items()}


def _cell(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return int(value) if isinstance(value, bool) else value


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
