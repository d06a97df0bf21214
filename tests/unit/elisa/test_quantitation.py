"""Concentrations, their range and what is said of replicate wells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.plate import WellFlag, WellPosition, WellRead
from biomarkers.elisa.quantitation import Quantified, Range, confidence_limits, quantify, read_concentration, standard_error
from biomarkers.results import Quantity, Severity

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
FALLING = FourPL(zero_dose=2.1, slope=1.0, inflection=120.0, infinite_dose=0.06)
LIMITS = Range(lloq=15.6, uloq=1000.0)


def curve_of(truth: FourPL, noise_crossover: float | None = None) -> CalibrationCurve:
    rng = np.random.default_rng(2)
    response = truth.response(LEVELS) * (1.0 + 0.03 * rng.standard_normal(len(LEVELS)))
    return fit_calibration(
        LEVELS,
        response,
        model="4pl",
        weights="fitted",
        replicates="wells",
        noise_crossover=noise_crossover,
        where="Plate 'P1'.",
    )


def wells(*values: float | WellFlag) -> list[WellRead]:
    return [
        WellRead(position=WellPosition(row=0, column=column), raw_text=str(value), value=None, flag=value)
        if isinstance(value, str)
        else WellRead(position=WellPosition(row=0, column=column), raw_text=str(value), value=value)
        for column, value in enumerate(values)
    ]


def quantified(truth: FourPL, *values: float | WellFlag, dilution: float = 2.0) -> Quantified:
    return quantify(
        wells(*values), curve_of(truth), limits=LIMITS, dilution_factor=dilution, unit="pg/mL", where="Plate 'P1', slot 'S01'."
    )


def codes(found: Quantified) -> list[str]:
    return [finding.code for finding in found.findings]


def response_at(truth: FourPL, concentration: float) -> float:
    return float(truth.response(np.array([concentration]))[0])


def test_the_dilution_factor_multiplies_number_and_limits() -> None:
    once = quantified(RISING, 0.6, 0.62, dilution=1.0)
    diluted = quantified(RISING, 0.6, 0.62, dilution=4.0)
    assert once.quantity is not None
    assert diluted.quantity is not None
    assert diluted.quantity.value == pytest.approx(4.0 * once.quantity.value)
    assert once.interval is not None
    assert diluted.interval is not None
    assert diluted.interval.lower == pytest.approx(4.0 * (once.interval.lower or math.nan))
    assert diluted.interval.upper == pytest.approx(4.0 * (once.interval.upper or math.nan))


def test_below_the_lower_limit_is_the_limit_times_the_dilution() -> None:
    low = response_at(RISING, 3.0)
    assert quantified(RISING, low, low).quantity == Quantity(value=31.2, unit="pg/mL", comparator="<")


def test_above_the_upper_limit_is_the_limit_times_the_dilution() -> None:
    high = response_at(RISING, 3000.0)
    assert quantified(RISING, high, high).quantity == Quantity(value=2000.0, unit="pg/mL", comparator=">")


def test_beyond_the_zero_dose_is_below_range_on_rising_and_falling_curves_alike() -> None:
    for truth, beyond in ((RISING, 0.01), (FALLING, 2.6)):
        quantity = quantified(truth, beyond, beyond).quantity
        assert quantity is not None
        assert quantity.comparator == "<"


def test_beyond_the_infinite_dose_is_above_range_on_rising_and_falling_curves_alike() -> None:
    for truth, beyond in ((RISING, 3.9), (FALLING, 0.01)):
        quantity = quantified(truth, beyond, beyond).quantity
        assert quantity is not None
        assert quantity.comparator == ">"


def test_an_overflow_means_much_analyte_in_a_sandwich_and_little_in_a_competitive_assay() -> None:
    for truth, comparator in ((RISING, ">"), (FALLING, "<")):
        found = quantified(truth, "overflow", "overflow")
        assert found.quantity is not None
        assert found.quantity.comparator == comparator
        assert found.interval is None
        assert codes(found) == ["WELL_OVERFLOW", "WELL_OVERFLOW"]


def test_an_overflow_beside_a_well_in_range_gives_no_number() -> None:
    found = quantified(RISING, "overflow", 0.6)
    assert found.quantity is None
    assert codes(found) == ["WELL_OVERFLOW", "REPLICATES_DISAGREE"]
    assert found.findings[-1].severity is Severity.REJECT


def test_a_masked_well_leaves_a_lone_replicate_and_says_both() -> None:
    masked = WellRead(position=WellPosition(row=0, column=1), raw_text="9.9", value=9.9, flag="masked", mask_reason="bubble")
    found = quantify(
        [*wells(0.6), masked], curve_of(RISING), limits=LIMITS, dilution_factor=1.0, unit="pg/mL", where="Plate 'P1'."
    )
    alone = quantify(wells(0.6), curve_of(RISING), limits=LIMITS, dilution_factor=1.0, unit="pg/mL", where="Plate 'P1'.")
    assert codes(found) == ["WELL_MASKED", "LONE_REPLICATE"]
    assert "bubble" in found.findings[0].message
    assert found.quantity == alone.quantity
    assert found.n_replicates == 1


def test_without_a_usable_well_there_is_no_number_and_the_reason_is_told() -> None:
    found = quantified(RISING, "missing", "masked")
    assert found.quantity is None
    assert codes(found) == ["WELL_MISSING", "WELL_MASKED", "NO_USABLE_WELL"]


def test_replicates_that_disagree_in_concentration_are_a_finding_with_both_coefficients() -> None:
    found = quantified(RISING, 0.4, 0.8)
    assert found.quantity is not None
    (finding,) = found.findings
    assert finding.code == "REPLICATE_CV"
    assert "20 % is allowed" in finding.message
    assert "of the response" in finding.message


def test_a_number_outside_the_calibrators_but_inside_the_limits_is_marked_as_extrapolated() -> None:
    wide = Range(lloq=1.0, uloq=5000.0)
    value = response_at(RISING, 1500.0)
    found = quantify(wells(value, value), curve_of(RISING), limits=wide, dilution_factor=1.0, unit="pg/mL", where="Plate 'P1'.")
    assert codes(found) == ["EXTRAPOLATED"]


def test_more_replicates_narrow_the_limits() -> None:
    curve = curve_of(RISING)
    widths = []
    for count in (1, 2, 3):
        limits = confidence_limits(curve, 0.6, count)
        assert limits.lower is not None
        assert limits.upper is not None
        widths.append(limits.upper - limits.lower)
    assert widths[0] > widths[1] > widths[2]


def test_limits_in_the_middle_of_the_curve_agree_with_the_delta_method() -> None:
    curve = curve_of(RISING, noise_crossover=0.05)
    limits = confidence_limits(curve, 1.0, 2)
    centre = float(curve.curve.concentration(np.array([1.0]))[0])
    assert limits.lower is not None
    assert limits.upper is not None
    # t with 12 degrees of freedom is 2.179; the curve bends little over one standard error.
    assert (limits.upper - limits.lower) / 2 == pytest.approx(2.179 * standard_error(curve, 1.0, 2), rel=0.02)
    assert limits.lower < centre < limits.upper


def test_limits_that_the_curve_does_not_close_are_open() -> None:
    curve = curve_of(RISING)
    near_the_top = curve.curve.infinite_response - 0.01
    limits = confidence_limits(curve, near_the_top, 2)
    assert limits.upper is None
    assert limits.lower is not None


def test_limits_reaching_no_analyte_end_at_zero() -> None:
    curve = curve_of(RISING)
    limits = confidence_limits(curve, curve.curve.zero_response + 1e-4, 2)
    assert limits.lower == 0.0
    assert limits.upper is not None


def test_a_reading_keeps_its_concentration_when_it_is_out_of_range() -> None:
    reading = read_concentration(curve_of(RISING), response_at(RISING, 5.0), LIMITS)
    assert reading.comparator == "<"
    assert reading.concentration is not None
    assert reading.concentration < LIMITS.lloq


@pytest.mark.parametrize("model", ["4pl", "loglog", "linear"])
@pytest.mark.parametrize("is_rising", [True, False])
def test_an_overflow_is_above_every_rising_curve_and_below_every_falling_one(model: str, is_rising: bool) -> None:  # noqa: FBT001
    concentration = np.repeat([1.0, 10.0, 100.0, 1000.0, 5000.0, 10000.0], 2)
    shape = {
        "4pl": 0.05 + 3.0 / (1.0 + (800.0 / concentration) ** 1.1),
        "loglog": 0.01 * concentration**0.5,
        "linear": 0.05 + 0.0003 * concentration,
    }[model]
    falling = {"4pl": 3.2 - shape, "loglog": 1.0 / shape, "linear": 4.0 - shape}[model]
    response = (shape if is_rising else falling) * (1.0 + 0.002 * np.tile([1.0, -1.0], 6))
    curve = fit_calibration(concentration, response, model=model, weights="none", replicates="wells", where="here")
    reading = read_concentration(curve, float("inf"), Range(lloq=1.0, uloq=10000.0))
    assert reading.concentration is None
    assert reading.comparator == (">" if is_rising else "<")
