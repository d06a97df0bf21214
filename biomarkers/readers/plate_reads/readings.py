"""What a reader wrote into one well: a number, or a word that is none.

Knows numbers with decimal point and comma, and the words of plate-reader software. Must not know where on the plate it is.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from biomarkers.elisa.plate import WellFlag

LONGEST_WORD = 40
"""No reader writes more into a well; a longer text is not looked at, so that none can keep the machine busy."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_STARRED = re.compile(r"\*\s*(?P<number>[^*]+?)\s*\*?")
_BOUND = re.compile(r"(?:OOR\s*)?(?P<side>[<>])\s*(?:min|max|[\d.,]+)?", re.IGNORECASE)

OVERFLOW_WORDS = frozenset(
    {
        "ovrflw", "overflow", "over", "ovr", "ovfl", "#sat", "sat", "saturated", "+++", "++++", "+++++", "inf", "limits+",
        "overrange", "over range", "out of range (high)",
    }
)  # fmt: skip
"""The reader saw less light than it can measure: the response is above all it can tell, which is not the same as no reading."""

MASKED_WORDS = frozenset({"masked", "mask", "excluded", "flagged out"})

MISSING_WORDS = frozenset(
    {
        "", "-", "--", "---", "nan", "n/a", "na", "#n/a", "missed", "missing", "path?", "range?", "error", "err", "none",
        "#low", "limits-", "invalid", "no data", "out of range (low)",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One well's text understood; ``value`` and ``flag`` as in :class:`biomarkers.elisa.plate.WellRead`."""

    value: float | None
    flag: WellFlag


def parse_reading(text: str) -> Reading | None:
    """Understand a well's text; None where it is neither a number nor a word any reader writes.

    Examples
    --------
    >>> parse_reading("0,123")
    Reading(value=0.123, flag='')
    >>> parse_reading("OVRFLW")
    Reading(value=None, flag='overflow')
    >>> parse_reading("*0.512*")
    Reading(value=0.512, flag='masked')
    >>> parse_reading("<0.000")
    Reading(value=None, flag='missing')
    >>> parse_reading("STD1") is None
    True
    """
    text = text.strip()
    if len(text) > LONGEST_WORD:
        return None
    number = parse_number(text)
    if number is not None:
        return Reading(value=number, flag="")
    word = text.casefold()
    if word in MISSING_WORDS or (word and set(word) in ({"?"}, {"*"})):
        return Reading(value=None, flag="missing")
    if word in OVERFLOW_WORDS:
        return Reading(value=None, flag="overflow")
    if word in MASKED_WORDS:
        return Reading(value=None, flag="masked")
    return _bounded(text) or _starred(text)


def _bounded(text: str) -> Reading | None:
    """Understand ``>4.000``, ``>max``, ``OOR <``: too high is an overflow; too low is no reading, and never 0."""
    found = _BOUND.fullmatch(text)
    if found is None or text in ("<", ">"):
        return None
    return Reading(value=None, flag="overflow" if found["side"] == ">" else "missing")


def _starred(text: str) -> Reading | None:
    """Understand a number or word between asterisks, which Gen5 writes around a masked well."""
    found = _STARRED.fullmatch(text)
    if found is None:
        return None
    number = parse_number(found["number"])
    if number is None and found["number"].casefold() not in OVERFLOW_WORDS | MISSING_WORDS and set(found["number"]) != {"?"}:
        return None
    return Reading(value=number, flag="masked")


def parse_number(text: str) -> float | None:
    """Read a finite number with decimal point or decimal comma; None where the text is none. No thousands separators."""
    text = text.strip()
    if len(text) > LONGEST_WORD or not _NUMBER.fullmatch(text):
        return None
    number = float(text.replace(",", "."))
    return number if math.isfinite(number) else None
