"""Results recorded, superseded, disposed and read.

Knows which analysis of a run is current: the one that no other supersedes. Must not know how a number was measured, which
visit it belongs to, or how files are handled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, exists, func, select

from biomarkers.provenance import Input, Provenance, Source
from biomarkers.results import Assay, Comparator
from biomarkers.store.analyses import read_analysis
from biomarkers.store.current import first_numbers, is_current, is_in_force, is_measured, replaced_numbers
from biomarkers.store.database import Reading
from biomarkers.store.decisions import Decision, dispose
from biomarkers.store.name_lists import is_one_of
from biomarkers.store.recording import Recorded, record_analysis
from biomarkers.store.records import record_of
from biomarkers.store.schema import analysis, analysis_source, disposition, remark, result, supersession
from biomarkers.timepoints import alignment as timepoints
from biomarkers.timepoints.alignment import AlignedInput

__all__ = [
    "Decision",
    "Recorded",
    "RecordedRun",
    "StoredResult",
    "Superseded",
    "aligned_inputs",
    "current_contents",
    "current_results",
    "current_runs",
    "dispose",
    "history",
    "is_recorded",
    "measured_analyses",
    "read_analysis",
    "record_analysis",
    "remark_codes",
    "results_by_accession",
    "results_of_runs",
    "run_by_instrument",
]


_WORDS: Mapping[Decision | None, timepoints.Decision] = {
    None: "",
    Decision.REPORTABLE: "reportable",
    Decision.REPEATED: "repeated",
    Decision.EXCLUDED: "excluded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run as it stands: its current analysis and the files it came from, the instrument's first.

    ``ordinal`` counts runs by when they were first recorded; an analysis that supersedes another keeps its run's place.
    """

    run_id: str
    analysis_id: str
    assay: Assay
    name: str
    acquired_at: str
    instrument_sha256: str
    sources: tuple[Source, ...]
    finding_codes: str
    ordinal: int
    recorded_at: datetime
    inputs: tuple[Input, ...]
    software: str

    @property
    def content_id(self) -> str:
        """What was found, whenever it was recorded: an analysis that comes back after another has its content once more."""
        return self.analysis_id.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A current result with everything the timepoint table says about it.

    Attributes
    ----------
    value
        None when the result is not evaluable.
    level
        Confidence of ``lower`` and ``upper``; None without an interval.
    ordinal
        Place of the run by when it was first recorded: among accepted results of one accession the lowest stays reportable,
        and recomputing a run does not move it behind a repeat of it.
    source_sha256s
        Digests joined by ``;``, the instrument file first.
    disposition
        The last decision about this result; None where nobody decided.
    step
        The second step that derived it; empty for what was measured.
    """

    result_id: str
    analysis_id: str
    run_id: str
    accession_id: str
    assay: Assay
    measurand: str
    value: float | None
    comparator: Comparator
    unit: str
    lower: float | None
    upper: float | None
    level: float | None
    denominator: str
    n_replicates: int | None
    finding_codes: str
    source_sha256s: str
    ordinal: int
    recorded_at: datetime
    disposition: Decision | None
    step: str = ""

    @property
    def is_evaluable(self) -> bool:
        """Whether a number or a bound is reported."""
        return self.value is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """One step of a run's history: which analysis another replaced, and why."""

    old_analysis_id: str
    new_analysis_id: str
    reason: str
    recorded_at: datetime


def current_results(reading: Reading, *, measurand: str | None = None) -> tuple[StoredResult, ...]:
    """Return the results of all current analyses, in the order in which their runs were first recorded.

    Derived results are among them, and stand where those stood whose place they took.
    """
    query, order = _current_query()
    if measurand is not None:
        query = query.where(result.c.measurand == measurand)
    return tuple(_stored(row) for row in reading.connection.execute(query.order_by(*order)))


def results_by_accession(reading: Reading, *, measurands: Collection[str]) -> Iterator[tuple[str, list[StoredResult]]]:
    """Give the current results of some measurands specimen by specimen, each one's in the order of :func:`current_results`."""
    query, order = _current_query()
    query = query.where(is_one_of(result.c.measurand, measurands)).order_by(result.c.accession_id, *order)
    rows = reading.connection.execute(query, execution_options={"yield_per": 1_000})
    for accession_id, of_specimen in groupby(rows, key=lambda row: str(row.accession_id)):
        yield accession_id, [_stored(row) for row in of_specimen]


