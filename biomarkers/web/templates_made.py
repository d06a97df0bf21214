"""The environment the pages are drawn in, and how values are written.

Knows how a moment, a bound and a status look. Must not know any page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from biomarkers.reports.figures import number, unit_words
from biomarkers.reports.page import environment as report_environment

STATE_WORDS = {
    "waiting": "waiting",
    "queued": "waiting",
    "running": "being read",
    "recorded": "recorded",
    "seen": "seen before",
    "quarantined": "quarantined",
}

ASSAY_WORDS = {"elisa": "ELISA", "cytometry": "cytometry", "ihc": "IHC"}

CLOCKS = ("%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M", "%d-%b-%Y", "%Y-%m-%dT%H:%M:%S")
"""How instruments write their moments, where it is not as the pages do."""


def moment(value: datetime | None) -> Markup:
    """Write a moment in UTC to the minute, with the machine's own spelling for the browser to show in local time."""
    if value is None:
        return Markup("")
    told = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(told.isoformat(timespec="seconds"), f"{told:%Y-%m-%d %H:%M}")


def instrument_moment(text: str) -> Markup:
    """Write an instrument's own moment as the pages write theirs, without a time zone it does not name; else word for word."""
    for form in CLOCKS:
        try:
            told = datetime.strptime(text.strip(), form)  # noqa: DTZ007  - the instrument says no time zone
        except ValueError:
            continue
        return Markup('<span title="{} by the instrument\'s clock">{}</span>').format(text, f"{told:%Y-%m-%d %H:%M}")
    return Markup("{}").format(text)


def bounded(value: float | None, comparator: str | None, unit: str | None) -> Markup:
    """Write a value with its comparator and unit; nothing where there is none."""
    if value is None:
        return Markup("")
    sign = Markup('<span class="comparator">{}</span> ').format(comparator) if comparator else Markup("")
    told = unit_words(unit or "")
    tail = Markup(' <span class="unit">{}</span>').format(told) if told else Markup("")
    return Markup('{}<data value="{}">{}</data>{}').format(sign, repr(value), number(value), tail)


def plain_number(value: float | None) -> str:
    """Write a number with four digits; nothing where there is none."""
    return "" if value is None else number(value)


def spaced(word: str) -> str:
    """Write a status or role as words."""
    return word.replace("_", " ")


@cache
def environment() -> Environment:
    """Return the environment: that of the reports, with the templates of the pages."""
    made = report_environment().overlay(loader=PackageLoader("biomarkers.web", "templates"))
    made.filters = {
        **made.filters,
        "moment": moment,
        "bounded": bounded,
        "instrument_moment": instrument_moment,
        "plain": plain_number,
        "spaced": spaced,
        "assay_words": lambda assay: ASSAY_WORDS.get(assay, assay),
        "state_words": lambda state: STATE_WORDS.get(state, state),
        "query": lambda given: urlencode([(key, value) for key, value in given.items() if value not in ("", None)]),
    }
    return made
