"""Data sets in the shape of a standard: variables with names, labels, types and origins, rows, and the table that defines them.

Knows what the transport format of version 5 allows: names of eight characters, labels of forty, texts of two hundred. Must not
know which standard, nor where a value comes from. What is shaped like a standard does not thereby meet it, and no text
here says so.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pandas as pd

Value: TypeAlias = "str | int | float | None"
"""A text, a number, or nothing; a date is a text such as ``2025-03-10``."""

Kind: TypeAlias = Literal["text", "integer", "number", "date"]

LONGEST_NAME, LONGEST_LABEL, LONGEST_TEXT = 8, 40, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A column: its name, label and type, where its values come from, and its place in the key."""

    name: str
    label: str
    kind: Kind
    origin: str
    key: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z][A-Z0-9]*", self.name) or len(self.name) > LONGEST_NAME:
            raise ValueError(f"'{self.name}' is no name of a variable")
        if not 0 < len(self.label) <= LONGEST_LABEL or not self.label.isascii():
            raise ValueError(f"the label '{self.label}' of {self.name} is not of 1 to {LONGEST_LABEL} plain characters")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Dataset:
    """A data set; its printed form tells no value, because one of them may be an arm.

    Attributes
    ----------
    structure
        What a row stands for.
    rows
        One value a variable.
    """

    name: str
    label: str
    structure: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[Value, ...], ...]

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {len(self.rows)} rows)"

    def column(self, name: str) -> list[Value]:
        """Return the values of one variable."""
        at = [variable.name for variable in self.variables].index(name)
        return [row[at] for row in self.rows]

    def length(self, variable: Variable) -> int:
        """Return the length of the longest text of a variable, at least 1; 8 for numbers."""
        if variable.kind in {"integer", "number"}:
            return 8
        return max([1, *(len(str(value)) for value in self.column(variable.name) if value is not None)])

    def frame(self) -> pd.DataFrame:
        """Return a data frame: texts and dates as text, integers as ``Int64``, numbers as ``float64``."""
        dtypes = {"text": "object", "date": "object", "integer": "Int64", "number": "float64"}
        return pd.DataFrame(
            {variable.name: pd.Series(self.column(variable.name), dtype=dtypes[variable.kind]) for variable in self.variables}
        )


def dataset(name: str, label: str, structure: str, variables: Sequence[Variable], rows: Iterable[dict[str, Value]]) -> Dataset:
    """Make a data set of rows by variable; a variable a row lacks is empty, texts are cut at two hundred characters."""
    return Dataset(
        name=name,
        label=label,
        structure=structure,
        variables=tuple(variables),
        rows=tuple(tuple(_fitting(row.get(variable.name)) for variable in variables) for row in rows),
    )


def _fitting(value: Value) -> Value:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


def short_codes(codes: Iterable[str]) -> dict[str, str]:
    """Shorten codes to eight letters and digits, each to another; the same list always gives the same short ones.

    Examples
    --------
    >>> short_codes(["IL6", "CD8_DENSITY_TISSUE", "CD8_DENSITY_TUMOUR"])
    {'IL6': 'IL6', 'CD8_DENSITY_TISSUE': 'CD8DENSI', 'CD8_DENSITY_TUMOUR': 'CD8DENS2'}
    """
    found: dict[str, str] = {}
    for code in codes:
        plain = re.sub(r"[^A-Z0-9]", "", code.upper()) or "X"
        plain = plain if plain[0].isalpha() else f"X{plain}"
        short, count = plain[:LONGEST_NAME], 1
        while short in found.values():
            count += 1
            short = f"{plain[: LONGEST_NAME - len(str(count))]}{count}"
        found[code] = short
    return found


DEFINE_COLUMNS = ("dataset", "dataset_label", "structure", "order", "variable", "label", "type", "length", "key", "origin")


def define_table(datasets: Iterable[Dataset]) -> pd.DataFrame:
    """Return the table that defines data sets: one row a variable."""
    rows = [
        (
            one.name,
            one.label,
            one.structure,
            order,
            variable.name,
            variable.label,
            variable.kind,
            one.length(variable),
            variable.key,
            variable.origin,
        )
        for one in datasets
        for order, variable in enumerate(one.variables, start=1)
    ]
    table = pd.DataFrame(rows, columns=list(DEFINE_COLUMNS))
    return table.astype({"order": "Int64", "length": "Int64", "key": "Int64"})


SHAPED = (
    "These data sets are shaped like the standard named. They were not checked against its controlled terminology or its "
    "conformance rules, and no define.xml belongs to them; this table says what each variable holds."
)


_STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;margin:2rem;max-width:75rem}table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ccd}th{background:#eef2f5}"
)


def define_html(datasets: Sequence[Dataset], title: str) -> str:
    """Return the defining table as one page that needs nothing else."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(SHAPED)}</p>",
    ]
    for one in datasets:
        parts.append(f"<h2>{html.escape(one.name)}: {html.escape(one.label)}</h2>")
        parts.append(f"<p>{html.escape(one.structure)} {len(one.rows)} rows.</p><table><thead><tr>")
        parts += [f"<th>{name}</th>" for name in ("Variable", "Label", "Type", "Length", "Key", "Origin")]
        parts.append("</tr></thead><tbody>")
        for variable in one.variables:
            cells = (
                variable.name,
                variable.label,
                variable.kind,
                str(one.length(variable)),
                "" if variable.key is None else str(variable.key),
                variable.origin,
            )
            parts.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        parts.append("</tbody></table>")
    return "\n".join([*parts, "</body></html>", ""])
