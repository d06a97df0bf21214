"""The quality page of one slide: where tissue was found, how colour was read, cells on the picture, the scores.

Knows what a pathologist asks of a count made by a machine. Must not know how cells were found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from biomarkers.ihc.records import ScoreRecord, SlideAnalysis
from biomarkers.ihc.scoring import INTENSITY_CLASSES
from biomarkers.ihc.stains import Vector
from biomarkers.reports.figures import Axis, Drawing, Frame, Tick, linear_axis, rgb_colour
from biomarkers.reports.page import Fact, all_findings, render
from biomarkers.reports.slide_pictures import DabHistogram, FieldPicture, SectionPicture, SlidePictures
from biomarkers.results import Finding, Interval

_SWATCH_DENSITY = 0.75
"""Optical density a stain's swatch is painted with: that of a well stained nucleus."""

_BAR_LENGTHS_UM = (5000, 2000, 1000, 500, 200, 100, 50, 20, 10)

_SCORES: Mapping[str, tuple[str, str, str]] = {
    "positive_percent": ("positive cells", "%", "of all cells in the region"),
    "density_per_mm2": ("positive cells per area", "/mm²", "of the region's area that can be evaluated"),
    "h_score": ("H-score", "of 300", "over {h_score_cells} in the region"),
}
_TUMOUR_SCORES: Mapping[str, tuple[str, str, str]] = {
    "tps": ("TPS", "%", "of viable tumour cells"),
    "cps": ("CPS", "of 100", "per 100 viable tumour cells"),
}

