"""Releases: snapshots that are locked, named and never changed, each with the digests of all it holds.

Knows how a release lies on the disk and in the audit trail. Must not know what its files say, nor an arm.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from getpass import getuser
from pathlib import Path

from biomarkers.errors import LabFolderError, TemporarilyUnavailableError
from biomarkers.lab.folders import LabFolder, sync_folder
from biomarkers.laboratory.face import Laboratory
from biomarkers.provenance import JsonValue, bytes_digest, software_version, utc_now
from biomarkers.store import audit
from biomarkers.store.audit import AuditHead
from biomarkers.store.study_lists import ListKind, current_digest
from biomarkers.timepoints.alignment import TimepointRow

MANIFEST = "manifest.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_READ_ONLY = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release that was locked.

    Attributes
    ----------
    head
        The last entry of the audit trail that the release holds; print it and keep it elsewhere: it shows that nothing before
        it was changed.
    manifest_sha256
        Stands in the audit trail.
    """

    name: str
    folder: Path
    as_of: date
    files: Mapping[str, str]
    head: AuditHead
    manifest_sha256: str


def require_new_name(folder: LabFolder, name: str) -> Path:
    """Return where a release of that name will lie.

    Raises
    ------
    LabFolderError
        The name cannot name a folder, or a release of that name exists.
    """
    place = folder.root / "releases" / name
    if not _NAME.fullmatch(name):
        raise LabFolderError(
            what=f"'{name}' cannot name a release.",
            where="Name of the release.",
            remedy="Use letters, digits, dots, dashes and underscores, such as 2026-06-interim.",
        )
    if place.exists():
        raise LabFolderError(
            what=f"There is a release '{name}' already, and releases are never changed.",
            where=f"Folder '{place}'.",
            remedy="Choose another name.",
        )
    return place


def lock_release(
    laboratory: Laboratory,
    name: str,
    *,
    files: Mapping[str, bytes],
    rows: tuple[TimepointRow, ...],
    as_of: date,
    head: AuditHead,
) -> Release:
    """Write a release's files with their manifest, and put it on record; nothing of it is written twice.

    Parameters
    ----------
    files
        Contents by path below the release's folder.
    rows
        The timepoint table it holds; the manifest names the bytes they came from.
    head
        The end of the audit trail at which ``files`` were made.

    Raises
    ------
    LabFolderError
        The name is taken or cannot be used, or the folder cannot be written.
    TemporarilyUnavailableError
        Something was recorded while the files were made.
    """
    place = require_new_name(laboratory.folder, name)
    partial = place.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    now = utc_now()
    with laboratory.database.write() as transaction:
        transaction.serialise()
        if audit.head(transaction) != head:
            raise TemporarilyUnavailableError(
                what="Something was recorded while the release was made.",
                where=f"Release '{name}'.",
                remedy="Run the command again.",
            )
        digests = {path: bytes_digest(files[path]) for path in sorted(files)}
        lists = {kind.value: current_digest(transaction, kind=kind) for kind in ListKind}
        manifest = _manifest(laboratory, name, digests=digests, lists=lists, rows=rows, as_of=as_of, now=now, head=head)
        content = (json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
        sha256 = bytes_digest(content)
        _write(partial, {**files, MANIFEST: content})
        audit.append(
            transaction,
            at=now,
            actor=getuser(),
            action="release.locked",
            entity=name,
            detail={"manifest_sha256": sha256, "as_of": as_of.isoformat(), "files": len(files)},
        )
        # Within the transaction: a release is there with its entry in the trail, or not at all.
        partial.rename(place)
        sync_folder(place.parent)
    return Release(name=name, folder=place, as_of=as_of, files=digests, head=head, manifest_sha256=sha256)


def _manifest(
    laboratory: Laboratory,
    name: str,
    *,
    digests: Mapping[str, str],
    lists: Mapping[str, str | None],
    rows: tuple[TimepointRow, ...],
    as_of: date,
    now: datetime,
    head: AuditHead,
) -> JsonValue:
    raw = {digest for row in rows for digest in (row.source_sha256 or "").split(";")} - {""}
    study = laboratory.definition.study
    return {
        "release": name,
        "study": {
            "id": study.id,
            "masking": study.masking,
            "comparative": study.comparative,
            "definition_sha256": laboratory.definition.digest(),
            # Which arms there are is the study's design; a release says nothing of arms at all.
            "assumptions": [one for one in laboratory.definition.assumptions() if not one.startswith("arms")],
        },
        "as_of": as_of.isoformat(),
        "locked_at": now.isoformat(timespec="seconds"),
        "locked_by": getuser(),
        "audit_head": {"number": head.number, "hash": head.hash},
        "software": software_version(),
        "files": dict(digests),
        "raw_sha256": sorted(raw),
        "study_lists_sha256": dict(lists),
        "rows": len(rows),
    }


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        for path, content in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            place.chmod(_READ_ONLY)
            sync_folder(place.parent)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise LabFolderError(
            what=f"The release cannot be written: {error.strerror}.",
            where=f"Folder '{folder.parent}'.",
            remedy="Check rights and space.",
        ) from error
