"""Backups of a whole laboratory, their restoration, and the proof that they can be restored.

Knows what a laboratory consists of: its database, its declarations, the original bytes, and the files that wait. Evidence and
done files can be remade from these. Must not know what is in any of them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict, ValidationError

from biomarkers.errors import LabFolderError, StoreError
from biomarkers.lab.archive import file_digest, raw_path
from biomarkers.lab.folders import LabFolder
from biomarkers.laboratory import Laboratory, open_lab
from biomarkers.provenance import software_version, utc_now
from biomarkers.store import audit
from biomarkers.store.audit import AuditHead
from biomarkers.store.copies import POSTGRESQL_COPY, copy_database, copy_sqlite, restore_database
from biomarkers.store.database import Database

MANIFEST = "manifest.json"
DECLARATIONS = ("lab.toml", "study.toml", "plate_layouts", "panels")
WAITING_FILES = ("inbox", "quarantine", "releases")


class Manifest(BaseModel):
    """What a backup holds: every file by its digest, the original bytes, and the end of the audit trail at its moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_at: datetime
    software: str
    database: str
    files: dict[str, str]
    raw: tuple[str, ...]
    audit_entries: int
    audit_head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup on disk."""

    place: Path
    manifest: Manifest


def backup(laboratory: Laboratory, store: Path, *, keep: int | None = None) -> Backup:
    """Make a backup below a folder that holds all backups of a laboratory; original bytes are copied once and shared by them.

    Parameters
    ----------
    keep
        How many backups stay; older ones are removed, the newest never. None keeps all.

    Raises
    ------
    StoreError, LabFolderError
        It cannot be made; what was begun is removed and older backups stay.
    """
    made_at = utc_now()
    name = f"{made_at:%Y%m%dT%H%M%S.%fZ}"
    draft, place = store / f".{name}.{os.getpid()}", store / name
    try:
        (store / "raw").mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        # Before the database, so that the copy holds this entry and perhaps more.
        with laboratory.database.read() as reading:
            head = audit.head(reading)
        database = copy_database(laboratory.folder.database_url(laboratory.settings), draft)
        arms = laboratory.folder.arms_file
        if arms.exists() and os.access(arms, os.R_OK):
            copy_sqlite(arms, draft / arms.name).chmod(0o600)
        for item in (*DECLARATIONS, *WAITING_FILES):
            _copy(laboratory.folder.root / item, draft / item)
        # After the database: bytes are archived before they are registered, so whatever the copy names is there by now.
        raw = tuple(_copy_raw(laboratory.folder, store / "raw"))
        manifest = Manifest(
            made_at=made_at,
            software=software_version(),
            database=database.name,
            files={str(path.relative_to(draft)): file_digest(path) for path in sorted(draft.rglob("*")) if path.is_file()},
            raw=raw,
            audit_entries=head.number,
            audit_head=head.hash,
        )
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        draft.rename(place)
    except OSError as error:
        raise LabFolderError(
            what=f"The backup could not be made: {error.strerror}.",
            where=f"Folder '{store}'.",
            remedy="Check rights and free space; older backups are untouched.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if keep is not None:
        for old in backups(store)[:-keep]:
            shutil.rmtree(old)
    return Backup(place=place, manifest=manifest)


def backups(store: Path) -> list[Path]:
    """List the backups below a folder, the oldest first."""
    return sorted(path.parent for path in store.glob(f"*/{MANIFEST}"))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        shutil.copy2(source, target)


def _copy_raw(folder: LabFolder, target: Path) -> Iterator[str]:
    """Copy original bytes that no earlier backup has; gives every digest."""
    for path in sorted(folder.raw.glob("*/*/*")):
        kept = target / path.parent.relative_to(folder.raw) / path.name
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft = kept.with_name(f".{path.name}.{os.getpid()}")
            shutil.copyfile(path, draft)
            draft.chmod(0o444)
            draft.rename(kept)
        yield path.name


def restore(place: Path, root: Path, *, database_url: str | None = None) -> Laboratory:
    """Make a laboratory from a backup in a new folder, check every byte of it, and open it.

    Parameters
    ----------
    database_url
        An empty PostgreSQL database, for a laboratory that keeps its database there.

    Raises
    ------
    LabFolderError, StoreError
        The folder is not empty, or the backup is incomplete or damaged; what was begun is left for inspection.
    """
    manifest = read_manifest(place)
    folder = LabFolder(root=root.expanduser().resolve())
    if folder.root.exists() and any(folder.root.iterdir()):
        raise LabFolderError(
            what="The folder is not empty, so nothing was restored.", where=f"Folder '{root}'.", remedy="Name a new folder."
        )
    folder.root.mkdir(parents=True, exist_ok=True)
    for name, digest in manifest.files.items():
        _require_same(place / name, digest)
    for sha256 in manifest.raw:
        source, target = place.parent / "raw" / sha256[:2] / sha256[2:4] / sha256, raw_path(folder, sha256)
        _require_same(source, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o444)
    for name in (*DECLARATIONS, *WAITING_FILES):
        _copy(place / name, folder.root / name)
    for made in (folder.raw, folder.done, folder.evidence):
        made.mkdir(exist_ok=True)
    if (place / folder.arms_file.name).exists():
        shutil.copyfile(place / folder.arms_file.name, folder.arms_file)
        folder.arms_file.chmod(0o600)
    if manifest.database == POSTGRESQL_COPY:
        if database_url is None:
            raise StoreError(
                what="The backup is of a PostgreSQL database; an empty one is needed to restore into.",
                where=f"Backup '{place}'.",
                remedy="Name it with --database-url.",
            )
        _point_to(folder, database_url)
        restore_database(place / manifest.database, database_url)
    else:
        restore_database(place / manifest.database, f"sqlite:///{folder.database_file}")
    return open_lab(folder.root)


def _point_to(folder: LabFolder, url: str) -> None:
    lines = folder.settings_file.read_text(encoding="utf-8").splitlines()
    lines = [f"database_url = {json.dumps(url)}" if line.startswith("database_url") else line for line in lines]
    folder.settings_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_manifest(place: Path) -> Manifest:
    """Read what a backup says it holds.

    Raises
    ------
    LabFolderError
        It is no backup.
    """
    try:
        return Manifest.model_validate_json((place / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise LabFolderError(
            what="This is not a backup: its manifest is missing or damaged.",
            where=f"Folder '{place}'.",
            remedy="Name one of the folders that 'biomarkers backup' made.",
        ) from error


def _require_same(path: Path, digest: str) -> None:
    if not path.is_file() or file_digest(path) != digest:
        raise LabFolderError(
            what="The backup is damaged: a file is missing or its bytes have changed.",
            where=f"File '{path}'.",
            remedy="Use another backup; nothing of the laboratory itself was touched.",
        )


def prove(made: Backup) -> None:
    """Restore a backup into a passing folder and check that its database opens and its audit trail is whole.

    A backup of PostgreSQL is proven by reading its whole table of contents, which :func:`backup` has done.

    Raises
    ------
    LabFolderError, StoreError
        The backup cannot be relied upon.
    """
    if made.manifest.database == POSTGRESQL_COPY:
        return
    for name, digest in made.manifest.files.items():
        _require_same(made.place / name, digest)
    with TemporaryDirectory(prefix="restore-test-") as passing:
        copy = Path(passing) / made.manifest.database
        restore_database(made.place / made.manifest.database, f"sqlite:///{copy}")
        with Database.open(f"sqlite:///{copy}", read_only=True) as database, database.read() as reading:
            manifest = made.manifest
            verdict = audit.verify(reading, expected_head=AuditHead(number=manifest.audit_entries, hash=manifest.audit_head))
    if not verdict.is_whole:
        raise StoreError(
            what="The audit trail in the backup is broken.",
            where=f"Backup '{made.place}'.",
            remedy="Run 'biomarkers audit verify' on the laboratory itself.",
        )
