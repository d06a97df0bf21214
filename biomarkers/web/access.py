"""Roles and what each may do; what is not listed is refused.

Knows rights. Must not know pages, passwords or requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from biomarkers.store.users import Role, Scope

WayIn: TypeAlias = Literal["session", "token", "header", "loopback"]


class Right(StrEnum):
    """Something a page or an address of the API does; every one of them names exactly one."""

    HOME = "come in"
    FILES = "see what became of files"
    UPLOAD = "drop files"
    RETRY = "try quarantined files again"
    ANSWER = "answer for files that need a person's word"
    RUNS = "see runs and what lies behind their numbers"
    MASK = "leave wells out"
    TIMEPOINTS = "see the timepoint table"
    ARMS = "see arms"
    REVIEW = "sign results as reviewed"
    RELEASE = "sign results as released"
    NIGHTS = "see nightly reports"
    AUDIT = "see the audit trail"
    PEOPLE = "see who has an account"
    METRICS = "see counts and durations"
    SELF = "see and change one's own account"


_EVERYONE = frozenset({Right.HOME, Right.SELF})
_BENCH = frozenset({Right.FILES, Right.UPLOAD, Right.RETRY, Right.ANSWER, Right.RUNS, Right.MASK, Right.NIGHTS})

RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.TECHNICIAN: _EVERYONE | _BENCH,
    Role.REVIEWER: _EVERYONE | _BENCH | {Right.TIMEPOINTS, Right.REVIEW, Right.RELEASE},
    Role.SCIENTIST: _EVERYONE | {Right.RUNS, Right.TIMEPOINTS},
    Role.UNBLINDED_SCIENTIST: _EVERYONE | {Right.RUNS, Right.TIMEPOINTS, Right.ARMS},
    Role.AUDITOR: _EVERYONE | {Right.FILES, Right.RUNS, Right.TIMEPOINTS, Right.NIGHTS, Right.AUDIT, Right.PEOPLE},
    Role.OPERATOR: _EVERYONE | {Right.FILES, Right.NIGHTS, Right.PEOPLE, Right.METRICS},
}
"""Deny by default: a right that is not here is not given. The laboratory's own staff, auditors among them, see no arm."""

PERSONAL = frozenset({Right.SELF, Right.MASK, Right.ANSWER})
"""What is put on record in a person's name: whoever merely sits at this machine has none."""

_DROPPING = frozenset({Right.HOME, Right.FILES, Right.UPLOAD})
_CHANGING = frozenset({Right.UPLOAD, Right.RETRY, Right.ANSWER, Right.MASK, Right.REVIEW, Right.RELEASE})

WITHIN: Mapping[Scope, frozenset[Right]] = {
    Scope.ALL: frozenset(Right),
    Scope.READ: frozenset(Right) - _CHANGING - {Right.SELF},
    Scope.DROP: _DROPPING,
}
"""What a token may use of its owner's rights."""

ROLE_WORDS: Mapping[Role, str] = {
    Role.TECHNICIAN: "technician",
    Role.REVIEWER: "reviewer",
    Role.SCIENTIST: "scientist",
    Role.UNBLINDED_SCIENTIST: "unblinded scientist",
    Role.AUDITOR: "auditor",
    Role.OPERATOR: "operator",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who asks, and how they came in.

    Attributes
    ----------
    csrf
        What a form must bring back; empty for scripts, whose token no other site can send.
    scope
        How much of the role's rights a script's token has.
    """

    name: str
    full_name: str
    role: Role
    by: WayIn
    csrf: str
    scope: Scope = Scope.ALL

    def may(self, right: Right) -> bool:
        """Whether the visitor has a right; without an account of their own nobody decides anything, nor has one to change."""
        if right in PERSONAL and self.by == "loopback":
            return False
        return right in RIGHTS[self.role] & WITHIN[self.scope]
