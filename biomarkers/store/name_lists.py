"""Conditions on a list of names, in a statement whose text is the same however long the list is.

Knows how each engine takes a list as one value. A placeholder for each name would make another statement of every length, each
of which driver and engine keep prepared, and no more than some thousands could be named.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

LISTED: Mapping[str, str] = {
    "sqlite": "(SELECT value AS word FROM json_each({0}))",
    "postgresql": "(SELECT word FROM jsonb_array_elements_text(CAST({0} AS jsonb)) AS given(word))",
}
"""The names in a JSON array as a table of one column, ``word``, by engine; the braces stand for the array."""


class _IsListed(FunctionElement[bool]):
    """A column, and a JSON array of the values it may have."""

    type = Boolean()
    inherit_cache = True


@compiles(_IsListed)
def _compiled(element: _IsListed, compiler: SQLCompiler, **kwargs: Any) -> str:
    column, listed = (compiler.process(part, **kwargs) for part in element.clauses)
    return f"{column} IN {LISTED[compiler.dialect.name].format(listed)}"


def is_one_of(column: ColumnElement[str], names: Collection[str]) -> ColumnElement[bool]:
    """Select rows whose text column holds one of these names; none where there are no names."""
    return _IsListed(column, bindparam(None, json.dumps(sorted(names)), type_=Text(), unique=True))
