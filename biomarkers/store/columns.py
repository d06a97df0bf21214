"""How values lie in the tables: moments, days, JSON and numbers.

Knows the four storage classes a STRICT table of SQLite accepts and what PostgreSQL makes of them. Must not know any table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time

from sqlalchemy import REAL, BigInteger, Dialect, Double, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from biomarkers.provenance import JsonValue, canonical_json
from biomarkers.study.roster import Moment

REAL_NUMBER: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
"""Eight bytes on both engines: PostgreSQL's own ``REAL`` has four, and a STRICT table of SQLite knows no ``DOUBLE``."""

BIG_INTEGER: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
"""Sizes in bytes and times in nanoseconds overflow PostgreSQL's four-byte integer."""


def utc_text(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC with microseconds, always of one length, so that text sorts as time does."""
    if moment.tzinfo is None:
        raise ValueError("a moment in the store needs a time zone; naive times cannot be placed in UTC")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class UtcText(TypeDecorator[datetime]):
    """A moment in UTC."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002  - SQLAlchemy's signature
        """Write the moment as text."""
        return None if value is None else utc_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  - as above
        """Read the moment back."""
        return None if value is None else datetime.fromisoformat(value)


class DayText(TypeDecorator[date]):
    """A calendar day."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: Dialect) -> str | None:  # noqa: ARG002  - SQLAlchemy's signature
        """Write the day as text."""
        return None if value is None else value.isoformat()

    def process_result_value(self, value: str | None, dialect: Dialect) -> date | None:  # noqa: ARG002  - as above
        """Read the day back."""
        return None if value is None else date.fromisoformat(value)


class MomentText(TypeDecorator[Moment]):
    """A day with the time of day where it is known."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Moment | None, dialect: Dialect) -> str | None:  # noqa: ARG002  - SQLAlchemy's signature
        """Write day and time as text."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Moment | None:  # noqa: ARG002  - as above
        """Read day and time back."""
        if value is None:
            return None
        day, _, clock = value.partition("T")
        return Moment(day=date.fromisoformat(day), time=time.fromisoformat(clock) if clock else None)


class JsonText(TypeDecorator[JsonValue]):
    """Canonical JSON; numbers JSON cannot write are kept as the words ``NaN``, ``Infinity`` and ``-Infinity``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: JsonValue, dialect: Dialect) -> str:  # noqa: ARG002  - SQLAlchemy's signature
        """Write the value as canonical JSON."""
        return canonical_json(writable(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> JsonValue:  # noqa: ARG002  - as above
        """Read the value back."""
        if value is None:
            return None
        read: JsonValue = json.loads(value)
        return read


def writable(value: JsonValue) -> JsonValue:
    """Put words where floats are not finite, at any depth, and plain dictionaries where other mappings are."""
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {key: writable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [writable(item) for item in value]
    return value
