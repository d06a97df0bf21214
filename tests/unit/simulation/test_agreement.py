from __future__ import annotations

import math
from pathlib import Path

import pytest

from biomarkers.errors import SourceFileError
from biomarkers.results import Assay, Comparator
from biomarkers.simulation.agreement import MeasuredValue, agreement
from biomarkers.simulation.truth import TrueValue, read_truth, write_truth


def _true(
    accession: str, value: float, *, assay: Assay = Assay.ELISA, measurand: str = "IL6", unit: str = "pg/mL"
) -> TrueValue:
    return TrueValue(
        accession_id=accession, subject_id="S0001", visit="C2D1", assay=assay, measurand=measurand, value=value, unit=unit
    )


def _measured(
    accession: str,
    value: float | None,
    *,
    comparator: Comparator = "",
    lower: float | None = None,
    upper: float | None = None,
) -> MeasuredValue:
    return MeasuredValue(
        accession_id=accession,
        assay=Assay.ELISA,
        measurand="IL6",
        value=value,
        comparator=comparator,
        lower=lower,
        upper=upper,
    )


def test_concentrations_are_judged_by_their_ratio_and_percentages_by_their_difference() -> None:
    truth = [_true("a", 10.0), _true("b", 200.0), _true("c", 40.0, assay=Assay.CYTOMETRY, measurand="CD4_PCT_T", unit="%")]
    rows = [
        _measured("a", 11.0),
        _measured("b", 198.0),
        MeasuredValue(accession_id="c", assay=Assay.CYTOMETRY, measurand="CD4_PCT_T", value=43.0),
    ]
    cytometry, elisa = agreement(rows, truth)
    assert (elisa.assay, elisa.compared, elisa.errors[0].unit) == (Assay.ELISA, 2, "% of the true value")
    assert elisa.errors[0].median == pytest.approx(1.0)
    assert elisa.errors[0].p90 == pytest.approx(10.0)
    assert (cytometry.errors[0].unit, cytometry.errors[0].median) == ("percentage points", pytest.approx(3.0))


def test_a_bound_is_right_or_wrong_and_has_no_error() -> None:
    truth = [_true("a", 2.0), _true("b", 8.0), _true("c", 900.0)]
    rows = [_measured("a", 6.2, comparator="<"), _measured("b", 6.2, comparator="<"), _measured("c", 400.0, comparator=">")]
    (elisa,) = agreement(rows, truth)
    assert elisa.errors == ()
    assert (elisa.comparators, elisa.comparators_right) == (3, pytest.approx(2 / 3))


def test_coverage_counts_intervals_with_both_limits() -> None:
    truth = [_true("a", 10.0), _true("b", 10.0), _true("c", 10.0)]
    rows = [
        _measured("a", 11.0, lower=9.0, upper=13.0),
        _measured("b", 13.0, lower=12.0, upper=14.0),
        _measured("c", 11.0, lower=9.0),
    ]
    (elisa,) = agreement(rows, truth)
    assert (elisa.intervals, elisa.coverage) == (2, 0.5)


def test_values_without_truth_and_truths_without_value_are_not_compared() -> None:
    assert agreement([_measured("a", None), _measured("x", 3.0)], [_true("a", 1.0), _true("b", 2.0)]) == ()


def test_something_found_where_there_is_nothing_is_an_infinite_error_not_none() -> None:
    (elisa,) = agreement([_measured("a", 1.0), _measured("b", 0.0)], [_true("a", 0.0), _true("b", 0.0)])
    assert elisa.errors[0].median == 0.0
    assert math.isinf(elisa.errors[0].p90)


def test_an_assay_prints_as_one_line() -> None:
    (elisa,) = agreement([_measured("a", 10.5, lower=9.0, upper=12.0)], [_true("a", 10.0)])
    assert str(elisa) == (
        "elisa: 1 values compared; median error 5, 90 % within 5 % of the true value (1 values); "
        "95 % intervals hold the truth in 100.0 % of 1"
    )


def test_truth_survives_its_file(tmp_path: Path) -> None:
    values = (_true("ATR-000001", 0.1 + 0.2), _true("ATR-000002", 1e-7))
    write_truth(tmp_path / "truth.csv", reversed(values))
    assert read_truth(tmp_path / "truth.csv") == values


def test_a_damaged_truth_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("accession_id,subject_id,visit,assay,measurand,value,unit\na,b,c,elisa,IL6,much,pg/mL\n", encoding="utf-8")
    with pytest.raises(SourceFileError, match=r"could not convert string to float: 'much'\. File 'truth\.csv'\."):
        read_truth(path)
