"""What slides of one stain batch say together: drift of stain vectors, background, control slides.

Knows results of whole slides. Must not know files or the store. This is a second step over a set of slides: a slide's own
scores never depend on it. Cut-offs of DAB are fixed for a batch; whether the batch kept to them is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biomarkers.ihc.protocol import ControlSettings
from biomarkers.ihc.records import ScoreRecord, SlideAnalysis
from biomarkers.ihc.stains import Vector, angle_deg
from biomarkers.results import Finding, Severity

FEWEST_SLIDES = 5
"""From fewer slides no usual direction can be told from a drift."""

_WORDS = {"haematoxylin": "haematoxylin", "dab": "DAB"}

SMALLEST_DRIFT_DEG = 4.0
"""Less than this is seen between slides of one run and moves optical densities by some percent only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StainedSlide:
    """The stain directions found on a slide; a stain that was not found on it is absent."""

    name: str
    stain: str
    vectors: Mapping[str, Vector]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorDrift:
    """How far one slide's stain directions lie from the batch's usual ones.

    Attributes
    ----------
    angle_deg_by_stain
        Between the slide's direction and the batch's median direction, for haematoxylin and DAB; absent where either is.
    limit_deg_by_stain
        Beyond it the slide has drifted: the batch's median angle plus three times its robust standard deviation, never less
        than 4 degrees.
    """

    slide: str
    angle_deg_by_stain: Mapping[str, float]
    limit_deg_by_stain: Mapping[str, float]
    findings: tuple[Finding, ...]


def vector_drift(slides: Sequence[StainedSlide]) -> tuple[VectorDrift, ...]:
    """Find slides whose stain directions differ from those of their batch, in the order given.

    Parameters
    ----------
    slides
        Of one stain and one batch, in the order in which they were stained or scanned; from fewer than 5 nothing is concluded.
    """
    found = {stain: [slide.vectors[stain] for slide in slides if stain in slide.vectors] for stain in ("haematoxylin", "dab")}
    usual = {stain: _median_direction(vectors) for stain, vectors in found.items() if len(vectors) >= FEWEST_SLIDES}
    if not usual:
        return ()
    limits = {stain: _limit([angle_deg(vector, usual[stain]) for vector in found[stain]]) for stain in usual}
    drifts = []
    for slide in slides:
        own = {stain: angle_deg(slide.vectors[stain], usual[stain]) for stain in usual if stain in slide.vectors}
        findings = tuple(
            Finding(
                code="STAIN_DRIFT",
                severity=Severity.WARNING,
                where=f"Slide '{slide.name}', stain {slide.stain}.",
                message=f"The direction of {_WORDS[stain]} lies {own[stain]:.1f}° from the batch's usual one; "
                f"{limits[stain]:.1f}° are usual.",
                remedy="Look at the control slide of the run; stain and scan again if it differs too.",
            )
            for stain in own
            if own[stain] > limits[stain]
        )
        drifts.append(VectorDrift(slide=slide.name, angle_deg_by_stain=own, limit_deg_by_stain=limits, findings=findings))
    return tuple(drifts)


def _median_direction(directions: Sequence[Vector]) -> Vector:
    middle = np.median(np.asarray(directions), axis=0)
    red, green, blue = (float(part) for part in middle / np.linalg.norm(middle))
    return (red, green, blue)


