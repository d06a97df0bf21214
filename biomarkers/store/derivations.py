"""What second steps work on and leave behind: results that count with all they say, and derived runs as they stand.

Knows which result of a specimen counts, and which derived runs there are. Must not know how anything is derived.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from biomarkers.provenance import Provenance
from biomarkers.results import Assay, Finding, Interval, Quantity, Result, Severity
from biomarkers.store.current import is_current
from biomarkers.store.database import Reading
from biomarkers.store.decisions import Decision
from biomarkers.store.records import record_of
from biomarkers.store.results import StoredResult, current_results
from biomarkers.store.schema import analysis, derived_from, finding, remark, result


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


def counting_results(reading: Reading, *, measurands: Collection[str]) -> Mapping[str, Mapping[str, SourceResult]]:
    """Return, by accession and measurand, the one result that counts: declared reportable, else evaluable, else the first.

    Results that were set aside by a decision do not count.
    """
    best: dict[tuple[str, str], StoredResult] = {}
    for code in measurands:
        for stored in current_results(reading, measurand=code):
            if stored.disposition in {Decision.REPEATED, Decision.EXCLUDED}:
                continue
            key = stored.accession_id, code
            if key not in best or _rank(stored) < _rank(best[key]):
                best[key] = stored
    provenances = _provenances(reading, measurands)
    findings = _findings(reading, measurands)
    found: dict[str, dict[str, SourceResult]] = {}
    for (accession_id, code), stored in best.items():
        made = _result(stored, provenances[stored.analysis_id], findings.get((stored.analysis_id, stored.result_id), ()))
        found.setdefault(accession_id, {})[code] = SourceResult(stored=stored, result=made)
    return found


def standing_derivations(reading: Reading, *, step: str) -> Mapping[str, StandingDerivation]:
    """Return the derived runs of a second step as they stand, by run."""
    results = select(result.c.analysis_id, func.count().label("n")).group_by(result.c.analysis_id).subquery()
    remarks = select(remark.c.analysis_id, func.count().label("n")).group_by(remark.c.analysis_id).subquery()
    query = (
        select(analysis, func.coalesce(results.c.n, 0).label("results"), func.coalesce(remarks.c.n, 0).label("remarks"))
        .outerjoin(results, results.c.analysis_id == analysis.c.analysis_id)
        .outerjoin(remarks, remarks.c.analysis_id == analysis.c.analysis_id)
        .where(analysis.c.step == step, is_current())
        .order_by(analysis.c.id)
    )
    of_parents = (
        select(derived_from.c.analysis_id, derived_from.c.source_result_id)
        .join(analysis, analysis.c.analysis_id == derived_from.c.analysis_id)
        .where(analysis.c.step == step, is_current())
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


def _provenances(reading: Reading, measurands: Collection[str]) -> Mapping[str, Provenance]:
    having = select(result.c.analysis_id).where(result.c.measurand.in_(measurands))
    query = select(analysis.c.analysis_id, analysis.c.provenance).where(analysis.c.analysis_id.in_(having), is_current())
    return {row.analysis_id: record_of(Provenance, row.provenance) for row in reading.connection.execute(query)}


def _findings(reading: Reading, measurands: Collection[str]) -> Mapping[tuple[str, str], tuple[Finding, ...]]:
    query = (
        select(finding)
        .join(result, (result.c.analysis_id == finding.c.analysis_id) & (result.c.result_id == finding.c.result_id))
        .join(analysis, analysis.c.analysis_id == finding.c.analysis_id)
        .where(result.c.measurand.in_(measurands), is_current())
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
