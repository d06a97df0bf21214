"""Five thousand simulated plates, rising and falling: the 95 % limits hold the truth between 94 and 96 times in 100.

Each laboratory first learns the two parts of its noise from twenty validation plates and declares them; a second test leaves
the noise to each plate's own sixteen calibrator wells.
"""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.elisa.calibration import fit_calibration
from biomarkers.elisa.intervals import CONFIDENCE
from biomarkers.elisa.logistic import FloatArray, FourPL
from biomarkers.elisa.quantitation import Range, estimate_many
from biomarkers.elisa.variance_function import estimate_noise_crossover, replicate_group
from biomarkers.errors import CurveFitError

pytestmark = pytest.mark.slow

LEVELS = np.repeat(np.array([0.0, 46.875, 93.75, 187.5, 375.0, 750.0, 1500.0, 3000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=1200.0, infinite_dose=3.2)
FALLING = FourPL(zero_dose=2.2, slope=1.1, inflection=250.0, infinite_dose=0.08)
CONCENTRATIONS = (46.875, 94.0, 250.0, 750.0, 1500.0, 3000.0)
PLATES = 5000
VALIDATION_PLATES = 20
READER_NOISE = 0.005
EMPTY_WELL = 0.04
ANY_RANGE = Range(lloq=0.0, uloq=1e300)


def measured(truth: FourPL, concentration: FloatArray, cv: float, rng: np.random.Generator) -> FloatArray:
    pipetted = 1.0 + cv * rng.standard_normal(concentration.shape)
    return np.asarray(truth.response(concentration) * pipetted + READER_NOISE * rng.standard_normal(concentration.shape))


def learnt_crossover(truth: FourPL, cv: float, rng: np.random.Generator) -> float:
    """From the replicates of twenty plates: calibrators and thirty-six specimens in duplicate, and eight blanks.

    Without blanks a falling curve, which never comes near a response of 0 within its range, tells nothing of reader noise.
    """
    wells = np.concatenate((LEVELS, np.repeat(np.geomspace(46.875, 3000.0, 36), 2)))
    groups = []
    for _ in range(VALIDATION_PLATES):
        groups += [replicate_group(pair) for pair in measured(truth, wells, cv, rng).reshape(-1, 2).tolist()]
        blanks = EMPTY_WELL * (1.0 + cv * rng.standard_normal(8)) + READER_NOISE * rng.standard_normal(8)
        groups.append(replicate_group(blanks.tolist()))
    return estimate_noise_crossover([group for group in groups if group is not None]).crossover


def coverage(truth: FourPL, cv: float, *, crossover: float | None, rng: np.random.Generator) -> tuple[FloatArray, int]:
    """Share of plates whose limits hold each concentration, and the plates refused."""
    held, fitted = np.zeros(len(CONCENTRATIONS)), 0
    for _ in range(PLATES):
        calibrators = measured(truth, LEVELS, cv, rng)
        wells = measured(truth, np.repeat(CONCENTRATIONS, 2), cv, rng).reshape(-1, 2)
        try:
            curve = fit_calibration(
                LEVELS, calibrators, model="4pl", weights="fitted", replicates="wells", noise_crossover=crossover, where=""
            )
        except CurveFitError:
            continue  # an upper end that no calibrator reaches, refused with its reason
        fitted += 1
        found = estimate_many(curve, [(tuple(pair), ANY_RANGE) for pair in wells.tolist()])
        # A response beyond an end level has a bound and no limits; then the band around the curve is asked itself.
        off = np.abs(wells.mean(axis=1) - curve.curve.response(np.array(CONCENTRATIONS)))
        in_band = off <= curve.half_width(np.array(CONCENTRATIONS), np.full(len(CONCENTRATIONS), 2.0), CONFIDENCE)
        for index, (concentration, one) in enumerate(zip(CONCENTRATIONS, found, strict=True)):
            if one.interval is None:
                held[index] += in_band[index]
                continue
            upper = np.inf if one.interval.upper is None else one.interval.upper
            held[index] += (one.interval.lower or 0.0) <= concentration <= upper
    return held / fitted, PLATES - fitted


@pytest.mark.parametrize("truth", [RISING, FALLING], ids=["rising", "falling"])
@pytest.mark.parametrize("cv", [0.03, 0.06, 0.10])
def test_with_the_noise_declared_from_validation_plates_limits_hold_94_to_96_in_100(truth: FourPL, cv: float) -> None:
    rng = np.random.default_rng(2024)
    shares, refused = coverage(truth, cv, crossover=learnt_crossover(truth, cv, rng), rng=rng)
    assert np.all((shares >= 0.94) & (shares <= 0.96)), f"{np.round(100 * shares, 1)} %, {refused} plates refused"
    assert refused <= 0.01 * PLATES


@pytest.mark.parametrize("truth", [RISING, FALLING], ids=["rising", "falling"])
@pytest.mark.parametrize("cv", [0.03, 0.06, 0.10])
def test_with_the_noise_left_to_each_plate_limits_hold_93_to_97_in_100(truth: FourPL, cv: float) -> None:
    rng = np.random.default_rng(2025)
    shares, refused = coverage(truth, cv, crossover=None, rng=rng)
    assert np.all((shares >= 0.93) & (shares <= 0.97)), f"{np.round(100 * shares, 1)} %, {refused} plates refused"
    assert refused <= 0.01 * PLATES
