"""One analysis of a run, written whole and read back equal.

Knows how a run, its sources, results and findings lie in the tables. Must not know which analysis of a run is current.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Row, insert, select

from biomarkers.errors import StoreError
from biomarkers.provenance import Provenance
from biomarkers.results import Assay, DerivedAnalysis, Finding, Interval, Quantity, Result, Run, Severity, finding_codes
from biomarkers.store import evidence
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.evidence import Analysis
from biomarkers.store.records import plain, record_of
from biomarkers.store.schema import analysis, analysis_source, finding, result


def write_analysis(
    transaction: Transaction, given: Analysis, *, analysis_id: str, content_id: str, reason: str, recorded_at: datetime
) -> None:
    """Write an analysis with its sources, results, findings and evidence."""
    run, connection = given.run, transaction.connection
    sources = run.provenance.sources
    connection.execute(
        insert(analysis).values(
            analysis_id=analysis_id,
            content_id=content_id,
            run_id=run.run_id,
            assay=run.assay.value,
            step=given.step if isinstance(given, DerivedAnalysis) else "",
            name=run.name,
            acquired_at=run.acquired_at,
            instrument_sha256=sources[0].sha256,
            source_sha256s=";".join(source.sha256 for source in sources),
            provenance=plain(run.provenance),
            parameters=run.provenance.parameters,
            software=run.provenance.software,
            finding_codes=finding_codes(run.findings),
            recorded_at=recorded_at,
            reason=reason,
            more=evidence.further_fields(given),
        )
    )
    rows = [
        {"analysis_id": analysis_id, "ordinal": ordinal, "role": source.role, "name": source.name, "sha256": source.sha256}
        for ordinal, source in enumerate(sources)
    ]
    connection.execute(insert(analysis_source), rows)
    result_ids = [item.result_id for item in run.results]
    if run.results:
        rows_of_results = [
            _result_row(analysis_id, result_id, ordinal, item)
            for ordinal, (result_id, item) in enumerate(zip(result_ids, run.results, strict=True))
        ]
        connection.execute(insert(result), rows_of_results)
    findings = [_finding_row(analysis_id, None, ordinal, item) for ordinal, item in enumerate(run.findings)]
    for result_id, reported in zip(result_ids, run.results, strict=True):
        findings += [_finding_row(analysis_id, result_id, ordinal, item) for ordinal, item in enumerate(reported.findings)]
    if findings:
        connection.execute(insert(finding), findings)
    evidence.write(transaction, analysis_id=analysis_id, given=given)


def read_analysis(reading: Reading, *, analysis_id: str) -> Analysis:
    """Return an analysis as it was recorded, current or superseded, equal to what was given then."""
    row = reading.connection.execute(select(analysis).where(analysis.c.analysis_id == analysis_id)).first()
    if row is None:
        raise StoreError(
            what="There is no such analysis.", where=f"Analysis '{analysis_id}'.", remedy="Take an id the store has given."
        )
    provenance = record_of(Provenance, row.provenance)
    findings_by_result = _findings(reading, analysis_id)
    results = tuple(
        _result(found, provenance, findings_by_result.get(found.result_id, ()))
        for found in reading.connection.execute(
            select(result).where(result.c.analysis_id == analysis_id).order_by(result.c.ordinal)
        )
    )
    run = Run(
        run_id=row.run_id,
        assay=Assay(row.assay),
        name=row.name,
        acquired_at=row.acquired_at,
        findings=findings_by_result.get(None, ()),
        results=results,
        provenance=provenance,
    )
    return evidence.read(reading, analysis_id=analysis_id, run=run, step=row.step, more=row.more)


def _result_row(analysis_id: str, result_id: str, ordinal: int, given: Result) -> dict[str, object]:
    quantity, interval = given.quantity, given.interval
    return {
        "analysis_id": analysis_id,
        "result_id": result_id,
        "ordinal": ordinal,
        "run_id": given.run_id,
        "accession_id": given.accession_id,
        "assay": given.assay.value,
        "measurand": given.measurand,
        "value": None if quantity is None else float(quantity.value),
        "comparator": "" if quantity is None else quantity.comparator,
        "unit": "" if quantity is None else quantity.unit,
        "lower": None if interval is None or interval.lower is None else float(interval.lower),
        "upper": None if interval is None or interval.upper is None else float(interval.upper),
        "level": None if interval is None else float(interval.level),
        "denominator": given.denominator,
        "n_replicates": None if given.n_replicates is None else int(given.n_replicates),
        "evaluable": int(given.is_evaluable),
        "finding_codes": finding_codes(given.findings),
    }


def _finding_row(analysis_id: str, result_id: str | None, ordinal: int, given: Finding) -> dict[str, object]:
    return {
        "analysis_id": analysis_id,
        "result_id": result_id,
        "ordinal": ordinal,
        "code": given.code,
        "severity": given.severity.value,
        "where_": given.where,
        "message": given.message,
        "remedy": given.remedy,
    }


def _findings(reading: Reading, analysis_id: str) -> Mapping[str | None, tuple[Finding, ...]]:
    gathered: dict[str | None, list[Finding]] = {}
    query = select(finding).where(finding.c.analysis_id == analysis_id).order_by(finding.c.ordinal)
    for row in reading.connection.execute(query):
        gathered.setdefault(row.result_id, []).append(
            Finding(code=row.code, severity=Severity(row.severity), where=row.where_, message=row.message, remedy=row.remedy)
        )
    return {result_id: tuple(items) for result_id, items in gathered.items()}


def _result(row: Row[tuple[object, ...]], provenance: Provenance, findings: tuple[Finding, ...]) -> Result:
    return Result(
        accession_id=row.accession_id,
        assay=Assay(row.assay),
        measurand=row.measurand,
        quantity=None if row.value is None else Quantity(value=row.value, unit=row.unit, comparator=row.comparator),
        interval=None if row.level is None else Interval(lower=row.lower, upper=row.upper, level=row.level),
        denominator=row.denominator,
        n_replicates=row.n_replicates,
        run_id=row.run_id,
        findings=findings,
        provenance=provenance,
    )
