"""The versions of the tables, oldest first. A revision, once released, is never edited; a change is a new revision."""

from __future__ import annotations

KNOWN = ("0001",)
HEAD = KNOWN[-1]
