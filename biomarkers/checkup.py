"""Whether a laboratory can do its work: space, rights, clock, database, versions, schedules, digests.

Knows what to look at and what is too little. Changes nothing; must not mend what it finds.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from biomarkers.errors import BiomarkersError
from biomarkers.lab.archive import altered_bytes
from biomarkers.lab.folders import INBOXES, LabFolder
from biomarkers.lab.pressure import LEAST_FREE_BYTES, WARN_USED_FRACTION, room
from biomarkers.laboratory import Laboratory
from biomarkers.provenance import utc_now
from biomarkers.safekeeping import Backup as KeptBackup
from biomarkers.safekeeping import backups, prove, read_manifest
from biomarkers.store.copies import require_sound
from biomarkers.store.timepoint_rows import count_differences

CLOCK_SECONDS = 5.0
"""Difference between two clocks of a laboratory that is too much: entries of the audit trail carry the second."""

BACKUP_AGE = timedelta(hours=36)
"""A nightly backup older than this means that a night was missed."""

SHARED_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs"})
"""Where SQLite's write-ahead log cannot work: it needs memory shared by all who use the file."""


class Verdict(StrEnum):
    """How one look turned out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look found; the remedy is empty where all is well."""

    subject: str
    verdict: Verdict
    what: str
    remedy: str = ""


def examine(laboratory: Laboratory, *, digests: bool = True) -> tuple[Finding, ...]:
    """Look at everything a laboratory needs; ``digests`` reads every original again, which takes its time."""
    return tuple(_looks(laboratory, digests=digests))


def _looks(laboratory: Laboratory, *, digests: bool) -> Iterator[Finding]:
    folder = laboratory.folder
    yield _space(folder)
    yield from _rights(folder)
    yield _clock(folder)
    yield _database(laboratory)
    yield _versions()
    yield _audit(laboratory)
    yield _backup(laboratory)
    if digests:
        yield _timepoints(laboratory)
        yield _digests(folder)


def _space(folder: LabFolder) -> Finding:
    found = room(folder.root)
    what = f"{found.free_bytes / 1e9:.1f} GB free, {100 * found.used_fraction:.0f} % used"
    if found.free_bytes < LEAST_FREE_BYTES:
        return Finding(subject="space", verdict=Verdict.FAILED, what=what, remedy="Free space: nothing is taken in any more.")
    if found.used_fraction > WARN_USED_FRACTION:
        return Finding(subject="space", verdict=Verdict.WARNING, what=what, remedy="Free space before the disk is full.")
    return Finding(subject="space", verdict=Verdict.OK, what=what)


def _rights(folder: LabFolder) -> Iterator[Finding]:
    places = [folder.raw, folder.done, folder.evidence, *(folder.quarantine(kind) for kind in INBOXES)]
    closed = [place for place in places if not os.access(place, os.W_OK | os.X_OK)]
    if closed:
        names = ", ".join(str(place.relative_to(folder.root)) for place in closed)
        yield Finding(
            subject="rights",
            verdict=Verdict.FAILED,
            what=f"cannot write to {names}",
            remedy="Give this user the right to write there.",
        )
    else:
        yield Finding(subject="rights", verdict=Verdict.OK, what="every folder can be written")
    unseen = [kind for kind in INBOXES if not os.access(folder.inbox(kind), os.R_OK | os.X_OK)]
    fixed = [kind for kind in INBOXES if kind not in unseen and not os.access(folder.inbox(kind), os.W_OK)]
    if unseen:
        yield Finding(
            subject="inboxes",
            verdict=Verdict.FAILED,
            what=f"cannot read {', '.join(unseen)}",
            remedy="Give this user the right to read there.",
        )
    elif fixed:
        yield Finding(
            subject="inboxes",
            verdict=Verdict.WARNING,
            what=f"read-only: {', '.join(fixed)}",
            remedy="Dropped files stay there after they are recorded; their digests tell which are done.",
        )
    else:
        yield Finding(subject="inboxes", verdict=Verdict.OK, what="every inbox can be read and emptied")
    if folder.arms_file.exists() and folder.arms_file.stat().st_mode & 0o077:
        yield Finding(
            subject="arms",
            verdict=Verdict.FAILED,
            what="the store of allocations can be read by others than its owner",
            remedy=f"Run: chmod 600 {folder.arms_file}",
        )


def _clock(folder: LabFolder) -> Finding:
    with tempfile.NamedTemporaryFile(dir=folder.root, prefix=".clock-") as probe:
        there = Path(probe.name).stat().st_mtime
    skew = there - time.time()
    said = datetime.now(UTC)
    if abs(skew) > CLOCK_SECONDS:
        return Finding(
            subject="clock",
            verdict=Verdict.FAILED,
            what=f"the file system's clock differs from this machine's by {skew:.0f} s",
            remedy="Let both follow the same time server.",
        )
    return Finding(subject="clock", verdict=Verdict.OK, what=f"{said:%Y-%m-%d %H:%M:%S} UTC, as the file system's")


