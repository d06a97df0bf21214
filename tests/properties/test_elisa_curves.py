"""What holds for every curve and every plate, whatever its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.fitting import CurveModel, Weights
from biomarkers.elisa.logistic import FivePL, FloatArray, FourPL, LogLogLine, StraightLine
from biomarkers.elisa.quantitation import Range, estimate

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
ANY_RANGE = Range(lloq=0.0, uloq=1e300)

doses = st.floats(0.02, 4.0)
slopes = st.floats(0.4, 4.0)
inflections = st.floats(1.0, 1e5)
ratios = st.floats(1e-2, 1e2)
seeds = st.integers(0, 10_000)


@given(zero=doses, infinite=doses, slope=slopes, inflection=inflections, ratio=ratios)
def test_the_inverse_of_the_four_parameter_response_is_the_concentration(
    zero: float, infinite: float, slope: float, inflection: float, ratio: float
) -> None:
    curve = FourPL(zero_dose=zero, slope=slope, inflection=inflection, infinite_dose=infinite)
    x = np.array([inflection * ratio ** (1.0 / slope)])
    if abs(zero - infinite) > 0.05:
        # Between 1 and 99 % of the span the response keeps at least eleven of the concentration's digits.
        assert curve.concentration(curve.response(x)) == pytest.approx(x, rel=1e-9)


@given(zero=doses, infinite=doses, slope=slopes, inflection=inflections, ratio=ratios, asymmetry=st.floats(0.3, 3.0))
def test_the_inverse_of_the_five_parameter_response_is_the_concentration(
    *, zero: float, infinite: float, slope: float, inflection: float, ratio: float, asymmetry: float
) -> None:
    curve = FivePL(zero_dose=zero, slope=slope, inflection=inflection, infinite_dose=infinite, asymmetry=asymmetry)
    x = np.array([inflection * ratio ** (1.0 / slope)])
    left = float(curve.response(x)[0]) - infinite
    if abs(zero - infinite) > 0.05 and abs(left) > 1e-6:
        assert curve.concentration(curve.response(x)) == pytest.approx(x, rel=1e-6)


@given(slope=st.floats(0.01, 10.0) | st.floats(-10.0, -0.01), intercept=st.floats(-2.0, 2.0), x=st.floats(1e-2, 1e4))
def test_the_inverse_of_both_lines_is_the_concentration(slope: float, intercept: float, x: float) -> None:
    for curve in (StraightLine(slope=slope, intercept=intercept), LogLogLine(slope=slope, intercept=intercept)):
        at = np.array([x])
        response = curve.response(at)
        if np.all(np.isfinite(response)) and np.all(np.abs(response) > 1e-250):
            assert curve.concentration(response) == pytest.approx(at, rel=1e-7, abs=1e-9)


@given(zero=doses, infinite=doses, slope=slopes, inflection=inflections, ratio=ratios, asymmetry=st.floats(0.3, 3.0))
def test_derivatives_equal_differences(
    *, zero: float, infinite: float, slope: float, inflection: float, ratio: float, asymmetry: float
) -> None:
    x = np.array([0.0, inflection * ratio ** (1.0 / slope)])
    values = {"zero_dose": zero, "slope": slope, "inflection": inflection, "infinite_dose": infinite}
    for kind, parameters in ((FourPL, values), (FivePL, values | {"asymmetry": asymmetry})):
        curve = kind(**parameters)
        for column, name in enumerate(kind.names):
            step = 1e-6 * parameters[name]
            up = kind(**(parameters | {name: parameters[name] + step})).response(x)
            down = kind(**(parameters | {name: parameters[name] - step})).response(x)
            # Central differences of step h are right to h squared, and to rounding over h.
            assert curve.jacobian(x)[:, column] == pytest.approx(
                (up - down) / (2 * step), rel=1e-5, abs=1e-7 / parameters[name]
            )


def noisy(seed: int, *, rising: bool) -> FloatArray:
    rng = np.random.default_rng(seed)
    ends = (0.06, 3.0) if rising else (2.2, 0.08)
    curve = FourPL(
        zero_dose=ends[0],
        slope=float(rng.uniform(0.8, 1.4)),
        inflection=float(rng.uniform(100.0, 500.0)),  # farther up, noise may leave no upper end to be seen
        infinite_dose=ends[1],
    )
    return np.asarray(curve.response(LEVELS) * (1.0 + 0.03 * rng.standard_normal(len(LEVELS))))


def fitted(x: FloatArray, y: FloatArray, model: CurveModel, weights: Weights) -> CalibrationCurve:
    return fit_calibration(x, y, model=model, weights=weights, replicates="wells", where="Plate.")


@settings(deadline=None, max_examples=15)
@given(
    seed=seeds, factor=st.floats(1e-3, 1e3), rising=st.booleans(), weights=st.sampled_from(["none", "1/y", "1/y2", "fitted"])
)
def test_scaling_responses_changes_no_concentration(seed: int, factor: float, rising: bool, weights: Weights) -> None:  # noqa: FBT001  - drawn by name
    y = noisy(seed, rising=rising)
    one = estimate(fitted(LEVELS, y, "4pl", weights), [1.3, 1.4], ANY_RANGE)
    other = estimate(fitted(LEVELS, y * factor, "4pl", weights), [1.3 * factor, 1.4 * factor], ANY_RANGE)
    assert other.concentration == pytest.approx(one.concentration, rel=1e-6)
    assert one.interval is not None
    assert other.interval is not None
    assert [other.interval.lower, other.interval.upper] == pytest.approx([one.interval.lower, one.interval.upper], rel=1e-5)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, factor=st.floats(1e-3, 1e3), rising=st.booleans(), weights=st.sampled_from(["none", "fitted"]))
def test_scaling_concentrations_scales_the_answers(seed: int, factor: float, rising: bool, weights: Weights) -> None:  # noqa: FBT001  - drawn by name
    y = noisy(seed, rising=rising)
    one = estimate(fitted(LEVELS, y, "4pl", weights), [1.3, 1.4], ANY_RANGE)
    other = estimate(fitted(LEVELS * factor, y, "4pl", weights), [1.3, 1.4], ANY_RANGE)
    assert one.concentration is not None
    assert other.concentration == pytest.approx(one.concentration * factor, rel=1e-6)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, order=st.permutations(range(len(LEVELS))), model=st.sampled_from(["4pl", "linear"]))
def test_the_order_of_wells_changes_not_one_digit(seed: int, order: list[int], model: CurveModel) -> None:
    y = noisy(seed, rising=True)
    one = fitted(LEVELS, y, model, "fitted")
    other = fitted(LEVELS[order], y[order], model, "fitted")
    assert dict(one.curve.parameters) == dict(other.curve.parameters)
    assert np.array_equal(one.covariance, other.covariance)
