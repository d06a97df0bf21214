"""Where a number came from: digests of bytes, the software, the parameters.

Knows how to name content by its digest. Must not know any assay, file format or table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file a number came from.

    Attributes
    ----------
    role
        What the file was used as: ``"instrument"``, ``"plate_map"``, ``"annotation"``.
    name
        The file's name as it was dropped.
    sha256
        Digest of its bytes, 64 lower-case hexadecimal digits.
    """

    role: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A declaration a number depends on besides its files, such as a layout or a panel, by the digest of its content."""

    kind: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Enough to compute a number again.

    Attributes
    ----------
    sources
        Files, the instrument's own first.
    inputs
        Declarations: study, layout, panel, stain protocol.
    software
        Name and version of this package.
    parameters
        Canonical JSON of every setting the method used.
    computed_at
        When, in UTC. Not part of the identity.
    """

    sources: tuple[Source, ...]
    inputs: tuple[Input, ...]
    software: str
    parameters: str
    computed_at: datetime

    @property
    def identity(self) -> str:
        """Digest of everything that decides the number; the time of computing, and what a file was called, do not."""
        return _identity(self)


@lru_cache(maxsize=64)
def _identity(provenance: Provenance) -> str:
    """Make the digest; every result of a run asks for that of the one provenance they share."""
    return content_digest(
        {
            "sources": [[source.role, source.sha256] for source in provenance.sources],
            "inputs": [[given.kind, given.name, given.sha256] for given in provenance.inputs],
            "software": provenance.software,
            "parameters": provenance.parameters,
        }
    )


def canonical_json(value: JsonValue) -> str:
    """Write JSON so that equal content gives equal text: sorted keys, no spaces, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_digest(value: JsonValue) -> str:
    """SHA-256 of the canonical JSON of a value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def bytes_digest(content: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def utc_now() -> datetime:
    """Return the present moment in UTC; callers at the border of the system stamp with it, the sciences never do."""
    return datetime.now(UTC)


@cache
def software_version() -> str:
    """Return this package's name and version as stamped on every result."""
    try:
        return f"biomarkers {version('biomarkers')}"
    except PackageNotFoundError:
        return "biomarkers 0+uninstalled"
