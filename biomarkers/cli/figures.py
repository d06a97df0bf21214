"""`biomarkers figures`: courses, changes, pairs, completeness and correlation as a page or a picture."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from biomarkers.cli.output import say

if TYPE_CHECKING:
    from datetime import date

    from biomarkers.laboratory import Laboratory
    from biomarkers.reports.study_figures import StudyFigure


class FigureKind(StrEnum):
    """What is drawn."""

    COURSE = "course"
    WATERFALL = "waterfall"
    PAIRED = "paired"
    COMPLETENESS = "completeness"
    CORRELATION = "correlation"


class FigureFormat(StrEnum):
    """What the figure is written as."""

    HTML = "html"
    SVG = "svg"
    PNG = "png"


OF_ONE_MEASURAND = {FigureKind.COURSE, FigureKind.WATERFALL, FigureKind.PAIRED}
OF_ONE_VISIT = {FigureKind.WATERFALL, FigureKind.PAIRED, FigureKind.CORRELATION}
WITH_ARMS = OF_ONE_MEASURAND


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("figures")(figures)


def figures(
    lab: Path = typer.Argument(..., help="The laboratory's folder."),
    *,
    kind: FigureKind = typer.Option(..., "--kind", help="What to draw."),
    measurand: str = typer.Option("", "--measurand", help="Of which measurand; for course, waterfall and paired."),
    visit: str = typer.Option("", "--visit", help="At which visit; for waterfall, paired and correlation."),
    arm: bool = typer.Option(False, "--arm", help="A panel an arm, for course, waterfall and paired; needs the right to it."),
    figure_format: FigureFormat | None = typer.Option(None, "--format", help="By the ending of --output if left out."),
    output: Path = typer.Option(..., "--output", help="The file to write.", dir_okay=False),
    as_of: datetime | None = typer.Option(None, "--as-of", formats=["%Y-%m-%d"], help="As of this date; today if left out."),
) -> None:
    """Draw a figure: one interactive page that needs no network, or SVG and PNG for papers."""
    from biomarkers.laboratory import open_lab
    from biomarkers.reports.figure_files import figure_html, figure_picture

    chosen = figure_format or _from_ending(output)
    with open_lab(lab) as laboratory:
        _require(laboratory, kind, measurand, visit, arm=arm)
        figure = _figure(laboratory, kind, measurand, visit, arm=arm, as_of=as_of.date() if as_of else None)
    match chosen:
        case FigureFormat.HTML:
            content = figure_html(figure)
        case FigureFormat.SVG:
            content = figure_picture(figure, "svg")
        case FigureFormat.PNG:
            content = figure_picture(figure, "png")
    output.write_bytes(content)
    say(f"{figure.title}: written to {output}. {figure.caption}")


def _from_ending(output: Path) -> FigureFormat:
    endings = {".html": FigureFormat.HTML, ".svg": FigureFormat.SVG, ".png": FigureFormat.PNG}
    if output.suffix.lower() not in endings:
        raise typer.BadParameter(f"'{output.name}' ends in none of {', '.join(endings)}; name the format with --format.")
    return endings[output.suffix.lower()]


def _require(laboratory: Laboratory, kind: FigureKind, measurand: str, visit: str, *, arm: bool) -> None:
    """Refuse what is missing, not known or not drawn."""
    measurands = [one.code for one in laboratory.definition.measurands]
    visits = [one.code for one in laboratory.definition.visits]
    if kind in OF_ONE_MEASURAND and measurand not in measurands:
        raise typer.BadParameter(f"--kind {kind.value} needs --measurand, one of {', '.join(measurands)}.")
    if kind in OF_ONE_VISIT and visit not in visits:
        raise typer.BadParameter(f"--kind {kind.value} needs --visit, one of {', '.join(visits)}.")
    if arm and kind not in WITH_ARMS:
        raise typer.BadParameter(f"--kind {kind.value} is drawn over all subjects; leave --arm out.")


def _figure(
    laboratory: Laboratory, kind: FigureKind, measurand: str, visit: str, *, arm: bool, as_of: date | None
) -> StudyFigure:
    from biomarkers.laboratory.insights import Choice
    from biomarkers.reports import study_figures as draw

    definition = laboratory.definition
    assignments = laboratory.arms() if arm else None
    match kind:
        case FigureKind.COURSE:
            return draw.course_figure(definition, laboratory.rows(as_of=as_of), measurand, assignments)
        case FigureKind.WATERFALL:
            changes = laboratory.change_rows(Choice.of(measurand, visit), as_of=as_of)
            return draw.waterfall_figure(definition, changes, measurand, visit, assignments)
        case FigureKind.PAIRED:
            return draw.paired_figure(definition, laboratory.rows(as_of=as_of), measurand, visit, assignments)
        case FigureKind.COMPLETENESS:
            return draw.completeness_figure(definition, laboratory.completeness_cells(as_of=as_of))
        case FigureKind.CORRELATION:
            return draw.correlation_figure(definition, laboratory.rows(as_of=as_of), visit)
