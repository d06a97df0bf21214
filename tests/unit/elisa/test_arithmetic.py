"""Formulas written as text."""

from __future__ import annotations

import math

import pytest

from biomarkers.elisa.arithmetic import evaluate
from biomarkers.errors import AssayError


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("((A-B)/0.049)/13.7*10", (0.3 - 0.1) / 0.049 / 13.7 * 10),
        ("-A + +B*2", -0.1),
        ("2^3^2", 512.0),
        ("1e2 - A", 99.7),
    ],
)
def test_arithmetic_has_its_usual_meaning(formula: str, value: float) -> None:
    assert evaluate(formula, {"A": 0.3, "B": 0.1}) == pytest.approx(value)


@pytest.mark.parametrize("formula", ["A/(B-0.1)", "(0-A)^0.5", "9^9^9^9", "1e308*10"])
def test_what_has_no_finite_value_is_nan(formula: str) -> None:
    assert math.isnan(evaluate(formula, {"A": 0.3, "B": 0.1}))


@pytest.mark.parametrize(
    "formula", ["C", "abs(A)", "A if B else 1", "__import__('os')", "A;B", "", "'x'*9", "True", "A == B", "(" * 300, "1+" * 400]
)
def test_anything_else_is_refused(formula: str) -> None:
    with pytest.raises(AssayError, match="is no plain arithmetic of named values"):
        evaluate(formula, {"A": 0.3, "B": 0.1})
