"""What a laboratory knows at one moment, read once and held until something is recorded.

Knows that the end of the audit trail tells whether anything changed. Must not know what a table looks like, nor an arm.
"""

from __future__ import annotations

from dataclasses import dataclass

from biomarkers.store import alignments, audit
from biomarkers.store.alignments import AlignmentSet
from biomarkers.store.audit import AuditHead
from biomarkers.store.database import Database
from biomarkers.store.results import aligned_inputs
from biomarkers.store.study_lists import current_roster
from biomarkers.study.roster import Roster
from biomarkers.timepoints.alignment import AlignedInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Everything the timepoint table is made of, from one snapshot of the store.

    Attributes
    ----------
    head
        The last entry of the audit trail in that snapshot.
    aligned
        None before any study list was recorded.
    """

    head: AuditHead
    aligned: AlignmentSet | None
    results: tuple[AlignedInput, ...]
    roster: Roster


class HeldStanding:
    """The last standing that was read; whatever is recorded adds to the audit trail, whose end says when to read again."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: Standing | None = None

    def read(self, database: Database) -> Standing:
        """Return what is known now."""
        with database.read() as reading:
            head = audit.head(reading)
            held = self._held
            if held is not None and held.head == head:
                return held
            self._held = standing = Standing(
                head=head,
                aligned=alignments.current(reading),
                results=aligned_inputs(reading),
                roster=current_roster(reading),
            )
        return standing