def _database(laboratory: Laboratory) -> Finding:
    folder, settings = laboratory.folder, laboratory.settings
    if settings.database_url:
        with laboratory.database.read():
            return Finding(subject="database", verdict=Verdict.OK, what=f"{laboratory.database.where} answers")
    kind = file_system(folder.root)
    if kind in SHARED_FILE_SYSTEMS:
        return Finding(
            subject="database",
            verdict=Verdict.FAILED,
            what=f"lab.db lies on a network file system ({kind}), where SQLite cannot keep it whole",
            remedy="Move the laboratory to a local disk, or its database to PostgreSQL (database_url in lab.toml).",
        )
    try:
        require_sound(folder.database_file)
    except BiomarkersError as error:
        return Finding(subject="database", verdict=Verdict.FAILED, what=error.what, remedy=error.remedy)
    return Finding(subject="database", verdict=Verdict.OK, what="whole")


def file_system(place: Path) -> str:
    """Return the kind of file system a folder lies on, as the kernel names it; empty where it does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    real = place.resolve()
    over = [(len(words[1]), words[2]) for words in mounts if real.is_relative_to(words[1].replace("\\040", " "))]
    return max(over)[1] if over else ""


def _versions() -> Finding:
    wrong = []
    for line in requires("biomarkers") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found}, needed is {wanted.specifier}")
    if wrong:
        return Finding(
            subject="versions",
            verdict=Verdict.FAILED,
            what="; ".join(wrong),
            remedy="Install again: pip install -c constraints.txt biomarkers",
        )
    return Finding(subject="versions", verdict=Verdict.OK, what="every package is of a version this program works with")


def _audit(laboratory: Laboratory) -> Finding:
    verdict = laboratory.verify_audit()
    if verdict.broken is not None:
        return Finding(
            subject="audit",
            verdict=Verdict.FAILED,
            what=f"entry {verdict.broken.number}: {verdict.broken.what}",
            remedy="Keep the database as it is and compare it with the latest backup.",
        )
    return Finding(subject="audit", verdict=Verdict.OK, what=f"{verdict.entries} entries, whole")


def _timepoints(laboratory: Laboratory) -> Finding:
    """Compute every row of the timepoint table and compare it with the one kept."""
    with laboratory.database.read() as reading:
        differing = count_differences(reading)
    if differing:
        return Finding(
            subject="timepoints",
            verdict=Verdict.FAILED,
            what=f"{differing} rows of the view 'timepoint' are not what was recorded",
            remedy="Run 'biomarkers doctor --rebuild', and report it: the tables and the pages compute them and are right.",
        )
    return Finding(subject="timepoints", verdict=Verdict.OK, what="the view gives what was recorded, row by row")


def backup_store(laboratory: Laboratory) -> Path:
    """Return the folder that holds a laboratory's backups."""
    return (laboratory.folder.root / laboratory.settings.nightly.backup_folder).resolve()


def _backup(laboratory: Laboratory) -> Finding:
    kept = backups(backup_store(laboratory)) if backup_store(laboratory).is_dir() else []
    if not kept:
        return Finding(
            subject="backup",
            verdict=Verdict.WARNING,
            what="there is none",
            remedy="Run 'biomarkers backup', or let the nights do it.",
        )
    try:
        manifest = read_manifest(kept[-1])
        prove(KeptBackup(place=kept[-1], manifest=manifest))
    except BiomarkersError as error:
        return Finding(subject="backup", verdict=Verdict.FAILED, what=error.what, remedy=error.remedy)
    age = utc_now() - manifest.made_at
    if age > BACKUP_AGE:
        return Finding(
            subject="backup",
            verdict=Verdict.WARNING,
            what=f"the latest is {age.days} days and {age.seconds // 3600} hours old",
            remedy="See why the nightly work did not run: 'biomarkers up' must be running at night.",
        )
    return Finding(
        subject="backup", verdict=Verdict.OK, what=f"{len(kept)} kept, the latest of {manifest.made_at:%Y-%m-%d %H:%M} UTC"
    )


def _digests(folder: LabFolder) -> Finding:
    altered = list(altered_bytes(folder))
    if altered:
        return Finding(
            subject="digests",
            verdict=Verdict.FAILED,
            what=f"{len(altered)} originals have changed: {', '.join(name[:12] for name in altered[:5])}",
            remedy="Put them back from a backup's 'raw' folder; their names are their digests.",
        )
    return Finding(subject="digests", verdict=Verdict.OK, what="every original has the bytes it came with")
