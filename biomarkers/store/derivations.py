"""What second steps work on and leave behind: results that count with all they say, and derived runs as they stand.

Knows which result of a specimen counts, and which derived runs there are. Must not know how anything is derived.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import exists, func, select

from biomarkers.provenance import Provenance
from biomarkers.results import Assay, Finding, Interval, Quantity, Result, Severity
from biomarkers.store.current import is_current
from biomarkers.store.database import Reading, at_a_time
from biomarkers.store.decisions import Decision
from biomarkers.store.name_lists import is_one_of
from biomarkers.store.records import record_of
from biomarkers.store.results import StoredResult, results_by_accession
from biomarkers.store.schema import analysis, derived_from, finding, remark, result

SPECIMENS_AT_ONCE = 200
"""Specimens whose results are held while the whole set is gone through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceResult:
    """A current result, as a second step takes it in.

    Attributes
    ----------
    stored
        Its place in the store, with the decision about it.
    result
        Equal to what was recorded.
    """

    stored: StoredResult
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingDerivation:
    """A derived run as it stands.

    Attributes
    ----------
    content_id
        Identity of its content; an equal one need not be recorded again.
    is_empty
        It holds neither result nor remark: what it was derived from is gone.
    parent_ids
        The results it was derived from.
    """

    run_id: str
    analysis_id: str
    content_id: str
    assay: Assay
    name: str
    provenance: Provenance
    is_empty: bool
    parent_ids: frozenset[str]


def counting_results(reading: Reading, *, measurands: Collection[str]) -> Iterator[tuple[str, Mapping[str, SourceResult]]]:
    """Give, specimen by specimen and by measurand, the one result that counts: declared reportable, else evaluable, else first.

    Results that were set aside by a decision do not count. Specimens are read some at a time.
    """
    for some in at_a_time(results_by_accession(reading, measurands=measurands), SPECIMENS_AT_ONCE):
        yield from _counting_of(reading, measurands, [stored for _, of_specimen in some for stored in of_specimen]).items()


def _counting_of(
    reading: Reading, measurands: Collection[str], listed: Iterable[StoredResult]
) -> Mapping[str, Mapping[str, SourceResult]]:
    best: dict[tuple[str, str], StoredResult] = {}
    for stored in listed:
        if stored.disposition in {Decision.REPEATED, Decision.EXCLUDED}:
            continue
        key = stored.accession_id, stored.measurand
        if key not in best or _rank(stored) < _rank(best[key]):
            best[key] = stored
    analysis_ids = {stored.analysis_id for stored in best.values()}
    provenances = _provenances(reading, analysis_ids)
    findings = _findings(reading, analysis_ids, measurands)
    found: dict[str, dict[str, SourceResult]] = {}
    for (accession_id, code), stored in best.items():
        made = _result(stored, provenances[stored.analysis_id], findings.get((stored.analysis_id, stored.result_id), ()))
        found.setdefault(accession_id, {})[code] = SourceResult(stored=stored, result=made)
    return found


def standing_contents(reading: Reading, *, step: str) -> Mapping[str, str]:
    """Return, by run, the identity of what a second step's derived runs hold now; those that were withdrawn hold nothing."""
    says = exists().where(result.c.analysis_id == analysis.c.analysis_id)
    remarks = exists().where(remark.c.analysis_id == analysis.c.analysis_id)
    query = select(analysis.c.run_id, analysis.c.content_id).where(analysis.c.step == step, is_current(), says | remarks)
    return {row.run_id: row.content_id for row in reading.connection.execute(query)}


def standing_derivations(
    reading: Reading, *, step: str, run_ids: Collection[str] | None = None
) -> Mapping[str, StandingDerivation]:
    """Return the derived runs of a second step as they stand, by run; all of them unless ``run_ids`` says which."""
    wanted = [analysis.c.step == step, is_current()]
    if run_ids is not None:
        wanted.append(is_one_of(analysis.c.run_id, run_ids))
    results = select(result.c.analysis_id, func.count().label("n")).group_by(result.c.analysis_id).subquery()
    remarks = select(remark.c.analysis_id, func.count().label("n")).group_by(remark.c.analysis_id).subquery()
    query = (
        select(analysis, func.coalesce(results.c.n, 0).label("results"), func.coalesce(remarks.c.n, 0).label("remarks"))
        .outerjoin(results, results.c.analysis_id == analysis.c.analysis_id)
        .outerjoin(remarks, remarks.c.analysis_id == analysis.c.analysis_id)
        .where(*wanted)
        .order_by(analysis.c.id)
    )
    of_parents = (
        select(derived_from.c.analysis_id, derived_from.c.source_result_id)
        .join(analysis, analysis.c.analysis_id == derived_from.c.analysis_id)
        .where(*wanted)
    )
    parents: dict[str, set[str]] = {}
    for row in reading.connection.execute(of_parents):
        parents.setdefault(row.analysis_id, set()).add(row.source_result_id)
    return {
        row.run_id: StandingDerivation(
            run_id=row.run_id,
            analysis_id=row.analysis_id,
            content_id=row.content_id,
            assay=Assay(row.assay),
            name=row.name,
            provenance=record_of(Provenance, row.provenance),
            is_empty=row.results + row.remarks == 0,
            parent_ids=frozenset(parents.get(row.analysis_id, ())),
        )
        for row in reading.connection.execute(query)
    }


def _rank(stored: StoredResult) -> tuple[bool, bool, int, str]:
    return stored.disposition is not Decision.REPORTABLE, not stored.is_evaluable, stored.ordinal, stored.result_id


def _provenances(reading: Reading, analysis_ids: Collection[str]) -> Mapping[str, Provenance]:
    query = select(analysis.c.analysis_id, analysis.c.provenance).where(is_one_of(analysis.c.analysis_id, analysis_ids))
    return {row.analysis_id: record_of(Provenance, row.provenance) for row in reading.connection.execute(query)}


def _findings(
    reading: Reading, analysis_ids: Collection[str], measurands: Collection[str]
) -> Mapping[tuple[str, str], tuple[Finding, ...]]:
    query = (
        select(finding)
        .join(result, (result.c.analysis_id == finding.c.analysis_id) & (result.c.result_id == finding.c.result_id))
        .where(is_one_of(finding.c.analysis_id, analysis_ids), is_one_of(result.c.measurand, measurands))
        .order_by(finding.c.analysis_id, finding.c.result_id, finding.c.ordinal)
    )
    gathered: dict[tuple[str, str], list[Finding]] = {}
    for row in reading.connection.execute(query):
        gathered.setdefault((row.analysis_id, row.result_id), []).append(
            Finding(code=row.code, severity=Severity(row.severity), where=row.where_, message=row.message, remedy=row.remedy)
        )
    return {key: tuple(items) for key, items in gathered.items()}


def _result(stored: StoredResult, provenance: Provenance, findings: tuple[Finding, ...]) -> Result:
    quantity = None if stored.value is None else Quantity(value=stored.value, unit=stored.unit, comparator=stored.comparator)
    interval = None if stored.level is None else Interval(lower=stored.lower, upper=stored.upper, level=stored.level)
    return Result(
        accession_id=stored.accession_id,
        assay=stored.assay,
        measurand=stored.measurand,
        quantity=quantity,
        interval=interval,
        denominator=stored.denominator,
        n_replicates=stored.n_replicates,
        run_id=stored.run_id,
        findings=findings,
        provenance=provenance,
    )
