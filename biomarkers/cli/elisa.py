"""Commands about one plate-reader file or one curve, without a lab.

Knows arguments and how answers are shown. Must not compute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biomarkers.cli.assay_performance import performance
from biomarkers.cli.output import print_json, print_table

if TYPE_CHECKING:
    from biomarkers.elisa.calibration import CalibrationCurve
    from biomarkers.elisa.comparison import PlateComparison
    from biomarkers.elisa.plate import PlateRead
    from biomarkers.elisa.vendor_fit import Attempt, Difference
    from biomarkers.provenance import JsonValue
    from biomarkers.readers.curve_points import CurvePoint
    from biomarkers.results import Finding

app = typer.Typer(no_args_is_help=True, help="Plate-reader exports and calibration curves.")
app.command("performance")(performance)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class Model(StrEnum):
    """Shapes of a calibration curve."""

    FOUR_PL = "4pl"
    FIVE_PL = "5pl"
    LINEAR = "linear"
    LOG_LOG = "loglog"


class Weighting(StrEnum):
    """What multiplies the squared residuals."""

    NONE = "none"
    PER_RESPONSE = "1/y"
    PER_SQUARE = "1/y2"
    FITTED = "fitted"


class Replicates(StrEnum):
    """What is a point of the fit."""

    WELLS = "wells"
    MEAN = "mean"


@app.command("read")
def read(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Export of a plate reader.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print the wells of a plate-reader export."""
    from biomarkers.readers.plate_reads import read_plates

    plates = read_plates(file)
    if as_json:
        print_json({"plates": [_plate_document(plate) for plate in plates]})
        return
    for plate in plates:
        _show_plate(plate)


