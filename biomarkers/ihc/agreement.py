"""How well readers agree: with each other, and with this package.

Knows tables of readings. Must not know slides, readers' names or figures.

A coefficient of correlation does not measure agreement: a reader who always gives twice the other's score correlates
perfectly. The intraclass correlation and the limits of agreement are for scores on a scale, kappa is for classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from biomarkers.errors import AssayError
from biomarkers.results import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class IntraclassCorrelation:
    """ICC(2,1): absolute agreement of single readings, readers drawn from many (Shrout and Fleiss 1979).

    Attributes
    ----------
    value
        1 for readings that are always equal; near 0 or below where slides differ no more than readers do.
    interval
        None where it cannot be given.
    """

    value: float
    interval: Interval | None
    slides: int
    readers: int


def intraclass_correlation(readings: NDArray[np.float64]) -> IntraclassCorrelation:
    """Compute ICC(2,1) with 95 % limits.

    Two-way random effects, absolute agreement, single reading: Shrout and Fleiss (1979), Psychol Bull 86:420; limits by their
    formula, with Satterthwaite's degrees of freedom.

    Parameters
    ----------
    readings
        One row a slide, one column a reader. Rows with a missing reading (NaN) are left out.

    Raises
    ------
    AssayError
        Fewer than two slides or two readers are left, or all readings are equal.

    Examples
    --------
    The table of Shrout and Fleiss, whose ICC(2,1) they give as .29:

    >>> table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
    >>> round(intraclass_correlation(table).value, 2)
    0.29
    """
    table = _complete(readings)
    slides, readers = table.shape
    grand = table.mean()
    by_slide, by_reader = table.mean(axis=1), table.mean(axis=0)
    between = readers * float(((by_slide - grand) ** 2).sum()) / (slides - 1)
    reader = slides * float(((by_reader - grand) ** 2).sum()) / (readers - 1)
    rest = table - by_slide[:, None] - by_reader[None, :] + grand
    error = float((rest**2).sum()) / ((slides - 1) * (readers - 1))
    total = between + (readers - 1) * error + readers * (reader - error) / slides
    if total <= 0 or not (between or reader or error):
        raise AssayError(
            what="All readings are equal, so that slides cannot be told apart.",
            where="Intraclass correlation.",
            remedy="Give slides that differ.",
        )
    value = (between - error) / total
    return IntraclassCorrelation(
        value=value, interval=_icc_limits(value, between, reader, error, slides, readers), slides=slides, readers=readers
    )


def _icc_limits(value: float, between: float, reader: float, error: float, slides: int, readers: int) -> Interval | None:  # noqa: PLR0917  - the table of an analysis of variance
    if error <= 0:
        return Interval(lower=value, upper=value) if reader == 0 else None
    ratio = reader / error
    part = readers * value * ratio
    whole = slides * (1 + (readers - 1) * value) - readers * value
    freedom = ((readers - 1) * (slides - 1) * (part + whole) ** 2) / (
        (slides - 1) * readers**2 * value**2 * ratio**2 + whole**2
    )
    if not math.isfinite(freedom) or freedom <= 0:
        return None
    upper_f = float(stats.f.ppf(0.975, slides - 1, freedom))
    lower_f = float(stats.f.ppf(0.975, freedom, slides - 1))
    mixed = readers * reader + (readers * slides - readers - slides) * error
    lower = slides * (between - upper_f * error) / (upper_f * mixed + slides * between)
    upper = slides * (lower_f * between - error) / (mixed + slides * lower_f * between)
    return Interval(lower=lower, upper=upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsOfAgreement:
    """Bland and Altman's limits: where 95 % of differences between two readers lie.

    Attributes
    ----------
    bias
        Mean of second less first.
    slope
        Change of the difference per unit of the mean of both, with its limits; away from 0 the readers differ more at one end
        of the scale and the limits do not describe either end.
    """

    slides: int
    bias: float
    bias_interval: Interval
    deviation: float
    lower: float
    lower_interval: Interval
    upper: float
    upper_interval: Interval
    slope: float
    slope_interval: Interval


def limits_of_agreement(first: NDArray[np.float64], second: NDArray[np.float64]) -> LimitsOfAgreement:
    """Compare two readers of the same slides (Bland and Altman 1986, Lancet i:307, with their approximate limits' errors).

    Raises
    ------
    AssayError
        Fewer than three slides were read by both.
    """
    table = _complete(np.column_stack([first, second]), fewest=3)
    difference, mean = table[:, 1] - table[:, 0], table.mean(axis=1)
    slides = len(table)
    bias, deviation = float(difference.mean()), float(difference.std(ddof=1))
    width = float(stats.t.ppf(0.975, slides - 1))
    bias_half = width * deviation / math.sqrt(slides)
    limit_half = width * deviation * math.sqrt(1 / slides + 1.959964**2 / (2 * (slides - 1)))
    lower, upper = bias - 1.959964 * deviation, bias + 1.959964 * deviation
    slope, slope_interval = _slope(mean, difference)
    return LimitsOfAgreement(
        slides=slides,
        bias=bias,
        bias_interval=Interval(lower=bias - bias_half, upper=bias + bias_half),
        deviation=deviation,
        lower=lower,
        lower_interval=Interval(lower=lower - limit_half, upper=lower + limit_half),
        upper=upper,
        upper_interval=Interval(lower=upper - limit_half, upper=upper + limit_half),
        slope=slope,
        slope_interval=slope_interval,
    )


def _slope(mean: NDArray[np.float64], difference: NDArray[np.float64]) -> tuple[float, Interval]:
    spread = float(((mean - mean.mean()) ** 2).sum())
    if spread <= 0:
        return 0.0, Interval(lower=None, upper=None)
    slope = float(((mean - mean.mean()) * difference).sum()) / spread
    rest = difference - difference.mean() - slope * (mean - mean.mean())
    freedom = len(mean) - 2
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(float((rest**2).sum()) / freedom / spread)
    return slope, Interval(lower=slope - half, upper=slope + half)


Weights: TypeAlias = Literal["none", "linear", "quadratic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kappa:
    """Agreement of two readers on ordered classes beyond chance: 1 for complete agreement, 0 for that of chance."""

    value: float
    interval: Interval
    standard_error: float
    observed: float
    expected: float
    slides: int
    weights: Weights


def weighted_kappa(first: Sequence[str], second: Sequence[str], *, classes: Sequence[str], weights: Weights) -> Kappa:
    """Compute Cohen's weighted kappa with 95 % limits (standard error: Fleiss, Cohen and Everitt 1969, Psychol Bull 72:323).

    Parameters
    ----------
    first, second
        Class given to each slide by either reader, in the same order.
    classes
        All classes in their order, those that nobody used among them: the distance between classes depends on it.
    weights
        How far-off readings count: all alike, by their distance, or by its square.

    Raises
    ------
    AssayError
        A class is unknown, the readers read different numbers of slides, or chance alone would agree completely.
    """
    table = _cross_table(first, second, classes)
    slides, size = int(table.sum()), len(classes)
    share = table / slides
    step = np.abs(np.arange(size)[:, None] - np.arange(size)[None, :])
    farthest = max(size - 1, 1)
    agreement = {
        "none": (step == 0).astype(np.float64),
        "linear": 1.0 - step / farthest,
        "quadratic": 1.0 - (step / farthest) ** 2,
    }[weights]
    row, column = share.sum(axis=1), share.sum(axis=0)
    observed = float((agreement * share).sum())
    expected = float((agreement * np.outer(row, column)).sum())
    if expected >= 1.0 - 1e-12:
        raise AssayError(
            what="Both readers put all slides into one class; chance alone would agree as well.",
            where="Weighted kappa.",
            remedy="Give slides of several classes, or report the share of equal readings.",
        )
    value = (observed - expected) / (1.0 - expected)
    mean_weight = (agreement @ column)[:, None] + (row @ agreement)[None, :]
    inner = agreement * (1.0 - expected) - mean_weight * (1.0 - observed)
    variance = float((share * inner**2).sum()) - (observed * expected - 2.0 * expected + observed) ** 2
    error = math.sqrt(max(0.0, variance)) / ((1.0 - expected) ** 2 * math.sqrt(slides))
    half = 1.959964 * error
    return Kappa(
        value=value,
        interval=Interval(lower=max(-1.0, value - half), upper=min(1.0, value + half)),
        standard_error=error,
        observed=observed,
        expected=expected,
        slides=slides,
        weights=weights,
    )


def _cross_table(first: Sequence[str], second: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    place = {name: index for index, name in enumerate(classes)}
    unknown = sorted({*first, *second} - set(place))
    if unknown or len(first) != len(second) or not first:
        raise AssayError(
            what=f"Unknown classes: {', '.join(unknown)}." if unknown else "The readers did not read the same slides.",
            where="Weighted kappa.",
            remedy=f"Use the classes {', '.join(classes)}, one a slide and reader.",
        )
    table = np.zeros((len(classes), len(classes)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1.0
    return table


def _complete(readings: NDArray[np.float64], fewest: int = 2) -> NDArray[np.float64]:
    table = np.asarray(readings, dtype=np.float64)
    table = table[np.isfinite(table).all(axis=1)]
    if table.shape[0] < fewest or table.shape[1] < 2:
        raise AssayError(
            what=f"{table.shape[0]} slides were read by all of {table.shape[1]} readers; {fewest} and 2 are needed.",
            where="Agreement.",
            remedy="Give more slides, or leave out readers who read few of them.",
        )
    return table
