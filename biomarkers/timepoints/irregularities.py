"""What cannot be right of accessions and dates, whatever was measured.

Knows results as aligned and the roster's dates. Must not know how a visit is found; what contradicts itself on one specimen is
told where specimens are aligned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import NamedTuple

from biomarkers.results import Finding, Severity
from biomarkers.study.roster import Roster, Subject

DUPLICATE_ACCESSION = "DUPLICATE_ACCESSION"
IMPOSSIBLE_DATE = "IMPOSSIBLE_DATE"

RUNS_TOLD = 6
"""A message names so many runs and counts the others."""


class RunValue(NamedTuple):
    """What a run says of a specimen's measurand; ``value`` is None where it is not evaluable."""

    accession_id: str
    measurand: str
    run_id: str
    value: float | None
    comparator: str
    unit: str


def duplicate_accessions(results: Iterable[RunValue]) -> Mapping[str, Finding]:
    """Find accessions of which a measurand has results of several runs, by accession.

    A repeat is nothing wrong; an accession typed twice looks just like one. The first accepted result counts until then.

    Parameters
    ----------
    results
        Those in force about which nobody has decided, in any order.
    """
    runs: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        value = "not evaluable" if result.value is None else f"{result.comparator}{result.value:.6g} {result.unit}".strip()
        runs.setdefault((result.accession_id, result.measurand), {})[result.run_id] = value
    found: dict[str, Finding] = {}
    for (accession_id, measurand), values in sorted(runs.items()):
        if len(values) > 1 and accession_id not in found:
            listed = [f"{value} in run '{run_id}'" for run_id, value in sorted(values.items())]
            others = [f"and {len(listed) - RUNS_TOLD} more"] if len(listed) > RUNS_TOLD else []
            told = ", ".join([*listed[:RUNS_TOLD], *others])
            found[accession_id] = Finding(
                code=DUPLICATE_ACCESSION,
                severity=Severity.NOTE,
                where=f"Specimen '{accession_id}', measurand '{measurand}'.",
                message=f"It has results of {len(values)} runs: {told}.",
                remedy="If it was repeated, say which run counts (biomarkers dispose); if not, correct the map or file name.",
            )
    return found


def impossible_dates(roster: Roster, *, as_of: date) -> tuple[Finding, ...]:
    """Find dates of subjects, visits and specimens that contradict each other or lie in the future, subject by subject."""
    found = [finding for subject in roster.subjects.values() for finding in _of_subject(subject, as_of)]
    for (subject_id, code), visit in sorted(roster.visits.items()):
        subject = roster.subjects.get(subject_id)
        death = None if subject is None else subject.death_date
        if visit.actual_date is not None and death is not None and visit.actual_date > death:
            found.append(_finding(subject_id, f"{code} took place on {visit.actual_date}, after death on {death}."))
        if visit.actual_date is not None and visit.actual_date > as_of:
            found.append(_finding(subject_id, f"{code} took place on {visit.actual_date}, which is to come."))
    found += [
        _finding(specimen.subject_id, f"Specimen '{accession_id}' was collected on {specimen.collected_at.day}, to come.")
        for accession_id, specimen in sorted(roster.specimens.items())
        if specimen.collected_at.day > as_of
    ]
    return tuple(sorted(found, key=lambda finding: (finding.where, finding.message)))


def _of_subject(subject: Subject, as_of: date) -> Iterator[Finding]:
    start = None if subject.treatment_start is None else subject.treatment_start.day
    dates = {
        "randomisation": subject.randomised_on,
        "start of treatment": start,
        "end of treatment": subject.treatment_end,
        "progression": subject.progression_date,
        "next therapy": subject.next_therapy_start,
        "death": subject.death_date,
    }
    known = [(name, day) for name, day in dates.items() if day is not None]
    for name, day in known:
        if day > as_of:
            yield _finding(subject.subject_id, f"The date of {name}, {day}, is to come.")
    for earlier, later in (
        ("randomisation", "start of treatment"),
        ("start of treatment", "end of treatment"),
        ("randomisation", "progression"),
        ("start of treatment", "next therapy"),
        *((name, "death") for name in dates if name != "death"),
    ):
        one, other = dates[earlier], dates[later]
        if one is not None and other is not None and other < one:
            yield _finding(subject.subject_id, f"The date of {later}, {other}, lies before that of {earlier}, {one}.")


def _finding(subject_id: str, message: str) -> Finding:
    return Finding(
        code=IMPOSSIBLE_DATE,
        severity=Severity.WARNING,
        where=f"Subject '{subject_id}'.",
        message=message,
        remedy="Correct the dates in roster.csv, visits.csv or specimens.csv.",
    )
