"""What is learnt over many plates: variance functions, precision profiles, limits of blank and detection, model advice."""

from __future__ import annotations

import numpy as np
import pytest

from biomarkers.elisa.calibration import CalibrationCurve, fit_calibration
from biomarkers.elisa.logistic import FourPL
from biomarkers.elisa.model_advice import compare_models
from biomarkers.elisa.performance import (
    DetectionRun,
    PrecisionPoint,
    detection_limits,
    functional_limits,
    pooled_detection,
    precision_point,
)
from biomarkers.elisa.variance_function import (
    ReplicateGroup,
    estimate_noise_crossover,
    estimate_variance_power,
    replicate_group,
)
from biomarkers.errors import AssayError

LEVELS = np.repeat(np.array([0.0, 15.6, 31.3, 62.5, 125.0, 250.0, 500.0, 1000.0]), 2)
RISING = FourPL(zero_dose=0.05, slope=1.1, inflection=600.0, infinite_dose=3.1)
FALLING = FourPL(zero_dose=2.1, slope=1.0, inflection=120.0, infinite_dose=0.06)


def groups(power: float, constant: float, count: int = 600) -> list[ReplicateGroup]:
    rng = np.random.default_rng(3)
    found = []
    for mean in np.exp(rng.uniform(np.log(0.03), np.log(3.0), count)):
        sd = np.sqrt((0.05 * mean ** (power / 2)) ** 2 + constant**2)
        group = replicate_group((mean + sd * rng.standard_normal(2)).tolist())
        assert group is not None
        found.append(group)
    return found


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_power_of_the_variance_is_found_within_its_interval(power: float) -> None:
    found = estimate_variance_power(groups(power, 0.0))
    assert found.interval.lower is not None
    assert found.interval.upper is not None
    assert found.interval.lower < power < found.interval.upper
    assert found.interval.upper - found.interval.lower < 0.4
    # Where the noise is constant a few means fall below 0, where a power says nothing.
    assert found.degrees_of_freedom >= 590


def test_the_crossover_from_reader_noise_to_pipetting_is_found_within_its_interval() -> None:
    found = estimate_noise_crossover(groups(2.0, 0.005))
    assert found.interval.lower is not None
    assert found.interval.upper is not None
    assert found.interval.lower < 0.1 < found.interval.upper
    assert found.cv_percent == pytest.approx(5.0, rel=0.1)
    assert found.constant_sd == pytest.approx(0.005, rel=0.2)


def test_one_plate_is_too_little_to_learn_the_noise_from() -> None:
    with pytest.raises(AssayError, match="40 degrees of freedom are too few"):
        estimate_variance_power(groups(2.0, 0.0, 40))


def test_a_single_well_makes_no_replicate_group() -> None:
    assert replicate_group([1.0]) is None


def test_scatter_within_and_between_runs_is_taken_apart_as_in_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(1)
    runs = {f"R{run}": (100.0 + 6.0 * rng.standard_normal() + 4.0 * rng.standard_normal(3)).tolist() for run in range(400)}
    point = precision_point("CTRL1", runs, nominal=95.0)
    assert point.repeatability_cv_percent == pytest.approx(4.0, rel=0.08)
    assert point.total_cv_percent == pytest.approx(np.hypot(6.0, 4.0), rel=0.08)
    assert point.bias_percent == pytest.approx(100 * (100 / 95 - 1), abs=1.0)
    assert (point.runs, point.readings) == (400, 1200)


def test_one_run_makes_no_precision_point() -> None:
    with pytest.raises(AssayError, match="two runs with replicates are needed"):
        precision_point("CTRL1", {"R1": [1.0, 2.0]})


def profile(constant: float, cv: float, means: tuple[float, ...]) -> list[PrecisionPoint]:
    return [
        PrecisionPoint(
            level=f"{mean:g}",
            nominal=mean,
            mean=mean,
            runs=20,
            readings=40,
            repeatability_cv_percent=1.0,
            total_cv_percent=100 * float(np.hypot(constant, cv * mean)) / mean,
            bias_percent=0.0,
        )
        for mean in means
    ]


def test_the_functional_limit_lies_where_the_profile_crosses_the_allowed_coefficient() -> None:
    found = functional_limits(profile(2.0, 0.06, (5.0, 10.0, 20.0, 80.0, 400.0)))
    # Where 2 squared over x squared, and 6 % squared, together make 20 % squared.
    assert found.lower == pytest.approx(10.48, abs=0.01)
    assert found.upper == 400.0
    assert found.constant_sd == pytest.approx(2.0, rel=1e-6)
    assert found.cv_percent == pytest.approx(6.0, rel=1e-6)
    assert not found.is_lower_extrapolated


