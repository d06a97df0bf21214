"""Agreement against published worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from biomarkers.errors import AssayError
from biomarkers.ihc.agreement import Weights, intraclass_correlation, limits_of_agreement, weighted_kappa

SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=np.float64
)
"""Six targets rated by four judges: Shrout and Fleiss (1979), Psychol Bull 86:420, table 2."""

WRIGHT = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427], dtype=np.float64)
MINI = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451], dtype=np.float64)
"""Peak flow of 17 people by two meters, first readings: Bland and Altman (1986), Lancet i:307, table 1."""


def test_icc_of_shrout_and_fleiss_is_theirs() -> None:
    found = intraclass_correlation(SHROUT_FLEISS)
    assert found.value == pytest.approx(0.29, abs=0.005)
    assert found.interval is not None
    # The limits that R's psych package gives for this table, as its manual prints them.
    assert (found.interval.lower, found.interval.upper) == pytest.approx((0.019, 0.76), abs=0.005)
    assert (found.slides, found.readers) == (6, 4)


def test_rows_with_a_missing_reading_are_left_out() -> None:
    gapped = np.vstack([SHROUT_FLEISS, [np.nan, 1, 2, 3]])
    assert intraclass_correlation(gapped) == intraclass_correlation(SHROUT_FLEISS)


def test_equal_readings_agree_completely_and_a_constant_offset_lowers_the_icc() -> None:
    scores = np.arange(10.0)
    assert intraclass_correlation(np.column_stack([scores, scores])).value == pytest.approx(1.0)
    assert intraclass_correlation(np.column_stack([scores, scores + 5])).value < 0.5


def test_slides_that_do_not_differ_have_no_icc() -> None:
    with pytest.raises(AssayError, match="All readings are equal"):
        intraclass_correlation(np.ones((5, 2)))


def test_the_limits_of_bland_and_altman_are_theirs() -> None:
    found = limits_of_agreement(MINI, WRIGHT)
    # They give a mean difference of -2.1 and a standard deviation of 38.8 l/min.
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.deviation == pytest.approx(38.8, abs=0.05)
    # Their limits are two standard deviations wide, -79.7 and 75.5; ours 1.96.
    assert found.lower == pytest.approx(-2.1 - 1.96 * 38.8, abs=0.2)
    assert found.upper == pytest.approx(-2.1 + 1.96 * 38.8, abs=0.2)
    # Theirs of the bias: -22.0 to 17.8.
    assert (found.bias_interval.lower, found.bias_interval.upper) == pytest.approx((-22.0, 17.8), abs=0.1)


def test_differences_that_grow_with_the_score_have_a_slope() -> None:
    first = np.linspace(1, 100, 40)
    found = limits_of_agreement(first, 1.2 * first)
    assert found.slope == pytest.approx(0.2 / 1.1)
    assert found.slope_interval.lower is not None
    assert found.slope_interval.lower > 0


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_and_its_error_are_those_of_statsmodels(weights: Weights) -> None:
    table = np.random.default_rng(0).integers(1, 20, (4, 4)) + 20 * np.eye(4, dtype=int)
    classes = ["0", "1+", "2+", "3+"]
    first = [classes[row] for row in range(4) for column in range(4) for _ in range(table[row, column])]
    second = [classes[column] for row in range(4) for column in range(4) for _ in range(table[row, column])]
    found = weighted_kappa(first, second, classes=classes, weights=weights)
    known = cohens_kappa(table, wt=None if weights == "none" else weights)
    assert found.value == pytest.approx(known.kappa)
    assert found.standard_error == pytest.approx(known.std_kappa)


def test_a_class_nobody_used_still_counts_in_the_distance() -> None:
    first, second = ["low"] * 5 + ["high"] * 5, ["low"] * 4 + ["high"] * 6
    near = weighted_kappa(first, second, classes=["low", "high"], weights="linear")
    far = weighted_kappa(first, second, classes=["low", "middle", "high"], weights="linear")
    assert near.value == pytest.approx(far.value)
    assert near.observed < far.observed or near.observed == pytest.approx(far.observed)


def test_unknown_classes_and_hopeless_readings_are_said() -> None:
    with pytest.raises(AssayError, match=r"Unknown classes: 4\+"):
        weighted_kappa(["4+"], ["0"], classes=["0", "1+"], weights="none")
    with pytest.raises(AssayError, match="into one class"):
        weighted_kappa(["0"] * 4, ["0"] * 4, classes=["0", "1+"], weights="none")
