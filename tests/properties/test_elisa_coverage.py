"""Simulated plates: do the 95 % limits hold the truth, is the number free of bias, is it better than a vendor's.

The noise of a simulated well is a coefficient of variation, as of pipettes and washers, and a constant 0.005 optical density,
as of readers; the shorter version of what tests/slow does with 5000 plates.
"""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.elisa.batch_fitting import BatchFit, fit_many
from biomarkers.elisa.calibration import fit_calibration
from biomarkers.elisa.intervals import CONFIDENCE
from biomarkers.elisa.logistic import FloatArray, FourPL
from biomarkers.elisa.quantitation import Range, estimate_many
from biomarkers.errors import CurveFitError

LEVELS = np.repeat(np.array([0.0, 46.875, 93.75, 187.5, 375.0, 750.0, 1500.0, 3000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=3000.0, infinite_dose=4.5)
FALLING = FourPL(zero_dose=2.2, slope=1.0, inflection=300.0, infinite_dose=0.06)
KIT = {
    "rising": FourPL(zero_dose=0.05, slope=1.1, inflection=1200.0, infinite_dose=3.2),
    "falling": FourPL(zero_dose=2.2, slope=1.1, inflection=250.0, infinite_dose=0.08),
}
CONCENTRATIONS = {RISING: (46.875, 94.0, 250.0, 750.0, 1500.0, 2800.0), FALLING: (94.0, 190.0, 375.0, 750.0, 1500.0, 2800.0)}
READER_NOISE = 0.005
ANY_RANGE = Range(lloq=0.0, uloq=1e300)


def measured(truth: FourPL, concentration: FloatArray, cv: float, rng: np.random.Generator) -> FloatArray:
    pipetted = 1.0 + cv * rng.standard_normal(concentration.shape)
    return np.asarray(truth.response(concentration) * pipetted + READER_NOISE * rng.standard_normal(concentration.shape))


@pytest.mark.parametrize("direction", ["rising", "falling"])
@pytest.mark.parametrize("cv", [0.03, 0.10])
def test_limits_hold_the_truth_about_nineteen_times_in_twenty(direction: str, cv: float) -> None:
    plates, truth, rng = 250, KIT[direction], np.random.default_rng(12)
    concentrations = (46.875, 94.0, 250.0, 750.0, 1500.0, 3000.0)
    held, fitted = np.zeros(len(concentrations)), 0
    for plate in range(plates):
        calibrators = measured(truth, LEVELS, cv, rng)
        wells = measured(truth, np.repeat(concentrations, 2), cv, rng).reshape(-1, 2)
        others = np.repeat(np.exp(rng.uniform(np.log(46.875), np.log(3000.0), 32)), 2)
        replicates = [*wells.tolist(), *measured(truth, others, cv, rng).reshape(-1, 2).tolist()]
        try:
            curve = fit_calibration(
                LEVELS,
                calibrators,
                model="4pl",
                weights="fitted",
                replicates="wells",
                replicate_responses=replicates,
                where=f"Plate {plate}.",
            )
        except CurveFitError:
            continue  # noise of 10 % may leave no upper end to be seen; such a plate is refused with its reason
        fitted += 1
        found = estimate_many(curve, [(tuple(pair), ANY_RANGE) for pair in wells.tolist()])
        # A response beyond an end level has a bound and no limits; then the band around the curve is asked itself.
        off = np.abs(wells.mean(axis=1) - curve.curve.response(np.array(concentrations)))
        in_band = off <= curve.half_width(np.array(concentrations), np.full(len(concentrations), 2.0), CONFIDENCE)
        for index, (concentration, one) in enumerate(zip(concentrations, found, strict=True)):
            if one.interval is None:
                held[index] += in_band[index]
                continue
            upper = np.inf if one.interval.upper is None else one.interval.upper
            held[index] += (one.interval.lower or 0.0) <= concentration <= upper
    assert fitted >= 0.98 * plates
    # Of 250 plates the share scatters by 1.4 points: three times that around 95 %, at 24 places.
    assert np.all(np.abs(held / fitted - 0.95) < 0.045), held / fitted


def back_calculated(fits: BatchFit, responses: FloatArray) -> FloatArray:
    zero, infinite = fits.zero_dose[:, None], fits.infinite_dose[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (zero - responses) / (responses - infinite)
        return np.asarray(fits.inflection[:, None] * ratio ** (1.0 / fits.slope[:, None]))


def errors(
    truth: FourPL, cv: float, plates: int, concentrations: tuple[float, ...] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Relative errors of our method and of an unweighted fit through level means, one row a plate."""
    rng = np.random.default_rng(5)
    there = np.array(concentrations or CONCENTRATIONS[truth])
    calibrators = measured(truth, np.tile(LEVELS, (plates, 1)), cv, rng)
    wells = measured(truth, np.tile(np.repeat(there, 2), (plates, 1)), cv, rng).reshape(plates, -1, 2).mean(axis=2)
    ours = fit_many(LEVELS, calibrators, weights="fitted")
    vendors = fit_many(LEVELS[::2], calibrators.reshape(plates, -1, 2).mean(axis=2), weights="none")
    return back_calculated(ours, wells) / there - 1.0, back_calculated(vendors, wells) / there - 1.0


@pytest.mark.parametrize("truth", [RISING, FALLING], ids=["rising", "falling"])
@pytest.mark.parametrize("cv", [0.03, 0.05])
def test_the_mean_error_is_below_one_percent_at_every_concentration(truth: FourPL, cv: float) -> None:
    ours, _ = errors(truth, cv, plates=5000)
    inside = np.isfinite(ours).all(axis=1)
    assert np.mean(inside) > 0.999
    assert np.all(np.abs(np.mean(ours[inside], axis=0)) < 0.01)


@pytest.mark.parametrize("truth", [RISING, FALLING], ids=["rising", "falling"])
def test_at_a_coefficient_of_ten_percent_half_of_the_numbers_still_lie_on_either_side_of_the_truth(truth: FourPL) -> None:
    # The mean error grows with the square of the noise where the curve flattens, whatever the fit; the median does not.
    ours, _ = errors(truth, 0.10, plates=5000)
    assert np.all(np.abs(np.nanmedian(ours, axis=0)) < 0.02)


@pytest.mark.parametrize("truth", [RISING, FALLING], ids=["rising", "falling"])
@pytest.mark.parametrize("cv", [0.03, 0.05, 0.08])
def test_the_error_is_never_larger_than_that_of_an_unweighted_fit(truth: FourPL, cv: float) -> None:
    ours, vendors = errors(truth, cv, plates=5000)
    # Only plates on which the vendor's way gives a number at all; those it loses are losses of its own.
    both = np.isfinite(ours).all(axis=1) & np.isfinite(vendors).all(axis=1)
    ratio = np.sqrt(np.mean(np.log1p(ours[both]) ** 2, axis=0) / np.mean(np.log1p(vendors[both]) ** 2, axis=0))
    # Root mean squares of 5000 plates scatter by 1 %, their ratio by less as the plates are the same.
    assert np.all(ratio < 1.02), ratio


def best_possible(truth: FourPL, cv: float, concentrations: tuple[float, ...], *, weighted: bool) -> FloatArray:
    """Relative error of duplicates read off a curve, to first order: weighted by the true noise (no unbiased fit of these wells
    does better, Cramer and Rao), or not weighted at all."""
    there = np.array(concentrations)

    def variance(x: FloatArray) -> FloatArray:
        return np.asarray((cv * truth.response(x)) ** 2 + READER_NOISE**2)

    weight = 1.0 / variance(LEVELS) if weighted else np.ones_like(LEVELS)
    jacobian = truth.jacobian(LEVELS)
    influence = np.linalg.inv(jacobian.T @ (jacobian * weight[:, None])) @ (jacobian * weight[:, None]).T
    covariance = (influence * variance(LEVELS)) @ influence.T
    of_curve = np.einsum("ni,ij,nj->n", truth.jacobian(there), covariance, truth.jacobian(there))
    return np.asarray(np.sqrt(variance(there) / 2 + of_curve) / np.abs(truth.gradient(there) * there))


@pytest.mark.parametrize("direction", ["rising", "falling"])
@pytest.mark.parametrize("cv", [0.03, 0.05])
def test_between_the_ends_no_fit_of_these_wells_could_be_better_by_more_than_three_percent(direction: str, cv: float) -> None:
    inner = (94.0, 250.0, 750.0, 1500.0)
    ours, _ = errors(KIT[direction], cv, plates=8000, concentrations=inner)
    reached = np.sqrt(np.nanmean(np.log1p(ours) ** 2, axis=0))
    assert np.all(reached < 1.03 * best_possible(KIT[direction], cv, inner, weighted=True))


def test_at_the_lowest_calibrator_ours_is_the_best_possible_and_even_that_is_not_a_quarter_better_than_an_unweighted_fit() -> (
    None
):
    # The bar for the low end is 25 %. At the lowest calibrator itself the noise of the specimen's own duplicates, which no fit
    # changes, and the little that zero calibrators say of the slope leave 9 to 19 % to gain for any fit on a rising curve and
    # 2 % on a falling one, where the low end responds most; 25 % is reached at twice the lowest calibrator, below.
    lowest = (46.875,)
    for cv in (0.03, 0.05, 0.08, 0.10):
        for direction, most in (("rising", 0.19), ("falling", 0.03)):
            truth = KIT[direction]
            gain = 1.0 - best_possible(truth, cv, lowest, weighted=True) / best_possible(truth, cv, lowest, weighted=False)
            assert 0.0 < gain[0] < most
    for cv in (0.03, 0.05):
        ours, _ = errors(KIT["rising"], cv, plates=8000, concentrations=lowest)
        reached = np.sqrt(np.nanmean(np.log1p(ours) ** 2, axis=0))
        assert np.all(reached < 1.03 * best_possible(KIT["rising"], cv, lowest, weighted=True))


@pytest.mark.parametrize("cv", [0.03, 0.05, 0.08])
def test_where_a_falling_curve_responds_least_the_error_is_a_quarter_smaller_than_with_an_unweighted_fit(cv: float) -> None:
    ours, vendors = errors(KIT["falling"], cv, plates=5000, concentrations=(3000.0,))
    both = np.isfinite(ours) & np.isfinite(vendors)
    assert np.sqrt(np.mean(ours[both] ** 2) / np.mean(vendors[both] ** 2)) < 0.75


def test_the_low_end_of_a_sandwich_curve_is_a_quarter_better_than_with_an_unweighted_fit() -> None:
    for cv in (0.04, 0.05, 0.08):
        ours, vendors = errors(KIT["rising"], cv, plates=5000, concentrations=(94.0,))
        both = np.isfinite(ours) & np.isfinite(vendors)
        assert np.sqrt(np.mean(ours[both] ** 2) / np.mean(vendors[both] ** 2)) < 0.75
