"""How well a laboratory's scores and those of any number of readers agree, with a figure.

Knows which scores to put beside each other, and how the differences are drawn. Must not know where results are kept, nor the
formulas, which are those of :mod:`biomarkers.ihc.agreement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from biomarkers.errors import AssayError
from biomarkers.ihc.agreement import (
    IntraclassCorrelation,
    Kappa,
    LimitsOfAgreement,
    intraclass_correlation,
    limits_of_agreement,
    weighted_kappa,
)
from biomarkers.readers.reader_scores import ReaderScores
from biomarkers.reports.figures import Drawing, Frame, linear_axis

OURS = "biomarkers"

PANEL_WIDTH, PANEL_HEIGHT = 380.0, 270.0

_STYLE = (
    "svg{font-family:system-ui,sans-serif;background:#fff}.axis{stroke:#7f8b92;stroke-width:1;fill:none}"
    ".grid{stroke:#e9edef;stroke-width:1}.tick{fill:#55636b;font-size:11px}.label{fill:#55636b;font-size:12px}"
    ".head{fill:#16262d;font-size:13px;font-weight:600}.point{fill:#1d6f80;fill-opacity:.7}"
    ".bias{stroke:#1d6f80;stroke-width:1.5}.limit{stroke:#8f5a00;stroke-width:1;stroke-dasharray:4 3}"
    ".zero{stroke:#16262d;stroke-width:1}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedLine:
    """A line of the readers' file that has no measurement to stand beside, and why."""

    line: int
    accession_id: str
    measurand: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairAgreement:
    """Two raters on the slides both scored; a figure that cannot be given is None and ``reasons`` says why.

    ``means`` and ``differences`` (second less first) are one a slide, as in the plot.
    """

    first: str
    second: str
    icc: IntraclassCorrelation | None
    limits: LimitsOfAgreement | None
    kappa: Kappa | None
    means: NDArray[np.float64]
    differences: NDArray[np.float64]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasurandAgreement:
    """All raters of one score: ``readers_alone`` without, ``all_raters`` with the laboratory's own."""

    measurand: str
    raters: tuple[str, ...]
    slides: int
    readers_alone: IntraclassCorrelation | None
    all_raters: IntraclassCorrelation | None
    pairs: tuple[PairAgreement, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AgreementStudy:
    """Everything that was compared, and what could not be."""

    measurands: tuple[MeasurandAgreement, ...]
    unmatched: tuple[UnmatchedLine, ...]
    cutoffs: tuple[float, ...]


def agreement_study(
    scores: ReaderScores,
    measured: Mapping[tuple[str, str], float],
    reasons: Mapping[tuple[str, str], str],
    cutoffs: Sequence[float] = (),
) -> AgreementStudy:
    """Compare readers with the laboratory and with each other.

    Parameters
    ----------
    measured
        The laboratory's value by accession and measurand.
    reasons
        Why there is no value, where that is known.
    cutoffs
        Where classes begin, for kappa; without them there is none, for no cut-off is established in this disease.
    """
    limits = tuple(sorted(cutoffs))
    unmatched: list[UnmatchedLine] = []
    tables: dict[str, list[list[float]]] = {}
    for line in scores.lines:
        key = (line.accession_id, line.measurand)
        if key not in measured:
            why = reasons.get(key, "the laboratory has no result of this accession and score")
            unmatched.append(
                UnmatchedLine(line=line.line, accession_id=line.accession_id, measurand=line.measurand, reason=why)
            )
        row = [measured.get(key, np.nan), *(line.value_by_reader.get(reader, np.nan) for reader in scores.readers)]
        tables.setdefault(line.measurand, []).append(row)
    raters = (OURS, *scores.readers)
    return AgreementStudy(
        measurands=tuple(_compared(measurand, raters, np.asarray(rows), limits) for measurand, rows in sorted(tables.items())),
        unmatched=tuple(unmatched),
        cutoffs=limits,
    )


def _compared(
    measurand: str, raters: tuple[str, ...], table: NDArray[np.float64], cutoffs: tuple[float, ...]
) -> MeasurandAgreement:
    pairs = tuple(
        _pair(raters[other], raters[one], table[:, [other, one]], cutoffs) for one, other in combinations(range(len(raters)), 2)
    )
    return MeasurandAgreement(
        measurand=measurand,
        raters=raters,
        slides=len(table),
        readers_alone=_icc(table[:, 1:])[0],
        all_raters=_icc(table)[0],
        pairs=pairs,
    )


def _icc(table: NDArray[np.float64]) -> tuple[IntraclassCorrelation | None, str]:
    try:
        return intraclass_correlation(table), ""
    except AssayError as error:
        return None, error.what


def _pair(first: str, second: str, table: NDArray[np.float64], cutoffs: tuple[float, ...]) -> PairAgreement:
    both = table[np.isfinite(table).all(axis=1)]
    icc, why = _icc(both)
    reasons = [why]
    limits: LimitsOfAgreement | None = None
    kappa: Kappa | None = None
    try:
        limits = limits_of_agreement(both[:, 0], both[:, 1])
    except AssayError as error:
        reasons.append(error.what)
    if cutoffs:
        names = _class_names(cutoffs)
        classes = [[names[index] for index in np.searchsorted(cutoffs, column, side="right")] for column in both.T]
        try:
            kappa = weighted_kappa(classes[0], classes[1], classes=names, weights="quadratic")
        except AssayError as error:
            reasons.append(error.what)
    return PairAgreement(
        first=first,
        second=second,
        icc=icc,
        limits=limits,
        kappa=kappa,
        means=both.mean(axis=1),
        differences=both[:, 1] - both[:, 0],
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason)),
    )