_WHAT_IS_MARKED: Mapping[str, str] = {
    "CD4": "CD4+ cells are helper T cells, but macrophages and monocytes carry CD4 too: these are CD4+ cells, not T cells. ",
    "PDL1": "TPS by image analysis needs a pathologist's confirmation. ",
}
_PROVEN = "Accuracy was shown on nuclear Ki-67 against labelled cells. "
_UNPROVEN = (
    "Accuracy was shown on nuclear Ki-67; on membrane stains (CD4, CD8, PD-L1) it is not yet proven against labelled cells. "
)
_NUCLEAR_STAINS = frozenset({"KI67"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Swatch:
    """A colour with its name and what stands for it in numbers; the residual is no dye and has no colour."""

    name: str
    colour: str | None
    numbers: Vector
    digits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One score of a region with its denominator; ``value`` None where it cannot be given."""

    name: str
    value: float | None
    unit: str
    denominator: str
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPart:
    """The scores of one region."""

    record: ScoreRecord
    rows: tuple[ScoreRow, ...]
    classes: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPart:
    """A field twice: as it is, and with its cells marked."""

    field: FieldPicture
    marked: Markup
    positive: int


def slide_page(analysis: SlideAnalysis, pictures: SlidePictures | None = None, *, title: str) -> str:
    """Write the quality page of a slide: one HTML document that needs nothing besides itself.

    Parameters
    ----------
    pictures
        From :func:`~biomarkers.reports.slide_pictures.slide_pictures`; without them the page shows numbers alone.
    title
        Heading of the page, such as the slide's name.
    """
    run = analysis.run
    of_scores: list[Finding] = [finding for record in analysis.scores for finding in record.findings]
    pixel = "not known" if analysis.pixel_size_um is None else f"{analysis.pixel_size_um:.4g} µm"
    return render(
        "slide.html",
        title=title,
        provenance=run.provenance,
        findings=all_findings(run.findings, of_scores, results=run.results),
        facts=(
            Fact(name="slide", value=run.name),
            Fact(name="scanned", value=run.acquired_at),
            Fact(name="stain", value=analysis.stain),
            Fact(name="pixel", value=pixel),
            Fact(name="accession", value=", ".join(dict.fromkeys(result.accession_id for result in run.results))),
            Fact(name="run", value=run.run_id),
        ),
        results=run.results,
        caution=caution(analysis.stain),
        areas=analysis.areas,
        regions=[_region(record) for record in analysis.scores],
        section=None if pictures is None else section_drawing(pictures.section, pictures.fields),
        fields=[] if pictures is None else [_field(field) for field in pictures.fields],
        histogram=None if pictures is None else histogram_drawing(pictures.histogram),
        marks=[class_mark(grade) for grade in range(len(INTENSITY_CLASSES))],
        swatches=swatches(analysis),
    )


def caution(stain: str) -> str:
    """Say what is known of the accuracy for a stain, and what its positive cells are."""
    return (_WHAT_IS_MARKED.get(stain, "") + (_PROVEN if stain in _NUCLEAR_STAINS else _UNPROVEN)).strip()


def _region(record: ScoreRecord) -> RegionPart:
    values = {
        "positive_percent": record.positive_percent,
        "density_per_mm2": record.density_per_mm2,
        "h_score": record.h_score,
        "tps": record.tps,
        "cps": record.cps,
    }
    shown = _SCORES if record.tumour_cells is None else {**_SCORES, **_TUMOUR_SCORES}
    rows = tuple(
        ScoreRow(
            name=words,
            value=values[name],
            unit=unit,
            denominator=denominator.format(h_score_cells=record.h_score_cells),
            interval=record.intervals.get(name),
        )
        for name, (words, unit, denominator) in shown.items()
    )
    return RegionPart(record=record, rows=rows, classes=classes_drawing(record))


def classes_drawing(record: ScoreRecord) -> Markup:
    """Draw the shares of the intensity classes as one bar."""
    drawing = Drawing(560, 28, f"Cells by intensity class in {record.region}")
    total = sum(record.class_counts.values()) or 1
    x = 1.0
    for grade, name in enumerate(INTENSITY_CLASSES):
        count = record.class_counts.get(name, 0)
        width = 558 * count / total
        if count:
            drawing.rectangle((x, 2), (width, 22), f"class-fill class-fill-{grade}", title=f"{name}: {count} cells")
        x += width
    return drawing.markup()


def swatches(analysis: SlideAnalysis) -> tuple[Swatch, ...]:
    """Paint each stain as it looks on this slide's glass, and the glass itself."""
    white = np.asarray(analysis.white_point)
    stains = tuple(
        Swatch(
            name=name,
            colour=None
            if name == "residual"
            else rgb_colour((white * 10.0 ** (-_SWATCH_DENSITY * np.asarray(vector))).tolist()),
            numbers=vector,
            digits=3,
        )
        for name, vector in analysis.stain_vectors.items()
    )
    glass = Swatch(name="white point", colour=rgb_colour(analysis.white_point), numbers=analysis.white_point, digits=1)
    return (*stains, glass)


def section_drawing(section: SectionPicture, fields: tuple[FieldPicture, ...]) -> Markup:
    """Draw the whole section with its tissue outlined and the fields' places numbered."""
    drawing = Drawing(section.width, section.height, "The whole section, tissue outlined", kind="figure section")
    drawing.picture((0, 0), (section.width, section.height), section.photo)
    size = max(11.0, 0.022 * max(section.width, section.height))
    for number, field in enumerate(fields, start=1):
        x, y, width, height = (
            length / section.level_0_per_pixel
            for length in (field.region.x, field.region.y, field.region.width, field.region.height)
        )
        drawing.rectangle((x, y), (width, height), "field-place")
        drawing.circle((x + size, y + size), size * 0.9, "field-number")
        drawing.scaled_text((x + size, y + 1.4 * size), str(number), 1.2 * size)
    for line in section.regions:
        kind = f"region region-{line.kind}"
        drawing.path(line.corners, kind, closed=True, title=" ".join(word for word in (line.kind, line.name) if word))
    _scale_bar(drawing, section.pixel_size_um)
    return drawing.markup()


def _field(field: FieldPicture) -> FieldPart:
    return FieldPart(field=field, marked=field_drawing(field), positive=sum(cell.intensity_class > 0 for cell in field.cells))


def field_drawing(field: FieldPicture) -> Markup:
    """Draw a field with the border of every cell, by class in colour and in line."""
    width, height = float(field.region.width), float(field.region.height)
    drawing = Drawing(width, height, f"Field with {field.reason}", kind="figure field")
    drawing.picture((0, 0), (width, height), field.photo)
    for outline in field.outlines:
        drawing.path(outline.corners, f"class class-{outline.intensity_class}", closed=True)
    _scale_bar(drawing, field.pixel_size_um)
    return drawing.markup()


def class_mark(grade: int) -> Markup:
    """Draw the ring of an intensity class."""
    drawing = Drawing(18, 18, INTENSITY_CLASSES[grade], kind="mark")
    drawing.circle((9, 9), 6.5, f"class class-{grade}")
    return drawing.markup()


def _scale_bar(drawing: Drawing, pixel_size_um: float | None) -> None:
    """Draw a bar of a round length, at most a quarter of the width; none without a pixel size."""
    if pixel_size_um is None:
        return
    length = next((one for one in _BAR_LENGTHS_UM if one / pixel_size_um <= 0.25 * drawing.width), None)
    if length is None:
        return
    wide, unit = length / pixel_size_um, drawing.width / 150
    x, y = drawing.width - wide - 2.5 * unit, drawing.height - 3 * unit
    drawing.rectangle((x - unit, y - 5.6 * unit), (wide + 2 * unit, 7.8 * unit), "bar-ground", rounded=unit / 2)
    drawing.rectangle((x, y), (wide, unit), "bar-length")
    told = f"{length / 1000:g} mm" if length >= 1000 else f"{length} µm"
    drawing.scaled_text((x + wide / 2, y - 1.2 * unit), told, 3.6 * unit)


def histogram_drawing(histogram: DabHistogram) -> Markup:
    """Draw cells by optical density of DAB with the cut-offs; counts on a square-root scale, so that rare cells show."""
    drawing = Drawing(560, 260, "Cells by optical density of DAB")
    top = math.sqrt(float(histogram.counts.max(initial=1)) or 1.0)
    ticks = tuple(
        Tick(at=math.sqrt(float(tick.at)), label=tick.label)
        for tick in _root_ticks(float(histogram.counts.max(initial=1)) or 1.0)
    )
    frame = Frame(
        left=54,
        top=18,
        width=494,
        height=190,
        x=linear_axis(float(histogram.edges[0]), float(histogram.edges[-1]), "optical density of DAB", wanted=7),
        y=Axis(low=0, high=1.06 * top, label="cells (square-root scale)", ticks=ticks),
    )
    drawing.axes(frame)
    for index, count in enumerate(histogram.counts):
        left, right = float(histogram.edges[index]), float(histogram.edges[index + 1])
        grade = int(np.searchsorted(histogram.cutoffs, (left + right) / 2, side="right"))
        x, y = frame.at_x(left), frame.at_y(math.sqrt(float(count)))
        kind = f"class-fill class-fill-{grade}"
        drawing.rectangle((x, y), (frame.at_x(right) - x - 0.4, frame.bottom - y), kind, title=f"{int(count)} cells")
    for cutoff, name in zip(histogram.cutoffs, INTENSITY_CLASSES[1:], strict=True):
        x = frame.at_x(cutoff)
        drawing.line((x, frame.top), (x, frame.bottom), "limit")
        drawing.text((x + 4, frame.top + 9), name, "tick", anchor="start")
    return drawing.markup()


def _root_ticks(highest: float) -> tuple[Tick, ...]:
    """Choose round counts that lie apart on a square-root scale."""
    counts = [0.0]
    step = 10.0 ** max(0, math.floor(math.log10(highest)) - 1)
    counts += [factor * step for factor in (1, 5, 10, 20, 40, 60, 80) if factor * step <= highest]
    return tuple(Tick(at=count, label=f"{count:.10g}") for count in counts)
