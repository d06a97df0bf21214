"""A vendor's results recomputed: what rounding explains, what it does not, and how a model is told."""

from __future__ import annotations

import math

import pytest

from biomarkers.elisa.comparison import PlateComparison, compare_export
from biomarkers.elisa.plate import WellPosition
from biomarkers.elisa.vendor_export import (
    Printed,
    PrintedKind,
    ResponseSet,
    Term,
    VendorCalculation,
    VendorConcentration,
    VendorCurve,
    VendorExport,
    VendorLevel,
    VendorSummary,
    WellKey,
)
from biomarkers.errors import AssayError

ZERO, SLOPE, INFLECTION, INFINITE = 0.05, 1.2, 300.0, 3.0
LEVELS = (0.0, 15.625, 31.25, 62.5, 125.0, 250.0, 500.0, 1000.0)


def key(index: int) -> WellKey:
    return WellKey(plate_id="P1", position=WellPosition(row=index // 12, column=index % 12))


def response(concentration: float) -> float:
    return INFINITE + (ZERO - INFINITE) / (1 + (concentration / INFLECTION) ** SLOPE)


def printed(value: float | str, kind: PrintedKind = "number", decimals: int = 3) -> Printed:
    if isinstance(value, str):
        bound = float(value[1:]) if value[0] in "<>" else None
        return Printed(text=value, kind=kind, value=bound, half_digit=0.0)
    text = f"{value:.{decimals}f}"
    return Printed(text=text, kind=kind, value=float(text), half_digit=0.5 * 10**-decimals)


def reading(index: int, one: Printed, *, limited: bool = False) -> VendorConcentration:
    return VendorConcentration(wells=(key(index),), printed=one, masked=one.kind == "masked", limited=limited)


def curve(
    concentrations: list[VendorConcentration],
    values: dict[int, float],
    *,
    rounding: float = 0.0,
    stated: bool = False,
    summaries: tuple[VendorSummary, ...] = (),
    parameters: dict[str, Printed] | None = None,
) -> VendorExport:
    calibrators = {index: response(level) for index, level in enumerate(LEVELS)}
    one = VendorCurve(
        vendor="Vendor",
        plate_ids=("P1",),
        responses=(
            ResponseSet(name="450 nm", value_by_well={key(i): v for i, v in (calibrators | values).items()}, rounding=rounding),
        ),
        levels=tuple(VendorLevel(nominal=level, rounding=0.0, wells=(key(i),)) for i, level in enumerate(LEVELS)),
        concentrations=tuple(concentrations),
        summaries=summaries,
        stated_model="4pl" if stated else None,
        default_model="4pl",
        default_replicates="mean",
        default_source="its manual",
        parameters=parameters or {},
        r_squared=None,
        not_recomputed=(),
    )
    return VendorExport(curves=(one,), calculations=(), not_recomputed=())


def compared(export: VendorExport) -> PlateComparison:
    (plate,) = compare_export(export)
    return plate


def test_numbers_within_their_print_agree_and_the_model_is_identified() -> None:
    unknowns = {20: 40.0, 21: 300.0, 22: 900.0}
    plate = compared(
        curve([reading(i, printed(x)) for i, x in unknowns.items()], {i: response(x) for i, x in unknowns.items()})
    )
    assert (plate.model, plate.model_source, plate.disagreements) == ("4pl", "identified", ())
    assert plate.max_abs_difference == pytest.approx(0.0, abs=1e-8)
    assert dict(plate.parameters) == pytest.approx(
        {"zero_dose": ZERO, "slope": SLOPE, "inflection": INFLECTION, "infinite_dose": INFINITE}
    )
    assert [finding.code for finding in plate.findings] == ["MODEL_IDENTIFIED"]
    assert len(plate.attempts) == 8


def test_one_number_off_by_more_than_its_print_is_the_disagreement() -> None:
    plate = compared(
        curve(
            [reading(20, printed(40.002)), reading(21, printed(300.0))], {20: response(40.0), 21: response(300.0)}, stated=True
        )
    )
    (one,) = plate.disagreements
    assert (one.wells, one.vendor, one.difference) == ("B09", "40.002", pytest.approx(-0.002, abs=1e-6))
    assert plate.model_source == "stated"
    assert [finding.code for finding in plate.findings] == ["NOT_REPRODUCED"]


def test_responses_printed_to_three_decimals_explain_what_they_can() -> None:
    unknowns = {20: 2.0, 21: 300.0}
    rounded = {i: round(response(x), 3) for i, x in unknowns.items()}
    plate = compared(curve([reading(i, printed(x)) for i, x in unknowns.items()], rounded, rounding=0.0005, stated=True))
    assert plate.disagreements == ()
    low, middle = plate.concentrations
    assert low.difference is not None
    assert abs(low.difference) > 0.0005
    assert 0.0005 / (INFINITE * SLOPE / INFLECTION / 4) < middle.rounding < 10 * low.rounding


@pytest.mark.parametrize(
    ("word", "kind", "value", "agrees"),
    [
        ("Range?", "outside", 0.01, True),
        ("Range?", "outside", response(300.0), False),
        ("<0.000", "below", 0.01, True),
        ("<0.000", "below", response(300.0), False),
        (">1000.0", "above", 3.5, True),
        (">1000.0", "above", response(1500.0), True),
        (">1000.0", "above", 0.01, False),
        ("Masked", "masked", response(20.0), True),
    ],
)
def test_words_are_compared_by_their_meaning(word: str, kind: PrintedKind, value: float, *, agrees: bool) -> None:
    plate = compared(curve([reading(20, printed(word, kind)), reading(21, printed(300.0))], {20: value, 21: response(300.0)}))
    assert [one.agrees for one in plate.words] == [agrees]
    assert len(plate.concentrations) == 1


def test_a_vendor_that_prints_nothing_beyond_its_calibrators_agrees_there() -> None:
    above = reading(20, printed("Range?", "outside"), limited=True)
    plate = compared(curve([above, reading(21, printed(300.0))], {20: response(1500.0), 21: response(300.0)}, stated=True))
    assert plate.disagreements == ()


def test_where_no_model_fits_the_vendors_default_is_assumed_and_said() -> None:
    wrong = [reading(index, printed(value)) for index, value in ((20, 10.0), (21, 20.0), (22, 500.0))]
    plate = compared(curve(wrong, {20: response(40.0), 21: response(300.0), 22: response(30.0)}))
    assert (plate.model, plate.model_source) == ("4pl", "assumed")
    (finding,) = plate.findings
    assert finding.code == "MODEL_ASSUMED"
    assert "its manual" in finding.message
    assert len(plate.disagreements) == 3


def test_the_caller_may_state_model_and_replicates() -> None:
    export = curve([reading(20, printed(300.0))], {20: response(300.0)})
    (plate,) = compare_export(export, model="linear", replicates="wells")
    assert (plate.model, plate.replicates, plate.model_source) == ("linear", "wells", "given")
    assert len(plate.attempts) == 1


def test_means_deviations_and_diluted_means_are_recomputed() -> None:
    wells = (key(20), key(21))

    def summary(kind: str, value: float, factor: float = 1.0) -> VendorSummary:
        return VendorSummary(
            column=kind,
            kind=kind,  # type: ignore[arg-type]
            of="concentration",
            wells=wells,
            factor=factor,
            printed=printed(value),
        )

    summaries = (
        summary("mean", 50.0),
        summary("sd", 14.142),
        summary("cv", 28.284),
        summary("adjusted", 500.0, factor=10.0),
        summary("mean", 51.0),
    )
    plate = compared(
        curve(
            [reading(20, printed(40.0)), reading(21, printed(60.0))],
            {20: response(40.0), 21: response(60.0)},
            summaries=summaries,
        )
    )
    assert [one.agrees for one in plate.summaries] == [True, True, True, True, False]
    assert plate.summaries[1].ours == pytest.approx(math.sqrt(200.0))


def test_printed_parameters_are_held_to_their_digits() -> None:
    export = curve(
        [reading(20, printed(300.0))],
        {20: response(300.0)},
        stated=True,
        parameters={"slope": printed(1.2, decimals=1), "inflection": printed(301.0, decimals=0)},
    )
    plate = compared(export)
    assert [(one.quantity, one.agrees) for one in plate.summaries] == [("slope", True), ("inflection", False)]


def test_too_few_levels_are_refused_with_the_reason() -> None:
    export = curve([reading(20, printed(300.0))], {20: response(300.0)}, stated=True)
    few = VendorExport(
        curves=(
            VendorCurve(
                vendor="Vendor",
                plate_ids=("P1",),
                responses=export.curves[0].responses,
                levels=export.curves[0].levels[:4],
                concentrations=export.curves[0].concentrations,
                summaries=(),
                stated_model="4pl",
                default_model="4pl",
                default_replicates="mean",
                default_source="its manual",
                parameters={},
                r_squared=None,
                not_recomputed=(),
            ),
        ),
        calculations=(),
        not_recomputed=(),
    )
    with pytest.raises(AssayError, match=r"The vendor's curve cannot be fitted again\. 4pl: 4 levels for 4 parameters"):
        compare_export(few)


def test_a_calculated_step_is_evaluated_and_its_rounding_travels_through_the_formula() -> None:
    def calculation(index: int, value: float | str, a: float) -> VendorCalculation:
        one = printed(value, decimals=4) if isinstance(value, float) else printed(value, "outside")
        terms = {"A": Term(value=a, half_digit=0.00005), "B": Term(value=0.1, half_digit=0.00005)}
        return VendorCalculation(step="Purity", well=key(index), formula="(A-0.05)/(B-0.05)", terms=terms, printed=one)

    export = VendorExport(
        curves=(),
        calculations=(calculation(0, 2.0, 0.15), calculation(1, 2.0043, 0.15), calculation(2, 2.02, 0.15)),
        not_recomputed=("AVG",),
    )
    (plate,) = compare_export(export)
    assert (plate.model, plate.parameters, len(plate.concentrations)) == (None, {}, 3)
    # 0.00005 of 0.05 in the divisor moves a 2 by 0.002, and the dividend's by 0.001: 2.0043 is beyond both.
    assert [one.wells for one in plate.disagreements] == ["A02", "A03"]
    assert [finding.code for finding in plate.findings] == ["NOT_RECOMPUTED"]
