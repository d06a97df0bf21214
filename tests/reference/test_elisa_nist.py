"""The least-squares engine against the certified nonlinear regressions of NIST (Statistical Reference Datasets, public domain).

The models belong to the data sets, not to any assay, and stand here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from biomarkers.elisa.least_squares import minimise
from biomarkers.elisa.logistic import FloatArray

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Certified:
    starts: tuple[FloatArray, FloatArray]
    parameters: FloatArray
    standard_errors: FloatArray
    rss: float
    residual_sd: float
    degrees_of_freedom: int
    x: FloatArray
    y: FloatArray


def certified(path: Path) -> Certified:
    text = path.read_text(encoding="ascii")
    rows = [
        [float(cell) for cell in row] for row in re.findall(r"^\s*b\d+ =\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", text, re.MULTILINE)
    ]
    data = [[float(cell) for cell in line.split()] for line in text[text.rindex("Data:") :].splitlines()[1:] if line.strip()]
    first, second, values, errors = (np.array(column) for column in zip(*rows, strict=True))
    y, x = (np.array(column) for column in zip(*data, strict=True))

    def stated(name: str) -> float:
        return float(re.findall(rf"{name}:\s+(\S+)", text)[-1])

    return Certified(
        starts=(first, second),
        parameters=values,
        standard_errors=errors,
        rss=stated("Residual Sum of Squares"),
        residual_sd=stated("Residual Standard Deviation"),
        degrees_of_freedom=int(stated("Degrees of Freedom")),
        x=x,
        y=y,
    )


def rat42(b: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    falling = np.exp(b[1] - b[2] * x)
    share = 1.0 / (1.0 + falling)
    bend = b[0] * share**2 * falling
    return b[0] * share, np.column_stack((share, -bend, bend * x))


def mgh09(b: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    above, below = x**2 + x * b[1], x**2 + x * b[2] + b[3]
    ratio = above / below
    return b[0] * ratio, np.column_stack((ratio, b[0] * x / below, -b[0] * ratio * x / below, -b[0] * ratio / below))


def misra1a(b: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    left = np.exp(-b[1] * x)
    return b[0] * (1.0 - left), np.column_stack((1.0 - left, b[0] * x * left))


MODELS: dict[str, Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]] = {
    "Rat42": rat42,
    "MGH09": mgh09,
    "Misra1a": misra1a,
}


@pytest.mark.parametrize("start", [0, 1], ids=["start 1", "start 2"])
@pytest.mark.parametrize("name", MODELS)
def test_parameters_equal_the_certified_ones_to_six_digits_from_either_start(real_data: Path, name: str, start: int) -> None:
    truth = certified(real_data / "elisa" / "reference" / f"NIST_{name}.dat")
    model = MODELS[name]
    found = minimise(
        lambda b: model(b, truth.x)[0] - truth.y,
        lambda b: model(b, truth.x)[1],
        np.array(truth.starts[start], dtype=np.float64),
    )
    assert found.parameters == pytest.approx(truth.parameters, rel=1e-6)
    assert found.spread.standard_errors() == pytest.approx(truth.standard_errors, rel=1e-5)
    # Eleven digits are certified.
    assert found.spread.rss == pytest.approx(truth.rss, rel=1e-9)
    assert found.spread.residual_sd == pytest.approx(truth.residual_sd, rel=1e-9)
    assert found.spread.degrees_of_freedom == truth.degrees_of_freedom