def _limit(angles: Sequence[float]) -> float:
    middle = float(np.median(angles))
    spread = 1.4826 * float(np.median(np.abs(np.asarray(angles) - middle)))
    return max(SMALLEST_DRIFT_DEG, middle + 3.0 * spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlVerdict:
    """Whether a control slide shows what it must.

    Attributes
    ----------
    kind
        ``"positive"`` or ``"negative"``.
    is_accepted
        None where no limit is declared or the slide cannot be scored; the finding says which.
    value, lower, upper
        H-score of the positive control, or percentage of positive cells without primary antibody, and the limits.
    """

    kind: str
    slide: str
    value: float | None
    lower: float | None
    upper: float | None
    is_accepted: bool | None
    findings: tuple[Finding, ...]


def judge_positive_control(slide: SlideAnalysis, controls: ControlSettings) -> ControlVerdict:
    """Judge the positive control by the declared range of its H-score over all its cells."""
    value = _h_score_of_all(slide.scores[0])
    meaning = "The batch's cut-offs are not confirmed"
    return _verdict("positive", slide, value, limits=controls.positive_h_score, unit="H-score", meaning=meaning)


def judge_negative_control(slide: SlideAnalysis, controls: ControlSettings) -> ControlVerdict:
    """Judge the slide without primary antibody by its percentage of positive cells: what the chromogen colours by itself."""
    value = slide.scores[0].positive_percent
    limits = (0.0, controls.largest_background_percent)
    return _verdict("negative", slide, value, limits=limits, unit="% positive cells", meaning="Background colours cells")


def _h_score_of_all(record: ScoreRecord) -> float | None:
    """H-score over all cells of the control tissue; a control needs no tumour class, its range was declared on all cells."""
    if record.h_score is not None and record.h_score_cells == "all cells":
        return record.h_score
    if record.positive_percent is None or record.cells == 0:
        return None
    return 100.0 * sum(weight * record.class_counts[name] for weight, name in enumerate(("0", "1+", "2+", "3+"))) / record.cells


def _verdict(
    kind: str,
    slide: SlideAnalysis,
    value: float | None,
    *,
    limits: tuple[float, float] | None,
    unit: str,
    meaning: str,
) -> ControlVerdict:
    lower, upper = (None, None) if limits is None else limits
    where = f"Control slide '{slide.run.name}', stain {slide.stain}."
    findings: tuple[Finding, ...] = ()
    accepted: bool | None = None
    if value is None:
        findings = (
            Finding(
                code="CONTROL_NOT_EVALUABLE", severity=Severity.WARNING, where=where,
                message=f"The {kind} control cannot be scored.", remedy="Look at the slide's own findings; stain it again.",
            ),
        )  # fmt: skip
    elif lower is None or upper is None:
        findings = (
            Finding(
                code="CONTROL_RANGE_UNDECLARED", severity=Severity.NOTE, where=where,
                message=f"The {kind} control reads {value:.3g} {unit}; the stain protocol declares no range.",
                remedy="Declare the range in a protocol of your own.",
            ),
        )  # fmt: skip
    else:
        accepted = lower <= value <= upper
        if not accepted:
            findings = (
                Finding(
                    code=f"{kind.upper()}_CONTROL_FAILED", severity=Severity.REJECT, where=where,
                    message=f"{meaning}: the {kind} control reads {value:.3g} {unit}, outside {lower:g} to {upper:g}.",
                    remedy="Reject the batch, or find the cause and stain it again.",
                ),
            )  # fmt: skip
    return ControlVerdict(
        kind=kind, slide=slide.run.name, value=value, lower=lower, upper=upper, is_accepted=accepted, findings=findings
    )


def batch_findings(batch: str, stain: str, verdicts: Sequence[ControlVerdict]) -> tuple[Finding, ...]:
    """Say of a stain batch what its control slides tell; the findings go with every specimen of the batch.

    Parameters
    ----------
    verdicts
        Of all control slides of this stain and batch; none at all is a finding too.
    """
    where = f"Stain batch '{batch}', stain {stain}."
    positive = [verdict for verdict in verdicts if verdict.kind == "positive"]
    negative = [verdict for verdict in verdicts if verdict.kind == "negative"]
    return (*_of_positive(positive, where), *_of_negative(negative, where))


def _of_positive(verdicts: Sequence[ControlVerdict], where: str) -> Iterator[Finding]:
    if not verdicts:
        yield Finding(
            code="STAIN_CONTROL_MISSING",
            severity=Severity.WARNING,
            where=where,
            message="No positive control slide of this batch is on record, so that nothing confirms its DAB cut-offs.",
            remedy="Scan the batch's positive control and drop it with its role and batch.",
        )
    failed = _failed(verdicts)
    if failed:
        yield Finding(
            code="STAIN_CONTROL_FAILED",
            severity=Severity.WARNING,
            where=where,
            message=f"The batch's DAB cut-offs are not confirmed: {failed}.",
            remedy="Stain the batch again, or exclude its results with the reason.",
        )
    elif verdicts and not any(verdict.is_accepted for verdict in verdicts):
        yield Finding(
            code="CUTOFFS_UNCONFIRMED",
            severity=Severity.NOTE,
            where=where,
            message="The batch has a positive control, but the stain protocol declares no range for its H-score.",
            remedy="Declare controls.positive_h_score in a stain protocol of your own.",
        )


def _of_negative(verdicts: Sequence[ControlVerdict], where: str) -> Iterator[Finding]:
    if not verdicts:
        yield Finding(
            code="NEGATIVE_CONTROL_MISSING",
            severity=Severity.NOTE,
            where=where,
            message="No slide without primary antibody is on record for this batch: its background is not known.",
            remedy="Scan the batch's negative control and drop it with its role and batch.",
        )
    failed = _failed(verdicts)
    if failed:
        yield Finding(
            code="BACKGROUND_TOO_HIGH",
            severity=Severity.WARNING,
            where=where,
            message=f"The chromogen colours cells without primary antibody: {failed}.",
            remedy="Look for endogenous peroxidase, pigment or too long a development; stain the batch again.",
        )


def _failed(verdicts: Sequence[ControlVerdict]) -> str:
    """Say in words what is wrong with controls; empty where nothing is."""
    return "; ".join(
        f"'{verdict.slide}' cannot be scored"
        if verdict.value is None
        else f"'{verdict.slide}' reads {verdict.value:.3g}, outside {verdict.lower:g} to {verdict.upper:g}"
        for verdict in verdicts
        if verdict.value is None or verdict.is_accepted is False
    )
