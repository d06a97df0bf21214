"""The day an instrument says it read a plate, from the words it says it in.

Knows unambiguous ways of writing a day. A day that could be two days is none: nothing is guessed.
"""

from __future__ import annotations

import re
from datetime import date

_YEAR_FIRST = re.compile(r"\b(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
_DOTTED = re.compile(r"(?<!\d)(\d{1,2})\.(\d{1,2})\.(\d{4})\b")
_SLASHED = re.compile(r"(?<!\d)(\d{1,2})[/-](\d{1,2})[/-](\d{4})\b")
_DAY_MONTH_NAME = re.compile(r"(?<!\d)(\d{1,2})[. -]+([A-Za-z]{3,9})[. ,-]+(\d{4})\b")
_MONTH_NAME_DAY = re.compile(r"\b([A-Za-z]{3,9})\.? +(\d{1,2})(?:st|nd|rd|th)?,? +(\d{4})\b")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def reading_day(text: str) -> date | None:
    """Return the day a text names; None where it names none, or could mean two.

    Examples
    --------
    >>> reading_day("2025-04-02 10:10:31")
    datetime.date(2025, 4, 2)
    >>> reading_day("02.04.2025")
    datetime.date(2025, 4, 2)
    >>> reading_day("4/2/2025 10:10:31 AM") is None
    True
    >>> reading_day("4/22/2025 10:10:31 AM")
    datetime.date(2025, 4, 22)
    """
    if found := _YEAR_FIRST.search(text):
        return _day(int(found[1]), int(found[2]), int(found[3]))
    if found := _DOTTED.search(text):
        return _day(int(found[3]), int(found[2]), int(found[1]))
    if found := _DAY_MONTH_NAME.search(text):
        return _day(int(found[3]), _month(found[2]), int(found[1]))
    if found := _MONTH_NAME_DAY.search(text):
        return _day(int(found[3]), _month(found[1]), int(found[2]))
    if found := _SLASHED.search(text):
        # Day first or month first depends on a setting of the instrument's computer that the file does not tell.
        first, second, year = int(found[1]), int(found[2]), int(found[3])
        possible = {day for day in (_day(year, first, second), _day(year, second, first)) if day is not None}
        return possible.pop() if len(possible) == 1 else None
    return None


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) + 1 if name[:3].lower() in _MONTHS else 0


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
