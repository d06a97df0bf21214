"""What a release holds: the timepoint table, its summary, attrition and completeness, and the standard-shaped data sets.

Knows which files belong into one. Must not lock it, nor know an arm: a release holds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from biomarkers.laboratory.decision_log import decisions_text
from biomarkers.laboratory.face import Laboratory
from biomarkers.laboratory.releases import Release, lock_release, require_new_name
from biomarkers.provenance import utc_now
from biomarkers.reports.exports import Standard, export_files
from biomarkers.reports.tables import write_table


def make_release(laboratory: Laboratory, name: str, *, as_of: date | None = None) -> Release:
    """Lock a snapshot as of a date under a name.

    Raises
    ------
    LabFolderError
        The name is taken or cannot be used.
    """
    require_new_name(laboratory.folder, name)
    day = as_of or utc_now().date()
    known = laboratory.standing()
    return lock_release(
        laboratory,
        name,
        files=release_files(laboratory, as_of=day),
        rows=laboratory.rows(as_of=day),
        as_of=day,
        head=known.head,
    )


def release_files(laboratory: Laboratory, *, as_of: date) -> Mapping[str, bytes]:
    """Return contents by path; they depend on results, decisions, study and date alone."""
    table = laboratory.timepoints(as_of=as_of)
    files = {f"timepoints.{one}": write_table(table, one) for one in ("csv", "parquet")}
    for title, further in (
        ("changes", laboratory.changes(as_of=as_of)),
        ("summary", laboratory.summary(as_of=as_of)),
        ("attrition", laboratory.attrition(as_of=as_of)),
        ("completeness", laboratory.completeness(as_of=as_of)),
    ):
        files[f"{title}.csv"] = write_table(further, "csv")
    for standard in (Standard.SDTM, Standard.ADAM):
        for path, content in export_files(laboratory, standard, as_of=as_of).items():
            files[f"{standard.value}/{path}"] = content
    files["decisions.jsonl"] = decisions_text(laboratory).encode()
    return files