def test_a_functional_limit_is_never_claimed_below_the_lowest_level_measured() -> None:
    found = functional_limits(profile(0.2, 0.06, (5.0, 10.0, 20.0, 80.0)))
    assert (found.lower, found.is_lower_extrapolated) == (5.0, True)


def test_an_assay_that_is_never_precise_enough_has_no_functional_limits() -> None:
    found = functional_limits(profile(2.0, 0.3, (5.0, 10.0, 20.0, 80.0)))
    assert (found.lower, found.upper) == (None, None)


def curve_of(truth: FourPL) -> CalibrationCurve:
    rng = np.random.default_rng(2)
    response = truth.response(LEVELS) * (1.0 + 0.01 * rng.standard_normal(len(LEVELS)))
    return fit_calibration(LEVELS, response, model="4pl", weights="fitted", replicates="wells", where="Plate 'P1'.")


@pytest.mark.parametrize(("truth", "sign"), [(RISING, 1.0), (FALLING, -1.0)])
def test_limits_of_blank_and_detection_lie_on_the_side_on_which_the_curve_runs(truth: FourPL, sign: float) -> None:
    rng = np.random.default_rng(4)
    zero = truth.zero_dose
    blanks = zero + 0.01 * rng.standard_normal(60)
    low = {f"S{index}": (zero + sign * 0.06 + 0.012 * rng.standard_normal(6)).tolist() for index in range(10)}
    found = detection_limits(curve_of(truth), blanks.tolist(), low)
    assert sign * (found.blank_response - zero) == pytest.approx(1.645 * 0.01, rel=0.3)
    assert sign * (found.detection_response - found.blank_response) == pytest.approx(1.645 * 0.012, rel=0.2)
    assert found.limit_of_blank is not None
    assert found.limit_of_detection is not None
    assert 0.0 <= found.limit_of_blank < found.limit_of_detection


def test_few_blanks_make_no_limit_of_blank() -> None:
    with pytest.raises(AssayError, match="5 blanks were read"):
        detection_limits(curve_of(RISING), [0.05] * 5, {"S1": [0.1, 0.1]})


def test_the_model_that_made_the_calibrators_is_advised_and_nothing_is_switched() -> None:
    rng = np.random.default_rng(6)
    response = RISING.response(LEVELS) * (1.0 + 0.02 * rng.standard_normal(len(LEVELS)))
    ranked = compare_models(LEVELS, response, weights="fitted")
    assert {one.model for one in ranked} == {"4pl", "5pl", "linear", "loglog"}
    assert ranked[0].model in ("4pl", "5pl")
    assert ranked[0].above_best == 0.0
    assert [one.aicc for one in ranked] == sorted(one.aicc for one in ranked)
    line = next(one for one in ranked if one.model == "linear")
    assert line.above_best > 10.0


def runs_of(truth: FourPL, plates: int, blanks: int) -> list[DetectionRun]:
    rng = np.random.default_rng(31)
    found = []
    for _ in range(plates):
        gain = float(np.exp(0.1 * rng.standard_normal()))
        curve = FourPL(
            zero_dose=gain * truth.zero_dose,
            slope=truth.slope,
            inflection=truth.inflection,
            infinite_dose=gain * truth.infinite_dose,
        )
        zero = np.array([curve.zero_dose] * blanks) + 0.004 * rng.standard_normal(blanks)
        low = curve.response(np.full(6, 5.0)) + 0.005 * rng.standard_normal(6)
        found.append(DetectionRun(curve=curve, blanks=tuple(zero.tolist()), low=tuple(low.tolist())))
    return found


@pytest.mark.parametrize("truth", [RISING, FALLING], ids=["rising", "falling"])
def test_limits_of_detection_over_plates_of_different_gain_come_from_the_scatter_within_plates(truth: FourPL) -> None:
    found = pooled_detection(runs_of(truth, 20, 6))
    assert found.blank_sd == pytest.approx(0.004, rel=0.2)
    assert found.low_sd == pytest.approx(0.005, rel=0.2)
    direction = 1.0 if truth.infinite_dose > truth.zero_dose else -1.0
    expected = truth.concentration(truth.zero_dose + direction * 1.645 * np.array([0.004, 0.009]))
    assert [found.limit_of_blank, found.limit_of_detection] == pytest.approx(expected.tolist(), rel=0.3)
    assert found.largest_limit_of_detection is not None
    assert found.limit_of_detection is not None
    assert found.largest_limit_of_detection >= found.limit_of_detection
    assert (found.plates, found.blanks, found.low_readings) == (20, 120, 120)


def test_too_few_blanks_over_all_plates_are_refused() -> None:
    with pytest.raises(AssayError, match="18 blanks were read in replicates; a limit of blank needs 20"):
        pooled_detection(runs_of(RISING, 3, 6))
