"""What is believed of a well's noise, and what robust weights do to outliers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as t_distribution

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.logistic import FloatArray, FourPL
from biomarkers.elisa.weighting import huber_pull, robust_scale

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)


def noisy(seed: int, cv: float, constant: float) -> FloatArray:
    rng = np.random.default_rng(seed)
    response = RISING.response(LEVELS)
    return np.asarray(response * (1 + cv * rng.standard_normal(len(LEVELS))) + constant * rng.standard_normal(len(LEVELS)))


def fitted(response: FloatArray, **declared: float | bool | str | None) -> CalibrationCurve:
    settings = {"model": "4pl", "weights": "fitted", "replicates": "wells"} | declared
    return fit_calibration(LEVELS, response, where="Plate 'P1'.", **settings)  # type: ignore[arg-type]


def test_a_plate_with_much_constant_noise_is_believed_to_have_more_than_one_with_little() -> None:
    quiet = np.mean([fitted(noisy(seed, 0.05, 0.0005)).noise.constant_sd for seed in range(30)])
    loud = np.mean([fitted(noisy(seed, 0.05, 0.02)).noise.constant_sd for seed in range(30)])
    assert loud > 2.0 * quiet


def test_the_proportional_part_is_found_within_a_tenth_over_many_plates() -> None:
    found = np.mean([fitted(noisy(seed, 0.05, 0.004)).noise.proportional_sd ** 2 for seed in range(60)]) ** 0.5
    # Sixty plates with some ten degrees of freedom each.
    assert found == pytest.approx(0.05, rel=0.12)


def test_a_declared_crossover_gives_students_t_with_the_residual_degrees_of_freedom() -> None:
    curve = fitted(noisy(1, 0.04, 0.004), noise_crossover=0.1)
    x = np.array([250.0])
    assert curve.noise.degrees_of_freedom == 12
    variance = curve.well_variance(x) / 2 + curve.noise.curve_variance(curve.curve.jacobian(x))
    t = float(t_distribution.ppf(0.975, 12))
    assert curve.half_width(x, np.array([2.0]), 0.95) == pytest.approx(t * np.sqrt(variance), rel=1e-9)


def test_a_crossover_far_below_every_response_gives_the_covariance_of_the_weights_themselves() -> None:
    curve = fitted(noisy(2, 0.04, 0.0), noise_crossover=1e-9)
    scale = float(np.exp(curve.noise.log_scale[0]))
    assert scale == pytest.approx(curve.residual_sd**2, rel=1e-6)
    assert scale * curve.noise.covariance[0] == pytest.approx(curve.covariance, rel=1e-5)


def test_other_weights_suppose_the_noise_they_stand_for() -> None:
    plain = fitted(noisy(3, 0.04, 0.004), weights="none")
    assert plain.noise.constant_sd == 0.0
    assert plain.well_variance(np.array([20.0, 900.0])) == pytest.approx([plain.residual_sd**2] * 2)


def test_intervals_of_a_plate_fitted_through_means_know_the_wells_behind_them() -> None:
    response = noisy(4, 0.04, 0.004)
    wells, means = fitted(response), fitted(response, replicates="mean")
    x = np.array([60.0, 250.0])
    ratio = means.half_width(x, np.full(2, 2.0), 0.95) / wells.half_width(x, np.full(2, 2.0), 0.95)
    assert np.all((ratio > 0.8) & (ratio < 1.25))


def test_a_robust_fit_is_hardly_moved_by_one_wild_calibrator_and_names_it() -> None:
    response = noisy(5, 0.02, 0.002)
    wild = response.copy()
    wild[8] *= 1.9
    moved, held = fitted(wild), fitted(wild, robust=True)
    x = np.array([125.0, 250.0])
    truth = RISING.response(x)
    assert np.max(np.abs(held.curve.response(x) / truth - 1.0)) < 0.04
    assert np.max(np.abs(moved.curve.response(x) / truth - 1.0)) > 0.08
    assert "CALIBRATOR_HELD_BACK" in [finding.code for finding in held.findings]


def test_a_robust_fit_of_sound_calibrators_is_close_to_the_plain_one() -> None:
    response = noisy(6, 0.03, 0.003)
    plain, robust = fitted(response), fitted(response, robust=True)
    x = np.array([30.0, 250.0, 900.0])
    assert robust.curve.response(x) == pytest.approx(plain.curve.response(x), rel=0.04)


def test_the_robust_scale_of_normal_residuals_is_their_standard_deviation() -> None:
    rng = np.random.default_rng(7)
    assert robust_scale(rng.standard_normal(20_000), 4) == pytest.approx(1.0, abs=0.02)


def test_huber_leaves_near_points_alone_and_far_ones_a_share() -> None:
    pull = huber_pull(np.array([0.1, -0.2, 0.15, 0.1, -0.1, 0.2, 10.0]), 0)
    assert np.all(pull[:6] == 1.0)
    assert pull[6] < 0.1


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5])
def test_a_declared_power_is_used_for_weights_and_noise(power: float) -> None:
    curve = fitted(noisy(8, 0.03, 0.002), variance_power=power, noise_crossover=1e-9)
    low, high = curve.well_variance(np.array([31.3, 500.0]))
    at = curve.curve.response(np.array([31.3, 500.0]))
    assert np.log(high / low) / np.log(at[1] / at[0]) == pytest.approx(power, rel=1e-3)


def test_without_the_zero_calibrator_the_others_alone_are_fitted() -> None:
    response = noisy(9, 0.03, 0.002)
    curve = fitted(response, zero_calibrator=False)
    assert curve.levels[0].nominal == 15.6
    moved = response.copy()
    moved[:2] += 5.0
    assert dict(fitted(moved, zero_calibrator=False).curve.parameters) == dict(curve.curve.parameters)
