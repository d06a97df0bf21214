"""The study's own lists: subjects, specimens, visits, from the inbox to the alignment of every specimen.

Knows which list a file is and what follows from a new one. Must not parse or know SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from biomarkers.elisa.lots import KitLot
from biomarkers.errors import BiomarkersError, SourceFileError
from biomarkers.lab.archive import named
from biomarkers.lab.drafts import own_name
from biomarkers.lab.inbox import DroppedFile
from biomarkers.provenance import utc_now
from biomarkers.readers.haematology import read_haematology
from biomarkers.readers.pathology import read_pathology
from biomarkers.readers.shipments import read_shipments
from biomarkers.readers.study_files import read_lots, read_roster, read_specimens, read_visits
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.jobs import JobState
from biomarkers.store.study_lists import (
    ListKind,
    current_digest,
    current_haematology,
    current_lots,
    current_pathology,
    current_roster,
    current_shipments,
    record_haematology,
    record_lots,
    record_pathology,
    record_roster,
    record_shipments,
    record_specimens,
    record_visits,
)
from biomarkers.study.cellular import HaematologyCount
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.pathology import PathologyReading
from flows import intake, steps
from flows.bench import bench
from flows.leases import working
from flows.settings import lab_task
from flows.steps import Held
from flows.work import sparing_files

LIST_NAMES = re.compile(r"(roster|specimens|visits|lots|haematology|pathology|shipments)(?:[ ._~-].*)?\.csv", re.IGNORECASE)
"""``roster.csv``, or with a date or a suffix: ``roster-2025-03-01.csv``."""

ORDER = tuple(ListKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """A list as read: what its rows are called, and how it is written into a transaction."""

    ids: frozenset[str]
    record: Callable[[Transaction], bool]


@lab_task("study files")
async def study_files(files: Sequence[DroppedFile]) -> int:
    """Take the study's lists, each in a transaction with the alignment that follows from it; return how many were new.

    Raises
    ------
    TemporarilyUnavailableError
        One could not be read for the moment. What would be computed by the older one waits with it.
    """
    postponed = bench().postponed
    before = len(postponed)
    with working():
        (held,) = await intake.hold([files])
        new = sum([_take(one) for one in sorted(held, key=_order)])
    if len(postponed) > before:
        raise postponed[-1]
    return new


def _order(held: Held) -> tuple[int, str]:
    kind = _kind(held.file.name)
    return (len(ORDER) if kind is None else ORDER.index(kind), held.file.name)


def _kind(name: str) -> ListKind | None:
    found = LIST_NAMES.fullmatch(name)
    return ListKind(found[1].lower()) if found else None


def _take(held: Held) -> bool:
    try:
        with sparing_files():
            found = _read(held)
    except BiomarkersError as error:
        if error.is_transient:
            raise
        steps.quarantine(held, error)
        return False
    if found is None:
        steps.seen(held, "This is the list on record.")
        return False

    def write(transaction: Transaction) -> None:
        found.record(transaction)
        bench().laboratory.realign(transaction)

    steps.finished([held], JobState.RECORDED, write=write)
    steps.forget_specimens()
    return True


def _read(held: Held) -> _List | None:
    """Read a list and hold it against the one on record; None where it is that one."""
    laboratory, name = bench().laboratory, held.file.name
    kind = _kind(name)
    if kind is None:
        raise SourceFileError(
            what="This is none of the study's lists.",
            where=f"File '{name}'.",
            remedy="Name it roster.csv, specimens.csv, visits.csv, lots.csv, haematology.csv, pathology.csv or shipments.csv; "
            "instrument files go into their own inbox.",
        )
    with laboratory.database.read() as reading:
        if current_digest(reading, kind=kind) == held.sha256:
            return None
        recorded = _IDS[kind](reading)
    with named(laboratory.folder, own_name(), {name: held.sha256}) as place:
        found = _READERS[kind](place / name, laboratory.definition, held.sha256)
    vanished = sorted(recorded - found.ids)
    if vanished:
        shown = ", ".join(f"'{lost}'" for lost in vanished[:10]) + (", ..." if len(vanished) > 10 else "")
        raise SourceFileError(
            what=f"{len(vanished)} rows of the list on record are not in this one: {shown}.",
            where=f"File '{name}'.",
            remedy="Each list is a full one; export it whole and drop it again.",
        )
    return found


def _roster(path: Path, definition: StudyDefinition, sha256: str) -> _List:
    subjects = read_roster(path, definition)
    return _List(
        ids=frozenset(subject.subject_id for subject in subjects),
        record=lambda transaction: record_roster(transaction, subjects=subjects, sha256=sha256, recorded_at=utc_now()),
    )


def _specimens(path: Path, definition: StudyDefinition, sha256: str) -> _List:
    specimens = read_specimens(path, definition)
    return _List(
        ids=frozenset(specimen.accession_id for specimen in specimens),
        record=lambda transaction: record_specimens(transaction, specimens=specimens, sha256=sha256, recorded_at=utc_now()),
    )


def _visits(path: Path, definition: StudyDefinition, sha256: str) -> _List:
    visits = read_visits(path, definition)
    return _List(
        ids=frozenset(f"{visit.subject_id} {visit.visit}" for visit in visits),
        record=lambda transaction: record_visits(transaction, visits=visits, sha256=sha256, recorded_at=utc_now()),
    )


def _lots(path: Path, definition: StudyDefinition, sha256: str) -> _List:
    lots = read_lots(path, definition)
    return _List(
        ids=_lot_ids(lots),
        record=lambda transaction: record_lots(transaction, lots=lots, sha256=sha256, recorded_at=utc_now()),
    )


def _lot_ids(lots: Sequence[KitLot]) -> frozenset[str]:
    return frozenset(f"{lot.analyte} {lot.kit_lot} {slot}" for lot in lots for slot in (*lot.calibrators, *lot.controls))


def _haematology(path: Path, definition: StudyDefinition, sha256: str) -> _List:
    counts = read_haematology(path, definition)
    return _List(
        ids=_count_ids(counts),
        record=lambda transaction: record_haematology(transaction, counts=counts, sha256=sha256, recorded_at=utc_now()),
    )


def _count_ids(counts: Sequence[HaematologyCount]) -> frozenset[str]:
    return frozenset(one.accession_id or f"{one.subject_id} {one.day}" for one in counts)


def _pathology(path: Path, definition: StudyDefinition, sha256: str) -> _List:
    readings = read_pathology(path, definition)
    return _List(
        ids=_reading_ids(readings),
        record=lambda transaction: record_pathology(transaction, readings=readings, sha256=sha256, recorded_at=utc_now()),
    )


def _reading_ids(readings: Sequence[PathologyReading]) -> frozenset[str]:
    return frozenset(f"{one.accession_id} {one.reader}" for one in readings)


def _shipments(path: Path, definition: StudyDefinition, sha256: str) -> _List:
    shipped = read_shipments(path, definition)
    return _List(
        ids=frozenset(one.accession_id for one in shipped),
        record=lambda transaction: record_shipments(transaction, shipped=shipped, sha256=sha256, recorded_at=utc_now()),
    )


_READERS = {
    ListKind.ROSTER: _roster,
    ListKind.SPECIMENS: _specimens,
    ListKind.VISITS: _visits,
    ListKind.LOTS: _lots,
    ListKind.HAEMATOLOGY: _haematology,
    ListKind.PATHOLOGY: _pathology,
    ListKind.SHIPMENTS: _shipments,
}

_IDS: dict[ListKind, Callable[[Reading], frozenset[str]]] = {
    ListKind.ROSTER: lambda reading: frozenset(current_roster(reading).subjects),
    ListKind.SPECIMENS: lambda reading: frozenset(current_roster(reading).specimens),
    ListKind.VISITS: lambda reading: frozenset(f"{subject} {visit}" for subject, visit in current_roster(reading).visits),
    ListKind.LOTS: lambda reading: _lot_ids(current_lots(reading)),
    ListKind.HAEMATOLOGY: lambda reading: _count_ids(current_haematology(reading)),
    ListKind.PATHOLOGY: lambda reading: _reading_ids(current_pathology(reading)),
    ListKind.SHIPMENTS: lambda reading: frozenset(one.accession_id for one in current_shipments(reading)),
}
