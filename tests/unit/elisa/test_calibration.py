"""What is fitted, and what is refused as no curve."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.fitting import CurveModel, Weights
from biomarkers.elisa.logistic import FloatArray, FourPL
from biomarkers.errors import CurveFitError

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
FALLING = FourPL(zero_dose=2.1, slope=1.0, inflection=120.0, infinite_dose=0.06)


def noisy(curve: FourPL, cv: float = 0.03, seed: int = 1) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(curve.response(LEVELS) * (1.0 + cv * rng.standard_normal(len(LEVELS))))


def fitted(
    response: FloatArray, model: CurveModel = "4pl", weights: Weights = "fitted", concentration: FloatArray = LEVELS
) -> CalibrationCurve:
    return fit_calibration(concentration, response, model=model, weights=weights, replicates="wells", where="Plate 'P1'.")


@pytest.mark.parametrize("truth", [RISING, FALLING])
@pytest.mark.parametrize("weights", ["none", "1/y", "1/y2", "fitted"])
def test_a_curve_without_noise_is_found_exactly_in_either_direction(truth: FourPL, weights: Weights) -> None:
    curve = fitted(truth.response(LEVELS), weights=weights)
    assert dict(curve.curve.parameters) == pytest.approx(dict(truth.parameters), rel=1e-6)
    assert curve.is_rising is (truth is RISING)
    assert curve.rss == pytest.approx(0.0, abs=1e-12)


def test_a_five_parameter_fit_of_a_symmetric_curve_says_that_the_asymmetry_is_not_needed() -> None:
    curve = fitted(noisy(RISING), model="5pl")
    assert 0.1 <= curve.curve.parameters["asymmetry"] <= 10.0
    assert [finding.code for finding in curve.findings] in ([], ["ASYMMETRY_UNCERTAIN"])


def test_weights_fitted_are_the_fixed_point_of_reweighting() -> None:
    response = noisy(RISING)
    curve = fitted(response)
    jacobian = curve.curve.jacobian(LEVELS)
    weight = 1.0 / np.maximum(curve.curve.response(LEVELS), curve.floor) ** 2
    # At the end the weighted residuals lie at right angles to every direction the curve could still move in.
    slope = jacobian.T @ (weight * (response - curve.curve.response(LEVELS)))
    assert np.abs(slope / np.linalg.norm(np.sqrt(weight)[:, None] * jacobian, axis=0)).max() < 1e-7


def test_means_are_fitted_with_a_degree_of_freedom_a_level() -> None:
    curve = fit_calibration(LEVELS, noisy(RISING), model="4pl", weights="none", replicates="mean", where="Plate 'P1'.")
    assert (curve.degrees_of_freedom, curve.wells_per_point) == (4, 2.0)


def test_the_zero_calibrator_is_left_out_of_a_line_through_logarithms_and_that_is_said() -> None:
    concentration = np.array([0.0, 1.0, 10.0, 100.0, 1000.0])
    curve = fitted(np.array([0.01, 0.1, 0.31, 1.02, 3.1]), model="loglog", weights="none", concentration=concentration)
    assert [finding.code for finding in curve.findings] == ["ZERO_CALIBRATOR_UNUSED"]
    assert curve.curve.parameters["slope"] == pytest.approx(0.5, abs=0.02)


def test_a_straight_line_equals_the_textbook_formula() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    y = np.array([0.1, 0.9, 2.1, 2.9, 4.2])
    curve = fitted(y, model="linear", weights="none", concentration=x)
    slope, intercept = np.polyfit(x, y, 1)
    assert dict(curve.curve.parameters) == pytest.approx({"slope": slope, "intercept": intercept}, rel=1e-10)
    spread = curve.residual_sd / np.sqrt(np.sum((x - x.mean()) ** 2))
    assert curve.standard_errors()[0] == pytest.approx(spread, rel=1e-10)


def test_a_flat_plate_is_refused() -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(CurveFitError, match="the curve is flat within its noise"):
        fitted(0.08 + 0.004 * rng.standard_normal(len(LEVELS)))


def test_a_plate_with_one_and_the_same_number_everywhere_is_refused_as_flat() -> None:
    with pytest.raises(CurveFitError, match="flat"):
        fitted(np.full(len(LEVELS), 0.1))


def test_a_plate_of_zeros_is_refused_as_flat() -> None:
    with pytest.raises(CurveFitError, match="flat"):
        fitted(np.zeros(len(LEVELS)))


def test_a_noisy_flat_end_is_no_turning_curve() -> None:
    rng = np.random.default_rng(20)
    response = FALLING.response(LEVELS)
    response[:2] *= (0.78, 0.80)  # the zero calibrator reads low, as it may where every well scatters by 10 %
    response[2:] *= 1.0 + 0.10 * rng.standard_normal(len(LEVELS) - 2)
    assert not fitted(response).is_rising


def test_a_line_through_a_bent_curve_may_never_settle_and_says_so() -> None:
    found = set()
    for seed in range(60):
        bent = FourPL(zero_dose=0.06, slope=1.3, inflection=110.0 + 5.0 * seed, infinite_dose=3.0)
        found |= {finding.code for finding in fitted(noisy(bent, seed=seed), model="linear").findings}
    assert found <= {"WEIGHTS_UNSETTLED"}


def test_four_levels_do_not_carry_a_four_parameter_curve() -> None:
    keep = LEVELS >= 125.0
    with pytest.raises(CurveFitError) as raised:
        fitted(noisy(RISING)[keep], concentration=LEVELS[keep])
    assert str(raised.value) == (
        "4 calibrator levels have a usable reading; the model '4pl' needs at least 5. Plate 'P1'. "
        "Check the masks and the layout, or repeat the plate with more calibrators."
    )


def test_no_calibrators_at_all_are_refused_like_too_few() -> None:
    with pytest.raises(CurveFitError, match="0 calibrator levels have a usable reading"):
        fitted(np.array([]), concentration=np.array([]))


def test_a_hook_at_the_top_is_refused_with_its_level() -> None:
    response = noisy(RISING)
    response[LEVELS == 1000.0] = 0.4
    with pytest.raises(CurveFitError, match="the level 1000 turns back"):
        fitted(response)


def test_calibrators_that_never_bend_do_not_determine_a_four_parameter_curve() -> None:
    straight = FourPL(zero_dose=0.05, slope=1.0, inflection=1e7, infinite_dose=3e4)
    with pytest.raises(CurveFitError, match=r"inflection|do not determine"):
        fitted(noisy(straight, cv=0.0))


def test_every_level_is_read_back_with_its_recovery_and_the_zero_has_none() -> None:
    curve = fitted(noisy(RISING))
    zero, *others = curve.levels
    assert (zero.nominal, zero.recovery_percent) == (0.0, None)
    for level in others:
        assert level.back_calculated is not None
        assert level.recovery_percent == pytest.approx(100.0 * level.back_calculated / level.nominal)
        assert level.n_wells == 2
