"""The page of a laboratory's stain batches: control slides against their limits, and how far stains drifted, slide by slide.

Knows batches as they were judged. Must not know the rules. One file: no script, nothing fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from biomarkers.laboratory.stain_batches import StainBatch
from biomarkers.reports.figures import Axis, Drawing, Frame, Tick, linear_axis
from biomarkers.reports.page import environment
from biomarkers.results import Finding

MOST_SLIDES = 60
"""Slides drawn of a batch; the table lists all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownBatch:
    """A batch with its drawings, one a stain."""

    batch: StainBatch
    drawings: tuple[Markup, ...]
    findings: tuple[Finding, ...]


def stain_batch_page(batches: Sequence[StainBatch], *, title: str, analysis_id: str = "") -> str:
    """Draw the page; ``analysis_id`` names the analysis it belongs to, where it is kept as one's evidence."""
    shown = [
        ShownBatch(
            batch=batch,
            drawings=tuple(drift_drawing(batch, stain) for stain in ("haematoxylin", "dab") if _has(batch, stain)),
            findings=(*batch.findings, *(finding for drift in batch.drifts for finding in drift.findings)),
        )
        for batch in batches
    ]
    page = environment().get_template("stain_batches.html").render(title=title, batches=shown, analysis_id=analysis_id)
    return "\n".join(line.rstrip() for line in page.splitlines() if line.strip()) + "\n"


def _has(batch: StainBatch, stain: str) -> bool:
    return any(stain in drift.angle_deg_by_stain for drift in batch.drifts)


def drift_drawing(batch: StainBatch, stain: str) -> Markup:
    """Draw each slide's angle to the batch's usual direction of a stain, with the limit beyond which it has drifted."""
    drifts = batch.drifts[:MOST_SLIDES]
    angles = [(index, drift.slide, drift.angle_deg_by_stain.get(stain)) for index, drift in enumerate(drifts)]
    limit = drifts[0].limit_deg_by_stain[stain]
    top = max([limit, *(angle for _, _, angle in angles if angle is not None)]) * 1.15
    drawing = Drawing(560, 190, f"Direction of {stain}, {batch.stain}, stain batch {batch.batch}, over {len(drifts)} slides")
    ticks = tuple(
        Tick(at=float(index), label=str(index + 1))
        for index in range(len(drifts))
        if index in (0, len(drifts) - 1) or (index + 1) % 10 == 0
    )
    frame = Frame(
        left=62,
        top=16,
        width=442,
        height=126,
        x=Axis(low=-0.7, high=max(1.0, len(drifts) - 0.3), label="slide, in the order of scanning", ticks=ticks),
        y=linear_axis(0.0, top, f"{'DAB' if stain == 'dab' else stain}: angle, °", wanted=4),
    )
    drawing.axes(frame, grid=False)
    drawing.line((frame.left, frame.at_y(limit)), (frame.right, frame.at_y(limit)), "limit")
    drawing.text((frame.right + 6, frame.at_y(limit) + 4), "limit", "label", anchor="start")
    for index, name, angle in angles:
        if angle is not None:
            place = frame.at(index, angle)
            drawing.circle(place, 3.4, "mark-accepted" if angle <= limit else "mark-rejected", title=f"{name}: {angle:.1f}°")
            if angle > limit:
                drawing.text((place[0], place[1] - 8), name[:28], "value-off")
    return drawing.markup()