def _current_query() -> tuple[Select[Any], tuple[ColumnElement[Any], ...]]:
    """Return the query for all results of current analyses, and by what they are ordered."""
    decided = (
        select(disposition.c.result_id, func.max(disposition.c.id).label("last")).group_by(disposition.c.result_id).subquery()
    )
    firsts, replaced = first_numbers(), replaced_numbers()
    run_ordinal = func.coalesce(replaced.c.first, firsts.c.first).label("run_ordinal")
    query = (
        select(result, analysis.c.source_sha256s, analysis.c.step, analysis.c.recorded_at, run_ordinal, disposition.c.decision)
        .join(analysis, analysis.c.analysis_id == result.c.analysis_id)
        .join(firsts, firsts.c.run_id == result.c.run_id)
        .outerjoin(
            replaced,
            (replaced.c.analysis_id == result.c.analysis_id)
            & (replaced.c.accession_id == result.c.accession_id)
            & (replaced.c.measurand == result.c.measurand),
        )
        .outerjoin(decided, decided.c.result_id == result.c.result_id)
        .outerjoin(disposition, disposition.c.id == decided.c.last)
        .where(is_current(), is_in_force())
    )
    return query, (run_ordinal, firsts.c.first, result.c.ordinal)


def results_of_runs(reading: Reading, *, run_ids: Collection[str]) -> tuple[StoredResult, ...]:
    """Return the current results of some runs."""
    return tuple(stored for stored in current_results(reading) if stored.run_id in run_ids) if run_ids else ()