@app.command("fit")
def fit(
    points: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV: concentration, response, name.")],
    *,
    model: Annotated[Model, typer.Option(help="Shape of the curve.")] = Model.FOUR_PL,
    weights: Annotated[Weighting, typer.Option(help="What multiplies the squared residuals.")] = Weighting.FITTED,
    replicates: Annotated[Replicates, typer.Option(help="Fit single wells, or the mean of each level.")] = Replicates.WELLS,
    robust: Annotated[bool, typer.Option("--robust", help="Do not let single outlying calibrators pull the curve.")] = False,
    variance_power: Annotated[
        float, typer.Option(min=0.0, max=4.0, help="Power of the response with which the variance grows, for 'fitted'.")
    ] = 2.0,
    noise_crossover: Annotated[
        float | None,
        typer.Option(help="Response at which constant and growing noise are equal; left out, the points decide.", min=1e-12),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit one calibration curve and read the unknowns off it; a row without concentration is an unknown."""
    import numpy as np

    from biomarkers.elisa.calibration import fit_calibration
    from biomarkers.readers.curve_points import read_points

    read_in = read_points(points)
    calibrators = [
        (one.concentration, one.response)
        for one in read_in
        if one.concentration is not None and one.response is not None and not one.flag
    ]
    curve = fit_calibration(
        np.array([nominal for nominal, _ in calibrators], dtype=np.float64),
        np.array([response for _, response in calibrators], dtype=np.float64),
        model=model.value,
        weights=weights.value,
        replicates=replicates.value,
        variance_power=variance_power,
        robust=robust,
        noise_crossover=noise_crossover,
        replicate_responses=[
            [one.response for one in of_name if one.response is not None and not one.flag]
            for of_name in _unknown_points(read_in)
        ],
        where=f"File '{points.name}'.",
    )
    unknowns = [_unknown(curve, replicates_of) for replicates_of in _unknown_points(read_in)]
    findings = [*curve.findings, *_left_out(read_in, points.name)]
    if as_json:
        print_json(_fit_document(curve, unknowns, findings))
    else:
        _show_fit(curve, unknowns, findings)


@app.command("compare")
def compare(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Export that carries the vendor's own results.")],
    *,
    model: Annotated[Model | None, typer.Option(help="What the vendor fitted, where the export does not say.")] = None,
    replicates: Annotated[Replicates | None, typer.Option(help="Whether the vendor fitted wells or means.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute an export's own results and report every difference."""
    from biomarkers.elisa.comparison import compare_export
    from biomarkers.readers.vendor_results import read_vendor_results

    plates = compare_export(
        read_vendor_results(file),
        model=None if model is None else model.value,
        replicates=None if replicates is None else replicates.value,
    )
    if as_json:
        print_json({"plates": [_comparison_document(plate) for plate in plates]})
        return
    for plate in plates:
        _show_comparison(plate)


def _comparison_document(plate: PlateComparison) -> JsonValue:
    from biomarkers.elisa.vendor_fit import largest

    return {
        "plate": plate.plate_id,
        "model": plate.model,
        "model_source": plate.model_source,
        "weights": None if plate.model is None else "none",
        "replicates": plate.replicates,
        "response": plate.response,
        "parameters": dict(plate.parameters),
        "vendor_parameters": dict(plate.vendor_parameters),
        "compared": len(plate.concentrations),
        "max_abs_difference": plate.max_abs_difference,
        "max_relative_difference": plate.max_relative_difference,
        "words_compared": len(plate.words),
        "summaries_compared": len(plate.summaries),
        "summaries_max_abs_difference": largest(one.difference for one in plate.summaries),
        "differences": [_difference_document(one) for one in plate.concentrations],
        "disagreements": [_difference_document(one) for one in plate.disagreements],
        "attempts": [_attempt_document(one) for one in plate.attempts],
        "findings": [_finding_document(one) for one in plate.findings],
    }


def _difference_document(one: Difference) -> JsonValue:
    return {
        "quantity": one.quantity,
        "wells": one.wells.split(),
        "vendor": one.vendor,
        "ours": one.ours,
        "difference": one.difference,
        "relative_difference": one.relative_difference,
        "explained_by_rounding": one.rounding if math.isfinite(one.rounding) else None,
    }


def _attempt_document(one: Attempt) -> JsonValue:
    return {
        "model": one.model,
        "replicates": one.replicates,
        "response": one.response,
        "compared": one.compared,
        "agreeing": one.agreeing,
        "max_abs_difference": one.max_abs_difference,
        "failure": one.failure,
    }


def _finding_document(finding: Finding) -> JsonValue:
    return {
        "code": finding.code,
        "severity": str(finding.severity),
        "where": finding.where,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _show_comparison(plate: PlateComparison) -> None:
    made = "calculated by formula" if plate.model is None else f"{plate.model} ({plate.model_source}), {plate.replicates}"
    print_table(
        ["compared", "largest difference", "relative", "words", "summaries", "disagreements"],
        [
            [
                len(plate.concentrations),
                plate.max_abs_difference,
                plate.max_relative_difference,
                len(plate.words),
                len(plate.summaries),
                len(plate.disagreements),
            ]
        ],
        title=f"{plate.plate_id}: {made}, from {plate.response}",
    )
    if plate.parameters:
        print_table(
            ["parameter", "ours", "vendor's"],
            [[name, value, plate.vendor_parameters.get(name)] for name, value in plate.parameters.items()],
            title="",
        )
    if plate.disagreements:
        print_table(
            ["quantity", "wells", "vendor's", "ours", "difference"],
            [[one.quantity, one.wells, one.vendor, one.ours, one.difference] for one in plate.disagreements],
            title="\nNot explained by the digits printed",
        )
    for finding in plate.findings:
        typer.echo(f"{finding.code}: {finding.message} {finding.where} {finding.remedy}", err=True)


def _plate_document(plate: PlateRead) -> JsonValue:
    return {
        "plate": plate.plate_id,
        "wavelength_nm": plate.wavelength_nm,
        "reference_nm": plate.reference_nm,
        "rows": plate.rows,
        "columns": plate.columns,
        "wells": {str(well.position): well.value for well in plate.wells},
        "flags": {str(well.position): well.flag for well in plate.wells if well.flag},
    }


def _show_plate(plate: PlateRead) -> None:
    wavelength = "wavelength not stated" if plate.wavelength_nm is None else f"{plate.wavelength_nm:g} nm"
    wells = plate.by_position()
    by_row = [[well for position, well in wells.items() if position.row == row] for row in range(plate.rows)]
    shown = [
        [str(row[0].position)[:-2], *(well.flag or ("" if well.value is None else f"{well.value:.4g}") for well in row)]
        for row in by_row
        if row
    ]
    width = max((len(row) for row in shown), default=1)
    columns = ["", *(str(column) for column in range(1, width))]
    print_table(columns, [row + [""] * (width - len(row)) for row in shown], title=f"{plate.plate_id}, {wavelength}")


def _unknown_points(points: Sequence[CurvePoint]) -> list[list[CurvePoint]]:
    """Unknowns in the order of the file; those of one name together, as replicates."""
    grouped: dict[str, list[CurvePoint]] = {}
    for point in points:
        if point.concentration is None:
            grouped.setdefault(point.name or f"row {point.row}", []).append(point)
    return list(grouped.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unknown:
    name: str
    response: float | None
    concentration: float | None
    comparator: str
    lower: float | None
    upper: float | None
    replicates: int


def _unknown(curve: CalibrationCurve, points: Sequence[CurvePoint]) -> _Unknown:
    """Read one unknown off the curve, in whatever range: without a declared analyte there are no limits to hold it against."""
    from biomarkers.elisa.quantitation import Range, estimate

    responses = [math.inf if one.flag == "overflow" else one.response for one in points if one.flag in ("", "overflow")]
    known = [response for response in responses if response is not None]
    name = points[0].name
    if not known:
        return _Unknown(name=name, response=None, concentration=None, comparator="", lower=None, upper=None, replicates=0)
    found = estimate(curve, known, Range(lloq=0.0, uloq=math.inf))
    mean = sum(known) / len(known)
    return _Unknown(
        name=name,
        response=mean if math.isfinite(mean) else None,
        concentration=found.concentration,
        comparator=found.comparator,
        lower=None if found.interval is None else found.interval.lower,
        upper=None if found.interval is None else found.interval.upper,
        replicates=len(known),
    )


def _left_out(points: Sequence[CurvePoint], file_name: str) -> list[Finding]:
    from biomarkers.results import Finding, Severity

    return [
        Finding(
            code=f"WELL_{point.flag.upper()}",
            severity=Severity.WARNING,
            where=f"File '{file_name}', row {point.row}.",
            message=f"The response is {point.flag}; the row is not used as a number.",
            remedy="Check the well.",
        )
        for point in points
        if point.flag
    ]


def _fit_document(curve: CalibrationCurve, unknowns: Sequence[_Unknown], findings: Sequence[Finding]) -> JsonValue:
    names = curve.curve.names
    return {
        "model": curve.model,
        "weights": curve.weights,
        "replicates": curve.replicates,
        "parameters": dict(curve.curve.parameters),
        "standard_errors": dict(zip(names, map(float, curve.standard_errors()), strict=True)),
        "covariance": {
            one: {other: float(curve.covariance[i, j]) for j, other in enumerate(names)} for i, one in enumerate(names)
        },
        "rss": curve.rss,
        "residual_sd": curve.residual_sd,
        "degrees_of_freedom": curve.degrees_of_freedom,
        "calibrators": [
            {
                "nominal": level.nominal,
                "back_calculated": level.back_calculated,
                "recovery_percent": level.recovery_percent,
            }
            for level in curve.levels
        ],
        "unknowns": [asdict(unknown) for unknown in unknowns],
        "findings": [_finding_document(finding) for finding in findings],
    }


def _show_fit(curve: CalibrationCurve, unknowns: Sequence[_Unknown], findings: Sequence[Finding]) -> None:
    errors = dict(zip(curve.curve.names, map(float, curve.standard_errors()), strict=True))
    print_table(
        ["parameter", "estimate", "standard error"],
        [[name, value, errors[name]] for name, value in curve.curve.parameters.items()],
        title=f"{curve.model}, weights {curve.weights}, {curve.replicates}",
    )
    print_table(
        ["nominal", "back-calculated", "recovery %"],
        [[level.nominal, level.back_calculated, level.recovery_percent] for level in curve.levels],
        title="\nCalibrators",
    )
    if unknowns:
        print_table(
            ["name", "response", "", "concentration", "lower", "upper"],
            [[one.name, one.response, one.comparator, one.concentration, one.lower, one.upper] for one in unknowns],
            title="\nUnknowns",
        )
    for finding in findings:
        typer.echo(f"{finding.code}: {finding.message} {finding.where} {finding.remedy}", err=True)
