"""What lies behind the numbers of a run: wells, curves and controls, populations, scores, or the results it is derived from.

Knows in which tables each assay's evidence is kept. Must not know when an analysis is recorded or which one is current.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from sqlalchemy import Table, insert, select

from biomarkers.cytometry.analysis import AcquisitionAnalysis, PopulationRecord
from biomarkers.cytometry.joint_analysis import JointAnalysis
from biomarkers.elisa.records import (
    CalibratorRecord,
    ControlRecord,
    CurveRecord,
    PlateAnalysis,
    PlateVerdict,
    WellRecord,
)
from biomarkers.ihc.analysis import ScoreRecord, SlideAnalysis
from biomarkers.provenance import JsonValue
from biomarkers.results import Assay, DerivedAnalysis, Parent, Remark, Run
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.records import record_of, row_of
from biomarkers.store.schema import (
    acquisition,
    analysis,
    calibrator,
    control,
    curve,
    derived_from,
    population,
    remark,
    score,
    slide,
    verdict,
    well,
)

Analysis: TypeAlias = PlateAnalysis | AcquisitionAnalysis | SlideAnalysis | DerivedAnalysis

PARTS: Mapping[type[Analysis], tuple[str, ...]] = {
    PlateAnalysis: ("run", "wells", "curves", "verdicts", "controls"),
    AcquisitionAnalysis: ("run", "panel", "events", "populations"),
    SlideAnalysis: ("run", "stain", "pixel_size_um", "stain_vectors", "white_point", "scores"),
    DerivedAnalysis: ("step", "run", "parents", "remarks"),
    JointAnalysis: ("step", "run", "parents", "remarks", "panel", "events", "populations"),
}
"""Fields of each analysis that have tables of their own; what is added to them later is kept with the analysis as JSON."""


def further_fields(given: Analysis) -> JsonValue:
    """Return an analysis's fields that no table of its own holds."""
    return row_of(given, analysis, without=PARTS[type(given)])["more"]


def write(transaction: Transaction, *, analysis_id: str, given: Analysis) -> None:
    """Write the evidence of one analysis."""
    if isinstance(given, PlateAnalysis):
        _write_plate(transaction, analysis_id, given)
    elif isinstance(given, AcquisitionAnalysis):
        _write_acquisition(transaction, analysis_id, given)
    elif isinstance(given, JointAnalysis):
        _write_acquisition(transaction, analysis_id, given)
        _write_derived(transaction, analysis_id, given)
    elif isinstance(given, DerivedAnalysis):
        _write_derived(transaction, analysis_id, given)
    else:
        row = row_of(given, slide, without=("run", "scores", *_added(given)))
        transaction.connection.execute(insert(slide).values({"analysis_id": analysis_id, **row}))
        rows = [
            {"analysis_id": analysis_id, "ordinal": ordinal, **row_of(record, score)}
            for ordinal, record in enumerate(given.scores)
        ]
        _insert(transaction, score, rows)


def read(reading: Reading, *, analysis_id: str, run: Run, step: str, more: Mapping[str, object]) -> Analysis:
    """Put an analysis together again from its run and its evidence; ``step`` is empty for what an instrument measured."""
    if step:
        return _read_derived(reading, analysis_id, run, step, more)
    slides = _rows(reading, slide, analysis_id)
    if slides:
        scores = tuple(record_of(ScoreRecord, row) for row in _rows(reading, score, analysis_id))
        return record_of(SlideAnalysis, {**slides[0], **more}, run=run, scores=scores)
    acquisitions = _rows(reading, acquisition, analysis_id)
    if acquisitions:
        populations = _populations(reading, analysis_id)
        return record_of(AcquisitionAnalysis, {**acquisitions[0], **more}, run=run, populations=populations)
    wells = tuple(record_of(WellRecord, row) for row in _rows(reading, well, analysis_id))
    levels = _rows(reading, calibrator, analysis_id)
    curves = tuple(
        record_of(
            CurveRecord,
            row,
            calibrators=tuple(
                record_of(CalibratorRecord, level) for level in levels if level["curve_ordinal"] == row["ordinal"]
            ),
        )
        for row in _rows(reading, curve, analysis_id)
    )
    verdicts = tuple(record_of(PlateVerdict, row) for row in _rows(reading, verdict, analysis_id))
    controls = tuple(record_of(ControlRecord, row) for row in _rows(reading, control, analysis_id))
    return record_of(PlateAnalysis, more, run=run, wells=wells, curves=curves, verdicts=verdicts, controls=controls)