def remark_codes(reading: Reading) -> Mapping[str, tuple[RemarkedCode, ...]]:
    """Return what second steps remark about runs as they stand, by run."""
    query = (
        select(remark.c.run_id, remark.c.accession_id, remark.c.measurand, remark.c.code)
        .where(~exists().where(supersession.c.old_analysis_id == remark.c.analysis_id))
        .order_by(remark.c.analysis_id, remark.c.ordinal)
    )
    found: dict[str, list[RemarkedCode]] = {}
    for row in reading.connection.execute(query):
        found.setdefault(row.run_id, []).append(
            RemarkedCode(accession_id=row.accession_id, measurand=row.measurand, code=row.code)
        )
    return {run_id: tuple(codes) for run_id, codes in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemarkedCode:
    """A finding's code, and the results of its run it is about; empty for all of them."""

    accession_id: str
    measurand: str
    code: str

    def concerns(self, stored: StoredResult) -> bool:
        """Whether a result of the run is meant."""
        return self.accession_id in {"", stored.accession_id} and self.measurand in {"", stored.measurand}


def aligned_inputs(reading: Reading) -> tuple[AlignedInput, ...]:
    """Return the current results as the timepoint table takes them in, with what second steps remark about them."""
    remarks = remark_codes(reading)
    return tuple(
        AlignedInput(
            accession_id=stored.accession_id,
            assay=stored.assay,
            measurand=stored.measurand,
            value=stored.value,
            comparator=stored.comparator,
            unit=stored.unit,
            lower=stored.lower,
            upper=stored.upper,
            denominator=stored.denominator,
            n_replicates=stored.n_replicates,
            evaluable=stored.is_evaluable,
            finding_codes=_with_remarks(stored, remarks.get(stored.run_id, ())),
            run_id=stored.run_id,
            result_id=stored.result_id,
            source_sha256s=stored.source_sha256s,
            order=stored.ordinal,
            disposition=_WORDS[stored.disposition],
        )
        for stored in current_results(reading)
    )


def _with_remarks(stored: StoredResult, remarks: Sequence[RemarkedCode]) -> str:
    codes = [stored.finding_codes, *(remark.code for remark in remarks if remark.concerns(stored))]
    return ";".join(code for code in codes if code)


def current_runs(reading: Reading, *, assay: Assay | None = None, name: str | None = None) -> tuple[RecordedRun, ...]:
    """Return the measured runs, all of them, of one assay, or of one name, in the order of first recording."""
    conditions: list[ColumnElement[bool]] = []
    if assay is not None:
        conditions.append(analysis.c.assay == assay.value)
    if name is not None:
        conditions.append(analysis.c.name == name)
    return _runs(reading, *conditions)


def run_by_instrument(reading: Reading, *, instrument_sha256: str) -> tuple[RecordedRun, ...]:
    """Return the runs recorded from an instrument file's bytes: one, or each plate of a file that holds several."""
    return _runs(reading, analysis.c.instrument_sha256 == instrument_sha256)


def measured_analyses(reading: Reading, *, assay: Assay, accession_ids: Collection[str]) -> tuple[str, ...]:
    """Return the current analyses of what was measured of some specimens, in order, whether or not their results stand."""
    query = (
        select(analysis.c.analysis_id)
        .where(
            analysis.c.assay == assay.value,
            is_current(),
            is_measured(),
            exists().where(result.c.analysis_id == analysis.c.analysis_id, is_one_of(result.c.accession_id, accession_ids)),
        )
        .order_by(analysis.c.id)
    )
    return tuple(str(found) for found in reading.connection.execute(query).scalars())


def current_contents(
    reading: Reading, *, assay: Assay | None = None, instruments: Collection[str] | None = None
) -> Mapping[str, str]:
    """Return, by run, the identity of the current analysis's content, of measured runs: of one assay, or from some files."""
    query = select(analysis.c.run_id, analysis.c.content_id).where(is_current(), is_measured())
    if assay is not None:
        query = query.where(analysis.c.assay == assay.value)
    if instruments is not None:
        query = query.where(is_one_of(analysis.c.instrument_sha256, instruments))
    return {row.run_id: row.content_id for row in reading.connection.execute(query)}


def is_recorded(reading: Reading, *, sha256: str) -> bool:
    """Whether the current analysis of some measured run was made from these bytes, as instrument file or otherwise."""
    query = (
        select(analysis_source.c.sha256)
        .join(analysis, analysis.c.analysis_id == analysis_source.c.analysis_id)
        .where(analysis_source.c.sha256 == sha256, is_current(), is_measured())
        .limit(1)
    )
    return reading.connection.execute(query).first() is not None


def history(reading: Reading, *, run_id: str) -> tuple[Superseded, ...]:
    """Return what superseded what in a run, the oldest step first."""
    query = (
        select(supersession)
        .join(analysis, analysis.c.analysis_id == supersession.c.new_analysis_id)
        .where(analysis.c.run_id == run_id)
        .order_by(analysis.c.id)
    )
    return tuple(
        Superseded(
            old_analysis_id=row.old_analysis_id,
            new_analysis_id=row.new_analysis_id,
            reason=row.reason,
            recorded_at=row.recorded_at,
        )
        for row in reading.connection.execute(query)
    )


def _stored(row: Row[tuple[object, ...]]) -> StoredResult:
    return StoredResult(
        result_id=row.result_id,
        analysis_id=row.analysis_id,
        run_id=row.run_id,
        accession_id=row.accession_id,
        assay=Assay(row.assay),
        measurand=row.measurand,
        value=row.value,
        comparator=row.comparator,
        unit=row.unit,
        lower=row.lower,
        upper=row.upper,
        level=row.level,
        denominator=row.denominator,
        n_replicates=row.n_replicates,
        finding_codes=row.finding_codes,
        source_sha256s=row.source_sha256s,
        ordinal=row.run_ordinal,
        recorded_at=row.recorded_at,
        disposition=None if row.decision is None else Decision(row.decision),
        step=row.step,
    )


def _runs(reading: Reading, *conditions: ColumnElement[bool]) -> tuple[RecordedRun, ...]:
    firsts = first_numbers()
    query = (
        select(analysis, firsts.c.first)
        .join(firsts, firsts.c.run_id == analysis.c.run_id)
        .where(is_current(), is_measured(), *conditions)
        .order_by(firsts.c.first)
    )
    return tuple(_run(row, record_of(Provenance, row.provenance)) for row in reading.connection.execute(query))


def _run(row: Row[tuple[object, ...]], provenance: Provenance) -> RecordedRun:
    return RecordedRun(
        run_id=row.run_id,
        analysis_id=row.analysis_id,
        assay=Assay(row.assay),
        name=row.name,
        acquired_at=row.acquired_at,
        instrument_sha256=row.instrument_sha256,
        sources=provenance.sources,
        inputs=provenance.inputs,
        software=provenance.software,
        finding_codes=row.finding_codes,
        ordinal=row.first,
        recorded_at=row.recorded_at,
    )
