"""One laboratory: its store, folders and study behind one typed face.

Knows which pieces answer which question. Must not compute, parse a file itself, or know SQL.
"""

from __future__ import annotations

from biomarkers.laboratory.checks import CheckReport, check_declarations
from biomarkers.laboratory.face import Laboratory
from biomarkers.laboratory.opening import create_laboratory, open_lab
from biomarkers.laboratory.status import DueStatus, FileStatus, LabStatus

__all__ = [
    "CheckReport",
    "DueStatus",
    "FileStatus",
    "LabStatus",
    "Laboratory",
    "check_declarations",
    "create_laboratory",
    "open_lab",
]
