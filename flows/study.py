"""The study's own lists: subjects, specimens, visits, from the inbox to the alignment of every specimen.

Knows which list a file is and what follows from a new one. Must not parse or know SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from biomarkers.errors import BiomarkersError, SourceFileError
from biomarkers.lab.archive import named
from biomarkers.lab.inbox import DroppedFile
from biomarkers.provenance import utc_now
from biomarkers.readers.study_files import read_roster, read_specimens, read_visits
from biomarkers.store.database import Transaction
from biomarkers.store.jobs import JobState
from biomarkers.store.study_lists import (
    ListKind,
    current_digest,
    current_roster,
    record_roster,
    record_specimens,
    record_visits,
)
from biomarkers.study.definition import StudyDefinition
from biomarkers.study.roster import Roster
from flows import steps
from flows.bench import bench
from flows.settings import lab_task
from flows.steps import Held

LIST_NAMES = re.compile(r"(roster|specimens|visits)(?:[ ._~-].*)?\.csv", re.IGNORECASE)
"""``roster.csv``, or with a date or a suffix: ``roster-2025-03-01.csv``."""

ORDER = (ListKind.ROSTER, ListKind.SPECIMENS, ListKind.VISITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """A list as read: what its rows are called, and how it is written into a transaction."""

    ids: frozenset[str]
    record: Callable[[Transaction], bool]


@lab_task("study files")
async def study_files(files: Sequence[DroppedFile]) -> int:
    """Take the study's lists, each in a transaction with the alignment that follows from it; return how many were new."""
    with steps.working(steps.hold(group) for group in (files,)) as (held,):
        return sum([_take(one) for one in sorted(held, key=_order)])


def _order(held: Held) -> tuple[int, str]:
    kind = _kind(held.file.name)
    return (len(ORDER) if kind is None else ORDER.index(kind), held.file.name)


def _kind(name: str) -> ListKind | None:
    found = LIST_NAMES.fullmatch(name)
    return ListKind(found[1].lower()) if found else None


def _take(held: Held) -> bool:
    try:
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
            remedy="Name it roster.csv, specimens.csv or visits.csv; instrument files go into the inbox of their assay.",
        )
    with laboratory.database.read() as reading:
        if current_digest(reading, kind=kind) == held.sha256:
            return None
        roster = current_roster(reading)
    with named(laboratory.folder, steps.place_name(), {name: held.sha256}) as place:
        found = _READERS[kind](place / name, laboratory.definition, held.sha256)
    vanished = sorted(_IDS[kind](roster) - found.ids)
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


_READERS = {ListKind.ROSTER: _roster, ListKind.SPECIMENS: _specimens, ListKind.VISITS: _visits}

_IDS: dict[ListKind, Callable[[Roster], frozenset[str]]] = {
    ListKind.ROSTER: lambda roster: frozenset(roster.subjects),
    ListKind.SPECIMENS: lambda roster: frozenset(roster.specimens),
    ListKind.VISITS: lambda roster: frozenset(f"{subject} {visit}" for subject, visit in roster.visits),
}
