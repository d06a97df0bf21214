"""From dropped instrument file to an arm- and visit-aligned biomarker table, with the evidence behind every number.

Names are handed on when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biomarkers.errors import BiomarkersError
    from biomarkers.laboratory import Laboratory, create_laboratory, open_lab
    from biomarkers.results import Finding, Interval, Quantity, Result
    from biomarkers.study.definition import StudyDefinition

_HOMES = {
    "BiomarkersError": "biomarkers.errors",
    "Finding": "biomarkers.results",
    "Interval": "biomarkers.results",
    "Laboratory": "biomarkers.laboratory",
    "Quantity": "biomarkers.results",
    "Result": "biomarkers.results",
    "StudyDefinition": "biomarkers.study.definition",
    "create_laboratory": "biomarkers.laboratory",
    "open_lab": "biomarkers.laboratory",
}

__all__ = [
    "BiomarkersError",
    "Finding",
    "Interval",
    "Laboratory",
    "Quantity",
    "Result",
    "StudyDefinition",
    "create_laboratory",
    "open_lab",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'biomarkers' has no name '{name}'")
    return getattr(import_module(_HOMES[name]), name)
