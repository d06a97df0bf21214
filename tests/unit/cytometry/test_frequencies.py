"""Intervals of frequencies and ratios."""

from __future__ import annotations

import pytest

from biomarkers.cytometry.frequencies import Spread, frequency_interval, ratio_interval


def test_with_certain_cuts_the_interval_is_wilsons() -> None:
    # Newcombe, Statistics in Medicine 1998;17:857-872, table I: 81 of 263 gives 0.2553 to 0.3662.
    limits = frequency_interval([Spread(count=81, parent_count=263, cut_variance=0.0)])
    assert (limits.lower, limits.upper) == (pytest.approx(25.53, abs=0.01), pytest.approx(36.62, abs=0.01))


def test_no_event_at_all_still_has_an_upper_limit() -> None:
    # Newcombe 1998, table I: 0 of 20 gives 0 to 0.1611.
    limits = frequency_interval([Spread(count=0, parent_count=20, cut_variance=0.0)])
    assert (limits.lower, limits.upper) == (0.0, pytest.approx(16.11, abs=0.01))


def test_a_cut_that_moves_widens_the_interval() -> None:
    still = frequency_interval([Spread(count=50, parent_count=100, cut_variance=0.0)])
    moving = frequency_interval([Spread(count=50, parent_count=100, cut_variance=0.01)])
    assert moving.lower < still.lower
    assert moving.upper > still.upper


def test_a_ratio_of_counts_has_the_logarithmic_interval() -> None:
    # log(200/100) with variance 1/200 + 1/100: exp(log 2 -+ 1.96 * 0.12247).
    limits = ratio_interval(
        [Spread(count=200, parent_count=400, cut_variance=0.0)], [Spread(count=100, parent_count=400, cut_variance=0.0)]
    )
    assert (limits.lower, limits.upper) == (pytest.approx(1.5732, abs=1e-3), pytest.approx(2.5425, abs=1e-3))
