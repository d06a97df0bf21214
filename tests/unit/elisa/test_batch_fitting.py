"""Many plates at once give what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.elisa.batch_fitting import fit_many
from biomarkers.elisa.fitting import Weights, fit
from biomarkers.elisa.logistic import FloatArray, FourPL

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
CURVES = (
    FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1),
    FourPL(zero_dose=2.1, slope=1.0, inflection=120.0, infinite_dose=0.06),
)


def plates(count: int) -> FloatArray:
    rng = np.random.default_rng(8)
    clean = np.array([CURVES[index % 2].response(LEVELS) for index in range(count)])
    return np.asarray(clean * (1.0 + 0.03 * rng.standard_normal(clean.shape)))


@pytest.mark.parametrize("weights", ["none", "1/y", "1/y2", "fitted"])
def test_a_batch_of_rising_and_falling_plates_equals_single_fits(weights: Weights) -> None:
    responses = plates(20)
    together = fit_many(LEVELS, responses, weights=weights)
    assert np.all(together.settled)
    for index, response in enumerate(responses):
        alone = fit(LEVELS, response, model="4pl", weights=weights)
        found = [
            together.zero_dose[index],
            together.slope[index],
            together.inflection[index],
            together.infinite_dose[index],
        ]
        assert found == pytest.approx(list(alone.curve.parameters.values()), rel=1e-5, abs=1e-7)
        assert together.rss[index] == pytest.approx(alone.rss, rel=1e-7)


def test_a_plate_fits_the_same_in_any_company() -> None:
    responses = plates(700)
    together, alone = fit_many(LEVELS, responses), fit_many(LEVELS, responses[613:614])
    assert together.inflection[613] == pytest.approx(alone.inflection[0], rel=1e-6)


def test_a_missing_well_is_left_out_of_its_own_plate_alone() -> None:
    responses = plates(3)
    holed = responses.copy()
    holed[1, [4, 9]] = np.nan
    whole, part = fit_many(LEVELS, responses), fit_many(LEVELS, holed)
    usable = np.isfinite(holed[1])
    alone = fit(LEVELS[usable], holed[1][usable], model="4pl", weights="fitted")
    assert part.slope[1] == pytest.approx(alone.curve.parameters["slope"], rel=1e-5)
    assert part.slope[[0, 2]] == pytest.approx(whole.slope[[0, 2]], rel=1e-12)


def test_the_response_of_the_batch_is_that_of_its_curves() -> None:
    batch = fit_many(LEVELS, plates(2), weights="none")
    one = FourPL(
        zero_dose=float(batch.zero_dose[1]),
        slope=float(batch.slope[1]),
        inflection=float(batch.inflection[1]),
        infinite_dose=float(batch.infinite_dose[1]),
    )
    assert batch.response(LEVELS)[1] == pytest.approx(one.response(LEVELS), rel=1e-12)
