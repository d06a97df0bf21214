"""What the replicates of specimens and controls add to what a plate tells of its noise."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.logistic import FloatArray, FourPL

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
AT = np.array([20.0, 60.0, 250.0, 900.0])
TWO = np.full(len(AT), 2.0)


def noisy(response: FloatArray, rng: np.random.Generator, cv: float, constant: float) -> FloatArray:
    proportional = response * (1 + cv * rng.standard_normal(len(response)))
    return np.asarray(proportional + constant * rng.standard_normal(len(response)))


def specimens(rng: np.random.Generator, cv: float, constant: float, count: int = 38) -> list[tuple[float, ...]]:
    contents = np.repeat(np.exp(rng.uniform(np.log(15.6), np.log(1000.0), count)), 2)
    return [tuple(pair) for pair in noisy(RISING.response(contents), rng, cv, constant).reshape(-1, 2).tolist()]


def fitted(response: FloatArray, pairs: list[tuple[float, ...]], **declared: float | str) -> CalibrationCurve:
    settings: dict[str, float | str] = {"model": "4pl", "weights": "fitted", "replicates": "wells"}
    return fit_calibration(LEVELS, response, where="Plate.", replicate_responses=pairs, **(settings | declared))  # type: ignore[arg-type]


def widths(curve: CalibrationCurve) -> FloatArray:
    return curve.half_width(AT, TWO, 0.95)


def test_replicates_of_specimens_leave_the_curve_as_it_is() -> None:
    rng = np.random.default_rng(1)
    response = noisy(RISING.response(LEVELS), rng, 0.05, 0.004)
    alone, together = fitted(response, []), fitted(response, specimens(rng, 0.05, 0.004))
    assert alone.curve == together.curve
    assert np.array_equal(alone.covariance, together.covariance)
    assert alone.residual_sd == together.residual_sd


def test_the_noise_of_a_plate_is_known_better_with_its_specimens_than_from_its_calibrators_alone() -> None:
    rng = np.random.default_rng(2)
    errors = []
    truth = np.sqrt((0.05 * RISING.response(AT)) ** 2 + 0.02**2)
    for _ in range(60):
        response = noisy(RISING.response(LEVELS), rng, 0.05, 0.02)
        pairs = specimens(rng, 0.05, 0.02)
        found = [np.sqrt(fitted(response, told).well_variance(AT)) / truth - 1.0 for told in ([], pairs)]
        errors.append([np.mean(one**2) for one in found])
    alone, together = np.sqrt(np.mean(errors, axis=0))
    # Fifty degrees of freedom instead of twelve: half the error.
    assert together < 0.65 * alone


def test_a_constant_noise_far_above_the_usual_is_learnt_from_the_plate() -> None:
    rng = np.random.default_rng(3)
    curve = fitted(noisy(RISING.response(LEVELS), rng, 0.02, 0.03), specimens(rng, 0.02, 0.03))
    assert curve.noise.constant_sd == pytest.approx(0.03, rel=0.3)


def test_stray_wells_among_the_specimens_hardly_widen_the_limits() -> None:
    rng = np.random.default_rng(4)
    response = noisy(RISING.response(LEVELS), rng, 0.04, 0.004)
    pairs = specimens(rng, 0.04, 0.004)
    stray = [(3.0 * pair[0], pair[1]) if index in (5, 20) else pair for index, pair in enumerate(pairs)]
    assert widths(fitted(response, stray)) == pytest.approx(widths(fitted(response, pairs)), rel=0.12)


def test_calibrators_that_scatter_more_than_specimens_make_the_curve_less_certain_than_replicates_do() -> None:
    rng = np.random.default_rng(5)
    wild = noisy(RISING.response(LEVELS), rng, 0.12, 0.004)
    calm = specimens(rng, 0.02, 0.004)
    curve = fitted(wild, calm)
    of_curve = np.sqrt(curve.noise.curve_variance(curve.curve.jacobian(AT)))
    reported = np.sqrt(np.einsum("ni,ij,nj->n", curve.curve.jacobian(AT), curve.covariance, curve.curve.jacobian(AT)))
    # The fit's own covariance comes from the calibrators alone.
    assert np.all(of_curve[1:] > 0.6 * reported[1:])
    assert np.sqrt(curve.well_variance(AT))[2:] == pytest.approx(0.02 * RISING.response(AT)[2:], rel=0.4)


def test_lone_wells_and_those_far_above_the_calibrators_tell_nothing() -> None:
    response = noisy(RISING.response(LEVELS), np.random.default_rng(6), 0.04, 0.004)
    alone = widths(fitted(response, []))
    assert np.array_equal(widths(fitted(response, [(0.5,), (8.0, 3.9)])), alone)


@pytest.mark.parametrize(
    "pairs", [[(0.5, 0.5)] * 38, [(0.0, 0.0)] * 20, [(-0.01, 0.01)] * 20], ids=["equal", "zero", "around 0"]
)
def test_replicates_that_do_not_scatter_or_hardly_respond_give_finite_limits(pairs: list[tuple[float, ...]]) -> None:
    response = noisy(RISING.response(LEVELS), np.random.default_rng(7), 0.04, 0.004)
    found = widths(fitted(response, pairs))
    assert np.all(np.isfinite(found) & (found > 0))


def test_calibrators_without_scatter_leave_the_noise_to_the_specimens() -> None:
    rng = np.random.default_rng(8)
    curve = fitted(RISING.response(LEVELS), specimens(rng, 0.05, 0.003))
    assert np.sqrt(curve.well_variance(AT))[2:] == pytest.approx(0.05 * RISING.response(AT)[2:], rel=0.4)


def test_with_a_declared_crossover_specimens_add_their_degrees_of_freedom() -> None:
    rng = np.random.default_rng(9)
    found = []
    for _ in range(80):
        response = noisy(RISING.response(LEVELS), rng, 0.05, 0.005)
        pairs = specimens(rng, 0.05, 0.005)
        found.append([fitted(response, told, noise_crossover=0.1).noise.log_scale[0] for told in ([], pairs)])
    alone, together = np.std(found, axis=0)
    assert together < 0.65 * alone


def test_means_of_levels_learn_from_specimens_as_single_wells_do() -> None:
    rng = np.random.default_rng(10)
    response = noisy(RISING.response(LEVELS), rng, 0.05, 0.004)
    pairs = specimens(rng, 0.05, 0.004)
    wells, means = fitted(response, pairs), fitted(response, pairs, replicates="mean")
    assert widths(means) == pytest.approx(widths(wells), rel=0.15)
