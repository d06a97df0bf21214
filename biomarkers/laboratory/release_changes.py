"""What changed since a release: its table held against the one that stands now, row by row.

Knows how a release's table lies on the disk. Must not know an arm: a release holds none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd

from biomarkers.errors import LabFolderError
from biomarkers.lab.folders import LabFolder
from biomarkers.laboratory.releases import MANIFEST
from biomarkers.provenance import bytes_digest
from biomarkers.store import audit, lookups
from biomarkers.store.database import Reading
from biomarkers.timepoints.alignment import TimepointRow

ChangeKind: TypeAlias = Literal["new", "gone", "value", "status", "behind"]
Key: TypeAlias = tuple[str, str, str]

TABLE = "timepoints.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRelease:
    """A release as its manifest tells it.

    Attributes
    ----------
    head
        Number and hash of the last entry of the audit trail it holds, as printed.
    head_holds
        Whether the trail still has that entry with that hash.
    is_whole
        Whether the manifest is the one the trail says was locked, and the table the one the manifest names.
    """

    name: str
    as_of: date
    locked_at: str
    locked_by: str
    rows: int
    head: audit.AuditHead
    head_holds: bool
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCell:
    """What a table says of one subject, visit and measurand."""

    status: str
    value: float | None
    comparator: str
    unit: str
    result_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseChange:
    """One row that differs.

    Attributes
    ----------
    kind
        ``"new"`` and ``"gone"``: on one side only; ``"value"``: another number, bound or unit; ``"status"``: the same number,
        or none, and another status; ``"behind"``: the same number from another result.
    """

    kind: ChangeKind
    subject_id: str
    visit: str
    measurand: str
    before: ReleaseCell | None
    after: ReleaseCell | None


def locked_releases(folder: LabFolder, reading: Reading) -> tuple[LockedRelease, ...]:
    """Return every release, the newest first; a folder without a manifest that can be read is none."""
    events = {
        event.entity: event for event in lookups.latest_events(reading, before=None, action="release.locked", limit=10_000)
    }
    found = []
    for path in (folder.root / "releases").glob(f"[!.]*/{MANIFEST}"):
        try:
            content = path.read_bytes()
            told = json.loads(content)
            number, digest = int(told["audit_head"]["number"]), str(told["audit_head"]["hash"])
            event = events.get(path.parent.name)
            detail = event.detail if event is not None and isinstance(event.detail, Mapping) else {}
            entry = lookups.latest_events(reading, before=number + 1, action="", limit=1)
            found.append(
                LockedRelease(
                    name=path.parent.name,
                    as_of=date.fromisoformat(told["as_of"]),
                    locked_at=str(told["locked_at"]),
                    locked_by=str(told["locked_by"]),
                    rows=int(told["rows"]),
                    head=audit.AuditHead(number=number, hash=digest),
                    head_holds=bool(entry) and (entry[0].number, entry[0].hash) == (number, digest),
                    is_whole=detail.get("manifest_sha256") == bytes_digest(content)
                    and _digest(path.parent / TABLE) == told["files"].get(TABLE),
                )
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return tuple(sorted(found, key=lambda one: (one.locked_at, one.name), reverse=True))


def _digest(path: Path) -> str:
    return bytes_digest(path.read_bytes()) if path.is_file() else ""


def changes_since(folder: LabFolder, name: str, rows: Iterable[TimepointRow]) -> tuple[ReleaseChange, ...]:
    """Hold a release's table against rows, by subject, visit and measurand.

    Raises
    ------
    LabFolderError
        The release's table cannot be read.
    """
    before = dict(_released(folder, name))
    after = {(row.subject_id, row.visit, row.measurand): _cell(row) for row in rows}
    return tuple(
        ReleaseChange(
            kind=kind, subject_id=key[0], visit=key[1], measurand=key[2], before=before.get(key), after=after.get(key)
        )
        for key in sorted({*before, *after})
        if (kind := _kind(before.get(key), after.get(key))) is not None
    )


def _kind(before: ReleaseCell | None, after: ReleaseCell | None) -> ChangeKind | None:
    if before is None:
        return "new"
    if after is None:
        return "gone"
    # A unit without a number is no change of one.
    if (before.value, before.comparator, before.unit) != (after.value, after.comparator, after.unit) and not (
        before.value is None and after.value is None
    ):
        return "value"
    if before.status != after.status:
        return "status"
    return None if before.result_id == after.result_id else "behind"


def _released(folder: LabFolder, name: str) -> Iterator[tuple[Key, ReleaseCell]]:
    columns = ["subject_id", "visit", "measurand", "status", "value", "comparator", "unit", "result_id"]
    try:
        table = pd.read_parquet(folder.root / "releases" / name / TABLE, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise LabFolderError(
            what=f"The release's table cannot be read: {error}.",
            where=f"Release '{name}'.",
            remedy="Restore the release's folder from a backup.",
        ) from error
    for subject_id, visit, measurand, status, value, comparator, unit, result_id in zip(
        *(table[name].tolist() for name in columns), strict=True
    ):
        yield (
            (_text(subject_id), _text(visit), _text(measurand)),
            ReleaseCell(
                status=_text(status),
                value=float(value) if isinstance(value, int | float) and not math.isnan(value) else None,
                comparator=_text(comparator),
                unit=_text(unit),
                result_id=_text(result_id),
            ),
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _cell(row: TimepointRow) -> ReleaseCell:
    return ReleaseCell(
        status=str(row.status),
        value=row.value,
        comparator=row.comparator or "",
        unit=row.unit or "",
        result_id=row.result_id or "",
    )