def _class_names(cutoffs: tuple[float, ...]) -> list[str]:
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(cutoffs)]
    return [f"below {cutoffs[0]:g}", *inner, f"{cutoffs[-1]:g} or more"]


def agreement_figure(study: AgreementStudy) -> str:
    """Draw differences against means for every pair of raters, one row a score, as an SVG that needs nothing besides itself."""
    columns = max((len(measurand.pairs) for measurand in study.measurands), default=1)
    drawing = Drawing(columns * PANEL_WIDTH, max(1, len(study.measurands)) * PANEL_HEIGHT, "Agreement of readers")
    for row, measurand in enumerate(study.measurands):
        for column, pair in enumerate(measurand.pairs):
            _panel(drawing, pair, measurand.measurand, left=column * PANEL_WIDTH, top=row * PANEL_HEIGHT)
    # Within a page the drawing needs neither name space nor looks of its own; as a file it needs both.
    opening, _, rest = str(drawing.markup()).removeprefix("<svg").partition(">")
    return f'<svg xmlns="http://www.w3.org/2000/svg"{opening}><style>{_STYLE}</style>{rest}\n'


def _panel(drawing: Drawing, pair: PairAgreement, measurand: str, *, left: float, top: float) -> None:
    drawing.text((left + 62, top + 18), f"{measurand}: {pair.second} less {pair.first}", "head", anchor="start")
    if not len(pair.means):
        drawing.text((left + 62, top + 40), "no slide was scored by both", "label", anchor="start")
        return
    limits = pair.limits
    shown = [0.0, float(pair.differences.min()), float(pair.differences.max())]
    shown += [] if limits is None else [limits.lower, limits.upper]
    margin = 0.06 * ((max(shown) - min(shown)) or 1.0)
    frame = Frame(
        left=left + 62,
        top=top + 44,
        width=PANEL_WIDTH - 84,
        height=PANEL_HEIGHT - 96,
        x=linear_axis(float(min(0.0, pair.means.min())), float(pair.means.max()), "mean of both", wanted=5),
        y=linear_axis(min(shown) - margin, max(shown) + margin, "", wanted=5),
    )
    drawing.axes(frame)
    drawing.line((frame.left, frame.at_y(0.0)), (frame.right, frame.at_y(0.0)), "zero")
    if limits is not None:
        for value, kind in ((limits.bias, "bias"), (limits.lower, "limit"), (limits.upper, "limit")):
            drawing.line((frame.left, frame.at_y(value)), (frame.right, frame.at_y(value)), kind)
    for mean, difference in zip(pair.means, pair.differences, strict=True):
        drawing.circle(frame.at(float(mean), float(difference)), 3.2, "point")
    words = [f"{len(pair.means)} slides"]
    words += [] if pair.icc is None else [f"ICC(2,1) {pair.icc.value:.2f}"]
    words += [] if pair.kappa is None else [f"kappa {pair.kappa.value:.2f}"]
    words += [] if limits is None else [f"bias {limits.bias:.3g} ({limits.lower:.3g} to {limits.upper:.3g})"]
    drawing.text((left + 62, top + 35), ", ".join(words), "tick", anchor="start")
