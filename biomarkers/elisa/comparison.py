"""A vendor's own results recomputed, and every difference told with how much of it printed digits explain.

Knows how plate-reader software fits: unweighted, through wells or means. Must not know files; must not choose a model in
silence: where the export names none, every model tried and how close each came is part of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from biomarkers.elisa.arithmetic import evaluate
from biomarkers.elisa.calibration import Replicates
from biomarkers.elisa.fitting import CurveModel
from biomarkers.elisa.vendor_export import VendorCalculation, VendorCurve, VendorExport, VendorSummary
from biomarkers.elisa.vendor_fit import Attempt, Difference, Solution, agrees_to_print, largest, solve
from biomarkers.errors import AssayError
from biomarkers.results import Finding, Severity

MODELS: tuple[CurveModel, ...] = ("4pl", "5pl", "loglog", "linear")
"""Tried in this order where an export does not say; the simplest that reproduces a plate comes after the common one because a
straight line cannot pass for a logistic on eight levels, while the reverse can happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateComparison:
    """One plate of an export held against our own computation.

    Attributes
    ----------
    model
        None where the vendor calculated by formula and fitted no curve.
    model_source
        ``given`` by the caller, ``stated`` by the export, ``identified`` because it reproduces the vendor's numbers, or
        ``assumed`` as the vendor's documented default.
    concentrations
        Every concentration printed as a number.
    words
        Every concentration printed as a word or bound.
    summaries
        Means, deviations and other columns, and the curve's own parameters.
    """

    plate_id: str
    model: CurveModel | None
    replicates: Replicates | None
    response: str
    model_source: str
    parameters: Mapping[str, float]
    vendor_parameters: Mapping[str, float]
    concentrations: tuple[Difference, ...]
    words: tuple[Difference, ...]
    summaries: tuple[Difference, ...]
    attempts: tuple[Attempt, ...]
    findings: tuple[Finding, ...]

    @property
    def disagreements(self) -> tuple[Difference, ...]:
        """Differences that printed digits do not explain."""
        return tuple(one for one in (*self.concentrations, *self.words, *self.summaries) if not one.agrees)

    @property
    def max_abs_difference(self) -> float | None:
        """Largest difference of a concentration; None where none was compared."""
        return largest(one.difference for one in self.concentrations)

    @property
    def max_relative_difference(self) -> float | None:
        """Largest difference of a concentration over the vendor's number."""
        return largest(one.relative_difference for one in self.concentrations)


def compare_export(
    export: VendorExport, *, model: CurveModel | None = None, replicates: Replicates | None = None
) -> tuple[PlateComparison, ...]:
    """Recompute everything an export says it computed.

    Parameters
    ----------
    model, replicates
        How the vendor fitted, where the caller knows; they replace what the export says or does not say.

    Raises
    ------
    AssayError
        A curve cannot be fitted in any way, or a formula is not understood.
    """
    plates = [plate for curve in export.curves for plate in _compare_curve(curve, model, replicates)]
    by_plate = groupby(sorted(export.calculations, key=lambda one: one.well.plate_id), key=lambda one: one.well.plate_id)
    plates.extend(_compare_calculations(plate_id, tuple(of_plate)) for plate_id, of_plate in by_plate)
    left = _left_out(export.not_recomputed, "The export.")
    return tuple(replace(plate, findings=(*plate.findings, *left)) for plate in plates)


