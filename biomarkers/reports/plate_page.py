"""The quality page of one plate.

Knows what a reviewer asks of a plate, and in which order. Must not know how anything on it was computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from biomarkers.elisa.control_charts import ControlSeries
from biomarkers.elisa.plate import WellRole
from biomarkers.elisa.quantitation import cv_percent
from biomarkers.elisa.records import (
    CalibratorRecord,
    ControlRecord,
    CurveRecord,
    PlateAnalysis,
    PlateVerdict,
    WellRecord,
)
from biomarkers.reports import plate_figures, plate_wells
from biomarkers.reports.control_chart import control_chart
from biomarkers.reports.figures import Axis, log_axis, short
from biomarkers.reports.page import Fact, all_findings, render
from biomarkers.results import Result
from biomarkers.study.soluble import AcceptanceRules

_VERDICT_WORDS: Mapping[str, str] = {
    "accepted": "Accepted",
    "accepted_with_findings": "Accepted with findings",
    "rejected": "Rejected",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """A verdict in the words of the page."""

    verdict: PlateVerdict
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A result with what its wells say.

    Attributes
    ----------
    cv_percent
        Of the concentrations of its usable wells; None for a single well, or one that the curve never gives.
    wells
        Where they are on the plate.
    """

    result: Result
    cv_percent: float | None
    wells: str
    dilution: str
    place: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRow:
    """A control and its place between its limits."""

    control: ControlRecord
    place: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartRow:
    """A control level over its runs."""

    series: ControlSeries
    picture: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratorRow:
    """A calibrator level and how far it may be off; None where it is not judged."""

    level: CalibratorRecord
    allowed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePart:
    """One curve in pictures and numbers."""

    record: CurveRecord
    calibration: Markup
    residuals: Markup
    recoveries: Markup
    calibrators: tuple[CalibratorRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalytePart:
    """What a page says of one analyte; ``curve`` is None where none could be fitted."""

    name: str
    verdict: VerdictRow | None
    curve: CurvePart | None
    results: tuple[ResultRow, ...]
    controls: tuple[ControlRow, ...]
    charts: tuple[ChartRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    """A mark on the plate and its meaning."""

    mark: Markup
    words: str


def plate_page(analysis: PlateAnalysis, *, title: str, charts: Sequence[ControlSeries] = ()) -> str:
    """Write the quality page of a plate: one HTML document that needs nothing besides itself.

    Parameters
    ----------
    title
        Heading of the page, such as the plate's name.
    charts
        Controls over the runs of their lots, this one among them; without any the page shows no control charts.
    """
    run = analysis.run
    return render(
        "plate.html",
        title=title,
        provenance=run.provenance,
        findings=all_findings(run.findings, results=run.results),
        facts=(
            Fact(name="plate", value=run.name),
            Fact(name="read", value=run.acquired_at),
            Fact(name="analytes", value=", ".join(_analytes(analysis))),
            Fact(name="specimens", value=str(len({result.accession_id for result in run.results}))),
            Fact(name="run", value=run.run_id),
        ),
        plate=plate_wells.plate_map(analysis.wells),
        legend=_legend(analysis.wells),
        flagged=[well for well in analysis.wells if well.flag and well.role != WellRole.EMPTY],
        parts=[_part(analysis, name, charts) for name in _analytes(analysis)],
    )


def _analytes(analysis: PlateAnalysis) -> tuple[str, ...]:
    names = [verdict.analyte for verdict in analysis.verdicts]
    names += [curve.analyte for curve in analysis.curves]
    names += [result.measurand for result in analysis.run.results]
    return tuple(dict.fromkeys(names))


def _part(analysis: PlateAnalysis, name: str, charts: Sequence[ControlSeries]) -> AnalytePart:
    wells = [well for well in analysis.wells if well.analyte == name]
    verdict = next((verdict for verdict in analysis.verdicts if verdict.analyte == name), None)
    record = next((curve for curve in analysis.curves if curve.analyte == name), None)
    results = [result for result in analysis.run.results if result.measurand == name]
    axis = _result_axis(results)
    return AnalytePart(
        name=name,
        verdict=None if verdict is None else VerdictRow(verdict=verdict, words=_VERDICT_WORDS[verdict.verdict]),
        curve=None if record is None else _curve_part(record, wells, acceptance_rules(analysis, name)),
        results=tuple(_result_row(result, wells, axis) for result in results),
        controls=tuple(
            ControlRow(control=control, place=plate_figures.control_place(control))
            for control in analysis.controls
            if control.analyte == name
        ),
        charts=tuple(
            ChartRow(series=series, picture=control_chart(series, analysis.run.run_id))
            for series in charts
            if series.analyte == name
        ),
    )


def acceptance_rules(analysis: PlateAnalysis, analyte: str) -> AcceptanceRules:
    """Return the rules an analyte was judged by, as its provenance keeps them; the usual ones where it keeps none."""
    parameters = json.loads(analysis.run.provenance.parameters)
    declared = parameters.get("analytes", {}).get(analyte, {}).get("acceptance", {})
    return AcceptanceRules.model_validate({name: declared[name] for name in AcceptanceRules.model_fields if name in declared})


def _curve_part(record: CurveRecord, wells: Sequence[WellRecord], rules: AcceptanceRules) -> CurvePart:
    picture = plate_figures.CurvePicture(record=record, wells=wells)
    judged = [
        level.nominal
        for level in record.calibrators
        if level.nominal > 0 and record.lloq * (1 - 1e-6) <= level.nominal <= record.uloq * (1 + 1e-6)
    ]
    return CurvePart(
        record=record,
        calibration=picture.calibration(),
        residuals=picture.residuals(),
        recoveries=plate_figures.recoveries(record, rules),
        calibrators=tuple(
            CalibratorRow(level=level, allowed=plate_figures.allowed_deviation(level.nominal, judged, rules))
            for level in record.calibrators
        ),
    )


def _result_axis(results: Sequence[Result]) -> Axis:
    values = [result.quantity.value for result in results if result.quantity is not None]
    limits = [limit for result in results if (interval := result.interval) for limit in (interval.lower, interval.upper)]
    seen = [value for value in (*values, *limits) if value is not None and value > 0]
    return log_axis(0.6 * min(seen, default=1.0), 1.6 * max(seen, default=10.0), "")


def _result_row(result: Result, wells: Sequence[WellRecord], axis: Axis) -> ResultRow:
    own = [well for well in wells if well.accession_id == result.accession_id and well.role == WellRole.SAMPLE]
    dilutions = sorted({well.dilution_factor for well in own})
    return ResultRow(
        result=result,
        cv_percent=replicate_cv(own),
        wells=", ".join(well.position for well in own),
        dilution=", ".join(short(dilution) for dilution in dilutions),
        place=plate_figures.result_place(result, axis),
    )


def replicate_cv(wells: Sequence[WellRecord]) -> float | None:
    """Coefficient of variation, percent, of replicate concentrations; None where wells differ in dilution or one has none."""
    usable = [well for well in wells if not well.flag]
    found = [well.concentration for well in usable if well.concentration is not None]
    if len(found) < len(usable) or len({well.dilution_factor for well in usable}) != 1:
        return None
    return cv_percent(found)


def _legend(wells: Sequence[WellRecord]) -> tuple[LegendEntry, ...]:
    roles = {well.role for well in wells}
    flags = {well.flag for well in wells}
    names = [str(role) for role in plate_wells.LEGEND_ROLES if role in roles]
    names += [flag for flag in plate_wells.LEGEND_FLAGS if flag in flags]
    words = {"SAMPLE": "specimen", "EMPTY": "empty"}
    return tuple(LegendEntry(mark=plate_wells.legend_mark(name), words=words.get(name, name.lower())) for name in names)
