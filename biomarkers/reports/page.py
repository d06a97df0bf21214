"""What every quality page has in common: the frame around it, findings, results, where its numbers came from.

Knows the shape all three assays end in. Must not know any one of them. A page is one file: no script, nothing fetched from
anywhere, every text escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from biomarkers.provenance import Provenance
from biomarkers.reports.figures import DASH, number, printable, short, unit_words
from biomarkers.results import Finding, Interval, Quantity, Result, Severity

_ORDER = {Severity.REJECT: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingCount:
    """How many findings weigh how much."""

    severity: Severity
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A word about the run and its value, for the head of a page; an empty value is not shown."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A setting of the method: its path and its value."""

    name: str
    value: str


def render(template: str, *, title: str, provenance: Provenance, findings: Sequence[Finding], **context: object) -> str:
    """Fill a page's template.

    Parameters
    ----------
    template
        Name of a file in the folder ``templates``.
    findings
        Everything the page has to tell; shown each once, the weightiest first.
    context
        What this kind of page shows besides.
    """
    ordered = by_weight(findings)
    page = (
        environment()
        .get_template(template)
        .render(
            title=title,
            provenance=provenance,
            parameters=flat_parameters(provenance.parameters),
            findings=ordered,
            finding_counts=[
                FindingCount(severity=severity, count=count)
                for severity in _ORDER
                if (count := sum(finding.severity is severity for finding in ordered))
            ],
            **context,
        )
    )
    # Templates leave empty lines where conditions stood.
    return "\n".join(line.rstrip() for line in page.splitlines() if line.strip()) + "\n"


def by_weight(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put findings in order, each once: rejections, warnings, notes; within these as they were found."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: _ORDER[finding.severity]))


def all_findings(*groups: Iterable[Finding], results: Iterable[Result] = ()) -> tuple[Finding, ...]:
    """Gather findings of a run and of its results."""
    gathered = [finding for group in groups for finding in group]
    gathered.extend(finding for result in results for finding in result.findings)
    return tuple(dict.fromkeys(gathered))


def data(value: float | None, digits: int = 4, *, plain: bool = False) -> Markup:
    """Show a number rounded, with every digit of it in the element's value; a missing one is a dash.

    Parameters
    ----------
    plain
        Show it as its declaration would write it, not with so many digits.
    """
    if value is None:
        return Markup('<span class="none">{}</span>').format(DASH)
    shown = short(value) if plain else number(value, digits)
    return Markup('<data value="{}">{}</data>').format(repr(value), shown)


def percent(value: float | None, decimals: int = 1) -> Markup:
    """Show a percentage with fixed decimals, so that a column of them reads at a glance."""
    if value is None:
        return data(None)
    return Markup('<data value="{}">{}</data>').format(repr(value), f"{value:.{decimals}f}")


def quantity_markup(quantity: Quantity | None) -> Markup:
    """Show a quantity with comparator and unit; none is "not reported"."""
    if quantity is None:
        return Markup('<span class="withheld">not reported</span>')
    comparator = (
        Markup('<span class="comparator">{}</span> ').format(quantity.comparator) if quantity.comparator else Markup("")
    )
    unit = unit_words(quantity.unit)
    return comparator + data(quantity.value) + (Markup(' <span class="unit">{}</span>').format(unit) if unit else Markup(""))


def interval_markup(interval: Interval | None) -> Markup:
    """Show limits; an open side says so."""
    if interval is None:
        return data(None)
    lower = Markup("below") if interval.lower is None else data(interval.lower)
    upper = Markup("open") if interval.upper is None else data(interval.upper)
    return Markup("{} {} {}").format(lower, DASH, upper)


def codes_markup(findings: Iterable[Finding]) -> Markup:
    """Show the codes of findings, each once, in alphabetical order."""
    codes = sorted({finding.code for finding in findings})
    return Markup(" ").join(Markup('<span class="code">{}</span>').format(code) for code in codes)


def flat_parameters(canonical: str) -> tuple[Parameter, ...]:
    """Spread canonical JSON out into one row a setting; text that is no JSON stays one row."""
    try:
        parsed = json.loads(canonical)
    except json.JSONDecodeError:
        return (Parameter(name="parameters", value=canonical),)
    return tuple(_flattened("", parsed))


def _flattened(path: str, value: object) -> Iterable[Parameter]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flattened(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            yield from _flattened(f"{path}[{index if name is None else name}]", item)
    else:
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield Parameter(name=path or "parameters", value=shown)


@cache
def environment() -> Environment:
    """Return the environment that every page is drawn in: everything escaped, nothing undefined."""
    made = Environment(
        loader=PackageLoader("biomarkers.reports", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Control characters in a foreign file's words have no place in a page.
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    made.filters |= {
        "data": data,
        "percent": percent,
        "codes": codes_markup,
        "short": short,
        "quantity": quantity_markup,
        "interval": interval_markup,
    }
    return made