def _compare_curve(curve: VendorCurve, model: CurveModel | None, replicates: Replicates | None) -> tuple[PlateComparison, ...]:
    where = f"Curve of {', '.join(repr(plate_id) for plate_id in curve.plate_ids)}."
    stated = model or curve.stated_model
    models = (stated,) if stated else (curve.default_model, *(one for one in MODELS if one != curve.default_model))
    ways: tuple[Replicates, ...] = (curve.default_replicates, "wells" if curve.default_replicates == "mean" else "mean")
    solutions = [
        solve(curve, response, one, way)
        for one in models
        for way in ((replicates,) if replicates else ways)
        for response in curve.responses
    ]
    chosen = next((one for one in solutions if one.reproduces), None)
    if chosen is None:
        chosen = _closest([one for one in solutions if one.attempt.model == models[0] and one.fitted is not None], curve)
    if chosen is None or chosen.fitted is None:
        told = "; ".join(f"{one.attempt.model}: {one.attempt.failure}" for one in solutions if one.attempt.failure)
        raise AssayError(
            what=f"The vendor's curve cannot be fitted again. {told}", where=where, remedy="Compare this plate by hand."
        )
    source = "given" if model else "stated" if stated else "identified" if chosen.reproduces else "assumed"
    findings = [*_findings(curve, chosen, solutions, source, where), *_left_out(curve.not_recomputed, where)]
    summaries = [_summary(one, curve, chosen) for one in curve.summaries]
    return tuple(
        PlateComparison(
            plate_id=plate_id,
            model=chosen.attempt.model,
            replicates=chosen.attempt.replicates,
            response=chosen.attempt.response,
            model_source=source,
            parameters=dict(chosen.fitted.curve.parameters),
            vendor_parameters={one.quantity: one.vendor_value for one in chosen.parameters if one.vendor_value is not None},
            concentrations=tuple(one for one in chosen.concentrations if one.plate_id == plate_id),
            words=tuple(one for one in chosen.words if one.plate_id == plate_id),
            summaries=(
                *(replace(one, plate_id=plate_id) for one in chosen.parameters),
                *(one for one in summaries if one.plate_id == plate_id),
            ),
            attempts=tuple(one.attempt for one in solutions),
            findings=tuple(findings),
        )
        for plate_id in curve.plate_ids
    )


def _closest(solutions: Sequence[Solution], curve: VendorCurve) -> Solution | None:
    """Take, of the fits of one model, the one with most numbers explained; the vendor's default way before any other."""
    return max(
        solutions,
        key=lambda one: (one.attempt.agreeing, one.attempt.replicates == curve.default_replicates),
        default=None,
    )


def _summary(one: VendorSummary, curve: VendorCurve, chosen: Solution) -> Difference:
    if one.of == "response":
        response = next(found for found in curve.responses if found.name == chosen.attempt.response)
        values = [response.value_by_well[well] for well in one.wells if well in response.value_by_well]
        rounding = response.rounding
    else:
        # Read off well by well, or off the wells' mean at once.
        single = [chosen.by_wells[(well,)] for well in one.wells if (well,) in chosen.by_wells]
        rows = single or [chosen.by_wells[one.wells]] if single or one.wells in chosen.by_wells else []
        values = [row.ours for row in rows if row.ours is not None]
        rounding = max((row.rounding for row in rows), default=0.0)
    ours, slack = _summarised(one, values, rounding)
    printed = one.printed
    agrees = ours is None if printed.value is None else ours is not None and agrees_to_print(ours, printed, slack)
    return Difference(
        plate_id=one.wells[0].plate_id if one.wells else curve.plate_ids[0],
        quantity=one.column,
        wells=" ".join(map(str, one.wells)),
        vendor=printed.text,
        vendor_value=printed.value,
        ours=ours,
        rounding=printed.half_digit + slack,
        agrees=agrees,
    )


def _summarised(one: VendorSummary, values: Sequence[float], rounding: float) -> tuple[float | None, float]:
    """Return a summary of the wells' numbers, and how far it may be off when each of them may be."""
    if not values:
        return None, 0.0
    mean = float(np.mean(values))
    # The vendor prints 0, not nothing, for the deviation of a single well.
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    match one.kind:
        case "mean" | "adjusted":
            return one.factor * mean, abs(one.factor) * rounding
        case "sd":
            return deviation, 2.0 * rounding
        case "cv":
            if mean == 0.0:
                return None, 0.0
            # SoftMax Pro takes the size of the mean: a coefficient of variation has no sign.
            return 100.0 * deviation / abs(mean), 100.0 * (2.0 * rounding / abs(mean) + deviation * rounding / mean**2)


