"""How close measured values come to the truth of a simulated study.

Knows errors, intervals and comparators, and that a concentration is judged by its ratio and a percentage by its difference.
Must not know how anything was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from biomarkers.results import Assay, Comparator
from biomarkers.simulation.truth import TrueValue

_DIFFERENCE_BY_UNIT = {"%": "percentage points", "H-score": "H-score points"}
"""Units in which a difference is told as it is; anything else is told as a share of the truth."""

RELATIVE = "% of the true value"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredValue:
    """A reported value, as the timepoint table gives it; ``value`` is None where nothing could be reported."""

    accession_id: str
    assay: Assay
    measurand: str
    value: float | None
    comparator: Comparator = ""
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Errors of one kind: their number, median and 90th percentile, all without sign, in ``unit``."""

    unit: str
    count: int
    median: float
    p90: float

    def __str__(self) -> str:
        return f"median error {self.median:.2g}, 90 % within {self.p90:.2g} {self.unit} ({self.count} values)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssayAgreement:
    """How one assay did.

    Attributes
    ----------
    compared
        Reported values that have a truth, censored ones included.
    errors
        One summary for each way in which its units are judged.
    intervals, coverage
        Values with both limits, and the share of them whose limits hold the truth; None without such values.
    comparators, comparators_right
        Values reported as "<" or ">", and the share of them for which that is true; None without such values.
    """

    assay: Assay
    compared: int
    errors: tuple[ErrorSummary, ...]
    intervals: int
    coverage: float | None
    comparators: int
    comparators_right: float | None

    def __str__(self) -> str:
        parts = [f"{self.assay}: {self.compared} values compared", *(str(error) for error in self.errors)]
        if self.coverage is not None:
            parts.append(f"95 % intervals hold the truth in {100.0 * self.coverage:.1f} % of {self.intervals}")
        if self.comparators_right is not None:
            parts.append(f"{100.0 * self.comparators_right:.1f} % of {self.comparators} '<' and '>' are right")
        return "; ".join(parts)


def agreement(rows: Sequence[MeasuredValue], truth: Sequence[TrueValue]) -> tuple[AssayAgreement, ...]:
    """Hold measured values against the truth, assay by assay, in alphabetical order.

    Values without a truth, and truths without a value, are not compared. Assays without a compared value are left out.

    Examples
    --------
    >>> whose = {"accession_id": "A1", "assay": Assay.ELISA, "measurand": "IL6"}
    >>> true = TrueValue(subject_id="S1", visit="V", value=20.0, unit="pg/mL", **whose)
    >>> seen = MeasuredValue(value=21.0, lower=18.0, upper=24.0, **whose)
    >>> print(agreement([seen], [true])[0].errors[0])
    median error 5, 90 % within 5 % of the true value (1 values)
    """
    true_by_key = {(true.accession_id, true.assay, true.measurand): true for true in truth}
    pairs = [
        (row, true_by_key[row.accession_id, row.assay, row.measurand])
        for row in rows
        if row.value is not None and (row.accession_id, row.assay, row.measurand) in true_by_key
    ]
    return tuple(
        _assay_agreement(assay, [(row, true) for row, true in pairs if row.assay is assay])
        for assay in sorted({row.assay for row, _ in pairs})
    )


def _assay_agreement(assay: Assay, pairs: Sequence[tuple[MeasuredValue, TrueValue]]) -> AssayAgreement:
    covered = [row.lower <= true.value <= row.upper for row, true in pairs if row.lower is not None and row.upper is not None]
    right = [_is_right(row, true) for row, true in pairs if row.comparator]
    return AssayAgreement(
        assay=assay,
        compared=len(pairs),
        errors=tuple(_summaries(pairs)),
        intervals=len(covered),
        coverage=sum(covered) / len(covered) if covered else None,
        comparators=len(right),
        comparators_right=sum(right) / len(right) if right else None,
    )


def _is_right(row: MeasuredValue, true: TrueValue) -> bool:
    assert row.value is not None, "a comparator stands with a value"
    return true.value < row.value if row.comparator == "<" else true.value > row.value


def _summaries(pairs: Sequence[tuple[MeasuredValue, TrueValue]]) -> Iterator[ErrorSummary]:
    errors: dict[str, list[float]] = {}
    for row, true in pairs:
        if row.value is None or row.comparator:
            continue  # a bound is right or wrong; it has no error
        unit = _DIFFERENCE_BY_UNIT.get(true.unit, RELATIVE)
        difference = abs(row.value - true.value)
        errors.setdefault(unit, []).append(_relative_percent(difference, true.value) if unit == RELATIVE else difference)
    for unit, found in errors.items():
        # An error may be infinite (something found where there is nothing); interpolating between such is no number.
        median, p90 = np.quantile(found, (0.5, 0.9), method="inverted_cdf")
        yield ErrorSummary(unit=unit, count=len(found), median=float(median), p90=float(p90))


def _relative_percent(difference: float, true_value: float) -> float:
    if true_value == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return 100.0 * difference / abs(true_value)