def _write_acquisition(transaction: Transaction, analysis_id: str, given: AcquisitionAnalysis | JointAnalysis) -> None:
    head = {"analysis_id": analysis_id, "panel": given.panel, "events": given.events}
    transaction.connection.execute(insert(acquisition).values(head))
    rows = [
        {"analysis_id": analysis_id, "ordinal": ordinal, **row_of(record, population)}
        for ordinal, record in enumerate(given.populations)
    ]
    _insert(transaction, population, rows)


def _write_plate(transaction: Transaction, analysis_id: str, given: PlateAnalysis) -> None:
    wells = [
        {"analysis_id": analysis_id, "ordinal": ordinal, **row_of(record, well)} for ordinal, record in enumerate(given.wells)
    ]
    curves = [
        {"analysis_id": analysis_id, "ordinal": ordinal, **row_of(record, curve, without=("calibrators",))}
        for ordinal, record in enumerate(given.curves)
    ]
    levels = [
        {"analysis_id": analysis_id, "curve_ordinal": place, "ordinal": ordinal, **row_of(record, calibrator)}
        for place, fitted in enumerate(given.curves)
        for ordinal, record in enumerate(fitted.calibrators)
    ]
    _insert(transaction, well, wells)
    _insert(transaction, curve, curves)
    _insert(transaction, calibrator, levels)
    verdicts = [
        {"analysis_id": analysis_id, "ordinal": ordinal, **row_of(record, verdict)}
        for ordinal, record in enumerate(given.verdicts)
    ]
    controls = [
        {"analysis_id": analysis_id, "ordinal": ordinal, **row_of(record, control)}
        for ordinal, record in enumerate(given.controls)
    ]
    _insert(transaction, verdict, verdicts)
    _insert(transaction, control, controls)


def _write_derived(transaction: Transaction, analysis_id: str, given: DerivedAnalysis) -> None:
    parents: list[dict[str, JsonValue]] = [
        {
            "analysis_id": analysis_id,
            "ordinal": ordinal,
            "source_analysis_id": parent.analysis_id,
            "source_result_id": parent.result_id,
            "replaces": int(parent.replaces),
        }
        for ordinal, parent in enumerate(given.parents)
    ]
    remarks: list[dict[str, JsonValue]] = [
        {
            "analysis_id": analysis_id,
            "ordinal": ordinal,
            "run_id": made.run_id,
            "accession_id": made.accession_id,
            "measurand": made.measurand,
            "code": made.finding.code,
        }
        for ordinal, made in enumerate(given.remarks)
    ]
    _insert(transaction, derived_from, parents)
    _insert(transaction, remark, remarks)


def _populations(reading: Reading, analysis_id: str) -> tuple[PopulationRecord, ...]:
    return tuple(record_of(PopulationRecord, row) for row in _rows(reading, population, analysis_id))


def _read_derived(reading: Reading, analysis_id: str, run: Run, step: str, more: Mapping[str, object]) -> DerivedAnalysis:
    derived = _read_results_of_others(reading, analysis_id, run, step)
    acquisitions = _rows(reading, acquisition, analysis_id) if run.assay is Assay.CYTOMETRY else []
    if not acquisitions:
        return derived
    row = {**acquisitions[0], **more, "step": step, "parents": derived.parents, "remarks": derived.remarks}
    return record_of(JointAnalysis, row, run=run, populations=_populations(reading, analysis_id))


def _read_results_of_others(reading: Reading, analysis_id: str, run: Run, step: str) -> DerivedAnalysis:
    remarks = zip(_rows(reading, remark, analysis_id), run.findings, strict=True)
    return DerivedAnalysis(
        step=step,
        run=run,
        parents=tuple(
            Parent(
                analysis_id=str(row["source_analysis_id"]),
                result_id=str(row["source_result_id"]),
                replaces=bool(row["replaces"]),
            )
            for row in _rows(reading, derived_from, analysis_id)
        ),
        remarks=tuple(
            Remark(
                run_id=str(row["run_id"]),
                accession_id=str(row["accession_id"]),
                measurand=str(row["measurand"]),
                finding=finding,
            )
            for row, finding in remarks
        ),
    )


def _added(given: Analysis) -> tuple[str, ...]:
    more = further_fields(given)
    return tuple(more) if isinstance(more, Mapping) else ()


def _insert(transaction: Transaction, table: Table, rows: list[dict[str, JsonValue]]) -> None:
    if rows:
        transaction.connection.execute(insert(table), rows)


def _rows(reading: Reading, table: Table, analysis_id: str) -> list[dict[str, object]]:
    query = select(table).where(table.c.analysis_id == analysis_id)
    if "ordinal" in table.columns:
        query = query.order_by(table.c.ordinal)
    return [dict(row) for row in reading.connection.execute(query).mappings()]