def _findings(
    curve: VendorCurve, chosen: Solution, solutions: Sequence[Solution], source: str, where: str
) -> Iterable[Finding]:
    told = f"the model '{chosen.attempt.model}' through the {_of_levels(chosen.attempt.replicates)}, without weights"
    tried = "; ".join(_tried(one.attempt) for one in solutions)
    if source == "identified":
        yield Finding(
            code="MODEL_IDENTIFIED",
            severity=Severity.NOTE,
            where=where,
            message=(
                f"The export does not say which model {curve.vendor} used; {told}, gives every number printed. Tried: {tried}."
            ),
            remedy="Confirm it in the vendor's software, or state it with --model and --replicates.",
        )
    elif source == "assumed":
        yield Finding(
            code="MODEL_ASSUMED",
            severity=Severity.WARNING,
            where=where,
            message=(
                f"The export does not say which model {curve.vendor} used, and none gives every number printed; "
                f"{told}, was assumed: {curve.default_source}. Tried: {tried}."
            ),
            remedy="Look the model up in the vendor's software and state it with --model and --replicates.",
        )
    elif not chosen.reproduces:
        yield Finding(
            code="NOT_REPRODUCED",
            severity=Severity.WARNING,
            where=where,
            message=f"With {told}, {chosen.attempt.agreeing} of {chosen.attempt.compared} numbers agree. Tried: {tried}.",
            remedy="Look at the disagreements; the vendor may have used weights, or masked wells the export does not show.",
        )
    if len(curve.responses) > 1:
        others = ", ".join(f"'{one.name}'" for one in curve.responses if one.name != chosen.attempt.response)
        yield Finding(
            code="RESPONSE_IDENTIFIED",
            severity=Severity.NOTE,
            where=where,
            message=(
                f"The export does not say what the curve was fitted to; '{chosen.attempt.response}' comes closest, "
                f"closer than {others}."
            ),
            remedy="Confirm it in the vendor's software.",
        )


def _of_levels(replicates: Replicates) -> str:
    return "mean of each level" if replicates == "mean" else "single wells"


def _tried(attempt: Attempt) -> str:
    name = f"{attempt.model} ({_of_levels(attempt.replicates)}, {attempt.response})"
    if attempt.failure:
        return f"{name}: {attempt.failure}"
    farthest = "no number" if attempt.max_abs_difference is None else f"{attempt.max_abs_difference:.3g}"
    return f"{name}: {attempt.agreeing} of {attempt.compared} agree, at most {farthest} off"


def _left_out(columns: Sequence[str], where: str) -> tuple[Finding, ...]:
    if not columns:
        return ()
    return (
        Finding(
            code="NOT_RECOMPUTED",
            severity=Severity.NOTE,
            where=where,
            message=f"Not compared, because how they were computed is not understood: {', '.join(columns)}.",
            remedy="Compare them by hand.",
        ),
    )


def _compare_calculations(plate_id: str, calculations: Sequence[VendorCalculation]) -> PlateComparison:
    rows = tuple(_calculated(one) for one in calculations)
    return PlateComparison(
        plate_id=plate_id,
        model=None,
        replicates=None,
        response="; ".join(dict.fromkeys(f"{one.step}: {one.formula}" for one in calculations)),
        model_source="stated",
        parameters={},
        vendor_parameters={},
        concentrations=tuple(row for row in rows if row.vendor_value is not None),
        words=tuple(row for row in rows if row.vendor_value is None),
        summaries=(),
        attempts=(),
        findings=(),
    )


def _calculated(one: VendorCalculation) -> Difference:
    values = {name: term.value for name, term in one.terms.items()}
    found = evaluate(one.formula, values)
    rounding = 0.0
    for name, term in one.terms.items():
        moved = [evaluate(one.formula, {**values, name: term.value + step}) for step in (-term.half_digit, term.half_digit)]
        rounding += max((abs(end - found) for end in moved if math.isfinite(end)), default=0.0)
    ours = found if math.isfinite(found) else None
    printed = one.printed
    return Difference(
        plate_id=one.well.plate_id,
        quantity=one.step,
        wells=str(one.well),
        vendor=printed.text,
        vendor_value=printed.value,
        ours=ours,
        rounding=printed.half_digit + rounding,
        agrees=ours is None if printed.value is None else ours is not None and agrees_to_print(ours, printed, rounding),
    )
