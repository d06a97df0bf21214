from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biomarkers.results import Assay
from biomarkers.simulation.agreement import MeasuredValue, agreement
from biomarkers.simulation.plates import TrueCurve, fill_slots
from biomarkers.simulation.seeds import spread, stream
from biomarkers.simulation.subjects import numbered_id
from biomarkers.simulation.truth import TrueValue

POSITIVE = st.floats(min_value=1e-3, max_value=1e4)


@given(slots=st.integers(1, 40), sets=st.lists(st.integers(0, 60), max_size=30))
def test_every_specimen_gets_one_slot_and_sets_that_fit_stay_together(slots: int, sets: list[int]) -> None:
    plates = fill_slots(slots, sets)
    assert Counter(owner for plate in plates for owner in plate) == Counter(
        {number: size for number, size in enumerate(sets) if size}
    )
    assert all(0 < len(plate) <= slots for plate in plates)
    for number, size in enumerate(sets):
        if 0 < size <= slots:
            assert sum(number in plate for plate in plates) == 1


@given(
    ends=st.tuples(st.floats(0.0, 4.0), st.floats(0.0, 4.0)),
    slope=st.floats(0.3, 3.0),
    inflection=POSITIVE,
    doses=st.tuples(POSITIVE, POSITIVE),
)
def test_a_true_curve_is_monotone_between_its_ends(
    ends: tuple[float, float], slope: float, inflection: float, doses: tuple[float, float]
) -> None:
    curve = TrueCurve(zero_dose=ends[0], slope=slope, inflection=inflection, infinite_dose=ends[1])
    lower, upper = sorted(doses)
    rise = (curve.response(upper) - curve.response(lower)) * np.sign(ends[1] - ends[0])
    assert rise >= -1e-12
    assert min(ends) - 1e-9 <= curve.response(lower) <= max(ends) + 1e-9


@given(count=st.integers(1, 60), seed=st.integers(0, 2**31))
def test_spread_numbers_fall_one_into_each_stratum(count: int, seed: int) -> None:
    strata = sorted(int(value * count) for value in spread(stream(seed, "strata"), count))
    assert strata == list(range(count))


@given(number=st.integers(0, 999_999))
def test_numbered_ids_fit_their_pattern(number: int) -> None:
    assert re.fullmatch(r"ATR-[0-9]{6}", numbered_id("ATR-[0-9]{6}", number))


@given(values=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20), factor=st.floats(0.5, 2.0))
def test_relative_errors_are_those_every_value_was_made_with(values: list[float], factor: float) -> None:
    truth = [
        TrueValue(
            accession_id=str(index),
            subject_id="S",
            visit="V",
            assay=Assay.ELISA,
            measurand="IL6",
            value=value,
            unit="pg/mL",
        )
        for index, value in enumerate(values)
    ]
    rows = [
        MeasuredValue(accession_id=str(index), assay=Assay.ELISA, measurand="IL6", value=value * factor)
        for index, value in enumerate(values)
    ]
    (elisa,) = agreement(rows, truth)
    assert elisa.compared == len(values)
    assert elisa.errors[0].median == pytest.approx(100.0 * abs(factor - 1.0), abs=1e-6)
    assert elisa.errors[0].p90 == pytest.approx(100.0 * abs(factor - 1.0), abs=1e-6)
