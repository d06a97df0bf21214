"""Frozen records to rows and back, whatever fields the sciences have added since a table was made.

Knows how dataclasses become columns: a field with a column of its name goes there, any other into the column ``more`` as
JSON. Must not know any table or record by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeVar, get_type_hints

from pydantic import TypeAdapter
from sqlalchemy import Table

from biomarkers.provenance import JsonValue
from biomarkers.store.columns import JsonText

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


_PLAIN = frozenset({str, int, float, bool, type(None)})


def plain(value: object) -> JsonValue:
    """Take a record apart into what JSON can write."""
    if type(value) in _PLAIN:
        return value  # type: ignore[return-value]  # the commonest by far, and already what they should be
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return _scalar(value)


def _scalar(value: object) -> JsonValue:
    """Make a plain one of what numpy and enumerations derive from plain types; drivers would write those otherwise."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be kept in the store")


def row_of(record: DataclassInstance, table: Table, *, without: Sequence[str] = ()) -> dict[str, JsonValue]:
    """Lay a record out over a table's columns; fields without a column go into ``more``.

    Parameters
    ----------
    without
        Fields that have rows of their own in other tables.
    """
    plan = _plan(type(record), table, tuple(without))
    row = {name: _cell(plain(getattr(record, name))) for name in plan.cells}
    for name in plan.documents:
        row[name] = plain(getattr(record, name))
    if plan.has_more:
        row["more"] = {name: plain(getattr(record, name)) for name in plan.further}
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Which fields of a record go where in a table: into cells, into JSON documents of their own, into ``more``."""

    cells: tuple[str, ...]
    documents: tuple[str, ...]
    further: tuple[str, ...]
    has_more: bool


@cache
def _plan(kind: type[DataclassInstance], table: Table, without: tuple[str, ...]) -> _Plan:
    names = [field.name for field in fields(kind) if field.name not in without]
    documents = tuple(name for name in names if name in table.columns and isinstance(table.columns[name].type, JsonText))
    further = tuple(name for name in names if name not in table.columns)
    has_more = "more" in table.columns
    if further and not has_more:
        raise TypeError(f"table '{table.name}' has no place for {', '.join(sorted(further))}")
    return _Plan(
        cells=tuple(name for name in names if name in table.columns and name not in documents),
        documents=documents,
        further=further,
        has_more=has_more,
    )


def record_of(kind: type[T], row: Mapping[str, object], **given: object) -> T:
    """Build a record from a row, and from what other tables gave; the opposite of :func:`row_of`."""
    hints = _hints(kind)
    more = row.get("more")
    held: dict[str, object] = {**row, **(more if isinstance(more, Mapping) else {}), **given}
    values = {
        # A missing number lies in the table as NULL; where the record has no None for it, it was not a number.
        field.name: math.nan if held[field.name] is None and hints[field.name] is float else held[field.name]
        for field in fields(kind)
        if field.name in held
    }
    record: T = _adapter(kind).validate_python(values)
    return record


def _cell(value: JsonValue) -> JsonValue:
    """Fit a value to a column of its own: yes and no are 1 and 0, and what is not a number is missing."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


@cache
def _hints(kind: type[DataclassInstance]) -> dict[str, object]:
    return get_type_hints(kind)


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)
