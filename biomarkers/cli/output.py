"""How commands print: data to stdout, talk to stderr, tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biomarkers.provenance import JsonValue


def print_json(document: JsonValue) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def say(text: str) -> None:
    """Talk to the person at the terminal; never into data."""
    sys.stderr.write(text + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", file_is_stderr: bool = False
) -> None:
    """Print a plain table: columns aligned, numbers to the right, nothing cut off and no colour codes.

    Plain on purpose: it is read in terminals, in mails and through pipes.
    """
    texts = [[_cell(value) for value in row] for row in rows]
    numeric = [all(_is_number(row[index]) for row in texts) for index in range(len(columns))]
    widths = [max([len(name), *(len(row[index]) for row in texts)]) for index, name in enumerate(columns)]
    lines = [title] if title else []
    for row in [list(columns), ["-" * width for width in widths], *texts]:
        cells = [
            text.rjust(width) if right else text.ljust(width) for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    (sys.stderr if file_is_stderr else sys.stdout).write("\n".join(lines) + "\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"  # noqa: PLR0124  - NaN is the one value unequal to itself
    return str(value)


def _is_number(text: str) -> bool:
    return not text or text.lstrip("-<>").replace(".", "", 1).replace("e", "", 1).replace("+", "", 1).replace("-", "").isdigit()
