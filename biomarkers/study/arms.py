"""Which subject was randomised to which arm.

The only type that knows an arm. Whoever holds one has the right to arms; nothing else in the package carries one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ArmAssignments:
    """Allocation of subjects to arms; its printed form tells none of them."""

    arm_by_subject: Mapping[str, str]

    def __repr__(self) -> str:
        return f"ArmAssignments({len(self.arm_by_subject)} subjects)"

    def arm(self, subject_id: str) -> str | None:
        """Return a subject's arm, or None where the subject was not allocated."""
        return self.arm_by_subject.get(subject_id)
